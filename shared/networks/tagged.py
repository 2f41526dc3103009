"""A classifier that sees an image and, beside it, what is known about it."""

from __future__ import annotations

import torch
from torch import nn


class ImageTagNet(nn.Module):
    """Image branch and tag branch, joined into one log odds; without one of them the other decides alone.

    The tags are one-hot groups (shared.transforms.EncodeTagsd). In training they are hidden at random, all at once, so that
    the image has to be understood without them, too; where `forward` gets none they are hidden as well.

    Args:
        image: from (B, 1, H, W) to (B, features), such as a MONAI network with `features` classes; None: tags only.
        features: what the image branch gives.
        tags: how many numbers the tags are; 0: image only.
        hidden: width of the tag branch.
        dropout: share of the joined features, and of people whose tags are hidden, in training.

    The buffer `temperature` divides the log odds, and `threshold` is the probability from which on the answer is yes: 1 and
    0.5 until `shared.handlers.Calibration` sets them.

    Raises:
        ValueError: neither image nor tags.
    """

    def __init__(self, image: nn.Module | None, features: int, tags: int, hidden: int = 16, dropout: float = 0.2):
        super().__init__()
        if image is None and not tags:
            raise ValueError("a network needs an image branch or tags, found neither")
        self.has_image, self.tags, self.dropout = image is not None, tags, dropout
        self.image = image if image is not None else nn.Identity()
        width = (features if image is not None else 0) + (hidden if tags else 0)
        self.tag_branch = nn.Sequential(nn.Linear(max(tags, 1), hidden), nn.ReLU()) if tags else nn.Identity()
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, 1))
        self.register_buffer("temperature", torch.ones(1))
        self.register_buffer("threshold", torch.full((1,), 0.5))

    def raw(self, image: torch.Tensor, tags: torch.Tensor | None = None) -> torch.Tensor:
        """Log odds as trained (B, 1), not calibrated."""
        parts: list[torch.Tensor] = []
        if self.has_image:
            parts.append(self.image(image))
        if self.tags > 0:
            known = torch.zeros(image.shape[0], self.tags, device=image.device, dtype=image.dtype)
            if tags is not None:
                known = tags.to(image.dtype)
                if self.training:
                    known = known * (torch.rand(known.shape[0], 1, device=known.device) >= self.dropout)
            parts.append(self.tag_branch(known))
        return self.head(torch.cat(parts, 1))

    def forward(self, image: torch.Tensor, tags: torch.Tensor | None = None) -> torch.Tensor:
        """Calibrated log odds (B, 1); in training they are as trained."""
        raw = self.raw(image, tags).float()
        if self.training:
            return raw
        return raw / self.temperature
