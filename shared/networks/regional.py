"""Age and sex of a head from what a parcellation finds in it."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

STATISTICS = 4  # of a region: volume, contrast, texture, edges
LARGEST = 2.5  # of white matter's intensity: brighter fat and vessels say nothing about the head


def blocks(image: torch.Tensor) -> torch.Tensor:
    """(B, 1, H, W, D) to (B, 8, H/2, W/2, D/2): the voxels of every 2x2x2 block as channels."""
    b, _, h, w, d = image.shape
    split = image.reshape(b, h // 2, 2, w // 2, 2, d // 2, 2)
    return split.permute(0, 2, 4, 6, 1, 3, 5).reshape(b, 8, h // 2, w // 2, d // 2)


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
        axes = [torch.linspace(-1, 1, n, device=image.device, dtype=image.dtype) for n in voxels.shape[2:]]
        place = torch.stack(torch.meshgrid(*axes, indexing="ij")).expand(len(image), -1, -1, -1, -1)
        return self.network(torch.cat([voxels, place], 1))


def rotation(covariance: torch.Tensor, steps: int = 30) -> torch.Tensor:
    """The rotation nearest to matrices (B, 3, 3) of positive determinant: their polar factor by Newton-Schulz iteration.

    For the covariance of two sets of centred points it is the least squares rotation between them (Kabsch). Unlike a
    singular value decomposition it can be exported to ONNX.
    """
    result = covariance / covariance.square().sum((1, 2), keepdim=True).sqrt().clamp_min(1e-12)
    for _ in range(steps):
        result = 1.5 * result - 0.5 * result @ result.transpose(1, 2) @ result
    return result


class RegionalRegressor(nn.Module):
    """Age and sex of T1-weighted heads, linear in statistics of the brain's regions and in the shape of the head.

    A parcellation network finds the brain's regions, softly. Of each region the share of the brain's volume is measured, and
    contrast, texture and edges inside it, in units of white matter's intensity: that is where ageing shows. The centres of
    the regions turn the head into one position, where its smoothed map tells the sexes apart. So neither intensity scale nor
    position matters, and a prediction can be followed back to regions. `shared.handlers.FitRegional` sets the linear layers.

    Args:
        parcellation: (B, 1, H, W, D) to logits (B, 1 + regions, H/2, W/2, D/2), of which channel 0 is no region.
        regions: number of regions.
        white_matter: those (from 0) whose mean intensity is the unit.
        map_size: voxels of the head's map, each four of the image's long.
    """

    def __init__(self, parcellation: nn.Module, regions: int, white_matter: list[int], map_size: tuple[int, int, int]):
        super().__init__()
        self.parcellation, self.white_matter, self.map_size = parcellation, list(white_matter), tuple(map_size)
        self.register_buffer("centres", torch.zeros(regions, 3))  # of an average head around its middle, in blocks
        self.age = nn.Linear(STATISTICS * regions, 1)
        self.sex = nn.Linear(map_size[0] * map_size[1] * map_size[2], 1)
        offsets = torch.arange(-2, 3, dtype=torch.float32)
        smooth = torch.exp(-(offsets**2) / 2 / 0.7**2)
        self.register_buffer("smooth", smooth / smooth.sum(), persistent=False)
        self.register_buffer("slope", offsets * smooth / (offsets**2 * smooth).sum(), persistent=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 1, H, W, D), air 0, to (B, 2): age in years, and the log odds of being male."""
        return self.judge(*self.measure(image))

    def judge(self, statistics: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
        """(B, 2) from what `measure` returns."""
        return torch.cat([self.age(statistics), self.sex(head)], 1)

    def measure(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Statistics (B, 4 * regions) of the regions and maps (B, voxels) of the head, from images (B, 1, H, W, D)."""
        share = torch.softmax(self.parcellation(image).float(), 1)[:, 1:]
        image = image.float()
        volume = share.flatten(2).sum(2).clamp_min(1e-3)

        def mean(values: torch.Tensor) -> torch.Tensor:  # (B, 1, H, W, D) over each region: (B, regions)
            return torch.einsum("brn,bn->br", share.flatten(2), F.avg_pool3d(values, 2).flatten(1)) / volume

        white = volume[:, self.white_matter]
        unit = (mean(image)[:, self.white_matter] * white).sum(1) / white.sum(1)
        image = (image / unit.view(-1, 1, 1, 1, 1).clamp_min(1e-6)).clamp(0, LARGEST)
        contrast = (mean(image.square()) - mean(image).square()).clamp_min(0).sqrt()
        texture = mean((image - F.avg_pool3d(image, 3, 1, 1)).square()).sqrt()
        edges = mean(self._gradient(image))
        brain = volume.sum(1, keepdim=True)
        statistics = torch.cat([volume / brain * volume.shape[1], contrast, texture, edges], 1)
        return statistics, self._aligned(image, share, volume)

    def _gradient(self, image: torch.Tensor) -> torch.Tensor:
        """Magnitude of the gradient per voxel, of the image smoothed a little."""
        total = torch.zeros_like(image)
        for axis in range(3):
            part = image
            for other in range(3):
                size = [1, 1, 1]
                size[other] = 5
                kernel = (self.slope if other == axis else self.smooth).view(1, 1, *size)
                part = F.conv3d(part, kernel, padding=tuple(s // 2 for s in size))
            total = total + part.square()
        return (total + 1e-8).sqrt()

    def locate(self, image: torch.Tensor) -> torch.Tensor:
        """Centres (B, regions, 3) of the regions of images (B, 1, H, W, D), in blocks around the middle of each brain."""
        share = torch.softmax(self.parcellation(image).float(), 1)[:, 1:]
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
        axes = [torch.arange(n, device=share.device, dtype=share.dtype) for n in share.shape[2:]]
        sums = [torch.einsum(f"brhwd,{axis}->br", share, place) for axis, place in zip("hwd", axes, strict=True)]
        centres = torch.stack(sums, 2) / volume.unsqueeze(2)
        weight = volume.sqrt() / volume.sqrt().sum(1, keepdim=True)
        middle = (centres * weight.unsqueeze(2)).sum(1)
        return centres - middle.unsqueeze(1), middle, weight

    def _aligned(self, image: torch.Tensor, share: torch.Tensor, volume: torch.Tensor) -> torch.Tensor:
        """The smoothed head (B, voxels), moved rigidly so that its regions lie on those of the average head."""
        centres, middle, weight = self._centres(share, volume)
        turn = rotation(torch.einsum("br,bri,rj->bij", weight, centres, self.centres))  # from the average head to this one
        smoothed = F.avg_pool3d(F.avg_pool3d(image, 2), 3, 1, 1)
        size = torch.tensor(smoothed.shape[2:], device=image.device, dtype=image.dtype)
        axes = [(torch.arange(n, device=image.device, dtype=image.dtype) - (n - 1) / 2) * 2 for n in self.map_size]
        grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).view(1, -1, 3)  # in blocks
        place = grid @ turn.transpose(1, 2) + middle.unsqueeze(1)
        place = (2 * place / (size - 1) - 1).flip(2).view(-1, *self.map_size, 3)
        return F.grid_sample(smoothed, place, align_corners=True, padding_mode="zeros").flatten(1)
