"""A small hub on this machine: repositories to download from and to push to, and its failures."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_RESOLVE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
_MODEL = re.compile(r"/api/models/([^/]+/[^/]+?)(?:/(revision|preupload|commit|tree)/([^/]+).*)?")


@dataclass
class Repository:
    """What a repository holds; ``lies`` are sizes that are told and not so.

    ``refusal`` is a status that answers whatever is asked of it, and the message beside it.
    """

    files: dict[str, bytes]
    licence: str = "mit"
    gated: bool = False
    private: bool = False
    lies: dict[str, int] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    refusal: tuple[int, str] | None = None


class Handler(BaseHTTPRequestHandler):
    """Answers like the hub, as far as this package asks."""

    server: HubServer
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(path)
        if found := _RESOLVE.fullmatch(path):
            self._file(found[1], found[2], found[3], body)
        elif found := _MODEL.fullmatch(path):
            (self._tree if found[2] == "tree" else self._model)(found[1], found[3])
        else:
            self._send(404, {})

    def _model(self, name: str, revision: str | None) -> None:
        repository = self._find(name, revision)
        if repository is None:
            return
        siblings = [
            {
                "rfilename": file,
                "size": repository.lies.get(file, len(content)),
                "blobId": hashlib.sha1(content).hexdigest(),
                "lfs": {
                    "sha256": repository.hashes.get(file, hashlib.sha256(content).hexdigest()),
                    "size": len(content),
                    "pointerSize": 100,
                },
            }
            for file, content in repository.files.items()
        ]
        content = {"id": name, "sha": COMMIT, "siblings": siblings, "private": repository.private}
        card = {"license": repository.licence} if repository.licence else {}
        self._send(200, {**content, "cardData": card, "gated": repository.gated, "tags": []})

    def _tree(self, name: str, revision: str | None) -> None:
        repository = self._find(name, revision)
        if repository is not None:
            files = repository.files.items()
            rows = [
                {"path": n, "size": len(c), "oid": hashlib.sha1(c).hexdigest()} for n, c in files
            ]
            self._send(200, [{**row, "type": "file"} for row in rows])

    def _file(self, name: str, revision: str, file: str, body: bool) -> None:
        repository = self._find(name, revision, read=True)
        if repository is None:
            return
        if file not in repository.files:
            self._send(404, {}, X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT)
            return
        content = repository.files[file]
        if body and file in self.server.broken:
            content = content[: len(content) // 2]
        self.send_response(200)
        self.send_header("Content-Length", str(len(repository.files[file])))
        self.send_header("ETag", f'"{hashlib.sha256(repository.files[file]).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if body:
            self.wfile.write(content)
            self.close_connection = file in self.server.broken

    def _find(self, name: str, revision: str | None, read: bool = False) -> Repository | None:
        repository = self.server.repositories.get(name)
        if repository is None:
            self._send(404, {}, X_Error_Code="RepoNotFound")
        elif repository.refusal:
            self._send(repository.refusal[0], {}, X_Error_Message=repository.refusal[1])
        elif revision not in (None, "main", COMMIT):
            self._send(404, {}, X_Error_Code="RevisionNotFound")
        elif repository.gated and read:
            self._send(403, {}, X_Error_Code="GatedRepo")
        else:
            return repository
        return None

    def do_POST(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if path == "/api/repos/create":
            self._create(json.loads(body))
        elif path == "/api/validate-yaml":
            self._send(200, {"errors": [], "warnings": []})
        elif (found := _MODEL.fullmatch(path)) and found[2] == "preupload":
            told = json.loads(body)["files"]
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in told
            ]
            self._send(200, {"files": files})
        elif found and found[2] == "commit":
            self._commit(found[1], body)
        else:
            self._send(404, {})

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else ""
        if name in self.server.repositories:
            self._send(409, {"url": f"{self.server.url}/{name}", "error": "it is there already"})
            return
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.server.repositories[name] = Repository({}, private=private)
        self._send(200, {"url": f"{self.server.url}/{name}", "id": name, "name": name})

    def _commit(self, name: str, body: bytes) -> None:
        for line in body.decode().splitlines():
            part = json.loads(line)
            if part["key"] == "file":
                content = base64.b64decode(part["value"]["content"])
                self.server.repositories[name].files[part["value"]["path"]] = content
        told = {"commitUrl": f"{self.server.url}/{name}/commit/{COMMIT}", "commitOid": COMMIT}
        self._send(200, {**told, "success": True})

    def _send(self, status: int, content: object, **headers: str) -> None:
        body = b"" if self.command == "HEAD" else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Keep the tests' output clean."""


class HubServer(ThreadingHTTPServer):
    """Serves ``repositories`` on 127.0.0.1; ``broken`` files end in the middle."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, Repository] = {}
        self.broken: set[str] = set()
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *arguments: object) -> None:
        """A client that hangs up is part of some tests."""

    def __enter__(self) -> HubServer:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *arguments: object) -> None:
        self.shutdown()
        self.server_close()


def point_at(url: str, monkeypatch: pytest.MonkeyPatch, home: Any) -> None:
    """Let the hub's client ask a server, with empty caches below a folder and no token."""
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    for name, value in (
        ("ENDPOINT", url),
        ("HUGGINGFACE_CO_URL_TEMPLATE", template),
        ("HF_HUB_OFFLINE", False),
        ("HF_HUB_CACHE", str(home / "hub")),
        ("HF_TOKEN_PATH", str(home / "token")),
    ):
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
