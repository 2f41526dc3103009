"""Age and sex of a head from what a parcellation finds in it."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

STATISTICS = 4  # of a region: volume, contrast, texture, edges
LARGEST = 2.5  # of white matter's intensity: brighter fat and vessels say nothing about the head


def blocks(image: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W, D) to (B, 8 C, H/2, W/2, D/2): the voxels of every 2x2x2 block as channels."""
    b, c, h, w, d = image.shape
    split = image.reshape(b, c, h // 2, 2, w // 2, 2, d // 2, 2)
    return split.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(b, 8 * c, h // 2, w // 2, d // 2)


class HalfResolution(nn.Module):
    """A 3D network that sees blocks of 2x2x2 voxels as one with eight channels: whole heads at an eighth of the cost.

    Three more channels say where in the image a block lies, from -1 to 1 along each axis.

    Args:
        network: from 11 channels to K; the image's sizes must be twice what it can digest.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 1, H, W, D) to (B, K, H/2, W/2, D/2)."""
        voxels = blocks(image)
        b, _, h, w, d = voxels.shape
        x = torch.linspace(-1, 1, h, device=image.device).view(1, 1, -1, 1, 1).expand(b, 1, h, w, d)
        y = torch.linspace(-1, 1, w, device=image.device).view(1, 1, 1, -1, 1).expand(b, 1, h, w, d)
        z = torch.linspace(-1, 1, d, device=image.device).view(1, 1, 1, 1, -1).expand(b, 1, h, w, d)
        return self.network(torch.cat([voxels, x, y, z], 1))


def rotation(covariance: torch.Tensor, steps: int = 30) -> torch.Tensor:
    """The rotation nearest to matrices (B, 3, 3) of positive determinant: their polar factor by Newton-Schulz iteration.

    For the covariance of two sets of centred points it is the least squares rotation between them (Kabsch). Unlike a
    singular value decomposition it can be exported to ONNX.
    """
    result = covariance / covariance.square().sum((1, 2), keepdim=True).sqrt().clamp_min(1e-12)
    for _ in range(steps):
        result = 1.5 * result - 0.5 * result @ result.transpose(1, 2) @ result
    return result


def _mean(values: torch.Tensor, share: torch.Tensor, volume: torch.Tensor) -> torch.Tensor:
    """Mean (B, regions) over each region of values (B, 1, H, W, D) per voxel, given its share of every block."""
    return torch.einsum("brn,bn->br", share.flatten(2), F.avg_pool3d(values, 2).flatten(1)) / volume


def _gradient(image: torch.Tensor) -> torch.Tensor:
    """Magnitude of the gradient of images (B, 1, H, W, D) per voxel, by central differences."""
    padded = F.pad(image, (1,) * 6, mode="replicate")
    inner = slice(1, -1)
    x = padded[:, :, 2:, inner, inner] - padded[:, :, :-2, inner, inner]
    y = padded[:, :, inner, 2:, inner] - padded[:, :, inner, :-2, inner]
    z = padded[:, :, inner, inner, 2:] - padded[:, :, inner, inner, :-2]
    return ((x.square() + y.square() + z.square()) / 4 + 1e-8).sqrt()


class RegionalRegressor(nn.Module):
    """Age and sex of T1-weighted heads, linear in statistics of the brain's regions and in the shape of the head.

    A parcellation network finds the brain's regions, softly. Of each region the share of the brain's volume is measured, and
    contrast, texture and edges inside it, in units of white matter's intensity: that is where ageing shows. The centres of
    the regions turn the head into one position, where its smoothed map tells the sexes apart. So neither intensity scale nor
    position matters, and a prediction can be followed back to regions. `shared.fitting` sets the linear layers.

    Not for autocast: the statistics need float32.

    Args:
        parcellation: (B, 1, H, W, D) to logits (B, 1 + regions, H/2, W/2, D/2), of which channel 0 is no region.
        regions: number of regions.
        white_matter: those (from 0) whose mean intensity is the unit.
        map_size: voxels of the head's map, each four of the image's long.
    """

    def __init__(self, parcellation: nn.Module, regions: int, white_matter: list[int], map_size: tuple[int, int, int]):
        super().__init__()
        self.parcellation, self.white_matter, self.map_size = parcellation, list(white_matter), tuple(map_size)
        self.largest = LARGEST
        self.register_buffer("centres", torch.zeros(regions, 3))  # of an average head around its middle, in blocks
        self.age = nn.Linear(STATISTICS * regions, 1)
        self.sex = nn.Linear(map_size[0] * map_size[1] * map_size[2], 1)
        axes = [(torch.arange(n, dtype=torch.float32) - (n - 1) / 2) * 2 for n in map_size]
        places = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).view(1, -1, 3)
        self.register_buffer("places", places, persistent=False)  # of the map's voxels around the middle, in blocks

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 1, H, W, D), air 0, to (B, 2): age in years, and the log odds of being male."""
        return self.judge(self.measure(image))

    def judge(self, measured: torch.Tensor) -> torch.Tensor:
        """(B, 2) from what `measure` returns."""
        split = self.age.in_features
        return torch.cat([self.age(measured[:, :split]), self.sex(measured[:, split:])], 1)

    def measure(self, image: torch.Tensor) -> torch.Tensor:
        """Images (B, 1, H, W, D) to (B, 4 * regions + voxels): statistics of the regions, and behind them the head's map."""
        share = torch.softmax(self.parcellation(image), 1)[:, 1:]
        volume = share.flatten(2).sum(2).clamp_min(1e-3)
        white = volume[:, self.white_matter]
        unit = (_mean(image, share, volume)[:, self.white_matter] * white).sum(1) / white.sum(1)
        image = torch.relu(image / unit.view(-1, 1, 1, 1, 1).clamp_min(1e-6)).clamp_max(self.largest)
        middle = _mean(image, share, volume)
        contrast = (_mean(image.square(), share, volume) - middle.square()).clamp_min(0.0).sqrt()
        texture = _mean((image - F.avg_pool3d(image, 3, 1, 1)).square(), share, volume).sqrt()
        edges = _mean(_gradient(image), share, volume)
        volumes = volume / volume.mean(1, keepdim=True)
        return torch.cat([volumes, contrast, texture, edges, self._aligned(image, share, volume)], 1)

    def locate(self, image: torch.Tensor) -> torch.Tensor:
        """Centres (B, regions, 3) of the regions of images (B, 1, H, W, D), in blocks around the middle of each brain."""
        share = torch.softmax(self.parcellation(image), 1)[:, 1:]
        return self._centres(share, share.flatten(2).sum(2).clamp_min(1e-3))[0]

    def set_average(self, centres: torch.Tensor) -> None:
        """Take as the average head the mean of centres (N, regions, 3), each turned onto the mean of the others."""
        average = centres[0]
        for _ in range(5):
            turns = rotation(torch.einsum("nri,rj->nij", centres, average))
            average = torch.einsum("nri,nij->nrj", centres, turns).mean(0)
        # not the first head's position but the one that all have in the mean
        average = torch.einsum("ri,ij->rj", average, rotation(torch.einsum("ri,rj->ij", average, centres.mean(0))[None])[0])
        self.centres.copy_(average)

    def _centres(self, share: torch.Tensor, volume: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Centres (B, regions, 3) around the brain's middle, that middle (B, 3), weights (B, regions) of the regions."""
        x = torch.einsum("brhwd,h->br", share, torch.arange(share.shape[2], device=share.device, dtype=share.dtype))
        y = torch.einsum("brhwd,w->br", share, torch.arange(share.shape[3], device=share.device, dtype=share.dtype))
        z = torch.einsum("brhwd,d->br", share, torch.arange(share.shape[4], device=share.device, dtype=share.dtype))
        centres = torch.stack([x, y, z], 2) / volume.unsqueeze(2)
        weight = volume.sqrt() / volume.sqrt().sum(1, keepdim=True)
        middle = (centres * weight.unsqueeze(2)).sum(1)
        return centres - middle.unsqueeze(1), middle, weight

    def _aligned(self, image: torch.Tensor, share: torch.Tensor, volume: torch.Tensor) -> torch.Tensor:
        """The smoothed head (B, voxels), moved rigidly so that its regions lie on those of the average head."""
        centres, middle, weight = self._centres(share, volume)
        turn = rotation(torch.einsum("br,bri,rj->bij", weight, centres, self.centres))  # from the average head to this one
        smoothed = F.avg_pool3d(F.avg_pool3d(image, 2), 3, 1, 1)
        place = self.places @ turn.transpose(1, 2) + middle.unsqueeze(1)
        last = torch.tensor([smoothed.shape[2] - 1, smoothed.shape[3] - 1, smoothed.shape[4] - 1], device=image.device)
        h, w, d = self.map_size
        place = (2 * place / last - 1).flip(2).view(-1, h, w, d, 3)  # as grid_sample counts
        return F.grid_sample(smoothed, place, align_corners=True, padding_mode="zeros").flatten(1)
