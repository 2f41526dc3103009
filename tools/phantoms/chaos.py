"""Synthetic abdomens with the folders, names, tags and grey values of the CHAOS release: DICOM series and PNG masks.

They are abdomen-like, not abdomens: see tools/abdomen.py. Good for trying out code; no substitute for scans.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage
from tqdm import tqdm

from shared import abdomen as t
from shared.paths import atomic_write

from ..abdomen import draw_abdomen
from ..anatomy import smooth_noise
from ..films import write_slice

GREY = {"liver": 63, "right_kidney": 126, "left_kidney": 189, "spleen": 252}
PATIENTS = (1, 2, 3, 5, 8, 10, 13, 15, 19, 20, 21, 22, 31, 32, 33, 34, 36, 37, 38, 39)  # MR patients of the release
MR_CLASS, CT_CLASS = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.2"
SOFT = 0.5  # voxels by which slices are blurred


def patient_number(index: int) -> int:
    """The number of the index-th patient: those of the release first."""
    return PATIENTS[index] if index < len(PATIENTS) else PATIENTS[-1] + 1 + index - len(PATIENTS)


def paint(rng: np.random.Generator, tissue: np.ndarray, spacing: tuple, contrast: str, bias: float, noise: float) -> np.ndarray:
    """A volume in a contrast of shared.abdomen, about 0 to 1, with texture, bias field and noise; thick slices are averaged."""
    means = np.array(t.CONTRASTS[contrast], np.float32) * rng.uniform(0.92, 1.08, t.TISSUES).astype(np.float32)
    if contrast == "out_phase":
        means[list(t.FATTY)] *= -1
    image = means[tissue]
    image *= 1 + 0.06 * smooth_noise(rng, tissue.shape, spacing, 6)
    image = np.abs(ndimage.gaussian_filter(image, (SOFT, SOFT, 0)))
    image *= np.exp(bias * smooth_noise(rng, tissue.shape, spacing, 150))
    grain = rng.standard_normal((2, *tissue.shape), dtype=np.float32) * np.float32(noise)
    return image + grain[0] if contrast.startswith("ct") else np.hypot(image + grain[0], grain[1])


def chaos(directory: str, cases: int = 4, seed: int = 0, size: int = 256, slices: int = 0, ct: int = 0, test: int = 0) -> None:
    """Write a synthetic CHAOS release: Train_Sets/MR with T1DUAL (both phases) and T2SPIR, Train_Sets/CT, Test_Sets/MR.

    Args:
        directory: gets Train_Sets; an existing patient is an error, nothing is overwritten.
        cases: MR patients.
        seed: the same seed, size, slices and place give the same patient.
        size: rows and columns.
        slices: of each MR series; 0 draws 26 to 50 as in the release.
        ct: CT patients.
        test: MR patients in Test_Sets, without masks.
    """
    root = Path(directory)
    jobs = [("Train_Sets", "MR", patient_number(i)) for i in range(cases)]
    jobs += [("Train_Sets", "CT", patient_number(i)) for i in range(ct)]
    jobs += [("Test_Sets", "MR", patient_number(cases + i)) for i in range(test)]
    for part, modality, number in tqdm(jobs, desc="phantom chaos", unit="patient"):
        folder = root / part / modality / str(number)
        if folder.exists():
            raise FileExistsError(f"{folder} exists already; choose another folder")
        rng = np.random.default_rng([int(seed), number, modality == "CT"])
        (_write_mr if modality == "MR" else _write_ct)(rng, folder, size, slices, part == "Train_Sets")
    print(f"{len(jobs)} synthetic patients in {root}")


def _write_mr(rng: np.random.Generator, folder: Path, size: int, slices: int, masks: bool) -> None:
    pixel = rng.uniform(1.36, 1.89) * 256 / size
    count = slices or int(rng.integers(26, 51))
    gap = rng.uniform(5.5, 9.0) if slices else np.clip(rng.uniform(210, 290) / count, 5.5, 9.0)
    gap = gap if count * gap > 180 else 200 / count  # a few slices must still show the organs
    spacing = (pixel, pixel, gap)
    tissue = draw_abdomen(rng, (size, size, count), spacing, (0, 0, rng.uniform(-15, 10)))
    uid, scale = f"chaos mr {folder.name} {rng.integers(2**31)}", rng.uniform(300, 1400)
    bias, noise = rng.uniform(0.05, 0.25), rng.uniform(0.01, 0.04)
    for phase, echo, offset in (("InPhase", 4.6, 2), ("OutPhase", 2.3, 1)):
        image = paint(rng, tissue, spacing, "in_phase" if phase == "InPhase" else "out_phase", bias, noise)
        names = [f"IMG-{int(folder.name):04d}-{2 * i + offset:05d}" for i in range(count)]
        tags = {"EchoTime": echo, "SeriesDescription": f"T1 dual {phase}"}
        _series(folder / "T1DUAL" / "DICOM_anon" / phase, image * scale, spacing, names, f"{uid} {phase}", tags, "MR")
        if masks and phase == "InPhase":
            _masks(folder / "T1DUAL" / "Ground", tissue, names, GREY)
    image = paint(rng, tissue, spacing, "t2_spir", bias, noise)
    names = [f"IMG-{int(folder.name):04d}-{i + 1:05d}" for i in range(count)]
    _series(folder / "T2SPIR" / "DICOM_anon", image * scale, spacing, names, f"{uid} t2", {"EchoTime": 70}, "MR")
    if masks:
        _masks(folder / "T2SPIR" / "Ground", tissue, names, GREY)


def _write_ct(rng: np.random.Generator, folder: Path, size: int, slices: int, masks: bool) -> None:
    pixel, gap, count = rng.uniform(0.68, 0.85) * 512 / size, 3.0, slices or 80
    gap = max(gap, 200 / count)
    spacing = (pixel, pixel, gap)
    tissue = draw_abdomen(rng, (size, size, count), spacing, (0, 0, 10))
    window = paint(rng, tissue, spacing, "ct_venous", 0.0, 0.03)
    image = window * 400 - 160
    air = np.isin(tissue, t.DARK)
    image[air] = -1000 + 30 * window[air]
    names = [f"i{i:04d},0000b" for i in range(count)]
    _series(folder / "DICOM_anon", image, spacing, names, f"chaos ct {folder.name} {rng.integers(2**31)}", {}, "CT")
    if masks:
        _masks(folder / "Ground", tissue, [f"liver_GT_{i:03d}" for i in range(count)], {"liver": 255})


def _series(folder: Path, volume: np.ndarray, spacing: tuple, names: list[str], uid: str, tags: dict, modality: str) -> None:
    """Slices from the feet to the head; rows run to the back and columns to the patient's left, as in the release."""
    folder.mkdir(parents=True)
    pixels = np.rint(np.clip(volume + (1000 if modality == "CT" else 0), 0, 4095)).astype(np.uint16)
    corner = [-(n - 1) / 2 * s for n, s in zip(volume.shape, spacing, strict=True)]
    for index, name in enumerate(names):
        place = (corner[0], corner[1], corner[2] + index * spacing[2])
        more = {"InstanceNumber": index + 1, "SliceThickness": f"{spacing[2]:.4f}", "PatientID": uid.rsplit(" ", 1)[0]}
        more |= {"RescaleSlope": 1, "RescaleIntercept": -1000} if modality == "CT" else {}
        write_slice(
            folder / f"{name}.dcm", pixels[::-1, ::-1, index].T, (uid, name), spacing[:2], place, modality, {**more, **tags}
        )


def _masks(folder: Path, tissue: np.ndarray, names: list[str], grey: dict[str, int]) -> None:
    from PIL import Image

    folder.mkdir(parents=True)
    table = np.zeros(t.TISSUES, np.uint8)
    for organ, value in grey.items():
        table[list(t.ORGANS[organ])] = value
    for index, name in enumerate(names):
        with atomic_write(folder / f"{name}.png") as temporary:
            Image.fromarray(np.ascontiguousarray(table[tissue[::-1, ::-1, index].T])).save(temporary)
