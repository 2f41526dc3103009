"""Heads in any orientation, spacing and position come to lie in the box in the same way."""

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Orientation, Spacing
from nibabel.processing import resample_from_to

from shared.transforms import CropHeadd, HeadGridd, SmoothForSpacingd, SmoothMmd, head_box


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


def stored(image: MetaTensor, affine: np.ndarray, shape) -> MetaTensor:
    """The same head on another grid, by cubic splines."""
    other = resample_from_to(nib.Nifti1Image(image[0].numpy(), image.affine.numpy()), (shape, affine), order=3)
    return MetaTensor(torch.from_numpy(other.get_fdata()).float()[None], affine=torch.from_numpy(affine))


def oblique_grid() -> np.ndarray:
    """Voxels of 1.2 x 1.5 x 2 mm around the origin, axes A, L and S, turned by 9 degrees."""
    a = np.deg2rad(9)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]) @ np.array(
        [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    )
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([1.2, 1.5, 2.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array([200, 150, 115]) - 1) / 2) + [0.3, -0.7, 0.4]
    return affine


def test_one_head_on_two_grids_comes_to_lie_on_the_same_voxels():
    steps = Compose([SmoothMmd("image", 1.8), HeadGridd("image", size=(96, 112, 96), pixdim=(2.0, 2.0, 2.0))])
    image = scan()
    plain = steps({"image": image})["image"]
    assert plain.shape == (1, 96, 112, 96)
    again = steps({"image": stored(image, oblique_grid(), (200, 150, 115))})["image"]
    assert (plain.affine - again.affine).abs().max() < 0.3  # mm
    inner = (0, slice(8, -8), slice(8, -8), slice(8, -8))  # of the neck's lower end the other grid has more
    difference = (plain - again).as_tensor()[inner].abs()
    by_one_voxel = (plain - plain.roll(1, 1)).as_tensor()[inner].abs()
    assert difference.mean() < 0.2 * by_one_voxel.mean() and difference.quantile(0.95) < 3  # of about 100


def test_grid_hangs_on_the_head_and_not_on_the_position_of_the_voxels():
    grid = HeadGridd("image", size=(96, 112, 96), pixdim=(2.0, 2.0, 2.0)).grid
    plain = grid(SmoothMmd("image", 1.8)({"image": scan()})["image"])
    for shift in ((0.7, 0, 0), (0, 0.9, 0), (0, 0, 0.6)):  # of the voxels in mm; the head stays
        moved = grid(SmoothMmd("image", 1.8)({"image": scan(shift=shift)})["image"])
        torch.testing.assert_close(moved, plain, atol=0.25, rtol=0)


def test_head_grid_keeps_millimetres_of_a_flipped_scan():
    image = scan()
    image[0, 60, 70, 60] = 3000.0
    place = image.affine[:3] @ torch.tensor([60.0, 70, 60, 1], dtype=torch.float64)
    flip = torch.diag(torch.tensor([-1.0, 1, 1, 1], dtype=torch.float64))
    flip[0, 3] = image.shape[1] - 1
    flipped = MetaTensor(image.as_tensor().flip(1), affine=image.affine @ flip)
    for one in (image, flipped):
        head = HeadGridd("image", size=(96, 112, 96), pixdim=(2.0, 2.0, 2.0))({"image": one})["image"]
        brightest = torch.nonzero(head[0] == head[0].max())[0].double()
        there = head.affine[:3, :3] @ brightest + head.affine[:3, 3]
        assert (there - place).abs().max() <= 1  # mm, half a voxel


def test_smoothing_has_a_width_in_mm():
    spike = torch.zeros(1, 41, 41, 41)
    spike[0, 20, 20, 20] = 1
    image = MetaTensor(spike, affine=torch.diag(torch.tensor([0.5, 1.0, 2.0, 1.0])))
    smooth = SmoothMmd("image", 2.0)({"image": image})["image"]
    assert torch.equal(smooth.affine, image.affine)
    for axis, spacing in enumerate((0.5, 1.0, 2.0)):
        profile = smooth.as_tensor()[0].sum([a for a in range(3) if a != axis])
        mm = (torch.arange(41) - 20) * spacing
        assert float((profile * mm**2).sum().sqrt()) == pytest.approx(2.0, rel=0.03)
