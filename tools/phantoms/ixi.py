"""Synthetic T1 heads in the folders, names, table, orientations and types of the IXI release.

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


def make_image(rng: np.random.Generator, person: Person, shape: tuple, spacing: tuple) -> tuple[np.ndarray, np.ndarray]:
    """Draw a scan of a person.

    Args:
        rng: where individual differences come from.
        person: whose age and sex shape the head, and whose site the image.
        shape: voxels along posterior, superior, right.
        spacing: voxel edges in mm.

    Returns:
        the image, int16 or (site IOP) uint8, and the DLMUSE region numbers, uint8.
    """
    posterior, superior, right = grid_mm(shape, spacing)
    position = np.stack([right, 17 - posterior, superior])
    nod, turn, tilt = rng.normal(0, [5, 2, 2])
    pose = Rotation.from_euler("xzy", [nod, turn, tilt], degrees=True).as_matrix().astype(np.float32)
    shift = rng.normal(0, 3, 3).astype(np.float32)
    position = np.tensordot(pose, position, 1) + shift[:, None, None, None]
    values, labels = head(rng, position, spacing, person.age, person.sex)

    _, level, bias, noise = SITES[person.site]
    values = ndimage.gaussian_filter(values, [rng.uniform(0.3, 0.5) / s for s in spacing])
    values *= 1 + 0.025 * smooth_noise(rng, shape, spacing, 4)
    field = bias * (0.6 * smooth_noise(rng, shape, spacing, 110) + 1 - ((position / 90) ** 2).sum(0))  # brightest in the middle
    values *= np.exp(np.clip(field, -0.8, None))
    values = np.hypot(values + noise * rng.standard_normal(shape, np.float32), noise * rng.standard_normal(shape, np.float32))
    level *= rng.uniform(0.85, 1.15) * (3 if person.site == "HH" and person.scan < BRIGHT_BEFORE else 1)
    dtype = np.uint8 if person.site == "IOP" else np.int16
    return np.clip(np.rint(values * level), 0, np.iinfo(dtype).max).astype(dtype), labels


def make_affine(rng: np.random.Generator, shape: tuple, spacing: tuple) -> np.ndarray:
    """Voxels to mm, (4, 4): axes posterior, superior, right; every third scan or so is oblique by a few degrees."""
    axes = np.array([[0, 0, 1], [-1, 0, 0], [0, 1, 0]], float)
    angles = rng.normal(0, 4, 3) * (rng.random() < 0.35)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ axes * spacing
    affine[:3, 3] = rng.normal(0, 4, 3) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def ixi(directory: str, cases: int = 8, seed: int = 0, spacing: float | tuple = 2.0) -> None:
    """Write a synthetic IXI dataset: T1 heads, IXI.xls, label maps; from 8 cases on with the gaps of the real table.

    Those gaps: one image without a row, one row without age, one row twice, one row without an image.

    Args:
        directory: gets IXI-T1, IXI-labels and IXI.xls; existing cases are an error, nothing is overwritten.
        cases: how many images.
        seed: the same seed, spacing and place in the list give the same case.
        spacing: voxel edge in mm, or edges along posterior, superior, right; 0.9375,0.9375,1.2 is the release's own.

    Raises:
        ImportError: xlwt is not installed.
    """
    if importlib.util.find_spec("xlwt") is None:
        raise ImportError("writing IXI.xls needs xlwt: pip install -e .[ixi]")
    root = Path(directory)
    for folder in ("IXI-T1", "IXI-labels"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    spacing = tuple(float(s) for s in np.broadcast_to(spacing, 3))
    shape = tuple(round(mm / s) for mm, s in zip(FIELD_MM, spacing, strict=True))
    people = []
    for index in tqdm(range(cases), desc="phantom ixi", unit="case"):
        rng = np.random.default_rng([int(seed), index])
        person = draw_person(rng, index)
        image, labels = make_image(rng, person, shape, spacing)
        affine = make_affine(rng, shape, spacing)
        _save(root / "IXI-T1" / f"{person.case}-T1.nii.gz", image, affine)
        _save(root / "IXI-labels" / f"{person.case}-labels.nii.gz", labels, affine)
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
