import json

import numpy as np
import pytest

from tools import bundles, scores


def test_mean_median_and_interval_against_resampling_by_hand():
    values = np.array([0.2, 0.9, 0.8, 0.7, 0.95, 0.85])
    summary = scores.summarise({"case": str(i), "dice": str(v)} for i, v in enumerate(values))["dice"]
    assert summary["mean"] == pytest.approx(values.mean(), abs=1e-4)
    assert (summary["median"], summary["n"]) == (0.825, 6)
    draws = np.random.default_rng(5).choice(values, (200_000, 6)).mean(1)
    np.testing.assert_allclose(summary["ci95"], np.percentile(draws, [2.5, 97.5]), atol=0.006)


def test_missing_values_are_left_out_and_a_single_one_has_no_interval():
    rows = [{"case": "a", "hd95": "nan", "dice": "0.5"}, {"case": "b", "hd95": "7", "dice": ""}, {"case": "c", "hd95": "inf"}]
    summary = scores.summarise(rows)
    assert summary["hd95"] == {"mean": 7.0, "median": 7.0, "ci95": None, "n": 1}
    assert summary["dice"]["n"] == 1


def test_scores_go_into_metadata_card_and_readme_alike(tmp_path, monkeypatch):
    root = tmp_path / "bundles" / "toy"
    (root / "configs").mkdir(parents=True)
    (root / "docs").mkdir()
    meta = {"task": "do it", "eval_metrics": {"data": "", "key": ["dice"], "scores": {}}}
    (root / "configs" / "metadata.json").write_text(json.dumps(meta))
    (root / "docs" / "README.md").write_text("# Toy\n<!-- scores -->\nold\n<!-- /scores -->\nend\n")
    (tmp_path / "README.md").write_text("before\n<!-- bundles -->\n<!-- /bundles -->\nafter\n")
    monkeypatch.setattr(bundles, "REPOSITORY", tmp_path)
    summary = {"dice": {"mean": 0.9123, "median": 0.92, "ci95": [0.9, 0.925], "n": 12}}
    scores.write_scores("toy", {"data": "12 toys", "key": ["dice"], "scores": summary})
    assert bundles.metadata("toy")["eval_metrics"]["scores"] == summary
    card, readme = (root / "docs" / "README.md").read_text(), (tmp_path / "README.md").read_text()
    assert "| dice | 0.912 | 0.900 to 0.925 | 0.920 | 12 |" in card and "12 toys:" in card and "old" not in card
    assert "| [toy](bundles/toy/docs/README.md) | do it | dice 0.912 (0.900 to 0.925) | 12 toys | 0.0 MiB |" in readme
    assert readme.startswith("before\n") and readme.endswith("after\n")


def test_a_text_without_marks_is_refused(tmp_path):
    (tmp_path / "x.md").write_text("nothing")
    with pytest.raises(ValueError, match="no <!-- scores -->"):
        scores.put_between(tmp_path / "x.md", "scores", "x")


def test_scores_of_a_group_have_intervals_and_can_be_of_some_cases():
    rows = [{"case": f"A{i}", "age": str(30 + i), "age_pred": str(31 + i)} for i in range(5)]
    rows += [{"case": "B1", "age": "60", "age_pred": "50"}, {"case": "B2", "age": "", "age_pred": "50"}]
    found = scores.summarise(
        rows, {"mae": ["mae", "age", "age_pred"], "b": ["bias", "age", "age_pred", "^B"], "c": ["mae", "age", "age_pred", "^C"]}
    )
    assert found["mae"]["mean"] == pytest.approx(2.5) and found["mae"]["n"] == 6
    assert found["mae"]["ci95"][0] <= 2.5 <= found["mae"]["ci95"][1] and found["mae"]["median"] is None
    assert found["b"] == {"mean": -10.0, "median": None, "ci95": None, "n": 1}
    assert found["c"]["n"] == 0 and np.isnan(found["c"]["mean"])
    table = scores.score_table({"data": "x", "scores": {"mae": found["mae"]}})
    assert "| metric | value |" in table and "median" not in table
