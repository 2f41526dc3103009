"""Synthetic T1 heads, and T2 and PD if asked for, in the folders, names, table, orientations and types of the IXI release.

Heads are head-like, not heads: scalp, skull, face and a brain whose ventricles and sulci widen and whose cortex thins with
age; grey values, bias field and noise are those of a site. Good for trying out code; no substitute for scans.
"""

from __future__ import annotations

import datetime
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation
from tqdm import tqdm

from shared.paths import atomic_write

from ..anatomy import grid_mm, smooth_noise
from ..head import head

FIELD_MM = (240, 240, 180)  # posterior, superior, right: the axes that the files are stored in
SITES = {  # share of the heads, grey value of white matter, strength of the bias field, noise
    "Guys": (0.55, 260, 0.12, 0.022),
    "HH": (0.32, 480, 0.22, 0.014),
    "IOP": (0.13, 150, 0.12, 0.026),
}
AXIAL_MM = (240, 240, 162)  # left, posterior, superior: T2 and PD have axial slices
AXIAL_STEP = 1.25 / 0.9375  # of their slices to their pixels
# grey values by those of T1: air, bone, CSF, muscle, grey matter, fat, white matter
T1_VALUES = (0.0, 0.08, 0.2, 0.3, 0.48, 0.66, 0.85, 1.0)
CONTRASTS = {"T2": (0.0, 0.05, 0.95, 1.0, 0.35, 0.6, 0.65, 0.42), "PD": (0.0, 0.08, 0.9, 0.95, 0.6, 0.95, 0.9, 0.75)}
BRIGHT_BEFORE = 1400  # scans of HH with lower numbers are three times brighter, and of younger people
COLUMNS = (
    "IXI_ID",
    "SEX_ID (1=m, 2=f)",
    "HEIGHT",
    "WEIGHT",
    "ETHNIC_ID",
    "MARITAL_ID",
    "OCCUPATION_ID",
    "QUALIFICATION_ID",
    "DOB",
    "DATE_AVAILABLE",
    "STUDY_DATE",
    "AGE",
)
QUIRKS_FROM = 8  # so many cases are needed for the table to have the gaps of the real one


@dataclass
class Person:
    """One line of the table and what the file is named after."""

    number: int
    site: str
    scan: int
    sex: str
    age: float  # years
    born: datetime.date
    height: float  # cm
    weight: float  # kg

    @property
    def case(self) -> str:
        return f"IXI{self.number:03d}-{self.site}-{self.scan:04d}"


def draw_person(rng: np.random.Generator, index: int) -> Person:
    """The person of the case `index`, counted from 0."""
    site = str(rng.choice(list(SITES), p=[share for share, *_ in SITES.values()]))
    scan = int(rng.integers(1200, 2790) if site == "HH" else rng.integers(700, 1140))
    bright = site == "HH" and scan < BRIGHT_BEFORE
    sex = "FM"[rng.integers(2)]
    age = round(float(rng.uniform(20, 45 if bright else 85)), 2)
    scanned = datetime.date(2005, 6, 1) + datetime.timedelta(int(rng.integers(500)))
    born = scanned - datetime.timedelta(round(age * 365.25))
    height = round(rng.normal(176 if sex == "M" else 163, 7))
    return Person(
        2 + 3 * index + int(rng.integers(3)), site, scan, sex, age, born, height, round(rng.normal(23, 3) * (height / 100) ** 2)
    )


def draw_head(rng: np.random.Generator, person: Person, shape: tuple, spacing: tuple) -> tuple[np.ndarray, ...]:
    """Draw a person's head on a T1 grid: grey values and region numbers as `tools.head.head` gives them, and head coordinates.

    Args:
        rng: where individual differences come from.
        person: whose age and sex shape the head.
        shape: voxels along posterior, superior, right.
        spacing: voxel edges in mm.
    """
    posterior, superior, right = grid_mm(shape, spacing)
    position = np.stack([right, 17 - posterior, superior])
    nod, turn, tilt = rng.normal(0, [5, 2, 2])
    pose = Rotation.from_euler("xzy", [nod, turn, tilt], degrees=True).as_matrix().astype(np.float32)
    shift = rng.normal(0, 3, 3).astype(np.float32)
    position = np.tensordot(pose, position, 1) + shift[:, None, None, None]
    return *head(rng, position, spacing, person.age, person.sex), position


