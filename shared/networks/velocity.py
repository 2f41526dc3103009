"""Deformable registration as a network from a pair of images to a displacement field."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from .regional import blocks

CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def unit_grid(image: torch.Tensor) -> torch.Tensor:
    """Where the voxels of an image (B, C, *size) are in the units of `grid_sample`: (1, *size, n), last axis first, -1 to 1."""
    x = torch.linspace(-1, 1, image.shape[2], device=image.device)
    y = torch.linspace(-1, 1, image.shape[3], device=image.device)
    if image.dim() == 4:
        a, b = torch.meshgrid(x, y, indexing="ij")
        return torch.stack([b, a], -1)[None]
    a, b, c = torch.meshgrid(x, y, torch.linspace(-1, 1, image.shape[4], device=image.device), indexing="ij")
    return torch.stack([c, b, a], -1)[None]


def voxels_per_unit(image: torch.Tensor) -> torch.Tensor:
    """Voxels of an image (B, C, *size) to a unit of `grid_sample`, last axis first, to multiply a field (B, n, *size) with."""
    sizes = torch.tensor([float(n - 1) / 2 for n in image.shape[2:]], device=image.device).clamp_min(0.5)
    return sizes.flip(0).view([1, -1] + [1] * (image.dim() - 2))


def moved(image: torch.Tensor, units: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """An image (B, C, *size) at `grid` (1, *size, n) plus a field (B, n, *size), both in the units of `grid_sample`."""
    places = grid + units.movedim(1, -1)
    return F.grid_sample(image, places, mode="bilinear", padding_mode="border", align_corners=True)


def warped(image: torch.Tensor, ddf: torch.Tensor) -> torch.Tensor:
    """An image (B, C, *size) seen through a displacement field (B, n, *size) in voxels: value at x + ddf(x).

    As `monai.networks.blocks.Warp`, but it can be written as TorchScript; beyond the border the border goes on.
    """
    return moved(image, ddf.flip(1) / voxels_per_unit(image), unit_grid(image))


def demons_forces(moving: torch.Tensor, fixed: torch.Tensor) -> torch.Tensor:
    """Where every voxel would have to move for maps to agree, to first order: Thirion's demons, summed over channels.

    The difference of the maps along the slope of the moving and of the fixed one, over the squares of both, so that no force
    is longer than about a voxel and a half (Thirion 1998, Vercauteren et al. 2009).

    Args:
        moving: (B, C, *size).
        fixed: likewise.

    Returns:
        (B, 2 * n, *size) in voxels: the force along the moving maps' slopes, then the one along the fixed maps' slopes.
    """
    difference = fixed - moving
    square = 0.1 * difference.square().sum(1, keepdim=True) + 1e-3
    forces = []
    for maps in (moving, fixed):
        parts, total = [], square
        for axis in range(2, maps.dim()):
            size = maps.shape[axis]
            inner = (maps.narrow(axis, 2, size - 2) - maps.narrow(axis, 0, size - 2)) / 2
            edge = torch.zeros_like(maps.narrow(axis, 0, 1))  # the border has no slope
            slope = torch.cat([edge, inner, edge], axis)
            parts.append((difference * slope).sum(1, keepdim=True))
            total = total + slope.square().sum(1, keepdim=True)
        forces.append(torch.cat(parts, 1) / total)
    return torch.cat(forces, 1)


class RegistrationNet(nn.Module):
    """VoxelMorph that sees blocks of 2x2x2 voxels as one: a velocity field at half resolution for an eighth of the cost.

    The backbone's output is a stationary velocity field on a grid of half the resolution, integrated by scaling and squaring
    to a displacement field, which is then interpolated linearly (Balakrishnan et al. 2019, Dalca et al. 2019). MONAI's
    VoxelMorph computes the velocity at full resolution and shrinks it for integration.

    Beside the blocks of both images the backbone sees their demons forces, which say where to move at once: it learns in
    hundreds of steps what takes thousands from intensities alone. With `anatomy`, a parcellation that was trained before, it
    also sees which structure each block belongs to, and forces between structures. It then has to learn only how borders
    are brought onto each other, not what they are.

    Args:
        backbone: (B, 2 * 2^n + 2 * n + 2 * K, *half) to (B, n, *half), such as MONAI's VoxelMorphUNet.
        integration_steps: squarings; 0 takes the backbone's output as the displacement itself, which may then fold.
        anatomy: (B, 1, *size) to logits (B, 1 + K, *half), of which channel 0 is no structure; it is not trained. None: K is 0.
        block: 1 is VoxelMorph itself: the backbone sees every voxel and nothing else, (B, 2, *size) to (B, n, *size) in voxels,
            which is averaged in blocks.

    Raises:
        ValueError: `block` is neither 1 nor 2, or 1 with an anatomy.
    """

    def __init__(self, backbone: nn.Module, integration_steps: int = 7, anatomy: nn.Module | None = None, block: int = 2):
        super().__init__()
        if block not in (1, 2):
            raise ValueError(f"block is {block}, expected 1 or 2 voxels")
        if block == 1 and anatomy is not None:
            raise ValueError("a backbone that sees every voxel (block 1) cannot see an anatomy, which has half the resolution")
        self.block = block
        self.backbone = backbone
        self.integration_steps = integration_steps
        self.anatomy = anatomy
        # as VoxelMorph's own code does; PyTorch's default lets the signal fade from layer to layer and learning start late
        for module in backbone.modules():
            if isinstance(module, CONVOLUTIONS):
                nn.init.kaiming_normal_(module.weight, a=0.2)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
                last = module
        nn.init.normal_(last.weight, std=1e-5)  # training starts from the identity
        if anatomy is not None:
            anatomy.requires_grad_(False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Moving and fixed image (B, 2, *size) to the displacement (B, n, *size) in voxels: fixed(x) = moving(x + ddf(x))."""
        if self.block == 2:
            velocity = self.backbone(self.seen(image)).float()
        elif image.dim() == 5:
            velocity = F.avg_pool3d(self.backbone(image).float(), 2) / 2  # in voxels of the halved grid
        else:
            velocity = F.avg_pool2d(self.backbone(image).float(), 2) / 2
        grid, voxels = unit_grid(velocity), voxels_per_unit(velocity)
        units = velocity.flip(1) / (voxels * 2.0**self.integration_steps)
        for _ in range(self.integration_steps):
            units = units + moved(units, units, grid)
        ddf = (units * voxels).flip(1)
        # block i has its middle at voxel 2 i + 0.5, which is where interpolation without aligned corners puts it
        mode = "trilinear" if image.dim() == 5 else "bilinear"
        return 2.0 * F.interpolate(ddf, scale_factor=2.0, mode=mode, align_corners=False)

    def seen(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 2, *size) to what the backbone sees (B, channels, *half)."""
        voxels = F.pixel_unshuffle(image, 2) if image.dim() == 4 else blocks(image)
        with torch.no_grad():
            maps = voxels.unflatten(1, (2, -1)).mean(2, keepdim=True)
            shares = maps[:, :, :0]
            if self.anatomy is not None:
                logits = self.anatomy(image.flatten(0, 1).unsqueeze(1)).float()
                shares = torch.softmax(logits, 1)[:, 1:].unflatten(0, (len(image), 2))
            compared = torch.cat([maps, shares], 2)
            forces = demons_forces(compared[:, 0], compared[:, 1])
        return torch.cat([voxels, shares.flatten(1, 2), forces], 1)
