"""CSF, grey and white matter by intensity alone: a Gaussian mixture in a brain mask, with the receive field removed."""

from __future__ import annotations

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.metrics import compute_dice
from scipy import ndimage
from tqdm import tqdm

from shared.data.datalist import read_datalist
from shared.transforms import LabelsToClassesd, LoadCased, head_mask

from .. import bundles
from ..crossvalidate import find_folds
from ..scores import score_table, summarise

BUNDLE = "mrbrains_tissue3d"  # whose tissues and conventions of label maps are taken
EROSION_MM, FIELD_MM, ROUNDS = 6.0, 30.0, 100


def mixture(values: np.ndarray, classes: int = 3) -> np.ndarray:
    """Borders between Gaussians of a mixture that is fitted to intensities (N,) by expectation maximisation, darkest first."""
    counts, edges = np.histogram(values, 256, np.percentile(values, [0.1, 99.9]))
    x = (edges[1:] + edges[:-1]) / 2
    mean = np.quantile(values, np.linspace(0.1, 0.9, classes))
    deviation, share = np.full(classes, values.std() / classes), np.full(classes, 1 / classes)
    for _ in range(ROUNDS):
        density = share * np.exp(-(((x[:, None] - mean) / deviation) ** 2) / 2) / deviation + 1e-12
        weight = counts[:, None] * density / density.sum(1, keepdims=True)
        total = weight.sum(0)
        mean = (weight * x[:, None]).sum(0) / total
        deviation = np.sqrt((weight * (x[:, None] - mean) ** 2).sum(0) / total) + (edges[1] - edges[0])
        share = total / total.sum()
    order = np.argsort(mean)
    likeliest = density[:, order].argmax(1)
    between = [(x > mean[order[k]]) & (x < mean[order[k + 1]]) & (likeliest > k) for k in range(classes - 1)]
    return np.array([x[b][0] if b.any() else mean[order[k : k + 2]].mean() for k, b in enumerate(between)])


def flatten(image: np.ndarray, mask: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """The image divided by its mean within some cm inside the mask, which takes the receive field out."""
    sigma = FIELD_MM / spacing
    inside = ndimage.gaussian_filter(mask.astype(np.float32), sigma)
    field = ndimage.gaussian_filter(image * mask, sigma) / np.maximum(inside, 1e-3)
    return image / np.maximum(field, 1e-6)


def brain_mask(image: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """The brain by morphology: what is bright in the head, cut from the scalp by an erosion; the largest piece, grown again."""
    head = head_mask(image)
    bright = image > 0.5 * np.median(image[head])
    depth = ndimage.distance_transform_edt(bright, spacing)
    pieces, count = ndimage.label(depth > EROSION_MM)
    if not count:
        raise ValueError("no brain found: nothing is left of the head after the erosion")
    core = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
    grown = ndimage.distance_transform_edt(~core, spacing) < EROSION_MM + 2
    return ndimage.binary_fill_holes(grown & head)


def tissues(image: np.ndarray, mask: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Numbers of the tissues, darkest first, from 1 on, inside a mask (H, W, D); 0 outside."""
    flat = flatten(image, mask, spacing)
    return np.where(mask, 1 + np.digitize(flat, mixture(flat[mask])), 0)


def score(directory: str, datalist: str | None) -> None:
    """Print Dice on a datalist's testing section, inside a brain mask found by morphology and inside that of the labels.

    Without a datalist on those of all folds, which together are all heads.

    Raises:
        ValueError: there are no folds.
    """
    lists = [datalist] if datalist else find_folds(directory, None)
    train = ConfigParser(ConfigParser.load_config_file(bundles.folder(BUNDLE) / "configs" / "train.yaml"))
    names = list(train.get_parsed_content("tissues"))
    number = LabelsToClassesd("label", names, train.get_parsed_content("conventions"))
    loader, rows = LoadCased(("t1",), "label"), {"own brain mask": {}, "mask of the labels": {}}
    items = [i for path in lists for i in read_datalist(path, "testing", directory)]
    for item in tqdm(items, desc="heads", unit="head"):
        case = number(loader(item))
        spacing = np.array([float(s) for s in case["image"].pixdim])
        image, truth = case["image"][0].numpy(), case["label"][0].numpy()
        for name, mask in (("own brain mask", brain_mask(image, spacing)), ("mask of the labels", truth > 0)):
            found = tissues(image, mask, spacing)
            pair = (torch.stack([torch.from_numpy(a == k) for k in (1, 2, 3)])[None].float() for a in (found, truth))
            values = compute_dice(*pair)[0].tolist()
            rows[name][item["case"]] = {f"dice_{n}": str(v) for n, v in zip(names, values, strict=True)}
    for name, table in rows.items():
        data = f"Gaussian mixture of three intensities, {name}, {len(table)} heads"
        print(score_table({"data": data, "scores": summarise(table.values())}))
