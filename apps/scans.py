"""Synthetic scans with which the apps are tried."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Compose
from nibabel.eulerangles import euler2mat

from shared.data import read_datalist
from tools import bundles
from tools.checks import config_file
from tools.facts import facts
from tools.phantom import phantom
from tools.prepare import prepare

SIDE = 32  # voxels that are kept of a scan along each axis, where a bundle works patch by patch
SECTIONS = ("training", "validation", "testing")


def kind(name: str) -> str:
    """What a bundle predicts: "segmentation", "classification", ..."""
    return facts(bundles.metadata(name))["kind"]


def write_phantom(name: str, folder: Path, cases: int) -> None:
    """Write the synthetic dataset of a bundle's demo, prepared where there are label maps to train on."""
    demo = {**bundles.metadata(name)["demo"], "cases": cases}
    dataset = demo.pop("phantom")
    phantom[dataset](str(folder), **demo)
    if kind(name) == "segmentation":
        prepare(dataset, str(folder))


def labelled_scans(name: str, folder: Path) -> Iterator[tuple[MetaTensor, MetaTensor]]:
    """The cases of a prepared dataset as a bundle's training loads them, on oblique grids.

    Returns:
        image (C, H, W, D) and label map (1, H, W, D) of each; the affines are turned by some 20 degrees. Where the bundle works
        patch by patch in 3D, only `SIDE` voxels around the middle of what is labelled are kept, which saves time.
    """
    train = ConfigParser(ConfigParser.load_config_file(config_file(bundles.folder(name), "train")))
    load = Compose(train.get_parsed_content("load"))
    shape = bundles.metadata(name)["network_data_format"]["inputs"]["image"]
    turn = np.eye(4)
    turn[:3, :3] = euler2mat(0.1, -0.2, 0.3)
    listed = json.loads((folder / "datalist.json").read_text())
    for section in SECTIONS:
        for item in read_datalist(folder / "datalist.json", section, folder) if listed.get(section) else []:
            loaded = load(item)
            image, label = loaded["image"], loaded["label"]
            if shape["is_patch_data"] and len(shape["spatial_shape"]) == 3:
                middle = torch.nonzero(label[0].as_tensor()).float().mean(0).round().int().tolist()
                starts = [max(0, min(m - SIDE // 2, n - SIDE)) for m, n in zip(middle, label.shape[1:], strict=True)]
                box = (slice(None), *(slice(start, start + SIDE) for start in starts))
                moved = np.asarray(image.affine) @ np.block([[np.eye(3), np.array(starts)[:, None]], [0, 0, 0, 1]])
                image, label = (MetaTensor(x.as_tensor()[box], affine=moved) for x in (image, label))
            affine = torch.from_numpy(turn @ np.asarray(image.affine))
            yield MetaTensor(image.as_tensor(), affine=affine), MetaTensor(label.as_tensor(), affine=affine)
