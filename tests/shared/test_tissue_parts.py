"""What mrbrains_tissue3d needs beside the parts of other bundles, by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from shared.data import find_cases
from shared.data.cases import split_name
from shared.handlers import ClassScores
from shared.metrics import VolumeDifference
from shared.networks import HalfResolutionSegmenter
from shared.networks.half import voxels
from shared.networks.regional import blocks
from shared.transforms import LabelsToClassesd, LoadCased, RandContrastd, RandDropSequencesd

from .test_cases import touch

CONVENTIONS = {"fine": {"GM": [1, 2], "WM": [3], "CSF": [5], "cerebellum": [7]}, "tissues": {"CSF": [1], "GM": [2], "WM": [3]}}
SEQUENCES = {"t1": ["t1"], "t1_ir": ["t1_ir", "ir"], "flair": ["t2_flair", "flair"]}


def labels(*values):
    return MetaTensor(torch.tensor(values).reshape(1, 1, 1, -1).float(), meta={"filename_or_obj": "x_seg.nii.gz"})


def test_classes_have_the_same_numbers_in_every_convention_and_the_rest_is_background():
    number = LabelsToClassesd("label", ["CSF", "GM", "WM"], CONVENTIONS)
    assert number({"label": labels(0, 1, 2, 3, 5, 7)})["label"].flatten().tolist() == [0, 2, 2, 3, 1, 0]
    found = number({"label": labels(0, 1, 2, 3), "convention": "tissues"})["label"]
    assert found.flatten().tolist() == [0, 1, 2, 3] and found.dtype == torch.uint8
    with pytest.raises(ValueError, match=r"x_seg.nii.gz: label values \['4'\] are not of the convention 'tissues'"):
        number({"label": labels(0, 4), "convention": "tissues"})
    with pytest.raises(ValueError, match="'tissues' does not tell brainstem"):
        LabelsToClassesd("label", ["brainstem"], CONVENTIONS)({"label": labels(0), "convention": "tissues"})


def test_sequences_are_dropped_but_never_all_and_missing_ones_do_not_count():
    drop = RandDropSequencesd("image", prob=1.0)
    drop.set_random_state(0)
    image = torch.ones(3, 2, 2, 2)
    kept = [drop({"image": image})["image"].amax((1, 2, 3)) for _ in range(60)]
    assert {int(k.sum()) for k in kept} == {1, 2} and torch.stack(kept).amax(0).sum() == 3
    assert image.all()  # the cached image is untouched
    image[1:] = 0
    assert all(drop({"image": image})["image"][0].all() for _ in range(10))
    never = RandDropSequencesd("image", prob=0.0)
    assert never({"image": torch.ones(3, 2, 2, 2)})["image"].all()


def test_volume_difference_by_hand():
    truth, found = torch.zeros(1, 2, 10, 1, 1), torch.zeros(1, 2, 10, 1, 1)
    truth[0, 0, :4], found[0, 0, :5] = 1, 1
    metric = VolumeDifference()
    values = metric(found, truth)
    assert values[0, 0] == 25 and values[0, 1].isnan()  # a class that is not there has no difference
    assert metric.aggregate() == 25


def test_scores_of_classes_are_means_over_the_cases_that_have_them():
    details = {"dice": torch.tensor([[0.5, float("nan")], [0.7, 0.2]])}
    engine = SimpleNamespace(state=SimpleNamespace(metric_details=details, metrics={"dice": 0.4}))
    ClassScores("dice", ["CSF", "GM"])(engine)
    assert engine.state.metrics == {"dice": 0.4, "dice_CSF": pytest.approx(0.6), "dice_GM": pytest.approx(0.2)}


def test_voxels_undo_blocks():
    image = torch.rand(2, 3, 4, 6, 8)
    assert torch.equal(voxels(blocks(image)), image)


def test_segmenter_tells_voxels_of_a_block_apart():
    """Without the network's context, one voxel's intensity still decides about that voxel alone."""
    net = HalfResolutionSegmenter(torch.nn.Conv3d(11, 2, 1), 2, 1, 1, detail=8).eval()
    for weight in net.parameters():
        torch.nn.init.zeros_(weight)
    for channel in range(8):  # each voxel of a block goes straight through
        net.detail.weight.data[channel, channel, 1, 1, 1] = 1
        net.mix.weight.data[channel, 2 + channel] = 1
        net.classes.weight.data[channel, channel] = 1
    image = torch.rand(1, 1, 4, 4, 4)
    torch.testing.assert_close(net(image), image)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("T1_IR.nii", ("", "t1_ir")), ("P1_T2_FLAIR.nii.gz", ("P1", "flair")), ("P1-T1.nii", ("P1", "t1")), ("T1_1mm.nii", None)],
)
def test_endings_of_several_words(name, expected):
    assert split_name(name, {alias: key for key, aliases in SEQUENCES.items() for alias in aliases}) == expected


def test_a_part_of_the_sequences_is_a_case_where_that_is_allowed(tmp_path):
    touch(tmp_path / "1", "T1.nii", "T1_IR.nii", "T2_FLAIR.nii")
    touch(tmp_path / "2", "T2_FLAIR.nii")
    first, second = find_cases(tmp_path, SEQUENCES, partial=True)
    assert len(first["image"]) == 3 and "channels" not in first
    assert second["channels"] == ["flair"] and "problem" not in second
    assert "missing sequence, expected t1" in find_cases(tmp_path, SEQUENCES)[1]["problem"]
    image = LoadCased(list(SEQUENCES))(second)["image"]
    assert image.amax((1, 2, 3)).tolist() == [0, 0, 1]
    with pytest.raises(ValueError, match="expected one of t1, found flair"):
        LoadCased(["t1"])(second)


def test_every_sequence_gets_a_contrast_of_its_own_and_a_missing_one_none():
    image = torch.rand(3, 8, 8, 8)
    image[1] = 0
    regions = torch.from_numpy(np.random.default_rng(0).integers(0, 3, (1, 8, 8, 8)))
    found = RandContrastd("image", "label", prob=1.0)({"image": image, "label": regions})["image"]
    assert found.shape == image.shape and not found[1].any() and not torch.equal(found[0], found[2])
