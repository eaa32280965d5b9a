"""Servers on this machine that stand in for the real ones, and misbehave when told to."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34
Trick = Callable[[BaseHTTPRequestHandler], bool]
"""Answers a request in its own way and returns True, or leaves it to the server."""


class Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def send(self, content: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content_Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def send_json(self, value: Any, status: int = 200, **headers: str) -> None:
        self.send(json.dumps(value).encode(), status, Content_Type="application/json", **headers)


@contextmanager
def serving(handler: type[Quiet]) -> Iterator[str]:
    """The address of a running server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def serve_on(handler: type[Quiet]) -> str:
    """The address of a server that runs as long as the process."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


class HubServer:
    """Hugging Face's and ModelScope's interface over files in memory; large files are redirected, as the real one does.

    tricks: path of a file, or "" for the list of files -> what to do instead, each once, in order
    """

    def __init__(self, models: dict[str, dict[str, bytes]]) -> None:
        self.models = models
        self.tricks: dict[str, list[Trick]] = defaultdict(list)
        self.asked: list[tuple[str, str | None]] = []      # (file, Range)
        self.tokens: list[tuple[str, str | None]] = []     # (path of the address, Authorization)
        self.large = 1000

    def handler(self) -> type[Quiet]:
        hub = self

        class Handler(Quiet):
            def do_GET(self) -> None:
                hub.answer(self)

        return Handler

    def answer(self, request: Quiet) -> None:
        parts = urlsplit(request.path)
        path = unquote(parts.path).strip("/").split("/")
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        self.tokens.append((parts.path, request.headers["Authorization"]))
        match path:
            case ["api", "models", owner, name, "revision", revision]:
                self._list(request, f"{owner}/{name}", revision, self._huggingface)
            case ["api", "v1", "models", owner, name, "repo", "files"]:
                self._list(request, f"{owner}/{name}", query["Revision"], self._modelscope)
            case ["api", "v1", "models", owner, name, "repo"]:
                self._file(request, f"{owner}/{name}", query["FilePath"])
            case [owner, name, "resolve", commit, *file] if commit == COMMIT:
                content = self.models[f"{owner}/{name}"]["/".join(file)]
                if len(content) >= self.large:
                    digest = hashlib.sha256(content).hexdigest()
                    request.send(b"", 302, Location=f"/cdn/{owner}/{name}/{'/'.join(file)}",
                                 X_Linked_Size=str(len(content)), X_Linked_Etag=f'"{digest}"')
                else:
                    self._file(request, f"{owner}/{name}", "/".join(file))
            case ["cdn", owner, name, *file]:
                self._file(request, f"{owner}/{name}", "/".join(file))
            case _:
                request.send(b"Not found", 404)

    def played(self, request: Quiet, file: str) -> bool:
        return bool(self.tricks[file]) and self.tricks[file].pop(0)(request)

    def _list(self, request: Quiet, model: str, revision: str, form: Callable[[dict[str, bytes]], Any]) -> None:
        if self.played(request, ""):
            return
        if model not in self.models:
            request.send_json({"error": "Repository not found"}, 401, X_Error_Code="RepoNotFound")
        elif revision not in ("main", "master"):
            request.send_json({"error": f"Invalid rev id: {revision}"}, 404, X_Error_Code="RevisionNotFound")
        else:
            request.send_json(form(self.models[model]))

    def _huggingface(self, files: dict[str, bytes]) -> Any:
        def entry(path: str, content: bytes) -> dict[str, Any]:
            blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
            said: dict[str, Any] = {"rfilename": path, "size": len(content), "blobId": blob}
            if len(content) >= self.large:
                said["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
            return said

        return {"sha": COMMIT, "siblings": [entry(*file) for file in files.items()]}

    def _modelscope(self, files: dict[str, bytes]) -> Any:
        entries = [{"Path": path, "Name": path.rpartition("/")[2], "Size": len(content), "Type": "blob",
                    "Sha256": hashlib.sha256(content).hexdigest(), "Revision": COMMIT}
                   for path, content in files.items()]
        entries += [{"Path": "1_Pooling", "Name": "1_Pooling", "Size": 0, "Type": "tree", "Sha256": ""}]
        return {"Code": 200, "Success": True, "Message": "", "Data": {"Files": entries}}

    def _file(self, request: Quiet, model: str, file: str) -> None:
        wanted = request.headers["Range"]
        self.asked.append((file, wanted))
        if self.played(request, file):
            return
        content = self.models[model][file]
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if start:
            request.send(content[start:], 206, Content_Range=f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            request.send(content)


def cut_off(content: bytes, n_bytes: int) -> Trick:
    """Promises all and sends the first bytes, from where it was asked to go on."""
    def trick(request: Any) -> bool:
        wanted = request.headers["Range"]
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.send_header("Content-Length", str(len(content) - start))
        request.end_headers()
        request.wfile.write(content[start : start + n_bytes])
        request.wfile.flush()
        request.close_connection = True
        return True

    return trick


def says(status: int, body: Any = b"", **headers: str) -> Trick:
    """Answers with a status."""
    def trick(request: Any) -> bool:
        (request.send if isinstance(body, bytes) else request.send_json)(body, status, **headers)
        return True

    return trick


def sleeps(seconds: float) -> Trick:
    """Says nothing for a while, then hangs up."""
    def trick(request: Any) -> bool:
        time.sleep(seconds)
        request.close_connection = True
        return True

    return trick


class EmbeddingServer:
    """OpenAI's POST /v1/embeddings: each text's vector is drawn by its content, so it can be told from any other.

    tricks: what to do instead, each once, in order;  bodies, keys: what was sent
    """

    def __init__(self, dim: int = 6) -> None:
        self.dim = dim
        self.tricks: list[Trick] = []
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.refuses = "\N{SNOWMAN}"      # a text with this is too long

    def vector(self, text: str, dim: int) -> list[float]:
        digest = hashlib.sha256(text.encode("utf-8")).digest()
        return [(digest[i] - 127) / 128 for i in range(dim)]      # exact in float32

    def handler(self) -> type[Quiet]:
        server = self

        class Handler(Quiet):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.bodies.append(body)
                server.keys.append(self.headers["Authorization"])
                if server.tricks and server.tricks.pop(0)(self):
                    return
                if self.path != "/v1/embeddings":
                    self.send(b"<html><h1>Not here</h1></html>", 404, Content_Type="text/html")
                elif any(server.refuses in text for text in body["input"]):
                    self.send_json({"error": {"message": "maximum context length is 8192 tokens"}}, 400)
                else:
                    self.send_json(server.answer(body))

        return Handler

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        vectors = [self.vector(text, body.get("dimensions") or self.dim) for text in body["input"]]
        rows: list[dict[str, Any]] = [{"object": "embedding", "index": i, "embedding": vector}
                                      for i, vector in enumerate(vectors)]
        if body.get("encoding_format") == "base64":
            for row, vector in zip(rows, vectors, strict=True):
                row["embedding"] = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
        return {"object": "list", "model": body["model"], "data": rows[::-1], "usage": {"prompt_tokens": 3}}


class ChatServer:
    """OpenAI's POST /v1/chat/completions, streamed in small pieces or whole, as the request wants it.

    says: what it answers, of the request's body;  tricks: what to do instead, each once, in order
    bodies, keys: what was sent
    """

    def __init__(self, says: Callable[[dict[str, Any]], str], piece: int = 3) -> None:
        self.says, self.piece = says, piece
        self.tricks: list[Trick] = []
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []

    def handler(self) -> type[Quiet]:
        server = self

        class Handler(Quiet):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.bodies.append(body)
                server.keys.append(self.headers["Authorization"])
                if server.tricks and server.tricks.pop(0)(self):
                    return
                if self.path != "/v1/chat/completions":
                    self.send(b"<html><h1>Not here</h1></html>", 404, Content_Type="text/html")
                    return
                text = server.says(body)
                pieces = [text[i : i + server.piece] for i in range(0, len(text), server.piece)]
                streams([*map(delta, pieces), delta("", finish="stop"), "[DONE]"])(self)

        return Handler


def delta(text: str, finish: str | None = None) -> dict[str, Any]:
    """An event of a streamed answer."""
    return {"object": "chat.completion.chunk",
            "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}


def streams(events: list[Any], content_type: str = "text/event-stream", pause_s: float = 0.0) -> Trick:
    """Sends events, texts as they are, and closes; with nothing that says how long it all is."""
    def trick(request: Any) -> bool:
        request.send_response(200)
        request.send_header("Content-Type", content_type)
        request.send_header("Connection", "close")
        request.end_headers()
        for event in events:
            said = event if isinstance(event, str) else json.dumps(event, ensure_ascii=False)
            request.wfile.write(f"data: {said}\n\n".encode())
            request.wfile.flush()
            time.sleep(pause_s)
        request.close_connection = True
        return True

    return trick
