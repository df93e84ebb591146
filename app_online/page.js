// The page: what buttons do, and what people see.

const $ = (id) => element.querySelector("#live-" + id);
const live = element.querySelector(".live");
const transcript = new Transcript($("committed"), $("tentative"));
const alerts = new Alerts($("problem"));
const keeper = new Keeper(transcript, () => sound.total / RATE);
// Tests switch processing off, so that what is recorded equals what was played.
const asked = new URLSearchParams(location.search).has("raw") ? false : true;
const CONSTRAINTS = { channelCount: 1, echoCancellation: asked, noiseSuppression: asked, autoGainControl: asked };
const NEWS_MS = 15000; // how long the state line tells what happened, before it says again what goes on
const TWICE_MS = 1500; // two clicks on Stop nearer than this are one
let sound = new Sound(Math.ceil(keeper.restore() * RATE));
let recorder = null, transport = null, running = null, lock = null, view = null, news = null, stoppedAt = 0;

function say(key) {
  clearTimeout(news);
  $("state").dataset.said = key;
  tell($("state"), [phrase(`live.state.${key}`)]);
}
// `key` for a while, then what goes on.
function report(key) {
  say(key);
  news = setTimeout(() => say(live.dataset.state === "running" ? "listening" : live.dataset.state), NEWS_MS);
}
function setState(state, key) {
  live.dataset.state = state;
  say(key);
  enable();
}

// Counts on while nothing comes back: then all that was said since is late.
function showLag() {
  if (!running) return tell($("lag"), []);
  const late = Math.max(view?.lag_s ?? 0, 0) + (sound.total - transport.have) / RATE;
  const n = Math.floor(late), gaps = (view?.gaps ?? []).reduce((sum, [from, to]) => sum + (to - from) / RATE, 0);
  const usual = view?.usual_s == null ? null : Math.max(1, Math.round(view.usual_s)); // of all speakers on this server
  const now = n >= 1 ? phrase("live.behind", { n }) : phrase("live.up_to_date");
  const parts = [now + (usual ? phrase("live.usual", { n: usual }) : "")];
  if (known("level", view?.level)) parts.push(phrase(`live.level.${view.level}`));
  if (gaps) parts.push(phrase("live.missing", { n: gaps.toFixed(1) }));
  tell($("lag"), parts);
}
function show(answer) {
  view = answer;
  const paper = $("paper"), atEnd = paper.scrollHeight - paper.scrollTop - paper.clientHeight < 60;
  const tag = (code) => textTag(code, $("script").value);
  transcript.take(view.events, view.tentative, { tag, language: view.language });
  showLag();
  showLanguage();
  const minutes = transcript.spokenSeconds / 60, n = Math.round(transcript.words / minutes);
  tell($("pace"), minutes > 0.05 ? [phrase("live.pace", { n })] : []);
  if (atEnd) paper.scrollTop = paper.scrollHeight;
  if (view.events.length) keeper.soon();
  enable();
}
function showLanguage() {
  const heard = ["", "auto"].includes($("language").value) && view.detected;
  const name = view.language_name;
  if ($("heard").dataset.language === name + heard) return;
  $("heard").dataset.language = name + heard;
  tell($("heard"), name ? [phrase(heard ? "live.heard" : "live.spoken", { language: name })] : []);
}
function enable() {
  const has = transcript.lines.length > 0;
  live.classList.toggle("empty", !has && !$("tentative").textContent);
  element.querySelectorAll(".actions button").forEach((button) => (button.disabled = !has));
  $("clear").disabled = !has || running !== null;
  for (const choice of [$("language"), $("script"), $("words")]) if (choice) choice.disabled = running !== null;
}

async function start() {
  alerts.clear();
  $("playback").pause(); // the microphone would hear it
  view = null;
  const [language, script, words] = ["language", "script", "words"].map((name) => $(name)?.value ?? "");
  const choices = { language, script, words };
  transport = new Transport({ server, choices, sound, onView: show, onState: told });
  recorder = new Recorder({
    constraints: CONSTRAINTS,
    onSound: (block) => transport.add(block),
    onLevel: (peak) => (live.querySelector(".meter i").style.width = `${Math.min(100, 140 * Math.sqrt(peak))}%`),
    onProblem: (key) => {
      if (key) alerts.raise(key);
      else alerts.drop("asleep");
      if (key === "unplugged") stop();
    },
  });
  running = transport.run();
  setState("starting", "starting");
  try {
    await recorder.start();
    setState("running", "listening");
    lock = await navigator.wakeLock?.request("screen").catch(() => null);
  } catch (error) {
    transport.closed = true;
    transport.wakeUp?.();
    running = null;
    alerts.clear();
    alerts.raise(error.problem || "failed");
    setState("idle", "again");
  }
}

