"""A small server on this machine that speaks the OpenAI protocol, rightly and wrongly."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[["Handler", dict[str, Any]], None]


class Handler(BaseHTTPRequestHandler):
    """Plays the next reply of the script, or writes signs that suit the question."""

    server: ChatServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = json.loads(body)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append(Received(self.path, headers, request, body.decode()))
        reply = self.server.script.pop(0) if self.server.script else good
        reply(self, request)

    def do_GET(self) -> None:
        if self.server.listing is not None:
            self.server.listing(self, {})
            return
        models = {"object": "list", "data": [{"id": name} for name in self.server.models]}
        send_json(self, 200, models)

    def log_message(self, *arguments: object) -> None:
        """Keep the tests' output clean."""


@dataclass(frozen=True)
class Received:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    content: dict[str, Any]
    body: str

    @property
    def prompt(self) -> str:
        """The last message."""
        return self.content["messages"][-1]["content"]


@dataclass
class ChatServer(ThreadingHTTPServer):
    """Answers on 127.0.0.1; ``script`` holds the next replies, ``requests`` what came."""

    script: list[Reply] = field(default_factory=list)
    requests: list[Received] = field(default_factory=list)
    models: tuple[str, ...] = ("small:8b", "large:70b")
    listing: Reply | None = None

    def __post_init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, *arguments: object) -> None:
        """A client that hangs up is part of some tests."""

    def __enter__(self) -> ChatServer:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *arguments: object) -> None:
        self.shutdown()
        self.server_close()


def send_json(handler: Handler, status: int, content: object, **headers: str) -> None:
    body = json.dumps(content).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(body)))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    content = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "m"}
    return f"data: {json.dumps({**content, 'choices': [choice]})}\n\n".encode()


def stream(handler: Handler, *events: bytes, promised: int = 0) -> None:
    """Send events; with ``promised``, so many more bytes are announced than come."""
    handler.send_response(200)
    handler.send_header("Content-Type", "text/event-stream")
    handler.send_header("Content-Length", str(sum(map(len, events)) + promised))
    if promised:
        handler.send_header("Connection", "close")
    handler.end_headers()
    for event in events:
        handler.wfile.write(event)
    if promised:
        handler.close_connection = True


def says(text: str, finish: str | None = "stop") -> Reply:
    """A reply of any text, in two pieces."""

    def reply(handler: Handler, _: dict[str, Any]) -> None:
        half = len(text) // 2
        pieces = [chunk({"role": "assistant", "content": text[:half]})]
        pieces += [chunk({"content": text[half:]})]
        stream(handler, *pieces, chunk({}, finish), b"data: [DONE]\n\n")

    return reply


def lists(*sentences: str | tuple[str, list[str]]) -> Reply:
    """A reply of these sentences, each alone or with the categories that share it."""
    return says(answer(*sentences))


def answer(*sentences: str | tuple[str, list[str]]) -> str:
    pairs = [(s, []) if isinstance(s, str) else s for s in sentences]
    return json.dumps({"sentences": [{"text": t, "shared_with": list(c)} for t, c in pairs]})


def refuses(text: str) -> Reply:
    """A refusal in the protocol's own form."""

    def reply(handler: Handler, _: dict[str, Any]) -> None:
        stream(handler, chunk({"refusal": text}), chunk({}, "stop"), b"data: [DONE]\n\n")

    return reply


def fails(status: int, message: str, **headers: str) -> Reply:
    """An HTTP error."""

    def reply(handler: Handler, _: dict[str, Any]) -> None:
        send_json(handler, status, {"error": {"message": message}}, **headers)

    return reply


def hangs(seconds: float) -> Reply:
    """Nothing for a while, then the line is closed."""

    def reply(handler: Handler, _: dict[str, Any]) -> None:
        time.sleep(seconds)
        handler.close_connection = True

    return reply


def drips(
    piece: bytes, status: int = 200, kind: str = "text/event-stream", **headers: str
) -> Reply:
    """The same piece again and again, until the client hangs up."""

    def reply(handler: Handler, _: dict[str, Any]) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Connection", "close")
        handler.end_headers()
        with contextlib.suppress(OSError):
            while True:
                handler.wfile.write(piece)
                time.sleep(0.002)
        handler.close_connection = True

    return reply


def drips_headers(handler: Handler, _: dict[str, Any]) -> None:
    """A head that never ends."""
    with contextlib.suppress(OSError):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            handler.wfile.write(b"X")
            time.sleep(0.01)
    handler.close_connection = True


def sends(status: int, body: bytes, **headers: str) -> Reply:
    """An answer of any kind."""

    def reply(handler: Handler, _: dict[str, Any]) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        with contextlib.suppress(OSError):
            handler.wfile.write(body)

    return reply


def breaks_off(handler: Handler, _: dict[str, Any]) -> None:
    """Half an answer; more was announced."""
    stream(handler, chunk({"content": '{"sentences": [{"te'}), promised=500)


def ends_early(handler: Handler, _: dict[str, Any]) -> None:
    """Half an answer; the stream ends without a finish reason."""
    stream(handler, chunk({"content": '{"sentences": [{"te'}))


def rejects_schema(handler: Handler, request: dict[str, Any]) -> None:
    """A server that knows no ``response_format``; stays in the script."""
    handler.server.script.insert(0, rejects_schema)
    if "response_format" in request:
        send_json(handler, 400, {"error": {"message": "unknown field response_format"}})
    else:
        good(handler, request)


WORDS = ("bright", "dark", "round", "long", "thin", "broad", "faint", "dense", "small", "large")


def good(handler: Handler, request: dict[str, Any]) -> None:
    """As many sentences as are asked for, different for each category."""
    prompt = request["messages"][:2][-1]["content"]
    count = int(re.search(r"Write (\d+)", prompt)[1])
    category = re.search(r'Category: "(.*?)"', prompt)
    tag = f"mark {sum(map(ord, category[1]))}" if category else "plain picture"
    texts = [f"{WORDS[i % 10]} {WORDS[i // 10]} {tag}" for i in range(count)]
    lists(*texts)(handler, request)
