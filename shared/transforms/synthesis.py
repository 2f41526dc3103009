"""Images of random contrast from label maps, for networks that are to work with any contrast."""

from __future__ import annotations

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, RandomizableTransform


class RandContrastd(RandomizableTransform, MapTransform):
    """Replace an image by one of random contrast, after Hoffmann et al. 2022 (SynthMorph) and Billot et al. 2023 (SynthSeg).

    Every label value gets a mean intensity from 0 to 1 and a spread of its own. What is labelled 0 (skull, skin, air) is
    divided by the image's intensity into layers of equal size, which get theirs; the layer of air mostly stays dark. Bias
    field, blur and noise are left to MONAI's transforms behind this one.

    Args:
        keys: images (1, *size).
        label_key: label map on the same grid (1, *size), whole numbers; 0 is no structure.
        prob: share of the images that are replaced.
        layers: into which unlabelled tissue is divided.
        spread: largest standard deviation within a structure.

    Raises:
        ValueError: image and label map differ in shape.
    """

    def __init__(self, keys: KeysCollection, label_key: str, prob: float = 1.0, layers: int = 5, spread: float = 0.1):
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        self.label_key, self.layers, self.spread = label_key, layers, spread

    def __call__(self, data):
        item = dict(data)
        self.randomize(None)
        if not self._do_transform or self.label_key not in item:
            return item
        labels = torch.as_tensor(item[self.label_key]).as_subclass(torch.Tensor).long()
        for key in self.key_iterator(item):
            image = item[key]
            if image.shape != labels.shape:
                raise ValueError(
                    f"{key} has shape {tuple(image.shape)}, {self.label_key} {tuple(labels.shape)}: expected one grid"
                )
            item[key] = self._drawn(image.as_subclass(torch.Tensor), labels)
            if isinstance(image, MetaTensor):
                item[key] = MetaTensor(item[key], meta=image.meta)
        return item

    def _drawn(self, image: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        outside = labels == 0
        edges = torch.quantile(
            image[outside][:: max(1, int(outside.sum()) // 20_000)], torch.linspace(0, 1, self.layers + 1)[1:-1]
        )
        parts = torch.where(outside, torch.bucketize(image, edges), labels + self.layers - 1)
        count = int(parts.max()) + 1
        means = torch.from_numpy(self.R.uniform(0, 1, count)).float()
        if self.R.random() < 0.8:
            means[0] = 0.05 * float(self.R.random())
        spreads = torch.from_numpy(self.R.uniform(0, self.spread, count)).float()
        noise = torch.from_numpy(self.R.standard_normal(tuple(image.shape)).astype("float32"))
        return (means[parts] + spreads[parts] * noise).clamp(0, 1).to(image.device)
