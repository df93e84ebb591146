// What was said, as lines that only grow, on the page and as files. Text is only ever added as text, never as HTML.

class Transcript {
  constructor(committed, tentative) {
    Object.assign(this, { committed, tentative });
    this.clear();
  }
  clear() {
    this.lines = [];
    this.committed.replaceChildren();
    this.tentative.textContent = "";
  }

  // Events are {start_s, before, language} of a new line, {text}, and {end_s} of the line.
  // tag(code): the tag of text in a language.
  take(events, tentative, { tag = (code) => code, language = "" } = {}) {
    this.tentative.lang = tag(language);
    for (const event of events) {
      if (event.language) event.lang = tag(event.language);
      if ("start_s" in event) this.begin(event);
      else if ("text" in event) this.append(event.text);
      else if (this.open) this.open.end_s = event.end_s;
    }
    const fresh = !this.open && this.lines.length && tentative;
    if (this.tentative.textContent !== (fresh ? "\n" : "") + tentative)
      this.tentative.textContent = (fresh ? "\n" : "") + tentative;
  }
  get open() {
    const last = this.lines.at(-1);
    return last && last.end_s === null ? last : null;
  }
  begin({ start_s, before, lang = "", language = "" }) {
    if (this.open) this.open.end_s = start_s; // the server was restarted within a line
    const element = document.createElement("span");
    if (lang) element.lang = lang;
    const time = document.createElement("button");
    const at = clock(start_s).slice(start_s < 3600 ? 3 : 0);
    Object.assign(time, { type: "button", className: "time", textContent: at, disabled: true });
    time.setAttribute("aria-label", phrase("play_from", { at }));
    time.dataset.seconds = start_s;
    const node = document.createTextNode("");
    element.append(this.lines.length ? before : "", time, node);
    this.committed.append(element);
    this.lines.push({ start_s, end_s: null, before, lang, language, text: "", node, time });
  }
  append(text) {
    if (!this.open) return;
    this.open.text += text;
    this.open.node.appendData(text);
  }
  // The line that goes on ends here: the recording is over. Text that never became final is kept as it was last.
  close(end_s) {
    const tail = this.tentative.textContent.replace(/^\n/, "");
    const start_s = this.lines.at(-1)?.end_s ?? end_s;
    if (tail.trim() && !this.open) this.begin({ start_s, before: "\n", lang: this.tentative.lang });
    this.append(tail);
    if (this.open) this.open.end_s = end_s;
    this.tentative.textContent = "";
  }
  // Sound from a second on can be played; Infinity for none.
  playable(from_s) {
    for (const { time, start_s } of this.lines) time.disabled = start_s < from_s;
  }

  kept() {
    const lines = this.lines.map(({ node, time, ...line }) => line);
    return { lines, tentative: this.tentative.textContent, tentative_lang: this.tentative.lang };
  }
  restore({ lines, tentative, tentative_lang, recorded_s }) {
    for (const line of lines) {
      this.begin(line);
      this.append(line.text);
      this.open.end_s = line.end_s;
    }
    this.tentative.textContent = tentative;
    this.tentative.lang = tentative_lang;
    this.close(recorded_s);
  }

  get text() {
    return this.lines.map((line, i) => (i ? line.before : "") + line.text).join("").trim();
  }
  // Chinese characters count one each, other words one each.
  get words() {
    return (this.text.match(/\p{Script=Han}|(?:(?!\p{Script=Han})[\p{L}\p{N}])+/gu) || []).length;
  }
  get spokenSeconds() {
    return this.lines.reduce((sum, line) => sum + Math.max(0, (line.end_s ?? line.start_s) - line.start_s), 0);
  }

  // Lines of which the server makes subtitles, in time order and without overlap.
  rows() {
    let at = 0;
    const said = this.lines.filter(({ text }) => text.trim());
    return said.map(({ start_s, end_s, language, text }, i) => {
      const from = Math.max(at, start_s), next = said[i + 1]?.start_s ?? Infinity;
      at = Math.max(from, Math.min(end_s ?? from, next));
      return { start_s: from, end_s: at, language, text };
    });
  }
  // One line each, without times.
  get file() {
    return this.lines.map(({ text }) => text.trim().replace(/\s+/g, " ").replaceAll("-->", "→"))
      .filter(Boolean).map((text) => `${text}\n`).join("");
  }
}

// Hours, minutes, seconds and tenths.
function clock(seconds) {
  const tenths = Math.floor(Math.max(0, Math.round(seconds * 1000)) / 100);
  const two = (n) => String(Math.floor(n)).padStart(2, "0");
  return `${two(tenths / 36000)}:${two((tenths / 600) % 60)}:${two((tenths / 10) % 60)}.${tenths % 10}`;
}

// 16 kHz mono int16 as a WAV file.
function wav(samples) {
  const head = new DataView(new ArrayBuffer(44));
  const word = (at, text) => [...text].forEach((c, i) => head.setUint8(at + i, c.charCodeAt(0)));
  word(0, "RIFF"), word(8, "WAVEfmt "), word(36, "data");
  head.setUint32(4, 36 + samples.byteLength, true), head.setUint32(16, 16, true), head.setUint16(20, 1, true);
  head.setUint16(22, 1, true), head.setUint32(24, RATE, true), head.setUint32(28, 2 * RATE, true);
  head.setUint16(32, 2, true), head.setUint16(34, 16, true), head.setUint32(40, samples.byteLength, true);
  return new Blob([head, samples], { type: "audio/wav" });
}
