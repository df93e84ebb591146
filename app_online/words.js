// What people are told, in Chinese and in English, and which alerts hold at the moment.

// Something that stands in the way, until it does no longer.
const PROBLEMS = {
  insecure: ["要用 https 或者 localhost 開呢頁，先用到咪高峰。", "The microphone works only on https or on localhost."],
  refused: ["瀏覽器唔畀用咪高峰，請喺網址列嗰度准許，再撳「開始」。",
    "The microphone was refused: allow it beside the address, then press Start."],
  absent: ["搵唔到咪高峰，請插返好，再撳「開始」。", "No microphone was found: connect one, then press Start."],
  taken: ["第個程式用緊咪高峰，請閂咗佢先。", "Another program is using the microphone: close it, then press Start."],
  failed: ["開唔到咪高峰，請重新載入呢頁再試。", "The microphone could not be started: reload the page and try again."],
  unplugged: ["咪高峰甩咗；之前講嘅都仲喺度。插返好就可以再撳「開始」。",
    "The microphone was unplugged; what was said before is kept. Connect it, then press Start."],
  asleep: ["分頁暫停咗，而家聽唔到；返嚟呢頁就會繼續。",
    "This tab was put to sleep and hears nothing; it goes on when you are back."],
  offline: ["連唔到伺服器。你講嘅嘢會留喺呢個分頁，連返就繼續。",
    "No connection to the server: what you say is kept in this tab and sent when it is back."],
  busy: ["而家好多人用，等緊位；你講嘅嘢會留住。", "All places are taken: waiting for one. What you say is kept."],
  refused_by_server: ["伺服器唔接受：", "The server did not accept this: "],
};
// What goes on.
const STATES = {
  idle: ["撳「開始」，然後講嘢。", "Press Start and speak."],
  starting: ["開緊咪高峰…", "Starting the microphone …"],
  listening: ["聽緊，請講。", "Listening: speak now."],
  stopping: ["處理緊最後一句…", "Finishing the last sentence …"],
  done: ["完成。", "Done."],
  limit: ["到咗一節嘅時限，已經自動開咗下一節，文字會繼續。",
    "The session reached its time limit. The next one was opened by itself, and text goes on."],
  lost: ["伺服器嗰邊嘅一節冇咗（可能重新啟動過），由未完成嗰句繼續。",
    "The server no longer had the session (it may have restarted). It goes on from the unfinished sentence."],
  restored: ["之前嘅文字仲喺度，錄音就冇咗。唔要就撳「清除」。",
    "Your text from before is here; its sound is gone. Press Clear if you do not want it."],
  again: ["撳「開始」再試。", "Press Start to try again."],
  copied: ["複製咗。", "Copied."],
};
const LEVELS = {
  longer_step: ["忙緊，出字疏啲", "busy: updates come less often"],
  no_tentative: ["好忙，淨係顯示確定咗嘅字", "very busy: only final text is shown"],
  pauses_only: ["非常忙，停頓嗰陣先出字", "overloaded: text comes at pauses"],
  full: ["爆滿，停頓嗰陣先出字", "full: text comes at pauses"],
};

// Fills an element with Chinese and English parts: [[Chinese, English], …].
function tell(element, parts) {
  element.replaceChildren();
  parts.forEach(([chinese, english], i) => {
    const span = document.createElement("span");
    span.lang = "en";
    span.textContent = english;
    element.append((i ? " · " : "") + chinese + " ", span);
  });
}

// Problems that hold; the newest is shown.
class Alerts {
  constructor(element) {
    this.element = element;
    this.holding = new Map();
  }
  raise(key, detail = "") {
    this.holding.delete(key);
    this.holding.set(key, detail);
    this.show();
  }
  drop(...keys) {
    keys.forEach((key) => this.holding.delete(key));
    this.show();
  }
  clear() {
    this.drop(...this.holding.keys());
  }
  show() {
    const [key, detail] = [...this.holding].at(-1) || ["", ""];
    if (this.element.dataset.problem === key && this.detail === detail) return; // read aloud once
    [this.element.hidden, this.element.dataset.problem, this.detail] = [!key, key, detail];
    tell(this.element, key ? [[PROBLEMS[key][0], PROBLEMS[key][1] + detail]] : []);
  }
}

// The tag by which browsers choose voices and fonts.
function textTag(code, script) {
  if (code === "yue") return script === "simplified" ? "yue-Hans" : "zh-HK";
  return code + (code === "zh" ? { traditional: "-Hant", simplified: "-Hans" }[script] || "" : "");
}
