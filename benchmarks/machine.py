"""What a measurement was made on: every result carries it."""

import datetime
import importlib.metadata
import os
import platform
import statistics

from cantowhisper.features.parallel import cpu_cores
from cantowhisper.training.run.machine import processor_name

PACKAGES = ("torch", "transformers", "datasets", "ctranslate2", "librosa", "gradio")


def describe() -> dict:
    """Date, processor, cores, memory, Python and package versions."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "date": datetime.date.today().isoformat(),
        "processor": processor_name(),
        "cores": cpu_cores(),  # that the measurement may use
        "memory_gib": round(memory),
        "accelerator": None,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def ratio(others: list[float], mine: list[float]) -> dict:
    """How many times quicker: the median of the rounds' ratios, and their spread. Rounds are neighbours in time."""
    each = [other / own for other, own in zip(others, mine, strict=True)]
    return {"median": statistics.median(each), "lowest": min(each), "highest": max(each), "rounds": len(each)}
