"""The pages: empty shells from templates, and the scripts and styles that fill them.

A page holds no data of an image. Its script asks ``/api/v1`` for it, so what a reader may see is
decided in one place, and a page may be shown to whoever can ask for it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files

from fastapi import APIRouter, FastAPI, HTTPException, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

TYPES = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
LINKS = (
    ("Worklist", "/", ("worklist", "viewer")),
    ("Refit", "/refits", ("refits",)),
    ("Studies", "/studies", ("studies", "study")),
)
"""What stands on top of each page: its name, its address, the pages that belong to it."""

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class Shipped:
    """The scripts, styles and pictures of the package.

    Attributes:
        contents: of each file by its name.
        stamp: changes when one of them does. It stands in their addresses, so that a browser may
            keep them for good and never mixes two versions.
    """

    contents: dict[str, bytes]
    stamp: str

    @classmethod
    def read(cls) -> Shipped:
        """Read all from the package."""
        folder = files("sdmad.serve.pages") / "static"
        found = sorted((entry.name, entry.read_bytes()) for entry in folder.iterdir())
        contents = {name: content for name, content in found if name.split(".")[-1] in TYPES}
        digest = hashlib.sha256()
        for name, content in contents.items():
            digest.update(f"{name} {len(content)}\n".encode() + content)
        return cls(contents, digest.hexdigest()[:12])


SHIPPED = Shipped.read()
_PAGES = Environment(
    loader=PackageLoader("sdmad.serve.pages"),
    autoescape=select_autoescape(default_for_string=True, default=True),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def page(name: str, subject: str = "", status: int = 200) -> HTMLResponse:
    """One page's shell.

    Args:
        name: of its template and its script.
        subject: the image or study that it is about, which its script reads; why it is refused.
        status: of the answer.
    """
    static = f"/static/{SHIPPED.stamp}"
    shell = _PAGES.get_template(f"{name}.html.j2").render(
        page=name, subject=subject, status=status, static=static, links=LINKS
    )
    return HTMLResponse(shell, status, {"Cache-Control": "no-store"})


def add_pages(app: FastAPI) -> None:
    """Add all pages and their files to an application."""
    app.include_router(router)


@router.get("/", response_class=HTMLResponse)
def worklist() -> HTMLResponse:
    """All images, the most abnormal first."""
    return page("worklist")


@router.get("/image/{image}", response_class=HTMLResponse)
def viewer(image: str) -> HTMLResponse:
    """One image, what was found in it, and its reading."""
    return page("viewer", image)


@router.get("/refits", response_class=HTMLResponse)
def refits() -> HTMLResponse:
    """New models from the readers' labels, beside the old one."""
    return page("refits")


@router.get("/studies", response_class=HTMLResponse)
def studies() -> HTMLResponse:
    """Blinded studies and their results."""
    return page("studies")


@router.get("/study/{study}", response_class=HTMLResponse)
def study(study: str) -> HTMLResponse:
    """The next image of a blinded study."""
    return page("study", study)


@router.get("/login", response_class=HTMLResponse)
def login() -> HTMLResponse:
    """Name and password."""
    return page("login")


@router.get("/static/{stamp}/{name}")
def static(stamp: str, name: str) -> Response:
    """A script, style or picture of the package; another version's address is not found."""
    if stamp != SHIPPED.stamp or name not in SHIPPED.contents:
        raise HTTPException(404, "no such file in this version; load the page again")
    return Response(
        SHIPPED.contents[name],
        media_type=TYPES[name.split(".")[-1]],
        headers={"Cache-Control": "public, max-age=31536000, immutable"},
    )
