"""Read the CHAOS release as it is (MR T1-DUAL and T2-SPIR, CT; DICOM series and PNG masks) into a checked datalist."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from shared.abdomen import MASK_VALUES, ORGAN_VALUES
from shared.data.series import series_files
from shared.transforms import LoadSeriesd
from shared.transforms.series import sorted_series

NEEDS = "label"  # the key that training needs of a case
SERIES = {  # where each series of a patient and its masks lie
    "in_phase": ("T1DUAL/DICOM_anon/InPhase", "T1DUAL/Ground"),
    "out_phase": ("T1DUAL/DICOM_anon/OutPhase", "T1DUAL/Ground"),
    "t2_spir": ("T2SPIR/DICOM_anon", "T2SPIR/Ground"),
    "ct": ("DICOM_anon", "Ground"),
}
MASKS_OF = {"out_phase": "in_phase"}  # the series by whose file names the masks of another go


@dataclass
class Finding:
    """What `check` measured of a series."""

    series: str = ""
    slices: int = 0
    spacing: tuple[float, ...] = ()
    volumes: dict[str, float] = field(default_factory=dict)  # mL


def read(directory: str) -> list[dict]:
    """List all series: "case", "subject", "series", "image" (files by position), where known "label" (masks) and "problem"."""
    root = Path(directory).expanduser()
    cases = []
    for patient in sorted({p.parent for name in ("T1DUAL", "T2SPIR", "DICOM_anon") for p in root.rglob(name) if _patient(p)}):
        modality = "CT" if (patient / "DICOM_anon").is_dir() else "MR"
        part = "test_" if any(p.startswith("Test") for p in patient.relative_to(root).parts) else ""
        for series, (folder, masks) in SERIES.items():
            if (patient / folder).is_dir() and (series == "ct") == (modality == "CT"):
                item = {"case": f"{part}{modality}_{patient.name}_{series}", "subject": f"{part}{modality}_{patient.name}"}
                reference = patient / SERIES[MASKS_OF.get(series, series)][0]
                cases.append({**item, "series": series, **_files(patient / folder, patient / masks, reference)})
    if not cases:
        raise ValueError(f"no patient below {root}: expected folders like Train_Sets/MR/1/T1DUAL/DICOM_anon/InPhase")
    return sorted(cases, key=lambda item: item["case"])


def _patient(folder: Path) -> bool:
    """Whether a folder with a name of the release lies in a patient's folder: T1DUAL holds a DICOM_anon too."""
    return folder.is_dir() and folder.parent.name not in ("T1DUAL", "T2SPIR")


def _files(folder: Path, masks: Path, reference: Path) -> dict:
    """The series' files sorted by position, and the mask of each; pairing by name, between series by position."""
    files = series_files(folder)
    item: dict = {"image": [str(path) for path in files]}
    try:
        if not files:
            raise ValueError(f"{folder}: no DICOM file")
        headers = sorted_series(files)
        item["image"] = [str(header.filename) for header in headers]
        pngs = sorted(masks.glob("*.png")) if masks.is_dir() else []
        if pngs:
            own = headers if reference == folder else sorted_series(series_files(reference))
            item["label"] = [str(path) for path in _paired(pngs, own, headers)]
    except ValueError as error:
        item["problem"] = str(error)
    return item


def _paired(pngs: Sequence[Path], own: Sequence, headers: Sequence) -> list[Path]:
    """A mask for each of `headers`: by the names of `own`, the series that the masks were drawn on, then by position.

    Where no name fits (CT: liver_GT_000.png) masks go by their order and that of the instance numbers.

    Raises:
        ValueError: masks and slices differ in number, some names fit and others do not, or slices lie elsewhere.
    """
    folder = pngs[0].parent
    if len(pngs) != len(own):
        raise ValueError(f"{folder}: {len(pngs)} masks, expected {len(own)}, one for each slice")
    by_name = {path.stem: path for path in pngs}
    stems = [Path(header.filename).stem for header in own]
    fitting = [stem for stem in stems if stem in by_name]
    if fitting and len(fitting) < len(stems):
        missing = next(stem for stem in stems if stem not in by_name)
        raise ValueError(f"{folder}: no {missing}.png, though the other masks are named as their slices")
    if fitting:
        masks = [by_name[stem] for stem in stems]
    else:
        rank = {id(header): i for i, header in enumerate(sorted(own, key=lambda h: int(h.get("InstanceNumber") or 0)))}
        masks = [pngs[rank[id(header)]] for header in own]
    if own is headers:
        return masks
    places = np.array([np.array(header.ImagePositionPatient, float) for header in own])
    paired = []
    for header in headers:
        away = np.linalg.norm(places - np.array(header.ImagePositionPatient, float), axis=1)
        if away.min() > 1.0:
            raise ValueError(f"{header.filename}: {away.min():.1f} mm from the nearest slice with a mask, expected less than 1")
        paired.append(masks[int(away.argmin())])
    return paired


def check(item: dict) -> tuple[list[str], Finding]:
    """Load a series with its masks.

    Returns:
        the problems found (empty for a good case), and what was measured.
    """
    finding = Finding(item["series"], len(item["image"]))
    modality = "CT" if item["series"] == "ct" else "MR"
    label_key = "label" if "label" in item else None
    try:
        data = LoadSeriesd(label_key, [modality])(item)
    except ValueError as error:
        return [str(error)], finding
    finding.spacing = tuple(float(mm) for mm in data["image"].pixdim)
    if label_key:
        voxel_ml = float(np.prod(finding.spacing)) / 1000
        for organ in MASK_VALUES[modality]:
            finding.volumes[organ] = float((data["label"] == ORGAN_VALUES[organ]).sum()) * voxel_ml
        if finding.volumes["liver"] == 0:
            wanted = MASK_VALUES[modality]["liver"]
            return [f"{Path(item['label'][0]).parent}: no mask shows a liver (grey values {wanted})"], finding
    return [], finding


def summary(finding: Finding) -> str:
    """Slices, spacing and volume of the liver of one series, for a line of text."""
    width, height, gap = finding.spacing
    shown = f", liver {finding.volumes['liver']:.0f} mL" if finding.volumes else ", no masks"
    return f"{finding.slices} slices, {width:.2f} x {height:.2f} x {gap:.2f} mm{shown}"


def strata(cases: Sequence[dict]) -> list[Hashable]:
    """MR and CT are split alike."""
    return [item["subject"].split("_")[0] for item in cases]


def describe(cases: Sequence[dict], findings: Sequence[Finding]) -> str:
    """Which series there are, and the livers' volumes."""
    counts = Counter(item["series"] for item in cases)
    livers = [f.volumes["liver"] for f in findings if f.volumes]
    text = "series " + ", ".join(f"{name} ({n})" for name, n in sorted(counts.items()))
    return text + (f"; liver {np.median(livers):.0f} mL ({min(livers):.0f} to {max(livers):.0f})" if livers else "")
