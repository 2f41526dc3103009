"""Sliding window that does not pad small images up to the window."""

from __future__ import annotations

import torch
from monai.inferers import SlidingWindowInferer


class WindowInferer(SlidingWindowInferer):
    """MONAI's sliding window, with each side of the window no longer than the image's.

    MONAI pads an image smaller than the window; after cropping to the foreground that would bring the background back.
    Image sides must be multiples of what the network can divide, as `CropForegroundd(k_divisible=...)` makes them.
    """

    def __call__(self, inputs: torch.Tensor, network, *args, **kwargs):
        window = self.roi_size
        self.roi_size = tuple(min(w, n) for w, n in zip(window, inputs.shape[2:], strict=True))
        try:
            return super().__call__(inputs, network, *args, **kwargs)
        finally:
            self.roi_size = window
