"""The loss of age and sex together."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class AgeSexLoss(nn.Module):
    """Squared error of age, in decades, plus binary cross-entropy of sex; or, instead of the former, SFCN's soft labels.

    With soft labels (Peng et al. 2021) the age is a normal distribution around the true one over bins of the network's
    output, and the Kullback-Leibler divergence to it is the loss.

    Args:
        sex_weight: of the cross-entropy.
        soft_sigma: standard deviation of the soft labels in years; None: squared error.
        ages: centres of the bins in years, for soft labels.

    Shapes:
        predictions (B, 2): age in years, log odds of being male; with soft labels (B, 2 + bins), the log probability of
        each bin behind them. Truth (B, 2): age, 1 for male; NaN where unknown.
    """

    def __init__(self, sex_weight: float = 1.0, soft_sigma: float | None = None, ages: list[float] | None = None):
        super().__init__()
        if (soft_sigma is None) != (ages is None):
            raise ValueError("soft labels need both soft_sigma and ages")
        self.sex_weight, self.soft_sigma = sex_weight, soft_sigma
        self.register_buffer("ages", None if ages is None else torch.tensor(ages, dtype=torch.float32))

    def forward(self, pred: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        pred, truth = pred.float(), truth.float()
        age, male = ~truth[:, 0].isnan(), ~truth[:, 1].isnan()
        loss = pred.sum() * 0  # a batch in which nothing is known has a gradient too
        if age.any() and self.soft_sigma is None:
            loss = loss + ((pred[age, 0] - truth[age, 0]) / 10).square().mean()
        elif age.any():
            target = (-0.5 * ((self.ages.to(truth) - truth[age, :1]) / self.soft_sigma).square()).softmax(1)
            loss = loss + F.kl_div(pred[age, 2:], target, reduction="batchmean")
        if male.any():
            loss = loss + self.sex_weight * F.binary_cross_entropy_with_logits(pred[male, 1], truth[male, 1])
        return loss
