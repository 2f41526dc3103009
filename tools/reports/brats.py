"""What a BraTS dataset holds: cases, grids, intensities, label volumes, slices with and without tumour."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
from matplotlib.figure import Figure
from monai.transforms import CropForegroundd, Orientation

from shared.errors import describe
from shared.transforms import LoadCased
from shared.visualize import PLANES, aspect, best_voxel, draw_plane, plane

from .. import page
from ..charts import Histogram, histogram, intensity_chart, label_chart, slice_chart, slice_kinds
from ..datasets.brats import SEQUENCES, check, read
from ..parallel import unordered

TISSUES = {  # names of the label values in each labelling convention
    "brats2020": {1: "non-enhancing core", 2: "oedema", 4: "enhancing"},
    "brats2023": {1: "non-enhancing core", 2: "oedema", 3: "enhancing"},
    "msd": {1: "oedema", 2: "non-enhancing core", 3: "enhancing"},
}
COLOURS = {"non-enhancing core": "#e0567a", "oedema": "#2a9df4", "enhancing": "#e3a008"}
TITLES = {"t1": "T1", "t1ce": "T1ce", "t2": "T2", "flair": "FLAIR"}
OUTLINED = "flair"
CAPTIONS = {
    "examples": "From the smallest to the largest tumour, in the planes that show most of it. The patient's right is on the "
    "left; in the lowest row, seen from the side, the front is on the left.",
    "intensities": "Histograms over the non-zero voxels, a blue line per case and the mean of all. Above the values in the "
    "files, below after the normalisation that the bundle does: minus the mean, divided by the standard deviation.",
    "labels": "Left: volume of each part, a dot per case; the box holds the middle half, the line in it is the median. "
    "Right: what each tumour consists of, a column per case.",
    "slices": "Left: slices with tumour, with brain but no tumour, and with neither, as a mean over cases. Right: in how many "
    "cases there is tumour at each place between the two ends of the brain.",
}


@dataclass
class Facts:
    """What the report says about a case. Slices are in RAS order; only good cases have histograms and slices."""

    case: str
    problems: list[str]
    grid: tuple[str, str, str] = ("", "", "")  # shape, spacing in mm, orientation
    volumes: dict[str, float] = field(default_factory=dict)  # mL of each tissue, empty without label
    histograms: dict[str, Histogram] = field(default_factory=dict)  # of each sequence
    slices: dict[str, np.ndarray] = field(default_factory=dict)  # `slice_kinds`

    @property
    def tumour(self) -> float:
        """Volume in mL."""
        return sum(self.volumes.values())


def build(root: Path, examples: int, workers: int) -> str:
    """The page about all cases below `root`, as HTML."""
    items = {item["case"]: item for item in read(str(root))}
    facts = sorted(unordered(measure, list(items.values()), workers, "report"), key=lambda f: f.case)
    good = [f for f in facts if not f.problems]
    labelled = [f for f in good if f.volumes]
    sections = {"": [_overview(items, facts)]}
    damaged = [f"{f.case}: {text}".replace(f"{root}/", "") for f in facts for text in f.problems]
    if damaged:
        sections["Problems"] = [page.paragraph("These cases count below only in the last table."), page.bullets(damaged)]
    if good:
        shown = spread(labelled or good, examples)
        pictures = [page.picture(case_figure(items[f.case]), f"{f.case}: {_volumes(f)}") for f in shown]
        sections["Examples"] = [page.paragraph(CAPTIONS["examples"]), page.legend(COLOURS), *pictures]
        histograms = {title: [f.histograms[name] for f in good] for name, title in TITLES.items()}
        with page.theme():
            sections["Intensities"] = [page.chart(intensity_chart(histograms), CAPTIONS["intensities"])]
    if labelled:
        volumes = {name: np.array([f.volumes[name] for f in labelled]) for name in COLOURS}
        with page.theme():
            labels = label_chart(volumes, COLOURS, "tumour")
            slices = slice_chart([f.slices for f in labelled], "brain", "tumour")
            sections["Labels"] = [page.chart(labels, CAPTIONS["labels"]), _label_table(volumes)]
            sections["Slices"] = [page.chart(slices, CAPTIONS["slices"])]
    sections["Cases"] = [_case_table(facts)]
    return page.page(f"BraTS: {root.name}", sections)


def measure(item: dict) -> Facts:
    """Read a case and reduce it to what the report shows; what is damaged becomes a problem."""
    facts = Facts(item["case"], check(item)[0], _grid(item))
    if facts.problems:
        return facts
    try:
        data = load_case(item)
    except ValueError as error:
        facts.problems.append(describe(error))
        return facts
    image = data["image"].numpy()
    facts.histograms = {name: histogram(c[c != 0]) for name, c in zip(SEQUENCES, image, strict=True)}
    if "label" in data:
        label = data["label"][0].numpy()
        voxel_ml = abs(float(np.linalg.det(np.asarray(data["label"].affine)[:3, :3]))) / 1000
        facts.volumes = {name: int((label == v).sum()) * voxel_ml for v, name in TISSUES[item["convention"]].items()}
        facts.slices = slice_kinds(image.any(axis=0), label > 0)
    return facts


def load_case(item: dict) -> dict:
    """Load a case in RAS orientation: "image" (4, H, W, D) in the order of SEQUENCES, where known "label" (1, H, W, D)."""
    data = LoadCased(SEQUENCES, label_key="label" if "label" in item else None)(item)
    orient = Orientation("RAS", labels=None)
    return {key: orient(data[key]) for key in ("image", "label") if key in item}


def _grid(item: dict) -> tuple[str, str, str]:
    """Shape, spacing and orientation by the first header that can be read."""
    for path in [item["image"]] if isinstance(item["image"], str) else item["image"]:
        try:
            image = nib.load(path)
        except Exception:  # `check` says what is wrong with it
            continue
        spacing = " x ".join(f"{s:.3g}" for s in nib.affines.voxel_sizes(image.affine))
        return " x ".join(map(str, image.shape[:3])), spacing, "".join(nib.aff2axcodes(image.affine))
    return "", "", ""


def spread(facts: Sequence[Facts], number: int) -> list[Facts]:
    """That many cases, from the smallest tumour to the largest in equal steps of rank."""
    ordered = sorted(facts, key=lambda f: f.tumour)
    picked = np.linspace(0, len(ordered) - 1, min(number, len(ordered))).round().astype(int)
    return [ordered[i] for i in picked]


def case_figure(item: dict) -> Figure:
    """The four sequences in three planes, and once more with the outlines of the tumour's parts."""
    data = CropForegroundd(["image", "label"], "image", margin=3, allow_missing_keys=True)(load_case(item))
    image, spacing = data["image"].numpy(), [float(s) for s in data["image"].pixdim]
    label = data["label"][0].numpy() if "label" in data else np.zeros(image.shape[1:])
    parts = {name: label == value for value, name in TISSUES[item["convention"]].items() if (label == value).any()}
    voxel = best_voxel(label > 0)
    columns = [(name, {}) for name in TITLES] + ([(OUTLINED, parts)] if parts else [])
    # rows as high as the pictures in them, so that nothing but a thin gap lies between
    cuts = {name: plane(label, name, voxel).shape for name in PLANES}
    heights = [cuts[name][0] * aspect(name, spacing) / cuts[name][1] for name in PLANES]
    figure = Figure(figsize=(2.2 * len(columns), 2.2 * sum(heights) + 0.3), facecolor="black", layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    axes = figure.subplots(len(PLANES), len(columns), height_ratios=heights)
    for row, name in zip(axes, PLANES, strict=True):
        for axis, (sequence, outlines) in zip(row, columns, strict=True):
            draw_plane(axis, image[SEQUENCES.index(sequence)], outlines, name, voxel, spacing, COLOURS)
    for axis, (sequence, outlines) in zip(axes[0], columns, strict=True):
        axis.set_title(TITLES[sequence] + " with outlines" * bool(outlines), color="white", fontsize=10)
    return figure


def _overview(items: dict[str, dict], facts: Sequence[Facts]) -> str:
    subjects = len({item["subject"] for item in items.values()})
    damaged = sum(bool(f.problems) for f in facts)
    unlabelled = sum("label" not in item for item in items.values())
    grids = Counter(f.grid for f in facts if f.grid[0]).most_common()
    listed = "; ".join(f"{shape} voxels of {spacing} mm, {axes} ({n})" for (shape, spacing, axes), n in grids[:5])
    more = f"; {len(grids) - 5} more" if len(grids) > 5 else ""
    return page.paragraph(
        f"{len(facts)} cases of {subjects} subjects, {damaged} with problems, {unlabelled} without label. "
        f"Grids (cases): {listed}{more}."
    )


def _volumes(f: Facts) -> str:
    return ", ".join(f"{name} {ml:.1f} mL" for name, ml in f.volumes.items()) or "no label"


def _label_table(volumes: dict[str, np.ndarray]) -> str:
    total = sum(float(ml.sum()) for ml in volumes.values()) or 1.0
    rows = []
    for name, ml in volumes.items():
        share = 100 * float(ml.sum()) / total
        rows.append((name, float(np.median(ml)), float(ml.min()), float(ml.max()), share, int((ml == 0).sum())))
    return page.table(("part", "median mL", "least mL", "most mL", "% of all tumour", "cases without"), rows)


def _case_table(facts: Sequence[Facts]) -> str:
    columns = ("case", "voxels", "spacing (mm)", "axes", *(f"{n} (mL)" for n in COLOURS), "tumour (mL)", "state")
    rows = []
    for f in facts:
        ml = [f.volumes[name] for name in COLOURS] + [f.tumour] if f.volumes else [""] * (len(COLOURS) + 1)
        state = "problem" if f.problems else "good" if f.volumes else "no label"
        rows.append((f.case, *f.grid, *ml, state))
    return page.table(columns, rows)
