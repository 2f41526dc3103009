"""Anatomies from scans whose organs are labelled, bent at random so that each becomes many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from shared import abdomen as t

from .anatomy import grid_mm, smooth_noise

FINE = 1.5  # mm, to which label maps are refined so that their steps do not show
CT_BELOW = -500  # a volume with such values is a CT

# numbers of TotalSegmentator's label maps by its tasks "total" and "total_mr", version 2
CT_LABELS = {
    t.SPLEEN: [1], t.RIGHT_KIDNEY: [2, 24], t.LEFT_KIDNEY: [3, 23], t.GALLBLADDER: [4], t.LIVER: [5],
    t.PANCREAS: [7], t.LUNG: range(10, 15), t.FOOD: [6, 15, 18, 19, 20], t.FLUID: [21],
    t.BONE: [25, *range(69, 79), *range(91, 118)],
    t.MARROW: range(26, 51), t.HEART: [51], t.ARTERY: [52, 65, 66], t.VEIN: [63, 64, 67, 68], t.CANAL: [79],
    t.MUSCLE: [8, 9, *range(80, 90)],
}  # fmt: skip
MR_LABELS = {
    t.SPLEEN: [1], t.RIGHT_KIDNEY: [2], t.LEFT_KIDNEY: [3], t.GALLBLADDER: [4], t.LIVER: [5], t.PANCREAS: [7],
    t.LUNG: [10, 11], t.FOOD: [6, 12, 13, 14, 15], t.FLUID: [16], t.BONE: [18], t.MARROW: [19, 20], t.CANAL: [21],
    t.HEART: [22], t.ARTERY: [23, 26, 27], t.VEIN: [24, 25, 28, 29], t.MUSCLE: [8, 9, *range(38, 50)],
}  # fmt: skip


@dataclass
class Scan:
    """A scan (H, W, D) in RAS orientation as 0 to 1, its tissues, and the voxels' edges in mm."""

    image: np.ndarray
    tissue: np.ndarray
    spacing: np.ndarray


def read_scan(image: str | Path, labels: str | Path) -> Scan:
    """Read a CT or MR scan and TotalSegmentator's label map of it; what has no label is sorted by brightness.

    Raises:
        ValueError: the two are on different grids.
    """
    volume, names = (nib.as_closest_canonical(nib.load(path)) for path in (image, labels))
    if volume.shape != names.shape or not np.allclose(volume.affine, names.affine, atol=1e-3):
        raise ValueError(f"{labels}: shape {names.shape} or affine differs from that of {image}, {volume.shape}")
    values, labelled = volume.get_fdata(dtype=np.float32), np.asarray(names.dataobj).astype(np.int64)
    is_ct = values.min() < CT_BELOW
    table = np.full(256, t.OTHER, np.uint8)
    for code, numbers in (CT_LABELS if is_ct else MR_LABELS).items():
        table[list(numbers)] = code
    tissue = np.where(labelled > 0, table[labelled], 0).astype(np.uint8)
    body = _body(values, -300.0 if is_ct else 0.06 * np.percentile(values, 99))
    rest = body & (labelled == 0)
    if is_ct:
        tissue[rest] = np.select([values < -300, values < -30, values < 160], [t.GAS, t.FAT, t.MUSCLE], t.BONE)[rest]
        tissue[(tissue == t.FOOD) & (values < -300)] = t.GAS
        shown = np.clip((values + 160) / 400, 0, 1)
    else:
        from skimage.filters import threshold_otsu

        tissue[rest] = np.where(values > threshold_otsu(values[rest]), t.FAT, t.MUSCLE)[rest]
        shown = np.clip(values / np.percentile(values[body], 99.5), 0, 1)
    spacing = np.array(nib.affines.voxel_sizes(volume.affine))
    zoom = np.maximum(spacing / FINE, 1)
    return Scan(ndimage.zoom(shown * body, zoom, order=1), _refine(tissue, zoom), spacing / zoom)


def _body(values: np.ndarray, threshold: float) -> np.ndarray:
    pieces, count = ndimage.label(ndimage.binary_opening(values > threshold))
    largest = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1 if count else values > threshold
    filled = np.stack([ndimage.binary_fill_holes(slice_) for slice_ in np.moveaxis(largest, 2, 0)], 2)
    return filled


def _refine(tissue: np.ndarray, zoom: np.ndarray) -> np.ndarray:
    """The label map on a finer grid with smooth borders: for each voxel the tissue whose blurred mask is largest there."""
    best = highest = None
    for code in np.unique(tissue):
        mask = ndimage.zoom(ndimage.gaussian_filter((tissue == code).astype(np.float32), 0.6), zoom, order=1)
        if best is None:
            best, highest = np.full(mask.shape, code, np.uint8), mask
        else:
            best[mask > highest] = code
            highest = np.maximum(mask, highest)
    return best


def bend(
    rng: np.random.Generator, scan: Scan, shape: Sequence[int], spacing: Sequence[float], strength: float = 9.0
) -> tuple[np.ndarray, np.ndarray]:
    """One random shape of a scan: turned, stretched, and moved by a smooth field of `strength` mm.

    Along z the scan fills the volume as far as it goes; slices beyond its ends are cut off.

    Args:
        rng: draws it.
        scan: what is bent.
        shape: voxels along x, y, z, at most.
        spacing: mm.
        strength: standard deviation of the field in mm.

    Returns:
        tissue numbers and image (0 to 255), uint8, shape[:2] by as many slices as there are.
    """
    extent = np.array(scan.tissue.shape) * scan.spacing
    stretch = np.array([*rng.uniform(0.85, 1.2, 2), rng.uniform(0.85, 1.25)])
    slices = min(shape[2], int(extent[2] * stretch[2] / spacing[2]))
    shape = (*shape[:2], slices)
    grid = grid_mm(shape, tuple(spacing)).astype(np.float32)
    start = rng.uniform(-0.5, 0.5) * max(0.0, extent[2] - slices * spacing[2] / stretch[2])  # a part of a long scan
    angle = rng.uniform(-0.15, 0.15)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    matrix = np.diag(1 / stretch) @ turn
    place = np.tensordot(matrix, grid, 1)
    for length, share in ((90, 0.8), (35, 0.35)):
        for axis in range(3):
            place[axis] += strength * share * smooth_noise(rng, shape, tuple(spacing), length)
    place[2] += start
    voxels = [(place[i] + extent[i] / 2) / scan.spacing[i] - 0.5 for i in range(3)]
    voxels[2] = np.clip(voxels[2], 0, scan.tissue.shape[2] - 1)
    tissue = ndimage.map_coordinates(scan.tissue, voxels, order=0, cval=t.AIR)
    image = ndimage.map_coordinates(scan.image, voxels, order=1, cval=0.0)
    return tissue, np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)
