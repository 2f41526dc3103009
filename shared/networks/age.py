"""Networks for age and sex that are trained step by step."""

from __future__ import annotations

import torch
from torch import nn


class AgeSexNet(nn.Module):
    """Let any classification network say age in years and the log odds of being male.

    Args:
        network: (B, 1, ...) to (B, 2), or (B, 1 + len(ages)) with soft labels; the last output is sex.
        mean: age in years that output 0 stands for.
        spread: years that output 1 adds.
        ages: centres of the bins of soft labels in years (SFCN, Peng et al. 2021): the age is the mean over the bins.
    """

    def __init__(self, network: nn.Module, mean: float = 45.0, spread: float = 15.0, ages: list[float] | None = None):
        super().__init__()
        self.network, self.mean, self.spread = network, mean, spread
        self.register_buffer("ages", None if ages is None else torch.tensor(ages, dtype=torch.float32), persistent=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 2): age, log odds of being male; with soft labels the log probabilities of the bins follow."""
        raw = self.network(image).float()
        if self.ages is None:
            return torch.cat([self.mean + self.spread * raw[:, :1], raw[:, -1:]], 1)
        log_share = raw[:, :-1].log_softmax(1)
        return torch.cat([(log_share.exp() * self.ages).sum(1, keepdim=True), raw[:, -1:], log_share], 1)
