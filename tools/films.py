"""Write radiographs and slices as DICOM files, in the compressions that hospitals use."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from shared.data.dicom import film_dataset, save_film
from shared.paths import atomic_write

SYNTAXES = {  # name: what GDCM calls it, transfer syntax
    "raw": ("ExplicitVRLittleEndian", "1.2.840.10008.1.2.1"),
    "jpeg": ("JPEGBaselineProcess1", "1.2.840.10008.1.2.4.50"),
    "lossless": ("JPEGLosslessProcess14_1", "1.2.840.10008.1.2.4.70"),
    "jpeg-ls": ("JPEGLSLossless", "1.2.840.10008.1.2.4.80"),
    "jpeg2000": ("JPEG2000Lossless", "1.2.840.10008.1.2.4.90"),
    "rle": ("RLELossless", "1.2.840.10008.1.2.5"),
}


def write_film(
    path: Path,
    pixels: np.ndarray,
    uid: str,
    spacing: tuple[float, float] | None = None,
    tags: Mapping[str, object] | None = None,
    syntax: str = "raw",
) -> None:
    """Write a radiograph as a DICOM file; it appears whole or not at all.

    Args:
        path: the file.
        pixels: uint8 or uint16 (rows, columns).
        uid: what its SOP instance UID is made of; the same text gives the same one.
        spacing: PixelSpacing, mm (height, width).
        tags: further elements by keyword; PhotometricInterpretation, BitsStored and Modality have defaults.
        syntax: one of SYNTAXES.

    Raises:
        ValueError: GDCM cannot compress it like that.
    """
    import pydicom
    from pydicom.uid import DigitalXRayImageStorageForPresentation

    film = film_dataset(path, pixels, uid, DigitalXRayImageStorageForPresentation)
    film.Modality = "DX"
    if spacing is not None:
        film.PixelSpacing = [f"{mm:.10g}" for mm in spacing]
    with pydicom.config.disable_value_validation():  # ages without a unit are among what is to be written
        for name, value in (tags or {}).items():
            setattr(film, name, value)
    film.file_meta.MediaStorageSOPClassUID = film.SOPClassUID  # tags may name another
    film.HighBit = film.BitsStored - 1
    if syntax != "raw":
        _compress(film, syntax)
    with atomic_write(path) as temporary:
        save_film(film, temporary)


def write_slice(
    path: Path,
    pixels: np.ndarray,
    uid: tuple[str, str],
    spacing: tuple[float, float],
    position: tuple[float, float, float],
    modality: str,
    tags: Mapping[str, object],
) -> None:
    """Write an axial slice of an MR or CT series as a DICOM file; rows run to the patient's left, columns to the back.

    Args:
        path: the file.
        pixels: uint16 (rows, columns), 12 bits.
        uid: what the UIDs of the series and, with it, of the slice are made of.
        spacing: mm (height, width) of a pixel.
        position: of the first pixel's centre in mm, to the left, to the back, to the head.
        modality: MR or CT.
        tags: further elements by keyword.
    """
    from pydicom.uid import CTImageStorage, MRImageStorage, generate_uid

    series, name = uid
    study = series.rsplit(" ", 1)[0]
    more = {
        "SOPClassUID": MRImageStorage if modality == "MR" else CTImageStorage,
        "Modality": modality,
        "StudyInstanceUID": generate_uid(entropy_srcs=[study, "study"]),
        "SeriesInstanceUID": generate_uid(entropy_srcs=[series, "series"]),
        "FrameOfReferenceUID": generate_uid(entropy_srcs=[study, "frame"]),
        "ImagePositionPatient": [f"{mm:.6f}" for mm in position],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "ImageType": ["ORIGINAL", "PRIMARY"],
        "BitsStored": 12,
        # elements that a study must have, though they may be empty
        **dict.fromkeys(("PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber"), ""),
        **dict.fromkeys(("ReferringPhysicianName", "StudyID", "SeriesNumber"), ""),
    }
    write_film(path, pixels, f"{series} {name}", spacing, {**more, **tags})


def _compress(film, syntax: str) -> None:
    """Replace the pixels of a pydicom dataset by compressed ones; its other elements stay as they are."""
    import gdcm
    import pydicom

    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, SYNTAXES[syntax][0])))
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "film.dcm")
        save_film(film, path)
        reader.SetFileName(path)
        done = reader.Read()
        if done:
            change.SetInput(reader.GetImage())
            done = change.Change()
        if done:
            writer.SetFileName(path)
            writer.SetFile(reader.GetFile())
            writer.SetImage(change.GetOutput())
            done = writer.Write()
        if not done:
            raise ValueError(f"GDCM cannot compress {film.Rows} x {film.Columns} pixels of {film.BitsStored} bits as {syntax}")
        compressed = pydicom.dcmread(path)
    film.PixelData = compressed.PixelData
    film["PixelData"].VR, film["PixelData"].is_undefined_length = "OB", True
    film.file_meta.TransferSyntaxUID = compressed.file_meta.TransferSyntaxUID
    if syntax == "jpeg":
        film.LossyImageCompression = "01"
