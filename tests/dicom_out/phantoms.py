"""DICOM phantoms with a lesion at a known place, and a detector that sees what is bright."""

import copy
from pathlib import Path

import numpy as np
import torch
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from sdmad.detector.maps import PatchMaps

CR, CT, MR = (f"1.2.840.10008.5.1.4.1.1.{part}" for part in ("1", "2", "4"))
RF, ENHANCED_MR, US_FRAMES = (f"1.2.840.10008.5.1.4.1.1.{p}" for p in ("12.2", "4.1", "3.1"))
SHAPE = (96, 160)
LESION = (20, 44, 96, 136)
"""First and last row, first and last column, the last ones exclusive: a tenth of the image."""

PATIENT = {
    "PatientName": "Doe^Jané",
    "PatientID": "P1",
    "PatientBirthDate": "19600101",
    "PatientSex": "F",
    "StudyID": "S",
    "StudyDate": "20240229",
    "StudyTime": "101112",
    "AccessionNumber": "A7",
    "ReferringPhysicianName": "",
}
PLACED = {
    "FrameOfReferenceUID": "1.2.3.7",
    "PositionReferenceIndicator": "",
    "ImagePositionPatient": [-80, -48, 12.5],
    "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
    "PixelSpacing": [0.75, 0.5],
    "SliceThickness": 3,
}


def lesion(shape=SHAPE, inverted=False):
    """Grey with noise and a bright lesion; dark where the smallest value is white."""
    pixels = np.random.default_rng(0).integers(300, 400, shape).astype(np.uint16)
    top, bottom, left, right = LESION
    pixels[top:bottom, left:right] += 3000
    return 4095 - pixels if inverted else pixels


def dicom(pixels, sop_class=CR, modality="CR", uid="1.2.3.4.5", **attributes):
    """A file of one frame ``(H, W)`` or several ``(n, H, W)``, or of colour ``(H, W, 3)``."""
    colour = pixels.dtype == np.uint8
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = sop_class
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = uid
    data.SpecificCharacterSet = "ISO_IR 100"
    data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    data.Modality, data.SeriesNumber, data.InstanceNumber = modality, 3, 5
    data.Manufacturer, data.ImageType = "Maker", ["ORIGINAL", "PRIMARY"]
    data.ContentDate, data.ContentTime = "20240229", "101530"
    data.SamplesPerPixel = 3 if colour else 1
    data.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        data.PlanarConfiguration = 0
    elif pixels.ndim == 3:
        data.NumberOfFrames = len(pixels)
    data.Rows, data.Columns = pixels.shape[:2] if colour else pixels.shape[-2:]
    data.BitsAllocated = 8 * pixels.dtype.itemsize
    data.BitsStored = 8 if colour else 12
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, 0
    for keyword, value in (PATIENT | attributes).items():
        setattr(data, keyword, value)
    data.PixelData = pixels.tobytes()
    return data


def without(data, *keywords):
    for keyword in keywords:
        delattr(data, keyword)
    return data


def write(data, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def seeing(detector, *names):
    """A detector that finds some categories in every image, where it is bright.

    Its map of every category is the mean brightness of each patch of an 8 x 8 grid.
    """
    twin = copy.copy(detector)
    found = [name in names for name in detector.categories]

    def patch_maps(pixels):
        grey = torch.nn.functional.adaptive_avg_pool2d(pixels.mean(dim=1), 8)
        grey = grey / grey.abs().amax()
        several = grey[:, None].expand(-1, len(found), -1, -1)
        signs = grey[:, None].expand(-1, len(detector.bank_.sentences), -1, -1)
        return PatchMaps(signs, several, torch.zeros_like(grey))

    def score_images(*arguments, **named):
        scored = detector.score_images(*arguments, **named)
        scored.decisions[:] = found
        return scored

    twin.patch_maps, twin.score_images = patch_maps, score_images
    return twin


def weak(judge):
    """A detector whose maps are those of another, a tenth as strong: as cosines are."""
    twin = copy.copy(judge)

    def patch_maps(pixels):
        maps = judge.patch_maps(pixels)
        return PatchMaps(maps.signs / 10, maps.categories / 10, maps.anchor / 10)

    twin.patch_maps = patch_maps
    return twin
