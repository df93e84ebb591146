// Playing from a row, the row that is being played, and captions on the player. Rows arrive while the work goes on, so
// nothing is bound to them: one listener on the page looks at what was clicked.
(() => {
  const player = () => document.querySelector("#player video");

  function sectionOf(video) {
    const sections = [...document.querySelectorAll("#segments section[data-media]")];
    return sections.find((s) => s.dataset.media === video.getAttribute("src")) || sections[0];
  }

  function captions(video) {
    const section = sectionOf(video);
    const rows = [...(section?.querySelectorAll("tr[data-start]") || [])];
    const track = video.textTracks[0] || video.addTextTrack("captions", phrase("transcript"));
    track.mode = "showing";
    const key = video.getAttribute("src") + rows.length;
    if (video.dataset.captions === key) return;
    video.dataset.captions = key;
    const cues = rows.map((row) => {
      const cue = new VTTCue(+row.dataset.start, +row.dataset.end, "");
      // As in a WebVTT file, so that no text can be read as a tag.
      cue.text = row.querySelector(".text").textContent.replace(/&/g, "&amp;").replace(/</g, "&lt;");
      return cue;
    });
    fill(track, cues);
    // A finished transcript has the captions that its WebVTT file has: lines that fit, for as long as they take to read.
    if (section?.dataset.rows)
      corrections.vtt(section).then((text) => {
        if (text && cues.length && track.cues[0] === cues[0]) fill(track, [...read(text)]);
      });
  }

  function fill(track, cues) {
    for (const cue of [...(track.cues || [])]) track.removeCue(cue);
    for (const cue of cues) track.addCue(cue);
  }

  /** The cues of a WebVTT file as the server writes them. */
  function* read(vtt) {
    const seconds = (clock) => clock.split(":").reduce((sum, part) => 60 * sum + +part, 0);
    for (const block of vtt.split("\n\n").filter((one) => one.includes(" --> "))) {
      const [times, ...lines] = block.trim().split("\n");
      yield new VTTCue(...times.split(" --> ").map(seconds), lines.join("\n"));
    }
  }

  function playFrom(row) {
    const video = player();
    const media = row.closest("section").dataset.media;
    if (!video || !media) return;
    if (video.getAttribute("src") !== media) video.setAttribute("src", media);
    const start = () => {
      video.currentTime = +row.dataset.start;
      video.play().catch(() => {});
    };
    if (video.readyState > 0) start();
    else video.addEventListener("loadedmetadata", start, { once: true });
    captions(video);
  }

  document.addEventListener("click", (event) => {
    if (event.target.closest?.("#segments section[data-rows] td:not(:first-child)")) return; // the editor's
    const row = event.target.closest?.("#segments tr[data-start]");
    if (row && !String(getSelection())) playFrom(row); // who selects text does not want to hear it
  });

  const listen = (name, react) =>
    document.addEventListener(
      name,
      (event) => {
        if (event.target === player()) react(event.target);
      },
      true, // media events do not bubble
    );
  listen("play", captions);
  listen("timeupdate", (video) => {
    captions(video);
    const now = video.currentTime;
    for (const row of document.querySelectorAll("#segments tr[data-start]"))
      row.classList.toggle(
        "now",
        row.closest("section") === sectionOf(video) && now >= +row.dataset.start && now < +row.dataset.end,
      );
  });
  listen("loadedmetadata", (video) => video.classList.toggle("sound", !video.videoWidth));
  listen("error", (video) => (video.nextElementSibling.hidden = false));
})();
