// Names and terms that were typed outlive a reload, and the page in another language, in this tab alone.
window.listedWords = (() => {
  const KEY = "cantowhisper.words:" + location.pathname;
  const tried = (act) => {
    try {
      return act() ?? "";
    } catch {
      return ""; // no storage is allowed: then the list lasts as long as the page
    }
  };
  document.addEventListener("input", ({ target }) => {
    if (target.matches("#words textarea, #live-words")) tried(() => sessionStorage.setItem(KEY, target.value));
  });
  return { kept: () => tried(() => sessionStorage.getItem(KEY)) };
})();
