"""Slices of a volume: drawn for training, rebuilt from vectors, and scored."""

from __future__ import annotations

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.metrics.regression import compute_ms_ssim, compute_ssim_and_cs
from monai.transforms import MapTransform, Randomizable, Transform

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, from the finest (Wang et al. 2003)
KERNEL = 11  # pixels


def as_slices(volume: torch.Tensor) -> torch.Tensor:
    """(C, H, W, D) to (D, C, H, W), without metadata, in float32 on the CPU."""
    return volume.as_subclass(torch.Tensor).float().cpu().permute(3, 0, 1, 2)


def ms_ssim(pred: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Multi-scale SSIM (Wang et al. 2003) of each of the slices (N, C, H, W) for a data range of 1, (N,).

    The standard's Gaussian windows of 11 x 11 pixels and weights; of five scales those whose image is larger than the window,
    with their weights divided by their sum: four for slices of 112 pixels, five from 176 on.
    """
    scales = sum(min(truth.shape[2:]) // 2**scale >= KERNEL for scale in range(len(MS_SSIM_WEIGHTS)))
    weights = np.array(MS_SSIM_WEIGHTS[:scales]) / sum(MS_SSIM_WEIGHTS[:scales])
    return compute_ms_ssim(pred, truth, spatial_dims=2, kernel_size=KERNEL, weights=weights.tolist())[:, 0]


def score_slices(pred: torch.Tensor, truth: torch.Tensor) -> dict[str, float]:
    """Scores of reconstructed slices (N, C, H, W) for a data range of 1, each the mean over the slices.

    "ms_ssim", "ssim" (windows of 11 pixels), "psnr" in dB and "mae".
    """
    error = pred - truth
    psnr = -10 * torch.log10(error.square().flatten(1).mean(1).clamp_min(1e-12))
    similar = compute_ssim_and_cs(pred, truth, 2, (KERNEL,) * 2, (1.5,) * 2)[0].flatten(1).mean(1)
    values = {"ms_ssim": ms_ssim(pred, truth), "ssim": similar, "psnr": psnr, "mae": error.abs()}
    return {name: float(value.mean()) for name, value in values.items()}


class RandSpreadSlicesd(Randomizable, MapTransform):
    """Draw slices of volumes (C, H, W, D), the same of each key, as a list of items with (C, H, W) without metadata.

    Args:
        keys: the volumes.
        count: slices that are drawn without replacement, evenly along the volume: one from each of `count` equal stretches.
    """

    def __init__(self, keys: KeysCollection, count: int):
        MapTransform.__init__(self, keys)
        self.count = count

    def __call__(self, data) -> list[dict]:
        depth = data[self.keys[0]].shape[-1]
        edges = np.linspace(0, depth, self.count + 1)
        drawn = np.floor(self.R.uniform(edges[:-1], edges[1:])).astype(int).clip(0, depth - 1)
        volumes = {key: data[key].as_subclass(torch.Tensor) for key in self.key_iterator(data)}
        return [{**data, **{key: volume[..., i].contiguous() for key, volume in volumes.items()}} for i in drawn]


class ScoreSlicesd(Transform):
    """Scores of the reconstruction "pred" of "image", both (C, H, W, D), as "measured"; "ms_ssim" also as a tensor (1,)."""

    def __call__(self, data):
        item = dict(data)
        item["measured"] = score_slices(as_slices(item["pred"]), as_slices(item["image"]))
        return {**item, "ms_ssim": torch.tensor([item["measured"]["ms_ssim"]])}


class RebuildSlicesd(Transform):
    """What vectors of slices, "pred" (D, K), say: a row of a table, and the slices rebuilt from them.

    "latent" (D, K) becomes these vectors, "centre_mm" (D, 3) the place of each slice's middle, "pred" (C, H, W, D) the
    reconstruction with the affine of "image", "volume" the same on the scale of the file. "measured" are "ms_ssim" of the
    reconstruction, which is low where an image is unlike those of the training, and "z0000" and so on, the mean vector.

    Args:
        network: with `decode`, as `shared.networks.SliceAutoEncoder` has it.
    """

    def __init__(self, network: torch.nn.Module):
        self.network = network.eval()  # for good: an evaluator sets and resets the mode, perhaps in another thread

    def __call__(self, data):
        item = dict(data)
        image, latent = item["image"], item["pred"].as_subclass(torch.Tensor).float()
        with torch.no_grad():
            rebuilt = self.network.decode(latent.to(next(self.network.parameters()).device)).float().cpu()
        meta = {**image.meta, "affine": image.affine.cpu()}
        pred = rebuilt.permute(1, 2, 3, 0).contiguous()
        scale = item["image_scale"].cpu()[:, None, None, None].float()
        middle = (np.array(image.shape[1:3]) - 1) / 2
        centres = np.array([[*middle, i, 1] for i in range(len(latent))]) @ np.asarray(image.affine.cpu()).T
        similar = float(ms_ssim(rebuilt, as_slices(image)).mean())
        item["measured"] = {"ms_ssim": similar, **{f"z{i:04d}": float(z) for i, z in enumerate(latent.mean(0))}}
        item |= {"latent": latent.cpu(), "centre_mm": torch.from_numpy(centres[:, :3])}
        return {**item, "pred": MetaTensor(pred, meta=meta), "volume": MetaTensor(pred * scale, meta=meta)}
