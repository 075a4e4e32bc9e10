"""Running an export: images to scores, without torch."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from sdmad.data.decoding import Square
from sdmad.data.images import ImageError, ImageSource
from sdmad.data.preprocessing import Preprocessing
from sdmad.detector.batches import (
    LANE_BATCH,
    Lanes,
    OnError,
    lanes_on,
    score_decoded,
    score_in_batches,
)
from sdmad.detector.calibration import Likelihood, Prevalence, likelihood
from sdmad.detector.findings import Explanation, explanations
from sdmad.detector.held_out import Answers, answering
from sdmad.detector.scores import ImageScores
from sdmad.errors import InputError, ModelError, SDMADError
from sdmad.export import machine
from sdmad.export.files import GRAPHS, Description, read_description
from sdmad.export.guard import check_graph, trial
from sdmad.inputs import bounded
from sdmad.signs import SignBank

NOTHING = np.zeros(0, np.bool_)
"""What an older export says of images unlike its support set."""

CONVERTER = "openvino.tools.ovc"

Arrays = Mapping[str, NDArray[Any]]
Run = Callable[[Arrays], Arrays]
"""Inputs to outputs, both by name."""


class ExportedModel:
    """A detector as a graph, behind the part of :class:`~sdmad.SDMAD` that judges images.

    Args:
        description: what the export says of itself.
        run: its graph.

    Attributes:
        batch: images that :meth:`score_images` scores together.
    """

    batch: ClassVar[int] = LANE_BATCH

    def __init__(self, description: Description, run: Run) -> None:
        self.description = description
        self.categories = description.bank.names
        self._run = run

    @property
    def preprocessing(self) -> Preprocessing:
        """How an image becomes a square."""
        return self.description.preprocessing

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read an export.

        Raises:
            InputError: if its runtime is not installed.
            ModelError: if a file is missing, altered or unreadable, or if this machine would add
                up the products of its 8-bit weights wrongly.
        """
        path = Path(folder)
        description = read_description(path)
        if description.weight_bits == 8:
            _check_products(path)
        graph, weights = GRAPHS[description.runtime]
        check_graph(path / graph, weights)
        with trial(path / graph) as tried:
            model = tried(lambda: cls(description, open_graph(description.runtime, path / graph)))
            tried(model._try)
        return model

    def _try(self) -> None:
        """Score a black picture: what cannot be scored is told before images are read."""
        size = self.description.preprocessing.size
        with bounded("the graph cannot score a picture", ModelError):
            self.run(np.zeros((1, size, size, 1), np.uint8))

    def run(
        self,
        pixels: NDArray[np.uint8 | np.uint16],
        black: float | NDArray[np.float32] = 0,
        white: float | NDArray[np.float32] = 255,
    ) -> ImageScores:
        """Score raw pixels; the graph resizes and standardises them.

        White padding is not made black, and 16-bit values have no window but the one given here:
        both are Python's work, which :meth:`score_images` does.

        Args:
            pixels: ``(n, H, W, C)``, C is 1 or 3.
            black: the value shown black, one or ``(n,)``.
            white: the value shown white, one or ``(n,)``.

        Raises:
            InputError: if the shape or the type is another.
            ModelError: if the graph gives what no export does.
        """
        if pixels.ndim != 4 or pixels.shape[3] not in (1, 3) or 0 in pixels.shape:
            raise InputError(f"pixels must have shape (n, H, W, 1 or 3), got {pixels.shape}")
        if pixels.dtype not in (np.uint8, np.uint16):
            raise InputError(f"pixels must be uint8 or uint16, got {pixels.dtype}")
        found = self._run(graph_inputs(pixels, black, white))
        _check_outputs(found, len(pixels), self.description.bank)
        return ImageScores(
            found["scores"].astype(np.float64),
            found["decisions"].astype(np.bool_),
            found["abnormality"].astype(np.float64),
            found["similarity"].astype(np.float64),
            found["anchor_similarity"].astype(np.float64),
            found.get("unfamiliar", NOTHING).astype(np.bool_),
        )

    def score_images(
        self,
        images: Sequence[ImageSource],
        on_error: OnError | None = None,
        progress: str | None = None,
    ) -> ImageScores:
        """Score images in batches, in their order; as :meth:`sdmad.detector.base.Detector.score`.

        Args:
            images: n paths, Pillow images or arrays.
            on_error: called with the position and the error of an unreadable image, whose row
                becomes NaN and finds nothing; without it the error is raised.
            progress: what to call the work on a progress bar; none when not given.

        Raises:
            ImageError: if an image cannot be read and there is no ``on_error``.
            InputError: if there is no image.
        """
        return score_in_batches(
            images,
            self.preprocessing,
            self.score_batch,
            self.batch,
            on_error,
            progress,
            Lanes(lanes_on(_cores())),
        )

    def score_squares(
        self, squares: Sequence[Square | ImageError], on_error: OnError | None = None
    ) -> ImageScores:
        """As :meth:`sdmad.detector.base.Detector.score_squares`."""
        return score_decoded(
            iter(squares),
            len(squares),
            self.preprocessing.size,
            self.score_batch,
            self.batch,
            on_error,
            lanes=Lanes(lanes_on(_cores())),
        )

    def score_batch(self, squares: Sequence[Square]) -> ImageScores:
        """As :meth:`sdmad.detector.base.Detector.score_batch`."""
        return self.run(_pixels(squares))

    def at_prevalence(self, prevalence: Prevalence) -> Likelihood:
        """As :meth:`sdmad.detector.sign_detector.SignDetector.at_prevalence`."""
        return likelihood(self.description.calibration, self.categories, prevalence)

    def answering(self, rate: float) -> Answers:
        """As :meth:`sdmad.detector.sign_detector.SignDetector.answering`."""
        return answering(self.description.held_out, self.categories, rate)

    def explanations(self, scored: ImageScores) -> list[Explanation]:
        """Explanations of images that were scored already."""
        told = self.description
        limits = None if told.limits is None else np.array(told.limits)
        return explanations(told.bank, np.array(told.keep), scored, limits)


