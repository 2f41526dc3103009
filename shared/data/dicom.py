"""Films as DICOM datasets."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ..paths import atomic_write


def film_dataset(path: str | os.PathLike, pixels: np.ndarray, uid: str, sop_class: str):
    """A pydicom dataset of a grey image, uncompressed, that can be saved.

    Args:
        path: the file that it will be.
        pixels: uint8 or uint16 (rows, columns), bright where bones are.
        uid: what its UIDs are made of; the same text gives the same ones.
        sop_class: UID of the SOP class.
    """
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[uid])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    film = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128, is_implicit_VR=False)
    film.SOPClassUID, film.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    film.PhotometricInterpretation, film.SamplesPerPixel = "MONOCHROME2", 1
    film.Rows, film.Columns = pixels.shape
    film.BitsAllocated = 8 * pixels.dtype.itemsize
    film.BitsStored, film.PixelRepresentation = film.BitsAllocated, 0
    film.HighBit = film.BitsStored - 1
    film.StudyInstanceUID, film.SeriesInstanceUID = (generate_uid(entropy_srcs=[uid, part]) for part in ("study", "series"))
    film.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    film["PixelData"].VR = "OW" if film.BitsAllocated > 8 else "OB"
    return film


def save_film(film, path: str | os.PathLike) -> None:
    """Write a dataset of `film_dataset` as a DICOM file, by pydicom 3 or by 2, which MONAI Label needs."""
    import pydicom

    new = int(pydicom.__version__.split(".")[0]) >= 3
    film.save_as(path, **({"enforce_file_format": True} if new else {"write_like_original": False}))


def write_synthetic(path: Path, pixels: np.ndarray, name: str, what: str, how: str) -> None:
    """Write an image that shows no patient as a DICOM secondary capture that says so in every place a viewer may show.

    Args:
        path: the file; it appears whole or not at all.
        pixels: uint8 (rows, columns).
        name: of the image; with `how` it makes the UIDs.
        what: description of the image.
        how: what it was made of.
    """
    from pydicom.uid import SecondaryCaptureImageStorage

    film = film_dataset(path, pixels, f"{name} {how}", SecondaryCaptureImageStorage)
    film.Modality, film.ConversionType = "OT", "SYN"  # synthetic image
    film.ImageType = ["DERIVED", "SECONDARY"]
    film.PatientName = film.PatientID = "SYNTHETIC"
    film.PatientBirthDate = film.PatientSex = film.StudyDate = film.StudyTime = film.AccessionNumber = ""
    film.ReferringPhysicianName = film.StudyID = ""
    film.StudyDescription = film.SeriesDescription = "SYNTHETIC, no patient"
    film.SeriesNumber, film.InstanceNumber, film.BodyPartExamined = 1, 1, "CHEST"
    film.BurnedInAnnotation, film.LossyImageCompression, film.PatientOrientation = "NO", "00", ["L", "F"]
    film.ContentQualification = "RESEARCH"
    film.SpecificCharacterSet = "ISO_IR 192"  # UTF-8: the prompt may hold any letter
    film.DerivationDescription, film.ImageComments = what, f"{what}: {how}"[:10240]
    with atomic_write(path) as temporary:
        save_film(film, temporary)
