"""Several processes of one run (`accelerate launch`): which of them writes, and what they tell each other.

The work is accelerate's and the Trainer's: batches are dealt out in turn, gradients are averaged. Here is only what a
run does beside its steps. In a process that is alone, nothing here costs anything.
"""

import datetime
import itertools
import os
import sys
from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")
PATIENCE = datetime.timedelta(hours=2)  # that processes wait for each other: the main one may have much to download


def _state():
    from accelerate import PartialState

    # The launcher says the rest, by the environment; the first call decides, and later ones find what it made.
    return PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)


def is_main() -> bool:
    """True in the one process that prints and writes."""
    return _state().is_main_process


def count() -> int:
    """How many processes the run has."""
    return _state().num_processes


def wait() -> None:
    """Go on when every process has come here."""
    _state().wait_for_everyone()


def any_says(flag: bool) -> bool:
    """True in every process as soon as one of them says so; all must ask."""
    from accelerate.utils import gather_object

    return any(gather_object([flag]))


def from_main(work: Callable[[], Result]) -> Result:
    """What `work` returns in the main process, in all of them. An error there ends the run: the launcher sees to it."""
    from accelerate.utils import broadcast_object_list

    told = [work() if is_main() else None]
    return broadcast_object_list(told)[0]


def dealt(split, work: Callable[[object], list[Result]]) -> list[Result]:
    """Results of `work` on a `datasets.Dataset`, one a row and in its order; each process works on its share."""
    from accelerate.utils import gather_object

    n_processes = count()
    if n_processes == 1:
        return work(split)
    rows = [range(first, len(split), n_processes) for first in range(n_processes)]
    results = gather_object(work(split.select(rows[_state().process_index])))
    placed = dict(zip(itertools.chain.from_iterable(rows), results, strict=True))
    return [placed[row] for row in range(len(split))]


def quiet_unless_main() -> None:
    """From here on, only the main process of several prints."""
    if not is_main():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (until the process ends)


def leave_unless_main() -> None:
    """End all processes but the main one, which scores and exports alone what they have trained together."""
    if count() == 1:
        return
    wait()
    stays = is_main()
    _state().destroy_process_group()
    if not stays:
        raise SystemExit(0)
