"""The registration network and its losses, against MONAI's."""

import pytest
import torch
from monai.losses import DiceLoss, LocalNormalizedCrossCorrelationLoss
from monai.networks.blocks import DVF2DDF, Warp
from monai.networks.nets import VoxelMorphUNet

from shared.losses import RegistrationLoss
from shared.losses.registration import LocalNCC, Smoothness, box_mean
from shared.networks import HalfResolution, RegistrationNet
from shared.networks.velocity import demons_forces, warped


def backbone(dims=3):
    return VoxelMorphUNet(dims, 2 * 2**dims + 2 * dims, 8, (8, 8, 8, 8), (8,))


class Constant(torch.nn.Module):
    """A backbone that gives one velocity field, whatever the images."""

    def __init__(self, velocity):
        super().__init__()
        self.layer, self.velocity = torch.nn.Conv3d(1, 1, 1), velocity

    def forward(self, image):
        return self.velocity


def smooth(shape, size, seed=0):
    field = torch.randn(1, len(shape), *shape, generator=torch.Generator().manual_seed(seed))
    for _ in range(3):
        field = box_mean(field, 5)
    return field / field.abs().max() * size


@pytest.mark.parametrize("shape", [(10, 12, 8), (14, 9)])
def test_warping_is_monais(shape):
    image, ddf = torch.rand(2, 3, *shape), smooth(shape, 2.0).repeat(2, *[1] * (len(shape) + 1))
    torch.testing.assert_close(warped(image, ddf), Warp("bilinear", "border")(image, ddf), atol=1e-5, rtol=1e-4)


def test_integration_is_monais():
    velocity = smooth((10, 12, 8), 2.0)
    net = RegistrationNet(Constant(velocity), integration_steps=7)
    ddf = net(torch.zeros(1, 2, 20, 24, 16))
    half = DVF2DDF(7, padding_mode="border")(velocity)
    full = 2 * torch.nn.functional.interpolate(half, scale_factor=2, mode="trilinear", align_corners=False)
    torch.testing.assert_close(ddf, full, atol=1e-4, rtol=1e-3)
    unfolded = RegistrationNet(Constant(velocity), integration_steps=0)(torch.zeros(1, 2, 20, 24, 16))
    torch.testing.assert_close(unfolded[:, :, ::2].mean(), 2 * velocity.mean(), atol=0.1, rtol=0.1)


