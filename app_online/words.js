// What people are told, and which alerts hold at the moment. Texts come from the server in the visitor's language.

const known = (kind, key) => `live.${kind}.${key}` in TEXTS;

// Fills an element with parts.
function tell(element, parts) {
  element.textContent = parts.join(" · ");
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
    tell(this.element, key ? [phrase(`live.problem.${key}`, { detail })] : []);
  }
}

// The tag by which browsers choose voices and fonts.
function textTag(code, script) {
  if (code === "yue") return script === "simplified" ? "yue-Hans" : "zh-HK";
  return code + (code === "zh" ? { traditional: "-Hant", simplified: "-Hans" }[script] || "" : "");
}
