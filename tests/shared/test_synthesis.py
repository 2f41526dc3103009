"""Images of random contrast."""

import pytest
import torch

from shared.transforms import RandContrastd

IMAGE = torch.rand(1, 20, 20, 20, generator=torch.Generator().manual_seed(0))
LABEL = torch.zeros(1, 20, 20, 20, dtype=torch.uint8)
LABEL[:, 5:10], LABEL[:, 10:15] = 3, 200


def drawn(seed, **options):
    transform = RandContrastd("image", "label", **options)
    transform.set_random_state(seed)
    return transform({"image": IMAGE, "label": LABEL})["image"]


def test_structures_have_an_intensity_of_their_own():
    flat = drawn(1, spread=0.0)
    assert len(flat[LABEL == 3].unique()) == 1 and len(flat[LABEL == 200].unique()) == 1
    assert 1 < len(flat[LABEL == 0].unique()) <= 5
    assert flat.min() >= 0 and flat.max() <= 1
    noisy = drawn(1)
    assert noisy[LABEL == 3].std() > 0


def test_the_seed_makes_the_image_and_contrasts_turn_round():
    assert torch.equal(drawn(4), drawn(4)) and not torch.equal(drawn(4), drawn(5))
    signs = {bool(image[LABEL == 3].mean() > image[LABEL == 200].mean()) for image in (drawn(s) for s in range(10))}
    assert signs == {True, False}


def test_the_share_is_kept_and_other_grids_are_refused():
    assert torch.equal(drawn(1, prob=0.0), IMAGE)
    with pytest.raises(ValueError, match=r"image has shape \(1, 20, 20, 20\), label \(1, 5, 5, 5\)"):
        RandContrastd("image", "label")({"image": IMAGE, "label": torch.zeros(1, 5, 5, 5)})
    assert torch.equal(RandContrastd("image", "label")({"image": IMAGE})["image"], IMAGE)
