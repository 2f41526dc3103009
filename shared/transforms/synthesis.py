"""Changes that a network should not care for: random contrast from label maps, traces of compression."""

from __future__ import annotations

import io

import numpy as np
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
        keys: images (C, *size), every channel with contrasts of its own; channels of zeros, missing sequences, stay so.
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
            if image.shape[1:] != labels.shape[1:]:
                raise ValueError(
                    f"{key} has shape {tuple(image.shape)}, {self.label_key} {tuple(labels.shape)}: expected one grid"
                )
            channels = image.as_subclass(torch.Tensor).split(1)
            item[key] = torch.cat([self._drawn(c, labels) if c.any() else c for c in channels])
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


class RandJpegd(RandomizableTransform, MapTransform):
    """Compress an image (1, rows, columns) as JPEG and read it back: what is lost then tells the network nothing.

    Args:
        keys: images of any values; the 256 grey levels go from the smallest to the largest.
        prob: share of the images.
        quality: from the worst to the best, 1 to 95.
    """

    def __init__(self, keys: KeysCollection, prob: float = 0.3, quality: tuple[int, int] = (15, 90)):
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        self.quality = quality

    def __call__(self, data):
        from PIL import Image

        item = dict(data)
        self.randomize(None)
        if not self._do_transform:
            return item
        quality = int(self.R.randint(self.quality[0], self.quality[1] + 1))
        for key in self.key_iterator(item):
            plain = item[key].as_subclass(torch.Tensor)
            low, high = float(plain.min()), float(plain.max())
            scale = (high - low) / 255 or 1.0
            file = io.BytesIO()
            Image.fromarray(((plain[0] - low) / scale).round().byte().numpy()).save(file, "JPEG", quality=quality)
            with Image.open(file) as image:
                read = torch.from_numpy(np.asarray(image).astype(np.float32))[None] * scale + low
            item[key] = MetaTensor(read, meta=item[key].meta) if isinstance(item[key], MetaTensor) else read
        return item
