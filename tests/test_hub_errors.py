"""Each error of the Hub's real client, against a server that answers with it, is one line that says what to do."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from huggingface_hub import HfApi

from cantowhisper.contracts import CantowhisperError
from cantowhisper.hub_errors import HubUnreachable, hub_errors


@contextmanager
def answering(status: int, code: str):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_response(status)
            if code:
                self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "code", "later", "remedy"),
    [
        (400, "", False, "check HF_TOKEN and repeat"),
        (401, "", False, "check HF_TOKEN"),
        (403, "", False, "this token may not do that"),
        (403, "GatedRepo", False, "accept its terms"),
        (404, "RepoNotFound", False, "check the name"),
        (404, "RevisionNotFound", False, "give a branch, tag or commit"),
        (429, "", True, "wait some minutes"),
        (500, "", True, "repeat the command"),
        (503, "", True, "repeat the command"),
    ],
)
def test_every_answer_says_what_to_do(status, code, later, remedy):
    with (
        answering(status, code) as url,
        pytest.raises(CantowhisperError) as caught,
        hub_errors("cannot push to", "me/x"),
    ):
        HfApi(endpoint=url, token=False).create_repo("me/x")
    said = str(caught.value)
    assert said.startswith("cannot push to me/x: ") and remedy in said and "\n" not in said, said
    assert isinstance(caught.value, HubUnreachable) == later, "whether trying again later may help"


def test_no_network_is_something_that_passes():
    with answering(200, "") as url:
        pass  # nobody answers there any more
    again = "repeat the command when the Hub can be reached"
    with pytest.raises(HubUnreachable, match=again), hub_errors("cannot read", "me/x"):
        HfApi(endpoint=url, token=False).create_repo("me/x")


def test_a_wrong_name_and_a_file_of_this_machine_do_not_pass(tmp_path):
    with pytest.raises(CantowhisperError, match="give owner/name") as name, hub_errors("cannot read", "a b"):
        HfApi(token=False).create_repo("a b/c d")
    with pytest.raises(CantowhisperError, match="No such file") as file, hub_errors("cannot push to", "me/x"):
        (tmp_path / "absent").read_bytes()
    assert not isinstance(name.value, HubUnreachable) and not isinstance(file.value, HubUnreachable)


def test_mistakes_of_ours_keep_their_traceback():
    with pytest.raises(KeyError), hub_errors("cannot read", "me/x"):
        {}["absent"]
    refused = CantowhisperError("as it is")
    with pytest.raises(CantowhisperError) as caught, hub_errors("cannot read", "me/x"):
        raise refused
    assert caught.value is refused
