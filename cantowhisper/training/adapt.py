"""Adaptation to merged windows without transcripts: a model learns to hear short inputs as it hears 30 s.

The student is the model on merged windows (speech/context.py), the teacher the same model at 30 s, and the loss the
Kullback-Leibler divergence of their next-token distributions along the teacher's own text. Any speech will do, in any
language. The result is a stock checkpoint that needs fewer positions than an unadapted one.
"""

import dataclasses
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from cantowhisper.contracts import CantowhisperError, ModelFacts
from cantowhisper.files import write_json
from cantowhisper.options import Options, option
from cantowhisper.speech.context import Context
from cantowhisper.speech.language import language_token
from cantowhisper.speech.mel import FRAMES_PER_SECOND
from cantowhisper.speech.torch_context import ContextSeam
from cantowhisper.training.data.collator import encoder_inputs, windows_and_inputs
from cantowhisper.training.model import load_untrained, save_model
from cantowhisper.training.run.device import memory_is_kept, reproducible
from cantowhisper.training.teacher import Lesson, Teacher, pieces

LESSONS = "lessons"  # beside the result: the teacher's passes, until it is done
REPORT = "adaptation.json"
EVALUATE_EVERY = 10  # steps between looks at what is held out; the nearest to 30 s is kept


@dataclass(frozen=True, kw_only=True)
class AdaptConfig(Options):
    """What an adaptation takes. Rates and counts are those of a trial with whisper-base on three languages."""

    stage = "adaptation"

    steps: int = option(60, "the length of the adaptation", unit="steps", least=1)
    batch_clips: int = option(8, "pieces in a step", unit="pieces of 10 s", least=1)
    max_clips: int = option(240, "heard at the most, spread over the folder", unit="pieces of 10 s", least=1)
    learning_rate: float = option(
        1e-3,
        "falls to nothing. Steps are as long as the gradient, of 1 at the most: Adam's do not become shorter near the "
        "goal, where this begins",
        unit="change a step for a gradient of 1",
        above=0,
        most=1,
    )
    warmup_steps: int = option(3, "how long the learning rate rises from 0", unit="steps", least=0)
    held_out: float = option(
        0.1, "not learned from; says how far the two are apart", unit="share of the pieces", least=0, below=1
    )
    margin_frames: int = option(
        32, "silence after the speech that is computed as it is", unit="frames of 10 ms", least=0, most=3000
    )
    groups: int = option(
        48, "into which the window's silence is merged; a third of what a stock model needs", unit="positions", least=1
    )
    seed: int = option(20, "of all that is drawn by chance", unit="seed", least=0, most=2**32 - 1)

    @property
    def context(self) -> Context:
        return Context(margin_frames=self.margin_frames, groups=self.groups)


