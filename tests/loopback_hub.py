"""A Hugging Face Hub on loopback: enough of its HTTP interface for the real clients to push, load and stream."""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

WRITER, READER = "hf_writer", "hf_reader"  # tokens
LFS_ENDINGS = (".parquet", ".safetensors", ".pt", ".pth", ".bin")


class Repo:
    def __init__(self, private: bool = False):
        self.private = private
        self.files: dict[str, bytes] = {}
        self.lfs: set[str] = set()
        self.commits = 0
        self.squashes = 0
        self.variables: dict[str, dict] = {}  # of a Space

    @property
    def sha(self) -> str:
        return hashlib.sha1(f"{sorted(self.files)}{self.commits}".encode()).hexdigest()

    def entry(self, path: str) -> dict:
        data = self.files[path]
        found = {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
        if path in self.lfs:
            sha = hashlib.sha256(data).hexdigest()
            found["lfs"] = {"oid": sha, "sha256": sha, "size": len(data), "pointerSize": 130}
        return found


class Hub(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}  # LFS
        self.uploads: list[str] = []
        self.created: list[dict] = []
        self.refuse_after: int | None = None  # uploads
        self.lost = False  # the network: connections end without an answer
        self.missed = 0
        self.refuse_squash = False
        self.served_bytes = 0  # of files
        self.served: set[str] = set()  # their paths

    def add(self, name: str, files: dict[str, bytes], **how) -> Repo:
        repo = self.repos[name] = Repo(**how)
        repo.files.update(files)
        repo.lfs.update(path for path in files if path.endswith(".parquet"))
        return repo


@contextmanager
def running_hub():
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join(10)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_):
        """Quiet."""

    def parse_request(self) -> bool:
        parsed = super().parse_request()
        if self.server.lost:
            self.server.missed += 1
            self.close_connection = True
        return parsed and not self.server.lost

    def _answer(self, status: int, body=b"", **headers) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        headers = {"Content-Length": len(data), **{key.replace("_", "-"): value for key, value in headers.items()}}
        for key, value in headers.items():
            self.send_header(key, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _token(self) -> str:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ")

    def _repo(self, name: str) -> Repo | None:
        repo = self.server.repos.get(name)
        hidden = repo is not None and repo.private and self._token() not in (WRITER, READER)
        if repo is None or hidden:
            self._answer(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
            return None
        return repo

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        if match := re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self._file(match[1], match[3])
        if match := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)(?:/revision/[^/]+)?", path):
            return self._info(match[1])
        if match := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/tree/[^/]+(?:/(.*))?", path):
            return self._tree(match[1], match[2] or "")
        return self._answer(404, {"error": f"no {path}"}, X_Error_Code="EntryNotFound")

    do_HEAD = do_GET

    def _info(self, name: str) -> None:
        if repo := self._repo(name):
            import yaml

            card = repo.files.get("README.md", b"").decode()
            data = yaml.safe_load(card.split("---")[1]) if card.startswith("---") else None
            siblings = [{"rfilename": path, **repo.entry(path)} for path in sorted(repo.files)]
            facts = {"id": name, "sha": repo.sha, "private": repo.private, "gated": False, "disabled": False}
            self._answer(200, {**facts, "siblings": siblings, "cardData": data, "tags": [], "downloads": 0, "likes": 0})

    def _tree(self, name: str, folder: str) -> None:
        if repo := self._repo(name):
            prefix = f"{folder.rstrip('/')}/" if folder else ""
            inside = sorted(path for path in repo.files if path.startswith(prefix))
            if folder and not inside:
                return self._answer(404, {"error": "no such folder"}, X_Error_Code="EntryNotFound")
            folders = sorted({prefix + path.removeprefix(prefix).split("/")[0] for path in inside} - set(inside))
            entries = [{"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in folders]
            recursive = parse_qs(urlsplit(self.path).query).get("recursive", ["false"])[0].lower() in ("true", "1")
            shown = inside if recursive else [path for path in inside if "/" not in path.removeprefix(prefix)]
            return self._answer(200, entries + [repo.entry(path) for path in shown])
        return None

    def _file(self, name: str, path: str) -> None:
        if not (repo := self._repo(name)):
            return
        if path not in repo.files:
            return self._answer(404, {"error": "no such file"}, X_Error_Code="EntryNotFound")
        data, status, extra = repo.files[path], 200, {}
        etag = hashlib.sha256(data).hexdigest()
        if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            start, end = int(wanted[1]), min(int(wanted[2] or len(data)), len(data) - 1)
            extra["Content_Range"] = f"bytes {start}-{end}/{len(data)}"
            status, data = 206, data[start : end + 1]
        if self.command == "GET":
            self.server.served_bytes += len(data)
            self.server.served.add(path)
        return self._answer(status, data, ETag=f'"{etag}"', X_Repo_Commit=repo.sha, Accept_Ranges="bytes", **extra)

    def do_POST(self):
        path = unquote(urlsplit(self.path).path)
        body = self._body()
        if match := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/paths-info/[^/]+", path):
            return self._paths_info(match[1], body)
        if self._token() != WRITER:
            return self._answer(403, {"error": "this token is read-only"}, X_Error_Message="this token is read-only")
        if path == "/api/validate-yaml":
            return self._answer(200, {"errors": [], "warnings": []})
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/preupload/[^/]+", path):
            files = [
                {"path": f["path"], "uploadMode": "lfs" if f["path"].endswith(LFS_ENDINGS) else "regular"}
                for f in json.loads(body)["files"]
            ]
            return self._answer(200, {"files": [{**file, "shouldIgnore": False, "oid": None} for file in files]})
        if path.endswith(".git/info/lfs/objects/batch"):
            return self._answer(200, self._batch(json.loads(body)))
        if match := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/commit/[^/]+", path):
            return self._commit(match[1], body)
        if match := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/super-squash/[^/]+", path):
            return self._squash(match[1])
        return self._answer(404, {"error": f"no {path}"})

    def _paths_info(self, name: str, body: bytes) -> None:
        if repo := self._repo(name):
            try:
                asked = json.loads(body)["paths"]
            except ValueError:
                asked = parse_qs(body.decode())["paths"]
            asked = [asked] if isinstance(asked, str) else asked
            found = [repo.entry(path) for path in asked if path in repo.files]
            for path in asked:
                if path not in repo.files and any(file.startswith(f"{path}/") for file in repo.files):
                    found.append({"type": "directory", "path": path, "oid": "0" * 40, "size": 0})
            self._answer(200, found)

    def _create(self, asked: dict) -> None:
        name, kind = f"{asked.get('organization') or 'me'}/{asked['name']}", asked.get("type", "model")
        url = f"{self.server.url}/{name}" if kind == "model" else f"{self.server.url}/{kind}s/{name}"
        self.server.created.append(asked)
        if name in self.server.repos:
            return self._answer(409, {"error": f"You already created this {kind} repo", "url": url})
        self.server.repos[name] = Repo(private=bool(asked.get("private") or asked.get("visibility") == "private"))
        return self._answer(200, {"url": url, "name": name})

    def _batch(self, asked: dict) -> dict:
        objects = []
        for entry in asked["objects"]:
            upload = {"upload": {"href": f"{self.server.url}/lfs/{entry['oid']}"}}
            objects.append(entry if entry["oid"] in self.server.objects else {**entry, "actions": upload})
        return {"transfer": "basic", "objects": objects}

    def do_PUT(self):
        data = self._body()
        if self.server.refuse_after is not None and len(self.server.uploads) >= self.server.refuse_after:
            return self._answer(400, {"error": "the line went dead"})
        oid = self.path.rsplit("/", 1)[-1]
        assert hashlib.sha256(data).hexdigest() == oid
        self.server.objects[oid] = data
        self.server.uploads.append(oid)
        return self._answer(200)

    def _commit(self, name: str, body: bytes) -> None:
        if not (repo := self._repo(name)):
            return
        for line in body.decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                repo.files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                repo.files[value["path"]] = self.server.objects[value["oid"]]
                repo.lfs.add(value["path"])
            elif entry["key"] == "deletedFile":
                del repo.files[value["path"]]
            elif entry["key"] == "deletedFolder":
                folder = value["path"].rstrip("/") + "/"
                repo.files = {path: data for path, data in repo.files.items() if not path.startswith(folder)}
        repo.commits += 1
        url = f"{self.server.url}/datasets/{name}/commit/{repo.sha}"
        self._answer(200, {"success": True, "commitOid": repo.sha, "commitUrl": url, "pullRequestUrl": None})

    def _squash(self, name: str) -> None:
        if self.server.refuse_squash:
            return self._answer(400, {"error": "not now"})
        if repo := self._repo(name):
            repo.squashes += 1
            self._answer(200, {"commitId": repo.sha})
        return None
