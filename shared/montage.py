"""Slices side by side with outlines, drawn pixel by pixel: many small pictures in a fraction of a second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import ndimage

COLOURS = ((255, 212, 0), (0, 208, 255), (255, 59, 107), (125, 255, 79))
GAP = 2  # pixels between tiles


def tile(image: np.ndarray, low: float, high: float, aspect: float = 1.0, size: int = 192) -> np.ndarray:
    """A slice (H, W) in RAS orientation as grey colours, uint8 (rows, columns, 3), patient's right on the left.

    Args:
        image: values.
        low: is black.
        high: is white.
        aspect: width over height of the pixels' edges: of a pixel that is twice as long along H, 2.
        size: columns of the tile.
    """
    shown = np.clip((image[::-1, ::-1].T - low) / max(high - low, 1e-9), 0, 1)
    zoom = _zoom(shown.shape, aspect, size)
    grey = np.rint(255 * np.clip(ndimage.zoom(shown, zoom, order=1), 0, 1)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def outline(picture: np.ndarray, masks: Mapping[int, np.ndarray]) -> np.ndarray:
    """Draw the borders of masks (H, W), by the number of their colour, into a tile of such a slice; returns the tile."""
    for number, mask in masks.items():
        if mask.any():
            shown = mask[::-1, ::-1].T.astype(np.float32)
            zoom = [a / b for a, b in zip(picture.shape[:2], shown.shape, strict=True)]
            large = ndimage.zoom(shown, zoom, order=1) > 0.5
            picture[large & ~ndimage.binary_erosion(large)] = COLOURS[number % len(COLOURS)]
    return picture


def grid(tiles: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Tiles of one size in rows, uint8 (rows, columns, 3), black where there are none."""
    height, width = tiles[0].shape[:2]
    rows = -(-len(tiles) // columns)
    picture = np.zeros((rows * (height + GAP), columns * (width + GAP), 3), np.uint8)
    for index, part in enumerate(tiles):
        row, column = divmod(index, columns)
        picture[row * (height + GAP) :, column * (width + GAP) :][:height, :width] = part
    return picture


def _zoom(shape: tuple, aspect: float, size: int) -> tuple[float, float]:
    along = size / shape[1]
    return along / aspect, along
