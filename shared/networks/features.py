"""Frozen networks whose features tell how alike films look: for perceptual losses, FID and nearest neighbours."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from monai.networks.nets import ResNet, resnet50
from torch import nn
from torch.nn.functional import interpolate

from ..errors import InputError
from ..handlers.weights import read_state

KINDS = ("local", "radimagenet", "inception")
LAYERS = ("layer1", "layer2", "layer3", "layer4")
RADIMAGENET_MEAN = (0.406, 0.456, 0.485)  # of blue, green and red: the order that the Keras weights were trained with
CENTRE_AND_SCALE = {"local": (0.5, 4.0), "radimagenet": (0.5, 2.0), "inception": (0.0, 255.0)}  # of images of 0 to 1
# what the official PyTorch file calls the parts of torchvision's resnet50
SEQUENTIAL = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
REMEDY = {
    "local": "it comes with the bundle, models/features.pt",
    "radimagenet": "download RadImageNet's ResNet50.pt, for PyTorch, of https://github.com/BMEII-AI/RadImageNet, or "
    "RadImageNet-ResNet50_notop.pth of https://github.com/Warvito/radimagenet-models",
    "inception": "download inception-2015-12-05.pt, the TorchScript file of NVIDIA's metrics (https://github.com/NVlabs/stylegan3)",
}


class FilmFeatures(nn.Module):
    """Features of images (B, 1, H, W) with values 0..1, whatever range the network itself was trained with.

    Args:
        kind: "local", the image branch of rsna_pneumonia_cls, small and trained on chest X-rays; "radimagenet", a ResNet50
            trained on CT, MR and ultrasound, in one of the two files that are published for PyTorch; "inception", the
            InceptionV3 of the usual FID, as TorchScript.
        path: its weights: a state_dict, or the TorchScript file.

    `forward` gives one vector an image (B, F), the mean over the last layer; `maps` the activations of the layers.

    Raises:
        InputError: another kind, or its file is not there or does not fit; the message says where to get it.
    """

    def __init__(self, kind: str, path: str | os.PathLike | None):
        super().__init__()
        if kind not in KINDS:
            raise InputError(f"features are '{kind}', expected one of {', '.join(KINDS)}")
        if path is None or not Path(path).is_file():
            raise InputError(f"features '{kind}' need a file of weights, found {path}: {REMEDY[kind]}")
        self.kind = kind
        centre, self.scale = CENTRE_AND_SCALE[kind]
        if kind == "inception":
            self.network = torch.jit.load(path, map_location="cpu")
        else:
            self.network = _resnet(kind)
            state = {name.removeprefix("module.").removeprefix("image."): v for name, v in read_state(path).items()}
            state = {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
            if kind == "radimagenet" and "conv1.bias" in state:
                state, centre, self.scale = _from_keras(self.network, state), RADIMAGENET_MEAN, 1.0
            elif kind == "radimagenet":
                state = _from_sequential(state)
            known = self.network.state_dict()
            missing = sorted(name for name in known if name not in state and not name.startswith("fc."))
            wrong = sorted(name for name in known if name in state and state[name].shape != known[name].shape)
            if missing or any(not name.startswith("fc.") for name in wrong):
                raise InputError(f"{path} holds no weights of '{kind}': missing {missing[:3]}, of another shape {wrong[:3]}")
            self.network.load_state_dict(
                {name: state[name] for name in known if name in state and name not in wrong}, strict=False
            )
        self.register_buffer("centre", torch.tensor(centre).reshape(-1, 1, 1), persistent=False)
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> FilmFeatures:
        """Stay in evaluation mode: the statistics of normalisation are frozen, too."""
        return super().train(False)

    def prepared(self, image: torch.Tensor) -> torch.Tensor:
        """The image in the range and with the channels that the network was trained with.

        Raises:
            ValueError: it is not (B, 1, H, W), or its values are not within 0..1.
        """
        if image.ndim != 4 or image.shape[1] != 1:
            raise ValueError(f"features are of images (B, 1, H, W), found {tuple(image.shape)}")
        channels = image if self.kind == "local" else image.expand(-1, 3, -1, -1)
        return (channels - self.centre) * self.scale

    def maps(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Activations (B, C, h, w) behind the first convolution and each of the four stages of a ResNet.

        Raises:
            ValueError: the network is no ResNet.
        """
        if self.kind == "inception":
            raise ValueError("'inception' gives vectors only; a perceptual loss takes local, radimagenet or lpips")
        net = self.network
        x = net.act(net.bn1(net.conv1(self.prepared(image))))
        found = [x]
        x = net.maxpool(x)
        for name in LAYERS:
            x = getattr(net, name)(x)
            found.append(x)
        return found

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 1, H, W), 0..1, to (B, F).

        Raises:
            ValueError: values outside 0..1, as an image of 0..255 has; they would make another FID.
        """
        low, high = float(image.min()), float(image.max())
        if low < 0 or high > 1:
            raise ValueError(f"values from {low:g} to {high:g}, expected 0 to 1")
        if self.kind == "inception":
            return self.network(interpolate(self.prepared(image), (299, 299), mode="bilinear"), return_features=True)
        return self.maps(image)[-1].mean((2, 3))


def _resnet(kind: str) -> nn.Module:
    if kind == "radimagenet":
        options = {"conv1_t_stride": 2, "shortcut_type": "B", "bias_downsample": False}  # as torchvision has it
        return resnet50(spatial_dims=2, n_input_channels=3, feed_forward=False, **options)
    return ResNet(
        block="basic",
        layers=[1, 1, 1, 1],
        block_inplanes=[16, 32, 64, 128],
        spatial_dims=2,
        n_input_channels=1,
        conv1_t_size=5,
        conv1_t_stride=2,
        num_classes=32,
    )


def _from_sequential(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """RadImageNet's own file for PyTorch, "backbone.4.0.conv1.weight", by the names of the network: "layer1.0.conv1.weight"."""
    named = {}
    for name, value in state.items():
        number, _, rest = name.removeprefix("backbone.").partition(".")
        named[f"{SEQUENTIAL.get(number, number)}.{rest}"] = value
    return named


def _from_keras(network: nn.Module, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """RadImageNet's weights for Keras, converted, and the network made to be Keras' ResNet50.

    Keras strides in the first convolution of a block, not in the second; its convolutions have a bias, which the mean of the
    normalisation behind them takes up; and its normalisation adds a little more to the variance.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1.001e-5
    for name in LAYERS:
        block = getattr(network, name)[0]
        block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride
    biases = [name for name in state if name.endswith("bias") and ("conv" in name or "downsample.0" in name)]
    folded = {name: value for name, value in state.items() if name not in biases}
    for name in biases:
        mean = name.replace("conv", "bn").replace("downsample.0", "downsample.1").replace("bias", "running_mean")
        folded[mean] = folded[mean] - state[name]
    return folded
