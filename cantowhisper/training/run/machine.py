"""The processor of this machine, for programs that do without torch, too."""

import contextlib
import platform
from pathlib import Path


def processor_name() -> str:
    """As its maker calls it: "Intel(R) Xeon(R) CPU @ 2.20GHz"; only "x86_64" or "arm64" where nothing says it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
