"""The studies: what each asks, and the variants that answer it. The first variant is what others are compared with."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cantowhisper.contracts import UsageError
from cantowhisper.training.config import TrainConfig
from cantowhisper.training.data.batch_sizes import with_batch_sizes
from cantowhisper.training.schedules import LEARNING_RATES

EVALUATIONS = 4  # a run: a study compares ends of runs, not their courses
SMALL = {"width": 64, "layers": 2}  # beside the miniature of three layers of 128
COUNTED = ("warmup_steps", "evaluate_every_steps", "save_every_steps", "log_every_steps")  # they grow with the run


@dataclass(frozen=True)
class DataChange:
    """How a training split differs from the dataset's own; validation and test stay as they are."""

    share: float = 1.0  # of the clips that are kept
    swapped: float = 0.0  # share of the clips that have the text of another one
    cleaned: bool = False  # `clean` drops wrong texts again
    mixed: float = 0.0  # clips of another dataset for each own clip, at the most


@dataclass(frozen=True)
class Variant:
    """One way to train: changes of the options, of the training split, or of the size of fresh weights."""

    name: str
    options: Mapping = field(default_factory=dict)
    data: DataChange = field(default_factory=DataChange)
    miniature: Mapping = field(default_factory=dict)  # what `build_miniature` is given


@dataclass(frozen=True)
class Study:
    """`variants` takes the options that all runs share, and what `--other` names.

    other : what that must be; "" where the study has no use for it
    """

    asks: str
    variants: Callable[[TrainConfig, str | None], list[Variant]]
    other: str = ""
    other_is_needed: bool = False

    def planned(self, config: TrainConfig, other: str | None) -> list[Variant]:
        """The variants.

        Raises UsageError where `other` is missing, or is of no use.
        """
        if other and not self.other:
            raise UsageError("this study takes no --other")
        if self.other_is_needed and not other:
            raise UsageError(f"this study needs --other, {self.other}")
        return self.variants(config, other)


def settled(config: TrainConfig, n_clips: int) -> TrainConfig:
    """The config with numbers for what `train` leaves to the data, so that variants can be half or twice of it."""
    if config.accumulation_schedule or config.hub_checkpoints:
        raise UsageError("a study takes neither accumulation_schedule nor hub_checkpoints: it has many runs of its own")
    from cantowhisper.training.run.plan import planned  # it imports torch, which a list of the studies does without

    config = with_batch_sizes(config, n_clips)
    heard = min(config.epochs * n_clips, config.max_clips_heard)
    a_step = config.batch_size * config.gradient_accumulation_steps
    steps = config.max_steps or math.ceil(heard / a_step)
    every = config.evaluate_every_steps or math.ceil(steps / EVALUATIONS)
    return planned(config.with_overrides(max_steps=steps, evaluate_every_steps=every), range(n_clips))


def lasting(config: TrainConfig, steps: float) -> dict[str, int]:
    """The options of a run of other length, with its evaluations and warm-up at the same shares of it."""
    steps = max(1, round(steps))
    ratio = steps / config.max_steps
    counted = {name: max(1, round(getattr(config, name) * ratio)) for name in COUNTED}
    counted["warmup_steps"] *= config.warmup_steps > 0
    # So that each evaluation has a checkpoint, whatever was rounded.
    counted["save_every_steps"] = counted["evaluate_every_steps"]
    return {"max_steps": steps, **counted}


