// Jyutping above the characters of finished Cantonese rows. Readings are shown by the style sheet and are no text of the
// page, so that captions, the editor and what is copied stay as they are.
(() => {
  const MOST = 10_000; // characters in a request
  const CELLS = "#segments section[data-rows] td.text:is([lang=yue], [lang^=yue-], [lang=zh-HK])";
  const known = new Map(); // a text's parts, each with its reading
  let [on, asking] = [false, false];

  function write(cell) {
    const parts = known.get(cell.textContent).map(([text, reading]) => {
      if (!reading) return text;
      const [ruby, above] = [document.createElement("ruby"), document.createElement("rt")];
      above.dataset.reading = reading;
      ruby.append(text, above);
      return ruby;
    });
    cell.replaceChildren(...parts);
  }

  /** What has no readings yet gets them; a row that is being typed waits until it is left. */
  async function look() {
    const box = document.querySelector("#jyutping");
    if (box && box.checked !== on) box.checked = on; // the table was made anew
    if (!on || asking) return;
    const cells = [...document.querySelectorAll(CELLS)];
    const plain = cells.filter((cell) => !cell.closest(".editing") && !cell.querySelector("ruby") && cell.textContent);
    const texts = [];
    let n = 0;
    for (const cell of plain) {
      const text = cell.textContent;
      if (known.get(text)?.some(([, reading]) => reading)) write(cell);
      else if (!known.has(text) && !texts.includes(text) && (n += text.length + 1) < MOST) texts.push(text);
    }
    if (!texts.length) return;
    asking = true;
    try {
      const answer = await fetch(`jyutping?lang=${LANGUAGE}`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ texts }),
      });
      if (!answer.ok) throw new Error(await answer.text());
      (await answer.json()).texts.forEach((parts, i) => known.set(texts[i], parts));
    } catch (error) {
      on = false;
      const told = document.querySelector("#told");
      if (told) told.textContent = error instanceof TypeError ? phrase("editor.offline") : error.message;
    }
    asking = false;
    look();
  }

  document.addEventListener("change", ({ target }) => {
    if (!target.matches?.("#jyutping")) return;
    on = target.checked;
    if (!on) for (const cell of document.querySelectorAll(CELLS)) cell.textContent = cell.textContent;
    look();
  });
  new MutationObserver(look).observe(document, { childList: true, subtree: true, attributeFilter: ["class"] });
})();
