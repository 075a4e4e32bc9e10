"""The shapes of what is asked and answered."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from sdmad.choices import Role
from sdmad.serve.storage.images import State
from sdmad.serve.storage.readings import Verdict

Name = Annotated[str, StringConstraints(max_length=255, pattern=r"^[^\x00]*$")]
"""A text that the database can hold."""

Number = Annotated[int, Field(ge=1, le=2**31 - 1)]
"""Of an image or a reading."""


class Error(BaseModel):
    """Why something is refused, in a sentence for people."""

    error: str


Answers = dict[int | str, dict[str, Any]]
"""What a route may answer, by status."""


def content(kind: str) -> Answers:
    """The answer of a route that gives no JSON.

    Args:
        kind: its media type.
    """
    text = (
        {"type": "string"} if kind.startswith("text/") else {"type": "string", "format": "binary"}
    )
    return {200: {"description": "Found.", "content": {kind: {"schema": text}}}}


def refusals(*statuses: int) -> Answers:
    """The answers of a route that are refusals, beside those that every route has."""
    every = {400, 401, 403, 413, 421, 422, 429, 500, 503, *statuses}
    return {status: {"model": Error, "description": "Refused."} for status in sorted(every)}


class Progress(BaseModel):
    """How far some work is."""

    done: int
    total: int


class Health(BaseModel):
    """What the server says of itself."""

    status: str
    version: str
    models: int
    scoring: Progress


class Sign(BaseModel):
    """The sign that decided."""

    name: str
    sentence: str
    contribution: float


class Finding(BaseModel):
    """What a model says of one category."""

    model_config = ConfigDict(from_attributes=True)

    category: str
    score: float
    probability: float | None
    threshold: float | None
    decision: bool
    rule: str
    sign: Sign | None
    answer: Literal["yes", "no", "unsure"] | None


class Counts(BaseModel):
    """How many images of each state there are."""

    new: int
    read: int
    unsure: int


class Image(BaseModel):
    """An image of the list; `abnormal` and `unsure` are null until it is scored."""

    id: int
    name: str
    state: State
    abnormal: float | None
    unsure: float | None
    unfamiliar: bool | None
    top: Finding | None
    error: str | None
    readers: list[str]
    thumbnail: str


class Images(BaseModel):
    """A page of the list; `counts` are of the filters but that by state."""

    total: int
    page: int
    size: int
    counts: Counts
    items: list[Image]


class Window(BaseModel):
    """The file's own window, and the smallest and largest that it shows, in the file's units."""

    center: float
    width: float
    low: float
    high: float


class Reading(BaseModel):
    """What a reader said; `category` is null where it is said of the whole image."""

    id: int
    image: int
    category: str | None
    verdict: Verdict
    note: str
    reader: str
    at: datetime
    undone: bool


class NewReading(BaseModel):
    """What a reader says.

    Of a category: accept (the finding is there), add (it is, and the model did not find it), reject
    (it is not there), unsure. Of the whole image, where `category` is null: normal, unsure.
    """

    category: Name | None = None
    verdict: Verdict
    note: Annotated[str, StringConstraints(max_length=4000, pattern=r"^[^\x00]*$")] = ""


class ImageDetail(Image):
    """An image; width, height, slices and window are null where it cannot be read.

    `dicom`: whether it is a DICOM file that can be read, so that there are results for a PACS.
    """

    width: int | None
    height: int | None
    slices: int | None
    slice: int | None
    findings: list[Finding]
    model: str
    window: Window | None
    dicom: bool
    readings: list[Reading]
    previous: int | None
    next: int | None


class Alike(BaseModel):
    """A support image that is like an image."""

    category: str
    similarity: float
    thumbnail: str


class SignIn(BaseModel):
    """Who signs in."""

    name: Annotated[str, StringConstraints(max_length=64, pattern=r"^[^\x00]*$")]
    password: Annotated[str, StringConstraints(max_length=1024)]


class Me(BaseModel):
    """Who asks; `csrf` is what the header X-CSRF-Token of a change must hold."""

    reader: str
    role: Role
    csrf: str


class Event(BaseModel):
    """A line of the audit log."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    at: datetime
    who: str
    what: str
    about: str
    client: str