def _learning_rates(config: TrainConfig, _other: str | None) -> list[Variant]:
    rate, size = config.learning_rate or _rate_of(config), config.batch_size
    smaller = max(1, size // 2)
    half = {
        "batch_size": smaller,
        "full_context_batch_size": max(1, config.full_context_batch_size * smaller // size),
        **lasting(config, config.max_steps * size / smaller),
    }
    found = []
    for factor in (1, 1 / 3, 3):
        # Four digits, so that the row says what a table would.
        options = {"learning_rate": float(f"{rate * factor:.4g}")}
        name = f"learning rate {options['learning_rate']:g}"
        found.append(Variant(f"{name}, batches of {size}", options))
        if smaller < size:
            found.append(Variant(f"{name}, batches of {smaller}", options | half))
    return found


def _rate_of(config: TrainConfig) -> float:
    from transformers import AutoConfig

    from cantowhisper.contracts import CantowhisperError
    from cantowhisper.training.run.optimizer import pick_learning_rate

    if config.model == "miniature":
        raise UsageError("a miniature has no learning rate of its own: give --set learning_rate=2e-3")
    try:
        width = AutoConfig.from_pretrained(config.model).d_model
    except (OSError, ValueError, AttributeError) as error:
        raise CantowhisperError(f"cannot load the model {config.model!r}: {str(error).splitlines()[0]}") from error
    return pick_learning_rate(config, width)[0]


def _growing_batches(config: TrainConfig, _other: str | None) -> list[Variant]:
    """All hear as many batches; the batch that changes does so when half of them have been heard."""
    half, eighth = max(1, round(config.max_steps / 2)), max(1, round(config.max_steps / 8))
    schedules = {
        "one batch a step": ("", 2 * half),
        "two batches a step": ("2@0", half),
        "grows from one to four": (f"1@0,4@{half}", half + eighth),
        "shrinks from four to one": (f"4@0,1@{eighth}", half + eighth),
    }
    shared = {"gradient_accumulation_steps": 1}
    return [
        Variant(name, shared | {"accumulation_schedule": schedule, **lasting(config, steps)})
        for name, (schedule, steps) in schedules.items()
    ]


def _schedules(config: TrainConfig, _other: str | None) -> list[Variant]:
    names = [config.schedule, *(name for name in LEARNING_RATES if name != config.schedule)]
    return [
        *(Variant(name, {"schedule": name}) for name in names),
        Variant(f"{config.schedule}, half the steps", lasting(config, config.max_steps / 2)),
        Variant(f"{config.schedule}, twice the steps", lasting(config, config.max_steps * 2)),
    ]


def _amounts(_config: TrainConfig, _other: str | None) -> list[Variant]:
    return [Variant(f"{share:.0%} of the clips", data=DataChange(share=share)) for share in (1.0, 0.5, 0.25, 0.1)]


def _noise(_config: TrainConfig, _other: str | None) -> list[Variant]:
    return [
        Variant("texts as they are"),
        Variant("10% of texts swapped", data=DataChange(swapped=0.1)),
        Variant("30% of texts swapped", data=DataChange(swapped=0.3)),
        Variant("30% of texts swapped, then cleaned", data=DataChange(swapped=0.3, cleaned=True)),
    ]


def _languages(_config: TrainConfig, _other: str | None) -> list[Variant]:
    return [
        Variant("own clips only"),
        Variant("one other clip for three own", data=DataChange(mixed=1 / 3)),
        Variant("one other clip for each own", data=DataChange(mixed=1.0)),
    ]


def _sizes(config: TrainConfig, other: str | None) -> list[Variant]:
    if other:
        return [Variant(_model_name(config.model)), Variant(_model_name(other), {"model": other})]
    if config.model != "miniature":
        raise UsageError("this study needs --other, another model")
    return [
        Variant("miniature"),
        Variant("miniature, {layers} layers of {width}".format(**SMALL), miniature=SMALL),
    ]


def _model_name(model: str) -> str:
    return Path(model).resolve().name if Path(model).is_dir() else model


STUDIES = {
    "learning-rate": Study("Which learning rate, and do smaller batches help? As many clips heard.", _learning_rates),
    "growing-batch": Study("Does a batch that grows or shrinks during training help? As many clips.", _growing_batches),
    "schedule": Study("How should the learning rate fall, and do more steps help?", _schedules),
    "amount": Study("What do 50, 25 and 10% of the clips reach in as many steps?", _amounts),
    "noise": Study(
        "What do 10 and 30% of swapped texts cost, and how much of it does `clean` regain?",
        _noise,
        "the model that cleans",
    ),
    "languages": Study(
        "Do clips of another language help, in as many steps?", _languages, "features of that language", True
    ),
    "size": Study("What does a model of another size reach in as many steps?", _sizes, "another model"),
}


def study_named(name: str) -> Study:
    """The study of a name, or a UsageError that lists them."""
    if name not in STUDIES:
        raise UsageError(f"there is no study {name!r}; choose one of {', '.join(STUDIES)}")
    return STUDIES[name]


def changes_of(variant: Variant) -> dict:
    """What a variant changes of the data and of fresh weights, without what it leaves as it is."""
    data = {
        each.name: getattr(variant.data, each.name)
        for each in dataclasses.fields(DataChange)
        if getattr(variant.data, each.name) != each.default
    }
    return data | ({"miniature": dict(variant.miniature)} if variant.miniature else {})
