"""In which of the pages' languages a text is: a strict look at its letters."""

import re

# Names and units that stay as they are in Chinese text.
LATIN = re.compile(
    r"\b(https?|localhost|YouTube|API|JSON|TXT|SRT|VTT|TSV|WAV|MP3|M4A|OGG|FLAC|WebM|MP4|MOV|MB|GB|kB|beam|time|stopped|"
    r"multipart/form-data|cantowhisper|export|MODEL|Ctrl|Enter|Shift|Z)\b"
)
CANTONESE = "唔嘅喺咗哋冇嘢啲撳揀緊佢咁俾畀"
HAN = re.compile("[㐀-鿿豈-﫿]")


def foreign(text: str, language: str) -> str:
    """What of a text is not of `language` (zh-HK, zh-CN or en); "" if nothing is."""
    han = HAN.findall(text)
    if language == "en":
        return "".join(han)
    latin = re.findall("[A-Za-z]{2,}", LATIN.sub("", text))
    encoding, others = ("big5hkscs", "") if language == "zh-HK" else ("gb2312", CANTONESE)
    return "".join([*latin, *(one for one in han if not one.encode(encoding, "ignore") or one in others)])


# Text that can be seen or is read aloud, with the language of its element. What is said in another language on purpose
# is left out: the switch, and what `beside` selects.
VISIBLE = """(beside) => {
  const OURS = ":is(.head, .limits, .live, #state, #player, #segments)"; // Gradio names its parts in English only
  const found = [], skip = `.languages, script, style, ${beside}`;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement, text = walker.currentNode.textContent.trim();
    if (text && !element.closest(skip) && element.checkVisibility({ visibilityProperty: true }))
      found.push([element.closest("[lang]").lang, text]);
  }
  for (const element of document.querySelectorAll(`${OURS} [aria-label], ${OURS} [title]`))
    if (!element.closest(skip) && element.checkVisibility({ visibilityProperty: true }))
      for (const name of ["aria-label", "title"])
        if (element.getAttribute(name)) found.push([element.closest("[lang]").lang, element.getAttribute(name)]);
  return found;
}"""


def strangers(tab, language: str, *, beside: str = "none") -> list[str]:
    """What a visitor of `language` sees in another one, or in an element that says that it is."""
    seen = tab.evaluate(VISIBLE, beside)
    assert len(seen) > 20, "the page is there"
    return [text for tag, text in seen if foreign(text, language) or (tag != language and re.search(r"\w{2}", text))]
