import pytest
import torch
from monai.data import MetaTensor

from shared.transforms import DecideRegionsd, DropSmallPiecesd, LabelsToRegionsd, RegionsToLabelsd

CONVENTIONS = {
    "brats2020": {"TC": [1, 4], "WT": [1, 2, 4], "ET": [4]},
    "msd": {"TC": [2, 3], "WT": [1, 2, 3], "ET": [3]},
}


def labels(*values):
    return MetaTensor(torch.tensor(values).reshape(1, 1, 1, -1).float(), meta={"filename_or_obj": "x_seg.nii.gz"})


def test_regions_by_hand_in_both_conventions():
    same_tumour = {"brats2020": labels(0, 1, 2, 4), "msd": labels(0, 2, 1, 3)}
    for name, map_ in same_tumour.items():
        regions = LabelsToRegionsd("label", CONVENTIONS)({"label": map_, "convention": name})["label"]
        assert regions[:, 0, 0].tolist() == [[0, 1, 0, 1], [0, 1, 1, 1], [0, 0, 0, 1]]


def test_the_first_convention_is_the_default():
    assert LabelsToRegionsd("label", CONVENTIONS)({"label": labels(4)})["label"].flatten().tolist() == [1, 1, 1]


def test_a_label_outside_the_convention_is_refused_and_the_file_named():
    with pytest.raises(ValueError, match=r"x_seg.nii.gz: label values \['3'\] are not of the convention 'brats2020'"):
        LabelsToRegionsd("label", CONVENTIONS)({"label": labels(0, 1, 3)})


def test_regions_and_back():
    map_ = labels(0, 1, 2, 4, 4, 0)
    item = LabelsToRegionsd("label", CONVENTIONS)({"label": map_})
    item["label"].affine = torch.diag(torch.tensor([2.0, 3.0, 4.0, 1.0]))
    back = RegionsToLabelsd("label", ["TC", "WT", "ET"], {"WT": 2, "TC": 1, "ET": 4})(item)["label"]
    assert back.dtype == torch.uint8 and back.flatten().tolist() == [0, 1, 2, 4, 4, 0]
    assert back.affine[2, 2] == 4


def test_a_region_counts_only_inside_the_regions_around_it():
    # TC outside WT, and ET outside TC, as a network may say
    masks = torch.tensor([[1, 0, 1], [0, 1, 1], [0, 1, 0]]).reshape(3, 1, 1, 3)
    back = RegionsToLabelsd("pred", ["TC", "WT", "ET"], {"WT": 2, "TC": 1, "ET": 4})({"pred": masks})["pred"]
    assert back.flatten().tolist() == [0, 2, 1]


def test_pieces_are_measured_in_ml_over_all_regions():
    """Voxels of 2 x 2 x 5 mm (0.02 mL): a piece of 4 voxels that meets itself over a corner, and one of 3 voxels."""
    masks = torch.zeros(2, 5, 5, 5)
    masks[0, 0, 0, :2] = masks[0, 1, 1, 2:4] = 1
    masks[1, 1, 1, 3] = 1
    masks[:, 4, 4, 2:5] = 1
    image = MetaTensor(masks, affine=torch.diag(torch.tensor([-2.0, 2.0, 5.0, 1.0])))
    for least, kept in ((0.0, 7), (0.055, 7), (0.07, 4), (0.09, 0)):
        result = DropSmallPiecesd("pred", least)({"pred": image})["pred"]
        assert result.any(0).sum() == kept
        assert result[1].sum() == (0 if kept == 0 else 4 if kept == 7 else 1)
        assert torch.equal(result.affine, image.affine)


def test_regions_side_by_side_take_the_likelier_one_and_the_largest_piece():
    prob = torch.zeros(2, 6, 6, 3)
    prob[0, 0:3], prob[0, 5, 5] = 0.9, 0.8  # a large piece and an island
    prob[1, 2:4] = 0.95  # likelier in the row that both claim
    prob[1, 4] = 0.4
    masks, largest = (DecideRegionsd("p", largest_component=k)({"p": prob.clone()})["p"] for k in (False, True))
    expected = torch.zeros(2, 6, 6, 3)
    expected[0, 0:2], expected[1, 2:4] = 1, 1
    assert torch.equal(largest, expected)
    expected[0, 5, 5] = 1
    assert torch.equal(masks, expected)
    labels = RegionsToLabelsd("p", ["a", "b"], {"a": 1, "b": 4}, nested=False)({"p": masks})["p"]
    assert torch.equal(labels[0], (expected[0] + 4 * expected[1]).to(torch.uint8))
