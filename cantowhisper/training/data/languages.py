"""What language clips are in, and the token that their labels begin with.

The feature dataset says it, clip by clip, so that nobody trains German as Cantonese; a mixture teaches each language
under its own token. What has no token (Kyrgyz) is taught under that of a relative, when `language_token` names one.
"""

import dataclasses
import json
import os
from collections import Counter
from pathlib import Path

from cantowhisper.contracts import STATS_FILE, UsageError
from cantowhisper.hub_errors import hub_errors
from cantowhisper.speech.language import language_code, language_name, language_token
from cantowhisper.training.config import TrainConfig


def card_language(features: str | os.PathLike) -> str:
    """The language that a feature dataset (folder or Hub id) has on its card; "" if nothing says it."""
    path = Path(features) / STATS_FILE
    if not Path(features).is_dir():
        path = _fetched(str(features))
    try:
        return str(json.loads(path.read_text(encoding="utf-8")).get("language") or "") if path else ""
    except (OSError, ValueError, AttributeError):
        return ""


def _fetched(repo: str) -> Path | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    with hub_errors("cannot read the card of", repo):
        try:
            return Path(hf_hub_download(repo, STATS_FILE, repo_type="dataset"))
        except EntryNotFoundError:
            return None


def main_language(split) -> str:
    """The language that most clips of a split are in, as its column says it; "" if it says nothing."""
    counts = Counter(filter(None, split["language"]))
    return counts.most_common(1)[0][0] if counts else ""


def with_language(config: TrainConfig, split) -> TrainConfig:
    """A configuration whose language is the dataset's.

    Raises
    ------
    UsageError : it names a language that no clip of the split is in, or neither says any
    """
    found = main_language(split)
    if config.language and found:
        said = {language_code(tag) for tag in set(split["language"]) if tag}
        if language_code(config.language) not in said:
            theirs = " and ".join(f"{code} ({language_name(code)})" for code in sorted(said))
            raise UsageError(
                f"the features are {theirs}, and language={config.language} is {language_name(config.language)}; "
                "leave it out: the features say what they are"
            )
    language = config.language or found
    if not language:
        raise UsageError("the features do not say what language they are; give it with --set language=CODE")
    return dataclasses.replace(config, language=language)


def token_of(tokenizer, language: str, config: TrainConfig) -> str:
    """The token for clips of a language ("": the run's own). `language_token` is for the run's own language, and for
    those that have none.

    Raises
    ------
    UsageError : there is none for it, and nothing stands in
    """
    own = not language or (config.language and language_code(language) == language_code(config.language))
    if own and config.language_token:
        return language_token(tokenizer, config.language_token)
    try:
        return language_token(tokenizer, language or config.language)
    except UsageError:
        if not config.language_token:
            raise
    return language_token(tokenizer, config.language_token)


def check_tokens(tokenizer, split, config: TrainConfig) -> None:
    """Refuse, before anything is computed, a split with a language that nothing can be decoded with."""
    for language in sorted(set(split["language"])):
        token_of(tokenizer, language, config)
