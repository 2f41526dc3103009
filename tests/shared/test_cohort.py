"""Scores of groups: known values, unknown ages, nothing to score."""

import math

import numpy as np
import pytest
import torch

from shared.metrics import STATISTICS, CohortMetric, statistic

AGES = np.array([20.0, 40.0, 60.0, np.nan])
SAID = np.array([25.0, 40.0, 50.0, 33.0])


def test_values_that_can_be_reckoned_by_hand():
    assert statistic("mae", AGES, SAID) == pytest.approx(5)
    assert statistic("p90", np.zeros(11), np.arange(11.0)) == pytest.approx(9)
    assert statistic("rmse", AGES, SAID) == pytest.approx(math.sqrt(125 / 3))
    assert statistic("bias", AGES, SAID) == pytest.approx(-5 / 3)
    assert statistic("bias_slope", AGES, SAID) == pytest.approx(-15 / 40)
    assert statistic("pearson_r", AGES, SAID) == pytest.approx(np.corrcoef(AGES[:3], SAID[:3])[0, 1])
    male, prob = np.array([0.0, 0, 1, 1]), np.array([0.1, 0.6, 0.4, 0.9])
    assert statistic("accuracy", male, prob) == 0.5
    assert statistic("auc", male, prob) == 0.75


def test_classes_and_probabilities():
    truth, decision = np.array([1.0, 1, 1, 0, 0]), np.array([1.0, 0, 1, 0, 1])
    assert statistic("sensitivity", truth, decision) == pytest.approx(2 / 3)
    assert statistic("specificity", truth, decision) == pytest.approx(1 / 2)
    assert math.isnan(statistic("specificity", np.ones(2), np.ones(2)))
    # four at 0.75, of whom two are sick, and one at 1 who is
    prob = np.array([0.75, 0.75, 1.0, 0.75, 0.75])
    assert statistic("ece", truth, prob) == pytest.approx(4 / 5 * 0.25)
    # in order of probability sick, well, sick: precision 1 at recall 1/2, 2/3 at recall 1
    assert statistic("auprc", np.array([1.0, 0, 1]), np.array([0.9, 0.5, 0.1])) == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_matching_removes_what_the_size_of_files_tells():
    rng = np.random.default_rng(0)
    size = rng.uniform(100, 1000, 400)
    truth = (size + rng.normal(0, 100, 400) > 500).astype(float)
    assert statistic("auc", truth, size) > 0.9
    assert 0.4 < statistic("matched_auc", truth, size, size) < 0.7  # 10 % of the size are left
    lungs = truth + rng.normal(0, 1, 400)
    assert statistic("matched_auc", truth, lungs, size) == pytest.approx(statistic("auc", truth, lungs), abs=0.06)
    assert math.isnan(statistic("matched_auc", np.array([0.0, 1]), np.array([0.1, 0.9]), np.array([1.0, 2])))


def test_nothing_known_is_nan():
    for name in STATISTICS:
        more = [np.array([1.0])] if name == "matched_auc" else []
        assert math.isnan(statistic(name, np.array([np.nan]), np.array([1.0]), *more))
    assert math.isnan(statistic("auc", np.ones(3), np.array([0.1, 0.2, 0.3])))
    assert math.isnan(statistic("pearson_r", np.ones(3), np.arange(3.0)))
    with pytest.raises(ValueError, match="expected one of mae"):
        statistic("mean", AGES, SAID)


def test_metric_pools_what_it_was_given_in_parts():
    metric = CohortMetric("mae")
    for truth, said in zip(AGES, SAID, strict=True):
        metric([torch.tensor([said])], [torch.tensor([truth])])
    assert metric.aggregate() == pytest.approx(5)
    metric.reset()
    metric(torch.tensor([[1.0], [2.0]]), torch.tensor([[2.0], [4.0]]))
    assert metric.aggregate() == pytest.approx(1.5)
    with pytest.raises(ValueError, match="expected one of"):
        CohortMetric("best")
