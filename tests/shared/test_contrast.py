"""Slices drawn from volumes, random contrasts over tissues, ghosts of breathing."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy.ndimage import gaussian_filter1d

from shared import abdomen as t
from shared.errors import InputError
from shared.transforms import FilledSlicesd, RandGhostd, RandSlicesd, RandTissueContrastd, SmoothSlicesd
from tools.abdomen import draw_abdomen


@pytest.fixture(scope="module")
def tissue():
    """An abdomen of 8 x 8 x 12 mm voxels (1, H, W, D)."""
    return torch.from_numpy(draw_abdomen(np.random.default_rng(3), (48, 40, 24), (8, 8, 12)))[None]


def test_an_abdomen_holds_all_organs_where_they_belong(tissue):
    organs = (t.LIVER, t.SPLEEN, t.RIGHT_KIDNEY, t.LEFT_KIDNEY)
    places = {code: np.argwhere(tissue[0].numpy() == code).mean(0) for code in organs}
    assert places[t.LIVER][0] > places[t.SPLEEN][0] + 5  # x to the right
    assert places[t.RIGHT_KIDNEY][0] > places[t.LEFT_KIDNEY][0] + 5
    assert places[t.LIVER][2] > places[t.RIGHT_KIDNEY][2]  # z to the head
    assert places[t.SPLEEN][1] < places[t.LIVER][1]  # y to the front
    ml = float(torch.isin(tissue, torch.tensor(t.ORGANS["liver"])).sum()) * 8 * 8 * 12 / 1000
    assert 500 < ml < 3000
    again = draw_abdomen(np.random.default_rng(3), (48, 40, 24), (8, 8, 12))
    assert np.array_equal(again, tissue[0].numpy())


def test_empty_slices_are_drawn_as_often_as_asked(tissue):
    item = FilledSlicesd("label", t.ORGANS["liver"])({"label": tissue})
    filled = torch.isin(tissue, torch.tensor(t.ORGANS["liver"])).flatten(0, 2).any(0)
    assert torch.equal(item["label_filled"], filled) and 0 < filled.sum() < len(filled)
    for share in (0.0, 0.3, 1.0):
        draw = RandSlicesd("label", "label_filled", 400, share).set_random_state(1)
        slices = draw(item)
        empty = np.mean([not torch.isin(s["label"], torch.tensor(t.ORGANS["liver"])).any() for s in slices])
        assert empty == pytest.approx(share, abs=0.08)
        assert slices[0]["label"].shape == (1, 48, 40)
    slab = RandSlicesd("label", "label_filled", 1, 0.0, thickness=[3, 3]).set_random_state(0)(item)[0]["label"]
    middle = next(k for k in range(24) if torch.equal(tissue[..., k], slab[..., 1]))
    assert torch.equal(slab, tissue[..., middle - 1 : middle + 2])
    full = {"label": tissue[..., filled], "label_filled": torch.ones(int(filled.sum()), dtype=torch.bool)}
    assert len(RandSlicesd("label", "label_filled", 2, 1.0)(full)) == 2  # none is empty: what there is, is taken


def drawn(slab, seed, **options):
    organs = t.organ_tissues("all")
    return RandTissueContrastd("label", organs, **options).set_random_state(seed)({"label": slab})


def test_contrasts_differ_by_seed_and_masks_do_not(tissue):
    slab = tissue[..., 12:13]
    one, same, other = (drawn(slab, seed) for seed in (1, 1, 2))
    assert torch.equal(one["image"], same["image"]) and not torch.allclose(one["image"], other["image"], atol=0.1)
    assert torch.equal(one["label"], other["label"]) and one["image"].shape == (1, 48, 40)
    for channel, numbers in zip(one["label"], t.ORGANS.values(), strict=True):
        assert torch.equal(channel.bool(), torch.isin(slab[0, ..., 0], torch.tensor(numbers)))


def test_liver_is_brighter_than_spleen_in_some_contrasts_and_darker_in_others(tissue):
    slab, signs = tissue[..., 14:15], []
    for seed in range(40):
        image = drawn(slab, seed, spread=0.0)["image"][0]
        signs.append(bool(image[slab[0, ..., 0] == t.LIVER].mean() > image[slab[0, ..., 0] == t.SPLEEN].mean()))
    assert 5 < sum(signs) < 35


def test_a_thick_slice_is_the_mean_and_fat_cancels_water_out_of_phase(monkeypatch):
    slab = torch.full((1, 4, 4, 2), t.LIVER)
    slab[..., 1] = t.SPLEEN
    means = np.zeros(t.TISSUES)
    means[t.LIVER], means[t.SPLEEN], means[t.FAT] = 0.8, 0.2, 0.8
    monkeypatch.setattr(RandTissueContrastd, "brightness", lambda self: (means.copy(), False))
    assert drawn(slab, 0, spread=0.0)["image"].flatten().tolist() == pytest.approx([0.5] * 16)
    monkeypatch.setattr(RandTissueContrastd, "brightness", lambda self: (means.copy(), True))
    border = torch.full((1, 8, 9, 1), t.LIVER)
    border[:, :, 4:] = t.FAT
    image = drawn(border, 0, spread=0.0)["image"][0]
    assert image[:, 0] == pytest.approx(0.8) and image[:, -1] == pytest.approx(0.8)
    assert float(image[4, 3:5].max()) < 0.3  # the line between fat and water


def test_a_scan_may_be_its_own_image_and_keeps_its_order(tissue):
    slab = tissue[..., 12:13]
    scan = (torch.arange(48)[None, :, None, None] * 5).expand(1, 48, 40, 1).to(torch.uint8)
    make = RandTissueContrastd("label", t.organ_tissues("liver"), scan_share=1.0)
    images = [make.set_random_state(seed)({"label": slab, "image": scan})["image"] for seed in range(6)]
    for image in images:
        assert image.shape == (1, 48, 40) and torch.equal(image[0, :, 0], image[0, :, 39])  # a curve of the scan's values
    assert not torch.allclose(images[0], images[1], atol=0.05)


def test_ghosts_leave_the_energy_and_move_it_along_one_axis():
    image = torch.zeros(1, 32, 32)
    image[0, 10:14, 14:18] = 1
    ghost = RandGhostd("i", prob=1.0).set_random_state(0)({"i": image})["i"]
    assert float(ghost[0, :10].abs().max()) < 1e-5  # rows without signal stay so
    assert float(ghost[0, 12, :10].max()) > 0.01
    assert float(ghost.square().sum()) == pytest.approx(float(image.square().sum()), rel=1e-4)
    assert torch.equal(RandGhostd("i", prob=0.0)({"i": image})["i"], image)


def test_an_unknown_organ_is_refused():
    assert t.organs_of("spleen") == ["spleen"] and t.organ_channels("spleen") == [3]
    assert t.organ_values("all")["left_kidney"] == [3]
    with pytest.raises(InputError, match="organ is 'pancreas', expected all or one of liver"):
        t.organs_of("pancreas")


def test_slices_are_smoothed_along_the_third_axis_in_mm():
    prob = torch.zeros(1, 4, 4, 9)
    prob[..., 4] = 1
    for gap in (2.0, 8.0):
        image = MetaTensor(torch.zeros(1, 4, 4, 9), affine=torch.diag(torch.tensor([1.0, 1, gap, 1])))
        line = SmoothSlicesd("p", 4.0)({"p": prob, "image": image})["p"][0, 1, 2]
        expected = gaussian_filter1d(prob[0, 1, 2].numpy(), 4 / gap, truncate=3, mode="nearest")
        assert line.tolist() == pytest.approx(expected.tolist(), abs=1e-3)
    assert SmoothSlicesd("p", 0)({"p": prob, "image": image})["p"] is prob
