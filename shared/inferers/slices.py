"""A two-dimensional network on the slices of a volume."""

from __future__ import annotations

import torch
from monai.inferers import Inferer


class SlicesInferer(Inferer):
    """Run another inferer on all slices of one volume as a batch; MONAI's SliceInferer takes no network that gives vectors.

    Args:
        inferer: of the slices.
    """

    def __init__(self, inferer: Inferer):
        super().__init__()
        self.inferer = inferer

    def __call__(self, inputs: torch.Tensor, network, *args, **kwargs) -> torch.Tensor:
        """Map (1, C, H, W, D) to (1, K, H, W, D) for a network that gives images, to (1, D, K) for one that gives vectors."""
        slices = inputs.as_subclass(torch.Tensor)[0].permute(3, 0, 1, 2).contiguous()
        pred = self.inferer(slices, network, *args, **kwargs)
        return pred[None] if pred.ndim == 2 else pred.permute(1, 2, 3, 0)[None]
