"""Checkpoints of a run in a private repository of the Hugging Face Hub, for machines whose disk goes with them.

The repository holds the newest checkpoint and the best one. Each comes in one commit with its manifest, so that what
can be seen there is whole.
"""

import json
import os
import re
import shutil
import sys
import threading
from pathlib import Path

from cantowhisper.contracts import CantowhisperError
from cantowhisper.hub_errors import HubUnreachable, hub_errors
from cantowhisper.training.run.checkpoints import CONFIG_FILE, FOLDER, MANIFEST_FILE, checkpoint_steps, is_whole

INCOMING = ".incoming"  # beside the checkpoints: what is being downloaded


class HubCheckpoints:
    """The checkpoints of the run in the folder `run`, as a repository holds them."""

    def __init__(self, repo: str, run: Path):
        from huggingface_hub import HfApi

        self.repo = repo
        self.run = run
        self.steps: frozenset[int] = frozenset()  # what was there when it was looked at last
        self._config_there = False
        self._api = HfApi()

    @classmethod
    def open(cls, repo: str, run: Path) -> "HubCheckpoints":
        """The repository, made if it does not exist.

        Raises CantowhisperError where it is public or not ours to write to, and HubUnreachable where nobody can say
        whether it has checkpoints and the folder has none: beginning anew would leave them behind.
        """
        hub = cls(repo, run)
        try:
            with hub_errors("cannot keep checkpoints in", repo):
                hub._api.create_repo(repo, private=True, exist_ok=True)
                public = not hub._look().private
        except HubUnreachable as error:
            if not checkpoint_steps(run):
                raise
            print(f"{error}; training resumes from what is here", file=sys.stderr)
            return hub
        if public:
            raise CantowhisperError(f"{repo} is public, and checkpoints are kept privately: name another repository")
        return hub

    def _look(self):
        info = self._api.model_info(self.repo)
        names = {file.rfilename for file in info.siblings or []}
        sealed = (re.fullmatch(rf"checkpoint-(\d+)/{re.escape(MANIFEST_FILE)}", name) for name in names)
        self.steps = frozenset(int(match[1]) for match in sealed if match)
        self._config_there = CONFIG_FILE in names
        return info

    def config(self) -> dict | None:
        """The configuration of the run that the repository holds."""
        if not self._config_there:
            return None
        with hub_errors("cannot read", self.repo):
            path = self._api.hf_hub_download(self.repo, CONFIG_FILE, local_dir=self._incoming)
        return json.loads(Path(path).read_text(encoding="utf-8"))

    @property
    def _incoming(self) -> Path:
        return self.run / FOLDER / INCOMING

    def fetch(self) -> None:
        """Download the checkpoints that the folder lacks; each appears in it when it is whole."""
        print(f"fetching checkpoint {max(self.steps)} from {self.repo}", flush=True)
        for step in sorted(self.steps):
            target = self.run / FOLDER / f"checkpoint-{step}"
            if target.exists():  # torn ones have been deleted
                continue
            with hub_errors("cannot fetch checkpoints from", self.repo):
                self._api.snapshot_download(
                    self.repo, allow_patterns=f"{target.name}/*", local_dir=self._incoming, max_workers=2
                )
            if not is_whole(self._incoming / target.name):
                raise HubUnreachable(f"{target.name} of {self.repo} did not arrive whole; repeat the command")
            os.replace(self._incoming / target.name, target)
        shutil.rmtree(self._incoming)

    def put(self, steps: frozenset[int]) -> bool:
        """Make the repository hold these checkpoints and no others, in one commit; True if it had others before."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        self._look()
        folders = checkpoint_steps(self.run)
        files = [
            CommitOperationAdd(f"{folders[step].name}/{path.relative_to(folders[step]).as_posix()}", path)
            for step in sorted(steps - self.steps)
            for path in sorted(folders[step].rglob("*"))
            if path.is_file()
        ]
        if not files:
            return False
        config = CommitOperationAdd(CONFIG_FILE, self.run / CONFIG_FILE)
        old = [CommitOperationDelete(f"checkpoint-{step}/", is_folder=True) for step in sorted(self.steps - steps)]
        self._api.create_commit(self.repo, [*files, config, *old], commit_message=f"Checkpoint of step {max(steps)}")
        return bool(old)

    def forget(self) -> None:
        """Drop the history: what only it names still counts against the account's storage."""
        self._api.super_squash_history(self.repo, commit_message="The newest checkpoint and the best")


class Uploads:
    """Sends checkpoints to the Hub from a thread of its own; training never waits for it, and never fails by it.

    Use as a context manager around the training: at the end it waits for what is on its way.
    """

    def __init__(self, hub: HubCheckpoints):
        self._hub = hub
        self._changed = threading.Condition()
        self._wanted: frozenset[int] = frozenset()
        self._sending: frozenset[int] = frozenset()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="hub-checkpoints", daemon=True)

    def __enter__(self) -> "Uploads":
        self._thread.start()
        return self

    def __exit__(self, *_):
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self.in_use:
            print(f"sending checkpoint {max(self.in_use)} to {self._hub.repo}", flush=True)
        self._thread.join()

    @property
    def in_use(self) -> frozenset[int]:
        """Steps whose folders are being read, or will be."""
        with self._changed:
            return self._wanted | self._sending

    def offer(self, steps: frozenset[int]) -> None:
        """The checkpoints that the repository should hold now. What was offered and not begun is dropped for them."""
        with self._changed:
            self._wanted = steps
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted or self._closed)
                if not self._wanted:
                    return
                self._sending, self._wanted = self._wanted, frozenset()
            self._send(self._sending)
            with self._changed:
                self._sending = frozenset()

    def _send(self, steps: frozenset[int]) -> None:
        said = f"checkpoint {max(steps)} is here only"
        try:
            with hub_errors("cannot send to", self._hub.repo):
                others = self._hub.put(steps)
                said = f"checkpoint {max(steps)} is on the Hub, and deleted ones still take space there"
                if others:
                    self._hub.forget()
        except Exception as error:  # whatever it is, training goes on
            reason = " ".join(str(error).split(";")[0].split())
            print(f"{said}: {reason}; the next one tries again", file=sys.stderr, flush=True)
