"""Bring whole heads onto one grid without a skull-stripping program."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import GaussianSmooth, MapTransform, SpatialCrop, SpatialPad, SpatialResample
from monai.utils import convert_to_dst_type
from scipy import ndimage

AIR = 0.15  # of a bright head's intensity; air with its noise lies below, skin above
HEIGHT_MM = 150.0  # from the top of the head, which holds the whole brain but little neck


class SmoothForSpacingd(MapTransform):
    """Smooth an image before `Spacingd` makes its voxels larger, so that the result is that of the larger voxels (no aliasing).

    A Gaussian of sigma 0.42 * sqrt((new/old)^2 - 1) voxels along each axis, which brings a voxel's width to the new one;
    none where the voxels become smaller.

    Args:
        keys: images (C, H, W, D) with affine.
        pixdim: spacing in mm that Spacingd is going to have.
    """

    def __init__(self, keys: KeysCollection, pixdim: Sequence[float]):
        super().__init__(keys)
        self.pixdim = tuple(pixdim)

    def __call__(self, data):
        item = dict(data)
        for key in self.key_iterator(item):
            ratio = np.asarray(self.pixdim) / np.asarray(item[key].pixdim)
            sigma = 0.42 * np.sqrt(np.maximum(ratio**2 - 1, 0))
            if sigma.max() > 0.1:
                item[key] = GaussianSmooth(sigma=[float(max(s, 1e-3)) for s in sigma])(item[key])
        return item


class SmoothMmd(MapTransform):
    """Smooth an image by a Gaussian of a given width in mm, whatever its voxels, and as if its last ones went on beyond it.

    Args:
        keys: images (C, H, W, D) with affine.
        sigma: standard deviation in mm along every axis.
    """

    def __init__(self, keys: KeysCollection, sigma: float):
        super().__init__(keys)
        self.sigma = sigma

    def __call__(self, data):
        item = dict(data)
        for key in self.key_iterator(item):
            image = item[key]
            sigma = [0.0, *(self.sigma / float(spacing) for spacing in image.pixdim)]
            # SciPy's is ten times as fast as monai.transforms.GaussianSmooth on the CPU
            smooth = ndimage.gaussian_filter(image.numpy(force=True), sigma, mode="nearest")
            item[key] = convert_to_dst_type(smooth, image)[0]
        return item


def _crossing(profile: np.ndarray, level: float, inside: int, outside: int) -> float:
    """Where a profile falls to a level between the last place inside and its neighbour outside, which may not exist."""
    if not 0 <= outside < len(profile):
        return float(inside)
    return inside + (outside - inside) * float((profile[inside] - level) / (profile[inside] - profile[outside]))


def head_box(image: torch.Tensor, spacing: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Where the head begins and ends: the upper 150 mm of what is brighter than air.

    Args:
        image: (H, W, D) in RAS orientation, air near 0.
        spacing: in mm.

    Returns:
        first and last place (3,) in voxels and fractions of them, of which the first rounded up and the last rounded down are
        the first and last voxel of the head. The fractions move with the head, so they hardly hang on how it was sampled.

    Raises:
        ValueError: nothing is brighter than air.
    """
    data = image.numpy(force=True)
    inside = data > AIR * np.percentile(data, 99)
    # a slice through the head holds at least 20 cm2 of it; specks of noise and wrapped noses do not
    area = inside.sum((0, 1)) * spacing[0] * spacing[1]
    slices = np.flatnonzero(area > 2000)
    if not slices.size:
        raise ValueError(f"no head found: no axial slice has 20 cm2 brighter than {AIR:.0%} of the image's 99th percentile")
    top = slices[-1]
    bottom = max(0, top - round(HEIGHT_MM / spacing[2]))
    first, last = [], []
    for axis, other in ((0, 1), (1, 0)):
        # ignore rows that hold hardly anything: ears, noise
        profile = inside[:, :, bottom : top + 1].sum((other, 2)) * spacing[other] * spacing[2]
        rows = np.flatnonzero(profile > 500)
        first.append(_crossing(profile, 500, rows[0], rows[0] - 1) if rows.size else 0)
        last.append(_crossing(profile, 500, rows[-1], rows[-1] + 1) if rows.size else inside.shape[axis] - 1)
    return np.array([*first, bottom]), np.array([*last, _crossing(area, 2000, top, top + 1)])


