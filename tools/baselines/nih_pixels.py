"""Pneumonia by logistic regression on the principal components of films of 64 x 64 pixels, without any image processing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from shared.transforms import LoadFilmd
from shared.transforms.film import resize

from ..crossvalidate import find_folds
from ..scores import score_table, summarise

SIDE, COMPONENTS, PENALTY = 64, 40, 100.0
SCORES = {"auc": ["auc", "target", "prob"], "auprc": ["auprc", "target", "prob"]}
SCORES |= {"auc_same_size": ["matched_auc", "target", "prob", "bytes"]}
SIZE_ALONE = {"auc": ["auc", "target", "bytes"]}


def pixels(path: Path) -> np.ndarray:
    """A film as SIDE * SIDE numbers, 0..1."""
    image = LoadFilmd()({"image": str(path), "spacing": [1.0, 1.0]})["image"].as_tensor()
    return resize(image, (SIDE, SIDE)).flatten().numpy().astype(np.float64)


def fit(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean film, weights for the difference from it, and offset, of a logistic regression with an L2 penalty."""
    mean = x.mean(0)
    _, _, axes = np.linalg.svd(x - mean, full_matrices=False)
    axes = axes[: min(COMPONENTS, len(x) - 1)]
    z = torch.from_numpy((x - mean) @ axes.T)
    line = torch.zeros(z.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([line], max_iter=200, line_search_fn="strong_wolfe")
    truth = torch.from_numpy(y.astype(np.float64))

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        odds = z @ line[:-1] + line[-1]
        value = torch.nn.functional.binary_cross_entropy_with_logits(odds, truth, reduction="sum")
        value = value + 0.5 * PENALTY * line[:-1].square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    found = line.detach().numpy()
    return mean, found[:-1] @ axes, float(found[-1])


def score(directory: str, datalist: str | None) -> None:
    """Print the scores of all folds together, and those of the size of the PNG file alone.

    Raises:
        ValueError: there are no folds.
    """
    root, read, rows = Path(directory).expanduser(), {}, {}
    for path in tqdm(find_folds(directory, datalist), desc="folds"):
        content = json.loads(path.read_text())
        parts = [[*content["training"], *content.get("validation", [])], content["testing"]]
        for item in [*parts[0], *parts[1]]:
            if item["case"] not in read:
                read[item["case"]] = pixels(root / item["image"])
        x, test = (np.array([read[item["case"]] for item in part]) for part in parts)
        mean, weights, offset = fit(x, np.array([item["target"] for item in parts[0]]))
        for item, odds in zip(parts[1], (test - mean) @ weights + offset, strict=True):
            row = {"target": item["target"], "prob": 1 / (1 + np.exp(-odds)), "bytes": item.get("bytes", "nan")}
            rows[item["case"]] = {"case": item["case"], **{key: str(value) for key, value in row.items()}}
    what = f"{COMPONENTS} principal components of {SIDE} x {SIDE} pixels, logistic regression, {len(rows)} films"
    print(score_table({"data": what, "scores": summarise(rows.values(), SCORES)}))
    if any(row["bytes"] != "nan" for row in rows.values()):
        print(score_table({"data": "the size of the PNG file alone", "scores": summarise(rows.values(), SIZE_ALONE)}))
