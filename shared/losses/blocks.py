"""A segmentation on half the resolution against a label map on the full one."""

from __future__ import annotations

import torch
from torch import nn

from ..networks.regional import blocks


class BlockDiceCELoss(nn.Module):
    """Cross-entropy plus soft Dice between the classes of 2x2x2 blocks and the labels of their eight voxels.

    The target of a block is the share of each label in it, so volumes keep their precision. Dice is one minus the mean over
    classes of 2 sum(min(p, q)) / sum(p + q), which is 0 for the true shares.
    """

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Logits (B, K, H/2, W/2, D/2) and labels (B, 1, H, W, D) with values 0..K-1; returns a scalar."""
        voxels = blocks(labels).long()
        log_share = torch.log_softmax(logits.float(), 1)
        target = torch.zeros_like(log_share).scatter_add_(1, voxels, torch.full_like(voxels, 1 / 8, dtype=log_share.dtype))
        cross_entropy = -(target * log_share).sum(1).mean()
        share, axes = log_share.exp(), (0, 2, 3, 4)
        total = (share + target).sum(axes)
        dice = 2 * torch.minimum(share, target).sum(axes) / total.clamp_min(1)
        return cross_entropy + 1 - dice[target.sum(axes) > 0].mean()
