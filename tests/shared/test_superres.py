"""Network, transforms and scores of super-resolution."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SimpleInferer
from monai.metrics.regression import compute_ssim_and_cs
from scipy import ndimage

from shared.inferers import FlipsInferer, HaloInferer
from shared.losses import SuperResolutionLoss
from shared.networks import SuperResolutionNet
from shared.resolution import degrade, interpolate
from shared.transforms import Degraded, RandDegraded, RandStrippedd, ScaleHeadd, ScorePatchd, head_mask
from shared.transforms.superres import psnr, ssim

RNG = np.random.default_rng(2)


def head(shape=(40, 44, 36), white=300.0) -> MetaTensor:
    """A bright ellipsoid with texture and a dark hole in faint noise."""
    places = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    radius = np.sqrt((places**2).sum(0))
    image = np.where(radius < 0.8, 0.7 + 0.3 * ndimage.gaussian_filter(RNG.standard_normal(shape), 2) * 5, 0)
    image[radius < 0.1] = 0
    image = np.abs(image + 0.01 * RNG.standard_normal(shape)).astype(np.float32) * white
    return MetaTensor(torch.from_numpy(image)[None], affine=np.diag([2.0, 2, 2, 1]))


def net(factor=(2, 2, 2), **options) -> SuperResolutionNet:
    torch.manual_seed(0)
    network = SuperResolutionNet(factor, channels=4, blocks=1, **options).eval()
    for layer in network.heads:
        torch.nn.init.normal_(layer.weight, std=0.1)
    return network


@pytest.mark.parametrize("factor", [[2, 2, 2], [4, 4, 4], [1, 1, 4], [3, 1, 2]])
def test_untrained_network_beats_cubic_interpolation_on_both_grids(factor):
    """Along smooth noise that larger voxels have collected; and an even image stays even."""
    fine = torch.from_numpy(ndimage.gaussian_filter(RNG.standard_normal((48, 48, 48)), 0.8 * np.sqrt(max(factor))))[
        None
    ].float()
    network = SuperResolutionNet(factor, channels=4, blocks=1).eval()
    for channel, grid in enumerate(("block", "sample")):
        coarse = degrade(fine, factor, grid)
        with torch.no_grad():
            found = network(coarse[None])[0, channel].numpy()
            even = network(torch.ones(1, 1, 9, 9, 9))
        cubic = interpolate(coarse[0].numpy(), factor, grid, 3)
        inner = (slice(8, -8),) * 3
        errors = [np.square(volume - fine[0].numpy())[inner].mean() for volume in (found, cubic)]
        assert found.shape == (48, 48, 48)
        assert errors[0] < 0.85 * errors[1]
        torch.testing.assert_close(even, torch.ones_like(even))


def test_each_output_of_the_last_layer_reaches_its_own_finer_voxel():
    network = net((1, 2, 3), grids=["sample"])
    values = torch.arange(6.0).reshape(1, 6, 1, 1, 1).expand(1, 6, 2, 2, 2)
    shuffled = network.shuffle(values)
    assert shuffled.shape == (1, 1, 2, 4, 6)
    assert shuffled[0, 0, 1].tolist() == [[0, 1, 2, 0, 1, 2], [3, 4, 5, 3, 4, 5]] * 2


def test_grids_are_chosen_from_the_same_weights():
    both, one = net(), net(grids=["sample"])
    one.load_state_dict(both.state_dict())
    image = torch.rand(1, 1, 6, 7, 8)
    torch.testing.assert_close(both(image)[:, 1:], one(image))
    torch.testing.assert_close(torch.jit.script(one)(image), one(image))


@pytest.mark.parametrize("factor", [[1, 1, 1], [2, 2], [0, 2, 2], [2.5, 2, 2]])
def test_impossible_factors_are_refused(factor):
    with pytest.raises(ValueError, match="expected three whole numbers of 1 or more, not all 1"):
        SuperResolutionNet(factor)


@pytest.mark.parametrize("shape", [(56, 41, 12), (90, 41, 40), (40, 42, 49)])
def test_tiles_give_what_the_whole_gives(shape):
    """The network of one block reaches 9 voxels: halo 9 is enough everywhere, halo 1 is not."""
    network, image = net(grids=["block"]), torch.rand(1, 1, *shape)
    with torch.no_grad():
        whole = network(image)
        tiled = HaloInferer([40, 40, 40], halo=9)(image, network)
        seams = HaloInferer([40, 40, 40], halo=1)(image, network)
    assert tiled.shape == whole.shape
    assert float((tiled - whole).abs().max()) < 1e-4 < float((seams - whole).abs().max())


def test_a_tile_without_room_for_its_halo_is_refused():
    with pytest.raises(ValueError, match=r"tile \[20, 60, 60\] is too small, expected 44 voxels a side"):
        HaloInferer([20, 60, 60])


def test_the_head_is_the_largest_bright_piece_with_its_holes():
    image = head()[0].numpy()
    image[:2, :2, :2] = 300
    mask = head_mask(image)
    places = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in image.shape), indexing="ij"))
    np.testing.assert_array_equal(mask, np.sqrt((places**2).sum(0)) < 0.8)


def test_scale_does_not_depend_on_brightness_or_empty_margin():
    plain, bright = head(), head() * 7
    wide = MetaTensor(torch.nn.functional.pad(plain.as_tensor(), [30] * 6), affine=plain.affine)
    scales = [ScaleHeadd("image")({"image": image})["image_scale"] for image in (plain, bright, wide)]
    assert float(scales[2]) == pytest.approx(float(scales[0]), rel=1e-6)
    assert float(scales[1]) == pytest.approx(7 * float(scales[0]), rel=0.05)


@pytest.mark.parametrize(
    ("image", "expected"),
    [(-torch.ones(1, 9, 9, 9), "no voxel is above zero"), (torch.rand(1, 9, 9, 1), r"found shape \(9, 9, 1\)")],
)
def test_what_is_no_head_is_refused(image, expected):
    image = MetaTensor(image, meta={"filename_or_obj": "P7_T1.nii"})
    with pytest.raises(ValueError, match=f"P7_T1.nii: .*{expected}"):
        ScaleHeadd("image")({"image": image})


def test_random_coarse_patches_know_one_grid_and_repeat_with_the_seed():
    transform = RandDegraded([2, 2, 2], margin=2, profiles={"gaussian": 1, "average_pooling": 1}, noise=0.05)
    grids, first = set(), None
    for _ in range(2):
        transform.set_random_state(4)
        drawn = [transform({"image": head((28, 28, 28), 1.0)}) for _ in range(8)]
        for item in drawn:
            assert item["image"].shape == (1, 10, 10, 10) and item["label"].shape == (3, 20, 20, 20)
            assert (item["label"][-1] == 1).all()
            known = torch.isfinite(item["label"][:-1]).flatten(1).all(1).tolist()
            assert sorted(known) == [False, True]
            grids.add(known.index(True))
        images = torch.stack([item["image"] for item in drawn])
        assert first is None or first.shape == images.shape
        first = images
    assert grids == {0, 1}


def test_the_patch_lies_where_its_coarse_image_lies():
    """Without noise the coarse image is `degrade` of the whole patch, cut."""
    image = head((28, 28, 28), 1.0)
    transform = RandDegraded([2, 2, 2], width=(1.0, 1.0), noise_prob=0, grids=["sample"])
    item = transform({"image": image})
    torch.testing.assert_close(item["image"], degrade(image, [2, 2, 2], "sample")[:, 2:-2, 2:-2, 2:-2])
    torch.testing.assert_close(item["label"][1], image.as_tensor()[0, 4:-4, 4:-4, 4:-4])


def test_the_brain_counts_more_where_a_label_map_says_what_it_is():
    image, labels = head((28, 28, 28), 1.0), torch.zeros(1, 28, 28, 28)
    labels[:, 10:18, 6:] = 5
    item = RandDegraded([2, 2, 2], brain_weight=3.0)({"image": image, "label": labels})
    torch.testing.assert_close(item["label"][-1], 1 + 2 * (labels[0, 4:-4, 4:-4, 4:-4] > 0).float())


def test_degraded_cuts_sides_and_states_where_voxels_lie():
    item = Degraded([2, 2, 4], grid="block")({"image": head((41, 44, 38)), "label": head((41, 44, 38))})
    assert item["image"].shape == (1, 20, 22, 9)
    assert item["label"].shape == item["regions"].shape == (1, 40, 44, 36)
    np.testing.assert_allclose(item["image"].affine[:3, 3], [1, 1, 3])
    assert item["image"].pixdim.tolist() == [4, 4, 8]


def test_psnr_by_hand():
    truth, mask = np.zeros((4, 4, 4)), np.zeros((4, 4, 4), bool)
    mask[0] = True
    pred = truth + 0.1
    pred[1:] = 9
    assert psnr(pred, truth, mask) == pytest.approx(20)
    assert psnr(truth, truth, mask) == np.inf


def test_ssim_is_that_of_monai_with_uniform_windows():
    truth, noise = (ndimage.gaussian_filter(RNG.random((20, 22, 24)), s) for s in (1, 0.5))
    pred, mask = truth + 0.2 * noise, np.zeros(truth.shape, bool)
    mask[6:14, 6:15, 6:16] = True
    window = {"kernel_type": "uniform", "kernel_size": (7, 7, 7), "kernel_sigma": (1.0, 1.0, 1.0)}
    parts = [torch.from_numpy(v[3:17, 3:18, 3:19])[None, None] for v in (pred, truth)]  # MONAI's map lacks three voxels a side
    expected = compute_ssim_and_cs(*parts, spatial_dims=3, data_range=1.0, **window)[0].mean()
    everywhere = np.ones_like(mask)  # the volume is cut to what the masks need, which must not matter for the first one
    assert ssim(pred, truth, [mask, everywhere])[0] == pytest.approx(float(expected), abs=1e-4)  # MONAI's is float32
    assert ssim(truth, truth, [mask]) == [pytest.approx(1)]


def test_loss_by_hand_ignores_what_is_not_known():
    truth = torch.zeros(1, 3, 4, 4, 4)
    truth[:, 1], truth[:, 2] = torch.nan, 1
    pred = torch.full((1, 2, 4, 4, 4), 0.5)
    assert float(SuperResolutionLoss(slope_weight=10)(pred, truth)) == pytest.approx(np.log(0.5 + 0.02))
    pred[0, 0, ::2] = -0.5  # slopes of 1 along one of three axes
    assert float(SuperResolutionLoss(slope_weight=0.3)(pred, truth)) == pytest.approx(np.log(0.5 + 0.3 / 3 + 0.02))
    squared = SuperResolutionLoss(slope_weight=0.3, power=2)(pred, truth)
    assert float(squared) == pytest.approx(np.log(0.25 + 0.3 / 3 + 0.02**2) / 2)
    assert float(ScorePatchd()({"pred": pred[0], "label": truth[0]})["psnr"]) == pytest.approx(-10 * np.log10(0.25))
    with pytest.raises(ValueError, match="power is 3, expected 1 or 2"):
        SuperResolutionLoss(power=3)


def test_loss_is_a_mean_by_weight():
    truth, pred = torch.zeros(1, 2, 4, 4, 4), torch.full((1, 1, 4, 4, 4), 0.1)
    truth[:, 1] = 1
    truth[:, 1, 0], pred[:, :, 0] = 4, 0.3  # a quarter of the voxels counts four times
    assert float(SuperResolutionLoss(0)(pred, truth)) == pytest.approx(np.log((4 * 0.3 + 3 * 0.1) / 7 + 0.02))


def test_loss_counts_every_patch_alike():
    """Halving the error of a smooth patch is worth as much as halving that of a sharp one."""
    truth, loss = torch.zeros(2, 2, 4, 4, 4), SuperResolutionLoss(power=2)
    truth[:, 1] = 1
    start = torch.tensor([0.2, 0.8]).reshape(2, 1, 1, 1, 1).expand(2, 1, 4, 4, 4)
    gains = [
        float(loss(start, truth) - loss(start * torch.tensor(s).reshape(2, 1, 1, 1, 1), truth)) for s in ([0.5, 1], [1, 0.5])
    ]
    assert gains[0] == pytest.approx(gains[1], rel=0.05)
    assert gains[0] == pytest.approx(np.log(2) / 2, rel=0.05)


def test_stripping_leaves_the_widened_label():
    image, label = head(), torch.zeros(1, 40, 44, 36)
    label[0, 15:25, 15:25, 15:25] = 7
    sizes = set()
    for seed in range(12):
        found = RandStrippedd("image", prob=1).set_random_state(seed)({"image": image, "label": MetaTensor(label)})
        assert torch.equal(found["label"], label)
        kept = found["image"][0] != 0
        assert torch.equal(found["image"][0][kept], image[0][kept])
        assert kept[15:25, 15:25, 15:25].all() == (image[0, 15:25, 15:25, 15:25] != 0).all()
        sizes.add(int(kept.any(2).any(1).sum()))
    assert sizes == {10, 12, 14}
    same = RandStrippedd("image", prob=0)({"image": image, "label": MetaTensor(label)})
    assert torch.equal(same["image"], image)
    assert torch.equal(RandStrippedd("image", prob=1)({"image": image})["image"], image)


@pytest.mark.parametrize("factor", [[2, 2, 2], [1, 3, 4]])
def test_mirror_images_are_brought_back_onto_their_grid(factor):
    """The linear estimate knows no direction (on the grid "sample" nearly: it has neighbours more on one side)."""
    network, image = (
        SuperResolutionNet(factor, channels=4, blocks=1).eval(),
        torch.from_numpy(RNG.random((1, 1, 12, 10, 9))).float(),
    )
    inferer = FlipsInferer(SimpleInferer(), [0, 1, 2], factor, ["block", "sample"])
    with torch.no_grad():
        mean, plain = inferer(image, network), network(image)
    torch.testing.assert_close(mean[:, 0], plain[:, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(mean[:, 1], plain[:, 1], atol=0.03, rtol=0)


def test_mean_over_mirror_images_knows_no_direction():
    network, image = net(), torch.from_numpy(RNG.random((1, 1, 8, 7, 6))).float()
    inferer = FlipsInferer(SimpleInferer(), [0, 2], [2, 2, 2], ["block", "sample"])
    with torch.no_grad():
        first, plain = inferer(image, network)[:, :1], network(image)[:, :1]
        mirrored = inferer(image.flip(2, 4), network)[:, :1].flip(2, 4)
    torch.testing.assert_close(first, mirrored)
    assert (first - plain).abs().max() > 1e-3
