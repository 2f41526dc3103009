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


def test_nothing_known_is_nan():
    for name in STATISTICS:
        assert math.isnan(statistic(name, np.array([np.nan]), np.array([1.0])))
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