def _check_outputs(found: Arrays, images: int, bank: SignBank) -> None:
    """Refuse outputs that do not fit the bank.

    Raises:
        ModelError: naming the first.
    """
    kinds, signs = (images, len(bank.names)), (images, len(bank.sentences))
    shapes: dict[str, tuple[int, ...]]
    shapes = {"scores": kinds, "decisions": kinds, "similarity": signs}
    shapes |= {"abnormality": (images,), "anchor_similarity": (images,)}
    if "unfamiliar" in found:
        shapes["unfamiliar"] = (images,)
    for name, shape in shapes.items():
        output = found.get(name)
        if output is None or output.shape != shape or output.dtype.kind not in "fb":
            what = "nothing" if output is None else f"{output.dtype} {list(output.shape)}"
            raise ModelError(f"the graph gives {what} as {name}, not numbers {list(shape)}")


def graph_inputs(
    pixels: NDArray[np.uint8 | np.uint16],
    black: float | NDArray[np.float32],
    white: float | NDArray[np.float32],
) -> Arrays:
    """A graph's inputs by name; see :meth:`ExportedModel.run`."""
    shades = {
        name: np.broadcast_to(np.asarray(value, np.float32), len(pixels))
        for name, value in (("black", black), ("white", white))
    }
    return {"pixels": pixels.astype(np.uint16), **shades}


def _pixels(squares: Sequence[Square]) -> NDArray[np.uint8]:
    """Squares as one array: of one channel where all are grey, for the graph resizes each."""
    if all(square.ndim == 2 for square in squares):
        return np.stack(squares)[..., None]
    return np.stack([s if s.ndim == 3 else np.repeat(s[..., None], 3, axis=2) for s in squares])


def _check_products(folder: Path) -> None:
    """Refuse weights of 8 bits where their products are cut off at 16 bits."""
    require("openvino", "openvino")
    if not machine.exact_int8():
        raise ModelError(
            f"{folder}: made for a processor that adds products of 8-bit numbers in 32 bits (x86 "
            "with VNNI, or ARM); this one cuts them off at 16 bits and scores would be wrong. "
            "Export the model again here, or anywhere with --target any"
        )


def open_graph(runtime: str, path: Path) -> Run:
    """Open a graph's file in its runtime.

    Args:
        runtime: ``openvino`` or ``onnx``.
        path: ``model.xml`` or ``model.onnx``.

    Raises:
        InputError: if the runtime is not installed.
        ModelError: if it refuses the file.
    """
    opener = {"openvino": _openvino, "onnx": _onnx}[runtime]
    try:
        return Shared(opener(path), lanes_on(_cores()))
    except SDMADError:
        raise
    except Exception as error:  # each runtime has its own
        logging.getLogger("sdmad").debug("%s", path, exc_info=error)
        lines = str(error).strip().splitlines() or ["no reason given"]
        raise ModelError(f"{path}: {runtime} cannot run it ({lines[-1].strip()})") from error


