"""The loopback Hub for repositories of models, whose addresses lack the word that those of datasets have."""

import re
from contextlib import contextmanager

from loopback_hub import WRITER, Handler, running_hub


class ModelHandler(Handler):
    def parse_request(self) -> bool:
        parsed = super().parse_request()
        if parsed:
            self.path = self.path.replace("/api/models/", "/api/datasets/", 1)
            self.path = re.sub(r"^/(?!api/|datasets/|lfs/)([^/]+/[^/]+/resolve/)", r"/datasets/\1", self.path)
        return parsed

    def do_POST(self):
        if self.path == "/api/validate-yaml":
            self._body()
            return self._answer(200, {"warnings": [], "errors": []})
        return super().do_POST()


@contextmanager
def running_model_hub():
    with running_hub() as hub:
        hub.RequestHandlerClass = ModelHandler
        yield hub


@contextmanager
def connected_model_hub(monkeypatch):
    """The Hub that this process's clients find, with a token that may write."""
    with running_model_hub() as server:
        files = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", files)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", WRITER)
        yield server