def scan(rng: np.random.Generator, person: Person, values: np.ndarray, position: np.ndarray, spacing: tuple) -> np.ndarray:
    """The image that a person's site makes of grey values (H, W, D), int16 or (site IOP) uint8.

    Args:
        rng: where field, noise and level come from.
        person: whose site it is.
        values: air 0, white matter 1.
        position: head coordinates (3, H, W, D), mm.
        spacing: voxel edges in mm.
    """
    shape = values.shape
    _, level, bias, noise = SITES[person.site]
    values = ndimage.gaussian_filter(values, [rng.uniform(0.3, 0.5) / s for s in spacing])
    values *= 1 + 0.025 * smooth_noise(rng, shape, spacing, 4)
    field = bias * (0.6 * smooth_noise(rng, shape, spacing, 110) + 1 - ((position / 90) ** 2).sum(0))  # brightest in the middle
    values *= np.exp(np.clip(field, -0.8, None))
    values = np.hypot(values + noise * rng.standard_normal(shape, np.float32), noise * rng.standard_normal(shape, np.float32))
    level *= rng.uniform(0.85, 1.15) * (3 if person.site == "HH" and person.scan < BRIGHT_BEFORE else 1)
    dtype = np.uint8 if person.site == "IOP" else np.int16
    return np.clip(np.rint(values * level), 0, np.iinfo(dtype).max).astype(dtype)


def make_image(rng: np.random.Generator, person: Person, shape: tuple, spacing: tuple) -> tuple[np.ndarray, np.ndarray]:
    """A T1 scan of a person as `scan` makes it, and the DLMUSE region numbers, uint8; arguments as `draw_head` has them."""
    values, labels, position = draw_head(rng, person, shape, spacing)
    return scan(rng, person, values, position, spacing), labels


