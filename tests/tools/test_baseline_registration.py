"""ANTs beside the bundle: on the same pairs, scored alike."""

import json
from pathlib import Path

import pytest

from shared.data import PairDataset, read_datalist
from tools.baseline import baseline
from tools.baselines import registration
from tools.phantoms.head_pairs import head_pairs
from tools.prepare import prepare


@pytest.fixture(scope="module")
def heads(tmp_path_factory) -> Path:
    """Five synthetic heads of 4 mm with label maps, four of them to test."""
    folder = tmp_path_factory.mktemp("heads")
    head_pairs(str(folder / "pairs"), cases=5, seed=2, spacing=4.0)
    (folder / "pairs" / "moving").rename(folder / "heads")
    prepare("heads", str(folder / "heads"), validation=0, testing=0.8)
    return folder / "heads"


def test_pairs_are_those_that_evaluation_scores(heads):
    pairs, regions = registration.scored_pairs(str(heads), None)
    items = read_datalist(heads / "datalist.json", "testing", heads)
    scored = PairDataset(items, lambda item: item).pairs  # as train.yaml and evaluate.yaml make them
    assert [(a["case"], b["case"]) for a, b in pairs] == [(items[a]["case"], items[b]["case"]) for a, b in scored]
    assert len(pairs) == 4 and len(regions) == 17 and regions["third_ventricle"] == [4]


def test_syn_is_better_than_affine_is_better_than_nothing(heads):
    pytest.importorskip("ants", reason="needs antspyx (see tools/baselines/registration.py)")
    (pair, *_), regions = registration.scored_pairs(str(heads), None)
    row = registration.register(*pair, regions)
    assert row["dice_identity"] < row["dice_affine"] < row["dice_syn"] < 1
    assert row["folded_percent_syn"] == 0 and row["seconds_syn"] > 0


def test_heads_without_label_map_are_named(heads, tmp_path):
    pytest.importorskip("ants", reason="needs antspyx (see tools/baselines/registration.py)")
    content = json.loads((heads / "datalist.json").read_text())
    del content["testing"][0]["label"]
    (tmp_path / "list.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"no label map of {content['testing'][0]['case']}"):
        baseline("registration", str(heads), datalist=str(tmp_path / "list.json"))
