// The page: what buttons do, and what people are told.

const MESSAGES = {
  insecure: "要用 https 或者 localhost 開呢頁先用到咪高峰。 The microphone works only on https or on localhost.",
  refused: "瀏覽器唔畀用咪高峰，請喺網址列嗰度准許。 The microphone was refused: allow it beside the address, then press Start.",
  absent: "搵唔到咪高峰，請插返好再試。 No microphone was found: connect one, then press Start.",
  taken: "咪高峰畀第二個程式用緊。 Another program is using the microphone: close it, then press Start.",
  failed: "開唔到咪高峰。 The microphone could not be started: reload the page and try again.",
  unplugged: "咪高峰斷咗線，已經錄到嘅仲喺度。 The microphone was unplugged; what was said before is kept.",
  asleep: "分頁瞓咗，暫時聽唔到；返嚟呢頁就會繼續。 This tab was put to sleep and hears nothing; it goes on when you are back.",
  offline: "連唔到伺服器，聲會留喺度，連返就繼續。 No connection: your speech is kept here and sent when it is back.",
  restarted: "伺服器重新開過，由未完成嗰句繼續。 The server was restarted; it goes on from the sentence that was not done.",
  busy: "而家好多人用，等緊位；你講嘅嘢會留住。 All places are taken: waiting for one. What you say is kept.",
  refused_by_server: "伺服器唔接受： The server did not accept this: ",
};
const LEVELS = {
  longer_step: "忙緊，更新慢啲 busy: updates come less often",
  no_tentative: "好忙，只顯示確定咗嘅字 very busy: only final text is shown",
  pauses_only: "非常忙，停頓先更新 overloaded: text comes at pauses",
  full: "爆滿 full: text comes at pauses",
};

const $ = (id) => element.querySelector("#live-" + id);
const live = element.querySelector(".live");
const transcript = new Transcript($("committed"), $("tentative"));
// Tests switch processing off, so that what is recorded equals what was played.
const asked = new URLSearchParams(location.search).has("raw") ? false : true;
const CONSTRAINTS = { channelCount: 1, echoCancellation: asked, noiseSuppression: asked, autoGainControl: asked };
let sound = new Sound();
let recorder = null, transport = null, running = null, lock = null;

function say(chinese, english) {
  $("state").replaceChildren(chinese + " ");
  const span = document.createElement("span");
  span.lang = "en";
  span.textContent = english;
  $("state").append(span);
}
function problem(key, detail = "") {
  $("problem").hidden = !key;
  $("problem").dataset.problem = key;
  $("problem").textContent = key ? MESSAGES[key] + detail : "";
}
function gapText(gaps) {
  const seconds = gaps.reduce((sum, [from, to]) => sum + (to - from) / RATE, 0);
  return seconds ? `唔見咗 ${seconds.toFixed(1)} 秒聲 ${seconds.toFixed(1)} s of sound are missing` : "";
}

function show(view) {
  const paper = $("paper"), atEnd = paper.scrollHeight - paper.scrollTop - paper.clientHeight < 60;
  transcript.take(view.events, view.tentative);
  const late = Math.max(view.lag_s, 0) + (sound.total - transport.have) / RATE;
  const behind = late >= 1 ? `慢 ${Math.floor(late)} 秒 · ${Math.floor(late)} s behind` : "冇遲 · up to date";
  $("lag").textContent = [behind, LEVELS[view.level], gapText(view.gaps)].filter(Boolean).join(" · ");
  const minutes = transcript.spokenSeconds / 60;
  $("pace").textContent = minutes > 0.05 ? `每分鐘 ${Math.round(transcript.words / minutes)} 字 words a minute` : "";
  if (atEnd) paper.scrollTop = paper.scrollHeight;
  enable();
}
function enable() {
  const has = transcript.lines.length > 0;
  element.querySelectorAll(".actions button").forEach((button) => (button.disabled = !has));
  $("clear").disabled = !has || running !== null;
  for (const choice of [$("language"), $("script")]) choice.disabled = running !== null;
}

async function start() {
  problem("");
  live.dataset.state = "starting";
  say("開緊咪高峰…", "Starting the microphone …");
  const choices = { language: $("language").value, script: $("script").value };
  transport = new Transport({ server, choices, sound, onView: show, onState: told });
  recorder = new Recorder({
    constraints: CONSTRAINTS,
    onSound: (block) => transport.add(block),
    onLevel: (peak) => (live.querySelector(".meter i").style.width = `${Math.min(100, 140 * Math.sqrt(peak))}%`),
    onProblem: (key) => {
      problem(key);
      if (key === "unplugged") stop();
    },
  });
  running = transport.run();
  enable();
  try {
    await recorder.start();
    live.dataset.state = "running";
    say("聽緊，請講。", "Listening: speak now.");
    lock = await navigator.wakeLock?.request("screen").catch(() => null);
  } catch (error) {
    transport.closed = true;
    transport.wakeUp?.();
    running = null;
    live.dataset.state = "idle";
    problem(error.problem || "failed");
    say("撳「開始」再試。", "Press Start to try again.");
    enable();
  }
}

async function stop() {
  if (live.dataset.state !== "running") return;
  live.dataset.state = "stopping";
  say("處理緊最後一句…", "Finishing the last sentence …");
  await recorder.stop();
  live.querySelector(".meter i").style.width = "0";
  lock?.release();
  transport.end();
}

// What the transport has to say: a problem, its end, or that the end is reached.
function told(key, detail) {
  if (key === "back") return problem("");
  if (key !== "done") problem(key, detail);
  if (key === "restarted") $("tentative").textContent = "";
  if (!transport.closed) return;
  if (live.dataset.state === "running") recorder.stop();
  transcript.close(sound.total / RATE);
  running = null;
  live.dataset.state = "idle";
  say("完成。", "Done.");
  const playback = $("playback");
  if (playback.src) URL.revokeObjectURL(playback.src);
  playback.src = URL.createObjectURL(wav(sound.slice(sound.oldest, sound.total)));
  playback.hidden = false;
  enable();
}
$("go").onclick = () => (live.dataset.state === "idle" ? start() : stop());
$("clear").onclick = () => {
  const playback = $("playback");
  URL.revokeObjectURL(playback.src);
  playback.removeAttribute("src");
  playback.hidden = true;
  transcript.clear();
  sound = new Sound();
  $("lag").textContent = $("pace").textContent = "";
  say("撳「開始」，然後講嘢。", "Press Start and speak.");
  enable();
};
$("times").onchange = (event) => live.classList.toggle("with-times", event.target.checked);
$("copy").onclick = async () => {
  await navigator.clipboard.writeText(transcript.text);
  say("複製咗。", "Copied.");
};
element.querySelectorAll("[data-format]").forEach((button) => {
  button.onclick = () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([transcript.file(button.dataset.format)], { type: "text/plain" }));
    link.download = `live.${button.dataset.format}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };
});
$("committed").onclick = ({ target }) => {
  const playback = $("playback");
  if (target.tagName !== "TIME" || playback.hidden) return;
  playback.currentTime = Math.max(0, target.dataset.seconds - sound.oldest / RATE);
  playback.play();
};
// A tab that is closed leaves its place to others at once; without this the server waits for it for a while.
addEventListener("pagehide", ({ persisted }) => {
  if (!persisted && transport?.session) server.live_forget({ session: transport.session });
});
if (new URLSearchParams(location.search).has("raw")) window.cantowhisperLive = () => ({ transport, transcript });
