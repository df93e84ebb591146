// Text outlives a reload, or a look at another page, in this tab alone. The sound lives as long as the page.

class Keeper {
  // transcript: what is kept; recorded(): seconds of sound so far, after which a recording goes on
  constructor(transcript, recorded) {
    Object.assign(this, { transcript, recorded });
    this.key = "cantowhisper-live:" + location.pathname;
  }
  soon() {
    this.timer ??= setTimeout(() => this.now(), 1000);
  }
  now() {
    clearTimeout(this.timer);
    this.timer = undefined;
    try {
      const kept = { recorded_s: this.recorded(), ...this.transcript.kept() };
      if (kept.lines.length || kept.tentative) sessionStorage.setItem(this.key, JSON.stringify(kept));
      else sessionStorage.removeItem(this.key);
    } catch {
      // A visitor who allows no storage has the text on the page, and is asked before leaving it.
    }
  }
  // Puts back what was kept; returns the seconds after which the next recording goes on, 0 for nothing.
  restore() {
    try {
      const kept = JSON.parse(sessionStorage.getItem(this.key));
      if (!kept) return 0;
      this.transcript.restore(kept);
      return kept.recorded_s;
    } catch {
      return 0;
    }
  }
}
