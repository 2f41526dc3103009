"""Radiographs from DICOM, PNG and JPEG, as they should look on a screen, with the true size of their pixels."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import CenterSpatialCrop, MapTransform
from torch.nn.functional import interpolate

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


class LoadFilmd(MapTransform):
    """Load a radiograph as "image", MetaTensor (1, rows, columns), float32 0..1, bones bright, with the pixels' size in mm.

    Values are those that the file says should be shown: rescale slope and intercept, then VOI window or table, MONOCHROME1
    inverted. Where it says nothing, those between two percentiles. The affine is that of rows and columns in mm.

    Tags become "age", "sex", "view" (text, "" where unknown) and "patient", unless the item has them from a table. "spacing"
    of an item, mm (height, width) of a pixel, or "extent", mm of the whole film, count before the file's. Where none is known
    the longer side is taken for `size_mm`, with a warning.

    Args:
        keys: of the file's path.
        window: percentiles that become 0 and 1 where the file says nothing.
        size_mm: see above.

    Raises:
        ValueError: see `read_dicom` and `read_picture`; or all pixels are alike or not finite. It names the file.
    """

    def __init__(self, keys: KeysCollection = "image", window: tuple[float, float] = (0.5, 99.5), size_mm: float = 400.0):
        super().__init__(keys)
        self.window, self.size_mm = tuple(window), size_mm

    def __call__(self, data):
        item = dict(data)
        if "problem" in item:
            raise ValueError(item["problem"])
        for key in self.key_iterator(item):
            path = item[key][0] if isinstance(item[key], list | tuple) else item[key]
            if not os.path.isfile(path):
                raise ValueError(f"{path}: no such file")
            windowed, tags, spacing = False, {}, None
            if is_dicom(path):
                values, windowed, tags, spacing = read_dicom(path)
            else:
                values = read_picture(path)
            for name in (*TAGS, "patient"):
                item[name] = tags.get(name, "") if item.get(name) is None else item[name]
            extent = item.pop("extent", None)
            own = item.pop("spacing", None) or (extent and [mm / n for mm, n in zip(extent, values.shape, strict=True)])
            item["image"] = self._image(values, windowed, own or spacing, path)
        return item

    def _image(self, values: np.ndarray, windowed: bool, spacing, path) -> MetaTensor:
        if not np.isfinite(values).all() or values.min() == values.max():
            raise ValueError(f"{path}: pixels from {values.min()} to {values.max()}, expected an image")
        low, high = (values.min(), values.max()) if windowed else np.percentile(values, self.window)
        if low == high:  # nearly all pixels are alike
            low, high = values.min(), values.max()
        if spacing is None:
            spacing = (self.size_mm / max(values.shape),) * 2
            logger.warning(f"{path}: pixel spacing unknown, the longer side is taken for {self.size_mm:g} mm")
        image = torch.from_numpy((values - low) / (high - low)).clamp(0, 1)[None]
        affine = torch.diag(torch.tensor([*spacing, 1, 1], dtype=torch.float64))
        return MetaTensor(image, affine=affine, meta={"filename_or_obj": str(path)})


def resize(image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """An image (C, rows, columns) with other numbers of rows and columns, bilinear, without aliasing."""
    plain = image.as_tensor() if isinstance(image, MetaTensor) else image
    resized = interpolate(plain[None], size=size, mode="bilinear", antialias=True)[0]
    if not isinstance(image, MetaTensor):
        return resized
    affine = image.affine.clone()
    for axis, (old, new) in enumerate(zip(plain.shape[1:], size, strict=True)):
        step = affine[:2, axis] * (old / new)
        affine[:2, 3] += (step - affine[:2, axis]) / 2  # edges stay in place, so the first pixel's middle moves
        affine[:2, axis] = step
    return MetaTensor(resized, affine=affine, meta=_about(image))


def _about(image: MetaTensor) -> dict:
    """What is known of an image but its affine."""
    return {key: value for key, value in image.meta.items() if key != "affine"}


class ResampleFilmd(MapTransform):
    """Resample a radiograph (1, rows, columns) with affine to square pixels of `pixdim` mm.

    As MONAI's Spacingd, but every new pixel is the mean of those it covers: films come with three times as many.

    Raises:
        ValueError: the result would have fewer than 16 or more than 8192 pixels along a side: the spacing is wrong.
    """

    def __init__(self, keys: KeysCollection, pixdim: float):
        super().__init__(keys)
        self.pixdim = pixdim

    def __call__(self, data):
        item = dict(data)
        for key in self.key_iterator(item):
            image = item[key]
            size = tuple(round(n * float(mm) / self.pixdim) for n, mm in zip(image.shape[1:], image.pixdim, strict=False))
            if min(size) < 16 or max(size) > 8192:
                mm = " x ".join(f"{float(s):g}" for s in image.pixdim[:2])
                name = image.meta.get("filename_or_obj", "image")
                raise ValueError(f"{name}: {size[0]} x {size[1]} pixels at {self.pixdim:g} mm; is its spacing {mm} mm right?")
            item[key] = resize(image, size)
        return item


class FitFilmd(MapTransform):
    """Resize a radiograph (1, rows, columns) so that it fits into a square of `size` pixels, and put it into its middle.

    The aspect ratio is kept; what is beside the film is 0.
    """

    def __init__(self, keys: KeysCollection, size: int):
        super().__init__(keys)
        self.size = size

    def __call__(self, data):
        item = dict(data)
        for key in self.key_iterator(item):
            shape = item[key].shape[1:]
            image = resize(item[key], tuple(max(1, round(n * self.size / max(shape))) for n in shape))
            before = [(self.size - n) // 2 for n in image.shape[1:]]
            square = torch.zeros(1, self.size, self.size)
            rows, columns = (slice(b, b + n) for b, n in zip(before, image.shape[1:], strict=True))
            square[:, rows, columns] = image.as_tensor() if isinstance(image, MetaTensor) else image
            if isinstance(image, MetaTensor):
                affine = image.affine.clone()
                affine[:2, 3] -= affine[:2, :2] @ torch.tensor(before, dtype=affine.dtype)
                square = MetaTensor(square, affine=affine, meta=_about(image))
            item[key] = square
        return item


class SquareFilmd(MapTransform):
    """Cut the middle square out of a radiograph (1, rows, columns) with affine, as wide as its shorter side in mm; resize it.

    Args:
        size: pixels of the result's sides.
    """

    def __init__(self, keys: KeysCollection, size: int):
        super().__init__(keys)
        self.size = size

    def __call__(self, data):
        item = dict(data)
        for key in self.key_iterator(item):
            image = item[key]
            spacing = [float(mm) for mm in image.pixdim[:2]]
            side = min(n * mm for n, mm in zip(image.shape[1:], spacing, strict=True))
            middle = CenterSpatialCrop([max(1, round(side / mm)) for mm in spacing])(image)
            item[key] = resize(middle, (self.size, self.size))
        return item


class Clahed(MapTransform):
    """Contrast limited adaptive histogram equalisation of a radiograph (1, rows, columns), 0..1, by scikit-image.

    Args:
        clip: the highest count of a bin of a tile's histogram, as a multiple of the mean count (OpenCV's clipLimit).
        tiles: along each axis.
        bins: of the histograms.
    """

    def __init__(self, keys: KeysCollection, clip: float = 4.0, tiles: int = 8, bins: int = 256):
        super().__init__(keys)
        self.clip, self.tiles, self.bins = clip, tiles, bins

    def __call__(self, data):
        from skimage.exposure import equalize_adapthist

        item = dict(data)
        for key in self.key_iterator(item):
            image = item[key]
            plain = image[0].numpy(force=True).clip(0, 1)  # rounding leaves 1.0000001
            kernel = [max(1, n // self.tiles) for n in plain.shape]
            equal = equalize_adapthist(plain, kernel, clip_limit=self.clip / self.bins, nbins=self.bins)
            item[key] = image.clone()
            item[key][0] = torch.from_numpy(np.ascontiguousarray(equal, dtype=np.float32))
        return item
