"""The loss with which an atlas is learned."""

from __future__ import annotations

import torch
from torch import nn

from ..networks.template import TemplateNet
from .registration import RegistrationLoss

MEMORY = 0.99  # of the running mean of displacements, about a hundred steps


class TemplateLoss(nn.Module):
    """Similarity of heads with the warped template, smoothness of the fields, their mean near zero, and a sharp template.

    The mean displacement over heads must vanish, so that the template lies in the middle of them (centrality); it is
    followed as a running mean. Sharpness is the mean slope of the template over that of the heads: the loss grows where the
    template is flatter than the heads are, and is 0 where it is as sharp.

    Args:
        network: the TemplateNet; its parameter is looked at.
        similarity, smoothness, window: as in `RegistrationLoss`.
        centrality: weight of the squared mean displacement, in voxels.
        sharpness: weight of the lack of sharpness.
    """

    def __init__(
        self,
        network: TemplateNet,
        similarity: str = "ncc",
        smoothness: float = 1.0,
        centrality: float = 0.1,
        sharpness: float = 0.1,
        window: int = 7,
    ):
        super().__init__()
        self.pair = RegistrationLoss(similarity, smoothness, window=window)
        self.network = [network]  # in a list: a part of the loss, its parameters would be listed twice
        self.centrality, self.sharpness = centrality, sharpness
        self.register_buffer("mean", torch.zeros(0), persistent=False)

    def forward(self, pred: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """Output of the TemplateNet (B, 1 + n, *size) and the heads (B, 1, *size)."""
        warped, ddf = pred[:, :1], pred[:, 1:]
        loss = self.pair.similarity(warped, image) + self.pair.smoothness * self.pair.smooth(ddf)
        mean = ddf.mean(0)
        if self.mean.shape == mean.shape:
            mean = MEMORY * self.mean + (1 - MEMORY) * mean
        self.mean = mean.detach()
        # divided by its share in the mean, so that the weight does not depend on how long the mean remembers
        loss = loss + self.centrality * mean.square().sum(0).mean() / (1 - MEMORY)
        blur = (1 - slope(self.network[0].template) / slope(image).clamp_min(1e-6)).clamp_min(0)
        return loss + self.sharpness * blur


def slope(image: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of neighbouring voxels of an image (B, C, *size)."""
    return torch.stack([torch.diff(image, dim=axis).abs().mean() for axis in range(2, image.ndim)]).mean()
