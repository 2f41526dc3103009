"""Affine registration of heads by Gauss-Newton steps over a pyramid, in plain PyTorch: a fraction of a second on a CPU."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from monai.data import MetaTensor
from torch.nn import functional as F

AIR = 0.15  # of a bright head's intensity; air with its noise lies below, skin above
CRANIUM_MM = 80.0  # from the top of the head: the part without face and neck
# mm of the voxels of both images, how many of the best starts go on, steps at most, and whether shear and stretch are free
LEVELS = ((8.0, 3, 15, False), (4.0, 1, 15, True), (3.0, 1, 6, True))
POINTS = 30_000  # of the fixed image, spread evenly, are compared at most
STARTS_MM, STARTS_NOD = (-20.0, 0.0, 20.0), (-0.3, 0.0, 0.3)  # forwards and upwards; radians around the axis through the ears
LEAST_OVERLAP = 0.5
BRAIN, OUTSIDE = 0.9, 0.2  # diameter of an ellipsoid over the size of the image, and how much what is outside it counts


class AlignmentError(ValueError):
    """Two images cannot be brought onto each other."""


def matrix_of(image: MetaTensor) -> np.ndarray:
    """Voxels to mm of an image (C, H, W, D), float64 (4, 4)."""
    return image.affine.cpu().numpy().astype(np.float64)


def coarse(image: MetaTensor, spacing: float) -> tuple[torch.Tensor, np.ndarray]:
    """An image (1, H, W, D) averaged over blocks so that its voxels become about `spacing` mm wide.

    Returns:
        (1, 1, h, w, d) float32, and its voxels to mm (4, 4).
    """
    affine = matrix_of(image)
    width = np.linalg.norm(affine[:3, :3], axis=0)
    factor = [max(1, min(round(spacing / w), n)) for w, n in zip(width, image.shape[1:], strict=True)]
    pooled = F.avg_pool3d(image.as_tensor().float()[None], factor)
    blocks = np.diag([*factor, 1.0])
    blocks[:3, 3] = (np.array(factor) - 1) / 2
    return pooled, affine @ blocks


def voxels_mm(shape, affine: np.ndarray) -> torch.Tensor:
    """Positions in mm of all voxels of a grid, (N, 3) float64."""
    axes = [torch.arange(n, dtype=torch.float64) for n in shape]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    return places @ torch.from_numpy(affine[:3, :3]).T + torch.from_numpy(affine[:3, 3])


def cranium(volume: torch.Tensor, affine: np.ndarray) -> np.ndarray:
    """A point in a head that is found again in every head: below its highest point, in the middle of what lies near it.

    Args:
        volume: (1, 1, H, W, D), air near 0, voxels of some mm.
        affine: voxels to mm, the third axis of which points upwards.

    Returns:
        (3,) in mm.

    Raises:
        AlignmentError: nothing is brighter than air.
    """
    data = volume.flatten()
    inside = voxels_mm(volume.shape[2:], affine)[
        data > AIR * torch.quantile(data[:: max(1, len(data) // 100_000)], 0.99)
    ].numpy()
    step = float(np.abs(affine[2, :3]).max())
    levels = np.floor((inside[:, 2] - inside[:, 2].min(initial=0)) / step).astype(int)
    # a slice through the head holds at least 20 cm2 of it; specks of noise do not
    area = np.bincount(levels, minlength=1) * abs(np.linalg.det(affine[:3, :3])) / step
    if not (area > 2000).any():
        raise AlignmentError(f"no head found: no axial slice has 20 cm2 brighter than {AIR:.0%} of the brightest voxels")
    top = inside[:, 2].min() + (np.flatnonzero(area > 2000)[-1] + 1) * step
    upper = inside[(inside[:, 2] > top - CRANIUM_MM) & (inside[:, 2] <= top)]
    return np.array([*np.median(upper[:, :2], axis=0), top - CRANIUM_MM])


def generators(free: bool) -> np.ndarray:
    """Small motions around the origin (K, 4, 4): three shifts, then three turns and a change of size, or a whole matrix."""
    shifts = np.zeros((3, 4, 4))
    shifts[[0, 1, 2], [0, 1, 2], 3] = 1
    if free:
        linear = np.zeros((9, 4, 4))
        linear[np.arange(9), np.arange(9) // 3, np.arange(9) % 3] = 1
    else:
        linear = np.zeros((4, 4, 4))
        for i, (a, b) in enumerate(((1, 2), (2, 0), (0, 1))):
            linear[i, a, b], linear[i, b, a] = -1, 1
        linear[3, :3, :3] = np.eye(3)
    return np.concatenate([shifts, linear])


class Level:
    """Two images at one resolution, and how well a transform brings one onto the other.

    Args:
        moving: (1, H, W, D) with affine.
        fixed: likewise.
        spacing: mm.
    """

    def __init__(self, moving: MetaTensor, fixed: MetaTensor, spacing: float):
        volume, self.moving_affine = coarse(moving, spacing)
        target, affine = coarse(fixed, spacing)
        scale = volume.abs().max().clamp_min(1e-6)
        gradients = torch.gradient(volume[0, 0] / scale)
        self.moving = torch.cat([volume / scale, torch.stack(gradients)[None]], 1)
        self.size = torch.tensor(volume.shape[2:], dtype=torch.float64)
        every = max(1, target.numel() // POINTS)
        self.points = voxels_mm(target.shape[2:], affine)[::every]
        self.target = (target.flatten() / target.abs().max().clamp_min(1e-6))[::every].double()
        self.to_voxels = np.linalg.inv(self.moving_affine)
        # the brain, which is what has to fit, lies in the ellipsoid that fills the fixed image, skull and neck around it
        index = (self.points - self.points.mean(0)) @ torch.from_numpy(np.linalg.inv(affine[:3, :3])).T
        radius = (index / (torch.tensor(target.shape[2:]) * BRAIN / 2)).norm(dim=1)
        self.weight = torch.where(radius < 1, 1.0, OUTSIDE).double()

    def sample(self, transform: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Value and gradient (4, N) of the moving image where the fixed voxels go, and which (N,) go inside it."""
        matrix = torch.from_numpy(self.to_voxels @ transform)
        grid = 2 * (self.points @ matrix[:3, :3].T + matrix[:3, 3]) / (self.size - 1).clamp_min(1) - 1
        sampled = F.grid_sample(
            self.moving, grid.flip(1).float().view(1, -1, 1, 1, 3), align_corners=True, padding_mode="zeros"
        )
        return sampled.view(4, -1).double(), (grid.abs() <= 1).all(1)

    def similarity(self, transform: np.ndarray) -> float:
        """Correlation of the fixed image with the moved one; what lies outside the moving image counts as air."""
        return self._correlation(self.sample(transform)[0])

    def _correlation(self, sampled: torch.Tensor) -> float:
        values, target = (v - (self.weight * v).sum() / self.weight.sum() for v in (sampled[0], self.target))
        products = [(self.weight * a * b).sum() for a, b in ((values, target), (values, values), (target, target))]
        return float(products[0] / (products[1] * products[2]).sqrt().clamp_min(1e-9))

    def refine(self, transform: np.ndarray, motions: np.ndarray, steps: int) -> tuple[np.ndarray, float]:
        """Improve a transform step by step, as long as the correlation grows."""
        centre, damping = self.points.mean(0), 1e-3
        here = self.sample(transform)
        best = self._correlation(here[0])
        for _ in range(steps):
            proposal = transform @ self._step(transform, here, motions, centre, damping)
            there = self.sample(proposal)
            found = self._correlation(there[0])
            if found > best:
                gain, best, transform, here, damping = found - best, found, proposal, there, damping / 5
                if gain < 2e-5:
                    break
            else:
                damping *= 20
                if damping > 1e2:
                    break
        return transform, best

    def _step(self, transform, here, motions: np.ndarray, centre: torch.Tensor, damping: float) -> np.ndarray:
        """The motion (4, 4) of the fixed space that reduces the squared difference to a linear function of the moved image."""
        sampled, inside = here
        matrix = torch.from_numpy(self.to_voxels @ transform)
        values, target = sampled[0, inside], self.target[inside]
        design = torch.stack([values, torch.ones_like(values)], 1)
        slope, offset = torch.linalg.lstsq(design, target[:, None]).solution[:, 0]
        residual = target - slope * values - offset
        spread = 1.5 * residual.abs().median().clamp_min(1e-6)
        weight = self.weight[inside] / (
            1 + (residual / spread / 2) ** 2
        )  # what has no counterpart, such as necks, should not count
        gradient = slope * sampled[1:, inside].T @ matrix[:3, :3]
        offsets = (self.points[inside] - centre) / 100  # one unit of every motion is about one mm
        offsets = torch.cat([offsets, torch.ones_like(offsets[:, :1])], 1)
        # how every entry of a (3, 4) matrix would change the values; motions are sums of such changes
        jacobian = (gradient[:, :, None] * offsets[:, None]).flatten(1)
        basis = torch.from_numpy(motions[:, :3]).flatten(1)
        normal = basis @ (jacobian.T @ (weight[:, None] * jacobian)) @ basis.T
        right = basis @ (jacobian.T @ (weight * residual))
        normal += damping * torch.diag(torch.diag(normal)) + 1e-9 * torch.eye(len(normal), dtype=normal.dtype)
        amounts = torch.linalg.solve(normal, right).numpy()
        total = np.tensordot(amounts, motions, 1)
        total[:3, :3] /= 100
        around = np.eye(4)
        around[:3, 3] = centre.numpy()
        return around @ torch.linalg.matrix_exp(torch.from_numpy(total)).numpy() @ np.linalg.inv(around)


