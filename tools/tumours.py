"""Heads with a label map as anatomies for synthetic tumour cases; `phantom brats --anatomy` writes what this draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from monai.transforms import CenterSpatialCrop, Compose, Orientationd, Spacingd, SpatialPad

from shared.data import read_datalist
from shared.transforms import AnatomyMapsd, LoadCased, RandTumourCased
from shared.tumours.contrast import SEQUENCES

from .anatomy import ENHANCING, NECROSIS, OEDEMA

TISSUES = np.array([0, NECROSIS, OEDEMA, 0, ENHANCING], np.uint8)  # of the labels of BraTS 2020


class GrownCases:
    """Cases with tumours grown into real anatomy, one head after the other.

    Args:
        anatomy: a folder with T1 heads, label maps and the datalist.json that `prepare ixi` writes.
        section: of the datalist.
        spacing: voxel edge in mm that heads are resampled to first.
        tissues: label values of each tissue, see `AnatomyMapsd`; None are those of DLMUSE.
        tumour: share of cases with a tumour.

    Raises:
        InputError: no such datalist, or it has no such section.
    """

    def __init__(
        self,
        anatomy: str,
        section: str,
        spacing: float,
        tissues: Mapping[str, Sequence[int]] | None,
        tumour: float,
    ):
        folder = Path(anatomy).expanduser()
        self.heads = read_datalist(folder / "datalist.json", section, folder)
        self.load = Compose(
            [
                LoadCased(["t1"], "label"),
                Orientationd(["image", "label"], axcodes="RAS", labels=None),
                Spacingd(["image", "label"], pixdim=[spacing] * 3, mode=["bilinear", "nearest"]),
                AnatomyMapsd(tissues),
            ]
        )
        self.draw = RandTumourCased(tumour=tumour, odd=0.0, drop=0.0)

    def __call__(self, rng: np.random.Generator, number: int, shape: Sequence[int]) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Draw case `number`, which counts from 1.

        Returns:
            the four sequences by name (int16 arrays of `shape`, axes left-posterior-superior, brain in the middle) and the
            tumour (uint8, tissue codes of `anatomy`, 0 elsewhere).
        """
        item = self.load(self.heads[(number - 1) % len(self.heads)])
        self.draw.set_random_state(int(rng.integers(2**31)))
        case = self.draw(item)
        fit = Compose([SpatialPad(shape), CenterSpatialCrop(shape)])
        images, label = (fit(case[key]).numpy()[:, ::-1, ::-1] for key in ("image", "label"))
        scaled = {n: np.clip(np.rint(i * rng.uniform(200, 1500)), 0, 32767) for n, i in zip(SEQUENCES, images, strict=True)}
        return {name: image.astype(np.int16) for name, image in scaled.items()}, TISSUES[label[0].astype(np.uint8)]
