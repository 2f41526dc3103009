"""Radiographs from DICOM, PNG and JPEG, as they should look on a screen, with the true size of their pixels."""

from __future__ import annotations

import logging
import os

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import CenterSpatialCrop, MapTransform
from torch.nn.functional import interpolate

from ..data.film_files import TAGS, is_dicom, read_dicom, read_picture

logger = logging.getLogger(__name__)


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
