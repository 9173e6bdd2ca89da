"""A server that speaks as much of the hub's protocol as is used here, with faults on demand."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote, unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Repo:
    """A repository; faults are those of its files."""

    files: dict[str, bytes]
    commit: str = COMMIT
    gated: bool = False
    private: bool = False
    status: int = 0
    """Status of all answers, unless 0."""
    served: dict[str, bytes] = field(default_factory=dict)
    """Path -> bytes that are sent instead of those that are described."""
    cuts: int = 0
    """Number of downloads whose connection ends in the middle."""
    ranges: bool = True
    """Whether parts of files are served."""
    pause: threading.Event | None = None
    """Downloads stop in the middle until this is set."""


@dataclass(frozen=True)
class Request:
    """What a client asked for."""

    method: str
    path: str
    host: str
    range: str | None
    authorization: str | None


class HubServer(ThreadingHTTPServer):
    """Serves `repos`; redirects downloads to another host, as the hub does."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos: dict[str, Repo] = {}
        self.token = "hf_" + "x" * 34
        """The token that opens gated and private repositories."""
        self.requests: list[Request] = []
        self.in_the_middle = threading.Event()
        """Set when a download stops for `Repo.pause`."""

    @property
    def url(self) -> str:
        """The hub's address."""
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def downloads(self) -> list[Request]:
        """Requests for bytes of files."""
        return [one for one in self.requests if one.path.startswith("/cdn/")]


class _Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        headers = self.headers
        self.server.requests.append(
            Request(self.command, self.path, headers["Host"], headers["Range"],
                    headers["Authorization"])
        )  # fmt: skip
        words = unquote(self.path.partition("?")[0]).strip("/").split("/")
        name = "/".join(words[2:4] if words[0] == "api" else words[1:3])
        if words[0] not in ("api", "cdn"):
            name = "/".join(words[:2])
        repo = self.server.repos.get(name)
        allowed = self.headers["Authorization"] == f"Bearer {self.server.token}"
        if self.headers["Authorization"] and not allowed and words[0] != "cdn":
            self._fail(401, "", "Invalid credentials in Authorization header")
        elif repo is None or (repo.private and not allowed and words[0] != "cdn"):
            self._fail(404 if allowed else 401, "RepoNotFound")
        elif repo.status:
            self._fail(repo.status)
        elif words[0] == "api":
            self._send(200, json.dumps(_described(name, repo)).encode())
        elif words[0] == "cdn":
            self._download(repo, "/".join(words[3:]))
        elif repo.gated and not allowed:
            self._fail(403 if self.headers["Authorization"] else 401, "GatedRepo")
        else:
            self._resolve(name, repo, "/".join(words[4:]))

    def _resolve(self, name: str, repo: Repo, path: str) -> None:
        if path not in repo.files:
            self._fail(404, "EntryNotFound")
            return
        data = repo.files[path]
        self._send(302, b"", {
            "Location": f"http://localhost:{self.server.server_port}/cdn/{name}/{quote(path)}",
            "X-Repo-Commit": repo.commit,
            "X-Linked-Etag": f'"{hashlib.sha256(data).hexdigest()}"',
            "X-Linked-Size": str(len(data)),
        })  # fmt: skip

    def _download(self, repo: Repo, path: str) -> None:
        data = repo.served.get(path, repo.files[path])
        begin = 0
        if self.headers["Range"] and repo.ranges:
            begin = int(self.headers["Range"].removeprefix("bytes=").partition("-")[0])
        if begin >= len(data) > 0:
            self._fail(416)
            return
        rest = data[begin:]
        self.send_response(206 if self.headers["Range"] and repo.ranges else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        middle = len(rest) // 2
        self.wfile.write(rest[:middle])
        if repo.cuts:
            repo.cuts -= 1
            self.close_connection = True
            return
        if repo.pause is not None:
            self.wfile.flush()
            self.server.in_the_middle.set()
            repo.pause.wait(60)
        try:
            self.wfile.write(rest[middle:])
        except OSError:  # the client is gone
            self.close_connection = True

    def _fail(self, status: int, code: str = "", message: str = "") -> None:
        given = {"X-Error-Code": code, "X-Error-Message": message}
        self._send(status, b"{}", {name: value for name, value in given.items() if value})

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _described(name: str, repo: Repo) -> dict[str, object]:
    siblings = [
        {
            "rfilename": path,
            "size": len(data),
            "blobId": "0" * 40,
            "lfs": {
                "size": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
                "pointerSize": 134,
            },
        }
        for path, data in repo.files.items()
    ]
    return {"id": name, "sha": repo.commit, "siblings": siblings}


@contextmanager
def serving() -> Iterator[HubServer]:
    """A server that runs until the end of the block."""
    with HubServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            for repo in server.repos.values():
                if repo.pause is not None:
                    repo.pause.set()
            server.shutdown()
            thread.join()
