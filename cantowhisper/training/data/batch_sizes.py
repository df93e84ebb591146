"""How many clips a batch takes, where the options leave it to the data."""

from cantowhisper.training.config import TrainConfig

STEPS_AN_EPOCH = 12  # of little data, at least: fewer steps learn less from each clip, however good their gradient is
LEAST_CLIPS = 4
FRAMES_A_CLIP = 1000  # 10 s: few clips of Common Voice are longer
WINDOWS = 4  # a 30 s window for so many clips of the other batches: 3,000 frames


def with_batch_sizes(config: TrainConfig, n_clips: int, *, n_processes: int = 1) -> TrainConfig:
    """The config with numbers for `batch_size` and `full_context_batch_size`, for a train split of `n_clips`.

    A power of two, so that an epoch of little data has a dozen steps: 54 whisper-base clips in batches of 4 for six
    epochs learn what larger batches have too few steps for. What is set stays.

    >>> [with_batch_sizes(TrainConfig(), n).batch_size for n in (5, 60, 100, 1000)]
    [4, 4, 8, 16]
    """
    size = config.batch_size
    if size is None:
        in_a_step = n_clips // STEPS_AN_EPOCH // (n_processes * config.gradient_accumulation_steps)
        size = min(max(_power_of_two(in_a_step), LEAST_CLIPS), max(config.max_batch_frames // FRAMES_A_CLIP, 1))
    windows = config.full_context_batch_size or max(size // WINDOWS, 1)
    return config.with_overrides(batch_size=size, full_context_batch_size=windows)


def _power_of_two(number: int) -> int:
    """The largest one that is not above a number."""
    return 1 << max(number.bit_length() - 1, 0)
