"""A convolutional auto-encoder of slices with a dense bottleneck."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from math import prod

import torch
from monai.networks.blocks import Convolution, SubpixelUpsample
from monai.networks.nets import ResNet
from torch import nn

DEPTH = 32  # pixels of the image per pixel of the deepest features, along each axis
OUTPUTS = ("reconstruction", "latent")


class SliceAutoEncoder(nn.Module):
    """Squeeze slices into a vector and rebuild them from it, after DLTK's IXI application (Pawlowski et al. 2017).

    The encoder is MONAI's two-dimensional ResNet, so its weights fit the ResNet of a classification or, inflated, one of
    volumes (`shared.handlers.FineTune`). A 1x1 convolution narrows its deepest features before the dense layer, which would
    otherwise hold nearly all weights. The decoder doubles the size five times, by transposed convolutions and at last
    by shuffling pixels.

    Args:
        channels: images per slice, such as T1, T2 and PD.
        size: rows and columns of a slice.
        filters: of the encoder's four stages.
        decoder_filters: from the deepest to the full size.
        hidden: length of the vector.
        narrow: channels that the dense layers see.
        output: what `forward` gives: "reconstruction", or "latent", the vector.

    Raises:
        ValueError: `output` is another word, or there are not five `decoder_filters`.
    """

    def __init__(
        self,
        channels: int,
        size: Sequence[int] = (224, 224),
        filters: Sequence[int] = (16, 64, 128, 256),
        decoder_filters: Sequence[int] = (256, 128, 64, 32, 16),
        hidden: int = 1024,
        narrow: int = 64,
        output: str = "reconstruction",
    ):
        super().__init__()
        if output not in OUTPUTS:
            raise ValueError(f"output is '{output}', expected one of {', '.join(OUTPUTS)}")
        if 2 ** len(decoder_filters) != DEPTH:
            raise ValueError(f"decoder_filters are {list(decoder_filters)}, expected five numbers")
        self.latent_only = output == "latent"
        self.rows, self.columns = size
        deepest = [-(-side // DEPTH) for side in size]
        net = ResNet(
            "basic",
            [1, 1, 1, 1],
            list(filters),
            spatial_dims=2,
            n_input_channels=channels,
            conv1_t_size=3,
            conv1_t_stride=2,
            norm=("group", {"num_groups": 8}),
            feed_forward=False,
        )
        self.encoder = nn.Sequential(OrderedDict((n, part) for n, part in net.named_children() if n != "avgpool"))
        self.to_latent = nn.Sequential(
            nn.Conv2d(filters[-1], narrow, 1), nn.Flatten(), nn.Linear(narrow * prod(deepest), hidden)
        )
        self.from_latent = nn.Sequential(
            nn.Linear(hidden, narrow * prod(deepest)),
            nn.Unflatten(1, (narrow, *deepest)),
            Convolution(2, narrow, decoder_filters[0], kernel_size=1, norm="batch", act="relu"),
        )
        stages: list[nn.Module] = []
        for before, after in zip(decoder_filters[:-1], decoder_filters[1:], strict=True):
            stages.append(Convolution(2, before, after, strides=2, is_transposed=True, norm="batch", act="relu"))
            stages.append(Convolution(2, after, after, norm="batch", act="relu"))
        # twice as fast as convolutions on the full grid, where there is most to do
        stages.append(SubpixelUpsample(2, decoder_filters[-1], channels, scale_factor=2, apply_pad_pool=False))
        self.decoder = nn.Sequential(*stages)

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        """Slices (B, C, H, W), about 0 to 1, to vectors (B, hidden)."""
        return self.to_latent(self.encoder(image))

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """Vectors (B, hidden) to slices (B, C, H, W)."""
        return self.decoder(self.from_latent(latent))[:, :, : self.rows, : self.columns]

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Slices (B, C, H, W) to their reconstructions, of the same shape, or to vectors (B, hidden)."""
        latent = self.encode(image)
        return latent if self.latent_only else self.decode(latent)