def adapt(
    model: str | os.PathLike,
    audio: str | os.PathLike,
    out: str | os.PathLike,
    *,
    config: AdaptConfig | None = None,
    language: str | None = None,
    say: Callable[[str], None] = print,
) -> dict:
    """Adapt a Whisper to merged windows and write it as a stock checkpoint folder.

    Parameters
    ----------
    model : folder or Hub id
    audio : folder of recordings, whose transcripts are not asked for
    out : folder to write; the teacher's passes are kept in `out/lessons` until the end, and the same command goes on
    language : of the recordings; by default the model detects that of each piece

    Returns
    -------
    the content of `out/adaptation.json`: clips and hours heard, and the divergence (nats a token) from 30 s, before and
    after, on pieces that were not learned from and on as many that were

    Raises
    ------
    CantowhisperError : no such model, nothing to hear, or `out` holds something else
    """
    config, out = config or AdaptConfig(), Path(out)
    if (out / REPORT).exists():
        raise CantowhisperError(f"{out} holds an adapted model already; choose another folder or delete it")
    if out.is_dir() and any(path.name != LESSONS for path in out.iterdir()):
        raise CantowhisperError(f"{out} is not empty; choose another folder")
    loaded, processor = load_untrained(model)
    loaded.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    token = language_token(processor.tokenizer, language) if language else None
    lessons = _hear(Teacher(loaded, processor, out / LESSONS, language_token=token), audio, config, say)
    learned, held_out = _divide(lessons, config)
    started, some = time.perf_counter(), learned[: len(held_out)]
    learned_before = divergence(loaded, some, config)
    with reproducible(), memory_is_kept():
        course = _learn(loaded, learned, held_out, config, say)
    before, (best_step, after) = course[0], min(course.items(), key=lambda one: one[1])
    report = {
        "model": str(model),
        "config": dataclasses.asdict(config),
        "clips": len(lessons),
        "hours": round(sum(lesson.mel.shape[1] for lesson in lessons) / FRAMES_PER_SECOND / 3600, 3),
        "held_out_clips": len(held_out),
        "divergence_before": round(before, 5),
        "divergence_after": round(after, 5),
        "learned_divergence_before": round(learned_before, 5),
        "learned_divergence_after": round(divergence(loaded, some, config), 5),
        "best_step": best_step,
        "train_seconds": round(time.perf_counter() - started, 1),
    }
    say(f"divergence from 30 s on {len(held_out)} clips: {before:.4f} → {after:.4f} nats a token, at step {best_step}")
    if not best_step:
        say(f"no step was nearer to 30 s than {report['model']} as it is: it is written unchanged")
    _write(loaded, processor, out, config, report)
    return report


