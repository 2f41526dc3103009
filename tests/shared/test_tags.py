"""Tags as one-hot groups; the network that takes them; temperature and threshold."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from shared.handlers import Calibration
from shared.handlers.calibration import fit_temperature, youden_threshold
from shared.networks import ImageTagNet
from shared.transforms import DecideFilmd, EncodeTagsd, RandJpegd, TargetToLabeld, tag_count

GROUPS, VIEWS = [20, 40, 60, 80], ["AP", "PA"]


def encode(**item):
    return EncodeTagsd(GROUPS, VIEWS)({"case": "a", **item})


@pytest.mark.parametrize(
    ("age", "place"),
    [
        ("61", 3),
        ("061Y", 3),
        ("018M", 0),
        ("20", 1),
        ("19", 0),
        ("80", 4),
        ("155", 5),
        ("", 5),
        (None, 5),
        ("sixty", 5),
        (61, 3),
    ],
)
def test_ages_fall_into_groups(age, place):
    assert encode(age=age)["tags"][:6].tolist() == [float(i == place) for i in range(6)]


@pytest.mark.parametrize(("sex", "place"), [("F", 0), ("M", 1), ("O", 2), ("", 2), (None, 2), ("f", 0)])
def test_sexes(sex, place):
    assert encode(sex=sex)["tags"][6:9].tolist() == [float(i == place) for i in range(3)]


@pytest.mark.parametrize(("view", "place"), [("AP", 0), ("pa", 1), ("LL", 2), ("", 2), (None, 2)])
def test_views(view, place):
    item = encode(view=view)
    assert item["tags"][9:].tolist() == [float(i == place) for i in range(3)]
    assert item["view"] == ("AP", "PA", "")[place] and len(item["tags"]) == tag_count(GROUPS, VIEWS)


def test_what_is_odd_is_said_and_nothing_else(caplog):
    with caplog.at_level(logging.WARNING):
        encode(age="35", sex="M", view="AP")
        assert not caplog.text
        encode(age="155", sex="O", view="LL")
    for text in ("a: age is 155, expected 0 to 120", "sex is 'O'", "view is 'LL', expected AP or PA", "taken as unknown"):
        assert text in caplog.text


def test_targets():
    assert TargetToLabeld()({"target": 1})["label"].tolist() == [1.0]
    with pytest.raises(ValueError, match="b: target is None, expected 0 or 1"):
        TargetToLabeld()({"case": "b"})


def small(image=True, tags=12):
    torch.manual_seed(0)
    branch = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3, stride=2), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    return ImageTagNet(branch if image else None, 4, tags)


def test_each_input_counts_and_either_may_be_left_out():
    image, tags = torch.rand(3, 1, 16, 16), torch.eye(12)[:3]
    both = small().eval()
    assert both(image, tags).shape == (3, 1)
    assert not torch.allclose(both(image, tags), both(image)) and not torch.allclose(both(image, tags), both(1 - image, tags))
    alone = small(tags=0).eval()
    assert torch.equal(alone(image, tags), alone(image))
    words = small(image=False).eval()
    assert torch.equal(words(image, tags), words(1 - image, tags))
    torch.testing.assert_close(torch.jit.script(both)(image, tags), both(image, tags))
    with pytest.raises(ValueError, match="found neither"):
        small(image=False, tags=0)


def test_temperature_divides_and_threshold_decides():
    network = small().eval()
    image = torch.rand(1, 1, 16, 16)
    raw = network(image)
    network.temperature.fill_(2.0)
    torch.testing.assert_close(network(image), raw / 2)
    network.threshold.fill_(0.8)
    for odds, decision in ((1.5, 1), (1.2, 0)):  # probabilities 0.82 and 0.77
        item = DecideFilmd(network, ["no", "yes"])({"pred": torch.tensor([odds]), "label": torch.ones(1)})
        assert item["decision"] == decision and item["class"] == ("no", "yes")[decision] and item["target"] == 1
        assert float(item["prob"]) == pytest.approx(1 / (1 + np.exp(-odds)))
        assert float(item["prob_raw"]) == pytest.approx(1 / (1 + np.exp(-2 * odds)))


def test_the_temperature_of_overconfident_odds_is_found():
    rng = np.random.default_rng(0)
    honest = rng.normal(0, 2, 20_000)
    truth = (rng.random(20_000) < 1 / (1 + np.exp(-honest))).astype(float)
    assert fit_temperature(3 * honest, truth) == pytest.approx(3, rel=0.05)


def test_the_threshold_has_the_largest_sum_of_sensitivity_and_specificity():
    prob, truth = np.array([0.1, 0.2, 0.3, 0.35, 0.6, 0.9]), np.array([0, 0, 0, 1, 0, 1])
    assert youden_threshold(prob, truth) == pytest.approx(0.325)


def run_calibration(network, prob, truth):
    handler = Calibration(network)
    outputs = [{"prob_raw": torch.tensor([p]), "target": torch.tensor([t])} for p, t in zip(prob, truth, strict=True)]
    handler.collect(SimpleNamespace(state=SimpleNamespace(output=outputs)))
    handler.fit(None)


def test_calibration_is_kept_with_the_weights_or_left_alone():
    network = small()
    run_calibration(network, [0.99] * 15 + [0.01] * 15, [1.0] * 10 + [0.0] * 5 + [0.0] * 10 + [1.0] * 5)
    assert network.state_dict()["temperature"].item() == pytest.approx(np.log(99) / np.log(2), rel=0.01)  # 2 of 3 are right
    assert 0.33 < network.threshold.item() < 0.67
    other = small()
    run_calibration(other, [0.9] * 5 + [0.1] * 20, [1.0] * 5 + [0.0] * 20)
    assert other.temperature.item() == 1 and other.threshold.item() == 0.5


def test_jpeg_loses_detail_and_keeps_the_film():
    y, x = np.mgrid[:64, :64] / 64
    image = torch.from_numpy((np.sin(6 * x) + y + 0.1 * np.random.default_rng(0).random((64, 64))).astype(np.float32))[None]
    bad, good = (RandJpegd("image", prob=1.0, quality=(q, q)).set_random_state(0)({"image": image})["image"] for q in (10, 95))
    assert 0 < (good - image).abs().mean() < (bad - image).abs().mean() < 0.1
    assert torch.equal(RandJpegd("image", prob=0.0)({"image": image})["image"], image)
