"""Coarse and fine voxels: how they lie to each other, what a coarse one collects, interpolation between them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from monai.data import MetaTensor
from scipy import ndimage
from torch.nn import functional as F

GRIDS = ("block", "sample")  # how the finer voxels lie to the coarse ones, see `positions`
FWHM = 2 * np.sqrt(2 * np.log(2))  # of a Gaussian, in standard deviations
PROFILES = ("gaussian", "box", "average_pooling")
NEIGHBOURS, CORRELATION, NOISE = 4, 0.75, 0.01  # of the linear estimate; in coarse voxels, per finer voxel, of the variance
ORDERS = {"nearest": 0, "linear": 1, "cubic": 3}  # of splines


def positions(factor: int, grid: str) -> list[float]:
    """Where the finer voxels of a coarse one have their centres along an axis, in coarse voxels from its centre.

    "block": they subdivide it, -0.25 and 0.25 for factor 2. "sample": the first one has the same centre, 0 and 0.5.

    Raises:
        ValueError: another grid.
    """
    if grid not in GRIDS:
        raise ValueError(f"grid is '{grid}', expected one of {', '.join(GRIDS)}")
    start = (1 / factor - 1) / 2 if grid == "block" else 0.0
    return [start + i / factor for i in range(factor)]


def profile_weights(distances: np.ndarray, factor: int, profile: str, width: float) -> np.ndarray:
    """What a coarse voxel collects of finer ones along an axis; sums to 1.

    Args:
        distances: of their centres from its centre, in finer voxels.
        factor: finer voxels per coarse one.
        profile: "gaussian", its full width at half maximum is `width` coarse voxels; "box", an even mean over `width` coarse
            voxels (an ideal slice); "average_pooling", an even mean over two coarse voxels, as DLTK's IXI application has it.
        width: in coarse voxels.

    Raises:
        ValueError: another profile.
    """
    if profile == "gaussian":
        weights = np.exp(-0.5 * (distances / (width * factor / FWHM)) ** 2)
    elif profile in ("box", "average_pooling"):
        half = factor * (2.0 if profile == "average_pooling" else width) / 2
        weights = np.clip(half + 0.5 - np.abs(distances), 0, 1)  # the part of each finer voxel that lies inside
    else:
        raise ValueError(f"profile is '{profile}', expected one of {', '.join(PROFILES)}")
    return weights / weights.sum()


def linear_weights(factor: int, grid: str) -> np.ndarray:
    """The best linear estimate of the finer voxels in a coarse one from it and four neighbours on either side of an axis.

    Least squares (a Wiener filter) for Gaussian profiles with a full width at half maximum of one coarse voxel, finer voxels
    whose correlation falls to 0.75 from one to the next, and a little noise. Along each axis in turn it brings more than half
    of what a linear filter fitted to images brings over cubic interpolation, and needs no images.

    Returns:
        (factor, 9), rows sum to 1; (1, 1) for factor 1.
    """
    if factor == 1:
        return np.ones((1, 1))
    coarse = np.arange(-NEIGHBOURS, NEIGHBOURS + 1) * factor
    wanted = np.array(positions(factor, grid)) * factor
    fine = wanted[0] + np.arange(-(NEIGHBOURS + 3) * factor, (NEIGHBOURS + 4) * factor)
    collect = np.stack([profile_weights(fine - place, factor, "gaussian", 1.0) for place in coarse])
    seen = collect @ CORRELATION ** np.abs(fine[:, None] - fine) @ collect.T + NOISE * np.eye(len(coarse))
    weights = CORRELATION ** np.abs(wanted[:, None] - fine) @ collect.T @ np.linalg.inv(seen)
    return weights / weights.sum(1, keepdims=True)


def degrade(
    image: torch.Tensor,
    factor: Sequence[int],
    grid: str = "block",
    profile: str = "gaussian",
    width: float | Sequence[float] = 1.0,
) -> torch.Tensor:
    """The image as larger voxels would show it, without noise.

    Args:
        image: (C, H, W, D), sides multiples of `factor`; what lies outside is as the outermost voxels.
        factor: voxels per larger voxel along each axis.
        grid: how the voxels lie to the larger ones, see `positions`. "sample" takes every factor-th
            voxel's place, "block" the middle of as many.
        profile: of a larger voxel, see `profile_weights`.
        width: of the profile in larger voxels, one number or one for each axis.

    Returns:
        (C, H / f, W / g, D / h), a plain tensor.

    Raises:
        ValueError: a side is no multiple.
    """
    image = image.as_tensor() if isinstance(image, MetaTensor) else image
    if any(n % f for n, f in zip(image.shape[1:], factor, strict=True)):
        raise ValueError(f"shape {tuple(image.shape[1:])} has sides that are no multiples of factor {list(factor)}")
    widths = [width] * 3 if isinstance(width, int | float) else width
    for axis, (f, w) in enumerate(zip(factor, widths, strict=True)):
        if f == 1:
            continue
        centre = -positions(f, grid)[0] * f  # of the larger voxel, from its first finer one
        reach = int(np.ceil(1.5 * f * max(w, 1.4)))
        offsets = np.arange(-reach, f + reach)
        weights = torch.from_numpy(profile_weights(offsets - centre, f, profile, w)).to(image)
        shape = [1, 1, 1, 1, 1]
        shape[2 + axis] = len(offsets)
        pads, stride = [0] * 6, [1, 1, 1]
        pads[2 * (2 - axis) : 2 * (2 - axis) + 2] = [reach, reach]
        stride[axis] = f
        image = F.conv3d(F.pad(image[:, None], pads, mode="replicate"), weights.reshape(shape), stride=stride)[:, 0]
    return image


def finer_affine(affine: np.ndarray, factor: Sequence[int], grid: str) -> np.ndarray:
    """Affine of the finer grid from that of the coarse one, both from voxels to mm (4, 4)."""
    change = np.diag([*(1 / f for f in factor), 1.0])
    change[:3, 3] = [positions(f, grid)[0] for f in factor]
    return np.asarray(affine, dtype=float) @ change


def coarser_affine(affine: np.ndarray, factor: Sequence[int], grid: str) -> np.ndarray:
    """The inverse of `finer_affine`: affine of the coarse grid from that of the finer one."""
    change = np.linalg.inv(finer_affine(np.eye(4), factor, grid))
    return np.asarray(affine, dtype=float) @ change


def rician(image: torch.Tensor, deviation: float, random: np.random.RandomState) -> torch.Tensor:
    """The magnitude of the image plus complex Gaussian noise."""
    real, imaginary = (torch.from_numpy(random.normal(0, deviation, image.shape)).to(image) for _ in range(2))
    return ((image + real).square() + imaginary.square()).sqrt()


def interpolate(image: np.ndarray, factor: Sequence[int], grid: str, order: int) -> np.ndarray:
    """A volume (H, W, D) on the finer grid (fH, gW, hD), by splines of an order 0 to 5 (cubic: 3)."""
    offset = [positions(f, grid)[0] for f in factor]
    if order == 0:  # in the middle between two voxels take the one that holds it
        offset = [o + 1e-6 for o in offset]
    shape = [n * f for n, f in zip(image.shape, factor, strict=True)]
    return ndimage.affine_transform(image, np.diag([1 / f for f in factor]), offset, shape, order=order, mode="nearest")
