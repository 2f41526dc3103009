"""The closed-form fit: the right weights, penalties by person, views that stay together."""

import numpy as np
import pytest
import torch
from torch import nn

from shared import fitting
from shared.fitting import RegionalFit, log_odds, person_means, ridge, steady_ridge
from shared.networks import RegionalRegressor


def people(number: int, views: int = 1) -> list[str]:
    return [f"P{i}" for i in range(number) for _ in range(views)]


def test_ridge_finds_the_weights_behind_the_data():
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, (300, 5)) * np.array([1, 10, 0.1, 1, 1])
    y = x @ np.array([1.0, -0.2, 5.0, 0.0, 0.0]) + 40
    weights, offset, left_out = ridge(x, y, people(300))
    np.testing.assert_allclose(weights, [1.0, -0.2, 5.0, 0.0, 0.0], atol=0.02)
    assert offset == pytest.approx(40, abs=0.2) and np.abs(left_out - y).mean() < 0.1


def test_noise_is_shrunk_to_the_mean():
    rng = np.random.default_rng(1)
    ratios = []
    for _ in range(10):
        y = rng.normal(50, 10, 60)
        left_out = ridge(rng.normal(size=(60, 200)), y, people(60))[2]
        ratios.append(np.std(left_out - y) / np.std(y))
    assert np.mean(ratios) < 1.1


def test_views_of_a_person_are_left_out_together():
    """Features that identify people but say nothing of their age would look useful if a second view stayed in training."""
    rng = np.random.default_rng(2)
    y = np.repeat(rng.normal(50, 10, 40), 2)
    x = np.repeat(rng.normal(size=(40, 100)), 2, 0) + 0.01 * rng.normal(size=(80, 100))
    together, apart = ridge(x, y, people(40, 2))[2], ridge(x, y, people(80))[2]
    assert np.abs(apart - y).mean() < 3 < np.abs(together - y).mean()


def test_constant_features_and_a_single_person_do_no_harm():
    x = np.ones((4, 3))
    weights, offset, _ = ridge(x, np.array([20.0, 30, 40, 50]), people(4))
    assert not weights.any() and offset == 35
    assert np.isfinite(ridge(x[:1], np.array([20.0]), ["P"])[1])


def test_a_feature_that_hardly_varies_gets_no_weight():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(60, 3))
    x[:, 2] *= 1e-4  # noise of an empty voxel, which would be scaled up to the others
    weights, _, _ = ridge(x, x[:, 0] + 1e3 * x[:, 2], people(60))
    assert weights[2] == 0 and weights[0] == pytest.approx(1, abs=0.1)


def test_log_odds_are_calibrated():
    rng = np.random.default_rng(3)
    score = rng.normal(size=4000)
    truth = (rng.random(4000) < 1 / (1 + np.exp(-(2 * score + 1)))).astype(float)
    slope, offset = log_odds(score, truth)
    assert slope == pytest.approx(2, abs=0.2) and offset == pytest.approx(1, abs=0.2)


def test_fit_sets_the_layers_and_goes_on_from_its_state():
    rng = torch.Generator().manual_seed(0)
    truth = torch.stack([40 + 10 * torch.randn(50, generator=rng), (torch.rand(50, generator=rng) > 0.5).float()], 1)
    truth[0] = torch.nan  # nothing known of this person
    statistics, heads = torch.randn(50, 8, generator=rng), torch.randn(50, 27, generator=rng)
    statistics[:, 2] = truth[:, 0].nan_to_num(40) / 10
    heads[:, 5] = 3 * truth[:, 1].nan_to_num(0)
    measured, fits = torch.cat([statistics, heads], 1), []
    for half in (slice(0, 50), None):
        net = RegionalRegressor(nn.Identity(), regions=2, white_matter=[0], map_size=(3, 3, 3))
        fit = RegionalFit(net)
        fit.add(people(25), measured[:25], truth[:25])
        if half is None:
            other = RegionalFit(net)
            other.load_state_dict(fit.state_dict())
            fit = other
        fit.add([f"Q{i}" for i in range(25)], measured[25:], truth[25:])
        fit.solve()
        fits.append(net.judge(measured))
    torch.testing.assert_close(fits[0], fits[1])
    assert (fits[0][1:, 0] - truth[1:, 0]).abs().mean() < 1
    assert ((fits[0][1:, 1] > 0) == (truth[1:, 1] > 0.5)).all()


def test_what_changes_between_views_of_a_head_gets_little_weight(monkeypatch):
    """Two features tell the age alike; one of them moves with every view."""
    rng = np.random.default_rng(5)
    y = np.repeat(rng.normal(50, 10, 40), 3)
    x = np.stack([y + rng.normal(0, 2, 120), np.repeat(y[::3] + rng.normal(0, 2, 40), 3)], 1)
    same = people(40, 3)
    means = x.reshape(40, 3, 2).mean(1, keepdims=True)
    np.testing.assert_allclose(person_means(x, same).reshape(40, 3, 2), np.broadcast_to(means, (40, 3, 2)))
    errors, weight = {}, {}
    for factor in (1.0, 3.0, 10.0):
        monkeypatch.setattr(fitting, "STEADINESS", (factor,))
        weights, _, left_out = steady_ridge(x, y, same)
        errors[factor], weight[factor] = np.abs(left_out - y).mean(), weights[0]
        assert len(set(left_out)) == 40  # one prediction a person
    assert 0 < weight[10.0] < 0.2 * weight[3.0] < 0.2 * weight[1.0]
    monkeypatch.setattr(fitting, "STEADINESS", (10.0, 1.0, 3.0))
    best = min(errors, key=errors.get)
    assert len(set(errors.values())) == 3 and steady_ridge(x, y, same)[0][0] == weight[best]
