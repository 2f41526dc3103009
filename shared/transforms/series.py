"""DICOM series as volumes: slices sorted by where they lie, refused where one is missing or of another series."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from ..abdomen import MASK_VALUES, ORGAN_VALUES, ORGANS
from ..data.film_files import decoded, read_header, read_picture
from .load import LoadCased, check_image, check_same_grid

TOLERANCE = 0.05  # by which gaps between slices may differ from each other, of a gap
AGREE = 1e-3  # by which orientations of slices may differ
CT_BELOW = -500  # a NIfTI volume with such values is taken for a CT
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def sorted_series(files: Sequence[str | os.PathLike], pixels: bool = False) -> list:
    """The headers (pydicom datasets) of a series' files, sorted along the normal of the slices; `filename` is set.

    Args:
        files: of one series, in any order.
        pixels: read pixel data as well.

    Raises:
        ValueError: unreadable file; several series, sizes, pixel spacings or orientations; slices at one place, a missing
            slice, unequal gaps; fewer than two slices. The message names a file, what was found and what was expected.
    """
    headers = [read_header(path, pixels=pixels) for path in files]
    folder = Path(files[0]).parent
    series = Counter(str(h.get("SeriesInstanceUID", "")) for h in headers)
    if len(series) > 1:
        found = ", ".join(f"{uid} ({n} files)" for uid, n in series.most_common())
        raise ValueError(f"{folder}: {len(series)} series in one folder, expected one; found {found}")
    for header, path in zip(headers, files, strict=True):
        for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns"):
            if header.get(name) is None:
                raise ValueError(f"{path}: no {name}, expected a slice of an MR or CT series")
    if len(headers) < 2:
        raise ValueError(f"{files[0]}: a single slice, expected a series of at least 2")
    first = headers[0]
    for header, path in zip(headers, files, strict=True):
        for name, tolerance in (("Rows", 0), ("Columns", 0), ("PixelSpacing", 1e-4), ("ImageOrientationPatient", AGREE)):
            if np.abs(np.subtract(header.get(name), first.get(name), dtype=float)).max() > tolerance:
                raise ValueError(
                    f"{path}: {name} is {header.get(name)}, but {first.get(name)} in {files[0]}; expected one series"
                )
    normal = np.cross(*np.reshape(np.array(first.ImageOrientationPatient, dtype=float), (2, 3)))
    places = np.array([np.dot(normal, np.array(h.ImagePositionPatient, dtype=float)) for h in headers])
    order = np.argsort(places, kind="stable")
    gaps = np.diff(places[order])
    usual = float(np.median(gaps))
    for gap, one, other in zip(gaps, order, order[1:], strict=False):
        pair = f"{files[one]} and {Path(files[other]).name}"
        if gap < 0.01:
            times = [h.get("EchoTime", "unknown") for h in (headers[one], headers[other])]
            raise ValueError(f"{pair}: two slices at one place (echo times {times[0]}, {times[1]}), expected one series")
        if abs(gap - usual) > TOLERANCE * usual:
            missing = round(gap / usual) - 1
            what = f"{missing} missing slice{'s' * (missing > 1)}" if missing > 0 else "unequal spacing of slices"
            raise ValueError(f"{pair}: {gap:.2f} mm apart, expected {usual:.2f} mm as the others: {what}")
    return [headers[i] for i in order]


def series_affine(headers: Sequence) -> np.ndarray:
    """Affine (4, 4) from voxels (column, row, slice) of sorted headers to mm in RAS+ coordinates, as NIfTI has them."""
    first, last = (np.array(h.ImagePositionPatient, dtype=float) for h in (headers[0], headers[-1]))
    along_row, along_column = np.reshape(np.array(headers[0].ImageOrientationPatient, dtype=float), (2, 3))
    height, width = (float(mm) for mm in headers[0].PixelSpacing)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = along_row * width, along_column * height
    affine[:3, 2], affine[:3, 3] = (last - first) / (len(headers) - 1), first
    return LPS_TO_RAS @ affine


def slice_values(header) -> np.ndarray:
    """Pixels of a header after its modality transformation, float32 (rows, columns)."""
    try:
        from pydicom.pixels import apply_modality_lut
    except ImportError:  # pydicom 2, which MONAI Label needs
        from pydicom.pixel_data_handlers import apply_modality_lut

    return np.asarray(apply_modality_lut(decoded(header, header.filename), header), dtype=np.float32)


def read_masks(files: Sequence[str | os.PathLike], values: Mapping[str, Sequence[Sequence[int]]], shape: tuple) -> np.ndarray:
    """PNG masks as label values of shared.abdomen (rows, columns, slices), uint8.

    Args:
        files: a PNG a slice, in the slices' order.
        values: for each organ the ranges of its grey values, first and last.
        shape: rows and columns expected.

    Raises:
        ValueError: a PNG is unreadable, of another size, or has other grey values.
    """
    table = np.full(256, 255, np.uint8)
    table[0] = 0
    for organ, ranges in values.items():
        for low, high in ranges:
            table[low : high + 1] = ORGAN_VALUES[organ]
    masks = np.zeros((*shape, len(files)), np.uint8)
    for index, path in enumerate(files):
        grey = read_picture(path)
        if grey.shape != shape:
            raise ValueError(f"{path}: {grey.shape[1]} x {grey.shape[0]} pixels, expected {shape[1]} x {shape[0]}")
        masks[..., index] = table[np.clip(grey, 0, 255).astype(np.uint8)]
        unknown = np.unique(grey[masks[..., index] == 255]).astype(int)
        if unknown.size:
            known = ", ".join(f"{organ} {'/'.join(f'{a}-{b}' for a, b in ranges)}" for organ, ranges in values.items())
            raise ValueError(f"{path}: grey values {unknown[:8].tolist()}, expected 0, {known}")
    return masks


class LoadSeriesd(MapTransform):
    """Load an abdominal series from DICOM or NIfTI as (1, H, W, D), float32, with its affine.

    "image" is a list of a series' DICOM files, in any order, or one NIfTI file. Meta entries: "case"; "modality", MR or CT (of
    NIfTI by its values: CT goes below -500); "series", the DICOM files in the order of the slices, empty for NIfTI. A "problem"
    found while listing the case is raised here.

    Args:
        label_key: key of the label map: a NIfTI file, or PNG masks, one for each file of the series in the same order; None
            loads none. It becomes (1, H, W, D), float32, values of shared.abdomen; its meta entry "organs" names those that are
            labelled. A NIfTI file holds such values, or those that the item's "label_values" names, `{"liver": 5}`: other
            values are then background, other organs not labelled.
        modalities: that are accepted.
        image_key: key of the files.

    Raises:
        ValueError: see `sorted_series` and `read_masks`; another modality; as many masks as slices were expected; an image
            that is not finite or all zero. The message names the file.
    """

    def __init__(
        self,
        label_key: str | None = None,
        modalities: Sequence[str] = ("MR", "CT"),
        image_key: str = "image",
    ):
        super().__init__([image_key])
        self.label_key, self.modalities, self.image_key = label_key, tuple(modalities), image_key

    def __call__(self, data):
        item = dict(data)
        if "problem" in item:
            raise ValueError(item["problem"])
        files = item[self.image_key]
        files = [files] if isinstance(files, str | os.PathLike) else list(files)
        if str(files[0]).lower().endswith((".nii", ".nii.gz")):
            image, order = LoadCased(["image"]).read(files[0]), []
            image.meta |= {"modality": "CT" if float(image.min()) < CT_BELOW else "MR", "series": []}
        else:
            image, order = self._read(files)
        check_image(image, files[0])
        image.meta["case"] = str(item.get("case", Path(files[0]).parent.name))
        item[self.image_key] = image
        if self.label_key is not None:
            item[self.label_key] = self._label(item[self.label_key], image, order, files, item.get("label_values"))
        return item

    def _read(self, files: Sequence) -> tuple[MetaTensor, list[int]]:
        headers = sorted_series(files, pixels=True)
        modality = str(headers[0].get("Modality", ""))
        if modality not in self.modalities:
            raise ValueError(f"{files[0]}: modality {modality or 'absent'}, expected {' or '.join(self.modalities)}")
        volume = np.stack([slice_values(header).T for header in headers], -1)
        paths = [str(header.filename) for header in headers]
        meta = {"modality": modality, "series": paths, "filename_or_obj": paths[0]}
        affine = torch.from_numpy(series_affine(headers))
        order = [[str(f) for f in files].index(path) for path in paths]
        return MetaTensor(torch.from_numpy(volume)[None], affine=affine, meta=meta), order

    def _label(self, label, image: MetaTensor, order: list[int], files: Sequence, values: Mapping | None) -> MetaTensor:
        if isinstance(label, str | os.PathLike):
            volume = LoadCased(["image"]).read(label)
            check_same_grid(volume, label, image, files[0])
            if values:
                numbers = sum((volume == value) * ORGAN_VALUES[organ] for organ, value in values.items())
                volume = MetaTensor(numbers.as_tensor().float(), meta=volume.meta)
            volume.meta |= {"case": image.meta["case"], "organs": list(values or ORGANS)}
            return volume
        if len(label) != len(files):
            raise ValueError(f"{Path(label[0]).parent}: {len(label)} masks, expected {len(files)}, one for each slice")
        paths, modality = [label[i] for i in order], image.meta["modality"]
        masks = read_masks(paths, MASK_VALUES[modality], (image.shape[2], image.shape[1]))
        volume = torch.from_numpy(masks).permute(1, 0, 2)[None].float()
        meta = {"case": image.meta["case"], "filename_or_obj": str(paths[0]), "organs": list(MASK_VALUES[modality])}
        return MetaTensor(volume, affine=image.affine, meta=meta)


class OrganMasksd(MapTransform):
    """Turn a label map (1, H, W, D) with values of shared.abdomen into a binary channel an organ (R, H, W, D), float32.

    Args:
        keys: label maps of `LoadSeriesd`.
        organs: names in channel order.

    Raises:
        ValueError: an organ is not labelled in it, or it holds other values; the message names the file.
    """

    def __init__(self, keys: KeysCollection, organs: Sequence[str]):
        super().__init__(keys)
        self.organs = list(organs)

    def __call__(self, data):
        item = dict(data)
        for key in self.key_iterator(item):
            label = item[key]
            path = label.meta.get("filename_or_obj", key)
            missing = [organ for organ in self.organs if organ not in label.meta["organs"]]
            if missing:
                raise ValueError(f"{path}: {', '.join(missing)} not labelled, only {', '.join(label.meta['organs'])}")
            unknown = sorted(set(torch.unique(label).tolist()) - {0, *ORGAN_VALUES.values()})
            if unknown:
                raise ValueError(f"{path}: label values {unknown}, expected 0 and {ORGAN_VALUES}")
            masks = torch.cat([label.as_tensor() == ORGAN_VALUES[organ] for organ in self.organs])
            item[key] = MetaTensor(masks.float(), meta=label.meta)
        return item


class ScaleAbdomend(MapTransform):
    """Bring the brightness of volumes or slices to about 0 to 1: CT by a window, MR by a percentile of what is above zero.

    Args:
        keys: images (1, H, W[, D]); the meta entry "modality" CT makes them CT.
        window: HU that become 0 and 1; what lies outside is clipped.
        percentile: of MR, becomes 1; brighter voxels stay brighter, up to 1.5.
    """

    def __init__(self, keys: KeysCollection, window: Sequence[float] = (-160, 240), percentile: float = 99.0):
        super().__init__(keys)
        self.window, self.percentile = tuple(window), percentile

    def __call__(self, data):
        item = dict(data)
        for key in self.key_iterator(item):
            image = item[key]
            if getattr(image, "meta", {}).get("modality") == "CT":
                low, high = self.window
                item[key] = ((image - low) / (high - low)).clamp(0, 1)
            else:
                values = image.as_subclass(torch.Tensor).flatten()[::3]  # tell it as well as all do
                values = values[values > 0].numpy(force=True)
                high = float(np.percentile(values, self.percentile)) if len(values) else 1.0
                item[key] = (image / high).clamp(0, 1.5)
        return item
