"""Shapes that the phantoms are made of: coordinates in mm, smooth noise, depths below surfaces, a brain with its tissues."""

from __future__ import annotations

import numpy as np

BACKGROUND, CSF, GREY, WHITE = 0, 1, 2, 3
NECROSIS, OEDEMA, ENHANCING = 4, 5, 6  # of a tumour


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


def ellipsoid_depth(position: np.ndarray, centre, radii) -> np.ndarray:
    """About how many mm each voxel lies below the surface of an ellipsoid, negative outside."""
    return (1 - ellipsoid(position, centre, radii)) * np.float32(np.min(radii) ** 0.5 * np.mean(radii) ** 0.5)


def box_depth(position: np.ndarray, radii) -> np.ndarray:
    """As `ellipsoid_depth` with the centre at the origin, of a shape between ellipsoid and box, as skulls are."""
    scaled = [np.abs(position[i]) / np.float32(radii[i]) for i in range(3)]
    level = sum(x * x * np.sqrt(np.sqrt(x)) for x in scaled) ** np.float32(1 / 2.25)
    return (1 - level) * np.float32(np.mean(radii))


def blend(a: np.ndarray, b: np.ndarray, width: float) -> np.ndarray:
    """Depth below the surface of two shapes together, with a crease rounded over `width` mm."""
    share = np.clip(0.5 + 0.5 * (a - b) / width, 0, 1)
    return b + share * (a - b) + width * share * (1 - share)


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


class Canvas:
    """Grey values (white matter = 1) and region numbers that shapes are painted into, later ones over earlier ones.

    Args:
        position: head coordinates of every voxel, (3, H, W, D).
        spacing: voxel edges in mm; edges of shapes are about one voxel soft, as partial volume makes them.
    """

    def __init__(self, position: np.ndarray, spacing: tuple[float, float, float]):
        self.position, self.edge = position, float(np.mean(spacing))
        self.image = np.zeros(position.shape[1:], np.float32)
        self.labels = np.zeros(position.shape[1:], np.uint8)

    def paint(self, depth: np.ndarray, value, label: int | None = None, box: tuple = (), paired: bool = False) -> None:
        """Paint where `depth`, in mm below the surface of a shape, is positive; all arrays are of the extent of `box`."""
        cover = np.clip(depth / self.edge + 0.5, 0, 1)
        self.image[box] += cover * (value - self.image[box])
        if label is not None:
            inside = depth > 0
            self.labels[box][inside] = label + (self.position[0][box][inside] < 0) if paired else label

    def ellipsoid(self, centre, radii, value, label: int | None = None, mirrored: bool = False) -> None:
        """Paint an ellipsoid; `mirrored` paints it on the right as given and on the left as well, with the next label."""
        for side in (1, -1) if mirrored else (1,):
            middle = np.array(centre) * (side, 1, 1)
            box = self._box(middle, max(radii) + self.edge)
            depth = ellipsoid_depth(self.position[(slice(None), *box)], middle, radii)
            self.paint(depth, value, None if label is None else label + (side < 0), box)

    def _box(self, centre: np.ndarray, reach: float) -> tuple[slice, ...]:
        """The part of the volume that may lie within `reach` mm of a point: shapes are small, so this saves most time."""
        p = self.position
        steps = np.stack([p[:, 1, 0, 0], p[:, 0, 1, 0], p[:, 0, 0, 1]], 1) - p[:, 0, 0, 0][:, None]  # mm per voxel
        middle = np.linalg.solve(steps.astype(np.float64), centre - p[:, 0, 0, 0])
        edges = np.linalg.norm(steps, axis=0)
        low = np.clip(np.floor(middle - reach / edges), 0, None).astype(int)
        high = np.clip(np.ceil(middle + reach / edges) + 1, 0, None).astype(int)
        return tuple(slice(a, b) for a, b in zip(low, high, strict=True))
