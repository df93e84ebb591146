// Sound to the server and text back, by ordinary requests: one in flight, numbered by the first sample it carries,
// repeated until it is answered. The page keeps all sound, so that whatever the server did not finish (it may be
// restarted) can be said again.

const CHUNK = RATE / 4; // samples a request waits for
const MOST = 3 * RATE; // … and carries at the most, when it has to catch up
const KEEP = 3600 * RATE; // then the oldest sound is let go, if it has its text
const TIMEOUT_MS = 15000;

// All sound of a recording, by absolute sample.
class Sound {
  // from: the first sample, where earlier ones are gone
  constructor(from = 0) {
    this.blocks = [];
    this.oldest = this.total = from;
  }
  add(block) {
    if (!block.length) return;
    this.blocks.push({ from: this.total, block });
    this.total += block.length;
  }
  slice(from, to) {
    const out = new Int16Array(Math.max(0, to - from));
    for (let i = this.blocks.length - 1; i >= 0; i--) {
      const { from: start, block } = this.blocks[i];
      if (start + block.length <= from) break;
      const first = Math.max(from, start), last = Math.min(to, start + block.length);
      if (first < last) out.set(block.subarray(first - start, last - start), first - from);
    }
    return out;
  }
  forget(before) {
    while (this.blocks.length && this.blocks[0].from + this.blocks[0].block.length <= before)
      this.blocks.shift();
    this.oldest = this.blocks.length ? this.blocks[0].from : this.total;
  }
}

function base64(samples) {
  const bytes = new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength);
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(text);
}

class Transport {
  // server: Gradio's functions, which answer `undefined` when a request fails.
  // choices: {language, script, words}; onView(view), onState(key, detail);
  // sound: of earlier recordings, after which this one goes on.
  constructor({ server, choices, onView, onState, sound }) {
    Object.assign(this, { server, choices, onView, onState, sound });
    this.have = this.keepFrom = sound.total;
    this.seen = 0;
    this.known = ""; // text that is on the page already of the speech from keepFrom on
    this.session = null;
    this.ended = this.closed = false;
    this.failures = 0;
  }

  add(block) {
    this.sound.add(block);
    this.wakeUp?.();
  }
  end() {
    this.ended = true;
    this.wakeUp?.();
  }

  // Runs until everything that was said has its final text (or `close`).
  async run() {
    while (!this.closed) {
      if (!this.session && !(await this.open())) continue;
      const pending = this.sound.total - this.have;
      if (pending < CHUNK && !this.ended) await this.change();
      else if (this.ended && pending === 0 && this.endTold) await this.pause(250);
      await this.push();
    }
  }

  async open() {
    const at = Math.max(this.keepFrom, this.sound.oldest);
    const reply = await this.call("live_start", { at, known: this.known, ...this.choices });
    if (!reply) return false;
    if (reply.error) return this.stop("refused_by_server", reply.error);
    if (reply.busy) {
      this.onState("busy");
      await this.pause(1000 * reply.retry_s);
      return false;
    }
    if (this.closed) {
      this.server.live_forget({ session: reply.session });
      return false;
    }
    [this.session, this.have, this.begin, this.seen, this.endTold] = [reply.session, at, at, 0, false];
    this.onState("open");
    return true;
  }

  async push() {
    const from = Math.max(this.have, this.sound.oldest), to = Math.min(this.sound.total, from + MOST);
    const end = this.ended && to === this.sound.total;
    const reply = await this.call("live_push", {
      session: this.session, offset: from, audio: base64(this.sound.slice(from, to)),
      oldest: this.sound.oldest, seen: this.seen, end,
    });
    if (!reply || this.closed) return;
    if (reply.unknown) {
      this.session = null;
      this.onState("lost");
      return;
    }
    if (reply.error) return this.stop("refused_by_server", reply.error);
    this.endTold = end;
    const full = reply.have === from && to > from;
    [this.have, this.keepFrom, this.known, this.seen] = [reply.have, reply.keep_from, reply.known, reply.seen];
    if (this.sound.total - this.sound.oldest > KEEP)
      this.sound.forget(Math.min(this.keepFrom, this.sound.total - KEEP));
    this.onView(reply);
    const more = !this.ended || this.have < this.sound.total;
    if (reply.limit && more && (reply.final || this.keepFrom > this.begin)) {
      // The next session goes on like one after a restart: what has no final text is said again. (A sentence as long
      // as the whole session would never end so; it is waited for.)
      await this.call("live_forget", { session: this.session });
      this.session = null;
      this.onState("limit");
    } else if (reply.final && !more) {
      this.server.live_poll({ session: this.session, seen: this.seen }); // it has everything: the server may forget
      this.stop("done");
    } else if (full) await this.pause(1000);
  }

  async call(name, argument) {
    const late = new Promise((resolve) => setTimeout(resolve, TIMEOUT_MS));
    const reply = await Promise.race([this.server[name]({ ...argument, read_in: LANGUAGE }).catch(() => undefined), late]);
    if (reply === undefined || reply === null) {
      this.failures += 1;
      if (this.failures > 1) this.onState("offline");
      await this.pause(Math.min(2000, 100 * 2 ** this.failures));
      return null;
    }
    if (this.failures > 1) this.onState("back");
    this.failures = 0;
    return reply;
  }

  stop(state, detail) {
    this.closed = true;
    this.onState(state, detail);
    return false;
  }
  change() {
    return new Promise((resolve) => {
      this.wakeUp = () => {
        if (this.sound.total - this.have >= CHUNK || this.ended) resolve();
      };
    });
  }
  pause(ms) {
    return new Promise((resolve) => setTimeout(resolve, ms));
  }
}
