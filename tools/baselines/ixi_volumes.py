"""Age by ridge regression, and sex, from the volumes of all regions of the label maps that come with the heads."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
from tqdm import tqdm

from ..crossvalidate import find_folds
from ..linear import predict_people
from ..scores import score_table, summarise

SCORES = {"age_mae": ["mae", "age", "age_pred"], "age_r": ["pearson_r", "age", "age_pred"]}
SCORES |= {"sex_accuracy": ["accuracy", "male", "male_prob"], "sex_auc": ["auc", "male", "male_prob"]}


def volumes(path: Path) -> dict[int, float]:
    """mL of every label value above 0 in a label map."""
    image = nib.load(path)
    values, counts = np.unique(np.asarray(image.dataobj), return_counts=True)
    millilitres = abs(np.linalg.det(image.affine[:3, :3])) / 1000
    return {int(v): float(n) * millilitres for v, n in zip(values, counts, strict=True) if v > 0}


def score(directory: str, datalist: str | None) -> None:
    """Print the scores of all folds together. Heads without label map, or of unknown sex, are left out.

    Raises:
        ValueError: there are no folds.
    """
    root, measured, rows = Path(directory).expanduser(), {}, {}
    for path in tqdm(find_folds(directory, datalist), desc="folds"):
        content = json.loads(path.read_text())
        parts = [[item for item in content[n] if "label" in item and item["sex"]] for n in ("training", "testing")]
        for item in [*parts[0], *parts[1]]:
            if item["case"] not in measured:
                measured[item["case"]] = volumes(root / item["label"])
        labels = sorted({value for item in parts[0] for value in measured[item["case"]]})
        x, test = (np.array([[measured[i["case"]].get(v, 0.0) for v in labels] for i in part]) for part in parts)
        ages, prob = predict_people(x, parts[0], test)
        for item, age, p in zip(parts[1], ages, prob, strict=True):
            truth = {"age": item["age"], "male": float(item["sex"] == "M")}
            rows[item["case"]] = {
                k: str(v) for k, v in {**truth, "age_pred": age, "male_prob": p, "case": item["case"]}.items()
            }
    scores = summarise(rows.values(), SCORES)
    print(score_table({"data": f"ridge regression on the volumes of all labels, {len(rows)} heads", "scores": scores}))