class HeadGridd(MapTransform):
    """Resample heads to a box of fixed size whose place and axes follow the head and the patient, not the file's grid.

    The box has the patient's axes (RAS), so an oblique slab is turned back; it is centred left-right and front-back on the head
    to a fraction of a voxel, its upper side above the top of the head. So one head that is stored on two grids comes to lie on
    the same voxels, whose phase otherwise changes what a network says. What the image lacks is filled with zeros, which is air.
    Where voxels become larger, smooth the image first (`SmoothMmd`).

    Args:
        keys: images (C, H, W, D) with affine; the first channel of the first one decides where the box is.
        size: of the box in voxels.
        pixdim: its spacing in mm.
        margin: mm of air above the head.
        mode: order of the spline by which it is resampled, 0 to 5.

    Raises:
        ValueError: there is no head in the image.
    """

    def __init__(self, keys: KeysCollection, size: Sequence[int], pixdim: Sequence[float], margin: float = 6.0, mode: int = 3):
        super().__init__(keys)
        self.size, self.pixdim, self.margin, self.mode = np.array(size), np.array(pixdim, float), margin, mode

    def __call__(self, data):
        item = dict(data)
        grid = self.grid(item[self.keys[0]])
        for key in self.key_iterator(item):
            resample = SpatialResample(mode=self.mode, padding_mode="zeros")
            item[key] = resample(item[key], dst_affine=grid, spatial_size=self.size.tolist())
        return item

    def grid(self, image: MetaTensor) -> torch.Tensor:
        """Affine (4, 4) of the box that this head gets."""
        affine, shape = np.asarray(image.affine, dtype=np.float64), np.array(image.shape[1:])
        ends = np.stack(np.meshgrid(*[(0, n - 1) for n in shape], indexing="ij"), -1).reshape(-1, 3)
        corners = ends @ affine[:3, :3].T + affine[:3, 3]
        low, high = corners.min(0), corners.max(0)
        around = np.diag([*self.pixdim, 1.0])
        around[:3, 3] = low
        cover = (np.floor((high - low) / self.pixdim + 1e-3).astype(int) + 1).tolist()
        upright = SpatialResample(mode="bilinear", padding_mode="zeros")(
            image[:1], dst_affine=torch.from_numpy(around), spatial_size=cover
        )
        first, last = head_box(upright[0], self.pixdim)
        start = (first + last + 1 - self.size) / 2
        start[2] = last[2] + 1 + self.margin / self.pixdim[2] - self.size[2]
        around[:3, 3] += start * self.pixdim
        return torch.from_numpy(around)


class CropHeadd(MapTransform):
    """Cut a box of fixed size around the head: centred left-right and front-back, its upper side above the top of the head.

    The head is found by what is brighter than air. What the image lacks is filled with zeros, which is air.

    Args:
        keys: images (C, H, W, D) in RAS orientation; the first channel of the first one that is not all 0 decides, all are
            cut alike.
        size: of the box in voxels.
        margin: mm of air above the head.

    Raises:
        ValueError: there is no head in the image.
    """

    def __init__(self, keys: KeysCollection, size: Sequence[int], margin: float = 6.0):
        super().__init__(keys)
        self.size, self.margin = np.array(size), margin

    def __call__(self, data):
        item = dict(data)
        image: MetaTensor = item[self.keys[0]]
        spacing = [float(s) for s in image.pixdim]
        first, last = head_box(next((channel for channel in image if channel.any()), image[0]), spacing)
        first, last = np.ceil(first).astype(int), np.floor(last).astype(int)
        start = np.round((first + last + 1 - self.size) / 2).astype(int)
        start[2] = last[2] + 1 + round(self.margin / spacing[2]) - self.size[2]
        before = np.maximum(-start, 0)
        after = np.maximum(start + self.size - np.array(image.shape[1:]), 0)
        pad = SpatialPad(spatial_size=-1)
        for key in self.key_iterator(item):
            padding = [(0, 0), *zip(before.tolist(), after.tolist(), strict=True)]
            padded = pad(item[key], to_pad=padding) if before.any() or after.any() else item[key]
            item[key] = SpatialCrop(roi_start=start + before, roi_end=start + before + self.size)(padded)
        return item
