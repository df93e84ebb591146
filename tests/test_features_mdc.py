"""Releases from Mozilla Data Collective: the real client against a service on loopback."""

import hashlib
import json
import os
import re
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from test_features_release import small_release

from cantowhisper.contracts import CantowhisperError
from cantowhisper.features.sources.open import open_source

pytest.importorskip("datacollective")


class Service(BaseHTTPRequestHandler):
    """One dataset, `abc`; the server says with `status` how it answers, with `cut` where the line breaks."""

    def log_message(self, *_):
        """Quiet."""

    def _json(self, status: int, body: dict) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        server = self.server
        if self.path == "/api/datasets/abc":
            return self._json(200, {"id": "abc", "filename": "release.tar.gz", "sizeBytes": len(server.archive)})
        if self.path != "/file":
            return self._json(404, {"error": "no such dataset"})
        start = int((re.findall(r"bytes=(\d+)-", self.headers.get("Range") or "") or ["0"])[0])
        server.starts.append(start)
        data = server.archive[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: server.cut])
        server.cut = None
        self.close_connection = True
        return None

    def do_POST(self):
        server = self.server
        server.keys.append(self.headers.get("Authorization"))
        if server.status != 200:
            return self._json(server.status, {"error": "no"})
        checksum = hashlib.sha256(server.archive).hexdigest()
        found = {"downloadUrl": f"{server.url}/file", "sizeBytes": len(server.archive), "checksum": checksum}
        return self._json(200, found)


@pytest.fixture
def service(tmp_path, monkeypatch):
    release = small_release(tmp_path)
    (release.folder / "clips" / "large.bin").write_bytes(os.urandom(500_000))  # several blocks of the client
    release.write()
    archive = tmp_path / "made.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(release.folder, arcname="cv-corpus-99.0-2030-01-01/yue")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    server.url = f"http://127.0.0.1:{server.server_port}"
    server.archive, server.status, server.cut, server.starts, server.keys = archive.read_bytes(), 200, None, [], []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("MDC_API_URL", f"{server.url}/api")
    monkeypatch.setenv("MDC_API_KEY", "a-key")
    monkeypatch.setenv("MDC_DOWNLOAD_PATH", str(tmp_path / "downloads"))
    yield server
    server.shutdown()
    server.server_close()


def test_an_interrupted_download_goes_on_and_is_read(service, tmp_path):
    service.cut = len(service.archive) // 2
    with pytest.raises(CantowhisperError, match=r"the download of abc stopped with .*; the same command goes on"):
        open_source("mdc:abc")
    source = open_source("mdc:abc")
    assert service.starts[0] == 0 and 0 < service.starts[1] <= len(service.archive) // 2
    assert set(service.keys) == {"Bearer a-key"}
    assert (tmp_path / "downloads" / "release.tar.gz").read_bytes() == service.archive
    assert len(list(source.clips(split_policy="official"))) == 5 and source.language == "yue"
    open_source("mdc:abc")
    assert len(service.starts) == 2, "what is there is not fetched again"


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (401, r"MDC_API_KEY is not accepted \(401\)"),
        (403, r"accept its terms on https://mozilladatacollective.com/datasets/abc"),
        (429, r"\(429\); wait an hour"),
    ],
)
def test_each_failure_names_its_remedy(service, status, remedy):
    service.status = status
    with pytest.raises(CantowhisperError, match=remedy) as raised:
        open_source("mdc:abc")
    assert "\n" not in str(raised.value)


def test_no_key_and_no_dataset_are_told(service, monkeypatch):
    with pytest.raises(CantowhisperError, match="there is no dataset xyz"):
        open_source("mdc:xyz")
    monkeypatch.delenv("MDC_API_KEY")
    with pytest.raises(CantowhisperError, match="mdc:abc needs a key"):
        open_source("mdc:abc")