class SignOfBank(BaseModel):
    """A sign in words."""

    name: str
    sentence: str


class Category(BaseModel):
    """What a model looks for.

    `threshold` is null of a rule of signs alone; `prevalence` is what the server was started with,
    for the probabilities of its list, and null where none was stated.
    """

    name: str
    threshold: float | None
    prevalence: float | None
    rule: str
    signs: list[SignOfBank]


class Model(BaseModel):
    """A model; `hash` is of its manifest, which holds the hash of every other file."""

    id: str
    name: str
    active: bool
    kind: Literal["checkpoint", "export"]
    hash: str
    version: str
    backbone: str
    created: datetime
    categories: list[Category]


class Place(BaseModel):
    """Which slice, frame or page of a file was judged.

    `slice` is from 0, of `slices`; both are null of a file that holds one picture, or that cannot
    be read.
    """

    file: str
    slice: int | None
    slices: int | None


class Prediction(Place):
    """What a model says of a file; `error` says why a file cannot be read."""

    error: str | None
    unfamiliar: bool | None
    abnormal: float | None
    unsure: float | None
    findings: list[Finding]


class ExplainedSign(Sign):
    """A sign of a category: whether selection kept it, and whether it decided."""

    kept: bool
    decided: bool


class ExplainedFinding(Finding):
    """What a model says of one category, with all its signs, the most similar first."""

    signs: list[ExplainedSign]


class Explained(Place):
    """What every sign says of a file."""

    model: str
    unfamiliar: bool
    categories: list[ExplainedFinding]


class NewRefit(BaseModel):
    """How to fit: images a category to learn from, at most, and the seed of draw and training."""

    shots: Annotated[int, Field(ge=1, le=64)] = 16
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0


class Compared(BaseModel):
    """A metric of both models, and the new one less the old one with its 95% interval."""

    metric: str
    old: float | None
    new: float | None
    difference: float | None
    low: float | None
    high: float | None


class Comparison(BaseModel):
    """Both models on images that neither has learnt from, `held_out` of them."""

    held_out: int
    rows: list[Compared]


class Refit(BaseModel):
    """How a refit stands; `model` is its model's id once it was switched to, `active` if it is."""

    id: int
    state: Literal["waiting", "running", "done", "failed"]
    progress: float
    steps: list[str]
    step: int
    message: str
    comparison: Comparison | None
    model: str | None
    active: bool


class NewStudy(BaseModel):
    """A reader study: its images are drawn by the seed."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00]*$")]
    images: Annotated[int, Field(ge=2, le=10_000)]
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0


class Study(BaseModel):
    """A reader study, and how many of his `total` answers the asking reader has given."""

    id: int
    name: str
    images: int
    seed: int
    categories: list[str]
    at: datetime
    done: int
    total: int


class Next(BaseModel):
    """What is read next; `image` is null where everything is `done`."""

    done: bool
    image: int | None
    with_findings: bool | None
    position: int
    total: int


class StudyAnswer(BaseModel):
    """How likely each category is, in percent, and the seconds that the answer took."""

    image: Number
    with_findings: bool
    answers: dict[Name, Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]]
    seconds: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]


Value = Annotated[float | None, BeforeValidator(lambda value: None if value != value else value)]
"""Null where there is no number."""


class Estimate(BaseModel):
    """A value with its 95% interval."""

    value: Value
    low: Value
    high: Value


class Accuracy(BaseModel):
    """AUROC; of all readers where `reader` is null, of the categories' mean where `category` is."""

    reader: str | None
    category: str | None
    without: Estimate
    with_findings: Estimate
    difference: Estimate


class Kappa(BaseModel):
    """How far readers agree; on all categories together where `category` is null."""

    category: str | None
    with_findings: bool
    kappa: Estimate


class Time(BaseModel):
    """Seconds an image; of all readers where `reader` is null."""

    reader: str | None
    without: float
    with_findings: float
    difference: Estimate


class StudyResults(BaseModel):
    """What came out, of the images that a reader has seen both ways."""

    accuracy: list[Accuracy]
    kappa: list[Kappa]
    time: list[Time]
    notes: list[str]
