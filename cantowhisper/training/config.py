"""Every number of a training run, with its unit and its reason. presets.py has sets of them."""

from dataclasses import dataclass

from cantowhisper.contracts import UsageError
from cantowhisper.options import Options, option
from cantowhisper.speech.context import CONTEXTS, Context
from cantowhisper.speech.mel import N_FRAMES
from cantowhisper.training.schedules import LEARNING_RATES, read_accumulation

PRECISIONS = ("auto", "fp32", "fp16", "bf16")
FRAMES = "frames of 10 ms"

# Options that are null until a run has counted its clips (run/plan.py). It writes down the numbers and keeps to them.
DERIVED = (
    "batch_size",
    "full_context_batch_size",
    "max_steps",
    "warmup_steps",
    "evaluate_every_steps",
    "save_every_steps",
    "log_every_steps",
)


@dataclass(frozen=True)
class TrainConfig(Options):
    """Options of `cantowhisper train`; `--set key=value` changes one.

    Learning rates for fine-tuning are 40 times under those of pre-training, after the Whisper authors' advice.
    """

    stage = "training"

    model: str = option(
        "openai/whisper-small",
        "what is tuned; miniature is a small one trained from scratch",
        unit="a Hub id, a folder or miniature",
        group="what to train",
    )
    language: str = option(
        "", "empty takes what the features say they are; another one than that is refused", unit="a language code"
    )
    language_token: str = option(
        "",
        "whose token labels begin with, where the tokenizer has none for the language: that of a relative, such as kk "
        "for Kyrgyz",
        unit="a language code",
    )

    context_kind: str = option(
        "merged",
        "merged: a 30 s window whose silence is merged (speech/context.py); plain: silence is cut off; full: 30 s",
        choices=CONTEXTS,
        group="how long the encoder input is (two frames to a position)",
    )
    context_margin_frames: int = option(
        32, "silence after the speech that is computed as it is", unit=FRAMES, least=0, most=N_FRAMES
    )
    context_bucket_frames: int = option(
        8, "speech and margin are rounded up to this", unit=FRAMES, even=True, least=2, most=N_FRAMES
    )
    min_context_frames: int = option(
        0, "the least of speech and margin", unit=FRAMES, even=True, least=0, most=N_FRAMES
    )
    context_groups: int = option(
        48,
        "into which the rest of the window is merged; a stock model needs 160, training mends it",
        unit="positions",
        least=1,
    )
    full_context_share: float = option(
        0.0,
        "steps of 30 s windows: needed where silence is cut off, not where it is merged",
        unit="share of the steps",
        least=0,
        most=1,
    )
    packed_share: float = option(
        0.1,
        "steps of 30 s windows that hold several clips and their times: long recordings stay whole",
        unit="share of the steps",
        least=0,
        most=1,
    )
    timestamps_share: float = option(
        0.2,
        "clips outside of those windows with times in their labels: enough to keep them (distil-whisper)",
        unit="share of the clips",
        least=0,
        most=1,
    )

    batch_size: int | None = option(
        None,
        "the most in a step, per device; null takes so many that an epoch has a dozen steps, from 4 up to what "
        "max_batch_frames holds of 10 s",
        unit="clips",
        least=1,
        group="batches",
    )
    max_batch_frames: int = option(
        16 * 1000,
        "the most in a step, clips × context: memory stays flat for long clips too",
        unit=FRAMES,
        least=N_FRAMES,  # a clip may last 30 s
    )
    max_batch_tokens: int = option(
        16 * 128,
        "the most in a step, clips × label: each costs a row of 51,865 in the output layer; a label may have 448",
        unit="tokens",
        least=448,
    )
    full_context_batch_size: int | None = option(
        None,
        "the most in a step of 30 s windows; null takes a quarter of batch_size, which fits where the others do",
        unit="clips",
        least=1,
    )
    gradient_accumulation_steps: int = option(
        1, "how many make one step: for larger ones than memory holds", unit="batches", least=1
    )

    epochs: float = option(
        10.0,
        "how often a clip is heard where max_steps is null, 30 s windows of several included",
        unit="times",
        above=0,
        group="optimisation",
    )
    max_clips_heard: int = option(
        64_000, "what ends the epochs of a large dataset: 4,000 steps of 16 clips", unit="clips", least=1
    )
    max_steps: int | None = option(None, "the length of the run; null takes that of the epochs", unit="steps", least=1)
    learning_rate: float = option(
        0.0,
        "0 takes that of the model's size (small 1.25e-5, tiny 3.75e-5), or of LoRA",
        unit="change a step",
        least=0,
        most=1,
    )
    encoder_learning_rate: float = option(
        0.0,
        "0 takes learning_rate; lower where a fresh decoder meets a trained encoder",
        unit="change a step",
        least=0,
        most=1,
    )
    warmup_steps: int | None = option(
        None,
        "how long the learning rate rises from 0; null takes a tenth of the run, 400 at the most",
        unit="steps",
        least=0,
    )
    schedule: str = option("linear", "how the learning rate falls after the warm-up", choices=tuple(LEARNING_RATES))
    accumulation_schedule: str = option(
        "",
        "how many batches make a step, from which step on; empty takes gradient_accumulation_steps throughout",
        unit="batches@step such as 4@0,1@2000",
    )
    early_stopping_evaluations: int = option(
        0,
        "how many in a row without a better validation error rate end the run; 0 never does",
        unit="evaluations",
        least=0,
    )
    halfway: bool = option(True, "end with the mean of pretrained and tuned weights where its validation CER is as low")
    adam_beta2: float = option(0.999, "how long squared gradients are remembered", unit="share kept", least=0, below=1)
    weight_decay: float = option(
        0.0, "pulls weights towards 0; fine-tuning is short enough without", unit="factor", least=0, most=1
    )
    label_smoothing: float = option(
        0.0, "how much of the target goes to all other tokens", unit="share of the probability", least=0, below=1
    )
    dropout: float = option(
        0.0, "activations that are set to 0; Whisper was trained without", unit="share", least=0, below=1
    )
    token_dropout: float = option(
        0.0,
        "characters of the decoder's input that are made wrong: for training from scratch only",
        unit="share",
        least=0,
        most=1,
    )
    lora_rank: int = option(
        0,
        "0 trains all weights; 32 is LoRA, far less memory: whisper-small had CER 7.4 instead of 6.2 % (MDCC)",
        unit="rank",
        least=0,
    )
    adam_8bit: bool = option(False, "2 bytes of optimizer state a weight instead of 8, where bitsandbytes is installed")
    freeze_encoder: bool = option(False, "costs about 15 points of CER on Cantonese: for experiments only")
    gradient_checkpointing: bool = option(False, "trades a third of the speed for memory")
    precision: str = option(
        "auto", "auto is fp16 on a T4, bf16 from Ampere on and on CPUs that have it, else fp32", choices=PRECISIONS
    )
    seed: int = option(20, "of all that is drawn by chance", unit="seed", least=0, most=2**32 - 1)

    augment_from: float = option(
        0.0,
        "from here on 30 s windows and variations come: fresh weights listen first",
        unit="share of the run",
        least=0,
        most=1,
        group="variations of the clips",
    )
    stretch: float = option(
        0.0, "training clips are played up to this much faster or slower", unit="share", least=0, below=1
    )
    warp: float = option(0.0, "formants are up to this much higher or lower", unit="share", least=0, below=1)
    equalizer_db: float = option(
        0.0,
        "parts of the spectrum are up to this much louder or softer: microphones, codecs",
        unit="dB",
        least=0,
        most=80,
    )
    gain_db: float = option(0.0, "clips are up to this much louder or softer", unit="dB", least=0, most=80)
    time_masks: int = option(0, "SpecAugment: holes in time", unit="holes a clip", least=0)
    time_mask_frames: int = option(
        20, "the longest hole in time: 0.2 s, about a syllable", unit=FRAMES, least=1, most=N_FRAMES
    )
    feature_masks: int = option(0, "SpecAugment: holes in frequency", unit="holes a clip", least=0)
    feature_mask_channels: int = option(
        12, "the widest hole in frequency, of 80 or 128", unit="Mel channels", least=1, most=80
    )

    evaluate_every_steps: int | None = option(
        None,
        "between validations; null takes an eighth of the run, 500 at the most",
        unit="steps",
        least=1,
        group="looking and keeping",
    )
    save_every_steps: int | None = option(
        None,
        "between checkpoints, 2.9 GB each for whisper-small with Adam; null takes evaluate_every_steps",
        unit="steps",
        least=1,
    )
    log_every_steps: int | None = option(
        None, "between losses in the log; null takes a fortieth of the run, 25 at the most", unit="steps", least=1
    )
    keep_checkpoints: int = option(2, "the newest ones; the best one is kept besides", unit="checkpoints", least=1)
    hub_checkpoints: str = option(
        "",
        "a private repository that holds the newest checkpoint and the best one too; empty keeps them here only",
        unit="owner/name",
        form="[^/]+/[^/]+",
    )
    validation_clips: int = option(
        400, "a fixed subset: CER to about half a point, in seconds instead of minutes", unit="clips", least=1
    )
    data_workers: int = option(
        2, "read and pad batches while the device computes; when streaming, a thread reads", unit="processes", least=0
    )

    streaming: bool = option(
        False,
        "leave the features of train on the Hub (or Drive), and read them as they are needed: no disk",
        group="where the features are",
    )
    stream_clips: int = option(
        2000,
        "in memory when streaming: 130 MB at 4 s. Half of them are on their way; the other 1,000 are 60 batches, so "
        "that lengths fit as well as in a whole epoch, from 30 places of the dataset",
        unit="clips",
        least=1,
    )

    @property
    def context(self) -> Context:
        """How long the encoder input is, as one value; written down with the model."""
        return Context(
            kind=self.context_kind,
            margin_frames=self.context_margin_frames,
            bucket_frames=self.context_bucket_frames,
            min_frames=self.min_context_frames,
            groups=self.context_groups,
        )

    def with_context(self, context: Context) -> "TrainConfig":
        """A copy with another context."""
        return self.with_overrides(
            context_kind=context.kind,
            context_margin_frames=context.margin_frames,
            context_bucket_frames=context.bucket_frames,
            min_context_frames=context.min_frames,
            context_groups=context.groups,
        )

    def check(self) -> None:
        if self.accumulation_schedule:
            read_accumulation(self.accumulation_schedule)
            if self.gradient_accumulation_steps != 1:
                raise UsageError("give accumulation_schedule or gradient_accumulation_steps, not both")
        if self.full_context_share + self.packed_share > 1:
            raise UsageError("full_context_share and packed_share are shares of the same steps: together at most 1")
