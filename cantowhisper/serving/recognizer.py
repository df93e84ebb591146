"""A model folder in, text out: pieces of speech, batched by length, decoded with an input as short as they are.

Stock Whisper pads every piece to 30 s. Here the silence of that window is merged (speech/context.py), and for 4 s of
speech the encoder does a quarter of the work. Nothing here imports torch or transformers unless that engine is chosen.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from cantowhisper.contracts import CantowhisperError, DecodingOptions, ModelFacts, Segment
from cantowhisper.serving import hallucination
from cantowhisper.serving.attempt import Attempt
from cantowhisper.serving.batches import Job, batches
from cantowhisper.serving.characters import character_times
from cantowhisper.serving.detection import first_speech
from cantowhisper.serving.engines.engine import Decoded, Engine
from cantowhisper.serving.engines.open import find_export, open_engine
from cantowhisper.serving.hub import model_folder
from cantowhisper.serving.live.agreement import CONFIDENT, Hypothesis, common_prefix_length
from cantowhisper.serving.segments import SegmentOptions, Span, find_segments
from cantowhisper.speech.context import Context, Windows, context_of, phrase_tokens, stack, token_budget
from cantowhisper.speech.language import known_languages, language_code, language_token
from cantowhisper.speech.mel import SAMPLE_RATE, log_mel, n_frames, pad_to
from cantowhisper.speech.text import normalize, to_script

LIVE_BUCKET_FRAMES = 20  # a live pass shares its batch with nobody; half a second less of input is a tenth of its work
# A second try for a piece that looped. Whisper draws at a higher temperature there; a wider search to which repeating
# costs something breaks loops too, and gives the same text every time.
SECOND_TRY_BEAM = 5
REPETITION_PENALTY = 1.3
NO_SPEECH_TOKENS = ("<|nospeech|>", "<|nocaptions|>")  # one token under its newer and older name


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
    ):
        self.engine, self.facts = engine, facts
        self.context = context or context_of(facts)
        self.options = options or SegmentOptions()
        self._tokenizer = tokenizer
        self._vocabulary = tokenizer.get_vocab(with_added_tokens=True)
        end = self._vocabulary["<|endoftext|>"]
        # Tokens that are no text: a transcript without timestamps holds none of them, only its end.
        control = {i for t, i in self._vocabulary.items() if re.fullmatch(r"<\|.+\|>", t)}
        self._suppress = tuple(sorted(control - {end}))
        self._not_text = {*self._suppress, end}

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
        return cls(engine, Tokenizer.from_file(str(file)), facts, context=chosen, options=options)

    @property
    def languages(self) -> list[str]:
        """Codes of the languages that the tokenizer has a token for."""
        return known_languages(self._vocabulary)

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
        should_stop: Callable[[], bool] | None = None,
    ) -> Iterator[Segment]:
        """Yield the segments of a recording in time order, each as soon as it and those before it are ready.

        Parameters
        ----------
        waveform : float32, shape (n_samples,), in [-1, 1], 16 kHz mono
        language : code or name, or "auto": the model tells; default is what it was trained for, for a stock one "auto"
        script : "traditional", "simplified", "as written"; default is what the model writes, but traditional for a
            stock model that is told to write Cantonese: it would mix both
        beam_size : 1 is greedy; 5 costs about twice the time
        characters : also when each character was said (costs a quarter more)
        task : "translate" writes English, where the model `translates`
        should_stop : asked before each batch; True ends the stream where it is

        Raises
        ------
        UsageError : the model does not know the language, or the script does not exist
        """
        prompt = self._prompt(None if language == "auto" else language, task)
        script = script or self._usual_script(language)
        to_script("", script)  # refuses an unknown script before the work, not after it
        waveform = np.ascontiguousarray(waveform, dtype=np.float32)
        jobs = [self._job(index, span) for index, span in enumerate(find_segments(waveform, self.options))]
        if self._must_detect(language) and jobs:
            language = self.detect_language(waveform, [job.span for job in jobs])
            prompt = self._prompt(language, task)
        code = "en" if task == "translate" else self._language_code(language)
        jobs = [replace(job, budget=token_budget(job.span.seconds, language=code)) for job in jobs]
        ready, next_index = {}, 0
        for batch in batches(jobs):
            if should_stop and should_stop():
                return
            segments = self._decode_batch(waveform, batch, prompt, beam_size)
            ready.update(zip((job.index for job in batch), segments, strict=True))
            while next_index in ready:
                segment = ready.pop(next_index)
                next_index += 1
                if not segment.text:
                    continue
                text = to_script(segment.text, script, language=code)
                segment = replace(segment, text=text, language=code)
                if characters:
                    times = self._characters(waveform, jobs[next_index - 1], prompt, text)
                    segment = replace(segment, characters=times)
                yield segment

    def decode(self, waveform: np.ndarray, prefix: str = "", *, language: str | None = None) -> Hypothesis:
        """What is said after `prefix` in one piece of speech, which is taken as it is (live: it may still go on).

        The characters in `prefix` are given to the decoder as its beginning: only what is new is written by token.

        Parameters
        ----------
        waveform : float32, shape (n_samples,), 16 kHz, at most 30 s
        prefix : text of its beginning; the text returned goes on from there (with a space where one belongs)
        language : code or name; default is what the model was trained for, or for a stock model what it hears here

        Returns
        -------
        Hypothesis : its text may end with U+FFFD where a character's bytes are not all there
        """
        job = self._job(0, Span(0, waveform.size), replace(self.context, bucket_frames=LIVE_BUCKET_FRAMES))
        if self._must_detect(language):
            language = self.detect_language(waveform, [job.span])
        begin = self._tokenizer.encode(prefix, add_special_tokens=False).ids
        budget = max(1, token_budget(job.span.seconds, language=self._language_code(language)) - len(begin))
        (decoded,) = self.engine.decode(
            *self._inputs(waveform, [job]),
            [*self._prompt(language), *begin],
            DecodingOptions(max_new_tokens=budget, suppress_tokens=self._suppress, prefix_length=len(begin)),
        )
        ids = [i for i in decoded.token_ids if i not in self._not_text]
        unsure = next((i for i, p in enumerate(decoded.log_probs) if p < np.log(CONFIDENT)), len(decoded.token_ids))
        sure_ids = [i for i in decoded.token_ids[:unsure] if i not in self._not_text]
        text, sure, old = (self._tokenizer.decode([*begin, *more]) for more in (ids, sure_ids, []))
        return Hypothesis(text[len(old) :], max(0, common_prefix_length(text, sure) - len(old)))

    def _prompt(self, language: str | None, task: str = "transcribe") -> list[int]:
        language = language or self.facts.language_token or "zh"
        token = language if language == self.facts.language_token else language_token(self._vocabulary, language)
        names = ["<|startoftranscript|>", token, f"<|{task}|>", "<|notimestamps|>"]
        absent = [name for name in names if name not in self._vocabulary]
        if absent == [token]:
            raise CantowhisperError(f"the model's tokenizer has no {token}; check language_token in cantowhisper.json")
        if absent:
            raise CantowhisperError(f"this is no multilingual Whisper: its tokenizer lacks {', '.join(absent)}")
        return [self._vocabulary[name] for name in names]

    def _job(self, index: int, span: Span, context: Context | None = None) -> Job:
        window = (context or self.context).window(n_frames(span.end - span.start))
        return Job(index, span, window, token_budget(span.seconds))

    def _decode_batch(self, waveform: np.ndarray, batch: list[Job], prompt: list[int], beam_size: int) -> list[Segment]:
        """Recognise pieces whose inputs have one length; what looks invented gets a second try."""
        inputs = self._inputs(waveform, batch)
        budget = max(job.budget for job in batch)
        options = DecodingOptions(max_new_tokens=budget, suppress_tokens=self._suppress, beam_size=beam_size)
        decoded = self.engine.decode(*inputs, prompt, options)
        tries = [self._judge(job, one) for job, one in zip(batch, decoded, strict=True)]
        for i, first in enumerate(tries):
            if first.looped:
                tries[i] = self._second_try(batch[i], self._inputs(waveform, [batch[i]]), prompt, first)
            elif hallucination.known_invention(first.text) and self._silent(waveform, batch[i], first):
                tries[i] = replace(first, text="")
        return [one.segment(job) for job, one in zip(batch, tries, strict=True)]

    def _silent(self, waveform: np.ndarray, job: Job, one: Attempt) -> bool:
        """Evidence that nobody speaks: VAD heard no voice, the model is unsure, or it says so itself."""
        if job.span.by_level or one.confidence < hallucination.MIN_CONFIDENCE:
            return True
        nobody = next((self._vocabulary[name] for name in NO_SPEECH_TOKENS if name in self._vocabulary), None)
        return nobody is not None and self._first(waveform, job)[nobody] > hallucination.NO_SPEECH

    def _second_try(self, job: Job, inputs: tuple[np.ndarray, Windows], prompt: list[int], first: Attempt) -> Attempt:
        """Decode a piece once more, by a search that avoids repetition."""
        options = DecodingOptions(
            max_new_tokens=job.budget,
            suppress_tokens=self._suppress,
            beam_size=SECOND_TRY_BEAM,
            repetition_penalty=REPETITION_PENALTY,
            no_repeat_ngram_size=phrase_tokens(self._tokenizer.id_to_token(prompt[1])),
        )
        (decoded,) = self.engine.decode(*inputs, prompt, options)
        second = self._judge(job, decoded)
        better = second if not second.looped or len(second.text) < len(first.text) else first
        return replace(better, retried=True)

    @property
    def detects_language(self) -> bool:
        """Whether the model hears the language where nobody names one: a stock model was trained for none."""
        return not self.facts.language_token

    @property
    def translates(self) -> bool:
        """Whether the model writes English of other languages' speech; fine-tuning here teaches no such task."""
        return self.detects_language and "<|translate|>" in self._vocabulary

    def _must_detect(self, language: str | None) -> bool:
        return language == "auto" or (not language and self.detects_language)

    def detect_language(self, waveform: np.ndarray, spans: list[Span]) -> str:
        """The token of the language that is spoken in some pieces of a recording (see detection.py)."""
        speech = first_speech(waveform, spans)
        likely = self._first(speech, self._job(0, Span(0, speech.size)))
        tokens = [f"<|{code}|>" for code in self.languages]
        return max(tokens, key=lambda token: likely[self._vocabulary[token]])

    def _first(self, waveform: np.ndarray, job: Job) -> np.ndarray:
        """Probabilities of the token with which the model begins: a language, or nobody speaks."""
        start = self._vocabulary["<|startoftranscript|>"]
        return self.engine.first_probabilities(*self._inputs(waveform, [job]), start)[0]

    def _language_code(self, language: str | None) -> str:
        """The code of what is decoded: the language as it was named, or what the model was trained for."""
        return language_code(language or self.facts.language or self.facts.language_token or "zh")

    def _usual_script(self, language: str | None) -> str:
        named = bool(language) and language != "auto"
        return "traditional" if self.detects_language and named and language_code(language) == "yue" else "as written"

    def _characters(self, waveform, job: Job, prompt: list[int], text: str) -> tuple[tuple[str, float, float], ...]:
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        n = n_frames(job.span.end - job.span.start)
        times = self.engine.align(*self._inputs(waveform, [job]), prompt, ids, n_frames=n) if ids else [0.0]
        first_s, last_s = job.span.start / SAMPLE_RATE, job.span.end / SAMPLE_RATE
        at = [min(first_s + t, last_s) for t in times]
        return tuple(character_times(self._tokenizer.decode, ids, at))

    def _judge(self, job: Job, decoded: Decoded) -> Attempt:
        ids = [i for i in decoded.token_ids if i not in self._not_text]
        text = normalize(self._tokenizer.decode(ids[: job.budget]))
        looped = len(ids) >= job.budget or hallucination.repeats(text)
        return Attempt(text, min(float(np.exp(decoded.mean_log_prob)), 1.0), looped)

    def _inputs(self, waveform: np.ndarray, jobs: list[Job]) -> tuple[np.ndarray, Windows]:
        """What an engine takes for these pieces: log-Mels and windows."""
        windows = stack([job.window for job in jobs])
        pieces = (waveform[job.span.start : job.span.end] for job in jobs)
        mels = [log_mel(piece, n_mels=self.engine.n_mels, engine="numpy") for piece in pieces]
        return np.stack([pad_to(mel, windows.n_frames) for mel in mels]), windows
