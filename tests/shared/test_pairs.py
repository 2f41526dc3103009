"""Pairs: drawn with a seed, never of one subject; found in folders and lists."""

import numpy as np
import pytest
import torch
from monai.data.utils import set_rnd

from shared.data import PairDataset, find_pairs
from shared.errors import InputError


def load(item):
    """Stands for loading and aligning a head; its number is its intensity."""
    number = float(item["case"][1:])
    image = torch.full((1, 4, 4, 4), number)
    return {
        **item,
        "image": image,
        "label": image.to(torch.uint8),
        "working_grid": torch.eye(4),
        "label_grid": 2 * torch.eye(4),
    }


def heads(number, scans=1):
    return [{"case": f"c{i}", "subject": f"s{i // scans}"} for i in range(number)]


def test_no_pair_is_of_one_subject_and_all_take_part_equally():
    data = PairDataset(heads(12, scans=2), load, count=300)
    assert len(data) == 300
    assert all(a // 2 != b // 2 for a, b in data.pairs)
    times = np.bincount([a for a, _ in data.pairs], minlength=12)
    assert times.max() - times.min() < 15


def test_pairs_are_redrawn_only_if_asked_for():
    fixed, fresh = PairDataset(heads(9), load), PairDataset(heads(9), load, redraw=True)
    before = {id(d): list(d.pairs) for d in (fixed, fresh)}
    for data in (fixed, fresh):
        set_rnd(data, 5)
    assert fixed.pairs == before[id(fixed)] and fresh.pairs != before[id(fresh)]
    again = PairDataset(heads(9), load, redraw=True)
    set_rnd(again, 5)
    assert again.pairs == fresh.pairs


def test_items_hold_moving_first_and_labels_where_they_belong():
    stacked, own = PairDataset(heads(5), load, stack_labels=True), PairDataset(heads(5), load)
    a, b = stacked.pairs[0]
    item = stacked[0]
    assert item["case"] == f"c{a}_to_c{b}"
    assert item["image"][:, 0, 0, 0].tolist() == [a, b] and item["label"][:, 0, 0, 0].tolist() == [a, b, a, b]
    item = own[0]
    assert item["label"].shape == (2, 4, 4, 4) and float(item["fixed_label"].max()) == own.pairs[0][1]
    assert torch.equal(item["moving_label"].affine, 2 * torch.eye(4, dtype=torch.float64)) and item["moving_grid"].shape == (
        4,
        4,
    )


def test_all_are_registered_to_an_atlas_if_one_is_given():
    data = PairDataset(
        heads(4), load, atlas="atlas.nii.gz", atlas_preprocessing=lambda item: load({"case": "c99"}), stack_labels=True
    )
    item = data[0]
    assert item["case"].endswith("_to_atlas") and item["image"][1, 0, 0, 0] == 99


def test_one_subject_makes_no_pair():
    with pytest.raises(InputError, match="pairs need heads of two subjects or more, found s0"):
        PairDataset(heads(2, scans=2), load)[0]


def test_a_folder_is_read_with_labels_and_points(tmp_path):
    for name in ("a_T1", "a_seg", "b_T1", "sub/b_T1", "fixed_T1"):
        (tmp_path / f"{name}.nii.gz").parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.nii.gz").touch()
    (tmp_path / "a_points.csv").touch()
    fixed = tmp_path / "fixed_T1.nii.gz"
    items = {i["case"]: i for i in find_pairs(tmp_path, fixed, ["t1"], ["seg"])}
    assert set(items) == {"a", "b", "sub_b"} or len(items) == 3
    assert items["a"]["label"] == str(tmp_path / "a_seg.nii.gz") and items["a"]["points"] == str(tmp_path / "a_points.csv")
    assert all(item["fixed"] == str(fixed.resolve()) for item in items.values())
    with pytest.raises(InputError, match="no such file .*none.nii.gz"):
        find_pairs(tmp_path, tmp_path / "none.nii.gz", ["t1"], ["seg"])


def test_a_list_names_pairs(tmp_path):
    fixed = tmp_path / "f.nii.gz"
    fixed.touch()
    table = tmp_path / "pairs.csv"
    table.write_text("moving,fixed,label\na_T1.nii.gz,b_T1.nii.gz,\nb_T1.nii.gz,,l.nii.gz\n")
    first, second = find_pairs(tmp_path, fixed, ["t1"], ["seg"], pairs=table)
    assert first["case"] == "a_T1_to_b_T1" and first["fixed"] == str(tmp_path / "b_T1.nii.gz") and "label" not in first
    assert (
        second["case"] == "b_T1" and second["fixed"] == str(fixed.resolve()) and second["label"] == str(tmp_path / "l.nii.gz")
    )
    table.write_text("moving\na.nii.gz\na.nii.gz\n")
    with pytest.raises(InputError, match="more than one pair is called a; name them"):
        find_pairs(tmp_path, fixed, ["t1"], ["seg"], pairs=table)
    table.write_text("mowing\na.nii.gz\n")
    with pytest.raises(InputError, match="expected rows with the column moving .* found mowing"):
        find_pairs(tmp_path, fixed, ["t1"], ["seg"], pairs=table)
