"""A model by its Hub id: fetched at one commit, and served from the cache while the Hub is away."""

import pytest
from model_hub import connected_model_hub

from cantowhisper.contracts import CantowhisperError
from cantowhisper.serving.hub import model_folder


def test_a_model_comes_from_one_commit_and_still_serves_while_the_hub_is_away(monkeypatch, tmp_path):
    with connected_model_hub(monkeypatch) as hub:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        files = {name: name.encode() for name in ("config.json", "tokenizer.json", "model.safetensors", "notes.pdf")}
        repo = hub.add("me/model", files)
        folder = model_folder("me/model")
        assert folder.name == repo.sha and (folder / "model.safetensors").read_bytes() == b"model.safetensors"
        assert not (folder / "notes.pdf").exists()
        hub.lost = True
        assert model_folder("me/model") == folder
        with pytest.raises(CantowhisperError, match="the Hub does not give me/other"):
            model_folder("me/other")