def make_others(
    rng: np.random.Generator, person: Person, head: tuple[np.ndarray, np.ndarray], affine: np.ndarray, spacing: tuple
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """T2 and PD scans of a head on their common grid of axial slices, which is not that of T1, and its affine.

    Args:
        rng: where noise, field and level come from.
        person: whose site makes the image.
        head: grey values and head coordinates on the T1 grid.
        affine: of the T1 grid.
        spacing: of the T1 grid; pixels get its first number, slices are a third thicker, as in the release.
    """
    values, position = head
    pixel = spacing[0]
    axial = (pixel, pixel, AXIAL_STEP * pixel)
    shape = tuple(round(mm / s) for mm, s in zip(AXIAL_MM, axial, strict=True))
    own = np.eye(4)
    own[:3, :3] = np.diag(np.array([-1, -1, 1]) * axial)
    middle = nib.affines.apply_affine(affine, (np.array(values.shape) - 1) / 2)
    own[:3, 3] = middle - own[:3, :3] @ ((np.array(shape) - 1) / 2)
    to_t1 = np.linalg.inv(affine) @ own

    def bring(volume: np.ndarray) -> np.ndarray:
        return ndimage.affine_transform(volume, to_t1[:3, :3], to_t1[:3, 3], shape, order=1)

    there = np.stack([bring(axis) for axis in position])
    tissue = bring(values)
    return {name: scan(rng, person, np.interp(tissue, T1_VALUES, v), there, axial) for name, v in CONTRASTS.items()}, own


def make_affine(rng: np.random.Generator, shape: tuple, spacing: tuple) -> np.ndarray:
    """Voxels to mm, (4, 4): axes posterior, superior, right; every third scan or so is oblique by a few degrees."""
    axes = np.array([[0, 0, 1], [-1, 0, 0], [0, 1, 0]], float)
    angles = rng.normal(0, 4, 3) * (rng.random() < 0.35)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ axes * spacing
    affine[:3, 3] = rng.normal(0, 4, 3) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def ixi(directory: str, cases: int = 8, seed: int = 0, spacing: float | tuple = 2.0, others: bool = False) -> None:
    """Write a synthetic IXI dataset: T1 heads, T2 and PD if asked for, IXI.xls, label maps.

    From 8 cases on with the gaps of the real table: one image without a row, one row without age, one row twice, one row
    without an image.

    Args:
        directory: gets IXI-T1, IXI-labels and IXI.xls, perhaps IXI-T2 and IXI-PD; existing cases are an error,
            nothing is overwritten.
        cases: how many heads.
        seed: the same seed, spacing and place in the list give the same case.
        spacing: voxel edge in mm, or edges along posterior, superior, right; 0.9375,0.9375,1.2 is the release's own.
        others: also T2 and PD, on axial slices of their own; the T1 images stay the same.

    Raises:
        ImportError: xlwt is not installed.
    """
    if importlib.util.find_spec("xlwt") is None:
        raise ImportError("writing IXI.xls needs xlwt: pip install -e .[ixi]")
    root = Path(directory)
    for folder in ("IXI-T1", "IXI-labels", *(f"IXI-{name}" for name in CONTRASTS if others)):
        (root / folder).mkdir(parents=True, exist_ok=True)
    spacing = tuple(float(s) for s in np.broadcast_to(spacing, 3))
    shape = tuple(round(mm / s) for mm, s in zip(FIELD_MM, spacing, strict=True))
    people = []
    for index in tqdm(range(cases), desc="phantom ixi", unit="case"):
        rng = np.random.default_rng([int(seed), index])
        person = draw_person(rng, index)
        values, labels, position = draw_head(rng, person, shape, spacing)
        image = scan(rng, person, values, position, spacing)
        affine = make_affine(rng, shape, spacing)
        _save(root / "IXI-T1" / f"{person.case}-T1.nii.gz", image, affine)
        _save(root / "IXI-labels" / f"{person.case}-labels.nii.gz", labels, affine)
        if others:
            images, axial = make_others(rng, person, (values, position), affine, spacing)
            for name, other in images.items():
                _save(root / f"IXI-{name}" / f"{person.case}-{name}.nii.gz", other, axial)
        people.append(person)
    _write_table(root / "IXI.xls", people)
    print(f"{cases} synthetic cases in {root}")


def _save(path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    if path.exists():
        raise FileExistsError(f"{path} exists already; choose another folder")
    image = nib.Nifti1Image(data, affine)
    image.set_qform(affine, 1)
    image.header.set_xyzt_units("mm", "sec")
    with atomic_write(path) as temporary:
        nib.save(image, temporary)


def _write_table(path: Path, people: list[Person]) -> None:
    """The sheet "Table" of IXI.xls, a row per person in the order of their numbers."""
    rows = []
    for p in people:
        scanned = p.born + datetime.timedelta(round(p.age * 365.25))
        rows.append([p.number, "MF".index(p.sex) + 1, p.height, p.weight, 1, 2, 1, 5, p.born, 1, scanned, p.age])
    if len(people) >= QUIRKS_FROM:
        rows[4] = [*rows[4][:8], None, 1, None, None]  # neither birth nor study date nor age
        rows.append(
            [people[-1].number + 5, 2, 164, 60, 1, 1, 3, 4, datetime.date(1960, 2, 1), 1, datetime.date(2006, 3, 1), 46.08]
        )
        rows.insert(2, rows[1])
        del rows[3]  # the third image has no row
    import xlwt

    book = xlwt.Workbook()
    sheet, date = book.add_sheet("Table"), xlwt.easyxf(num_format_str="YYYY-MM-DD")
    for i, row in enumerate([COLUMNS, *rows]):
        for j, value in enumerate(row):
            if value is not None:
                sheet.write(i, j, value, *([date] if isinstance(value, datetime.date) else []))
    with atomic_write(path) as temporary:
        book.save(str(temporary))
