"""Many cases in one picture: a slice of each in its four sequences, tumours outlined."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.image import imsave
from scipy import ndimage

from shared.paths import atomic_write
from shared.visualize import best_voxel, plane

OUTLINE = {2: (0.0, 0.82, 1.0), 1: (1.0, 0.23, 0.42), 4: (1.0, 0.83, 0.0)}  # of each label value: oedema, core, enhancing
GAP = 3  # pixels between cases


def case_tile(images: Sequence[np.ndarray], label: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Two by two axial slices of a case through most of its tumour, RGB; the third and fourth with outlines.

    Args:
        images: four volumes (H, W, D) in RAS orientation, 0 outside the brain.
        label: (H, W, D).
        size: rows and columns of a slice, in the middle of the volume.
    """
    brain = images[0] + images[1] > 0
    voxel = best_voxel(label > 0) if label.any() else best_voxel(brain)
    cells = []
    for index, image in enumerate(images):
        top = np.percentile(image[image > 0], 99.5) if (image > 0).any() else 1.0
        cut = np.clip(plane(image, "axial", voxel) / top, 0, 1)
        cell = np.repeat(cut[..., None], 3, -1)
        if index >= 2:
            outline(cell, plane(label, "axial", voxel))
        cells.append(fit(cell, size))
    return np.vstack([np.hstack(cells[:2]), np.hstack(cells[2:])])


def outline(cell: np.ndarray, label: np.ndarray) -> None:
    """Draw the inner border of whole tumour, core and enhancing part into an RGB slice, in place."""
    for values, colour in (((1, 2, 4), OUTLINE[2]), ((1, 4), OUTLINE[1]), ((4,), OUTLINE[4])):
        mask = np.isin(label, values)
        cell[mask & ~ndimage.binary_erosion(mask)] = colour


def fit(cell: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Cut or pad the middle of a slice to a size."""
    result = np.zeros((*size, 3), cell.dtype)
    spans = [(max(0, (n - s) // 2), max(0, (s - n) // 2), min(n, s)) for n, s in zip(cell.shape, size, strict=False)]
    (a, b, h), (c, d, w) = spans
    result[b : b + h, d : d + w] = cell[a : a + h, c : c + w]
    return result


def gallery(
    path: str | os.PathLike,
    cases: Iterable[tuple[Sequence[np.ndarray], np.ndarray]],
    size: tuple[int, int] = (92, 76),
    columns: int = 4,
) -> None:
    """Write the tiles of some cases, images and label map each, as one PNG."""
    tiles = [np.pad(case_tile(*case, size), [(0, GAP), (0, GAP), (0, 0)], constant_values=1) for case in cases]
    tiles += [np.ones_like(tiles[0])] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    with atomic_write(path) as temporary:
        grey = np.round(np.vstack(rows) * 50) / 50  # levels that the eye can tell; their noise would make up half the file
        imsave(temporary, grey, pil_kwargs={"optimize": True})
