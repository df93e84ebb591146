"""A model folder in, text out: pieces of speech, batched by length, decoded with an input as short as they are.

Stock Whisper pads every piece to 30 s. Here the silence of that window is merged (speech/context.py), and for 4 s of
speech the encoder does a quarter of the work. Nothing here imports torch or transformers unless that engine is chosen.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import chain

import numpy as np

from cantowhisper.contracts import LANGUAGE_MODEL_FILE, CantowhisperError, ModelFacts, Segment, UsageError
from cantowhisper.serving.batches import batches, chunks
from cantowhisper.serving.characters import least_values
from cantowhisper.serving.detection import first_speech
from cantowhisper.serving.engines.engine import Engine
from cantowhisper.serving.engines.open import find_export, open_engine
from cantowhisper.serving.engines.vocabulary import Vocabulary
from cantowhisper.serving.engines.words import Words
from cantowhisper.serving.glossary import NO_WORDS, WEIGHT, favoured
from cantowhisper.serving.hub import model_folder
from cantowhisper.serving.live.agreement import CONFIDENT, Hypothesis, common_prefix_length
from cantowhisper.serving.menus import default_script
from cantowhisper.serving.pieces import Pieces
from cantowhisper.serving.segments import SegmentOptions, Span, audible, find_segments
from cantowhisper.serving.speakers.labels import require_speakers, with_speakers
from cantowhisper.speech.context import Context, context_of
from cantowhisper.speech.language import language_code, language_token
from cantowhisper.speech.mel import SAMPLE_RATE
from cantowhisper.speech.ngram import NGram
from cantowhisper.speech.text import to_script

LIVE_BUCKET_FRAMES = 20  # a live pass shares its batch with nobody; half a second less of input is a tenth of its work
# Seconds of neighbouring pieces that a stock model hears together: it was trained on windows of several sentences.
# CER of whisper-base on 20 recordings each of five Taiwanese, Japanese and German clips: 20.9, 29.2 and 8.2 % piece by
# piece; 18.4, 27.4 and 7.6 up to 10 s; 20.0, 27.2 and 7.2 up to 14 s; 19.6 and 27.8 (the first two) up to 28 s.
STOCK_CHUNK_S = 14.0
KEPT_LISTS = 16  # of words, by whoever speaks
LEAST_PROBABILITY = 1e-12  # of a language: its logarithm stays finite


class Recognizer:
    """A loaded model. One instance serves many requests, one at a time or from several threads."""

    def __init__(
        self,
        engine: Engine,
        tokenizer,
        facts: ModelFacts,
        *,
        context: Context | None = None,
        options: SegmentOptions | None = None,
        language_model: NGram | None = None,
    ):
        self.engine, self.facts, self.language_model = engine, facts, language_model
        self.context = context or context_of(facts)
        self.options = options or SegmentOptions()
        self.vocabulary = Vocabulary(tokenizer)
        # A live session asks with the same words for each of its passes.
        self.word_weight = WEIGHT
        self._lists = lru_cache(KEPT_LISTS)(
            lambda words, weight: favoured(words, self.vocabulary.encode, weight=weight)
        )
        self.chunk_s = STOCK_CHUNK_S if self.detects_language and self.vocabulary.timestamps else 0.0

    @classmethod
    def open(
        cls,
        model: str | os.PathLike,
        *,
        threads: int | None = None,
        backend: str = "auto",
        context: str | None = None,
        options: SegmentOptions | None = None,
    ) -> "Recognizer":
        """Load a model.

        Parameters
        ----------
        model : a model folder, its `onnx/` folder alone, or a Hub id
        threads : CPU threads for the model (default: what the machine has, at most 8)
        backend : "auto" or "onnx" run the export, and make one of weights that have none; "transformers" the weights
        context : "full" pays for 30 s of input, for comparison; "merged", "plain"; default is what suits the model

        Raises
        ------
        CantowhisperError : there is no such model, or nothing installed can run it
        """
        from tokenizers import Tokenizer

        folder = model_folder(model, export=backend != "transformers")
        engine = open_engine(folder, threads=threads or min(os.cpu_count() or 1, 8), backend=backend)
        # An export carries copies of both files, so that it can be served alone.
        places = [p for p in (folder, find_export(folder)) if p]
        file = next((p / "tokenizer.json" for p in places if (p / "tokenizer.json").exists()), None)
        if file is None:
            raise CantowhisperError(f"{folder} has no tokenizer.json; save the tokenizer beside the model")
        facts = next((ModelFacts.load(p) for p in places if (p / "cantowhisper.json").exists()), ModelFacts())
        chosen = replace(context_of(facts), kind=context) if context else context_of(facts)
        counted = folder / LANGUAGE_MODEL_FILE
        language_model = NGram.load(counted) if counted.exists() else None
        return cls(
            engine,
            Tokenizer.from_file(str(file)),
            facts,
            context=chosen,
            options=options,
            language_model=language_model,
        )

    @property
    def languages(self) -> list[str]:
        """Codes of the languages that the tokenizer has a token for."""
        return self.vocabulary.languages

    def transcribe(self, waveform: np.ndarray, **options) -> list[Segment]:
        """All segments of a recording; `stream` says what the options are."""
        return list(self.stream(waveform, **options))

    def stream(
        self,
        waveform: np.ndarray,
        *,
        language: str | None = None,
        script: str | None = None,
        beam_size: int = 1,
        characters: bool = False,
        task: str = "transcribe",
        words: Sequence[str] = (),
        speakers: int | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> Iterator[Segment]:
        """Yield the segments of a recording in time order, each as soon as its batch is ready.

        Parameters
        ----------
        waveform : float32, shape (n_samples,), in [-1, 1], 16 kHz mono
        language : code or name, or "auto": the model tells; default is what it was trained for, for a stock one "auto"
        script : "traditional", "simplified", "as written"; default is what the model writes, but traditional for a
            stock model that is told to write Cantonese: it would mix both
        beam_size : 1 is greedy; 5 costs about twice the time
        characters : also when each character was said (costs a quarter more)
        task : "translate" writes English, where the model `translates`
        words : names and terms that are likely to be said (glossary.py)
        speakers : also who speaks: how many there are, or 0 for as many as are heard (speakers/)
        should_stop : asked before each batch; True ends the stream where it is

        Raises
        ------
        UsageError : the model does not know the language, the script does not exist, the engine takes no words, or
            telling speakers apart takes packages that are not installed
        """
        listed = self._favoured(words)
        self._prompt(None if language == "auto" else language, task)  # refuses a language before the work, not after it
        script = script or default_script(self.facts, language)
        to_script("", script)  # and a script
        require_speakers(speakers)
        waveform = audible(np.ascontiguousarray(waveform, dtype=np.float32), self.options)
        spans = find_segments(waveform, self.options)
        if self._must_detect(language):
            language = self.detect_language(waveform, spans) if spans else None
        if speakers is not None:  # before any text: what is heard together is of one speaker
            spans = with_speakers(waveform, spans, speakers, should_stop=should_stop)
        pieces = self._pieces(waveform, language, task, beam_size=beam_size, words=listed)
        jobs = [pieces.job(*chunk) for chunk in chunks(spans, at_most_s=self.chunk_s)]
        for batch in batches(jobs):
            if should_stop and should_stop():
                return
            for segment in chain.from_iterable(pieces.decode(batch)):
                text = to_script(segment.text, script, language=pieces.language)
                segment = replace(segment, text=text, language=pieces.language)
                yield replace(segment, characters=pieces.characters(segment)) if characters else segment

    def decode(
        self,
        waveform: np.ndarray,
        prefix: str = "",
        *,
        language: str | None = None,
        words: Sequence[str] = (),
        attention: bool = False,
    ) -> Hypothesis:
        """What is said after `prefix` in one piece of speech, which is taken as it is (live: it may still go on).

        The characters in `prefix` are given to the decoder as its beginning: only what is new is written by token.

        Parameters
        ----------
        waveform : float32, shape (n_samples,), 16 kHz, at most 30 s
        prefix : text of its beginning; the text returned goes on from there (with a space where one belongs)
        language : code or name; default is what the model was trained for, or for a stock model what it hears here
        words : as in `stream`
        attention : also where the model looked for each character; engines on torch do not tell

        Returns
        -------
        Hypothesis : its text may end with U+FFFD where a character's bytes are not all there
        """
        span = Span(0, waveform.size)
        if self._must_detect(language):
            language = self.detect_language(waveform, [span])
        options = {"context": replace(self.context, bucket_frames=LIVE_BUCKET_FRAMES), "words": self._favoured(words)}
        pieces = self._pieces(waveform, language, **options)
        begin = self.vocabulary.encode(prefix)
        decoded = pieces.decode_after(pieces.job(span), begin, attention=attention)
        ids = self.vocabulary.text_ids(decoded.token_ids)
        unsure = next((i for i, p in enumerate(decoded.log_probs) if p < np.log(CONFIDENT)), len(decoded.token_ids))
        sure_ids = self.vocabulary.text_ids(decoded.token_ids[:unsure])
        text, sure, old = (self.vocabulary.decode([*begin, *more]) for more in (ids, sure_ids, []))
        hypothesis = Hypothesis(text[len(old) :], max(0, common_prefix_length(text, sure) - len(old)))
        if not decoded.peaks_s:
            return hypothesis
        looked_s = zip(decoded.token_ids, decoded.peaks_s, strict=True)
        from_end_s = [
            waveform.size / SAMPLE_RATE - second for one, second in looked_s if self.vocabulary.text_ids([one])
        ]
        return hypothesis._replace(from_end_s=tuple(least_values(self.vocabulary.decode, begin, ids, from_end_s)))

    @property
    def takes_words(self) -> bool:
        """Whether a list of words can be favoured."""
        return self.engine.takes_words

    def _favoured(self, words: Sequence[str]) -> Words | None:
        if not words:
            return None
        if not self.takes_words:
            raise UsageError(NO_WORDS)
        return self._lists(tuple(words), self.word_weight)

    def _prompt(self, language: str | None, task: str = "transcribe") -> list[int]:
        language = language or self.facts.language_token or "zh"
        known = language == self.facts.language_token
        token = language if known else language_token(self.vocabulary.language_tokens, language)
        return self.vocabulary.prompt(token, task)

    def _pieces(self, waveform: np.ndarray, language: str | None, task: str = "transcribe", **options) -> Pieces:
        """A recording with what decoding it takes. language : code, name or token; None is the model's own."""
        options = {"context": self.context, "prompt": self._prompt(language, task), **options}
        code = "en" if task == "translate" else self._language_code(language)
        if self.language_model and self.language_model.facts.language == code:
            options["language_model"] = self.language_model
        return Pieces(engine=self.engine, vocabulary=self.vocabulary, waveform=waveform, language=code, **options)

    @property
    def detects_language(self) -> bool:
        """Whether the model hears the language where nobody names one: a stock model was trained for none."""
        return not self.facts.language_token

    @property
    def translates(self) -> bool:
        """Whether the model writes English of other languages' speech; fine-tuning here teaches no such task."""
        return self.detects_language and "<|translate|>" in self.vocabulary.ids

    def _must_detect(self, language: str | None) -> bool:
        return language == "auto" or (not language and self.detects_language)

    def detect_language(self, waveform: np.ndarray, spans: list[Span]) -> str:
        """The token of the language that is spoken in some pieces of a recording (see detection.py)."""
        likely = self.language_log_probs(first_speech(waveform, spans))
        return max(likely, key=likely.__getitem__)

    def language_log_probs(self, waveform: np.ndarray) -> dict[str, float]:
        """{token: natural logarithm of its probability} of all languages, for speech of at most 30 s at 16 kHz."""
        pieces = self._pieces(waveform, None)
        likely = pieces.first_probabilities(pieces.job(Span(0, waveform.size)))
        tokens = self.vocabulary.language_tokens
        logs = np.log(np.maximum([likely[self.vocabulary.ids[token]] for token in tokens], LEAST_PROBABILITY))
        return dict(zip(tokens, logs.tolist(), strict=True))

    def _language_code(self, language: str | None) -> str:
        """The code of what is decoded: the language as it was named, or what the model was trained for."""
        return language_code(language or self.facts.language or self.facts.language_token or "zh")

    @property
    def slow(self) -> bool:
        """Whether the weights themselves run on a CPU: several times as slow as their export."""
        return self.engine.slow
