"""Anatomies to train on: label maps of tissues, over which a training draws contrasts at random."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
from tqdm import tqdm

from shared.paths import atomic_write

from ..abdomen import draw_abdomen
from ..scan_anatomy import bend, read_scan

SHAPE, SPACING = (192, 160, 100), (2.0, 2.0, 3.0)


def abdomen(directory: str, cases: int = 100, seed: int = 0, anatomy: str = "", bent: int = 20, spacing: float = 2.0) -> None:
    """Write anatomies as NIfTI label maps of tissue numbers (shared/abdomen.py), and a datalist.json that names them.

    Args:
        directory: gets <case>.nii.gz, of scans also <case>_image.nii.gz; an existing datalist is an error, but cases that a
            stopped run has left are kept.
        cases: how many anatomies made of simple shapes.
        seed: the same seed, spacing and number give the same anatomy.
        anatomy: scans to bend as well, with TotalSegmentator's label maps: "ct.nii.gz=ct_seg.nii.gz,mr.nii.gz=mr_seg.nii.gz".
        bent: shapes of each scan.
        spacing: mm between the pixels of a slice; the volume is 384 x 320 x 300 mm.
    """
    root = Path(directory)
    if (root / "datalist.json").exists():
        raise FileExistsError(f"{root / 'datalist.json'} exists already; choose another folder")
    pairs = [text.split("=") for text in anatomy.split(",") if text]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"anatomy is '{anatomy}', expected IMAGE=LABELS,IMAGE=LABELS")
    root.mkdir(parents=True, exist_ok=True)
    shape = tuple(round(n * s / e) for n, s, e in zip(SHAPE, SPACING, (spacing, spacing, SPACING[2]), strict=True))
    edges = (spacing, spacing, SPACING[2])
    scans = [read_scan(*pair) for pair in pairs]
    jobs = [(f"drawn{i:03d}", None, (i,)) for i in range(cases)]
    jobs += [(f"bent{which}_{i:03d}", scan, (1 + which, i)) for which, scan in enumerate(scans) for i in range(bent)]
    items = []
    for case, scan, place in tqdm(jobs, desc="phantom abdomen", unit="case"):
        item = {"case": case, "label": f"{case}.nii.gz"} | ({"image": f"{case}_image.nii.gz"} if scan else {})
        items.append(item)
        if (root / item["label"]).exists():  # written last: an earlier run was stopped behind it
            continue
        rng = np.random.default_rng([int(seed), *place])
        if scan is None:
            volumes = {"label": draw_abdomen(rng, shape, edges)}
        else:
            volumes = dict(zip(("label", "image"), bend(rng, scan, shape, edges), strict=True))
        for key in sorted(volumes):
            with atomic_write(root / item[key]) as temporary:
                nib.save(nib.Nifti1Image(volumes[key], np.diag([spacing, spacing, SPACING[2], 1])), temporary)
    with atomic_write(root / "datalist.json") as temporary:
        temporary.write_text(json.dumps({"dataset": "abdomen", "seed": seed, "training": items}, indent=1))
    print(f"{len(items)} anatomies in {root}")
