"""Synthetic T1, T1-IR and FLAIR of heads in the folders, names, grid and label maps of MRBrainS13.

Heads are those of the IXI phantom, seen in three contrasts, with white matter lesions. Good for trying out code; no
substitute for scans.
"""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation
from tqdm import tqdm

from shared.paths import atomic_write

from ..anatomy import ellipsoid, grid_mm, smooth_noise
from ..head import CSF, head_and_cavity

FIELD_MM = (230, 230, 144)  # right, anterior, superior
TRAINING = 5  # so many cases of the release have label maps
# DLMUSE numbers of each of the release's structures, as the drawn heads have them; lesions (4) and CSF (5) are painted apart
STRUCTURES = {
    1: [31, 32, 47, 48, *range(100, 208)],  # cortical grey matter
    2: [36, 37, *range(55, 61)],  # basal ganglia
    3: [*range(81, 96)],  # white matter
    6: [4, 11, 51, 52],  # ventricles
    7: [38, 39, 40, 41],  # cerebellum
    8: [35],  # brain stem
}
TESTING = {1: [5, 6], 2: [1, 2], 3: [3, 4]}  # the three tissues of LabelsForTesting; cerebellum and brain stem are left out
# grey values of the three sequences over those of the drawn head: air, bone, CSF, skin, cortex, deep grey, white, brightest
LEVELS = (0, 0.08, 0.28, 0.5, 0.66, 0.82, 1.0, 1.3)
CONTRASTS = {
    "T1": LEVELS,
    "T1_IR": (0.3, 0.28, 0.02, 0.3, 0.35, 0.7, 1.0, 1.2),  # air is no darker than tissue in inversion recovery
    "T2_FLAIR": (0, 0.05, 0.1, 0.45, 0.9, 0.85, 0.65, 0.9),
}
LESION = {"T1": 0.78, "T1_IR": 0.5, "T2_FLAIR": 1.25}
WHITE_LEVEL = {"T1": 420, "T1_IR": 900, "T2_FLAIR": 260}


def draw_case(rng: np.random.Generator, shape: tuple, spacing: tuple) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The three sequences by name, int16, and LabelsForTraining, uint8, of one head; axes right, anterior, superior."""
    position = grid_mm(shape, spacing) + np.float32([0, 0, -12])[:, None, None, None]
    pose = Rotation.from_euler("xyz", rng.normal(0, [4, 2, 2]), degrees=True).as_matrix().astype(np.float32)
    position = np.tensordot(pose, position, 1) + rng.normal(0, 3, (3, 1, 1, 1)).astype(np.float32)
    values, regions, cavity = head_and_cavity(rng, position, spacing, rng.uniform(50, 80), "FM"[rng.integers(2)])
    labels = np.zeros(shape, np.uint8)
    for number, numbers in STRUCTURES.items():
        labels[np.isin(regions, numbers)] = number
    labels[cavity & (regions == 0) & (np.abs(values - CSF) < 0.3)] = 5
    lesions = _lesions(rng, position, labels)
    labels[lesions] = 4
    images = {}
    for name, levels in CONTRASTS.items():
        image = np.interp(values, LEVELS, levels)
        image[lesions] = LESION[name]
        image = ndimage.gaussian_filter(image, [0.4 / s for s in spacing])
        image *= np.exp(0.1 * smooth_noise(rng, shape, spacing, 110))
        noise = 0.025 * rng.standard_normal((2, *shape), np.float32)
        level = WHITE_LEVEL[name] * rng.uniform(0.9, 1.1)
        images[name] = np.rint(np.hypot(image + noise[0], noise[1]) * level).astype(np.int16)
    return images, labels


def _lesions(rng: np.random.Generator, position: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Where the lesions are: some ellipsoids of 3 to 7 mm inside the white matter, near the ventricles rather than far off."""
    white = labels == 3
    places = np.argwhere(white & (np.linalg.norm(position - np.float32([0, 0, 15])[:, None, None, None], axis=0) < 45))
    found = np.zeros(labels.shape, bool)
    for place in places[rng.integers(len(places), size=rng.integers(3, 9))]:
        found |= ellipsoid(position, position[(slice(None), *place)], rng.uniform(3, 7, 3)) < 1
    return found & white


def mrbrains(directory: str, cases: int = 5, seed: int = 0, spacing: float | tuple = (0.958, 0.958, 3.0)) -> None:
    """Write a synthetic MRBrainS13: TrainingData/<n> with both label maps, and from the sixth case on TestData/<n> without.

    Args:
        directory: existing cases are an error, nothing is overwritten.
        cases: how many.
        seed: the same seed, spacing and number give the same case.
        spacing: voxel edges in mm; the default is the release's own, 240 x 240 x 48 voxels.
    """
    spacing = tuple(float(s) for s in np.broadcast_to(spacing, 3))
    shape = tuple(round(mm / s) for mm, s in zip(FIELD_MM, spacing, strict=True))
    for index in tqdm(range(cases), desc="phantom mrbrains", unit="case"):
        images, labels = draw_case(np.random.default_rng([int(seed), index]), shape, spacing)
        files = dict(images)
        folder = Path(directory) / "TestData" / str(index - TRAINING + 1)
        if index < TRAINING:
            folder = Path(directory) / "TrainingData" / str(index + 1)
            testing = np.zeros(shape, np.uint8)
            for number, numbers in TESTING.items():
                testing[np.isin(labels, numbers)] = number
            files |= {"LabelsForTraining": labels, "LabelsForTesting": testing}
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            _save(folder / f"{name}.nii", data, spacing)
    print(f"{cases} synthetic cases in {directory}")


def _save(path: Path, data: np.ndarray, spacing: tuple) -> None:
    if path.exists():
        raise FileExistsError(f"{path} exists already; choose another folder")
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(data.shape) - 1) / 2)
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm")
    with atomic_write(path) as temporary:
        nib.save(image, temporary)
