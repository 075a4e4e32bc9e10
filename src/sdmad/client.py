"""A client of a running ``sdmad serve``: predictions, maps, the list of images and readings.

    from sdmad.client import Client

    with Client("http://127.0.0.1:8000", token) as client:
        for row in client.predict(["a.png", "b.dcm"], prevalence="0.05"):
            print(row["file"], [one["category"] for one in row["findings"] if one["decision"]])

Needs ``pip install 'sdmad[client]'`` and neither torch nor a model.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import parse_qs, quote, urlsplit

from sdmad.errors import InputError, MissingExtraError, SDMADError

if TYPE_CHECKING:
    import httpx

Source = str | os.PathLike[str]
SECONDS = 120.0
"""That an answer may take, unless another time is given."""


class ServerError(SDMADError):
    """What a server refused, in its own words.

    Attributes:
        status: of HTTP; 0 where nothing answers.
        wait: seconds after which the server asks to be asked again; None where it does not.
    """

    def __init__(self, message: str, status: int = 0, wait: float | None = None) -> None:
        super().__init__(message)
        self.status, self.wait = status, wait


class Client:
    """Asks one server.

    Args:
        url: its address; the one that ``sdmad serve`` prints may be given as it is.
        token: the one in the printed address, or an account's; taken from the address if left out.
        seconds: that an answer may take.
        transport: of httpx, in place of the network.

    Raises:
        MissingExtraError: if httpx is not installed.
        InputError: if there is no token.
    """

    def __init__(
        self,
        url: str,
        token: str = "",
        seconds: float = SECONDS,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        try:
            import httpx
        except ImportError as error:
            raise MissingExtraError(
                "sdmad.client needs httpx, which is not installed: pip install 'sdmad[client]'"
            ) from error
        parts = urlsplit(url)
        token = token or "".join(parse_qs(parts.query).get("token", []))
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise InputError(f"{url!r}: expected an address such as http://127.0.0.1:8000")
        if not token:
            raise InputError("a token is needed: the one in the address that sdmad serve printed")
        self._failed = httpx.HTTPError
        self._http = httpx.Client(
            base_url=f"{parts.scheme}://{parts.netloc}/api/v1",
            headers={"Authorization": f"Bearer {token}"},
            timeout=seconds,
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def health(self) -> dict[str, Any]:
        """Whether the server works, its version, and how far the list is scored."""
        return self._object("GET", "/health")

    def models(self) -> list[dict[str, Any]]:
        """The models, with their categories and signs."""
        return self._list("GET", "/models")

    def predict(
        self,
        files: Sequence[Source],
        model: str | None = None,
        prevalence: str | float | None = None,
        error_rate: float | None = None,
        index: int | None = None,
    ) -> list[dict[str, Any]]:
        """What a model finds in files: a row a file, in their order.

        Args:
            files: paths; the server says how many at once and how large.
            model: its id; the active one when None.
            prevalence: how common findings are: 0.05 or ``"Mass=0.02,Effusion=0.1"``.
            error_rate: at which answers are given.
            index: of the slice, frame or page of every file, from 0; when None, the middle one of
                a volume. A row says which it was.

        Raises:
            ServerError: if the server refuses. A file that it cannot read is a row with an error.
        """
        fields = _stated(model, prevalence, error_rate, index)
        return self._list("POST", "/predict", files=("files", files), data=fields)

    def explain(
        self,
        file: Source,
        model: str | None = None,
        prevalence: str | float | None = None,
        error_rate: float | None = None,
        index: int | None = None,
    ) -> dict[str, Any]:
        """What every sign of every category says of a file; arguments as `predict`."""
        fields = _stated(model, prevalence, error_rate, index)
        return self._object("POST", "/explain", files=("file", [file]), data=fields)

    def map(
        self,
        file: Source,
        category: str,
        kind: Literal["png", "nifti"] = "png",
        model: str | None = None,
        index: int | None = None,
    ) -> bytes:
        """Where a file looks like a category: 16-bit PNG (black -2, white 2) or NIfTI.

        Args:
            file: a path.
            category: its name.
            kind: NIfTI only of a NIfTI file.
            model: its id; the active one when None.
            index: as `predict`.
        """
        asked = {"category": category, "format": kind}
        fields = _stated(model, None, None, index)
        answer = self._ask("POST", "/maps", files=("file", [file]), data=fields, params=asked)
        return answer.content

    def images(self, **wanted: Any) -> Iterator[dict[str, Any]]:
        """The images of the server's list, page by page as they are asked for.

        Args:
            wanted: ``sort`` (abnormal, unsure, name, changed), ``category``, ``state`` (new, read,
                unsure), ``reader``, ``text``.
        """
        page, seen = 1, 0
        while True:
            found = self._object("GET", "/images", params={**wanted, "page": page, "size": 100})
            yield from found["items"]
            page, seen = page + 1, seen + len(found["items"])
            if not found["items"] or seen >= found["total"]:
                return

    def image(self, image: int) -> dict[str, Any]:
        """An image of the list, with its findings and readings."""
        return self._object("GET", f"/images/{image}")

    def image_map(self, image: int, category: str) -> bytes:
        """Where an image of the list looks like the sign that decided: 8-bit PNG."""
        return self._ask("GET", f"/images/{image}/maps/{quote(category, safe='')}").content

    def readings(self, image: int) -> list[dict[str, Any]]:
        """What readers said of an image."""
        return self._list("GET", f"/images/{image}/readings")

    def read(
        self, image: int, verdict: str, category: str | None = None, note: str = ""
    ) -> dict[str, Any]:
        """Say something of an image; it is kept when this returns.

        Args:
            image: its number.
            verdict: of a category: accept, reject, add, unsure; of the image: normal, unsure.
            category: None of the image as a whole.
            note: in words.
        """
        said = {"category": category, "verdict": verdict, "note": note}
        return self._object("POST", f"/images/{image}/readings", json=said)

    def undo(self, reading: int) -> dict[str, Any]:
        """Take a reading back."""
        return self._object("POST", f"/readings/{reading}/undo")

    def labels(self) -> str:
        """The label table that ``sdmad fit`` reads, by the readings, as CSV."""
        return self._ask("GET", "/labels.csv").text

    def _list(self, method: str, path: str, **asked: Any) -> list[dict[str, Any]]:
        found = self._ask(method, path, **asked).json()
        assert isinstance(found, list)
        return found

    def _object(self, method: str, path: str, **asked: Any) -> dict[str, Any]:
        found = self._ask(method, path, **asked).json()
        assert isinstance(found, dict)
        return found

    def _ask(
        self,
        method: str,
        path: str,
        files: tuple[str, Sequence[Source]] | None = None,
        **asked: Any,
    ) -> httpx.Response:
        with ExitStack() as opened:
            if files is not None:
                field, paths = files
                asked["files"] = [(field, _opened(opened, Path(path))) for path in paths]
            try:
                answer = self._http.request(method, path, **asked)
            except self._failed as error:
                raise ServerError(
                    f"{self._http.base_url}: no answer ({type(error).__name__}: {error}); is the "
                    "server running there?"
                ) from error
        if answer.is_success:
            return answer
        raise ServerError(_reason(answer), answer.status_code, _wait(answer.headers))


def _opened(opened: ExitStack, path: Path) -> tuple[str, Any]:
    try:
        return path.name, opened.enter_context(path.open("rb"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _stated(
    model: str | None,
    prevalence: str | float | None,
    error_rate: float | None,
    index: int | None,
) -> dict[str, str]:
    told = {"model": model, "prevalence": prevalence, "error_rate": error_rate}
    stated = {**told, "slice": index}
    return {name: str(value) for name, value in stated.items() if value is not None}


def _reason(answer: httpx.Response) -> str:
    """The server's own words, where it has any."""
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return f"the server answered {answer.status_code} {answer.reason_phrase}"


def _wait(headers: Mapping[str, str]) -> float | None:
    told = headers.get("retry-after", "")
    return float(told) if told.isdecimal() else None
