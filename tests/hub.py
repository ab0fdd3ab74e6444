"""A stand-in for the Hugging Face hub, on this machine."""

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """As much of the hub as one public repository, `team/tiny`, needs."""

    def __init__(self, folder: Path, kind: Literal["models", "datasets"] = "models") -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        files = [path for path in folder.rglob("*") if path.is_file()]
        self.files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
        self.fetched: set[str] = set()
        self.api = f"/api/{kind}/team/tiny"
        self.resolve = "/team/tiny/resolve/" if kind == "models" else f"/{kind}/team/tiny/resolve/"


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        api, files = self.server.api, self.server.files
        name = path.removeprefix(self.server.resolve).partition("/")[2]
        if path in (api, *(f"{api}/revision/{name}" for name in ("main", COMMIT))):
            siblings = [{"rfilename": name} for name in files]
            body = {"_id": "1", "id": "team/tiny", "sha": COMMIT, "private": False, "tags": [], "siblings": siblings}
            self.answer(200, json.dumps(body).encode(), {"Content-Type": "application/json"})
        elif path.startswith(f"{api}/tree/"):
            tree = [{"type": "file", "path": n, "size": len(d), "oid": "0" * 40} for n, d in files.items()]
            self.answer(200, json.dumps(tree).encode(), {"Content-Type": "application/json"})
        elif path.startswith(self.server.resolve) and (data := files.get(name)):
            if self.command == "GET":
                self.server.fetched.add(name)
            self.answer(200, data, {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": COMMIT})
        else:
            self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def serving(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, kind: Literal["models", "datasets"] = "models"
) -> Iterator[Hub]:
    """A hub with the files of `folder`, which `huggingface_hub` asks and keeps in `cache`."""
    server = Hub(folder, kind)
    use_endpoint(monkeypatch, f"http://127.0.0.1:{server.server_port}", cache)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def use_endpoint(monkeypatch: pytest.MonkeyPatch, endpoint: str, cache: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.chdir(cache.parent)
