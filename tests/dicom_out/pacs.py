"""A small DICOMweb server in a thread: what is stored to it is there, and it can misbehave."""

import io
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pydicom
from pydicom.datadict import tag_for_keyword

BOUNDARY = "part"


def encoded(data):
    buffer = io.BytesIO()
    data.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


class Pacs(ThreadingHTTPServer):
    """Instances by their UIDs, and every request that came."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.instances, self.asked, self.authorizations = {}, [], []
        self.refuse, self.answer = set(), None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/dicom-web"

    def hold(self, *several):
        for data in several:
            self.instances[data.SOPInstanceUID] = encoded(data)

    def read(self):
        return [pydicom.dcmread(io.BytesIO(content)) for content in self.instances.values()]

    def count(self, start):
        return sum(line.startswith(start) for line in self.asked)


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def _send(self, content, kind="application/dicom+json", status=200):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _note(self):
        self.server.asked.append(f"{self.command} {self.path}")
        self.server.authorizations.append(self.headers.get("Authorization"))

    def do_GET(self):
        self._note()
        if self.server.answer is not None:
            self.server.answer(self)
            return
        path, _, query = self.path.partition("?")
        wanted = dict(part.split("=") for part in query.split("&") if part)
        uids = re.findall(r"/(?:studies|series|instances)/([0-9.]+)", path)
        if len(uids) == 3:
            content = self.server.instances[uids[2]]
            head = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
            kind = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
            self._send(head + content + f"\r\n--{BOUNDARY}--".encode(), kind)
            return
        level = path.rsplit("/", 1)[1]
        keyword = {"studies": "StudyInstanceUID", "series": "SeriesInstanceUID"}.get(level)
        found = {}
        for data in self.server.read():
            if uids and data.StudyInstanceUID != uids[0]:
                continue
            if not all(_matches(data, k, v) for k, v in wanted.items() if k[0].isupper()):
                continue
            found[data[keyword or "SOPInstanceUID"].value] = data
        first = int(wanted.get("offset", 0))
        page = list(found.values())[first : first + int(wanted["limit"])]
        self._send(json.dumps([_told(data) for data in page]).encode())

    def do_POST(self):
        self._note()
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        boundary = re.search(r'boundary="?([^"]+)', self.headers["Content-Type"])[1].encode()
        answer = pydicom.Dataset()
        answer.ReferencedSOPSequence, answer.FailedSOPSequence = [], []
        for part in body.split(b"--" + boundary)[1:-1]:
            data = pydicom.dcmread(io.BytesIO(part.partition(b"\r\n\r\n")[2]))
            item = pydicom.Dataset()
            item.ReferencedSOPClassUID = data.SOPClassUID
            item.ReferencedSOPInstanceUID = data.SOPInstanceUID
            if data.Modality in self.server.refuse:
                item.FailureReason = 0xA700
                answer.FailedSOPSequence.append(item)
            else:
                answer.ReferencedSOPSequence.append(item)
                self.server.hold(data)
        self._send(answer.to_json().encode())


def _matches(data, keyword, value):
    """As QIDO matches; of a range of dates, the first alone is looked at."""
    has = str(data.get(keyword))
    return has >= value[:-1] if value.endswith("-") else has == value


def _told(data):
    told = {}
    for keyword in (
        *("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"),
        *("SeriesDescription", "NumberOfFrames"),
    ):
        if keyword in data:
            element = data[keyword]
            told[f"{tag_for_keyword(keyword):08X}"] = {
                "vr": element.VR,
                "Value": [int(element.value) if element.VR == "IS" else str(element.value)],
            }
    return told


@contextmanager
def running():
    server = Pacs()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
