"""Synthetic chest films as compressed DICOM, with the folders, tags and tables of the RSNA pneumonia challenge.

They are chest-like, not chests: body, lungs, ribs, spine, heart and diaphragm; opacities are soft clouds in the lungs, in boxes
that the table names. Films that are not normal but have no opacity show a large heart. Good for trying out code; no substitute.
"""

from __future__ import annotations

import csv
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy import ndimage
from tqdm import tqdm

from shared.paths import atomic_write

from ..datasets.rsna import CLASSES, IMAGES, INFO, LABELS
from ..films import SYNTAXES, write_film

SHARES = (8851, 11821, 6012)  # films of each class in the release
# mm, of 1024 pixels; the release has the spacing of the original films, of some 2500 pixels, so chests are 15 cm wide in it
SPACINGS = (0.139, 0.143, 0.168, 0.171, 0.194)
QUIRKS_FROM = 6  # so many films are needed for one of impossible age and one without view


@dataclass
class Film:
    """A patient with a film: tags, class, and opacities as x, y, width, height in shares of the film's side."""

    name: str
    age: int
    sex: str
    view: str
    spacing: float
    group: str
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)


def draw_film(rng: np.random.Generator) -> Film:
    """A patient at random; opacities are more often seen in films taken in bed (AP), as in the release."""
    group = CLASSES[rng.choice(3, p=np.array(SHARES) / sum(SHARES))]
    bed = rng.random() < (0.7 if group == CLASSES[2] else 0.4)
    film = Film(
        name=str(uuid.UUID(bytes=rng.bytes(16), version=4)),
        age=int(np.clip(rng.normal(47, 17), 1, 95)),
        sex=str(rng.choice(["M", "F"], p=[0.57, 0.43])),
        view="AP" if bed else "PA",
        spacing=float(rng.choice(SPACINGS)),
        group=group,
    )
    if group == CLASSES[2]:
        for side in rng.permutation([0.3, 0.7])[: rng.integers(1, 3)]:
            width, height = rng.uniform(0.12, 0.22), rng.uniform(0.14, 0.32)
            film.boxes.append((side - width / 2 + rng.normal(0, 0.02), rng.uniform(0.28, 0.66 - height / 2), width, height))
    return film