def test_half_resolution_moves_by_whole_voxels():
    """A velocity of one voxel of the half grid moves by two voxels of the images."""
    velocity = torch.zeros(1, 3, 10, 10, 10)
    velocity[:, 1] = 1
    ddf = RegistrationNet(Constant(velocity))(torch.zeros(1, 2, 20, 20, 20))
    torch.testing.assert_close(ddf[0, 1], torch.full((20, 20, 20), 2.0))
    image = torch.rand(1, 1, 20, 20, 20)
    torch.testing.assert_close(warped(image, ddf)[:, :, :, :18], image[:, :, :, 2:], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_untrained_network_leaves_images_where_they_are_and_exports(dims):
    net = RegistrationNet(backbone(dims)).eval()
    image = torch.rand(2, 2, *[16] * dims)
    ddf = net(image)
    assert ddf.shape == (2, dims, *[16] * dims) and float(ddf.abs().max()) < 1e-2
    torch.testing.assert_close(torch.jit.script(net)(image), ddf)


def test_demons_forces_point_where_the_map_has_to_move():
    """A slope moved by half a voxel: the force is half a voxel that way, so the moved map is the fixed one."""
    ramp = torch.arange(12.0).view(1, 1, 12, 1, 1).expand(1, 1, 12, 6, 6)
    forces = demons_forces(ramp, ramp + 0.5)
    assert forces.shape == (1, 6, 12, 6, 6)
    inside = forces[:, :, 2:-2]
    torch.testing.assert_close(inside[:, [0, 3]], torch.full_like(inside[:, [0, 3]], 0.5), atol=0.02, rtol=0)
    assert not inside[:, [1, 2, 4, 5]].any() and not demons_forces(ramp, ramp).any()
    noise = demons_forces(torch.rand(1, 3, 9, 9), torch.rand(1, 3, 9, 9))
    assert noise.shape == (1, 4, 9, 9) and float(noise.abs().max()) < 1.6


def test_an_anatomy_is_seen_and_not_trained():
    anatomy = HalfResolution(torch.nn.Conv3d(11, 5, 3, padding=1))
    net = RegistrationNet(VoxelMorphUNet(3, 16 + 6 + 8, 8, (8, 8, 8, 8), (8,)), anatomy=anatomy).train()
    image = torch.rand(2, 2, 16, 16, 16)
    seen = net.seen(image)
    shares = torch.softmax(anatomy(image[1:, :1]), 1)[:, 1:]
    torch.testing.assert_close(seen[1:, 16:20], shares)  # of the moving image, then of the fixed one
    net(image).square().sum().backward()
    assert all(weight.grad is None for weight in anatomy.parameters())
    assert any(weight.grad is not None for weight in net.backbone.parameters())


def test_ncc_is_monais_inside():
    a, b = torch.rand(1, 1, 20, 20, 20), torch.rand(1, 1, 20, 20, 20)
    a, b = box_mean(a, 3), box_mean(a + b, 3)
    ours = LocalNCC(5, stride=1).squared(a, b)
    theirs = -LocalNormalizedCrossCorrelationLoss(3, 5, reduction="none", smooth_dr=1e-8)(a, b)[:, 0]
    inside = (slice(None), *[slice(2, -2)] * 3)  # at the borders windows end here, and are filled with zeros there
    torch.testing.assert_close(ours[inside], theirs[inside], atol=1e-3, rtol=1e-2)
    assert float(LocalNCC(5)(a, 0.3 * a + 0.2)) < 0.01
    with pytest.raises(ValueError, match="width is 4"):
        LocalNCC(4)


def test_box_mean_is_a_mean_over_a_box():
    image = torch.rand(1, 2, 9, 8, 7)
    found = box_mean(image, 3, 2)
    assert found.shape == (1, 2, 5, 4, 4)
    torch.testing.assert_close(found[0, 1, 1, 2, 1], image[0, 1, 1:4, 3:6, 1:4].mean())
    torch.testing.assert_close(found[0, 0, 0, 0, 0], image[0, 0, :2, :2, :2].mean())


def test_smoothness_of_a_known_slope():
    ddf = torch.zeros(1, 3, 8, 8, 8)
    ddf[:, 0] = 0.5 * torch.arange(8.0).view(8, 1, 1)
    assert float(Smoothness()(ddf)) == pytest.approx(0.25 / 9)  # one of three components along one of three axes


def test_label_loss_is_dice_of_the_moved_map():
    ddf = torch.zeros(1, 3, 8, 8, 8)
    labels = torch.zeros(1, 2, 8, 8, 8)
    labels[:, 0, :4], labels[:, 1, 2:6], labels[:, :, :, :2] = 3, 3, 7
    loss = RegistrationLoss("mse", 0, 1.0)
    halves = [torch.nn.functional.avg_pool3d(torch.cat([labels == 3, labels == 7]).float()[:, i : i + 1], 2) for i in (0, 1)]
    wanted = [1 - DiceLoss(squared_pred=True, smooth_nr=0, smooth_dr=0)(a[None], b[None]) for a, b in zip(*halves, strict=True)]
    pair = torch.cat([torch.zeros(1, 2, 8, 8, 8), labels], 1)
    assert float(loss(ddf, pair)) == pytest.approx(1 - float(sum(wanted)) / 2, abs=1e-5)
    assert float(loss(ddf, pair[:, :2])) == 0


def test_a_shift_is_learned_from_either_similarity():
    """Fifty steps on one pair of blobs bring the moved one onto the fixed one."""
    blob = box_mean(torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(1)), 5) * 8
    pair = torch.cat([blob, torch.roll(blob, 2, 2)], 1)
    for similarity, weight in {"ncc": 0.05, "mse": 0.01}.items():
        torch.manual_seed(0)
        net, loss = RegistrationNet(backbone(), 5), RegistrationLoss(similarity, weight, window=5)
        optimizer = torch.optim.Adam(net.parameters(), 0.005)
        first = float(loss(net(pair), pair))
        for _ in range(50):
            optimizer.zero_grad()
            loss(net(pair), pair).backward()
            optimizer.step()
        assert float(loss(net(pair), pair)) < 0.75 * first


def test_another_similarity_is_refused():
    with pytest.raises(ValueError, match="similarity is 'mi', expected mse or ncc"):
        RegistrationLoss("mi")
