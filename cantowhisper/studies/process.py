"""A job in a process of its own: its peak memory is its own, and what takes it down leaves the study standing."""

import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path

from cantowhisper.contracts import CantowhisperError
from cantowhisper.files import write_json
from cantowhisper.studies.run import Job

LOG, JOB, ROW = "log.txt", "job.json", "row.json"
SAVING_SECONDS = 600  # that an interrupted run has for its checkpoint


def in_a_process(job: Job) -> dict:
    """What `run` returns of a job.

    Raises
    ------
    CantowhisperError : it failed; its last line says why, and `log.txt` in its folder says more
    KeyboardInterrupt : after Ctrl-C, when the run has saved a checkpoint
    """
    folder = Path(job.folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(dataclasses.asdict(job), folder / JOB)
    (folder / ROW).unlink(missing_ok=True)
    command = [sys.executable, "-m", "cantowhisper.studies.run", str(folder / JOB), str(folder / ROW)]
    # A session of its own: Ctrl-C in the terminal would else reach it twice, which ends it without a checkpoint.
    with (
        (folder / LOG).open("wb") as log,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        ) as process,
    ):
        code = _waited_for(process)
    if code or not (folder / ROW).exists():
        raise CantowhisperError(f"a run failed ({_last_line(folder / LOG, code)}); see {folder / LOG}")
    return json.loads((folder / ROW).read_text(encoding="utf-8"))


def _waited_for(process: subprocess.Popen) -> int:
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(SAVING_SECONDS)
        finally:
            process.kill()
        raise


def _last_line(log: Path, code: int) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].strip() if lines and code > 0 else f"exit code {code}"
