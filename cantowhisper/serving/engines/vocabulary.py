"""The tokenizer of a model, with the ids that recognition needs by name."""

import re
from collections.abc import Iterable
from functools import cached_property

from cantowhisper.contracts import CantowhisperError
from cantowhisper.serving.engines.timestamps import Timestamps
from cantowhisper.speech.language import known_languages

NO_SPEECH_TOKENS = ("<|nospeech|>", "<|nocaptions|>")  # one token under its newer and older name


class Vocabulary:
    """tokenizer : a tokenizers.Tokenizer with Whisper's special tokens."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.ids = tokenizer.get_vocab(with_added_tokens=True)
        self.end = self.ids["<|endoftext|>"]
        # Tokens that are no text: a transcript without timestamps holds none of them, only its end.
        special = sorted(i for name, i in self.ids.items() if re.fullmatch(r"<\|.+\|>", name) and i != self.end)
        self._not_text = {*special, self.end}
        self.timestamps = Timestamps(first=self.ids["<|0.00|>"], end=self.end) if "<|0.00|>" in self.ids else None
        self.suppressed = tuple(special)
        # With timestamps, which are the last tokens of Whisper's vocabulary.
        last = self.timestamps.first if self.timestamps else max(special) + 1
        self.suppressed_but_timestamps = tuple(i for i in special if i < last)
        self.nobody_speaks = next((self.ids[name] for name in NO_SPEECH_TOKENS if name in self.ids), None)

    @cached_property
    def languages(self) -> list[str]:
        """Codes of the languages that the tokenizer has a token for."""
        return known_languages(self.ids)

    @property
    def language_tokens(self) -> list[str]:
        """Theirs: what a language is looked for in, and not all 51,865 tokens for every piece."""
        return [f"<|{code}|>" for code in self.languages]

    def prompt(self, language_token: str, task: str = "transcribe") -> list[int]:
        """The tokens with which a transcript in this language begins, or a translation of it into English.

        Raises
        ------
        CantowhisperError : the tokenizer lacks one of them
        """
        names = ["<|startoftranscript|>", language_token, f"<|{task}|>", "<|notimestamps|>"]
        absent = [name for name in names if name not in self.ids]
        if absent == [language_token]:
            raise CantowhisperError(
                f"the model's tokenizer has no {language_token}; check language_token in cantowhisper.json"
            )
        if absent:
            raise CantowhisperError(f"this is no multilingual Whisper: its tokenizer lacks {', '.join(absent)}")
        return [self.ids[name] for name in names]

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def text_ids(self, ids: Iterable[int]) -> list[int]:
        """Those that are text."""
        return [i for i in ids if i not in self._not_text]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids that are text; it may end with U+FFFD where a character's bytes are not all there."""
        return self.tokenizer.decode(list(ids))