async function stop() {
  if (live.dataset.state === "stopping") return leaveRest();
  if (live.dataset.state !== "running") return;
  stoppedAt = Date.now();
  setState("stopping", "stopping");
  await recorder.stop();
  live.querySelector(".meter i").style.width = "0";
  lock?.release();
  transport.end();
}

// The visitor does not wait for the last sentence: the server is away, perhaps.
function leaveRest() {
  if (Date.now() - stoppedAt < TWICE_MS) return;
  if (transport.session) server.live_forget({ session: transport.session });
  transport.stop("done");
}

// What the transport has to say: a problem or its end, what happened to the session, or that all is done.
function told(key, detail) {
  if (!running) return; // it is over, or never began: the microphone was refused
  if (key === "open") alerts.drop("busy");
  else if (key === "back") alerts.drop("offline");
  else if (key === "lost") $("tentative").textContent = "";
  else if (known("problem", key)) alerts.raise(key, detail);
  if ((key === "lost" || key === "limit") && live.dataset.state === "running") report(key);
  if (transport.closed) finish();
}
function finish() {
  if (live.dataset.state === "running") recorder.stop();
  alerts.drop("offline", "busy", "asleep");
  transcript.close(sound.total / RATE);
  running = null;
  keeper.now();
  const playback = $("playback");
  if (playback.src) URL.revokeObjectURL(playback.src);
  playback.src = URL.createObjectURL(wav(sound.slice(sound.oldest, sound.total)));
  playback.hidden = false;
  transcript.playable(sound.oldest / RATE);
  showLag();
  setState("idle", "done");
}

$("go").onclick = () => (live.dataset.state === "idle" ? start() : stop());
$("clear").onclick = () => {
  const playback = $("playback");
  URL.revokeObjectURL(playback.src);
  playback.removeAttribute("src");
  playback.hidden = true;
  transcript.clear();
  sound = new Sound();
  keeper.now();
  for (const id of ["lag", "heard", "pace"]) tell($(id), []);
  setState("idle", "idle");
};
$("times").onchange = (event) => live.classList.toggle("with-times", event.target.checked);
$("copy").onclick = async () => {
  await navigator.clipboard.writeText(transcript.text);
  report("copied");
};
element.querySelectorAll("[data-format]").forEach((button) => {
  button.onclick = async () => {
    const { format } = button.dataset, file = format === "txt" ? transcript.file : await subtitles(format);
    if (file === undefined) return;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([file], { type: "text/plain" }));
    link.download = `live.${format}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };
});
// The server makes them: it knows how long lines may be and where words end. undefined: people were told why not.
async function subtitles(name) {
  alerts.drop("no_file", "refused_by_server");
  const asked = { name, lines: transcript.rows(), read_in: LANGUAGE };
  const reply = await server.live_subtitles(asked).catch(() => null);
  if (reply?.error) alerts.raise("refused_by_server", reply.error);
  else if (!reply) alerts.raise("no_file");
  return reply?.file;
}
$("committed").onclick = ({ target }) => {
  if (!target.matches(".time")) return;
  $("playback").currentTime = Math.max(0, target.dataset.seconds - sound.oldest / RATE);
  $("playback").play();
};

addEventListener("beforeunload", (event) => {
  if (running || transcript.lines.length) event.preventDefault();
});
// A tab that is closed leaves its place to others at once; without this the server waits for it for a while.
addEventListener("pagehide", ({ persisted }) => {
  keeper.now();
  if (!persisted && transport?.session) server.live_forget({ session: transport.session });
});
// What a visitor has put right is no problem any more.
navigator.permissions?.query({ name: "microphone" }).then(
  (permission) => (permission.onchange = () => permission.state !== "denied" && alerts.drop("refused")),
  () => {},
);
let microphones = 0;
async function countMicrophones() {
  const devices = (await navigator.mediaDevices?.enumerateDevices().catch(() => [])) ?? [];
  const now = devices.filter(({ kind }) => kind === "audioinput").length;
  if (now > microphones) alerts.drop("absent", "unplugged");
  microphones = now;
}
countMicrophones();
navigator.mediaDevices?.addEventListener("devicechange", countMicrophones);

setInterval(() => running && showLag(), 500);
if ($("words")) $("words").value = window.listedWords.kept();
setState("idle", transcript.lines.length ? "restored" : "idle");
transcript.playable(Infinity);
if (new URLSearchParams(location.search).has("raw"))
  window.cantowhisperLive = () => ({ transport, transcript, alerts, sound, show, textTag });
