"""What a language model's server may send: damaged answers, streams, errors and lists of models."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random

from benchmarks.campaign.frame import READ
from benchmarks.campaign.mutations import damaged_bytes, damaged_json, damaged_text
from sdmad.signs.generation import ChatClient, GenerationRequest
from sdmad.signs.generation.schema import json_schema, read_answer

COUNT = 1000
SENTENCES = [{"text": f"a {word} band at the edge", "shared_with": []} for word in ("dark", "thin")]
ANSWER = {"sentences": SENTENCES}


class _AnyStyle:
    """Accepts every sentence."""

    def complaint(self, sentence: str) -> str:
        return "" if sentence else "is empty"


def attack(random: Random, material: Path, place: Path) -> str:
    """Send one damaged answer, and read what comes of it."""
    del material, place
    question = GenerationRequest("brain MRI", ("Mass", "Cyst")).question("Mass")
    text = damaged_json(random, ANSWER).decode("utf-8", "replace")
    if random.random() < 0.3:
        text = f"<think>{text}</think>{text}"
    if random.random() < 0.5:
        read_answer(text, question, _AnyStyle())  # type: ignore[arg-type]
        return READ
    with _Server(_reply(random, text)) as server:
        address = f"http://127.0.0.1:{server.server_address[1]}/v1"
        client = ChatClient("a:1b", address, timeout=2, whole_timeout=5, sleep=lambda _: None)
        client.complete([{"role": "user", "content": "Write 2"}], json_schema(question))
    return READ


def _reply(random: Random, text: str) -> bytes:
    """A whole HTTP answer, damaged or not on each of its levels."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": "stop"}
    piece = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "m"}
    event = {**piece, "choices": [choice]}
    body = json.dumps(event).encode("utf-8", "replace")
    if random.random() < 0.5:
        body = damaged_json(random, event)
    status, kind = random.choice(((200, "text/event-stream"),) * 6 + ((400, "application/json"),))
    if status == 200:
        body = b"data: " + body + b"\n\ndata: [DONE]\n\n"
    if random.random() < 0.3:
        body = damaged_text(random, body.decode("utf-8", "replace"))
    head = f"HTTP/1.1 {status} x\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n".encode()
    return damaged_bytes(random, head) + body if random.random() < 0.2 else head + body


class _Server(ThreadingHTTPServer):
    """Gives everybody the same bytes."""

    daemon_threads = True

    def __init__(self, reply: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.reply = reply

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is meant to."""

    def __enter__(self) -> _Server:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.wfile.write(self.server.reply)
        self.close_connection = True

    do_GET = do_POST  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""
