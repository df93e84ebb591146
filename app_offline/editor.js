// Correcting a finished transcript: its rows' text, times and speakers, and what is taken away of it. The server sends
// rows as JSON beside the table (data-rows); from then on the browser has them, and the server keeps none. They lie in
// this tab's storage until another recording is transcribed.
window.corrections = (() => {
  const STORED = "cantowhisper.corrections.";
  let page = null; // {key, script, recordings, dirty, taken}; a row is replaced as a whole and never changed
  let active = null; // {recording, id, tr, text, start, end, speaker}: the row that is being edited
  let undoable = []; // [recording, its rows before, id of the row that was edited]
  let nextId = 1;
  const trs = new Map(); // by a row's id
  const find = (selector) => document.querySelector(selector);
  const video = () => find("#player video");

  // ---------------------------------------------------------------------------------------------- from the server

  function adopt() {
    const sections = [...document.querySelectorAll("#segments section[data-rows]")];
    // Gradio keeps elements and changes what is in them, so that only the content says whether it is another one.
    const source = sections.map(({ dataset }) => [dataset.result, dataset.script, dataset.rows].join()).join();
    if (!sections.length || source === page?.source) return;
    const { result, script } = sections[0].dataset;
    const dirty = stored(STORED + result) !== null || (page?.key === result && page.dirty);
    trs.clear();
    [active, undoable] = [null, []];
    const recordings = sections.map((section) => ({ section, ...JSON.parse(section.dataset.rows) }));
    page = { key: result, script, source, recordings, dirty, taken: false };
    for (const recording of recordings) {
      const elements = recording.section.querySelectorAll("tbody tr:not(.only-before)");
      recording.rows = recording.rows.map((row, i) => ({ ...row, id: nextId++, tr: elements[i] }));
      for (const { id, tr } of recording.rows) {
        trs.set(id, tr);
        tr.querySelector(".text").tabIndex = 0;
      }
      recording.rows = recording.rows.map(({ tr, ...row }) => row);
    }
    for (const key of keys()) if (key !== STORED + result) sessionStorage.removeItem(key);
    if (dirty) save();
  }

  new MutationObserver(adopt).observe(document, {
    childList: true,
    subtree: true,
    attributeFilter: ["data-rows"],
  });

  // ------------------------------------------------------------------------------------------- in this tab's storage

  function stored(key) {
    try {
      return sessionStorage.getItem(key);
    } catch {
      return null; // no storage is allowed: then corrections last as long as the page
    }
  }

  function keys() {
    try {
      return Object.keys(sessionStorage).filter((key) => key.startsWith(STORED));
    } catch {
      return [];
    }
  }

  /** All rows with what is being typed, as the server reads them (serving/offline/editing/rows.py). */
  function asJson({ paths = true, of = page.recordings } = {}) {
    const typed = active && typedRow();
    const recordings = of.map(({ section, path, rows, ...recording }) => ({
      ...recording,
      ...(paths && path ? { path } : {}),
      rows: rows.map((row) => (row.id === active?.id ? typed : row)).map(({ id, ...row }) => row),
    }));
    return JSON.stringify({ result: page.key, script: page.script, recordings });
  }

  let saving = null;
  function save() {
    clearTimeout(saving);
    saving = null;
    if (!page?.dirty) return;
    try {
      sessionStorage.setItem(STORED + page.key, asJson());
    } catch {
      tell(phrase("editor.not_stored"), true);
    }
  }

  function soon() {
    saving ??= setTimeout(save, 300);
  }

  addEventListener("pagehide", save);

  // -------------------------------------------------------------------------------------------------------- changes

  const at = (recording, id) => recording.rows.findIndex((row) => row.id === id);

  function change(recording, rows, id) {
    undoable.push([recording, recording.rows, id]);
    put(recording, rows);
  }

  function put(recording, rows) {
    recording.rows = rows;
    Object.assign(page, { dirty: true, taken: false });
    layOut(recording);
    save();
  }

  function undo() {
    const wasOpen = active;
    close(); // what is being typed is the last change
    const last = undoable.pop();
    if (!last) return tell(phrase("editor.nothing_to_undo"));
    const [recording, rows, id] = last;
    put(recording, rows);
    if (wasOpen && rows.some((row) => row.id === id)) open(recording, id);
    tell(phrase("editor.undone"));
  }

  /** A row with another text: somebody has read it. */
  const retold = (row, text) => {
    const { written, ...rest } = row;
    return { ...rest, text, flags: [...new Set([...(row.flags || []), "edited"])] };
  };

  const tidy = (text) => text.replace(/\s+/g, " ").trim(); // as the server does

  /** What the fields of the row say now; times that make no sense stay as they were. */
  function typedRow() {
    const { recording, id } = active;
    let row = recording.rows[at(recording, id)];
    const text = tidy(active.text.value);
    if (text !== tidy(row.text)) row = retold(row, text);
    for (const [field, input] of [["start_s", active.start], ["end_s", active.end]])
      if (input.value.trim() !== clock(row[field])) row = { ...row, [field]: seconds(input.value) ?? NaN };
    const before = recording.rows[at(recording, id)];
    if (wrongTimes(recording, row)) row = { ...row, start_s: before.start_s, end_s: before.end_s };
    return row;
  }

  function wrongTimes(recording, row) {
    const i = at(recording, row.id);
    const [previous, next] = [recording.rows[i - 1], recording.rows[i + 1]];
    if (!(row.start_s >= 0 && row.end_s > row.start_s)) return phrase("editor.wrong_time");
    if (previous && row.start_s < previous.end_s - 0.005) return phrase("editor.before_previous");
    if (next && row.end_s > next.start_s + 0.005) return phrase("editor.after_next");
    if (row.end_s > recording.duration_s + 0.01) return phrase("editor.after_end");
    return "";
  }

  /** Take over what was typed. */
  function commit() {
    if (!active) return;
    const { recording, id } = active;
    const before = recording.rows[at(recording, id)];
    const times = { start_s: seconds(active.start.value) ?? NaN, end_s: seconds(active.end.value) ?? NaN };
    const untouched = active.start.value === clock(before.start_s) && active.end.value === clock(before.end_s);
    const problem = untouched ? "" : wrongTimes(recording, { ...before, ...times });
    if (problem) tell(problem, true);
    const row = typedRow();
    let rows = recording.rows.map((one) => (one.id === id ? row : one));
    const name = active.speaker?.value.trim() ?? "";
    if (active.speaker && name !== String(before.speaker || "")) {
      const known = rows.some((one) => String(one.speaker || "") === name);
      // A new name is that of the speaker; one that is there already says that this row was somebody else's.
      rows = rows.map((one) =>
        one.id === id || (!known && before.speaker && one.speaker === before.speaker) ? { ...one, speaker: name } : one,
      );
    }
    if (rows.some((one, i) => JSON.stringify(one) !== JSON.stringify(recording.rows[i]))) change(recording, rows, id);
  }

  function split() {
    commit();
    const { recording, id, text } = active;
    const i = at(recording, id);
    const row = recording.rows[i];
    const cut = text.selectionStart;
    const [left, right] = [text.value.slice(0, cut).trim(), text.value.slice(cut).trim()];
    if (!left || !right) return tell(phrase("editor.no_cursor"), true);
    const middle = round(row.start_s + ((row.end_s - row.start_s) * left.length) / (left.length + right.length));
    const halves = [
      { ...retold(row, left), end_s: middle },
      { ...retold(row, right), start_s: middle, id: nextId++ },
    ];
    if (row.written?.length === row.text.length && text.value === row.text)
      [halves[0].written, halves[1].written] = [row.written.slice(0, cut).trim(), row.written.slice(cut).trim()];
    close();
    change(recording, [...recording.rows.slice(0, i), ...halves, ...recording.rows.slice(i + 1)], id);
    open(recording, halves[1].id);
  }

  function join() {
    commit();
    const { recording, id } = active;
    const i = at(recording, id);
    const [row, next] = recording.rows.slice(i, i + 2);
    if (!next) return tell(phrase("editor.no_next"), true);
    const both = (a, b) => a + (/[\u2e80-\uffef]$/.test(a) || /^[\u2e80-\uffef]/.test(b) || !a || !b ? "" : " ") + b;
    const joined = {
      ...retold(row, both(row.text, next.text)),
      end_s: next.end_s,
      confidence: Math.min(row.confidence, next.confidence),
    };
    if (row.written || next.written) joined.written = both(row.written ?? row.text, next.written ?? next.text);
    close();
    change(recording, [...recording.rows.slice(0, i), joined, ...recording.rows.slice(i + 2)], id);
    open(recording, id);
  }

  function remove() {
    const { recording, id } = active;
    const i = at(recording, id);
    close();
    change(recording, recording.rows.filter((row) => row.id !== id), id);
    const row = recording.rows[Math.min(i, recording.rows.length - 1)];
    if (row) open(recording, row.id);
    tell(phrase("editor.deleted"));
  }

  // ------------------------------------------------------------------------------------------------------ on the page

  const round = (s, parts = 100) => Math.round(s * parts) / parts;

  /** Minutes and seconds as people write them. */
  function clock(s) {
    const hundredths = Math.round(s * 100);
    const two = (n) => String(n).padStart(2, "0");
    const [minutes, rest] = [Math.floor(hundredths / 6000), hundredths % 6000];
    const tail = `${two(minutes % 60)}:${two(Math.floor(rest / 100))}.${two(rest % 100)}`;
    return minutes < 60 ? tail : `${two(Math.floor(minutes / 60))}:${tail}`;
  }

  /** Seconds of 3.5, 1:02.5 or 1:00:02.5; null for anything else. */
  function seconds(text) {
    if (!/^\s*(\d+:){0,2}\d+([.,]\d+)?\s*$/.test(text)) return null;
    return text.replace(",", ".").split(":").reduce((sum, part) => sum * 60 + Number(part), 0);
  }

  function show(tr, row) {
    const [from, to] = [clock(round(row.start_s, 10)), clock(round(row.end_s, 10))].map((told) => told.slice(0, -1));
    Object.assign(tr.dataset, { start: row.start_s, end: row.end_s });
    const play = tr.querySelector("button");
    play.textContent = `${from} – ${to}`;
    play.setAttribute("aria-label", phrase("play_from", { at: from }));
    tr.querySelector(".text").textContent = row.text;
    const speaker = tr.querySelector(".speaker");
    if (speaker) speaker.textContent = row.speaker || "";
    if (row.flags?.includes("edited")) {
      tr.classList.remove("unsure");
      tr.lastElementChild.textContent = phrase("edited");
    }
  }

  function layOut(recording) {
    const body = recording.section.querySelector("tbody");
    const others = [...body.querySelectorAll("tr.only-before")];
    for (const row of recording.rows) {
      if (!trs.has(row.id)) {
        const copy = [...trs.values()].at(-1).cloneNode(true);
        copy.classList.remove("now", "editing", "unsure");
        const before = copy.querySelector(".before");
        if (before) before.textContent = "";
        trs.set(row.id, copy);
      }
      if (row.id !== active?.id) show(trs.get(row.id), row);
    }
    const shown = [...recording.rows.map((row) => trs.get(row.id)), ...others];
    body.replaceChildren(...shown.sort((a, b) => a.dataset.start - b.dataset.start));
    if (active?.recording === recording) active.tr.after(active.editor);
    tellTranscript();
    if (video()) delete video().dataset.captions; // the player makes them anew
  }

  /** The box with the whole text, from which people copy. */
  function tellTranscript() {
    const box = find("#transcript textarea");
    if (!box) return;
    const readable = page.recordings.filter((recording) => !recording.problem);
    const texts = readable.map((recording) => {
      let before = 0;
      const lines = recording.rows.map(({ text, speaker }) => {
        if (!speaker || speaker === before || !text) return text;
        before = speaker;
        const name = typeof speaker === "number" ? phrase("speaker.number", { number: speaker }) : speaker;
        return phrase("speaker.turn", { name, text });
      });
      return page.recordings.length > 1 ? `— ${recording.name} —\n${lines.join("\n")}` : lines.join("\n");
    });
    box.value = texts.join("\n\n");
    box.dispatchEvent(new Event("input", { bubbles: true })); // so that Gradio's copy button has it too
  }

  function tell(message, isProblem = false) {
    const place = find("#told");
    if (!place) return;
    place.textContent = message;
    place.classList.toggle("problem", isProblem);
  }

  const element = (name, properties, ...children) => {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  };

  function field(value, label, className) {
    const input = element("input", { type: "text", value, className, autocomplete: "off", spellcheck: false });
    input.setAttribute("aria-label", label);
    return input;
  }

  function open(recording, id, { focus = true } = {}) {
    if (active?.id === id) return;
    close();
    const row = recording.rows[at(recording, id)];
    const tr = trs.get(id);
    const text = element("textarea", { value: row.text, rows: 2, maxLength: 2000 });
    text.setAttribute("aria-label", phrase("text"));
    const start = field(clock(row.start_s), phrase("editor.start"), "time");
    const end = field(clock(row.end_s), phrase("editor.end"), "time");
    const speaker = tr.querySelector(".speaker") && field(row.speaker || "", phrase("editor.speaker"), "who");
    const button = (label, act) => element("button", { type: "button", textContent: label, onclick: act });
    const tools = element("div", { className: "tools" });
    tools.append(
      ...[start, "–", end, ...(speaker ? [speaker] : [])],
      button(phrase("editor.play"), playRow),
      button(phrase("editor.split"), split),
      button(phrase("editor.join"), join),
      button(phrase("editor.delete"), remove),
      button(phrase("editor.undo"), undo),
      button(phrase("editor.next"), next),
    );
    const editor = element("tr", { className: "editor" }, element("td", { colSpan: tr.cells.length }, text, tools));
    tr.after(editor);
    tr.classList.add("editing");
    active = { recording, id, tr, editor, text, start, end, speaker };
    for (const input of editor.querySelectorAll("input, textarea")) input.dataset.before = input.value;
    if (focus) text.focus();
    follow();
  }

  /** Leave the row: what was typed stays. */
  function close() {
    if (!active) return;
    commit();
    const { recording, id, tr, editor } = active;
    active = null;
    editor.remove();
    tr.classList.remove("editing");
    show(tr, recording.rows[at(recording, id)]);
  }

  function next() {
    const { recording, id } = active;
    const row = recording.rows[at(recording, id) + 1];
    if (row) open(recording, row.id);
    else {
      const others = page.recordings.slice(page.recordings.indexOf(recording) + 1);
      const other = others.find((one) => one.rows.length);
      if (other) open(other, other.rows[0].id);
      else tell(phrase("editor.last"));
    }
  }

  // -------------------------------------------------------------------------------------------------------- listening

  let stopsAt = null;

  function current() {
    return active.recording.rows[at(active.recording, active.id)];
  }

  /** The player goes to where the row begins. */
  function follow() {
    const [player, media] = [video(), active.recording.section.dataset.media];
    if (!player || !media) return;
    stopsAt = null;
    if (player.getAttribute("src") !== media) player.setAttribute("src", media);
    player.hidden = false;
    const seek = () => (player.currentTime = active ? current().start_s : player.currentTime);
    if (player.readyState > 0) seek();
    else player.addEventListener("loadedmetadata", seek, { once: true });
  }

  function playRow() {
    const player = video();
    if (!player || !player.getAttribute("src")) return tell(phrase("editor.not_heard"), true);
    if (!player.paused) return player.pause();
    const { start_s, end_s } = typedRow();
    if (player.currentTime < start_s - 0.05 || player.currentTime > end_s - 0.1) player.currentTime = start_s;
    stopsAt = end_s;
    player.play().catch(() => {});
    const look = () => {
      if (stopsAt === null || player.paused) return;
      if (player.currentTime >= stopsAt) player.pause();
      else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  }

  // --------------------------------------------------------------------------------------------- presses of any kind

  const rowOf = (element) => {
    const tr = element.closest?.("#segments section[data-rows] tbody tr:not(.only-before)");
    for (const recording of (tr && page?.recordings) || [])
      for (const { id } of recording.rows) if (trs.get(id) === tr) return [recording, id];
    return null;
  };

  document.addEventListener("click", (event) => {
    const found = rowOf(event.target);
    if (found && !event.target.closest("button, input, textarea") && !String(getSelection())) open(...found);
  });

  document.addEventListener("input", (event) => {
    if (!active?.editor.contains(event.target)) return;
    active.tr.querySelector(".text").textContent = tidy(active.text.value); // for captions
    page.dirty = true;
    page.taken = false;
    soon();
  });

  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.keyCode === 229) return; // an input method has the key
    const command = event.ctrlKey || event.metaKey;
    const { target } = event;
    const typing = target.matches?.("input, textarea, [contenteditable]");
    const inRow = active?.editor.contains(target);
    const act = (what) => {
      event.preventDefault();
      what();
    };
    if (command && !event.shiftKey && !event.altKey && event.key.toLowerCase() === "z") {
      // What is being typed is the browser's to undo.
      if (page && (!typing || (inRow && target.value === target.dataset.before))) act(undo);
    } else if (!inRow) {
      const found = event.key === "Enter" && !command && target.matches?.(".text") && rowOf(target);
      if (found) act(() => open(...found));
    } else if (event.key === "Enter" && command) act(playRow);
    else if (event.key === "Enter" && typing && event.shiftKey && target === active.text) act(split);
    else if (event.key === "Enter" && typing) act(next);
    else if (event.key === "Escape") {
      const cell = active.tr.querySelector(".text");
      act(close);
      cell.focus();
    }
  });

  // ------------------------------------------------------------------------------------------------------- downloads

  const written = (name, rows) =>
    fetch(`edited/${name}?lang=${LANGUAGE}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: asJson(rows),
    });

  async function take(name) {
    close();
    const isClips = name === "clips";
    tell(isClips ? phrase("editor.cutting") : "");
    try {
      const answer = await written(name, { paths: isClips });
      if (!answer.ok) {
        if (isClips && [403, 410].includes(answer.status)) await lookForRecordings();
        return tell(await answer.text(), true);
      }
      const named = (answer.headers.get("Content-Disposition") || "").match(/filename\*=UTF-8''([^;]+)/);
      const link = element("a", {
        href: URL.createObjectURL(await answer.blob()),
        download: named ? decodeURIComponent(named[1]) : `transcript.${name}`,
      });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
      page.taken = true;
      tell(decodeURIComponent(answer.headers.get("X-Report") || ""));
    } catch {
      tell(phrase("editor.offline"), true);
    }
  }

  /** Ask for the recordings that the server has let go of. */
  async function lookForRecordings() {
    for (const { section, problem } of page.recordings) {
      const { media } = section.dataset;
      const there = media && (await fetch(media, { method: "HEAD" }).then((answer) => answer.ok, () => false));
      const gone = section.querySelector(".gone");
      if (!there && !problem && gone) gone.hidden = false;
    }
  }

  async function choose(input) {
    const recording = page?.recordings.find(({ section }) => section.contains(input));
    if (!recording || !input.files.length) return;
    const form = new FormData();
    form.append("files", input.files[0]);
    tell(phrase("editor.uploading"));
    const answer = await fetch(`gradio_api/upload?lang=${LANGUAGE}`, { method: "POST", body: form }).catch(() => null);
    if (!answer?.ok) return tell(answer ? await answer.text() : phrase("editor.upload_failed"), true);
    [recording.path] = await answer.json();
    const place = recording.path.split("/").map(encodeURIComponent).join("/");
    recording.section.dataset.media = `gradio_api/file=${place}`;
    input.closest(".gone").hidden = true;
    const player = video();
    if (player && !player.getAttribute("src")) player.setAttribute("src", recording.section.dataset.media);
    if (player) player.hidden = false;
    save();
    tell(phrase("editor.here_again"));
  }

  document.addEventListener("change", (event) => {
    if (event.target.matches?.("#segments .gone input")) choose(event.target);
  });

  document.addEventListener(
    "click",
    (event) => {
      const name = event.target.closest?.("#downloads [id^=download-]")?.id.replace("download-", "");
      if (name && page && (page.dirty || name === "clips")) {
        event.preventDefault();
        event.stopImmediatePropagation(); // Gradio's file is of before
        take(name);
      }
      if (page && event.target.closest?.(".languages a")) {
        page.dirty = true; // what was not corrected would not survive the other language either
        save();
      }
      if (!event.target.closest?.("#go") || !page) return;
      if (page.dirty && !page.taken && !confirm(phrase("editor.go_on"))) {
        event.preventDefault();
        event.stopImmediatePropagation();
      } else {
        close();
        page = null; // what comes next is another transcript
      }
    },
    true,
  );

  return {
    /** A recording's rows as a WebVTT file; "" where there is none to be had. */
    vtt: async (section) => {
      const of = page?.recordings.filter((recording) => recording.section === section && !recording.problem) || [];
      if (!of.length) return "";
      return written("vtt", { paths: false, of }).then(
        (answer) => (answer.ok ? answer.text() : ""),
        () => "",
      );
    },
    /** What the tab has of an earlier visit; "" for nothing. */
    kept: () => stored(keys()[0]) || "",
    /** What was corrected on this page; "" for nothing. */
    of_page: () => {
      close();
      return page?.dirty ? asJson() : "";
    },
  };
})();
