"""Pairs of synthetic T1 heads of which one is the other, moved by a known smooth deformation, with landmarks in both."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation
from tqdm import tqdm

from shared.paths import atomic_write

from ..anatomy import grid_mm
from ..head import head

FIELD_MM = (192, 232, 212)  # right, anterior, superior
BUMPS = 12  # Gaussian displacements that make up a deformation
WIDTH_MM = (22.0, 40.0)
LANDMARKS = 40


def draw_deformation(rng: np.random.Generator, size: float) -> Callable[[np.ndarray], np.ndarray]:
    """A smooth map of points (N, 3) in mm to points in mm: a pose, and bumps of at most `size` mm that never fold."""
    centres = rng.uniform([-60, -75, -45], [60, 75, 65], (BUMPS, 3))
    widths = rng.uniform(*WIDTH_MM, BUMPS)
    # a bump of height h and width w folds at h / w = exp(1/2); several of them overlap
    heights = rng.normal(0, 1, (BUMPS, 3))
    heights *= np.minimum(size, 0.3 * widths)[:, None] / np.linalg.norm(heights, axis=1, keepdims=True)
    turn = Rotation.from_euler("xyz", rng.normal(0, [6, 3, 3]), degrees=True).as_matrix()
    shift = rng.normal(0, 8, 3)

    def move(points: np.ndarray) -> np.ndarray:
        distance = ((points[:, None] - centres) ** 2).sum(2)
        bent = points + np.exp(-distance / 2 / widths**2) @ heights
        return bent @ turn.T + shift

    return move


def head_pairs(directory: str, cases: int = 4, seed: int = 0, spacing: float = 2.0, size: float = 6.0) -> None:
    """Write pairs.csv for the inference command, heads and label maps in moving/ and fixed/, landmarks beside them.

    <case>_points.csv in moving/ holds landmarks of the moving head, that in fixed/ where they lie in the fixed one; inference
    measures how far from there it brings them.

    Args:
        directory: existing cases are an error, nothing is overwritten.
        cases: how many pairs.
        seed: the same seed, spacing and size give the same pairs.
        spacing: voxel edge in mm.
        size: of the displacements in mm, at most, beside a change of pose.
    """
    root = Path(directory)
    rows = []
    for index in tqdm(range(cases), desc="phantom head_pairs", unit="pair"):
        rng, case = np.random.default_rng([int(seed), index]), f"pair{index + 1:03d}"
        shape = tuple(round(mm / spacing) for mm in FIELD_MM)
        position = np.stack(grid_mm(shape, (spacing,) * 3)) - np.float32([0, 0, 25])[:, None, None, None]
        affine = np.diag([spacing, spacing, spacing, 1.0])
        affine[:3, 3] = position[:, 0, 0, 0]
        values, labels = head(rng, position, (spacing,) * 3, rng.uniform(25, 75), "FM"[rng.integers(2)])
        move = draw_deformation(rng, size)  # from the moving to the fixed head, which is the drawn one
        places = move(position.reshape(3, -1).T).T
        index_of = ((places - affine[:3, 3:]) / spacing).reshape(3, *shape)
        moving = map_coordinates(values, index_of, order=1, mode="constant")
        moving_labels = map_coordinates(labels, index_of, order=0, mode="constant")
        brain = np.argwhere(moving_labels > 0)
        points = brain[rng.choice(len(brain), LANDMARKS, replace=False)] * spacing + affine[:3, 3]
        for name, image, label, marks in (
            ("moving", moving, moving_labels, points),
            ("fixed", values, labels, move(points)),
        ):
            noisy = np.hypot(image + 0.02 * rng.standard_normal(shape), 0.02 * rng.standard_normal(shape))
            _save(root / name / f"{case}_T1.nii.gz", np.rint(noisy * 400).astype(np.int16), affine)
            _save(root / name / f"{case}_seg.nii.gz", label.astype(np.uint8), affine)
            with atomic_write(root / name / f"{case}_points.csv") as temporary, temporary.open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["name", "x", "y", "z"])
                writer.writerows([f"landmark {i + 1}", *(f"{v:.4f}" for v in mark)] for i, mark in enumerate(marks))
        rows.append(
            {
                "moving": f"moving/{case}_T1.nii.gz",
                "fixed": f"fixed/{case}_T1.nii.gz",
                "label": f"moving/{case}_seg.nii.gz",
                "fixed_label": f"fixed/{case}_seg.nii.gz",
                "points": f"moving/{case}_points.csv",
                "fixed_points": f"fixed/{case}_points.csv",
                "case": case,
            }
        )
    with atomic_write(root / "pairs.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    print(f"{cases} pairs of synthetic heads in {root}")


def _save(path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    if path.exists():
        raise FileExistsError(f"{path} exists already; choose another folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm")
    with atomic_write(path) as temporary:
        nib.save(image, temporary)