def align(moving: MetaTensor, fixed: MetaTensor, affine: bool = True) -> np.ndarray:
    """The affine transform from a fixed to a moving head that makes the moving one look like the fixed one.

    Starts from the tops of both heads in several positions. The similarity is the correlation of intensities, which a linear
    change of contrast leaves alone. The result is the same every time.

    Args:
        moving: (1, H, W, D) with affine in RAS mm, any orientation and spacing.
        fixed: likewise.
        affine: False leaves stretch and shear out.

    Returns:
        (4, 4): mm in the fixed image to mm in the moving one.

    Raises:
        AlignmentError: no head is found, or half of the fixed image goes outside the moving one.
    """
    with one_thread():
        # sums depend on where in memory the numbers lie, in the last digits; a millionth is exact enough
        best = np.round(_search(moving, fixed, affine), 6)
    check_overlap(best, moving, fixed)
    return best


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One thread for tensors this small: others cost more than they bring, and ten times that on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _search(moving: MetaTensor, fixed: MetaTensor, affine: bool) -> np.ndarray:
    low, low_fixed = coarse(moving, LEVELS[0][0]), coarse(fixed, LEVELS[0][0])
    shift = cranium(*low) - (middle := cranium(*low_fixed))
    starts = []
    for nod in STARTS_NOD:
        turn = np.eye(4)
        turn[1:3, 1:3] = [[np.cos(nod), -np.sin(nod)], [np.sin(nod), np.cos(nod)]]
        turn[:3, 3] = middle - turn[:3, :3] @ middle + shift
        for forwards in STARTS_MM:
            for upwards in STARTS_MM:
                start = turn.copy()
                start[1:3, 3] += forwards, upwards
                starts.append(start)
    for spacing, keep, steps, free in LEVELS:
        level = Level(moving, fixed, spacing)
        starts = sorted(starts, key=level.similarity, reverse=True)[:keep]
        refined = [level.refine(start, generators(free and affine), steps) for start in starts]
        starts = [transform for transform, _ in sorted(refined, key=lambda pair: -pair[1])]
    return starts[0]


def check_overlap(transform: np.ndarray, moving: MetaTensor, fixed: MetaTensor) -> float:
    """Share of the fixed image (1, H, W, D) that `transform` (fixed to moving mm) takes into the moving one.

    Raises:
        AlignmentError: less than half.
    """
    points = voxels_mm([8, 8, 8], matrix_of(fixed) @ np.diag([*((np.array(fixed.shape[1:]) - 1) / 7), 1]))
    matrix = torch.from_numpy(np.linalg.inv(matrix_of(moving)) @ transform)
    places = points @ matrix[:3, :3].T + matrix[:3, 3]
    last = torch.tensor(moving.shape[1:], dtype=torch.float64) - 1
    share = float(((places >= -0.5) & (places <= last + 0.5)).all(1).double().mean())
    if share < LEAST_OVERLAP:
        raise AlignmentError(
            f"only {share:.0%} of the fixed image lies in the moving one's field of view, expected half or more"
        )
    return share
