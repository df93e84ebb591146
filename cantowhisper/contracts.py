"""What passes between the rooms: feature columns, model facts, segments, and the one error.

The rooms meet only here: `features` writes what FEATURE_COLUMNS names, `training` reads it and writes a model
folder with `cantowhisper.json`, `serving` reads that folder and yields segments.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cantowhisper import __version__
from cantowhisper.files import write_json

FEATURE_COLUMNS = {
    "id": "string",  # unique within the dataset; the clip's file name without its ending for Common Voice
    "features": "float16 (n_frames, n_mels)",  # unpadded log-Mel, 10 ms a frame; storage "uint8" rounds to 1/128
    "text": "string",  # text, not token ids: another tokenizer, packing and timestamps stay possible
    "duration_s": "float32",
    "speaker": "string",  # salted hash; the source's own speaker id never leaves
    "source": "string",
    "language": "string",  # of what is said, a tag such as yue, zh-HK or de; older datasets lack the column
    "labelled_by": "string",  # the model that wrote the text (a pseudo-label); "": people did. Older ones lack it, too
    "gender": "string",  # as the source says: female, male, …; "" if it does not, and missing from older ones
    "age": "string",  # likewise: teens, twenties, …
}
LATER_COLUMNS = ("language", "labelled_by", "gender", "age")  # which older datasets lack
SPLITS = ("train", "validation", "test")
STATS_FILE = "stats.json"  # of a feature dataset
CARD_FILE = "README.md"  # of a dataset or a model, as the Hub shows it
MODEL_FACTS_FILE = "cantowhisper.json"
LANGUAGE_MODEL_FILE = "language_model.npz"  # of a model folder, where there is one (speech/ngram.py)
LANGUAGE_MODEL_REPORT_FILE = "language_model.json"  # of what, and what it changes
TRAINED_CONTEXTS = ("full", "merged", "variable")
ONNX_FOLDER = "onnx"  # the export that serving runs, inside the model folder
CT2_FOLDER = "ct2"  # the export for users of CTranslate2 and faster-whisper, there too
ENCODER_FILE, DECODER_CROSS_FILE, DECODER_FILE = "encoder.onnx", "decoder_cross.onnx", "decoder.onnx"


class CantowhisperError(Exception):
    """An error of the outside world (input, disk, network): one line that says what is wrong and what to do.

    The command line prints it without a traceback and ends with exit code 1, or 2 for UsageError.
    """


class UsageError(CantowhisperError):
    """The command or an option is wrong; nothing was started. Exit code 2."""


@dataclass(frozen=True)
class ModelFacts:
    """What serving must know of a model and a stock checkpoint cannot say (`cantowhisper.json`).

    `context` holds the fields of speech.context.Context with which it was trained, and is empty for a stock Whisper;
    `speech.context.context_of` reads it.
    """

    trained_contexts: str = "full"  # "full": 30 s windows only; "merged", "variable" (plainly): the clip's own length
    context: Mapping[str, Any] = field(default_factory=dict)
    language: str = ""  # what it was trained for, a code such as yue; "": a stock model, which tells by listening
    language_token: str = ""  # what it is decoded with: a tokenizer may have that of a relative only (<|zh|> for yue)
    script: str = "other"  # the script of the training text: "traditional" | "simplified" | "other"
    feature_source: str = ""
    feature_revision: str = ""
    package_version: str = __version__

    def __post_init__(self):
        if self.trained_contexts not in TRAINED_CONTEXTS:
            raise CantowhisperError(
                f"trained_contexts is {self.trained_contexts!r}; it is one of {', '.join(TRAINED_CONTEXTS)}"
            )

    def save(self, folder: str | os.PathLike) -> Path:
        """Write `cantowhisper.json` into a model folder (aside, then renamed) and return its path."""
        path = Path(folder) / MODEL_FACTS_FILE
        write_json(dataclasses.asdict(self), path)
        return path

    @classmethod
    def load(cls, folder: str | os.PathLike) -> "ModelFacts":
        """Read a model folder's facts; a folder without the file is any stock Whisper: full contexts, any language.

        Keys that a later version may add are ignored, so that an older page can still serve a newer model.
        """
        path = Path(folder) / MODEL_FACTS_FILE
        if not path.exists():
            return cls()
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if "context" not in found and found.get("trained_contexts") == "variable":  # written by version 0.1.0
                found["context"] = {
                    "kind": "plain",
                    "margin_frames": found.get("context_margin_frames", 128),
                    "bucket_frames": 100,
                    "min_frames": found.get("min_context_frames", 200),
                }
            return cls(**{f.name: found[f.name] for f in dataclasses.fields(cls) if f.name in found})
        except (ValueError, AttributeError, TypeError) as error:
            raise CantowhisperError(
                f"{path} is not readable as model facts ({error}); export the model again"
            ) from error


@dataclass(frozen=True, kw_only=True)
class DecodingOptions:
    """How the text of each clip is searched for. Nothing is sampled."""

    max_new_tokens: int  # tokens, without prompt and end
    suppress_tokens: tuple[int, ...] = ()  # ids that are never written, besides those that the model itself suppresses
    beam_size: int = 1  # hypotheses at a time; 1 is greedy
    repetition_penalty: float = 1.0  # factor on the log-probability of tokens that were there; 1 is none
    no_repeat_ngram_size: int = 0  # tokens that are not written again in the same order; 0 is no limit
    # Tokens at the end of the prompt that are text already. What is decoded goes on from them (and may be nothing);
    # they count as written for what repeats, and are no part of the result.
    prefix_length: int = 0
    # The token of 0.00 s, for text with timestamps by Whisper's rules (they are part of the result); None is without.
    first_timestamp: int | None = None
    words: Any = None  # names and terms that are favoured, a serving.engines.words.Words
    language_model: Any = None  # whose log-probabilities count as well, a speech.ngram.NGram
    # A batch of one clip, of so many frames: also where each token's attention peaks, from engines that tell.
    peaks_in_frames: int | None = None


@dataclass(frozen=True)
class Segment:
    """A stretch of recognised speech. Times are seconds from the start of the recording."""

    start_s: float
    end_s: float
    text: str
    confidence: float  # exp(mean token log-probability), 0 to 1
    flags: tuple[str, ...] = ()  # e.g. "repetition", "low_confidence"
    characters: tuple[tuple[str, float, float], ...] = ()  # (character, start_s, end_s), where they were asked for
    language: str = ""  # the code of what it was decoded as
    speaker: int | str = 0  # who speaks: counted from 1 in the order of appearance, 0 if not asked for; or a name
