"""The loopback Hub for models and Spaces: their addresses differ from those of datasets, and Spaces have variables."""

import json
import re
from contextlib import contextmanager

from loopback_hub import WRITER, Handler, running_hub


class ModelHandler(Handler):
    def parse_request(self) -> bool:
        parsed = super().parse_request()
        if parsed:
            self.path = re.sub(r"^/api/(models|spaces)/", "/api/datasets/", self.path)
            self.path = re.sub(r"^/(?!api/|datasets/|lfs/)([^/]+/[^/]+/resolve/)", r"/datasets/\1", self.path)
        return parsed

    def do_POST(self):
        if self.path == "/api/validate-yaml":
            self._body()
            return self._answer(200, {"warnings": [], "errors": []})
        if self.path == "/api/repos/create" and self.server.wants_pro:
            asked = json.loads(self._body())
            if asked.get("type") == "space" and not asked.get("hardware"):
                return self._answer(402, {"error": "Creating this Space needs a PRO subscription"})
            return self._create(asked)
        if (match := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/variables", self.path)) and self._token() == WRITER:
            return self._set_variable(match[1], json.loads(self._body()))
        return super().do_POST()

    def _set_variable(self, name: str, asked: dict) -> None:
        if repo := self._repo(name):
            repo.variables[asked["key"]] = {"value": asked["value"], "before_commit": repo.commits + 1}
            self._answer(200, {key: {"key": key, "value": set_["value"]} for key, set_ in repo.variables.items()})


@contextmanager
def running_model_hub():
    with running_hub() as hub:
        hub.RequestHandlerClass, hub.wants_pro = ModelHandler, False
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
