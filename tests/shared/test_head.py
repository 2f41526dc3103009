"""Heads in any orientation, spacing and position come to lie in the box in the same way."""

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Orientation, Spacing

from shared.transforms import CropHeadd, SmoothForSpacingd, head_box


def scan(shape=(90, 110, 100), spacing=(2.0, 2.0, 2.0), shift=(0, 0, 0)) -> MetaTensor:
    """An ellipsoid head with a neck, in RAS, brighter in front; noise of air around it."""
    axes = [(np.arange(n) - (n - 1) / 2) * s - m for n, s, m in zip(shape, spacing, shift, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    inside = ((x / 70) ** 2 + (y / 90) ** 2 + ((z - 10) / 80) ** 2 < 1) | ((np.hypot(x, y + 20) < 45) & (z < 0))
    image = np.where(inside, 100 + 0.4 * y, 0) + np.abs(np.random.default_rng(0).normal(0, 2, shape))
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [a[0] for a in axes]
    return MetaTensor(torch.from_numpy(image).float()[None], affine=torch.from_numpy(affine))


def test_head_lies_alike_wherever_it_was_in_the_scan():
    crop = CropHeadd("image", size=(96, 112, 96))
    first, second = (crop({"image": scan(shift=shift)})["image"] for shift in ((0, 0, 0), (8, -10, 0)))
    assert first.shape == second.shape == (1, 96, 112, 96)
    assert (first - second).abs().median() < 5
    rows = (first[0] > 40).any(1).any(1).nonzero().flatten()
    assert abs(int(rows[0] + rows[-1]) - 95) <= 2  # centred left-right
    top = int((first[0] > 40).any(0).any(0).nonzero().max())
    assert 1 <= 95 - top <= 3  # 6 mm of air above the first 20 cm2 of head


def test_box_keeps_millimetres():
    image = scan()
    cut = CropHeadd("image", size=(96, 112, 96))({"image": image})["image"]
    brightest = [float(v) for v in torch.nonzero(cut[0] == cut[0].max())[0]]
    there = cut.affine[:3] @ torch.tensor([*brightest, 1.0], dtype=cut.affine.dtype)
    voxel = torch.nonzero(image[0] == image[0].max())[0].double()
    torch.testing.assert_close(there, (image.affine[:3, :3] @ voxel) + image.affine[:3, 3], check_dtype=False)


def test_noise_alone_is_no_head():
    with pytest.raises(ValueError, match="no head found"):
        head_box(torch.zeros(20, 20, 20), (2, 2, 2))


def test_smoothing_before_larger_voxels_and_none_before_smaller_ones():
    rng = torch.Generator().manual_seed(0)
    fine = MetaTensor(torch.rand(1, 32, 32, 32, generator=rng), affine=torch.diag(torch.tensor([1.0, 1.0, 1.0, 1.0])))
    smooth = SmoothForSpacingd("image", (2.0, 2.0, 2.0))({"image": fine})["image"]
    assert smooth.std() < 0.6 * fine.std()
    assert SmoothForSpacingd("image", (1.0, 0.5, 1.0))({"image": fine})["image"] is fine
    one_axis = SmoothForSpacingd("image", (1.0, 1.0, 3.0))({"image": fine})["image"]
    assert (one_axis[0].diff(dim=2).abs().mean() < 0.5 * one_axis[0].diff(dim=0).abs().mean()).item()


@pytest.mark.parametrize("codes", ["LPS", "PSR", "ASL"])
def test_orientation_of_the_file_does_not_matter(codes):
    image = scan()
    steps = Compose([Orientation("RAS", labels=None), Spacing((2.0, 2.0, 2.0), mode=3)])
    stored = nib.as_closest_canonical(nib.Nifti1Image(image[0].numpy(), image.affine.numpy()))
    turned = stored.as_reoriented(
        nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(codes))
    )
    voxels = torch.from_numpy(np.ascontiguousarray(turned.get_fdata())).float()[None]
    again = MetaTensor(voxels, affine=torch.as_tensor(turned.affine))
    crop = CropHeadd("image", size=(96, 112, 96))
    first, second = (crop({"image": steps(i)})["image"] for i in (image, again))
    torch.testing.assert_close(first.as_tensor(), second.as_tensor(), atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(first.affine, second.affine, atol=1e-5, rtol=0)
