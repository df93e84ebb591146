"""Every number of a training run, with its unit and its reason, and three sets of them: demo, t4, gpu."""

import dataclasses
from dataclasses import dataclass

from cantowhisper.contracts import CantowhisperError, UsageError
from cantowhisper.speech.context import Context
from cantowhisper.speech.mel import N_FRAMES
from cantowhisper.training.schedules import LEARNING_RATES, read_accumulation


@dataclass(frozen=True)
class TrainConfig:
    """Options of `cantowhisper train`; `--set key=value` changes one. Unknown keys are refused.

    Learning rates for fine-tuning are 40 times under those of pre-training, after the Whisper authors' advice.
    """

    # -- what to train
    model: str = "openai/whisper-small"  # a Hub id, a folder, or "miniature" (trained from scratch)
    language: str = "yue"  # decoded with <|yue|> where the tokenizer has it, else <|zh|>

    # -- how long the encoder input is: 10 ms frames, two to an encoder position
    context_kind: str = "merged"  # the window's silence merged (speech/context.py); plain: cut off; full: 30 s
    context_margin_frames: int = 32  # silence after the speech that is computed as it is
    context_bucket_frames: int = 40  # speech and margin are rounded up to this
    min_context_frames: int = 0  # the least of speech and margin
    context_groups: int = 48  # into which the rest of the window is merged; a stock model needs 160, training mends it
    full_context_share: float = 0.0  # of the steps see 30 s windows: needed where silence is cut off, not where merged
    packed_share: float = 0.1  # of the steps see 30 s windows of several clips with their times: long-form stays whole
    timestamps_share: float = 0.2  # of the other clips have times in their labels: enough to keep them (distil-whisper)

    # -- batches
    batch_size: int = 16  # clips in a step at the most (per device)
    max_batch_frames: int = 16 * 1000  # clips × context in a step at the most: memory stays flat for long clips too
    max_batch_tokens: int = 16 * 128  # clips × label tokens at the most: each costs a row of 51,865 in the output layer
    full_context_batch_size: int = 4  # 30 s windows in such a step: 12,000 frames, so that it fits where the others do
    gradient_accumulation_steps: int = 1

    # -- optimisation
    max_steps: int = 4000
    learning_rate: float = 0.0  # 0: by the model's size (small 1.25e-5, tiny 3.75e-5), or for LoRA
    encoder_learning_rate: float = 0.0  # 0: as learning_rate; lower where a fresh decoder meets a trained encoder
    warmup_steps: int = 400
    schedule: str = "linear"  # linear, cosine or constant, behind the warm-up
    accumulation_schedule: str = ""  # batches@step, such as "4@0,1@2000": how many make a step, from which step on
    early_stopping_evaluations: int = 0  # stop when so many bring no better validation CER; 0: never
    adam_beta2: float = 0.999  # how long squared gradients are remembered
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    dropout: float = 0.0  # Whisper was trained without
    augment_from: float = 0.0  # share of the run before 30 s windows and variations come: fresh weights listen first
    stretch: float = 0.0  # training clips are played up to this share faster or slower
    warp: float = 0.0  # … with formants up to this share higher or lower
    equalizer_db: float = 0.0  # … with parts of the spectrum up to this much louder or softer: microphones, codecs
    gain_db: float = 0.0  # … up to this much louder or softer
    time_masks: int = 0  # SpecAugment: holes in time in a clip, each up to time_mask_frames long
    time_mask_frames: int = 20  # 0.2 s, about a syllable
    feature_masks: int = 0  # SpecAugment: holes in frequency, each up to feature_mask_channels wide
    feature_mask_channels: int = 12  # of 80
    token_dropout: float = 0.0  # share of the decoder's input characters made wrong: for training from scratch only
    lora_rank: int = 0  # 0: all weights. 32: LoRA, far less memory; whisper-small: CER 7.4 instead of 6.2 % (MDCC)
    adam_8bit: bool = False  # 2 bytes a weight of optimizer state instead of 8, where bitsandbytes is
    freeze_encoder: bool = False  # costs about 15 points of CER on Cantonese: for experiments only
    gradient_checkpointing: bool = False  # trades a third of the speed for memory
    precision: str = "auto"  # fp16 on a T4; bf16 from Ampere on and on CPUs that have it; else fp32
    seed: int = 20

    # -- looking and keeping
    evaluate_every_steps: int = 500
    save_every_steps: int = 500  # whisper-small with Adam is 2.9 GB a checkpoint
    log_every_steps: int = 25
    keep_checkpoints: int = 2  # the best one is kept besides
    hub_checkpoints: str = ""  # owner/name of a private repository that holds the newest and the best one too
    validation_clips: int = 400  # a fixed subset: CER to about half a point, seconds instead of minutes
    data_workers: int = 2  # processes that read and pad batches while the device computes; streaming: a thread reads

    # -- where the features are
    streaming: bool = False  # leave train's features on the Hub (or Drive), and read them as they are needed: no disk
    # Clips in memory when streaming: 130 MB at 4 s. Half of them are on their way; the other 1,000 are 60 batches, so
    # that lengths fit as well as in a whole epoch, from 30 places of the dataset.
    stream_clips: int = 2000

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
        return dataclasses.replace(
            self,
            context_kind=context.kind,
            context_margin_frames=context.margin_frames,
            context_bucket_frames=context.bucket_frames,
            min_context_frames=context.min_frames,
            context_groups=context.groups,
        )

    def with_overrides(self, **overrides) -> "TrainConfig":
        """A copy with some fields changed; unknown fields and values of another type are refused.

        >>> PRESETS["demo"].with_overrides(max_steps=100).max_steps
        100
        """
        kinds = {field.name: field.type for field in dataclasses.fields(self)}
        unknown = sorted(set(overrides) - set(kinds))
        if unknown:
            raise UsageError(f"training has no option {', '.join(unknown)}; there are: {', '.join(kinds)}")
        for key, value in overrides.items():
            number_for_float = kinds[key] is float and type(value) is int
            if type(value) is not kinds[key] and not number_for_float:
                raise UsageError(f"{key} takes {kinds[key].__name__}, not {value!r}")
        return dataclasses.replace(self, **overrides)

    def __post_init__(self):
        if self.schedule not in LEARNING_RATES:
            raise UsageError(f"schedule is {', '.join(LEARNING_RATES)}, not {self.schedule!r}")
        if self.accumulation_schedule:
            read_accumulation(self.accumulation_schedule)
            if self.gradient_accumulation_steps != 1:
                raise UsageError("give accumulation_schedule or gradient_accumulation_steps, not both")
        for name in ("lora_rank", "early_stopping_evaluations", "learning_rate", "encoder_learning_rate"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} is at least 0, not {getattr(self, name)}")
        counts = (
            "context_bucket_frames batch_size full_context_batch_size gradient_accumulation_steps max_steps "
            "evaluate_every_steps save_every_steps log_every_steps keep_checkpoints validation_clips stream_clips"
        )
        for name in counts.split():
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is at least 1, not {getattr(self, name)}")
        for name in ("full_context_share", "packed_share", "timestamps_share", "augment_from"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} is a share from 0 to 1, not {getattr(self, name)}")
        if self.full_context_share + self.packed_share > 1:
            raise UsageError("full_context_share and packed_share are shares of the same steps: together at most 1")
        try:
            _ = self.context
        except CantowhisperError as error:
            raise UsageError(str(error)) from error
        if self.hub_checkpoints and self.hub_checkpoints.count("/") != 1:
            raise UsageError(f"hub_checkpoints is the owner/name of a repository, not {self.hub_checkpoints!r}")
        if self.max_batch_frames < N_FRAMES:
            raise UsageError(f"max_batch_frames is at least {N_FRAMES}: a clip may last 30 s")
        if self.max_batch_tokens < 448:
            raise UsageError("max_batch_tokens is at least 448: a label may have as many")


