"""Dense displacement fields in mm: made whole from affine and deformable parts, inverted, measured, and applied.

A field belongs to the grid of the fixed image: a voxel there at p mm shows what the moving image has at p + field(p) mm.
Points, in contrast, go along with the tissue, from the moving to the fixed image: through the inverse. All mm are RAS
here; files that ITK reads are LPS (`shared.registration.itk`). Grids are voxel-to-mm matrices (n + 1, n + 1), n being 2 or 3.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

INVERSE_STEPS = 20


def homogeneous(affine, dims: int) -> torch.Tensor:
    """The first `dims` axes of a voxel-to-mm matrix (4, 4), float64 (dims + 1, dims + 1)."""
    affine = torch.as_tensor(np.asarray(affine), dtype=torch.float64)
    keep = [*range(dims), affine.shape[0] - 1]
    return affine[keep][:, keep]


def identity(shape, device=None) -> torch.Tensor:
    """Index of every voxel, (n, *shape) float32."""
    axes = [torch.arange(n, dtype=torch.float32, device=device) for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def transform(matrix: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """A matrix (n + 1, n + 1) applied to places (n, ...)."""
    matrix = matrix.to(places)
    n = len(places)
    return (matrix[:n, :n] @ places.flatten(1)).view_as(places) + matrix[:n, n].view(n, *[1] * (places.ndim - 1))


def sample(image: torch.Tensor, places: torch.Tensor, mode: str = "bilinear", padding: str = "zeros") -> torch.Tensor:
    """Values of an image (C, *size) at voxel indices (n, *shape): (C, *shape), float32.

    Args:
        mode: "bilinear" (in 3D trilinear) or "nearest".
        padding: what lies outside, "zeros" or "border" (the nearest voxel).
    """
    n = len(places)
    size = torch.tensor(image.shape[1:], device=places.device, dtype=places.dtype).view(n, *[1] * (places.ndim - 1))
    if mode == "nearest":  # by hand, since float32 would round label values above 2^24 and half voxels unlike nibabel
        index = torch.floor(places + 0.5).long()
        inside = ((index >= 0) & (index < size)).all(0)
        index = [i.clamp(0, s - 1) for i, s in zip(index, image.shape[1:], strict=True)]
        return torch.where(inside, image[(slice(None), *index)], torch.zeros((), dtype=image.dtype, device=image.device))
    grid = (2 * places / (size - 1).clamp_min(1) - 1).flip(0).movedim(0, -1)
    flat = grid.reshape(1, *grid.shape[:-1], n) if places.ndim == n + 1 else grid.reshape(1, -1, *[1] * (n - 1), n)
    found = F.grid_sample(image.float()[None], flat, mode="bilinear", padding_mode=padding, align_corners=True)
    return found.reshape(len(image), *places.shape[1:])


def total_field(ddf: torch.Tensor, fixed_grid, moving_grid, affine, shape) -> torch.Tensor:
    """The whole way from the fixed to the moving image as a field on the fixed image's own grid.

    The network sees both heads on a working grid, which lies in the space of each of them: x, a voxel of it, is at
    fixed_grid x mm in the fixed head, and after the affine part at moving_grid x mm in the moving one.

    Args:
        ddf: (n, *working) displacement in voxels of the working grid; outside it goes on as at its border.
        fixed_grid: voxels of the working grid to mm of the fixed image.
        moving_grid: likewise of the moving image.
        affine: voxels to mm of the fixed image.
        shape: of the fixed image.

    Returns:
        (n, *shape), mm.
    """
    n = len(ddf)
    fixed_grid, moving_grid, affine = (homogeneous(m, n) for m in (fixed_grid, moving_grid, affine))
    places = transform(torch.linalg.inv(fixed_grid) @ affine, identity(shape, ddf.device))
    # the affine part apart and in one step, since the difference of two large positions would lose digits
    rest = (moving_grid @ torch.linalg.inv(fixed_grid) - torch.eye(n + 1, dtype=torch.float64)) @ affine
    linear = moving_grid[:n, :n].to(ddf)
    bent = (linear @ sample(ddf, places, padding="border").flatten(1)).view(n, *shape)
    return transform(rest, identity(shape, ddf.device)) + bent


def invert(ddf: torch.Tensor, steps: int = INVERSE_STEPS) -> torch.Tensor:
    """The displacement field (n, *shape), in voxels, that undoes another one of the same grid.

    Damped fixed-point iteration, which converges where the field stretches less than fourfold and does not fold.
    """
    places = identity(ddf.shape[1:], ddf.device)
    inverse = -ddf
    for _ in range(steps):
        inverse = inverse - 0.6 * (inverse + sample(ddf, places + inverse, padding="border"))
    return inverse


def round_trip(field: torch.Tensor, affine, inverse: torch.Tensor, inverse_affine) -> torch.Tensor:
    """mm from where a voxel of the grid of `field` started to where both fields bring it, NaN where it leaves the other."""
    n = len(field)
    affine, inverse_affine = homogeneous(affine, n), homogeneous(inverse_affine, n)
    start = identity(field.shape[1:], field.device)
    there = transform(torch.linalg.inv(inverse_affine), transform(affine, start) + field)
    size = torch.tensor(inverse.shape[1:], device=field.device).view(n, *[1] * n)
    left = ((there < 0) | (there > size - 1)).any(0)
    gap = (field + sample(inverse, there, padding="border")).norm(dim=0)
    return gap.masked_fill(left, torch.nan)


def jacobian(field: torch.Tensor, affine) -> torch.Tensor:
    """Determinant of the derivative of p + field(p): volume that a voxel has in the moving image over what it has here.

    Central differences inside, one-sided ones at the borders; 0 or less means folding.

    Args:
        field: (n, *shape), mm.
        affine: voxels to mm of its grid.
    """
    n = len(field)
    to_voxels = torch.linalg.inv(homogeneous(affine, n))[:n, :n].tolist()
    slopes = [_slope(field, axis) for axis in range(n)]  # mm per voxel
    m = []
    for j in range(n):
        per_mm = sum(slopes[axis] * to_voxels[axis][j] for axis in range(n) if to_voxels[axis][j] != 0)
        per_mm[j] += 1
        m.append(per_mm)  # (component, *shape), along the axis j of mm
    if n == 2:
        return m[0][0] * m[1][1] - m[0][1] * m[1][0]
    return (
        m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1])
        - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
        + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
    )


def _slope(field: torch.Tensor, axis: int) -> torch.Tensor:
    """Change of a field (n, *shape) from voxel to voxel along an axis."""
    result, last = torch.empty_like(field), field.shape[axis + 1] - 1
    inside = result.narrow(axis + 1, 1, last - 1)
    torch.sub(field.narrow(axis + 1, 2, last - 1), field.narrow(axis + 1, 0, last - 1), out=inside)
    inside *= 0.5
    for here, there in ((0, 1), (last, last - 1)):
        sign = 1 if there > here else -1
        result.select(axis + 1, here).copy_((field.select(axis + 1, there) - field.select(axis + 1, here)) * sign)
    return result


def warp(moving: torch.Tensor, moving_affine, field: torch.Tensor, affine, mode: str = "bilinear") -> torch.Tensor:
    """The moving image (C, *size) on the grid of the field (n, *shape): (C, *shape), 0 where it has nothing."""
    n = len(field)
    to_voxels = torch.linalg.inv(homogeneous(moving_affine, n))
    start = transform(to_voxels @ homogeneous(affine, n), identity(field.shape[1:], field.device))
    step = (to_voxels[:n, :n].to(field) @ field.flatten(1)).view_as(field)
    return sample(moving, start + step, mode)


def move_points(points: torch.Tensor, inverse: torch.Tensor, inverse_affine) -> torch.Tensor:
    """Where points of the moving image lie in the fixed one; NaN for points outside the moving image.

    Args:
        points: (N, n) in mm.
        inverse: the inverse field (n, *shape) on the moving image's grid, mm.
        inverse_affine: voxels to mm of that grid.
    """
    n = len(inverse)
    places = transform(torch.linalg.inv(homogeneous(inverse_affine, n)).double(), points.T.double())
    size = torch.tensor(inverse.shape[1:]).view(n, 1)
    outside = ((places < -0.5) | (places > size - 0.5)).any(0)
    moved = points.double() + sample(inverse, places.float(), padding="border").T.double()
    return moved.masked_fill(outside[:, None], torch.nan)
