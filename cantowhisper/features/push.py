"""A finished feature dataset to the Hugging Face Hub.

Files are sent one at a time and become visible together, by one commit at the end: whoever reads the dataset
meanwhile sees the last whole one. The Hub knows files by their content, so after an interruption the same command
sends only what has not arrived.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from tqdm.auto import tqdm

from cantowhisper.contracts import CARD_FILE, STATS_FILE, CantowhisperError
from cantowhisper.features.report import HERE, REJECTED_FILE
from cantowhisper.hub_errors import hub_errors


def push(folder: Path, repo: str, *, public: bool = False, progress: bool = True) -> str:
    """Upload the dataset in `folder` to `repo` and return the address of its page.

    Parameters
    ----------
    repo : "owner/name"; made if it does not exist
    public : allow that others read it. The card says what the terms of the source are; private is the default

    Raises
    ------
    CantowhisperError : no finished dataset there, no write access, `repo` is public but `public` is not given
    """
    from huggingface_hub import HfApi

    if not (folder / STATS_FILE).is_file():
        raise CantowhisperError(f"{folder} is no finished feature dataset; make it with: cantowhisper features")
    api = HfApi()
    with hub_errors("cannot push to", repo):
        # What is there keeps its visibility, so it is asked for afterwards.
        url = str(api.create_repo(repo, repo_type="dataset", private=not public, exist_ok=True))
        found = api.dataset_info(repo, files_metadata=True)
    if not found.private and not public:
        raise CantowhisperError(
            f"{repo} is public, and features are pushed privately: make it private in its settings, or give --public "
            "if the terms of the source allow it"
        )
    with hub_errors("cannot push to", repo):
        _commit(api, folder, repo, found.siblings or [], progress)
    return url


def _commit(api, folder: Path, repo: str, there: Sequence, progress: bool) -> None:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    arrived = {file.rfilename: file.lfs.sha256 for file in there if file.lfs}
    shards = sorted((folder / "data").glob("*.parquet"))
    operations = []
    for shard in tqdm(shards, unit="file", desc=f"to {repo}", disable=not progress):
        operation = CommitOperationAdd(f"data/{shard.name}", shard)
        if arrived.get(operation.path_in_repo) != operation.upload_info.sha256.hex():
            api.preupload_lfs_files(repo, [operation], repo_type="dataset")
            operations.append(operation)
    ours = {f"data/{shard.name}" for shard in shards}
    stale = [name for name in arrived if name.startswith("data/") and name.endswith(".parquet") and name not in ours]
    operations += [CommitOperationDelete(name) for name in stale]
    for name in (REJECTED_FILE, STATS_FILE):
        operations.append(CommitOperationAdd(name, folder / name))
    card = (folder / CARD_FILE).read_text(encoding="utf-8").replace(HERE, f"load_dataset({json.dumps(repo)}")
    operations.append(CommitOperationAdd(CARD_FILE, card.encode()))
    api.create_commit(repo, operations, repo_type="dataset", commit_message="Feature dataset")
