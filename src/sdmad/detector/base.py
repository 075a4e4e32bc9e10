"""What every detector offers: SD-MAD and each system that it is compared with.

A detector is fitted on a few images and then scores images one by one; the scores of an image
never depend on the other images scored with it.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any, ClassVar, Self, final

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from PIL.Image import Image
from torch import Tensor
from torch.nn.functional import interpolate

from sdmad.data.decoding import Square
from sdmad.data.images import ImageError, ImageSource, to_image
from sdmad.data.labels import all_absent, settle_normal
from sdmad.data.preprocessing import Preprocessing
from sdmad.detector.batches import Lanes, lanes_on, score_decoded, score_in_batches
from sdmad.detector.batches import OnError as OnError
from sdmad.detector.scores import ImageScores
from sdmad.errors import InputError, NotFittedError
from sdmad.evaluation.checks import label_matrix

BATCH_SIZE = 32
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class TrainingSet:
    """A support set that was checked.

    Attributes:
        images: n paths, Pillow images or arrays, at least one.
        labels: 1, 0 or NaN, float64 ``(n, K)``; at least one is known.
        normal: which show no abnormality, boolean ``(n,)``; their labels are 0.
        masks: where each is abnormal, boolean ``(H, W)``, or None where that is not known.
        planes: where each category is, boolean ``(K, H, W)``, or None where they are not told
            apart.
        patients: id of each image's patient; empty where nobody told.
        progress: what to call the work on a progress bar; None for no bar.
    """

    images: Sequence[ImageSource]
    labels: NDArray[np.float64]
    normal: NDArray[np.bool_]
    masks: tuple[Mask | None, ...]
    planes: tuple[Mask | None, ...] = ()
    patients: tuple[object, ...] = ()
    progress: str | None = None

    def category_masks(self, category: int) -> tuple[Mask | None, ...]:
        """Where each image that shows a category shows it, ``(H, W)``; None where nobody knows.

        It is the whole mask of an image that shows nothing else.

        Args:
            category: its column.
        """
        shows = self.labels[:, category] == 1
        alone = shows & ((self.labels == 0).sum(axis=1) == self.labels.shape[1] - 1)
        found: list[Mask | None] = [
            whole if only else None for whole, only in zip(self.masks, alone, strict=True)
        ]
        for i, planes in enumerate(self.planes):
            if shows[i] and planes is not None:
                found[i] = planes[category] if planes[category].any() else None
        return tuple(found)


class Detector(ABC):
    """A detector of several anomaly categories in one image.

    Attributes:
        categories: the K category names, in the order of every label matrix and score.
        backbone: the frozen vision-language model.
        has_maps: whether :meth:`anomaly_maps` says where an image is abnormal.
        log_: what each epoch of training did; empty where nothing is trained.
        batch: images that :meth:`score_images` scores together.
        set_by_fit: the attribute that is None until :meth:`fit` has run, dotted if it is a part's;
            empty where nothing is learnt.
        several_at_once: whether :meth:`score_pixels` may run in several threads, and gains by it.
    """

    categories: tuple[str, ...]
    backbone: Any
    has_maps: bool = False
    log_: Sequence[Any] = ()
    batch: int = BATCH_SIZE
    set_by_fit: ClassVar[str]
    several_at_once: bool = False

    @property
    def preprocessing(self) -> Preprocessing:
        """How an image becomes the pixel values that :meth:`score_pixels` takes."""
        prepared: Preprocessing = self.backbone.preprocessing
        return prepared

    @property
    def trained_parameters(self) -> int:
        """How many numbers training has set; 0 where nothing is trained."""
        return 0

    @property
    def losses(self) -> tuple[float, ...]:
        """Mean loss of each epoch of training; empty where nothing is trained."""
        return tuple(self.log_)

    @property
    def kept_signs(self) -> NDArray[np.bool_] | None:
        """Signs that selection kept, ``(S,)`` in the bank's order; None without selection."""
        return None

    def with_settings(self, settings: Any) -> Detector | None:
        """The same training under other settings; None where they need a training of their own.

        Args:
            settings: hyper-parameters of the same system.
        """
        del settings
        return None

    @final
    def fit(
        self,
        images: Sequence[ImageSource] | NDArray[Any],
        labels: ArrayLike,
        *,
        normal: ArrayLike | None = None,
        patients: Sequence[object] | None = None,
        masks: Sequence[Mask | None] | None = None,
        progress: str | None = None,
    ) -> Self:
        """Learn from the support set.

        Args:
            images: n paths, Pillow images or arrays, or one array of n paths or images.
            labels: 1 present, 0 absent, NaN unknown, shape ``(n, K)``.
            normal: which images show no abnormality at all, none of another kind either; boolean
                ``(n,)``, as a label table's ``LabelTable.normal``. Their
                unknown labels are taken for 0. All-zero rows when not given.
            patients: id of each image's patient, ``""`` if unknown; only salted hashes are kept,
                and only by detectors that can be saved.
            masks: where each image is abnormal, boolean ``(H, W)``, or ``(K, H, W)`` where it is
                known of each category (a plane without a pixel of a category that the image shows
                says nothing), or None where that is not known; most systems ignore them.
            progress: what to call the work on a progress bar; none when not given.

        Returns:
            Itself.

        Raises:
            ImageError: if an image cannot be read.
            InputError: if shapes disagree, there is no image, no label is known, a normal image
                has a finding, or the system needs what the support set does not have.
        """
        sources = as_image_list(images)
        if len(sources) == 0:
            raise InputError("there is no image to fit on")
        values = label_matrix(labels, (len(sources), len(self.categories))).copy()
        healthy = _normal_rows(values, normal)
        if np.isnan(values).all():
            raise InputError("every label is unknown (NaN); there is nothing to learn from")
        for name, column in (("patients", patients), ("masks", masks)):
            if column is not None and len(column) != len(sources):
                raise InputError(f"{len(column)} {name} for {len(sources)} images")
        given = [None] * len(sources) if masks is None else masks
        whole, planes = _told_apart(given, len(self.categories))
        people = tuple(patients or ())
        self._fit(TrainingSet(sources, values, healthy, whole, planes, people, progress))
        return self

    @abstractmethod
    def _fit(self, training: TrainingSet) -> None:
        """Learn from a checked support set."""

    @abstractmethod
    def score_pixels(self, pixels: Tensor) -> ImageScores:
        """Score preprocessed images, pixel values ``(n, 3, H, W)``."""

    def check_fitted(self) -> None:
        """Raise NotFittedError, an InputError, if :meth:`fit` has not run."""
        if self.set_by_fit and attrgetter(self.set_by_fit)(self) is None:
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet: call fit")

    def map_pixels(self, pixels: Tensor) -> Tensor:
        """Where preprocessed images ``(n, 3, H, W)`` are abnormal: ``(n, h, w)``, larger is more.

        Raises:
            InputError: if the system makes no maps.
        """
        del pixels
        raise InputError(f"{type(self).__name__} makes no anomaly maps")

    def anomaly_maps(self, images: Sequence[ImageSource]) -> Iterator[NDArray[np.float32]]:
        """Where each image is abnormal, one map ``(H, W)`` of the image's own size after another.

        Args:
            images: n paths, Pillow images or arrays.

        Raises:
            ImageError: if an image cannot be read.
            InputError: if the system makes no maps, or is not fitted.
        """
        self.check_fitted()
        preprocessing = self.preprocessing
        for source in as_image_list(images):
            image = to_image(source, preprocessing.window)
            small = self.map_pixels(preprocessing([image]))
            yield resize_map(small[0], (image.height, image.width))

    def score_images(
        self,
        images: Sequence[ImageSource] | NDArray[Any],
        on_error: OnError | None = None,
        progress: str | None = None,
    ) -> ImageScores:
        """Score images in batches; memory does not grow with their number.

        Args:
            images: n paths, Pillow images or arrays, or one array of n paths or images.
            on_error: called with the position and the error of an unreadable image, whose row
                becomes NaN and finds nothing; without it the error is raised.
            progress: what to call the work on a progress bar; none when not given.

        Raises:
            ImageError: if an image cannot be read and there is no ``on_error``.
            InputError: if the detector is not fitted, there is no image, or no list of them.
        """
        self.check_fitted()
        sources = as_image_list(images)
        with self._lanes(-(-len(sources) // self.batch)) as lanes:
            return score_in_batches(
                sources,
                self.preprocessing,
                self.score_batch,
                self.batch,
                on_error,
                progress,
                lanes,
            )

    def score_squares(
        self, squares: Sequence[Square | ImageError], on_error: OnError | None = None
    ) -> ImageScores:
        """Score images that others read and squared, as :meth:`score_images`.

        Args:
            squares: of each image ``(S, S)`` or ``(S, S, 3)`` uint8, or why it cannot be read.
            on_error: as :meth:`score_images`.

        Raises:
            ImageError: if an image could not be read and there is no ``on_error``.
            InputError: if the detector is not fitted, or there is no image.
        """
        self.check_fitted()
        with self._lanes(-(-len(squares) // self.batch)) as lanes:
            return score_decoded(
                iter(squares),
                len(squares),
                self.preprocessing.size,
                self.score_batch,
                self.batch,
                on_error,
                lanes=lanes,
            )

    def score_batch(self, squares: Sequence[Square]) -> ImageScores:
        """Score one batch of images that were read already, in this thread.

        Args:
            squares: what ``Preprocessing.square`` gave, one at least.
        """
        return self.score_pixels(self.preprocessing.standardise(squares))

    @contextmanager
    def _lanes(self, batches: int) -> Iterator[Lanes]:
        """Batches at once on this machine's cores."""
        threads = torch.get_num_threads()
        if not self.several_at_once:
            yield Lanes()
            return
        count = min(lanes_on(threads), max(1, batches))
        try:
            yield Lanes(count, partial(torch.set_num_threads, max(1, threads // count)))
        finally:
            torch.set_num_threads(threads)  # of threads that begin later

    def decision_function(
        self, images: Sequence[ImageSource] | NDArray[Any]
    ) -> NDArray[np.float64]:
        """Category scores ``(n, K)`` of n images; larger is more likely."""
        return self.score_images(images).scores

    def predict(self, images: Sequence[ImageSource] | NDArray[Any]) -> NDArray[np.int64]:
        """Decisions ``(n, K)`` of n images: 1 where a category is found, else 0."""
        return self.score_images(images).decisions.astype(np.int64)

    def score(self, images: Sequence[ImageSource] | NDArray[Any], labels: ArrayLike) -> float:
        """Subset accuracy: the share of the images on which every known label is decided rightly.

        On complete labels it is what scikit-learn's classifiers of several labels return.

        Args:
            images: n paths, Pillow images or arrays, or one array of n paths or images.
            labels: 1, 0 or NaN, shape ``(n, K)``.
        """
        from sdmad.evaluation.metrics import subset_accuracy  # scikit-learn takes a second

        sources = as_image_list(images)
        values = label_matrix(labels, (len(sources), len(self.categories)))
        return subset_accuracy(values, self.predict(sources))


def _told_apart(
    masks: Sequence[Mask | None], categories: int
) -> tuple[tuple[Mask | None, ...], tuple[Mask | None, ...]]:
    """Masks of any anomaly ``(H, W)`` and of the categories ``(K, H, W)``; None where unknown."""
    whole: list[Mask | None] = []
    planes: list[Mask | None] = []
    for number, mask in enumerate(masks):
        apart = mask is not None and mask.ndim == 3
        if mask is not None and not (mask.ndim == 2 or (apart and len(mask) == categories)):
            raise InputError(
                f"masks[{number}] has the shape {mask.shape}; give (H, W), or ({categories}, H, W) "
                "with a plane a category"
            )
        whole.append(np.any(mask, axis=0) if mask is not None and apart else mask)
        planes.append(mask if apart else None)
    return tuple(whole), tuple(planes)


def _normal_rows(values: NDArray[np.float64], normal: ArrayLike | None) -> NDArray[np.bool_]:
    """Which rows are normal; their labels become 0, in place."""
    if normal is None:
        return all_absent(values)
    declared = np.asarray(normal)
    if declared.shape != (len(values),) or not np.isin(declared, (0, 1)).all():
        raise InputError(
            f"normal: expected true or false of each of {len(values)} images, got an array of "
            f"shape {declared.shape} and type {declared.dtype}"
        )
    declared = declared.astype(np.bool_)
    row = settle_normal(values, declared)
    if row is not None:
        raise InputError(f"row {row} (counted from 0) is declared normal and has a positive label")
    return declared


def resize_map(small: Tensor, shape: tuple[int, int]) -> NDArray[np.float32]:
    """An anomaly map ``(h, w)`` at another size ``(H, W)``, bilinear."""
    large = interpolate(small[None, None].float(), shape, mode="bilinear", align_corners=False)
    values: NDArray[np.float32] = large[0, 0].cpu().numpy()
    return values


def as_image_list(images: Sequence[ImageSource] | NDArray[Any]) -> Sequence[ImageSource]:
    """A list of images, of whatever holds several of them.

    Args:
        images: n paths, Pillow images or arrays; or an array (or what NumPy makes one of, such as a
            column of a data frame) of n paths ``(n,)`` or images ``(n, H, W)``, ``(n, H, W, C)``.

    Raises:
        InputError: if it is a single image, or nothing that holds images.
    """
    if isinstance(images, str | os.PathLike | Image):
        raise InputError(f"give a list of images, even for one image; got {type(images).__name__}")
    if isinstance(images, Sequence):
        return images
    if not hasattr(images, "__array__"):
        raise InputError(f"give a list of images; got {type(images).__name__}")
    array = np.asarray(images)
    one_colour = array.ndim == 3 and array.shape[2] in (1, 3, 4)
    if array.ndim not in (1, 3, 4) or one_colour:
        raise InputError(
            "give a list of images, or an array of paths (n,) or of images (n, H, W) or "
            f"(n, H, W, C); got one of shape {array.shape}"
            + (", which looks like a single image: put it into a list" if array.ndim > 1 else "")
        )
    return list(array)
