// Microphone → 16 kHz mono int16, every sample, in order. An AudioWorklet hands over what the device records; the
// rate is changed here, because Firefox refuses a context at another rate than the microphone's.

const RATE = 16000;

const TAP = `
class Tap extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Float32Array(2048);
    this.filled = 0;
    this.port.onmessage = () => { this.post(); this.port.postMessage("flushed"); };
  }
  post() {
    if (this.filled) this.port.postMessage(this.block.slice(0, this.filled));
    this.filled = 0;
  }
  process([channels]) {
    if (!channels.length) return true;
    for (let i = 0; i < channels[0].length; i++) {
      let sum = 0;
      for (const channel of channels) sum += channel[i];
      this.block[this.filled++] = sum / channels.length;
      if (this.filled === this.block.length) this.post();
    }
    return true;
  }
}
registerProcessor("tap", Tap);`;

// Windowed-sinc resampling by a ratio of whole numbers: one filter for each position that an output sample can have
// between two input samples (44.1 kHz: 160 of them). State is kept, so blocks join without a seam.
class Resampler {
  constructor(rate) {
    const divisor = (a, b) => (b ? divisor(b, a % b) : a);
    const common = divisor(rate, RATE);
    this.phases = RATE / common;
    this.step = rate / common;
    this.half = Math.ceil(24 * Math.max(1, rate / RATE));
    this.filters = Array.from({ length: this.phases }, (_, phase) => this.filter(phase / this.phases, rate));
    this.held = new Float32Array(this.half); // silence before the first sample, so that output 0 is input 0
    this.position = this.half * this.phases; // of the next output sample in `held`, in steps of 1 / phases
  }
  filter(fraction, rate) {
    const cutoff = Math.min(1, RATE / rate) * 0.94;
    const taps = Float32Array.from({ length: 2 * this.half }, (_, i) => {
      const x = i - this.half + 1 - fraction;
      const sinc = x ? Math.sin(Math.PI * cutoff * x) / (Math.PI * x) : cutoff;
      return sinc * Math.max(0, 0.5 + 0.5 * Math.cos((Math.PI * x) / this.half));
    });
    const sum = taps.reduce((a, b) => a + b, 0);
    return taps.map((tap) => tap / sum);
  }
  take(block) {
    const input = new Float32Array(this.held.length + block.length);
    input.set(this.held);
    input.set(block, this.held.length);
    const output = [];
    for (;;) {
      const at = Math.floor(this.position / this.phases);
      if (at + this.half >= input.length) break;
      const taps = this.filters[this.position % this.phases];
      let sum = 0;
      for (let i = 0, j = at - this.half + 1; i < taps.length; i++, j++) sum += taps[i] * input[j];
      output.push(sum);
      this.position += this.step;
    }
    const drop = Math.max(0, Math.floor(this.position / this.phases) - this.half + 1);
    this.held = input.slice(drop);
    this.position -= drop * this.phases;
    return Int16Array.from(output, (x) => Math.max(-32768, Math.min(32767, Math.round(x * 32768))));
  }
  flush() {
    return this.take(new Float32Array(this.half));
  }
}

// A problem that the visitor can do something about; `problem` is a key of MESSAGES.
class RecorderProblem extends Error {
  constructor(problem) {
    super(problem);
    this.problem = problem;
  }
}

class Recorder {
  // onSound(Int16Array), onLevel(0 … 1), onProblem(key): called from the first sample on.
  constructor({ onSound, onLevel, onProblem, constraints }) {
    Object.assign(this, { onSound, onLevel, onProblem, constraints });
  }

  // Resolves when the first sound has arrived: only then can people be told to speak.
  async start() {
    if (!window.isSecureContext || !navigator.mediaDevices) throw new RecorderProblem("insecure");
    // Large blocks: a tenth of a second of delay is nothing here, and with small ones a busy machine drops sound.
    this.context = new AudioContext({ latencyHint: "playback" });
    try {
      const address = URL.createObjectURL(new Blob([TAP], { type: "text/javascript" }));
      await this.context.audioWorklet.addModule(address);
      URL.revokeObjectURL(address);
      this.tap = new AudioWorkletNode(this.context, "tap", { numberOfOutputs: 0 });
      this.stream = await navigator.mediaDevices.getUserMedia({ audio: this.constraints });
    } catch (error) {
      await this.close();
      const known = { NotAllowedError: "refused", NotFoundError: "absent", NotReadableError: "taken" };
      throw new RecorderProblem(known[error.name] || "failed");
    }
    this.resampler = new Resampler(this.context.sampleRate);
    const arrived = new Promise((resolve) => {
      this.tap.port.onmessage = ({ data }) => {
        if (data === "flushed") return this.flushed();
        this.take(data);
        resolve();
      };
    });
    this.stream.getTracks().forEach((track) => (track.onended = () => this.onProblem("unplugged")));
    this.context.onstatechange = () => this.wake();
    document.addEventListener("visibilitychange", (this.awake = () => this.wake()));
    this.context.createMediaStreamSource(this.stream).connect(this.tap);
    await this.context.resume();
    await arrived;
  }

  take(block) {
    let peak = 0;
    for (const sample of block) peak = Math.max(peak, Math.abs(sample));
    this.onLevel(peak);
    this.onSound(this.resampler.take(block));
  }

  // A phone that was locked, or a call that came in, stops the sound: go on when it can, and say so until then.
  wake() {
    if (!this.context || this.context.state === "running" || this.context.state === "closed") return;
    this.onProblem("asleep");
    this.context.resume().then(() => this.onProblem(""), () => this.onProblem("asleep"));
  }

  // Hands over what is still on its way, then lets go of the microphone.
  async stop() {
    const flushed = new Promise((resolve) => (this.flushed = resolve));
    this.tap.port.postMessage("flush");
    await Promise.race([flushed, new Promise((resolve) => setTimeout(resolve, 1000))]);
    this.onSound(this.resampler.flush());
    await this.close();
  }

  async close() {
    document.removeEventListener("visibilitychange", this.awake);
    this.stream?.getTracks().forEach((track) => {
      track.onended = null;
      track.stop();
    });
    if (this.context) this.context.onstatechange = null;
    if (this.context?.state !== "closed") await this.context?.close();
    this.context = null;
  }
}
