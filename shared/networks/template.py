"""An atlas that is learned together with the network that registers it to heads."""

from __future__ import annotations

import torch
from torch import nn

from .velocity import RegistrationNet, warped


class TemplateNet(nn.Module):
    """Warp a learned template onto every head of a set, after Dalca et al. 2019 (unconditional templates).

    Args:
        registration: from a pair to a displacement field.
        start: the template to begin with (1, *size), such as the mean of the heads.
    """

    def __init__(self, registration: RegistrationNet, start: torch.Tensor):
        super().__init__()
        self.registration = registration
        self.template = nn.Parameter(torch.as_tensor(start).as_subclass(torch.Tensor).float().clone()[None])

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Heads (B, 1, *size) to (B, 1 + n, *size): the template as it comes to lie on each, and the field for that."""
        template = self.template.expand(len(image), -1, *[-1] * (image.dim() - 2))
        ddf = self.registration(torch.cat([template, image], 1))
        return torch.cat([warped(template, ddf), ddf], 1)
