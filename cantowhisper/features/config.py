"""What one feature dataset is made with."""

import dataclasses
import hashlib
from dataclasses import dataclass

from cantowhisper.contracts import UsageError

SPLIT_POLICIES = ("official", "validated")
ENGINES = ("local", "ray")
STORAGES = ("float16", "uint8")
RANDOM_SALT = "random"
RECIPE = 3  # raised whenever the same recordings would give other bytes; part of a dataset's identity
_NOT_IN_THE_BYTES = (
    "workers",
    "engine",
    "strict",
)  # fields that change how the work is done and nothing of what is written


@dataclass(frozen=True, kw_only=True)
class FeatureConfig:
    """Settings of `build_features`. Every field but the last three is part of the dataset's identity."""

    n_mels: int = 80  # Mel bins: 80 for whisper-tiny … large-v2, 128 for large-v3 and turbo
    split_policy: str = "official"  # or "validated": train on all validated clips that dev and test leave free
    max_hours: float | None = None  # of training clips, by whole speakers in a seeded order; None takes all
    language: str | None = None  # of the dataset card; None takes the source's own
    min_seconds: float = 0.3  # shorter than a spoken syllable with its onset: a slip of the record button
    max_seconds: float = 30.0  # Whisper's window; what lies beyond it could never be seen
    min_peak: float = 1e-3  # full scale is 1; below -60 dBFS a 16-bit recording has 33 levels left: silence
    tokenizer: str = "openai/whisper-small"  # counts the tokens of sentences that may have more than 448
    shard_megabytes: int = 256  # features in a Parquet file, before compression: about 4.5 hours
    # float16, or uint8: rounded to 1/128, 256 steps in a clip. The column's type is float16 in both cases.
    storage: str = "float16"
    # speaker = sha256(salt + id). This one is public: whoever has the release can find its speakers again. "random"
    # draws a secret one, kept beside the dataset (OUT.salt) and never pushed. It is no default because then no two
    # builds would be equal byte for byte.
    salt: str = "cantowhisper"
    strict: bool = False  # True: the first clip that is not usable is an error
    engine: str = "local"  # or "ray": the same work on a Ray cluster
    workers: int | None = None  # processes; None takes one for each CPU core

    def __post_init__(self):
        if self.split_policy not in SPLIT_POLICIES:
            raise UsageError(f"split_policy is {self.split_policy!r}; choose one of {', '.join(SPLIT_POLICIES)}")
        if self.engine not in ENGINES:
            raise UsageError(f"engine is {self.engine!r}; choose one of {', '.join(ENGINES)}")
        if self.storage not in STORAGES:
            raise UsageError(f"storage is {self.storage!r}; choose one of {', '.join(STORAGES)}")
        if self.max_hours is not None and not self.max_hours > 0:
            raise UsageError(f"max_hours is {self.max_hours:g}; give a positive number of hours")
        if self.n_mels not in (80, 128):
            raise UsageError(f"n_mels is {self.n_mels}; Whisper models take 80 (tiny … large-v2) or 128 (large-v3)")
        if not 0 < self.min_seconds < self.max_seconds <= 30:
            raise UsageError(f"min_seconds {self.min_seconds:g} < max_seconds {self.max_seconds:g} ≤ 30 must hold")
        if self.shard_megabytes < 1 or (self.workers is not None and self.workers < 1):
            raise UsageError("shard_megabytes and workers are at least 1")

    @classmethod
    def from_dict(cls, settings: dict) -> "FeatureConfig":
        """A config from keyword and value; a keyword that does not exist is a UsageError that names those that do."""
        return cls().with_overrides(**settings)

    def with_overrides(self, **settings) -> "FeatureConfig":
        """This config with some fields changed; unknown ones are refused."""
        known = [field.name for field in dataclasses.fields(self)]
        for name in settings:
            if name not in known:
                raise UsageError(f"features have no setting {name!r}; there are: {', '.join(known)}")
        return dataclasses.replace(self, **settings)

    def identity(self) -> dict:
        """The fields that the dataset's bytes depend on, for stats.json; the salt only as a hash of itself."""
        fields = {k: v for k, v in dataclasses.asdict(self).items() if k not in _NOT_IN_THE_BYTES}
        fields["salt"] = "sha256:" + hashlib.sha256(self.salt.encode()).hexdigest()[:8]
        return {"recipe": RECIPE, **fields}
