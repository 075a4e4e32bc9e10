"""Damaged images of every format, through the one public reader."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from benchmarks.campaign.frame import READ, SECRET
from benchmarks.campaign.mutations import damaged_bytes
from sdmad.data.images import content_hash, read_image, volume_slices

COUNT = 10_000
PICTURES = {
    "png": "PNG", "jpg": "JPEG", "tif": "TIFF", "bmp": "BMP", "webp": "WEBP", "gif": "GIF",
    "ppm": "PPM", "jp2": "JPEG2000",
}  # fmt: skip


def prepare(folder: Path) -> None:
    """Write a small image of every format and of several depths."""
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    for ending, name in PICTURES.items():
        Image.fromarray(noise).save(folder / f"colour.{ending}", name)
        Image.fromarray(noise[..., 0]).save(folder / f"grey.{ending}", name)
    deep = noise[..., 0].astype(np.uint16) * 200
    Image.fromarray(deep).save(folder / "deep.png")
    Image.fromarray(deep.astype(np.float32)).save(folder / "float.tif")
    pages = [Image.fromarray(noise[..., k]) for k in range(3)]
    pages[0].save(folder / "pages.tif", save_all=True, append_images=pages[1:])
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits"):
        pages[0].save(folder / f"{compression}.tif", compression=compression)
    for write in (_write_dicom, _write_nifti, _write_hdf5):
        write(folder, deep)


def attack(random: Random, material: Path, place: Path) -> str:
    """Damage one image and read all that is read of an image."""
    source = random.choice(sorted(material.iterdir()))
    path = place / source.name
    path.write_bytes(damaged_bytes(random, source.read_bytes()))
    steps: tuple[Callable[[Path], object], ...] = (read_image, volume_slices, content_hash)
    for step in steps:
        step(path)
    return READ


def _write_dicom(folder: Path, deep: np.ndarray) -> None:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import (
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
        RLELossless,
        generate_uid,
    )

    for name, syntax in (
        ("explicit", ExplicitVRLittleEndian),
        ("implicit", ImplicitVRLittleEndian),
        ("rle", RLELossless),
    ):
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
        data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID
        data.PatientName = SECRET
        data.PatientID = SECRET
        data.Rows, data.Columns = deep.shape
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
        data.WindowCenter, data.WindowWidth = 20_000, 30_000
        data.RescaleSlope, data.RescaleIntercept = 1, -1024
        data.PixelData = deep.tobytes()
        if syntax == RLELossless:
            data.compress(RLELossless)
        else:
            data.file_meta.TransferSyntaxUID = syntax
        data.save_as(folder / f"{name}.dcm", enforce_file_format=True)


def _write_nifti(folder: Path, deep: np.ndarray) -> None:
    import nibabel

    volume = np.dstack([deep] * 4).astype(np.int16)
    for ending in ("nii", "nii.gz"):
        nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), folder / f"volume.{ending}")
    nibabel.save(nibabel.Nifti2Image(volume, np.eye(4)), folder / "two.nii")


def _write_hdf5(folder: Path, deep: np.ndarray) -> None:
    import h5py

    with h5py.File(folder / "scan.h5", "w") as file:
        file["reconstruction_rss"] = np.stack([deep.astype(np.float32)] * 3)
        file.attrs["patient_id"] = SECRET
