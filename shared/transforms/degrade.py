"""A scanner with larger voxels: a profile of what a voxel collects, sampling, and noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Randomizable, RandomizableTransform, Transform
from scipy import ndimage

from ..resolution import GRIDS, coarser_affine, degrade, rician


class Degraded(Transform):
    """Make a coarse "image" of a fine one, which becomes "label".

    A label map under "label" becomes "regions". Sides of the fine image that are no multiples of the factor are cut at
    their end. Affines say where the voxels lie.

    Args:
        factor, grid, profile, width: see `degrade`.
        noise: standard deviation of Rician noise, as a share of the 99.9th percentile.
        seed: of the noise, the same for every image.
    """

    def __init__(
        self,
        factor: Sequence[int],
        grid: str = "block",
        profile: str = "gaussian",
        width: float = 1.0,
        noise: float = 0.0,
        seed: int = 0,
    ):
        self.factor, self.grid, self.profile, self.width, self.noise, self.seed = factor, grid, profile, width, noise, seed

    def __call__(self, data):
        item = dict(data)
        image = item["image"]
        sides = [slice(0, n // f * f) for n, f in zip(image.shape[1:], self.factor, strict=True)]
        if "label" in item:
            item["regions"] = item["label"][(slice(None), *sides)]
        fine = image[(slice(None), *sides)]
        coarse = degrade(fine, self.factor, self.grid, self.profile, self.width)
        if self.noise:
            random = np.random.RandomState(self.seed)
            coarse = rician(coarse, self.noise * float(np.percentile(coarse.numpy(), 99.9)), random)
        affine = torch.from_numpy(coarser_affine(np.asarray(image.affine), self.factor, self.grid))
        item["image"] = MetaTensor(coarse, meta={**image.meta, "affine": affine})
        item["label"] = fine
        return item


class RandStrippedd(RandomizableTransform, MapTransform):
    """Leave only the brain, as a skull-stripped image has it: what lies outside a label map becomes 0.

    The label map is widened by 0 to 2 voxels. Items without one stay as they are.

    Args:
        keys: images (C, H, W, D).
        label_key: label map (1, H, W, D) on the same grid, above 0 in the brain.
        prob: share of the images.
    """

    def __init__(self, keys: KeysCollection, label_key: str = "label", prob: float = 0.4):
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        self.label_key = label_key

    def __call__(self, data):
        item = dict(data)
        self.randomize(None)
        wider = self.R.randint(3)
        labels = item.get(self.label_key)
        if labels is not None and self._do_transform:
            brain = labels[0].numpy(force=True) > 0
            brain = ndimage.binary_dilation(brain, iterations=wider) if wider else brain
            for key in self.key_iterator(item):
                item[key] = item[key] * torch.from_numpy(brain).to(item[key].device)
        return item


class RandDegraded(Randomizable, MapTransform):
    """Make a coarse "image" of a fine patch, drawing how; "label" becomes the fine patch for a network with both grids.

    A label map (1, H, W, D) under "label" says where the brain is.

    Args:
        factor: finer voxels per voxel.
        margin: coarse voxels that are cut from each side afterwards, since the profile reaches beyond the patch.
        profiles: share of each profile, `{"gaussian": 0.7, "average_pooling": 0.3}`.
        width: of Gaussians and boxes, from and to, in coarse voxels; one for all axes is drawn, each axis differs a little.
        noise: standard deviation of Rician noise at most, as a share of the intensity 1.
        noise_prob: share of patches with noise.
        grids: that are drawn.
        brain_weight: how much a voxel of the brain counts in the loss; all others count 1.

    Returns:
        items with "image" (1, H, W, D) and "label" (len(GRIDS) + 1, fH, gW, hD), in which only the channel of the drawn grid
        is known, the others are NaN, and the last one is how much each voxel counts.
    """

    def __init__(
        self,
        factor: Sequence[int],
        margin: int = 2,
        profiles: Mapping[str, float] | None = None,
        width: Sequence[float] = (0.8, 1.2),
        noise: float = 0.03,
        noise_prob: float = 0.5,
        grids: Sequence[str] = GRIDS,
        brain_weight: float = 1.0,
    ):
        super().__init__(["image"])
        self.brain_weight = brain_weight
        self.factor, self.margin, self.width = [int(f) for f in factor], int(margin), tuple(width)
        self.noise, self.noise_prob, self.grids = noise, noise_prob, list(grids)
        profiles = profiles or {"gaussian": 1.0}
        self.profiles, shares = list(profiles), np.array(list(profiles.values()), float)
        self.shares = shares / shares.sum()

    def __call__(self, data):
        item = dict(data)
        fine = item["image"].as_tensor() if isinstance(item["image"], MetaTensor) else item["image"]
        grid = self.grids[self.R.randint(len(self.grids))]
        profile = self.profiles[self.R.choice(len(self.profiles), p=self.shares)]
        width = np.clip(self.R.uniform(*self.width) * self.R.uniform(0.95, 1.05, 3), *self.width)
        coarse = degrade(fine, self.factor, grid, profile, width.tolist())
        if self.R.uniform() < self.noise_prob:
            coarse = rician(coarse, self.R.uniform(0, self.noise), self.R)
        cut = [slice(self.margin, n - self.margin) for n in coarse.shape[1:]]
        item["image"] = coarse[(slice(None), *cut)]
        cut = [slice(s.start * f, s.stop * f) for s, f in zip(cut, self.factor, strict=True)]
        label = torch.full((len(GRIDS) + 1, *(s.stop - s.start for s in cut)), torch.nan)
        label[GRIDS.index(grid)] = fine[(0, *cut)]
        label[-1] = torch.where(item["label"][(0, *cut)] > 0, self.brain_weight, 1.0) if "label" in item else 1.0
        item["label"] = label
        return item
