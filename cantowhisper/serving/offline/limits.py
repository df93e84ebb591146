"""Every limit of the pages in one place. The pages enforce exactly these and show them to visitors."""

import os
from dataclasses import dataclass
from pathlib import Path

from cantowhisper.options import Options, option
from cantowhisper.serving.texts.say import Say, said
from cantowhisper.serving.web.form import FormLimits
from cantowhisper.serving.web.refusal import Refusal


class LimitError(Refusal):
    """A visitor's request is over a limit; the message says which, and what to do."""


class LinkError(LimitError):
    """A link that is not fetched; the message says why and what to do, without the link."""


@dataclass(frozen=True)
class Limits(Options):
    """What one page serves, on a machine of two CPU cores and 16 GB that all visitors share."""

    stage = "the page"

    max_file_bytes: int = option(
        200_000_000, "a talk as video; the file is only read once and never held in memory", unit="bytes", least=1
    )
    max_audio_s: float = option(
        1800.0, "115 MB as a waveform, and some ten minutes of work for whisper-small", unit="seconds", above=0
    )
    max_work_s: float = option(
        1200.0, "then the transcript ends where it is: nobody may hold the machine for longer", unit="seconds", least=0
    )
    max_url_bytes: int = option(
        200_000_000, "the same for what a link names, also after unpacking", unit="bytes", least=1
    )
    max_download_s: float = option(
        120.0, "a slow server would hold one of the few download places for longer", unit="seconds", above=0
    )
    max_files: int = option(
        10, "in one request; they count as one in the queue, and share its time", unit="recordings", least=1
    )
    max_requests_per_hour: int = option(
        60, "by one visitor (address): enough for a person, not for a script; 0: no end", unit="requests", least=0
    )
    max_events_per_second: float = option(
        3.0,
        "by one visitor, and ten times as many at once: presses and choices of a person; 0: no end",
        unit="events",
        least=0,
    )
    max_upload_bytes_per_hour: int = option(
        4_000_000_000, "by one visitor: twenty of the largest files; 0: no end", unit="bytes", least=0
    )
    max_under_way_per_visitor: int = option(
        3, "being fetched, waiting or worked on: one visitor cannot fill the queue", unit="requests", least=1
    )
    max_downloads: int = option(8, "at once, one a visitor: each holds a thread, and no core", unit="links", least=1)
    max_queue: int = option(
        20, 'beyond that "try later" is more honest than a wait of hours', unit="requests under way", least=1
    )
    keep_files_s: int = option(
        3 * 3600, "then uploads and downloads are deleted; longer than any wait in the queue", unit="seconds", least=1
    )
    look_for_old_files_s: int = option(600, "how often that is done", unit="seconds", least=1)

    def check_file(self, path: str | os.PathLike) -> None:
        """Refuse a file that is too large.

        Raises
        ------
        LimitError
        """
        size = Path(path).stat().st_size
        if size > self.max_file_bytes:
            told = said("ask.large_file", size=_mb(size), most=_mb(self.max_file_bytes))
            raise LimitError(told, status=413)

    @property
    def forms(self) -> FormLimits:
        """What one upload may hold."""
        return FormLimits(max_files=self.max_files, max_file_bytes=self.max_file_bytes)

    def described(self, say: Say) -> list[tuple[str, str]]:
        """(what, how much), as shown on the page."""
        fetched_s = say("seconds", n=f"{self.max_download_s:.0f}")
        return [
            (say("limit.file"), _mb(self.max_file_bytes)),
            (say("limit.link"), f"{_mb(self.max_url_bytes)} · {fetched_s}"),
            (say("limit.at_once"), f"{self.max_files}"),
            (say("limit.duration"), say("minutes", n=f"{self.max_audio_s / 60:.0f}")),
            (say("limit.work"), say("minutes", n=f"{self.max_work_s / 60:.0f}")),
            (say("limit.queue"), f"{self.max_queue}"),
            (say("limit.hourly"), f"{self.max_requests_per_hour}"),
            (say("limit.kept"), say("hours", n=f"{self.keep_files_s / 3600:.0f}")),
        ]


def _mb(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.0f} MB"
