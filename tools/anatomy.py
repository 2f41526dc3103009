"""Shapes that the phantoms are made of: coordinates in mm, smooth noise, a brain with its tissues."""

from __future__ import annotations

import numpy as np

BACKGROUND, CSF, GREY, WHITE = 0, 1, 2, 3


def grid_mm(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> np.ndarray:
    """Voxel centre coordinates in mm with the origin in the middle of the volume, shape (3, *shape), float32."""
    axes = [(np.arange(n, dtype=np.float32) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"))


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int, int], spacing: tuple, length_mm: float) -> np.ndarray:
    """Gaussian random field of about unit variance that varies over `length_mm`, shape `shape`, float32.

    Drawn on a coarse grid of that pitch and interpolated, so the cost hardly depends on the length.
    """
    coarse = [max(4, int(np.ceil(n * s / length_mm)) + 3) for n, s in zip(shape, spacing, strict=True)]
    field = rng.standard_normal(coarse).astype(np.float32)
    # one zoom per axis instead of a 3D spline: separable and several times faster
    for axis, (n, step) in enumerate(zip(shape, spacing, strict=True)):
        positions = np.arange(n, dtype=np.float32) * step / length_mm + 1
        low = np.minimum(positions.astype(int), coarse[axis] - 2)
        weight = np.expand_dims(positions - low, tuple(i for i in range(3) if i != axis)).astype(np.float32)
        weight = weight * weight * (3 - 2 * weight)  # smoothstep: no creases at the coarse grid's planes
        field = np.take(field, low, axis) * (1 - weight) + np.take(field, low + 1, axis) * weight
    return field / max(float(field.std()), 1e-6)


def ellipsoid(grid: np.ndarray, centre, radii) -> np.ndarray:
    """Scaled distance from `centre` (mm): below 1 inside the ellipsoid with the given radii (mm)."""
    scaled = [(grid[i] - np.float32(centre[i])) / np.float32(radii[i]) for i in range(3)]
    return np.sqrt(scaled[0] ** 2 + scaled[1] ** 2 + scaled[2] ** 2)


def brain(rng: np.random.Generator, grid: np.ndarray, spacing: tuple) -> np.ndarray:
    """Tissue map of one skull-stripped head: 0 background, 1 CSF, 2 grey matter, 3 white matter; uint8.

    Axes of `grid` run right-left, anterior-posterior and inferior-superior in mm (their sign does not matter here).
    """
    shape = grid.shape[1:]
    radii = np.array([66, 83, 62]) * rng.uniform(0.9, 1.08, 3)
    surface = ellipsoid(grid, (0, 0, 0), radii) + 0.02 * smooth_noise(rng, shape, spacing, 40)
    depth = (1 - surface) * radii.mean()  # about mm below the surface

    # folds: the grey-white border wanders by some mm, and deep valleys of the same field are sulci filled with CSF
    folds = smooth_noise(rng, shape, spacing, 9) + 0.5 * smooth_noise(rng, shape, spacing, 20)
    tissue = np.zeros(shape, np.uint8)
    tissue[depth > 0] = CSF
    tissue[depth > 1.0 + 7 * np.clip(folds - 0.7, 0, 2)] = GREY
    tissue[depth > np.maximum(6 + 6 * folds, 3)] = WHITE
    fissure = (np.abs(grid[0]) < 1.5) & (grid[2] > 15)
    tissue[fissure & (depth > 0)] = CSF

    for side in (-1, 1):
        nuclei = ellipsoid(grid, (side * 20, 0, 2), np.array([9, 19, 11]) * rng.uniform(0.85, 1.15))
        tissue[nuclei + 0.08 * folds < 1] = GREY
        width = rng.uniform(4, 9)
        ventricle = ellipsoid(grid, (side * 9, 2, 12), (width, rng.uniform(26, 36), rng.uniform(7, 12)))
        tissue[ventricle + 0.05 * folds < 1] = CSF
    return tissue
