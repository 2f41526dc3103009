"""Tumours grown into anatomy: fronts, tissues, contrasts, and a case made by its seed."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from shared.transforms import AnatomyMapsd, RandTumourCased
from shared.tumours.anatomy import GREY, WHITE
from shared.tumours.contrast import SEQUENCES
from shared.tumours.fields import smooth_field, soften, travel_time
from shared.tumours.growth import Tumour, grow, mass_effect
from tools.anatomy import brain, grid_mm, smooth_noise

SPACING = (4.0, 4.0, 4.0)
TISSUES = {"csf": [1], "grey": [2], "white": [3]}
BRIGHTNESS = np.array([30, 60, 140, 200], np.float32)  # skull, fluid, grey, white


def head() -> dict:
    """A T1 with a bias field of some 20 % and its tissue map, (1, 48, 56, 44), turned in space."""
    rng = np.random.default_rng(0)
    shape = (48, 56, 44)
    tissue = brain(rng, grid_mm(shape, SPACING), SPACING)
    bias = np.exp(0.1 * smooth_noise(rng, shape, SPACING, 110))
    t1 = BRIGHTNESS[tissue] * bias + rng.normal(0, 4, shape)
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = [-90, -110, -70]
    return {
        "image": MetaTensor(torch.from_numpy(t1.astype(np.float32))[None], affine=torch.from_numpy(affine)),
        "label": MetaTensor(torch.from_numpy(tissue)[None].float(), affine=torch.from_numpy(affine)),
    }


@pytest.fixture(scope="module")
def maps() -> dict:
    return AnatomyMapsd(TISSUES)(head())


def draw(maps, seed, **options):
    transform = RandTumourCased(**options)
    transform.set_random_state(seed)
    return transform(maps)


def test_a_front_runs_as_far_as_its_speed_says_and_stops_at_walls():
    distance = torch.from_numpy(grid_mm((33, 33, 33), (2, 2, 2))).norm(dim=0)
    start = torch.where(distance < 5, distance, float("inf"))
    near = (distance < 28) & (distance > 6)
    time = travel_time(start, torch.ones(33, 33, 33), (2, 2, 2), 30)
    assert (time - distance).abs()[near].max() < 2  # a voxel: the scheme is of first order
    twice = travel_time(2 * start, torch.full((33, 33, 33), 0.5), (2, 2, 2), 60)
    torch.testing.assert_close(twice[near], 2 * time[near])
    wall = torch.ones(33, 33, 33)
    wall[20] = 0
    assert (travel_time(start, wall, (2, 2, 2), 30)[21:] == 30).all()


def test_fronts_run_in_the_box_that_they_may_reach_as_in_the_whole_volume():
    start = torch.full((40, 30, 50), float("inf"))
    start[20, 4, 25] = 0
    speed = torch.rand(40, 30, 50, generator=torch.Generator().manual_seed(0)) + 0.5
    both_corners = start.clone()
    both_corners[0, 0, 0] = both_corners[-1, -1, -1] = 12  # at the limit: nothing comes from there, but the box is the volume
    in_box, whole = (travel_time(begin, speed, (1, 1, 1), 12) for begin in (start, both_corners))
    assert torch.equal(in_box, whole) and (in_box < 12).sum() > 500
    assert (travel_time(torch.full((3, 3, 3), float("inf")), torch.ones(3, 3, 3), (1, 1, 1), 5) == 5).all()


def test_fields_are_smooth_normal_and_of_the_seed():
    def field(seed, length):
        return smooth_field(torch.Generator().manual_seed(seed), (20, 24, 28), (3, 3, 3), length, torch.device("cpu"))

    assert torch.equal(field(1, 20), field(1, 20)) and not torch.equal(field(1, 20), field(2, 20))
    assert abs(field(1, 20).mean()) < 1e-5 and abs(field(1, 20).std() - 1) < 1e-4
    assert field(1, 40).diff(dim=0).abs().mean() < 0.6 * field(1, 10).diff(dim=0).abs().mean()


def test_smoothing_keeps_the_sum_and_spreads_by_sigma():
    point = torch.zeros(21, 21, 21)
    point[10, 10, 10] = 1
    smooth = soften(point, [1.5, 0, 2])
    assert smooth.sum() == pytest.approx(1, abs=1e-5)
    places = torch.arange(21.0) - 10
    for axis, sigma in ((0, 1.5), (1, 0), (2, 2)):
        profile = smooth.sum([i for i in range(3) if i != axis])
        assert (profile * places**2).sum().sqrt() == pytest.approx(sigma, rel=0.1, abs=1e-6)


def test_anatomy_is_free_of_bias_and_stays_where_it_was(maps):
    given = head()
    coordinate, depth = maps["image"].as_tensor()
    tissue = maps["label"][0].as_tensor()
    assert abs(coordinate[tissue == WHITE].mean() - 2) < 0.1 and abs(coordinate[tissue == GREY].mean() - 1) < 0.1
    raw = given["image"][given["label"] == 3]
    assert coordinate[tissue == WHITE].std() < 0.6 * raw.std() / 60  # 60 lie between grey and white
    assert ((tissue > 0) == (depth > 0)).all() and depth.max() > 30
    corner = maps["image"].affine[:3, 3] - given["image"].affine[:3, 3]
    first = [int(v) for v in (corner / 4).round()]
    box = tuple(slice(a, a + n) for a, n in zip(first, tissue.shape, strict=True))
    assert torch.equal(tissue == WHITE, given["label"][0].as_tensor()[box] == 3)


def test_anatomies_that_cannot_be_used_are_refused():
    item = head()
    with pytest.raises(ValueError, match="hardly any voxel is white matter"):
        AnatomyMapsd({"grey": [2], "white": [7]})(dict(item))
    with pytest.raises(ValueError, match="expected a T1, fluid darker than grey"):
        AnatomyMapsd(TISSUES)({**item, "image": 300 - item["image"]})
    with pytest.raises(ValueError, match="tissues are grey, bone, expected grey, white"):
        AnatomyMapsd({"grey": [2], "bone": [1]})


def test_oedema_follows_white_matter_and_the_core_has_its_rim():
    tissue = torch.full((41, 41, 41), GREY, dtype=torch.uint8)
    tissue[:, 16:25, 16:25] = WHITE  # a bundle along the first axis
    tumour = Tumour("ring", radius=8, oedema=20, rim=3, rough=0.0, push=0, cavity=False)
    grown = grow(tissue, [(20, 20, 20)], (2, 2, 2), tumour, torch.Generator().manual_seed(0))
    reach = [int((grown > 0).any(dim=tuple(i for i in range(3) if i != axis)).sum()) for axis in range(3)]
    assert reach[0] > 1.3 * reach[1] and reach[0] > 1.3 * reach[2]
    assert grown[20, 20, 20] == 1  # dead inside
    core = (grown == 1) | (grown == 4)
    assert int(core.sum()) * 8 == pytest.approx(4 / 3 * np.pi * 8**3, rel=0.35)
    assert 0.1 < float((grown == 4).sum() / core.sum()) < 0.95


def test_mass_effect_pushes_outwards_and_leaves_the_far_away_alone():
    position = torch.from_numpy(grid_mm((41, 41, 41), (3, 3, 3)))
    tumour = Tumour("plain", radius=12, oedema=5, rim=3, rough=0, push=4, cavity=False)
    moved = mass_effect(position, torch.zeros(3), tumour)
    size, distance = moved.norm(dim=0), position.norm(dim=0)
    assert size.max() == pytest.approx(4, rel=0.02) and size[distance > 55].max() < 0.3
    assert ((moved * position).sum(0) >= 0).all()
    assert (1 - moved.diff(dim=1).abs().max() / 3) > 0  # no voxel overtakes another


def test_the_seed_makes_the_case(maps):
    first, again, other = (draw(maps, seed) for seed in (3, 3, 4))
    assert torch.equal(first["image"], again["image"]) and torch.equal(first["label"], again["label"])
    assert not torch.equal(first["image"], other["image"])


def test_cases_have_the_contrasts_of_mr_and_nothing_outside_the_brain(maps):
    ratios: dict[tuple, list] = {}
    for seed in range(8):
        case = draw(maps, seed, tumour=1.0, odd=0.0, drop=0.0)
        images, label = case["image"].as_tensor(), case["label"][0].as_tensor()
        assert images.shape[0] == 4 and set(label.unique().tolist()) <= {0, 1, 2, 4} and label.any()
        assert images.min() >= 0 and (images[:, label > 0] > 0).all() and (images == 0).any()
        for channel, name in zip(images, SEQUENCES, strict=True):
            healthy = channel[(channel > 0) & (label == 0)].median()
            for value in (2, 4):
                if (label == value).sum() > 30:
                    ratios.setdefault((name, value), []).append(float(channel[label == value].median() / healthy))
    mean = {key: np.mean(values) for key, values in ratios.items()}
    assert mean["flair", 2] > 1.25 and mean["t2", 2] > 1.1 and mean["t1", 2] < 0.95
    assert mean["t1ce", 4] > 1.2 * mean["t1", 4]


def test_shares_are_kept(maps):
    size = (24, 24, 24)
    assert not any(draw(maps, s, size=size, tumour=0.0)["label"].any() for s in range(4))
    assert all((draw(maps, s, size=size, drop=1.0)["image"] == 0).flatten(1).all(1).sum() == 1 for s in range(4))
    case = draw(maps, 0, size=size, sequences=["flair", "t1"], drop=0.0)
    assert case["image"].shape == (2, *size) and case["label"].shape == (1, *size)


def test_without_bending_and_artefacts_the_anatomy_is_where_it_was(maps):
    case = draw(maps, 1, tumour=0.0, bend=0.0, odd=0.0, look_alikes=0.0, artefacts=0.0, drop=0.0)
    brain_mask = maps["image"][1].as_tensor() > 0
    assert torch.equal(case["image"][1].as_tensor() > 0, brain_mask)
    t1, coordinate = case["image"][1].as_tensor()[brain_mask], maps["image"][0].as_tensor()[brain_mask]
    assert np.corrcoef(t1, coordinate)[0, 1] > 0.9
