"""From the network's output to an image on the finer grid, and how good it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform
from scipy import ndimage

from ..inferers.timed import TimedInferer
from ..resolution import GRIDS, ORDERS, degrade, finer_affine, interpolate
from .scale import head_mask, head_scale

WINDOW, C1, C2 = 7, 0.01**2, 0.03**2  # of SSIM: voxels; constants that keep it steady where there is little signal


def psnr(pred: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB inside a mask, for a data range of 1; infinite where both are equal."""
    error = float(np.square(pred[mask] - truth[mask], dtype=np.float64).mean())
    return float("inf") if error == 0 else -10 * np.log10(error)


def ssim(pred: np.ndarray, truth: np.ndarray, masks: Sequence[np.ndarray]) -> list[float]:
    """Mean structural similarity (Wang et al. 2004) inside each mask, for volumes (H, W, D) and a data range of 1.

    Even windows of 7 x 7 x 7 voxels; the outermost voxels are repeated. By running sums in float64, which takes a third of the
    time of MONAI's convolution in float32.
    """
    box = ndimage.find_objects(np.any(masks, 0).astype(np.uint8))[0]
    x, y = (volume[box].astype(np.float64) for volume in (pred, truth))
    mean_x, mean_y, xx, yy, xy = (ndimage.uniform_filter(v, WINDOW, mode="nearest") for v in (x, y, x * x, y * y, x * y))
    means = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    values = means * (2 * (xy - mean_x * mean_y) + C2) / (xx - mean_x**2 + yy - mean_y**2 + C2)
    return [float(values[mask[box]].mean()) for mask in masks]


class ScoreSuperResolutiond(Transform):
    """Scores against the fine image that a coarse one was made of, under "measured"; "psnr" and "ssim" also as tensors (1,).

    Both are divided by the fine image's `head_scale`, so the data range is 1. PSNR and SSIM inside the head; where there are
    "regions" (1, H, W, D) also inside what is labelled, "psnr_brain". "psnr_cubic" and so on are those of interpolations.
    "pred" (len(GRIDS), H, W, D) becomes that on the chosen grid, on the input's scale.

    Args:
        factor: finer voxels per voxel.
        grid: of the prediction.
        baselines: nearest, linear, cubic.
    """

    def __init__(self, factor: Sequence[int], grid: str, baselines: Sequence[str] = ()):
        self.factor, self.grid, self.baselines = factor, grid, list(baselines)

    def __call__(self, data):
        item = dict(data)
        fine = item["label"][0].numpy(force=True)
        white = head_scale(fine)
        masks = {"": head_mask(fine)}
        if "regions" in item:
            masks["_brain"] = item["regions"][0].numpy(force=True) > 0
        coarse = item["image"][0].numpy(force=True) * float(item["image_scale"])
        pred = item["pred"][GRIDS.index(self.grid)][None].cpu() * float(item["image_scale"])
        item["pred"] = MetaTensor(pred, affine=item["label"].affine)
        volumes = {"": pred[0].numpy()}
        volumes |= {f"_{name}": interpolate(coarse, self.factor, self.grid, ORDERS[name]) for name in self.baselines}
        measured: dict[str, float] = {}
        for method, volume in volumes.items():
            similar = ssim(volume / white, fine / white, list(masks.values()))
            for (region, mask), value in zip(masks.items(), similar, strict=True):
                measured[f"psnr{region}{method}"] = psnr(volume / white, fine / white, mask)
                measured[f"ssim{region}{method}"] = value
        item["measured"] = measured
        return {**item, **{key: torch.tensor([measured[key]]) for key in ("psnr", "ssim")}}


class ScorePatchd(Transform):
    """ "psnr" (1,) of a training patch: "pred" (len(GRIDS), H, W, D) against what `RandDegraded` left of it under "label"."""

    def __call__(self, data):
        item = dict(data)
        pred, truth = item["pred"].numpy(force=True), item["label"][:-1].numpy(force=True)
        return {**item, "psnr": torch.tensor([psnr(pred, truth, np.isfinite(truth))])}


class FinerGridd(Transform):
    """Put a prediction (1, fH, gW, hD) onto its grid in mm and onto the input's scale; "measured" says how well it fits.

    What is darker than the darkest voxel of the input, and than 0, is set to the darker of them. Consistency is the root mean
    squared difference, inside the head, between the input and the prediction degraded again, in per cent of white (the
    99.9th percentile): structure that the input does not support shows there. It is also given for cubic interpolation.

    Args:
        factor, grid: see `shared.networks.SuperResolutionNet`.
        profile, width: of the input's voxels, see `shared.transforms.degrade`.
        timer: that knows the network's seconds.
    """

    def __init__(self, factor: Sequence[int], grid: str, profile: str, width: float, timer: TimedInferer):
        self.factor, self.grid, self.profile, self.width, self.timer = factor, grid, profile, width, timer

    def __call__(self, data):
        item = dict(data)
        image = item["image"].as_tensor().cpu()
        pred = item["pred"].cpu().clamp_min(min(0.0, float(image.min())))
        mask = head_mask(image[0].numpy())
        cubic = torch.from_numpy(interpolate(image[0].numpy(), self.factor, self.grid, ORDERS["cubic"]))[None]
        errors = {}
        for name, volume in {"consistency_percent": pred, "consistency_cubic_percent": cubic}.items():
            again = degrade(volume, self.factor, self.grid, self.profile, self.width)
            errors[name] = 100 * float(np.sqrt(np.square((again - image)[0].numpy()[mask], dtype=np.float64).mean()))
        affine = torch.from_numpy(finer_affine(np.asarray(item["image"].affine.cpu()), self.factor, self.grid))
        meta = {**item["image"].meta, "affine": affine}
        item["pred"] = MetaTensor(pred * float(item["image_scale"]), meta=meta)
        item["measured"] = {**errors, "white": float(item["image_scale"]), "seconds": self.timer.seconds.popleft()}
        return item
