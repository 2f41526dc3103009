import numpy as np
import pytest
import torch

from shared.montage import COLOURS, grid, outline, tile
from shared.transforms import Perturbd


def test_a_tile_shows_the_patients_right_on_the_left_and_the_front_above():
    image = np.zeros((20, 16))
    image[15:, 12:] = 1  # right, front
    picture = tile(image, 0, 1, size=40)
    assert picture.shape == (32, 40, 3)
    assert picture[2, 2].tolist() == [255] * 3 and picture[-2, 2].sum() == picture[2, -2].sum() == picture[-2, -2].sum() == 0
    assert tile(image, 0, 1, aspect=0.5, size=40).shape == (64, 40, 3)  # pixels twice as long to the front


def test_outlines_follow_the_border_of_their_mask():
    mask = np.zeros((20, 20), bool)
    mask[5:15, 5:15] = True
    picture = outline(tile(np.zeros((20, 20)), 0, 1, size=80), {2: mask, 0: np.zeros_like(mask)})
    coloured = (picture == COLOURS[2]).all(-1)
    rows = np.flatnonzero(coloured.any(1))
    assert abs(rows[0] - 20) <= 2 and abs(rows[-1] - 60) <= 2
    assert coloured.any() and not coloured[35:45, 35:45].any() and picture[~coloured].sum() == 0


def test_tiles_fill_rows():
    tiles = [np.full((4, 6, 3), value, np.uint8) for value in (1, 2, 3)]
    picture = grid(tiles, 2)
    assert picture[0, 0, 0] == 1 and picture[0, 8, 0] == 2 and picture[6, 0, 0] == 3 and picture[6, 8, 0] == 0


def test_known_changes_of_brightness():
    image = torch.linspace(0, 200, 1001).reshape(1, 7, 11, 13)
    change = {name: Perturbd("i", **options)({"i": image})["i"] for name, options in {
        "none": {}, "gamma": {"gamma": 2.0}, "invert": {"invert": True}, "noise": {"noise": 0.1},
    }.items()}  # fmt: skip
    middle = (0, 3, 5, 6)  # 100, half of the range
    assert float(change["none"][middle]) == pytest.approx(100, abs=0.1)
    assert float(change["gamma"][middle]) == pytest.approx(2 + 196 * 0.25, abs=0.5)
    assert float(change["invert"].flatten()[0]) > 197 and float(change["invert"].flatten()[-1]) < 3
    assert float((change["noise"] - change["none"]).std()) == pytest.approx(19.6, rel=0.1)
    assert torch.equal(change["noise"], Perturbd("i", noise=0.1)({"i": image})["i"])
