"""How alike two films look to a frozen network."""

from __future__ import annotations

import importlib.util
import os

import torch
from monai.losses import PerceptualLoss
from torch import nn

from ..errors import InputError

PERCEPTUAL = ("local", "radimagenet", "lpips")


class FilmPerceptualLoss(nn.Module):
    """Mean squared distance between features of two images (B, 1, H, W), each position's scaled to length 1, as in LPIPS.

    Zhang et al. 2018, https://arxiv.org/abs/1801.03924, without its learned weights of the channels.

    Args:
        features: `FilmFeatures` of a ResNet.
        layers: how many of its maps count, from the first on.
    """

    def __init__(self, features: nn.Module, layers: int = 4):
        super().__init__()
        self.features, self.layers = features, layers

    def forward(self, pred: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        count = len(pred)
        total = pred.new_zeros(())
        for both in self.features.maps(torch.cat([pred, truth]))[: self.layers]:
            unit = both.float()
            unit = unit / (unit.norm(dim=1, keepdim=True) + 1e-6)
            total = total + ((unit[:count] - unit[count:]) ** 2).sum(1).mean()
        return total


class _CentredLoss(nn.Module):
    """A loss that wants images of -1..1, for images of 0..1."""

    def __init__(self, loss: nn.Module):
        super().__init__()
        self.loss = loss

    def forward(self, pred: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        return self.loss(2 * pred - 1, 2 * truth - 1)


def perceptual_loss(kind: str, path: str | os.PathLike | None = None) -> nn.Module:
    """A perceptual loss by name, for images (B, 1, H, W) of 0..1.

    Args:
        kind: "local" and "radimagenet" compare features of `FilmFeatures`; "lpips" is LPIPS with SqueezeNet, whose weights its
            package downloads.
        path: weights of the first two.

    Raises:
        InputError: another kind; or what it needs is not there, with the remedy.
    """
    if kind not in PERCEPTUAL:
        raise InputError(f"perceptual is '{kind}', expected one of {', '.join(PERCEPTUAL)}")
    if kind != "lpips":
        from ..networks.features import FilmFeatures  # which reads weights as handlers do, and these import losses

        return FilmPerceptualLoss(FilmFeatures(kind, path))
    if importlib.util.find_spec("lpips") is None:
        raise InputError("perceptual 'lpips' needs a package: pip install lpips torchvision; or take --perceptual local")
    return _CentredLoss(PerceptualLoss(spatial_dims=2, network_type="squeeze", is_fake_3d=False))
