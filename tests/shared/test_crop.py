import itertools

import numpy as np
import pytest
import torch

from shared.transforms import RandShareCropd
from shared.transforms.crop import foreground_share


def test_share_agrees_with_counting_every_patch():
    mask = torch.from_numpy(np.random.default_rng(0).random((6, 7, 5)) < 0.2)
    size = (3, 2, 4)
    share = foreground_share(mask, size)
    assert share.shape == (4, 6, 2)
    for i, j, k in itertools.product(range(4), range(6), range(2)):
        assert share[i, j, k] == pytest.approx(mask[i : i + 3, j : j + 2, k : k + 4].float().mean().item())


def item(shape=(20, 18, 16)):
    label = torch.zeros(2, *shape)
    label[1, 12:17, 3:8, 4:9] = 1
    return {"image": torch.arange(float(np.prod(shape))).reshape(1, *shape), "label": label}


def test_every_patch_holds_the_share_and_image_and_label_stay_together():
    crop = RandShareCropd(["image", "label"], "label", (8, 8, 8), num_samples=20, min_share=0.1)
    crop.set_random_state(0)
    data = item()
    patches = crop(data)
    assert len(patches) == 20
    for patch in patches:
        assert patch["label"].amax(0).mean() >= 0.1
        start = np.unravel_index(int(patch["image"][0, 0, 0, 0]), (20, 18, 16))
        expected = data["label"][:, start[0] : start[0] + 8, start[1] : start[1] + 8, start[2] : start[2] + 8]
        assert torch.equal(torch.as_tensor(patch["label"]), expected)
    assert len({int(p["image"][0, 0, 0, 0]) for p in patches}) > 10


def test_where_the_share_cannot_be_reached_the_best_patch_is_taken():
    crop = RandShareCropd(["image", "label"], "label", (8, 8, 8), min_share=0.9)
    assert crop(item())[0]["label"].sum() == 125


def test_a_small_volume_is_padded_and_an_empty_label_still_gives_patches():
    crop = RandShareCropd(["image", "label"], "label", (8, 24, 8), num_samples=2, min_share=0.1)
    data = item()
    data["label"][:] = 0
    assert [p["image"].shape for p in crop(data)] == [(1, 8, 24, 8)] * 2


def test_the_same_state_draws_the_same_patches():
    crop = RandShareCropd(["image", "label"], "label", (8, 8, 8), num_samples=3, min_share=0.05)
    first = [p["image"][0, 0, 0, 0].item() for p in crop.set_random_state(5)(item())]
    assert first == [p["image"][0, 0, 0, 0].item() for p in crop.set_random_state(5)(item())]


def test_a_share_above_one_is_refused():
    with pytest.raises(ValueError, match="min_share is 4"):
        RandShareCropd("image", "label", (8, 8, 8), min_share=4)
