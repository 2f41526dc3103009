"""Synthetic brain tumour cases in the folders, names, tables, types and label values of the BraTS releases.

Cases are brain-like, not brains: tissues with folds and ventricles, a tumour of necrotic core, enhancing rim and oedema, four
contrasts whose grey values, bias field, noise and blur are drawn at random. Good for trying out code; no substitute for scans.
With `--anatomy` the brains are those of real heads, see `tools.tumours`.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage
from tqdm import tqdm

from shared.paths import atomic_write

from ..anatomy import (
    BACKGROUND,
    CSF,
    ENHANCING,
    GREY,
    NECROSIS,
    OEDEMA,
    WHITE,
    brain,
    ellipsoid,
    grid_mm,
    smooth_noise,
)
from ..gallery import gallery
from ..tumours import GrownCases

SEQUENCES = ("flair", "t1", "t1ce", "t2")
PICTURED = ("t1ce", "t1", "t2", "flair")

# grey values of each tissue, relative to white matter on T1 = 0.8; drawn +-12 % per case
CONTRAST = {
    "t1": {CSF: 0.25, GREY: 0.55, WHITE: 0.80, NECROSIS: 0.38, OEDEMA: 0.58, ENHANCING: 0.58},
    "t1ce": {CSF: 0.25, GREY: 0.58, WHITE: 0.82, NECROSIS: 0.38, OEDEMA: 0.58, ENHANCING: 1.25},
    "t2": {CSF: 1.20, GREY: 0.64, WHITE: 0.42, NECROSIS: 0.98, OEDEMA: 0.88, ENHANCING: 0.74},
    "flair": {CSF: 0.18, GREY: 0.64, WHITE: 0.50, NECROSIS: 0.60, OEDEMA: 1.05, ENHANCING: 0.88},
}


@dataclass
class Release:
    """How one release names its folders and files and numbers its labels."""

    folder: str
    case: str
    file: str
    sequences: dict[str, str]
    labels: dict[int, int]


RELEASES = {
    "2020": Release(
        "MICCAI_BraTS2020_TrainingData",
        "BraTS20_Training_{:03d}",
        "{case}_{name}.nii.gz",
        {name: name for name in SEQUENCES},
        {NECROSIS: 1, OEDEMA: 2, ENHANCING: 4},
    ),
    "2021": Release(
        ".",
        "BraTS2021_{:05d}",
        "{case}_{name}.nii.gz",
        {n: n for n in SEQUENCES},
        {NECROSIS: 1, OEDEMA: 2, ENHANCING: 4},
    ),
    "2023": Release(
        ".",
        "BraTS-GLI-{:05d}-000",
        "{case}-{name}.nii.gz",
        {"flair": "t2f", "t1": "t1n", "t1ce": "t1c", "t2": "t2w"},
        {NECROSIS: 1, OEDEMA: 2, ENHANCING: 3},
    ),
    "msd": Release(
        "Task01_BrainTumour",
        "BRATS_{:03d}",
        "{case}.nii.gz",
        {n: n for n in SEQUENCES},
        {OEDEMA: 1, NECROSIS: 2, ENHANCING: 3},
    ),
}


def grow_tumour(rng: np.random.Generator, grid: np.ndarray, spacing: tuple, tissue: np.ndarray) -> np.ndarray:
    """Return `tissue` with a tumour: oedema in white matter, and inside it a core with or without rim and necrosis."""
    shape = tissue.shape
    brain_mask = tissue > BACKGROUND
    white = np.argwhere(tissue == WHITE)
    middle = (np.array(shape) - 1) / 2
    # a centre well inside: some white voxel, pulled a little towards the middle
    voxel = white[rng.integers(len(white))] * 0.7 + middle * 0.3
    centre = (voxel - middle) * np.array(spacing)
    radius = rng.uniform(9, 24)
    shape_noise = 0.16 * smooth_noise(rng, shape, spacing, 14) + 0.07 * smooth_noise(rng, shape, spacing, 6)
    distance = (ellipsoid(grid, centre, radius * rng.uniform(0.75, 1.25, 3)) + shape_noise) * radius  # about mm

    grown = tissue.copy()
    reach = rng.uniform(1, 16) - 9 * (tissue == GREY) - 14 * (tissue == CSF)  # oedema follows white matter
    grown[brain_mask & (distance < radius + np.maximum(reach, 0)) & (tissue != CSF)] = OEDEMA
    core = brain_mask & (distance < radius)
    kind = rng.choice(["ring", "solid", "non-enhancing"], p=[0.65, 0.2, 0.15])
    grown[core] = ENHANCING if kind != "non-enhancing" else NECROSIS
    if kind == "ring":
        rim = np.clip(rng.uniform(3, 7) + 1.5 * smooth_noise(rng, shape, spacing, 10), 1.5, 0.6 * radius)
        grown[core & (distance < radius - rim)] = NECROSIS
    return grown


def contrast_image(rng: np.random.Generator, name: str, tissue: np.ndarray, spacing: tuple, texture: np.ndarray) -> np.ndarray:
    """One MR sequence of `tissue` as int16 with background 0: contrast, partial volume, texture, bias field, Rician noise."""
    values = np.zeros(7, np.float32)
    for code, value in CONTRAST[name].items():
        values[code] = value * rng.uniform(0.88, 1.12)
    image = values[tissue]
    image *= 1 + 0.05 * texture * (tissue > CSF)
    image = ndimage.gaussian_filter(image, [rng.uniform(0.4, 0.8) / s for s in spacing])
    image *= np.exp(rng.uniform(0.03, 0.2) * smooth_noise(rng, tissue.shape, spacing, 90))
    sigma = rng.uniform(0.01, 0.05)
    noise = rng.standard_normal((2, *tissue.shape), dtype=np.float32) * np.float32(sigma)
    image = np.hypot(image + noise[0], noise[1]) * (tissue > BACKGROUND)
    return np.clip(np.rint(image * rng.uniform(200, 1500)), 0, 32767).astype(np.int16)


def make_case(rng: np.random.Generator, shape: tuple[int, int, int], spacing: tuple[float, float, float]):
    """Draw one case.

    Returns:
        the four sequences by name (int16 arrays of `shape`) and the tissue map with tumour (uint8, codes of this module).
    """
    grid = grid_mm(shape, spacing)
    tissue = grow_tumour(rng, grid, spacing, brain(rng, grid, spacing))
    texture = smooth_noise(rng, shape, spacing, 4)
    return {name: contrast_image(rng, name, tissue, spacing, texture) for name in SEQUENCES}, tissue


def brats(
    directory: str,
    cases: int = 4,
    seed: int = 0,
    release: str = "2020",
    spacing: float = 1.0,
    first: int = 1,
    anatomy: str | None = None,
    section: str = "testing",
    tissues: dict | None = None,
    tumour: float = 1.0,
    picture: str | None = None,
) -> None:
    """Write a synthetic BraTS dataset: same layout, names, types and quirks as the real one.

    Args:
        directory: where the release's folder is created; existing cases are an error, nothing is overwritten.
        cases: how many cases.
        seed: the same seed, spacing and case number give the same case.
        release: 2020, 2021, 2023 or msd.
        spacing: voxel edge in mm; at 1 a volume is 240 x 240 x 155 as in BraTS, at 3 it is 80 x 80 x 52.
        first: number of the first case; 355 of release 2020 carries its odd label file name.
        anatomy: a folder of T1 heads with label maps and the datalist.json of `prepare ixi`: tumours are grown into these
            heads, in turn, and contrasts made of their T1, instead of all being drawn.
        section: of that datalist.
        tissues: label values of each tissue in those label maps, {"grey": [..], "white": [..], ..}; by default DLMUSE's.
        tumour: share of those cases that have one.
        picture: a PNG of the first 16 cases: T1ce and T1, T2 and FLAIR of each, with outlines.
    """
    if str(release) not in RELEASES:
        raise ValueError(f"release is '{release}', expected one of {', '.join(RELEASES)}")
    rel, release = RELEASES[str(release)], str(release)
    root = Path(directory) / rel.folder
    root.mkdir(parents=True, exist_ok=True)
    shape = tuple(round(n / spacing) for n in (240, 240, 155))
    # BraTS volumes run left-posterior-superior with the origin at the first corner
    affine = np.diag([-spacing, -spacing, spacing, 1.0])
    affine[1, 3] = (shape[1] - 1) * spacing
    shown, step = [], max(1, round(2 / spacing))
    grown = GrownCases(anatomy, section, spacing, tissues, tumour) if anatomy else None

    for number in tqdm(range(first, first + cases), desc="phantom brats", unit="case"):
        rng = np.random.default_rng([int(seed), number])
        images, tissue = grown(rng, number, shape) if grown else make_case(rng, shape, (spacing,) * 3)
        _write_case(root, rel, release, number, images, _label(tissue, rel), affine)
        if picture and len(shown) < 16:
            thin = (slice(None, None, -step), slice(None, None, -step), slice(None, None, step))  # to RAS, of 2 mm
            shown.append(([images[n][thin] for n in PICTURED], _label(tissue, RELEASES["2020"])[thin]))
    if picture:
        gallery(picture, shown)
    _write_tables(root, release, first, cases)
    print(f"{cases} synthetic cases in {root}")


def _label(tissue: np.ndarray, release: Release) -> np.ndarray:
    """The label map of a tissue map in the numbers of a release, uint8."""
    label = np.zeros(tissue.shape, np.uint8)
    for code, value in release.labels.items():
        label[tissue == code] = value
    return label


def _write_case(root: Path, rel: Release, release: str, number: int, images: dict, label: np.ndarray, affine) -> None:
    case = rel.case.format(number)
    if release == "msd":
        for folder, data in (
            ("imagesTr", np.stack([images[n] for n in SEQUENCES], -1).astype(np.float32)),
            ("labelsTr", label),
        ):
            (root / folder).mkdir(exist_ok=True)
            _save(root / folder / f"{case}.nii.gz", data, affine)
        return
    (root / case).mkdir(exist_ok=True)
    for name, volume in images.items():
        suffix = rel.sequences[name]
        if release == "2023" and name == "t2" and number % 50 == 7:
            suffix = "t2W"  # as in one case of the real release
        _save(root / case / rel.file.format(case=case, name=suffix), volume, affine)
    odd = release == "2020" and number == 355
    _save(root / case / ("W39_1998.09.19_Segm.nii.gz" if odd else rel.file.format(case=case, name="seg")), label, affine)


def _save(path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    if path.exists():
        raise FileExistsError(f"{path} exists already; choose another folder or --first")
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm", "sec")
    with atomic_write(path) as temporary:
        nib.save(image, temporary)


def _write_tables(root: Path, release: str, first: int, cases: int) -> None:
    """The tables of BraTS 2020 and the dataset.json of the Medical Segmentation Decathlon, for all cases in `root`."""
    if release == "msd":
        names = sorted(p.name for p in (root / "imagesTr").glob("BRATS_*.nii.gz"))
        text = json.dumps(
            {
                "name": "BRATS",
                "description": "Synthetic twin of Task01_BrainTumour",
                "tensorImageSize": "4D",
                "modality": {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"},
                "labels": {"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"},
                "numTraining": len(names),
                "numTest": 0,
                "training": [{"image": f"./imagesTr/{n}", "label": f"./labelsTr/{n}"} for n in names],
                "test": [],
            },
            indent=1,
        )
        with atomic_write(root / "dataset.json") as temporary:
            temporary.write_text(text)
    if release == "2020":
        names = sorted(p.name for p in root.glob("BraTS20_Training_*"))
        tables = {
            "name_mapping.csv": [["Grade", "BraTS_2020_subject_ID"], *[["HGG", n] for n in names]],
            "survival_info.csv": [
                ["Brats20ID", "Age", "Survival_days", "Extent_of_Resection"],
                *[[n, "", "", "NA"] for n in names],
            ],
        }
        for name, rows in tables.items():
            with atomic_write(root / name) as temporary, temporary.open("w", newline="") as file:
                csv.writer(file).writerows(rows)
