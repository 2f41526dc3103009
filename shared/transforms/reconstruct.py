"""How well a reconstruction agrees with its film."""

from __future__ import annotations

import torch
from monai.metrics.regression import compute_ms_ssim
from monai.transforms import Transform


def ms_ssim(a: torch.Tensor, b: torch.Tensor, kernel: int = 11) -> torch.Tensor:
    """MS-SSIM of images (B, 1, H, W), 0..1, with five scales and Gaussian windows of `kernel` pixels: (B,).

    Wang et al. 2003. The smallest of the scales, a sixteenth, must be as large as the window: 176 pixels for 11, 112 for 7.
    """
    return compute_ms_ssim(a, b, spatial_dims=2, data_range=1.0, kernel_size=[kernel] * 2, kernel_sigma=[1.5] * 2).flatten()


class ScoreReconstructiond(Transform):
    """Clamp "pred" (1, H, W) to 0..1 and compare it with "image": "ms_ssim", "psnr" (dB) and "l1", (1,) each.

    Args:
        kernel: window of MS-SSIM in pixels.
    """

    def __init__(self, kernel: int = 11):
        self.kernel = kernel

    def __call__(self, data):
        item = dict(data)
        image, pred = item["image"].float(), item["pred"].float().clamp(0, 1)
        item["pred"] = pred
        item["ms_ssim"] = ms_ssim(pred[None], image[None], self.kernel)
        item["psnr"] = -10 * torch.log10(((pred - image) ** 2).mean().clamp_min(1e-10))[None]
        item["l1"] = (pred - image).abs().mean()[None]
        return item


class ScoreVelocityd(Transform):
    """Mean squared difference of "pred" from what it should be, "label", as "error" (1,)."""

    def __call__(self, data):
        item = dict(data)
        item["error"] = ((item["pred"].float() - item["label"].float()) ** 2).mean()[None]
        return item
