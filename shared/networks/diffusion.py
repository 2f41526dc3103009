"""A denoising network together with all that its weights are worth nothing without."""

from __future__ import annotations

import torch
from torch import nn


class TextDiffusion(nn.Module):
    """A DiffusionModelUNet with cross-attention, its text encoder, and the scale of the latents that it was trained with.

    Args:
        unet: takes noisy latents (B, C, H, W), timesteps (B,) and `context` (B, T, D).
        text: encodes tokens (B, T) as features (B, T, D).
        scale_factor: what latents are multiplied by, 1 / standard deviation, until training measures it or weights tell it.

    It is a buffer, so that weights and scale stay together.
    """

    def __init__(self, unet: nn.Module, text: nn.Module, scale_factor: float = 1.0):
        super().__init__()
        self.unet, self.text = unet, text
        self.register_buffer("scale_factor", torch.tensor(float(scale_factor)))

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """What the noisy latents consist of (velocity, where that was learned); `context` may be tokens or features."""
        if not context.is_floating_point():
            context = self.text(context)
        return self.unet(x, timesteps, context=context)


class GuidedDiffusion(nn.Module):
    """A TextDiffusion with classifier-free guidance (Ho and Salimans 2022): both predictions in one batched pass.

    Args:
        network: the TextDiffusion.
        empty: features of the empty prompt (1, T, D).
        guidance: 1 follows the text as the network was trained, more exaggerates it, 0 ignores it.

    Raises:
        ValueError: guidance below 0.
    """

    def __init__(self, network: nn.Module, empty: torch.Tensor, guidance: float):
        super().__init__()
        if not guidance >= 0:
            raise ValueError(f"guidance is {guidance}, expected 0 or more")
        self.network, self.empty, self.guidance = network, empty, guidance

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """As the network's, for features of the text (B, T, D)."""
        if self.guidance == 1:
            return self.network(x, timesteps, context)
        both = torch.cat([self.empty.expand_as(context), context])
        without, told = self.network(torch.cat([x, x]), timesteps, both).chunk(2)
        return without + self.guidance * (told - without)