def paint(rng: np.random.Generator, film: Film, size: int) -> np.ndarray:
    """The film as uint8 (size, size), bones bright."""
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    wide = 1.12 if film.view == "AP" else 1.0  # nearer to the tube: heart and chest are larger

    def oval(cx: float, cy: float, rx: float, ry: float, soft: float = 0.02) -> np.ndarray:
        distance = np.hypot((x - cx) / rx, (y - cy) / ry)
        return 1 / (1 + np.exp((distance - 1) * min(rx, ry) / soft))

    body = np.maximum(oval(0.5, 0.62, 0.46 * wide, 0.62), oval(0.5, 0.05, 0.12, 0.2))
    thickness = 0.55 * body + 0.06 * oval(0.5, 0.3, 0.4, 0.2, 0.1)
    lungs = np.zeros_like(x)
    for cx in (0.31, 0.69):
        lungs = np.maximum(lungs, oval(cx, 0.47, 0.155 * wide, 0.30 + rng.normal(0, 0.01)))
    lungs *= 1 / (1 + np.exp((y - 0.72 + 0.05 * np.abs(x - 0.3)) / 0.012))  # above the diaphragm
    thickness -= 0.36 * lungs
    for rib in range(9):
        middle = 0.19 + 0.062 * rib + 0.35 * np.abs(x - 0.5) ** 1.3 * (1 - 0.06 * rib)
        thickness += 0.05 * np.exp(-(((y - middle) / 0.009) ** 2)) * oval(0.5, 0.47, 0.4, 0.36)
    thickness += 0.13 * np.exp(-(((x - 0.5) / 0.035) ** 2)) * (0.9 + 0.1 * np.cos(2 * np.pi * y / 0.05)) * body
    heart = rng.uniform(1.25, 1.5) if film.group == CLASSES[1] else rng.uniform(0.9, 1.1)
    thickness += 0.24 * oval(0.56, 0.6, 0.12 * heart * wide, 0.13 * np.sqrt(heart), 0.015)
    texture = ndimage.gaussian_filter(rng.standard_normal((size, size)), size / 90, mode="wrap")
    for left, top, width, height in film.boxes:
        cloud = oval(left + width / 2, top + height / 2, width / 2, height / 2, 0.02)
        thickness += cloud * lungs * (0.22 + 0.05 * texture / texture.std())
    vessels = ndimage.gaussian_filter(rng.standard_normal((size, size)), size / 250, mode="wrap")
    thickness += 0.012 * vessels / vessels.std() * lungs
    grey = 255 * np.clip(1.25 * thickness, 0, 1) ** 0.9 + rng.normal(0, 2.5, x.shape)
    marker = (slice(size // 20, size // 20 + size // 40), slice(size * 9 // 10, size * 9 // 10 + size // 60))
    grey[marker] = 250
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


def rsna(directory: str, cases: int = 12, seed: int = 0, size: int = 1024, syntax: str = "jpeg") -> None:
    """Write a synthetic RSNA dataset: DICOM films and both tables; from six films on with an age of 155 and a lacking view.

    Args:
        directory: gets stage_2_train_images and the tables; existing tables are an error, nothing is overwritten.
        cases: how many films.
        seed: the same seed, size and place in the list give the same film.
        size: rows and columns.
        syntax: compression: jpeg as the release, raw, lossless, jpeg-ls, jpeg2000, rle, or mixed, which takes them in turn.
    """
    if syntax != "mixed" and syntax not in SYNTAXES:
        raise ValueError(f"syntax is '{syntax}', expected mixed or one of {', '.join(SYNTAXES)}")
    root = Path(directory)
    for name in (LABELS, INFO):
        if (root / name).exists():
            raise FileExistsError(f"{root / name} exists already; choose another folder")
    (root / IMAGES).mkdir(parents=True, exist_ok=True)
    films = []
    for index in tqdm(range(cases), desc="phantom rsna", unit="film"):
        rng = np.random.default_rng([int(seed), index])
        film = draw_film(rng)
        tags = {"PatientID": film.name, "PatientSex": film.sex, "PatientAge": str(film.age), "ViewPosition": film.view}
        tags |= {"Modality": "CR", "BodyPartExamined": "CHEST", "ConversionType": "WSD"}
        if cases >= QUIRKS_FROM:
            tags |= {"PatientAge": "155"} if index == 2 else {"ViewPosition": ""} if index == 4 else {}
        kind = list(SYNTAXES)[index % len(SYNTAXES)] if syntax == "mixed" else syntax
        pixels = paint(rng, film, size)
        spacing = (film.spacing * 1024 / size,) * 2
        write_film(root / IMAGES / f"{film.name}.dcm", pixels, f"rsna {film.name}", spacing, tags, kind)
        films.append(film)
    _write(root / LABELS, ("patientId", "x", "y", "width", "height", "Target"), _label_rows(films, size))
    # as in the release, a patient with several boxes comes several times here, too
    rows = [(film.name, film.group) for film in films for _ in range(max(1, len(film.boxes)))]
    _write(root / INFO, ("patientId", "class"), rows)
    print(f"{cases} synthetic films in {root}")


def _label_rows(films: Sequence[Film], size: int) -> list[tuple]:
    rows: list[tuple] = []
    for film in films:
        rows += [(film.name, *(round(size * number, 1) for number in box), 1) for box in film.boxes]
        rows += [] if film.boxes else [(film.name, "", "", "", "", 0)]
    return rows


def _write(path: Path, header: Sequence[str], rows: Sequence[tuple]) -> None:
    with atomic_write(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
