"""Slices of volumes: auto-encoder, scores, what is drawn in training."""

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SimpleInferer
from monai.networks.nets import ResNet
from scipy.ndimage import gaussian_filter

from shared.inferers import SlicesInferer
from shared.networks import SliceAutoEncoder
from shared.transforms import RandSpreadSlicesd, RebuildSlicesd, ScoreSlicesd
from shared.transforms.slice_vectors import MS_SSIM_WEIGHTS, ms_ssim

SMALL = {"filters": [8, 8, 8, 8], "decoder_filters": [8, 8, 8, 8, 8], "hidden": 6, "narrow": 4}


@pytest.mark.parametrize("size", [(32, 32), (48, 70), (112, 112)])
def test_slices_become_vectors_and_slices_again(size):
    net = SliceAutoEncoder(2, size, **SMALL).eval()
    image = torch.rand(3, 2, *size)
    latent = net.encode(image)
    assert latent.shape == (3, 6) and net.decode(latent).shape == image.shape
    torch.testing.assert_close(net(image), net.decode(latent))
    other = SliceAutoEncoder(2, size, **SMALL, output="latent").eval()
    other.load_state_dict(net.state_dict())
    torch.testing.assert_close(other(image), latent)


def test_a_vector_is_all_that_the_decoder_sees():
    """Two numbers cannot tell 64 different slices, so what is rebuilt lies on a surface of two dimensions."""
    torch.manual_seed(0)
    net = SliceAutoEncoder(1, (32, 32), **{**SMALL, "hidden": 2}).eval()
    latent = net.encode(torch.rand(64, 1, 32, 32))
    assert torch.linalg.matrix_rank(net.from_latent[0](latent) - net.from_latent[0].bias) <= 2


def test_the_encoder_is_the_resnet_of_a_classifier():
    encoder = SliceAutoEncoder(1, (32, 32)).encoder.state_dict()
    options = {"conv1_t_size": 3, "conv1_t_stride": 2, "norm": ("group", {"num_groups": 8})}
    net = ResNet("basic", [1, 1, 1, 1], [16, 64, 128, 256], spatial_dims=2, n_input_channels=1, num_classes=2, **options)
    assert set(net.state_dict()) - set(encoder) == {"fc.weight", "fc.bias"}
    image = torch.rand(2, 1, 64, 64)
    net.load_state_dict(encoder, strict=False)
    same = SliceAutoEncoder(1, (64, 64))
    same.encoder.load_state_dict(encoder)
    features = torch.nn.Sequential(*list(net.eval().children())[:-2])(image)
    torch.testing.assert_close(same.eval().encoder(image), features)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="output is 'both', expected one of reconstruction, latent"):
        SliceAutoEncoder(1, output="both")
    with pytest.raises(ValueError, match="expected five numbers"):
        SliceAutoEncoder(1, decoder_filters=[8, 8])


