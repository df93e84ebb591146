"""A model folder in, text out: pieces of speech, batched by length, decoded with an input as short as they are.

Stock Whisper pads every piece to 30 s. A model that was trained on variable contexts takes 4 s of speech as 4 s, and
its encoder then does a seventh of the work. Nothing here imports torch or transformers unless that engine is chosen.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from cantowhisper.contracts import CantowhisperError, ModelFacts, Segment, UsageError
from cantowhisper.serving import hallucination
from cantowhisper.serving.attempt import Attempt
from cantowhisper.serving.batches import Job, batches
from cantowhisper.serving.characters import character_times
from cantowhisper.serving.detection import first_speech, likeliest
from cantowhisper.serving.engines.open import Decoded, Engine, find_export, open_engine
from cantowhisper.serving.hub import model_folder
from cantowhisper.serving.live.agreement import SURE, Heard, same_beginning
from cantowhisper.serving.segments import SegmentOptions, Span, find_segments
from cantowhisper.speech.context import context_of, phrase_tokens, token_budget
from cantowhisper.speech.language import known_languages, language_code, language_token
from cantowhisper.speech.mel import N_FRAMES, SAMPLE_RATE, log_mel, n_frames, pad_to
from cantowhisper.speech.text import normalize, to_script

BUCKET_FRAMES = 100  # input lengths are rounded up to whole seconds, as in training: enough pieces share a batch
LIVE_BUCKET_FRAMES = 20  # a live pass shares its batch with nobody; half a second less of input is a tenth of its work


class Recognizer:
    """A loaded model. One instance serves many requests, one at a time or from several threads."""

    def __init__(self, engine: Engine, tokenizer, facts: ModelFacts, *, options: SegmentOptions | None = None):
        self.engine, self.facts = engine, facts
        self.options = options or SegmentOptions()
        self._tokenizer = tokenizer
        self._vocabulary = tokenizer.get_vocab(with_added_tokens=True)
        end = self._vocabulary["<|endoftext|>"]
        # Tokens that are no text: a transcript without timestamps holds none of them, only its end.
        self._suppress = sorted(i for t, i in self._vocabulary.items() if re.fullmatch(r"<\|.+\|>", t) and i != end)
        self._not_text = {*self._suppress, end}

    @classmethod
    def open(
        cls,
        model: str | os.PathLike,
        *,
        threads: int | None = None,
        backend: str = "auto",
        options: SegmentOptions | None = None,
    ) -> "Recognizer":
        """Load a model.

        Parameters
        ----------
        model : a model folder, its `ct2/` folder alone, or a Hub id
        threads : CPU threads for the model (default: what the machine has, at most 8)
        backend : "auto" takes the CTranslate2 export if there is one; "ctranslate2"; "transformers"

        Raises
        ------
        CantowhisperError : there is no such model, or nothing installed can run it
        """
        from tokenizers import Tokenizer

        folder = model_folder(model)
        engine = open_engine(folder, threads=threads or min(os.cpu_count() or 1, 8), backend=backend)
        # An export carries copies of both files, so that it can be served alone.
        places = [p for p in (folder, find_export(folder)) if p]
        file = next((p / "tokenizer.json" for p in places if (p / "tokenizer.json").exists()), None)
        if file is None:
            raise CantowhisperError(f"{folder} has no tokenizer.json; save the tokenizer beside the model")
        facts = next((ModelFacts.load(p) for p in places if (p / "cantowhisper.json").exists()), ModelFacts())
        return cls(engine, Tokenizer.from_file(str(file)), facts, options=options)

    @property
    def languages(self) -> list[str]:
        """Codes of the languages that the tokenizer has a token for."""
        return known_languages(self._vocabulary)

    def transcribe(
        self, waveform: np.ndarray, *, on_segment: Callable[[Segment], None] | None = None, **options
    ) -> list[Segment]:
        """All segments of a recording; `stream` says what the options are. `on_segment` is called with each."""
        segments = []
        for segment in self.stream(waveform, **options):
            segments.append(segment)
            if on_segment:
                on_segment(segment)
        return segments

    def stream(
        self,
        waveform: np.ndarray,
        *,
        language: str | None = None,
        script: str | None = None,
        beam_size: int = 1,
        characters: bool = False,
        should_stop: Callable[[], bool] | None = None,
    ) -> Iterator[Segment]:
        """Yield the segments of a recording in time order, each as soon as it and those before it are ready.

        Parameters
        ----------
        waveform : float32, shape (n_samples,), in [-1, 1], 16 kHz mono
        language : code or name, or "auto" to have the model tell; default is what the model was trained for, and for a
            stock model "auto"
        script : "traditional", "simplified", "as written"; default is what the model writes, but traditional for a
            stock model that is told to write Cantonese: it would mix both
        beam_size : 1 is greedy; 5 costs about twice the time
        characters : also when each character was said (CTranslate2 only; costs a quarter more)
        should_stop : asked before each batch; True ends the stream where it is

        Raises
        ------
        UsageError : the model does not know the language, or the script does not exist
        """
        prompt = self._prompt(None if language == "auto" else language)
        script = script or self._usual_script(language)
        to_script("", script)  # refuses an unknown script before the work, not after it
        waveform = np.ascontiguousarray(waveform, dtype=np.float32)
        jobs = [self._job(index, span) for index, span in enumerate(find_segments(waveform, self.options))]
        if self._is_to_be_heard(language) and jobs:
            language = self.heard_language(waveform, [job.span for job in jobs])
            prompt = self._prompt(language)
        spoken = self._spoken(language)
        jobs = [replace(job, budget=token_budget(job.span.seconds, language=spoken)) for job in jobs]
        ready, next_index = {}, 0
        for batch in batches(jobs):
            if should_stop and should_stop():
                return
            segments = self._decode(waveform, batch, prompt, beam_size)
            ready.update(zip((job.index for job in batch), segments, strict=True))
            while next_index in ready:
                segment = ready.pop(next_index)
                next_index += 1
                if not segment.text:
                    continue
                text = to_script(segment.text, script, language=spoken)
                segment = replace(segment, text=text, language=spoken)
                if characters:
                    job = jobs[next_index - 1]
                    segment = replace(segment, characters=self._characters(waveform, job, prompt, segment.text))
                yield segment

    def continuation(self, waveform: np.ndarray, known: str = "", *, language: str | None = None) -> Heard:
        """What is said after `known` in one piece of speech, which is taken as it is (live: it may still go on).

        The characters in `known` are given to the decoder as its beginning: only what is new is written by token.

        Parameters
        ----------
        waveform : float32, shape (n_samples,), 16 kHz, at most 30 s
        known : text of its beginning; the text returned goes on from there (with a space where one belongs)
        language : code or name; default is what the model was trained for, or for a stock model what it hears here

        Returns
        -------
        Heard : its text may end with U+FFFD where a character's bytes are not all there
        """
        job = self._job(0, Span(0, waveform.size), bucket_frames=LIVE_BUCKET_FRAMES)
        if self._is_to_be_heard(language):
            language = self.heard_language(waveform, [job.span])
        begin = self._tokenizer.encode(known, add_special_tokens=False).ids
        budget = token_budget(job.span.seconds, language=self._spoken(language))
        budget = max(1, budget - len(begin))
        (decoded,) = self.engine.decode(
            self._mel(waveform, job)[None],
            [*self._prompt(language), *begin],
            max_new_tokens=budget,
            suppress=self._suppress,
            n_written=len(begin),
            token_log_probs=True,
        )
        ids = [i for i in decoded.token_ids if i not in self._not_text]
        unsure = next((i for i, p in enumerate(decoded.log_probs) if p < np.log(SURE)), len(decoded.token_ids))
        sure_ids = [i for i in decoded.token_ids[:unsure] if i not in self._not_text]
        text, sure, old = (self._tokenizer.decode([*begin, *more]) for more in (ids, sure_ids, []))
        return Heard(text[len(old) :], max(0, same_beginning(text, sure) - len(old)))

    def context_frames(self, frames: int, *, bucket_frames: int = BUCKET_FRAMES) -> int:
        """Encoder input for a piece of `frames`: itself, a margin, rounded up; 3,000 if the model needs that."""
        context = context_of(self.facts)
        if context.kind != "plain" or not self.engine.takes_short_input:
            return N_FRAMES
        return replace(context, bucket_frames=bucket_frames).kept_frames(frames)

    def _prompt(self, language: str | None) -> list[int]:
        language = language or self.facts.language_token or "zh"
        token = language if language == self.facts.language_token else language_token(self._vocabulary, language)
        names = ["<|startoftranscript|>", token, "<|transcribe|>", "<|notimestamps|>"]
        absent = [name for name in names if name not in self._vocabulary]
        if absent == [token]:
            raise CantowhisperError(f"the model's tokenizer has no {token}; check language_token in cantowhisper.json")
        if absent:
            raise CantowhisperError(f"this is no multilingual Whisper: its tokenizer lacks {', '.join(absent)}")
        return [self._vocabulary[name] for name in names]

    def _job(self, index: int, span: Span, *, bucket_frames: int = BUCKET_FRAMES) -> Job:
        frames = self.context_frames(n_frames(span.end - span.start), bucket_frames=bucket_frames)
        return Job(index, span, frames, token_budget(span.seconds))

    def _decode(self, waveform: np.ndarray, batch: list[Job], prompt: list[int], beam_size: int) -> list[Segment]:
        """Recognise pieces whose inputs have one length; what looks invented gets a second try."""
        mels = np.stack([self._mel(waveform, job) for job in batch])
        budget = max(job.budget for job in batch)
        decoded = self.engine.decode(mels, prompt, max_new_tokens=budget, suppress=self._suppress, beam_size=beam_size)
        tries = [self._judge(job, one) for job, one in zip(batch, decoded, strict=True)]
        for i, first in enumerate(tries):
            if first.looped:
                tries[i] = self._second_try(batch[i], mels[i : i + 1], prompt, first)
            elif hallucination.known_invention(first.text) and self._silent(batch[i], mels[i], prompt, first):
                tries[i] = replace(first, text="")
        return [one.segment(job) for job, one in zip(batch, tries, strict=True)]

    def _silent(self, job: Job, mel: np.ndarray, prompt: list[int], one: Attempt) -> bool:
        """Evidence that nobody speaks: VAD heard no voice, the model is unsure, or it says so itself."""
        if job.span.by_level or one.confidence < hallucination.MIN_CONFIDENCE:
            return True
        ask = getattr(self.engine, "no_speech_probability", None)
        return ask is not None and ask(mel, prompt) > hallucination.NO_SPEECH

    def _second_try(self, job: Job, mel: np.ndarray, prompt: list[int], first: Attempt) -> Attempt:
        """Decode a piece once more, by a search that avoids repetition."""
        (decoded,) = self.engine.decode(
            mel,
            prompt,
            max_new_tokens=job.budget,
            suppress=self._suppress,
            second_try=True,
            phrase_tokens=phrase_tokens(self._tokenizer.id_to_token(prompt[1])),
        )
        second = self._judge(job, decoded)
        better = second if not second.looped or len(second.text) < len(first.text) else first
        return replace(better, retried=True)

    @property
    def detects(self) -> bool:
        """Whether the model hears the language where nobody names one: a stock model was trained for none."""
        return not self.facts.language_token

    def _is_to_be_heard(self, language: str | None) -> bool:
        return language == "auto" or (not language and self.detects)

    def heard_language(self, waveform: np.ndarray, spans: list[Span]) -> str:
        """The token of the language that is spoken in some pieces of a recording (see detection.py)."""
        speech = first_speech(waveform, spans)
        mel = self._mel(speech, self._job(0, Span(0, speech.size)))
        return likeliest(self.engine.languages(mel), self.languages) or self.facts.language_token or "<|zh|>"

    def _spoken(self, language: str | None) -> str:
        """The code of what is decoded: the language as it was named, or what the model was trained for."""
        return language_code(language or self.facts.language or self.facts.language_token or "zh")

    def _usual_script(self, language: str | None) -> str:
        named = bool(language) and language != "auto"
        return "traditional" if self.detects and named and language_code(language) == "yue" else "as written"

    def _characters(self, waveform, job: Job, prompt: list[int], text: str) -> tuple[tuple[str, float, float], ...]:
        if not hasattr(self.engine, "align"):
            raise UsageError("times of characters need a CTranslate2 export: cantowhisper export MODEL")
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        n = n_frames(job.span.end - job.span.start)
        times = self.engine.align(self._mel(waveform, job), prompt, ids, min(n, job.frames)) if ids else [0.0]
        first_s, last_s = job.span.start / SAMPLE_RATE, job.span.end / SAMPLE_RATE
        at = [min(first_s + t, last_s) for t in times]
        return tuple(character_times(self._tokenizer.decode, ids, at))

    def _judge(self, job: Job, decoded: Decoded) -> Attempt:
        ids = [i for i in decoded.token_ids if i not in self._not_text]
        text = normalize(self._tokenizer.decode(ids[: job.budget]))
        looped = len(ids) >= job.budget or hallucination.repeats(text)
        return Attempt(text, min(float(np.exp(decoded.mean_log_prob)), 1.0), looped)

    def _mel(self, waveform: np.ndarray, job: Job) -> np.ndarray:
        piece = waveform[job.span.start : job.span.end]
        return pad_to(log_mel(piece, n_mels=self.engine.n_mels, engine="numpy"), job.frames)