PRESETS = {
    # A miniature Whisper from scratch on samples/: minutes on two CPU cores, to see the whole path work.
    "demo": TrainConfig(
        model="miniature",
        context_margin_frames=64,
        context_groups=16,  # short sentences, and weights that know no other windows
        packed_share=0.0,  # tried, and dropped with the times: fresh weights then learn to listen later
        timestamps_share=0.0,
        max_steps=2700,
        learning_rate=2e-3,  # 2 M fresh parameters
        warmup_steps=100,
        schedule="cosine",
        adam_beta2=0.98,  # gradients of fresh weights change quickly
        weight_decay=0.01,
        dropout=0.1,
        # 50 minutes of seven voices: without variations clips are learned by heart. With them from the start, it takes
        # much longer until the decoder finds the place in the recording that it has come to.
        augment_from=0.25,
        stretch=0.03,
        warp=0.03,
        equalizer_db=12.0,  # all clips are MP3 without their highest tones; recordings of other kinds have them
        token_dropout=0.15,
        evaluate_every_steps=450,
        save_every_steps=450,
        log_every_steps=50,
        data_workers=0,  # two cores: a worker would take one from the model
    ),
    # whisper-small on a free Colab T4 (16 GB, fp16, no bf16): all defaults are made for it.
    "t4": TrainConfig(),
    # One Ampere or newer card with at least 40 GB: a larger batch keeps it busy.
    "gpu": TrainConfig(
        batch_size=64,
        max_batch_frames=64 * 1000,
        max_batch_tokens=64 * 128,
        max_steps=2000,
        warmup_steps=200,
        data_workers=6,
    ),
}
