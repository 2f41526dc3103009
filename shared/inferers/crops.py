"""The mean prediction over shifted crops of an image."""

from __future__ import annotations

import torch
from monai.inferers import Inferer
from torch.nn import functional as F


class ShiftedCropsInferer(Inferer):
    """Average what a network says of several crops: the image as it lies, and copies moved by a few voxels at random.

    Crops keep the image's size, what comes in from outside is 0. The same seed draws the same shifts for every image, so a
    prediction can be repeated.

    Args:
        crops: how many; 1 takes the image as it lies.
        shift: voxels by which a copy is moved along each axis, at most.
        seed: of the shifts.
    """

    def __init__(self, crops: int = 1, shift: int = 0, seed: int = 0):
        super().__init__()
        if crops < 1:
            raise ValueError(f"crops is {crops}, expected at least 1")
        self.crops, self.shift, self.seed = crops, shift, seed

    def __call__(self, inputs: torch.Tensor, network, *args, **kwargs) -> torch.Tensor:
        """(B, C, H, W, D) to the mean over crops of what the network gives."""
        random = torch.Generator().manual_seed(self.seed)
        dims = inputs.ndim - 2
        shifts = torch.randint(-self.shift, self.shift + 1, (self.crops - 1, dims), generator=random).tolist()
        total = network(inputs, *args, **kwargs)
        for moves in shifts:
            padded = F.pad(inputs.as_subclass(torch.Tensor), [self.shift] * (2 * dims))
            for axis, move in enumerate(moves, 2):
                padded = padded.narrow(axis, self.shift + move, inputs.shape[axis])
            total = total + network(padded, *args, **kwargs)
        return total / self.crops
