"""Slices of random contrast from maps of tissues, and the ghosts of breathing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform
from torch.nn import functional as F

from ..abdomen import AIR, CONTRASTS, DARK, FAT, FATTY, FOOD, GAS, LUNG, OTHER, TISSUES, VISCERAL_FAT, WALL

ALIKE = ((5, 6), (23, 24), (14, 15), (15, 21))  # tissues that are mostly of one brightness: left and right, vessels
ROUGH = (VISCERAL_FAT, WALL, FOOD, GAS, LUNG, OTHER)  # whose texture is coarse


class RandTissueContrastd(RandomizableTransform, MapTransform):
    """Make a slice of random contrast from a slab of tissue numbers (shared.abdomen), and its organ masks.

    After SynthSeg (Billot et al. 2023), with contrasts that exist beside those drawn blindly: every tissue gets a brightness,
    from a sequence of `CONTRASTS` or uniform from 0 to 1, and textures of two sizes; the slab is averaged, which is the partial
    volume of a thick slice. Out of phase, fat and water cancel at their border. Of an anatomy that comes from a scan, the scan
    itself may be the image, with its brightness bent or turned over. Bias field, blur, ghosts and noise come behind.

    Args:
        keys: slabs (1, H, W, k) of tissue numbers; become masks (R, H, W), float32, of the slab's middle slice.
        image_key: becomes the slice (1, H, W), float32, about 0 to 1; holds the slab of a scan, 0 to 255, where there is one.
        organs: tissue numbers of each organ, in channel order.
        scan_share: how often a scan is its own image.
        blind_share: how often each tissue's brightness is drawn for itself.
        spread: largest amplitude of a texture.
    """

    def __init__(
        self,
        keys: KeysCollection,
        organs: Mapping[str, Sequence[int]],
        image_key: str = "image",
        scan_share: float = 0.4,
        blind_share: float = 0.4,
        spread: float = 0.06,
    ):
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, 1.0)
        self.organs = torch.zeros(len(organs), TISSUES, dtype=torch.bool)
        for row, numbers in zip(self.organs, organs.values(), strict=True):
            row[list(numbers)] = True
        self.image_key, self.scan_share, self.blind_share, self.spread = image_key, scan_share, blind_share, spread

    def __call__(self, data):
        item = dict(data)
        self.randomize(None)
        for key in self.key_iterator(item):
            tissue = item[key].long()
            scan = item.get(self.image_key)
            if scan is not None and self.R.random() < self.scan_share:
                image = self._bent(scan.float().mean(-1) / 255)
            else:
                image = self._painted(tissue)
            item[self.image_key] = image
            item[key] = self.organs[:, tissue[0, ..., tissue.shape[-1] // 2]].float()
        return item

    def brightness(self) -> tuple[np.ndarray, bool]:
        """Of every tissue, (TISSUES,), and whether fat and water are out of phase."""
        R = self.R
        name = list(CONTRASTS)[R.randint(len(CONTRASTS))]
        if R.random() >= self.blind_share:
            means = np.array(CONTRASTS[name]) * R.uniform(0.75, 1.25) + R.normal(0, 0.07, TISSUES)
            means[list(DARK)] = np.abs(R.normal(0, 0.02, len(DARK)))
            means[VISCERAL_FAT] = means[FAT] + R.normal(0, 0.04)
        else:
            means = R.uniform(0, 1, TISSUES)
            means[AIR] = R.uniform(0, 0.05)
            if R.random() < 0.85:
                means[list(DARK)] = R.uniform(0, 0.08, len(DARK))
            if R.random() < 0.8:
                means[VISCERAL_FAT] = means[FAT] + R.normal(0, 0.05)
            for one, other in ALIKE:
                if R.random() < 0.7:
                    means[other] = means[one] + R.normal(0, 0.04)
        return np.clip(means, 0, 1.2), name == "out_phase"

    def _painted(self, tissue: torch.Tensor) -> torch.Tensor:
        R = self.R
        means, opposed = self.brightness()
        if opposed:
            means[list(FATTY)] *= -1
        generator = torch.Generator().manual_seed(int(R.randint(2**31)))
        shape = (1, 1, *tissue.shape[1:3])
        image = torch.from_numpy(means).float()[tissue].mean(-1)
        if opposed:
            image = F.avg_pool2d(image, 3, 1, 1, count_include_pad=False).abs()
        middle = tissue[..., tissue.shape[-1] // 2]
        for width, share in ((1, 1.0), (R.uniform(3, 10), 1.0)):
            amplitude = R.uniform(0, self.spread, TISSUES) * share
            amplitude[list(ROUGH)] *= 2.5
            amplitude[AIR] *= 0.2
            field = torch.randn([max(2, round(n / width)) for n in shape[2:]], generator=generator)
            if width > 1:
                field = F.interpolate(field[None, None], shape[2:], mode="bicubic")[0, 0]
            image = image + torch.from_numpy(amplitude).float()[middle] * field
        return image.clamp(0, 1.5)

    def _bent(self, image: torch.Tensor) -> torch.Tensor:
        """The image through a random curve: a power, a mixture of waves, sometimes bright and dark exchanged, air left dark."""
        R = self.R
        curve = torch.linspace(0, 1, 256).pow(float(np.exp(R.uniform(-0.7, 0.7))))
        curve = curve + float(R.uniform(0, 0.25)) * torch.sin(curve * float(R.uniform(2, 10)) + float(R.uniform(0, 6)))
        if R.random() < 0.25:
            curve = curve.max() - curve
        curve = (curve - curve.min()) / (curve.max() - curve.min())
        curve[:8] *= torch.linspace(0, 1, 8)
        return curve[(image * 255).long().clamp(0, 255)]


class RandGhostd(RandomizableTransform, MapTransform):
    """Ghosts of breathing: every n-th line of k-space is turned by another phase, and copies appear along that axis.

    Args:
        keys: slices (C, H, W).
        prob: share of the slices.
        strength: largest phase in radians.
        axis: along which the phase is encoded: 2 for the second of H and W, front to back.
    """

    def __init__(self, keys: KeysCollection, prob: float = 0.2, strength: float = 0.9, axis: int = 2):
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        self.strength, self.axis = strength, axis

    def __call__(self, data):
        item = dict(data)
        self.randomize(None)
        if not self._do_transform:
            return item
        period, phase = self.R.uniform(3, 9), self.R.uniform(0.2, self.strength)
        for key in self.key_iterator(item):
            image = item[key]
            lines = torch.arange(image.shape[self.axis])
            turn = torch.exp(1j * phase * torch.sin(2 * np.pi * lines / period))
            shape = [1] * image.ndim
            shape[self.axis] = -1
            space = torch.fft.fft(image.as_subclass(torch.Tensor), dim=self.axis)
            item[key] = torch.fft.ifft(space * turn.reshape(shape), dim=self.axis).abs()
        return item