def _hear(teacher: Teacher, audio: str | os.PathLike, config: AdaptConfig, say) -> list[Lesson]:
    sounds = list(pieces(audio))
    n = min(len(sounds), config.max_clips)
    sounds = [sounds[i * len(sounds) // n] for i in range(n)]
    lessons = []
    for number, sound in enumerate(sounds, start=1):
        lessons.append(teacher.lesson(sound))
        if number % 20 == 0 or number == n:
            say(f"heard {number} of {n} pieces at 30 s")
    return [lesson for lesson in lessons if len(lesson.ids) > lesson.n_prompt]  # where the model wrote anything


def _divide(lessons: Sequence[Lesson], config: AdaptConfig) -> tuple[list[Lesson], list[Lesson]]:
    if len(lessons) < 2:
        raise CantowhisperError("the model wrote something for fewer than two pieces; give more speech")
    order = np.random.default_rng(config.seed).permutation(len(lessons))
    n = max(1, round(config.held_out * len(lessons)))
    return [lessons[i] for i in order[n:]], [lessons[i] for i in order[:n]]


def _learn(model, lessons: Sequence[Lesson], held_out: Sequence[Lesson], config: AdaptConfig, say) -> dict[int, float]:
    """Leave the weights in `model` that were nearest to 30 s, be it those of step 0.

    Returns the divergence on `held_out` after each step at which that was measured.
    """
    course, best = {0: divergence(model, held_out, config)}, weights_of(model)
    rng = np.random.default_rng((config.seed, 1))
    trained = [p for p in model.parameters() if p.requires_grad]
    # A stock model is near its goal from the start (0.007 nats). Adam's steps have the same length there, go past it,
    # and leave the model further from 30 s on what it has learned from than on anything else.
    optimizer = torch.optim.SGD(trained, lr=config.learning_rate, momentum=0.9)
    rate = lambda step: min((step + 1) / config.warmup_steps, (config.steps - step) / config.steps)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    order: list[int] = []
    for step in range(config.steps):
        while len(order) < config.batch_clips:
            order += rng.permutation(len(lessons)).tolist()
        batch, order = [lessons[i] for i in order[: config.batch_clips]], order[config.batch_clips :]
        loss = _backward(model, batch, config.context)
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if (step + 1) % 5 == 0 or step + 1 == config.steps:
            say(f"step {step + 1}/{config.steps}: {loss:.4f} nats a token from 30 s")
        if (step + 1) % EVALUATE_EVERY == 0 or step + 1 == config.steps:
            distance = divergence(model, held_out, config)
            if distance < min(course.values()):
                best = weights_of(model)
            course[step + 1] = distance
    model.load_state_dict(best)
    return course


def weights_of(model) -> dict[str, torch.Tensor]:
    """A copy of the weights, which further steps leave alone."""
    return {name: weights.clone() for name, weights in model.state_dict().items()}


def _backward(model, batch: Sequence[Lesson], context: Context) -> float:
    """Gradients of the mean divergence of a batch, piece by piece: pieces of any length, little memory."""
    n_tokens = sum(len(lesson.likeliest) for lesson in batch)
    total = 0.0
    for lesson in batch:
        loss = _divergence(model, lesson, context, backward_by=1 / n_tokens)
        total += loss
    return total / n_tokens


def divergence(model, lessons: Sequence[Lesson], config: AdaptConfig) -> float:
    """Mean Kullback-Leibler divergence of the model on merged windows from its lessons, in nats a token."""
    with torch.no_grad():
        total = sum(_divergence(model, lesson, config.context) for lesson in lessons)
    return total / sum(len(lesson.likeliest) for lesson in lessons)


def _divergence(model, lesson: Lesson, context: Context, *, backward_by: float | None = None) -> float:
    """Of one piece, summed over its tokens; all tokens beyond the likeliest count as one outcome."""
    windows, inputs = windows_and_inputs(encoder_inputs([lesson.mel], context))
    features = inputs["input_features"].to(model.device, model.dtype)
    ids, likeliest = (torch.from_numpy(a.astype(np.int64)).to(model.device) for a in (lesson.ids, lesson.likeliest))
    wanted = _with_rest(torch.from_numpy(lesson.log_probs).to(model.device))
    with ContextSeam.on(model).of(windows):
        logits = model(input_features=features, decoder_input_ids=ids[None]).logits[0, lesson.n_prompt - 1 :]
        found = _with_rest(logits.float().log_softmax(-1).gather(1, likeliest))
        loss = (wanted.exp() * (wanted - found)).sum()
        if backward_by:
            (loss * backward_by).backward()
    return float(loss.detach())


def _with_rest(log_probs: torch.Tensor) -> torch.Tensor:
    """(n, k) log-probabilities and, as one more outcome, that of all others."""
    rest = (1 - log_probs.exp().sum(dim=1, keepdim=True)).clamp(min=1e-6).log()
    return torch.cat([log_probs, rest], dim=1)


def _write(model, processor, out: Path, config: AdaptConfig, report: dict) -> None:
    save_model(model, processor, out)
    ModelFacts(trained_contexts="merged", context=dataclasses.asdict(config.context), language_token="").save(out)
    (out / "README.md").write_text(_card(report), encoding="utf-8")
    shutil.rmtree(out / LESSONS)
    write_json(report, out / REPORT)  # last: it means done


def _card(report: dict) -> str:
    name, config = report["model"].rstrip("/").split("/")[-1], report["config"]
    before, after = report["divergence_before"], report["divergence_after"]
    return f"""---
library_name: transformers
pipeline_tag: automatic-speech-recognition
tags: [whisper, cantowhisper]
---
# {name}, adapted to short inputs

A stock Whisper checkpoint: {name}, adapted without any transcript to windows whose silence is merged
([cantowhisper](https://github.com/cantowhisper/cantowhisper)), so that a clip costs little more than its own length.

- Heard: {report["clips"]} pieces of untranscribed speech, {report["hours"]:.2f} hours, for {config["steps"]} steps.
- Kept: what the model itself says at 30 s was the only target. On {report["held_out_clips"]} pieces that it did not
  learn from, its next-token distributions on merged windows ({config["groups"]} groups) lie {after:.4f} nats a token
  from those that the original gives at 30 s. Before the adaptation they lay {before:.4f} away.
- At 30 s, through any other program, it is used like the original.
"""
