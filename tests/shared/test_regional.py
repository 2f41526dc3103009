"""Regions, their statistics and the turned head: what must not matter does not."""

import math

import pytest
import torch
from torch import nn

from shared.losses import AgeSexLoss, BlockDiceCELoss
from shared.networks import AgeSexNet, HalfResolution, RegionalRegressor
from shared.networks.regional import blocks, rotation


class Threshold(nn.Module):
    """A parcellation that needs no training: four grey values are four regions (0 is none)."""

    def forward(self, image):
        level = nn.functional.avg_pool3d(image, 2) / image.amax(dim=(1, 2, 3, 4), keepdim=True)
        return -200 * (level - torch.tensor([0.0, 0.25, 0.5, 1.0]).view(1, 4, 1, 1, 1)).square()


def head(turn: float = 0.0, shift=(0, 0, 0)) -> torch.Tensor:
    """Three blobs (1, 1, 64, 64, 64) of different brightness, turned around the third axis by radians and moved by voxels."""
    axes = [torch.arange(64.0) - 31.5 - s for s in shift]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    x, y = math.cos(turn) * x + math.sin(turn) * y, -math.sin(turn) * x + math.cos(turn) * y
    image = torch.zeros(64, 64, 64)
    for value, (a, b, c), radius in ((0.25, (0, 12, 0), 9), (0.5, (-8, -10, 4), 8), (1.0, (9, -6, -8), 7)):
        image[(x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2 < radius**2] = value
    return image[None, None]


@pytest.fixture
def network() -> RegionalRegressor:
    torch.manual_seed(0)
    net = RegionalRegressor(Threshold(), regions=3, white_matter=[2], map_size=(12, 12, 12)).eval()
    net.set_average(net.locate(head()))
    return net


def test_blocks_keep_every_voxel():
    image = torch.arange(2 * 4 * 6 * 8.0).view(2, 1, 4, 6, 8)
    split = blocks(image)
    assert split.shape == (2, 8, 2, 3, 4)
    assert torch.equal(split[0, :, 0, 0, 0].sort().values, image[0, 0, :2, :2, :2].flatten().sort().values)
    torch.testing.assert_close(split.mean(1, keepdim=True), nn.functional.avg_pool3d(image, 2))


def test_half_resolution_tells_the_network_where_it_is():
    seen = HalfResolution(nn.Identity())(torch.zeros(1, 1, 8, 8, 8))
    assert seen.shape == (1, 11, 4, 4, 4)
    assert seen[0, 8, 0].unique().tolist() == [-1] and seen[0, 8, -1].unique().tolist() == [1]


def test_rotation_is_the_one_between_two_sets_of_points():
    random = torch.Generator().manual_seed(0)
    points = torch.randn(20, 3, generator=random) * torch.tensor([5.0, 2.0, 1.0])
    points -= points.mean(0)
    angle = 0.7
    turn = torch.tensor([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])
    found = rotation(torch.einsum("ni,nj->ij", points @ turn.T, points)[None])[0]
    torch.testing.assert_close(found, turn, atol=1e-4, rtol=0)


def test_brightness_position_and_rotation_of_the_head_do_not_matter(network):
    plain, plain_map = network.measure(head()).split([12, 12**3], 1)
    for other in (7 * head(), head(shift=(4, -6, 2)), head(turn=0.3)):
        statistics, turned = network.measure(other).split([12, 12**3], 1)
        volume = statistics[:, :3]
        torch.testing.assert_close(volume, plain[:, :3], rtol=0.05, atol=0.02)
        assert (turned - plain_map).abs().mean() < 0.1 * plain_map.mean()
    bright = network.measure(7 * head())
    torch.testing.assert_close(bright[:, :12], plain, rtol=1e-4, atol=1e-4)
    # without alignment the turned head differs much more
    network.centres.zero_()
    unaligned = network.measure(head(turn=0.3))[:, 12:]
    assert (unaligned - plain_map).abs().mean() > 0.2 * plain_map.mean()


def test_volume_is_the_share_of_the_brain(network):
    statistics = network.measure(head())
    counts = torch.tensor([float((head() == v).sum()) for v in (0.25, 0.5, 1.0)])
    # rtol: the threshold cuts blobs at half their edge
    torch.testing.assert_close(statistics[0, :3], 3 * counts / counts.sum(), rtol=0.3, atol=0.02)


def test_block_loss_is_least_at_the_shares():
    labels = torch.zeros(1, 1, 4, 4, 4)
    labels[..., :1, :, :] = 1
    share = torch.stack([(blocks(labels) == k).float().mean(1) for k in (0, 1)], 1)
    loss = BlockDiceCELoss()
    right = loss(share.clamp_min(1e-6).log(), labels)
    hard = torch.stack([(share[:, 0] >= 0.5).float(), (share[:, 1] > 0.5).float()], 1)
    for wrong in (share.flip(1), 0.5 * share + 0.25, hard):
        assert loss(wrong.clamp_min(1e-6).log(), labels) > right + 0.05


def test_unknown_sex_adds_nothing_and_a_batch_of_unknowns_has_a_gradient():
    loss = AgeSexLoss()
    pred = torch.tensor([[30.0, 2.0], [50.0, -1.0]], requires_grad=True)
    nothing = torch.tensor([[40.0, math.nan], [50.0, 0.0]])
    assert loss(pred, nothing).item() == pytest.approx(0.5 + math.log(1 + math.exp(-1.0)), rel=1e-4)
    loss(pred, torch.full((2, 2), math.nan)).backward()
    assert torch.equal(pred.grad, torch.zeros(2, 2))


def test_soft_labels_are_least_at_the_true_age():
    ages = [float(a) for a in range(20, 81, 2)]
    loss = AgeSexLoss(sex_weight=0, soft_sigma=2.0, ages=ages)
    net = AgeSexNet(nn.Identity(), ages=ages)
    truth = torch.tensor([[44.0, 1.0]])

    def raw(age: float) -> torch.Tensor:
        return torch.cat([-0.5 * ((torch.tensor(ages) - age) / 2) ** 2, torch.zeros(1)])[None]

    said = net(raw(44.0))
    assert said.shape == (1, 2 + len(ages)) and said[0, 0].item() == pytest.approx(44.0, abs=0.01)
    values = [loss(net(raw(age)), truth).item() for age in (34.0, 42.0, 44.0, 46.0, 60.0)]
    assert values[2] == pytest.approx(0, abs=1e-4) and values[0] > values[1] > values[2] < values[3] < values[4]
    with pytest.raises(ValueError, match="both soft_sigma and ages"):
        AgeSexLoss(soft_sigma=1.0)
