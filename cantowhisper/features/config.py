"""What one feature dataset is made with."""

import dataclasses
import hashlib
from dataclasses import dataclass

from cantowhisper.contracts import UsageError
from cantowhisper.options import Options, option
from cantowhisper.speech.rates import MIN_PEAK, MIN_SECONDS

SPLIT_POLICIES = ("official", "validated")
ENGINES = ("local", "ray")
STORAGES = ("float16", "uint8")
N_MELS = (80, 128)
RANDOM_SALT = "random"
RECIPE = 7  # raised whenever the same recordings would give other bytes; part of a dataset's identity
# Options that change how the work is done and nothing of what is written.
_NOT_IN_THE_BYTES = ("workers", "engine", "strict")


@dataclass(frozen=True, kw_only=True)
class FeatureConfig(Options):
    """Options of `build_features` and of `cantowhisper features`. All but the last three are part of the dataset's
    identity."""

    stage = "features"

    n_mels: int = option(
        80, "Mel bins: 80 for whisper-tiny … large-v2, 128 for large-v3 and turbo", choices=N_MELS, group="what is kept"
    )
    split_policy: str = option(
        "official",
        "the release's own splits, or train on all validated clips whose sentence and speaker dev and test leave free",
        choices=SPLIT_POLICIES,
    )
    hold_out: float = option(
        0.05,
        "where a source has no validation or no test clips, training clips of so many speakers become them, and of "
        "more where these have fewer than 30 clips and 15 %; 0: none",
        unit="of the speakers",
        least=0,
        most=0.5,
    )
    scoring_only: bool = option(False, "a source without training clips is meant, and no mistake")
    max_hours: float | None = option(
        None, "of training clips, by whole speakers in a seeded order; null takes all", unit="hours", above=0
    )
    language: str | None = option(
        None, "of clips of which the source does not say it; null: the source says it", unit="a language code"
    )
    min_seconds: float = option(
        MIN_SECONDS,
        "shorter than a spoken syllable with its onset: a slip of the record button",
        unit="seconds",
        above=0,
    )
    max_seconds: float = option(
        30.0, "Whisper's window; what lies beyond it could never be heard", unit="seconds", above=0, most=30
    )
    max_lost_share: float = option(
        0.05,
        "a recording more of which is damaged or cut off is rejected: a syllable of its sentence may be gone",
        unit="of the recording",
        least=0,
        most=1,
    )
    min_peak: float = option(
        MIN_PEAK,
        "quieter clips are silence: below -60 dBFS a 16-bit recording has 33 levels left",
        unit="of full scale",
        least=0,
        most=1,
    )
    tokenizer: str = option(
        "openai/whisper-small",
        "counts the tokens of sentences that may have more than 448",
        unit="a Hub id or a folder",
    )
    shard_megabytes: int = option(
        256,
        "features in a Parquet file, before compression: about 4.5 hours",
        unit="megabytes",
        least=1,
        group="how it is stored",
    )
    storage: str = option(
        "float16",
        "uint8 rounds to 1/128, 256 steps in a clip, and takes two thirds of the bytes; columns are float16 in both",
        choices=STORAGES,
    )
    salt: str = option(
        "cantowhisper",
        "speaker = sha256(salt + id). This one is public: whoever has the release can find its speakers again. "
        '"random" draws a secret one, kept beside the dataset (OUT.salt) and never pushed; it is no default because '
        "then no two builds would be equal byte for byte",
        unit="any, or random",
    )
    strict: bool = option(
        False, "the first clip that is not usable is an error, instead of a row of rejected.tsv", group="how it is done"
    )
    engine: str = option(
        "local", "ray does the same work on the Ray cluster that RAY_ADDRESS names, or on this machine", choices=ENGINES
    )
    workers: int | None = option(None, "null takes one for each CPU core", unit="processes", least=1)

    def check(self) -> None:
        if self.min_seconds >= self.max_seconds:
            raise UsageError(f"min_seconds {self.min_seconds:g} is not below max_seconds {self.max_seconds:g}")

    def identity(self) -> dict:
        """The options that the dataset's bytes depend on, for stats.json; the salt only as a hash of itself."""
        fields = {k: v for k, v in dataclasses.asdict(self).items() if k not in _NOT_IN_THE_BYTES}
        fields["salt"] = "sha256:" + hashlib.sha256(self.salt.encode()).hexdigest()[:8]
        return {"recipe": RECIPE, **fields}
