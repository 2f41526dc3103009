"""A network beside the same one of another package."""

import json
import shutil

import pytest
import torch
from monai.networks.nets import VoxelMorphUNet

from shared.networks import RegistrationNet
from tools import network_speed as module
from tools.benchmark import benchmark
from tools.bundles import folder


def unet(**options):
    return VoxelMorphUNet(2, 2, 4, [4, 4], [2], final_conv_act=None, **options)


class SkipBehind(torch.nn.Module):
    """As the other package does it, where MONAI's SkipConnection puts the input in front."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return torch.cat([self.inner(x), x], 1)


def test_weights_go_from_one_network_to_the_other_as_they_run():
    """A network and one of the same function, with a smaller kernel and its skip connection behind."""
    torch.manual_seed(0)
    ours, theirs = unet(), unet()
    small = torch.nn.Conv2d(4, 2, 1)
    theirs.net[1].final_conv_0.conv = small
    theirs.net[0][1] = SkipBehind(theirs.net[0][1].submodule)
    image = torch.rand(1, 2, 16, 16)
    pairs = module.matched(*(module.convolutions(net, net, image) for net in (ours, theirs)))
    assert len(pairs) == 5 and [other for _, other, _ in pairs][-2] is small
    optimizer = torch.optim.Adam(ours.parameters(), lr=0.01)
    for _ in range(3):  # learning leaves the kernel's rim at 0
        optimizer.zero_grad()
        ours(image).square().mean().backward()
        optimizer.step()
    module.copy_weights(pairs)
    torch.testing.assert_close(ours(image), theirs(image))
    assert ours(image).abs().max() > 1e-4


def test_other_architectures_are_refused():
    image = torch.rand(1, 2, 16, 16)
    lists = [module.convolutions(net, net, image) for net in (unet(), VoxelMorphUNet(2, 2, 4, [4, 8], [2]))]
    with pytest.raises(ValueError, match="the architectures differ: convolutions .*in the other network"):
        module.matched(*lists)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_backbone_that_sees_every_voxel_gives_the_field_of_its_size(dims):
    """A constant velocity is a constant displacement, whatever the resolution."""
    net = RegistrationNet(VoxelMorphUNet(dims, 2, 4, [4, 4], [4]), block=1)
    last = [m for m in net.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Conv3d)][-1]
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.constant_(last.bias, 0.75)
    ddf = net(torch.rand(1, 2, *[16] * dims))
    assert ddf.shape == (1, dims, *[16] * dims)
    torch.testing.assert_close(ddf, torch.full_like(ddf, 0.75))
    with pytest.raises(ValueError, match="block is 3, expected 1 or 2"):
        RegistrationNet(torch.nn.Conv2d(2, 2, 3), block=3)


def test_both_networks_give_the_same_field_in_one_run(tmp_path, capsys):
    pytest.importorskip("voxelmorph", reason="needs voxelmorph (install in metadata.json of the bundle says how)")
    root = shutil.copytree(folder("brain_registration"), tmp_path / "brain_registration")
    path = root / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    job = metadata["benchmark_networks"]["voxelmorph"]
    job |= {"size": [64, 64, 64], "spacing": 2.5, "steps": 8}
    job["phantom"]["spacing"] = 4.0
    path.write_text(json.dumps(metadata))
    benchmark(str(root), against="voxelmorph", runs=2, output=str(tmp_path / "report.json"))
    networks = json.loads((tmp_path / "report.json").read_text())["networks"]
    assert list(networks) == ["untouched", "brain_registration", "voxelmorph"]
    ours, theirs = networks["brain_registration"], networks["voxelmorph"]
    assert len(ours["seconds"]) == len(theirs["seconds"]) == 2 and min(ours["seconds"] + theirs["seconds"]) > 0
    for key in ("correlation", "ncc"):
        gains = [network[key] - networks["untouched"][key] for network in (ours, theirs)]
        assert gains[0] > 1e-3 and gains[0] == pytest.approx(gains[1], rel=0.15)
    assert "| voxelmorph" in capsys.readouterr().out
