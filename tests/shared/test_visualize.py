import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from shared.visualize import aspect, best_voxel, on_grid, outline_figure, plane, with_regions


def test_planes_show_the_patients_right_on_the_left_and_superior_on_top():
    volume = np.zeros((4, 5, 6))  # in RAS orientation indices grow to the patient's right, front and top
    volume[3, 4, 5] = 1  # the right, anterior, superior corner
    assert plane(volume, "axial", (0, 0, 5))[0, 0] == 1  # anterior on top
    assert plane(volume, "coronal", (0, 4, 0))[0, 0] == 1
    assert plane(volume, "sagittal", (3, 0, 0))[0, 0] == 1  # anterior on the left
    assert plane(volume, "axial", (0, 0, 5)).shape == (5, 4)
    assert plane(volume, "coronal", (0, 4, 0)).shape == (6, 4)
    assert plane(volume, "sagittal", (3, 0, 0)).shape == (6, 5)


def test_pixels_are_drawn_as_tall_as_they_are_in_mm():
    assert [aspect(n, (1, 2, 6)) for n in ("axial", "coronal", "sagittal")] == [2, 6, 3]


def test_the_planes_go_through_the_largest_cuts():
    mask = np.zeros((8, 8, 8), bool)
    mask[2, 1:7, 5] = mask[2:6, 3, 5] = True
    assert best_voxel(mask) == (2, 3, 5)
    assert best_voxel(np.zeros((4, 6, 8), bool)) == (2, 3, 4)


def test_masks_on_the_images_grid_stay_as_they_are_and_others_take_the_nearest_voxel():
    image = MetaTensor(torch.zeros(1, 4, 4, 4), affine=torch.eye(4))
    affine = torch.diag(torch.tensor([-2.0, 2, 2, 1]))  # half the image's resolution, stored the other way round
    affine[:3, 3] = torch.tensor([2.5, 0.5, 0.5])
    labels = MetaTensor(torch.arange(8, dtype=torch.uint8).reshape(1, 2, 2, 2), affine=affine)
    on_it = on_grid(labels, image)
    expected = labels.as_tensor().flip(1).repeat_interleave(2, 1).repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(on_it.as_tensor(), expected.float())
    assert on_grid(on_it, image) is on_it


@pytest.mark.parametrize("flip", [1, -1])
def test_masks_on_another_grid_are_drawn_where_they_lie_in_mm(flip):
    image = MetaTensor(torch.rand(1, 20, 20, 10) + 0.1, affine=torch.diag(torch.tensor([1.0, 1, 2, 1])))
    # the same space at half the resolution in plane, stored flipped or not
    mask = torch.zeros(1, 10, 10, 10)
    mask[0, 6:9, 2:4, 3:6] = 1
    affine = torch.diag(torch.tensor([2.0, 2, 2, 1]))
    affine[:2, 3] = 0.5
    if flip < 0:
        mask, affine[0, 0], affine[0, 3] = mask.flip(1), -2.0, 18.5
    rows = {"": with_regions(MetaTensor(mask, affine=affine), ["lesion"])}
    figure = outline_figure(image, {"T1": 0}, rows)
    axial = next(a for a in figure.axes if a.get_title() == "T1 axial")
    outline = np.concatenate([p.vertices for c in axial.collections for p in c.get_paths()])
    # RAS columns run from index 19 on the left to 0: voxels 12..17 along x are columns 2..7
    assert (outline.min(0) >= [1, 0]).all() and outline[:, 0].min() == pytest.approx(1.5, abs=0.6)
    assert outline[:, 0].max() == pytest.approx(7.5, abs=0.6)
    assert outline[:, 1].min() == pytest.approx(11.5, abs=0.6) and outline[:, 1].max() == pytest.approx(15.5, abs=0.6)