class Shared:
    """A graph that runs a lone call on all cores, and calls at once each on its share of them.

    It is compiled a second time when a call first finds another under way.

    Args:
        opened: the graph for so many calls at once.
        lanes: how many calls at once there may be.
    """

    def __init__(self, opened: Callable[[int], Run], lanes: int) -> None:
        self._opened, self._lanes = opened, lanes
        self._alone = opened(1)
        self._beside: Run | None = None
        self._counting, self._opening = Lock(), Lock()
        self._under_way = 0

    def __call__(self, inputs: Arrays) -> Arrays:
        """Inputs to outputs, both by name."""
        with self._counting:
            alone = self._under_way == 0
            self._under_way += 1
        try:
            return self._alone(inputs) if alone else self._shared()(inputs)
        finally:
            with self._counting:
                self._under_way -= 1

    def _shared(self) -> Run:
        with self._opening:
            self._beside = self._beside or self._opened(self._lanes)
            return self._beside


def require(extra: str, *modules: str) -> None:
    """Check that an extra's modules can be imported.

    Raises:
        InputError: naming the missing module and the ``pip install`` that brings it.
    """
    for name in modules:
        try:
            import_module(name)
        except ImportError as error:
            raise InputError(
                f"this needs {name}, which is not installed: pip install 'sdmad[{extra}]'"
            ) from error


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _openvino(path: Path) -> Callable[[int], Run]:
    _import_openvino()
    require("openvino", "openvino")
    from openvino import Core

    model = Core().read_model(path)
    return lambda lanes: compiled(model, lanes)


def _import_openvino() -> None:
    """Import OpenVINO without its converter, which no run needs and takes as long as all else.

    Whoever asks for ``openvino.convert_model`` later gets it.
    """
    if "openvino" in sys.modules:
        return
    blocked: dict[str, Any] = sys.modules
    blocked[CONVERTER] = None  # OpenVINO goes without what cannot be imported
    try:
        with contextlib.suppress(ImportError):
            setattr(import_module("openvino"), "__getattr__", _converter)  # noqa: B010
    finally:
        del sys.modules[CONVERTER]


def _converter(name: str) -> Any:
    """An attribute that OpenVINO has not, but its converter."""
    if name != "convert_model":
        raise AttributeError(f"module 'openvino' has no attribute {name!r}")
    return import_module(CONVERTER).convert_model


def compiled(model: Any, lanes: int = 1) -> Run:
    """Compile an OpenVINO model for this machine's CPU, in the precisions that it states.

    Args:
        model: read or built.
        lanes: how many threads may run it at once, each on its share of the cores.
    """
    from openvino import Core

    settings: dict[str, Any] = {
        # Left to itself the CPU plugin would run a float32 graph in bfloat16 where it can.
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": _cores(),
        "NUM_STREAMS": lanes,
        "ENABLE_CPU_PINNING": False,  # images are decoded on the same cores
    }
    ready = Core().compile_model(model, "CPU", settings)
    requests: SimpleQueue[Any] = SimpleQueue()
    for _ in range(lanes):
        requests.put(ready.create_infer_request())
    # By position: compiling may drop an output's name, as it does with a last bfloat16 conversion
    # on a processor without bfloat16.
    names = [output.get_any_name() for output in model.outputs]

    def run(inputs: Arrays) -> Arrays:
        request = requests.get()
        try:
            found = request.infer(dict(inputs))
            return {name: np.array(found[index]) for index, name in enumerate(names)}
        finally:
            requests.put(request)

    return run


def _onnx(path: Path) -> Callable[[int], Run]:
    require("onnx", "onnxruntime")
    files = [path.with_name(name) for name in GRAPHS["onnx"]]
    known = [_stamp(file) for file in files]

    def opened(lanes: int) -> Run:
        if [_stamp(file) for file in files] != known:
            raise ModelError(f"{path.parent}: another export took its place; load it again")
        return session(path, lanes)

    return opened


def _stamp(file: Path) -> tuple[int, ...]:
    """What tells a file from another that took its place."""
    found = file.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def session(model: Path | bytes, lanes: int = 1) -> Run:
    """Open an ONNX model in ONNX Runtime, on this machine's CPU.

    Args:
        model: its file or its bytes.
        lanes: how many threads may run it at once, each on its share of the cores.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = max(1, _cores() // lanes)
    ready = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in ready.get_outputs()]

    def run(inputs: Arrays) -> Arrays:
        return dict(zip(names, ready.run(names, dict(inputs)), strict=True))

    return run
