"""Smooth random fields, smoothing, and the time that something growing needs to reach each voxel."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.nn import functional as F


def positions(shape: Sequence[int], spacing: Sequence[float], device: torch.device) -> torch.Tensor:
    """Voxel centres in mm from the first voxel, (3, *shape), float32."""
    axes = [torch.arange(n, dtype=torch.float32, device=device) * s for n, s in zip(shape, spacing, strict=True)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def smooth_field(
    random: torch.Generator, shape: Sequence[int], spacing: Sequence[float], length: float, device: torch.device
) -> torch.Tensor:
    """Gaussian random field of mean 0 and variance 1 that varies over `length` mm, (H, W, D), float32.

    Drawn by the generator, which is the CPU's, on a coarse grid of that pitch and interpolated on `device`: the same seed
    gives the same field everywhere, at a cost that hardly depends on the length.
    """
    coarse = [max(3, math.ceil(n * s / length) + 2) for n, s in zip(shape, spacing, strict=True)]
    noise = torch.randn(1, 1, *coarse, generator=random).to(device)
    noise = F.avg_pool3d(F.pad(noise, [1] * 6, mode="replicate"), 2, stride=1)  # rounds the creases of the interpolation
    field = F.interpolate(noise, tuple(shape), mode="trilinear", align_corners=True)[0, 0]
    return (field - field.mean()) / field.std().clamp_min(1e-6)


def soften(volume: torch.Tensor, sigma: Sequence[float]) -> torch.Tensor:
    """Gaussian smoothing of (..., H, W, D) with a standard deviation in voxels along each axis; edges are repeated."""
    size = volume.shape[-3:]
    result = volume.reshape(-1, 1, *size)
    for axis, width in enumerate(sigma):
        if width < 0.1:
            continue
        reach = max(1, math.ceil(2.5 * width))
        taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=volume.device) / width) ** 2)
        shape, padding = [1, 1, 1, 1, 1], [0] * 6
        shape[2 + axis], padding[4 - 2 * axis], padding[5 - 2 * axis] = len(taps), reach, reach
        result = F.conv3d(F.pad(result, padding, mode="replicate"), (taps / taps.sum()).view(shape))
    return result.reshape(volume.shape)


def travel_time(start: torch.Tensor, speed: torch.Tensor, spacing: Sequence[float], limit: float) -> torch.Tensor:
    """First arrival time at each voxel: the solution of |grad T| * speed = 1 (eikonal equation).

    Godunov's upwind scheme, all voxels at once until nothing can move within `limit`: parallel, so it suits a GPU. Only
    in the box that the fronts may reach, one voxel a step: that is a fraction of a head of 1 mm.

    Args:
        start: (H, W, D), known times, infinite elsewhere.
        speed: (H, W, D) in mm per unit of time, 0 to 1 where the limit shall be reached in `limit` / mean spacing steps.
        spacing: mm.
        limit: of the times that are of interest; later ones are set to it.

    Returns:
        (H, W, D), 0 to `limit`. With an unlike spacing along the axes distances are those of its mean.
    """
    mean = sum(spacing) / len(spacing)
    steps = math.ceil(1.75 * limit / mean)  # a diagonal takes 1.73 for its length
    result = start.clamp_max(limit)
    begun = torch.nonzero(start.isfinite())
    if not len(begun):
        return result
    box = tuple(
        slice(max(a - steps, 0), b + steps + 1) for a, b in zip(*(e.tolist() for e in begun.aminmax(dim=0)), strict=True)
    )
    cost, time = mean / speed[box].clamp_min(1e-3), result[box]
    for _ in range(steps):
        padded = F.pad(time[None, None], [1] * 6, mode="replicate")[0, 0]
        x = torch.minimum(padded[:-2, 1:-1, 1:-1], padded[2:, 1:-1, 1:-1])
        y = torch.minimum(padded[1:-1, :-2, 1:-1], padded[1:-1, 2:, 1:-1])
        z = torch.minimum(padded[1:-1, 1:-1, :-2], padded[1:-1, 1:-1, 2:])
        low, high = torch.minimum(x, y), torch.maximum(x, y)
        a, c = torch.minimum(low, z), torch.maximum(high, z)
        b = torch.maximum(low, torch.minimum(high, z))
        # from the two earliest neighbours; that is one where the second is not earlier than what the first gives
        gap = (b - a).clamp_max_(cost)
        two = 0.5 * (2 * a + gap + (2 * cost * cost - gap * gap).sqrt_())
        total = a + b + c
        root = total * total - 3 * (a * a + b * b + c * c - cost * cost)
        three = (total + root.clamp_min_(0).sqrt_()) / 3
        time = torch.minimum(time, torch.where(c < two, three, two))
    result[box] = time
    return result
