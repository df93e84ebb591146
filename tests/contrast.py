"""Whether faint eyes can read a page: the contrast of every text on it."""

# For each text that can be seen: [contrast, whether it is large, the text]. Disabled controls are left out, as in
# WCAG 1.4.3; relative luminance and contrast are those of WCAG 2.2. Colours are read when they have come to rest: a
# button that has just been enabled fades in.
CONTRASTS = """async () => {
  await Promise.allSettled(
    document.getAnimations().filter((one) => one instanceof CSSTransition).map((one) => one.finished)
  );
  const parse = (color) => {
    const [r, g, b, a = 1] = color.match(/[\\d.]+/g).map(Number);
    return { rgb: [r, g, b], a };
  };
  const over = (top, below) => top.rgb.map((c, i) => c * top.a + below[i] * (1 - top.a));
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement, text = walker.currentNode.textContent.trim();
    if (!text || !element.checkVisibility() || element.closest(":disabled:not(.time), script, style")) continue;
    const chain = [];
    for (let one = element; one; one = one.parentElement) chain.unshift(getComputedStyle(one));
    let below = [255, 255, 255], opacity = 1;
    for (const style of chain) {
      below = over(parse(style.backgroundColor), below);
      opacity *= +style.opacity;
    }
    const style = chain.at(-1), ink = parse(style.color);
    const front = over({ ...ink, a: ink.a * opacity }, below);
    const [light, dark] = [luminance(front), luminance(below)].sort((a, b) => b - a);
    const px = parseFloat(style.fontSize);
    found.push([(light + 0.05) / (dark + 0.05), px >= 24 || (px >= 18.66 && +style.fontWeight >= 700), text]);
  }
  return found;
}"""


def low(found: list) -> list:
    """Those of CONTRASTS that WCAG AA does not allow."""
    return [one for one in found if one[0] < (3.0 if one[1] else 4.5)]
