"""Known changes of brightness, to see how much a network cares."""

from __future__ import annotations

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform


class Perturbd(MapTransform):
    """Change the brightness of images, the same for the same image: a power, bright and dark exchanged, noise.

    Values between the 1st and the 99th percentile count as 0 to 1, beyond them they are clipped, and the range is given back.

    Args:
        keys: images of any shape.
        gamma: power.
        invert: exchange bright and dark.
        noise: standard deviation of Gaussian noise, of the range.
    """

    def __init__(self, keys: KeysCollection, gamma: float = 1.0, invert: bool = False, noise: float = 0.0):
        super().__init__(keys)
        self.gamma, self.invert, self.noise = gamma, invert, noise

    def __call__(self, data):
        item = dict(data)
        for key in self.key_iterator(item):
            image = item[key]
            few = image.as_subclass(torch.Tensor).flatten()[:: max(1, image.numel() // 100_000)].float()
            low, high = torch.quantile(few, 0.01), torch.quantile(few, 0.99)
            values = ((image - low) / (high - low)).clamp(0, 1) ** self.gamma
            values = 1 - values if self.invert else values
            if self.noise:
                generator = torch.Generator().manual_seed(0)
                values = values + self.noise * torch.randn(image.shape, generator=generator)
            item[key] = values * (high - low) + low
        return item
