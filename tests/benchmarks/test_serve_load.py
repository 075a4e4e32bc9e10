"""The page of many readers: p95, rates and shares by hand."""

import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks.load_client import Load, load, request
from benchmarks.serve_load import Tower, table


def test_figures_stand_beside_what_they_are_held_to():
    # p95 of 21 answers is the second longest; a page takes 5 static files, a prediction 40 passes.
    file = Load((0.01,) * 19 + (0.02, 9.0), 1.0, Counter({200: 21}))
    page = Load((0.01,) * 19 + (0.1, 9.0), 1.0, Counter({200: 20, 503: 1}))
    prediction = Load((0.1,) * 19 + (0.4, 9.0), 2.1, Counter({200: 21}), busy=0.042)
    loads = {"a static file": file, "a page": page, "a prediction": prediction}
    text = table(loads, Tower(alone=0.01, rate=12.5, busy=0.02), served=0.63).markdown()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    assert ["a static file", "21", "0", "20", "", ""] in rows
    assert ["a page", "21", "1", "100", "5.0 static files", "at most 10"] in rows
    assert ["a prediction", "21", "0", "400", "40.0 bare passes", "at most 60"] in rows
    share = "80% of the bare tower's"
    assert ["predictions a second", "10.0", "", "", share, "at least 80%"] in rows
    assert "30.0 ms of the server and its decoders, 2.0 ms of who asks; of an image" in text
    assert "tower's batches 20.0 ms" in text


class Answers(BaseHTTPRequestHandler):
    """Says what it was asked, in two pieces; nothing of a path that it does not know."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        if self.path == "/leaves" and self.server.leaves > 0:
            self.server.leaves -= 1
            self.close_connection = True
            return
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.headers["Authorization"], self.path, body))
        self.send_response(404 if self.path == "/nothing" else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:1])
        self.wfile.flush()
        self.wfile.write(body[1:])


def test_each_reader_asks_one_question_after_the_other():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.asked, server.leaves = [], 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    host = f"127.0.0.1:{server.server_port}"

    def ask(number, question):
        path = "/nothing" if (number, question) == (2, 1) else "/"
        return request("POST", path, host, f"token {number}", f"{number}, {question}".encode(), "x")

    try:
        seen = load(f"http://{host}", 3, ask, 2)
    finally:
        server.shutdown()
        server.server_close()
    assert seen.statuses == {200: 5, 404: 1}
    assert (len(seen.seconds), seen.errors) == (6, 1)
    assert 0 < max(seen.seconds) <= seen.wall
    for number in range(3):
        own = [body for who, _, body in server.asked if who == f"Bearer token {number}"]
        assert own == [f"{number}, {question}".encode() for question in range(2)]


@pytest.mark.parametrize("leaves", [1, 2])
def test_a_connection_that_is_closed_before_an_answer_is_made_anew_once(leaves):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.asked, server.leaves = [], leaves
    threading.Thread(target=server.serve_forever, daemon=True).start()
    host = f"127.0.0.1:{server.server_port}"
    asked = request("POST", "/leaves", host, "t", b"x", "x")
    try:
        if leaves > 1:
            with pytest.raises(RuntimeError, match="closed a connection"):
                load(f"http://{host}", 1, lambda *_: asked, 2)
        else:
            assert load(f"http://{host}", 1, lambda *_: asked, 2).statuses == {200: 2}
    finally:
        server.shutdown()
        server.server_close()
