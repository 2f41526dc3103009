"""Reading radiographs and slices: DICOM, PNG and JPEG, as stored or as they should look on a screen."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np

from ..errors import describe

TAGS = {"age": "PatientAge", "sex": "PatientSex", "view": "ViewPosition"}
SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")  # the first that a file has counts
DECODERS = ("pillow", "gdcm")  # of pydicom: the first is the faster, the second knows all the rest
logger = logging.getLogger(__name__)


def is_dicom(path: str | os.PathLike) -> bool:
    """Whether a file has the mark of DICOM behind its preamble, or such a name: files without preamble exist."""
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM" or Path(path).suffix.lower() in (".dcm", ".dicom")


def read_header(path: str | os.PathLike, pixels: bool = False):
    """The pydicom dataset of a file, without its pixels unless they are asked for.

    Raises:
        ValueError: it is no DICOM.
    """
    import pydicom  # slow to import, and the other bundles need none

    try:
        with pydicom.config.disable_value_validation():  # an age without unit is no reason to warn
            header = pydicom.dcmread(path, stop_before_pixels=not pixels)
            for name in (*TAGS.values(), "PatientID", "SOPInstanceUID", *SPACINGS):
                header.get(name)  # values are converted when they are first asked for
    except Exception as error:  # a damaged file makes pydicom raise a dozen types
        raise ValueError(f"{path}: not a readable DICOM file ({describe(error)[:200]})") from None
    if "Rows" not in header and "SOPClassUID" not in header:
        raise ValueError(f"{path}: not a readable DICOM file (neither Rows nor SOPClassUID)")
    return header


def read_dicom(path: str | os.PathLike) -> tuple[np.ndarray, bool, dict[str, str], tuple[float, float] | None]:
    """A radiograph as stored values after the modality and VOI transformations, bright where bones are.

    Returns:
        float32 (rows, columns); whether the file said which values to show (a VOI window or table); the tags of TAGS as
        text, "" where absent, with "patient"; the pixels' height and width in mm, None where the file does not tell.

    Raises:
        ValueError: no DICOM; no pixels, several frames, colour; pixel data that is truncated or of an unknown compression.
    """
    header = read_header(path, pixels=True)
    check_header(header, path)
    values, windowed = _values(header, path)
    tags = {key: str(header.get(name) or "").strip() for key, name in TAGS.items()}
    tags["patient"] = str(header.get("PatientID") or "").strip()
    return values, windowed, tags, _spacing(header, path)


def check_header(header, path: str | os.PathLike) -> None:
    """Refuse what is no single grey image.

    Raises:
        ValueError: no pixels, several frames, or colour.
    """
    if not any(key in header for key in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise ValueError(f"{path}: no pixel data, expected a radiograph; found {header.get('Modality') or 'no'} modality")
    frames = int(header.get("NumberOfFrames") or 1)
    if frames != 1:
        raise ValueError(f"{path}: {frames} frames, expected a single radiograph")
    colour = str(header.get("PhotometricInterpretation") or "")
    if int(header.get("SamplesPerPixel") or 1) != 1 or colour not in ("MONOCHROME1", "MONOCHROME2"):
        raise ValueError(f"{path}: photometric interpretation {colour or 'absent'}, expected MONOCHROME1 or MONOCHROME2")


def decoded(header, path: str | os.PathLike) -> np.ndarray:
    """The stored pixel values of a header that was read with pixels (rows, columns), by the fastest decoder there is.

    Raises:
        ValueError: pixel data that is truncated or of an unknown compression, or no 2D image.
    """
    syntax = header.file_meta.get("TransferSyntaxUID") if hasattr(header, "file_meta") else None
    try:
        for plugin in DECODERS:  # pydicom would take the first of the alphabet
            if syntax is not None and syntax.is_compressed and _decodes(syntax, plugin):
                header.pixel_array_options(decoding_plugin=plugin)
                break
        pixels = header.pixel_array
    except Exception as error:  # of pydicom and of four decoders
        said = getattr(syntax, "name", None) or "no transfer syntax"
        raise ValueError(f"{path}: pixel data cannot be decoded, {said} ({describe(error)[:300]})") from None
    if pixels.ndim != 2 or min(pixels.shape) < 2:
        raise ValueError(f"{path}: expected a 2D image, found shape {pixels.shape}")
    return pixels


def _values(header, path: str | os.PathLike) -> tuple[np.ndarray, bool]:
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    pixels = decoded(header, path)
    try:
        values = apply_modality_lut(pixels, header)
        windowed = "VOILUTSequence" in header or ("WindowCenter" in header and "WindowWidth" in header)
        values = np.asarray(apply_voi_lut(values, header) if windowed else values, dtype=np.float32)
    except Exception as error:  # a damaged table or window
        raise ValueError(f"{path}: pixel data cannot be decoded ({describe(error)[:300]})") from None
    if header.PhotometricInterpretation == "MONOCHROME1":
        values = values.max() + values.min() - values
    return values, windowed


def _decodes(syntax, plugin: str) -> bool:
    from pydicom.pixels import get_decoder

    try:
        return plugin in get_decoder(syntax).available_plugins
    except NotImplementedError:  # pydicom says so itself when it is asked for the pixels
        return False


def _spacing(header, path: str | os.PathLike) -> tuple[float, float] | None:
    for name in SPACINGS:
        try:
            height, width = (float(mm) for mm in header.get(name))
        except (TypeError, ValueError):  # absent, or not two numbers
            continue
        if 0.01 < height < 10 and 0.01 < width < 10:
            return height, width
        logger.warning(f"{path}: {name} is {height:g} x {width:g} mm, which no radiograph has; not used")
    return None


def read_picture(path: str | os.PathLike) -> np.ndarray:
    """The grey values of a PNG or JPEG, 8 or 16 bit, as float32 (rows, columns).

    Raises:
        ValueError: it cannot be read, or its colours differ; grey images stored as RGB or RGBA are fine.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            mode, values = image.mode, np.asarray(image.convert("RGBA") if image.mode in ("P", "PA") else image)
    except Exception as error:
        raise ValueError(f"{path}: not a readable image ({describe(error)[:200]})") from None
    if values.ndim == 3:
        colours = values[..., : 1 if mode == "LA" else 3].astype(int)
        if np.ptp(colours, axis=2).max() > 8:  # JPEG changes grey a little
            raise ValueError(f"{path}: a {mode} image whose colours differ, expected grey")
        values = colours.mean(2)
    return values.astype(np.float32)
