import json
from copy import deepcopy

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms import Compose, Lambda, LoadImaged, Orientationd, RandGaussianNoise

from shared.data import CaseDataset, cached_dataset, read_datalist
from shared.errors import InputError


def test_every_cache_gives_the_same_items_and_runs_fixed_steps_as_often_as_it_says(tmp_path):
    for cache, expected in {"none": 6, "memory": 3, "disk": 3}.items():
        calls = []
        steps = Compose([Lambda(lambda x, calls=calls: (calls.append(1), x * 2)[1]), RandGaussianNoise(prob=0.0)])
        items = [torch.tensor([float(i)]) for i in range(3)]
        data = cached_dataset(items, steps, cache, tmp_path / "cache")
        assert [data[i].item() for i in (0, 1, 2, 0, 1, 2)] == [0, 2, 4, 0, 2, 4]
        assert len(calls) == expected, cache


@pytest.mark.parametrize("cache", ["none", "memory", "disk"])
def test_images_can_be_brought_back_whatever_the_cache(tmp_path, cache, recwarn):
    """Also on the second time, when the cache on disk is read."""
    affine = nib.affines.from_matvec([[0, -2, 0], [1.5, 0, 0.2], [0, 0.3, 3]], [10, -20, 30])
    nib.save(nib.Nifti1Image(np.arange(840, dtype=np.int16).reshape(10, 12, 7), affine), tmp_path / "a.nii.gz")
    steps = [LoadImaged("image", ensure_channel_first=True), Orientationd("image", axcodes="RAS", labels=None)]
    data = cached_dataset([{"image": tmp_path / "a.nii.gz"}], Compose(steps), cache, tmp_path / "cache")
    for _ in range(2):
        image = data[0]["image"]
        assert nib.aff2axcodes(image.affine.numpy()) == ("R", "A", "S")
        back = steps[1].inverse({"image": deepcopy(image)})["image"]  # it changes its input
        np.testing.assert_allclose(back.affine, affine, atol=1e-6)
        assert back.flatten().tolist() == list(range(840))
    assert not [str(w.message) for w in recwarn if "cache" in str(w.message)]  # "Corrupt cache file": made anew every time
    assert len(list((tmp_path / "cache").glob("*.pt"))) == (cache == "disk")


def test_an_unknown_cache_is_refused():
    with pytest.raises(ValueError, match="cache is 'ram'.*expected none, memory or disk"):
        cached_dataset([], Compose([]), "ram")


def test_a_damaged_case_becomes_its_reason_and_the_others_load():
    def load(item):
        if item["case"] == "b":
            raise OSError("b.nii.gz is broken")
        return item

    data = CaseDataset([{"case": "a"}, {"case": "b"}, {"case": "c"}], Compose([load]))
    assert [data[i] for i in range(3)] == [{"case": "a"}, {"case": "b", "error": "b.nii.gz is broken"}, {"case": "c"}]


def test_datalist_paths_start_from_the_dataset_folder(tmp_path):
    for name in ("a.nii", "b.nii", "s.nii"):
        (tmp_path / name).touch()
    path = tmp_path / "list.json"
    path.write_text(json.dumps({"training": [{"case": "x", "image": ["a.nii", "b.nii"], "label": "s.nii"}], "testing": []}))
    (item,) = read_datalist(path, "training", tmp_path)
    assert item == {
        "case": "x",
        "image": [str(tmp_path / "a.nii"), str(tmp_path / "b.nii")],
        "label": str(tmp_path / "s.nii"),
    }
    with pytest.raises(InputError, match="no cases under 'testing'; found .'training'."):
        read_datalist(path, "testing", tmp_path)
    (tmp_path / "b.nii").unlink()
    with pytest.raises(InputError, match="names .*b.nii, which is not there"):
        read_datalist(path, "training", tmp_path)


def test_a_datalist_gives_only_the_cases_asked_for(tmp_path):
    items = [{"case": c, "image": "x", "series": s} for c, s in (("a", "t1"), ("b", "t2"), ("c", "t1"))]
    (tmp_path / "x").write_text("")
    path = tmp_path / "datalist.json"
    path.write_text(json.dumps({"training": items}))
    found = read_datalist(path, "training", tmp_path, only={"series": ["t1"]})
    assert [item["case"] for item in found] == ["a", "c"]
    with pytest.raises(InputError, match="no case under 'training' with series ct; found t1, t2"):
        read_datalist(path, "training", tmp_path, only={"series": ["ct"]})


def test_a_datalist_that_is_not_there_says_how_to_make_it(tmp_path):
    with pytest.raises(InputError, match="python -m tools prepare"):
        read_datalist(tmp_path / "none.json", "training", tmp_path)


def test_a_datalist_that_is_not_json_is_named(tmp_path):
    (tmp_path / "x.json").write_text("case,image")
    with pytest.raises(InputError, match="x.json is not JSON"):
        read_datalist(tmp_path / "x.json", "training", tmp_path)


def test_cases_without_a_sequence_are_left_out(tmp_path, caplog):
    for name in ("a", "b", "c"):
        (tmp_path / name).touch()
    items = [{"case": "A", "image": "a", "files": {"t1": "a", "t2": "c"}}, {"case": "B", "image": "b", "files": {"t1": "b"}}]
    path = tmp_path / "datalist.json"
    path.write_text(json.dumps({"training": items, "validation": items[1:]}))
    (item,) = read_datalist(path, "training", tmp_path, sequences=["t2"])
    assert item["files"] == {"t1": str(tmp_path / "a"), "t2": str(tmp_path / "c")}
    assert "training: 1 cases lack one of t2" in caplog.text
    assert len(read_datalist(path, "training", tmp_path, sequences=["t1"])) == 2
    with pytest.raises(InputError, match="no case under 'validation' with the sequences t2"):
        read_datalist(path, "validation", tmp_path, sequences=["t2"])
    (tmp_path / "c").unlink()
    with pytest.raises(InputError, match="names .*c, which is not there"):
        read_datalist(path, "training", tmp_path)
