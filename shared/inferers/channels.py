"""Some of a network's channels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.inferers import Inferer


class ChannelsInferer(Inferer):
    """Run another inferer and keep some channels of what it gives, in that order; no others are trained, scored or saved."""

    def __init__(self, inferer: Inferer, channels: Sequence[int]):
        super().__init__()
        self.inferer, self.channels = inferer, list(channels)

    def __call__(self, inputs: torch.Tensor, network, *args, **kwargs) -> torch.Tensor:
        """(B, C, ...) to (B, len(channels), ...)."""
        output = self.inferer(inputs, network, *args, **kwargs)
        return output if self.channels == list(range(output.shape[1])) else output[:, self.channels]