def reference_ms_ssim(a: np.ndarray, b: np.ndarray, scales: int) -> float:
    """Wang et al. 2003 with SciPy's Gaussian, for two images with values 0..1."""
    weights, result = np.array(MS_SSIM_WEIGHTS[:scales]) / sum(MS_SSIM_WEIGHTS[:scales]), 1.0

    def smooth(x):
        return gaussian_filter(x, 1.5, truncate=3.4)[5:-5, 5:-5]  # 11 pixels

    for scale, weight in enumerate(weights):
        mean_a, mean_b = smooth(a), smooth(b)
        var_a, var_b, both = smooth(a * a) - mean_a**2, smooth(b * b) - mean_b**2, smooth(a * b) - mean_a * mean_b
        structure = (2 * both + 0.03**2) / (var_a + var_b + 0.03**2)
        light = (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
        result *= (structure * light if scale == scales - 1 else structure).mean() ** weight
        a, b = (x.reshape(len(x) // 2, 2, -1, 2).mean((1, 3)) if scale < scales - 1 else x for x in (a, b))
    return float(result)


@pytest.mark.parametrize(("side", "scales"), [(16, 1), (32, 2), (112, 4), (176, 5)])
def test_ms_ssim_is_that_of_the_paper(side, scales):
    rng = np.random.default_rng(side)
    a = gaussian_filter(rng.random((side, side)), 2) * 4 - 1.5
    b = np.clip(a + 0.1 * rng.standard_normal((side, side)), 0, 1)
    pair = [torch.from_numpy(np.stack([x, y])[:, None]).float() for x, y in ((a, a), (b, a))]
    found = ms_ssim(pair[1], pair[0])
    assert found.tolist() == pytest.approx([reference_ms_ssim(b, a, scales), 1.0], abs=2e-4)


def test_scores_are_means_over_slices():
    image = MetaTensor(torch.rand(1, 32, 32, 2))
    pred = image.clone()
    pred[..., 1] += 0.1  # 20 dB
    item = ScoreSlicesd()({"image": image, "pred": pred})
    assert item["measured"]["mae"] == pytest.approx(0.05, abs=1e-5)
    assert item["measured"]["psnr"] == pytest.approx((120 + 20) / 2, abs=1e-2)
    assert item["measured"]["ms_ssim"] == pytest.approx(float(item["ms_ssim"])) and item["ms_ssim"] < 1


def test_drawn_slices_come_from_all_along_the_volume():
    volume = torch.arange(12.0).expand(1, 4, 5, 12)
    draw = RandSpreadSlicesd(["image", "label"], count=4).set_random_state(3)
    seen = set()
    for _ in range(30):
        items = draw({"image": MetaTensor(volume), "label": -volume, "case": "A"})
        places = [int(item["image"][0, 0, 0]) for item in items]
        assert [place // 3 for place in places] == [0, 1, 2, 3]
        assert all(item["image"].shape == (1, 4, 5) and torch.equal(item["label"], -item["image"]) for item in items)
        seen |= set(places)
    assert seen == set(range(12))


def test_a_network_of_slices_runs_over_a_volume():
    volume = MetaTensor(torch.rand(1, 2, 6, 5, 3))
    inferer = SlicesInferer(SimpleInferer())
    torch.testing.assert_close(inferer(volume, lambda x: 2 * x), 2 * volume.as_tensor())
    means = inferer(volume, lambda x: x.mean((2, 3)))
    torch.testing.assert_close(means, volume.as_tensor().mean((2, 3)).permute(0, 2, 1))


class Remembers(torch.nn.Module):
    """Its "vectors" are slices."""

    def __init__(self, shape):
        super().__init__()
        self.shape, self.weight = shape, torch.nn.Parameter(torch.zeros(1))

    def decode(self, latent):
        return latent.view(-1, *self.shape)


def test_what_is_rebuilt_lies_where_the_image_was():
    affine = nib.affines.from_matvec(np.array([[2, 0.3, 0], [-0.2, -2, 0.1], [0, 0.4, 3]]), [5, -7, 9])
    image = MetaTensor(torch.rand(2, 16, 18, 4), affine=affine)
    latent = image.as_tensor().permute(3, 0, 1, 2).flatten(1)
    scale = torch.tensor([3.0, 200.0], dtype=torch.float64)
    item = RebuildSlicesd(Remembers((2, 16, 18)))({"image": image, "pred": latent, "image_scale": scale})
    torch.testing.assert_close(item["pred"].as_tensor(), image.as_tensor())
    torch.testing.assert_close(item["volume"].as_tensor(), image.as_tensor() * scale[:, None, None, None].float())
    np.testing.assert_allclose(item["volume"].affine, affine)
    np.testing.assert_allclose(item["centre_mm"][2], nib.affines.apply_affine(affine, [7.5, 8.5, 2]), rtol=1e-6)
    assert item["measured"]["ms_ssim"] == pytest.approx(1)
    assert item["measured"]["z0003"] == pytest.approx(float(latent[:, 3].mean()), abs=1e-5)
    assert len(item["measured"]) == 1 + latent.shape[1]
