"""Synthetic cases of brain tumours, drawn while a network trains: real anatomy in, four sequences and a label map out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Randomizable, Transform
from torch.nn import functional as F

from ..tumours.anatomy import DEEP, WHITE
from ..tumours.contrast import SEQUENCES, Contrast, healthy, look_alikes, paint_tumour, scan, strip
from ..tumours.fields import positions, smooth_field
from ..tumours.growth import CAVITY, draw_tumour, grow, mass_effect


class RandTumourCased(Randomizable, Transform):
    """Draw a case out of an anatomy: move and bend the head, grow a tumour or none, paint T1ce, T1, T2 and FLAIR, scan.

    Takes what `AnatomyMapsd` gives. "image" becomes (4, *size), float32, 0 outside the brain mask, white matter about 1;
    "label" (1, *size), uint8, in the numbers of BraTS 2020. Everything is computed on `device`, and drawn from this
    transform's random state, so that a seed makes the case.

    Args:
        size: voxels of the case, around the middle of the brain give or take some mm; None takes the whole anatomy.
        sequences: the channels, in order.
        tumour: share of cases with one.
        bend: 0 to 1: how much heads are turned, scaled and bent, and mirrored at all.
        odd: share of the sequences with a contrast that follows no rule.
        look_alikes: share of cases with bright things that are no tumour.
        artefacts: 0 to 1: how much blur, bias field, noise and error of the skull stripping.
        drop: share of cases in which one sequence is missing, that is 0.
        device: where to compute.
    """

    def __init__(
        self,
        size: Sequence[int] | None = None,
        sequences: Sequence[str] = SEQUENCES,
        tumour: float = 0.65,
        bend: float = 1.0,
        odd: float = 0.12,
        look_alikes: float = 0.8,
        artefacts: float = 1.0,
        drop: float = 0.1,
        device: str | torch.device = "cpu",
    ):
        self.size = None if size is None else tuple(int(n) for n in size)
        self.order = [SEQUENCES.index(name) for name in sequences]
        self.tumour, self.bend, self.odd, self.look_alikes = tumour, bend, odd, look_alikes
        self.artefacts, self.drop, self.device = artefacts, drop, torch.device(device)

    def __call__(self, data):
        item = dict(data)
        maps = torch.as_tensor(item["image"]).as_subclass(torch.Tensor).to(self.device)
        codes = torch.as_tensor(item["label"]).as_subclass(torch.Tensor).to(self.device)
        spacing = [float(s) for s in item["image"].pixdim]
        random, shape = self.R, self.size or tuple(maps.shape[1:])
        seed = int(random.randint(2**31 - 1))
        drawn = torch.Generator().manual_seed(seed)

        def field(length: float) -> torch.Tensor:
            return smooth_field(drawn, shape, spacing, length, self.device)

        tumour = draw_tumour(random) if random.random() < self.tumour else None
        place, linear = self._place(maps.shape[1:], shape, spacing, field)
        start = []
        if tumour is not None:
            start = self._start(codes[0], place, 1 + len(tumour.foci), spacing)
            grid = positions(shape, spacing, self.device)
            pushed = mass_effect(grid, grid[(slice(None), *start[0])], tumour)
            steps = torch.tensor(spacing, device=self.device).view(3, 1, 1, 1)
            place = place - torch.einsum("ij,j...->i...", linear, pushed) / steps
        coordinate, depth, tissue = _sample(maps, codes, place)

        grown = torch.zeros(shape, dtype=torch.uint8, device=self.device)
        if tumour is not None:
            grown = grow(tissue, start, spacing, tumour, drawn)
        contrast = Contrast(random, self.odd)
        by_label = [random.uniform(0, 0.3), random.uniform(0, 0.3), random.uniform(0, 0.7), random.uniform(0, 0.7)]
        images = torch.stack(
            [
                healthy(coordinate, tissue, contrast.normal[name], share, field(25))
                for name, share in zip(SEQUENCES, by_label, strict=True)
            ]
        )
        if random.random() < self.look_alikes:
            look_alikes(images, tissue, depth, contrast, field, random)
        if tumour is not None:
            paint_tumour(images, grown, contrast, tumour.kind == "plain", field, random)
        mask = strip(depth, field, random, self.artefacts)
        fine = torch.Generator(self.device).manual_seed(seed)
        for channel in images:
            noise = torch.randn(2, *shape, generator=fine, device=self.device)
            channel.copy_(scan(channel, spacing, field, noise, random, self.artefacts))
        images *= mask
        if random.random() < self.drop:
            images[int(random.randint(len(SEQUENCES)))] = 0
        label = torch.where(mask & (grown != CAVITY), grown, 0)[None]
        affine = torch.as_tensor(item["image"].affine)
        item["image"] = MetaTensor(images[self.order].contiguous(), affine=affine, meta={"case": item.get("case", "")})
        item["label"] = MetaTensor(label, affine=affine)
        return item

    def _place(self, source: Sequence[int], shape: Sequence[int], spacing: Sequence[float], field):
        """Where in the anatomy each voxel of the case lies, (3, *shape) in voxels, and the linear part of that, in mm."""
        random, bend = self.R, self.bend
        mirror = np.diag([-1.0 if bend and random.random() < 0.5 else 1.0, 1.0, 1.0])
        angles = np.deg2rad(random.uniform(-15, 15, 3) * bend)
        turn = np.eye(3)
        for axis, angle in enumerate(angles):
            a, b = [i for i in range(3) if i != axis]
            one = np.eye(3)
            one[a, a], one[a, b], one[b, a], one[b, b] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
            turn = turn @ one
        scale = np.diag(np.exp(random.uniform(-0.12, 0.12, 3) * bend + random.uniform(-0.05, 0.05) * bend))
        linear = turn @ mirror @ scale
        jitter = random.uniform(-1, 1, 3) * [8, 12, 8] * (self.size is not None)  # mm
        to_mm, device = np.array(spacing), self.device
        grid = positions(shape, spacing, device) - torch.tensor(
            (np.array(shape) - 1) / 2 * to_mm + jitter, dtype=torch.float32, device=device
        ).view(3, 1, 1, 1)
        linear = torch.tensor(linear, dtype=torch.float32, device=device)
        place = torch.einsum("ij,j...->i...", linear, grid)
        if bend:
            place = place + bend * float(random.uniform(0, 2.5)) * torch.stack([field(35) for _ in range(3)])
        middle = torch.tensor((np.array(source) - 1) / 2, dtype=torch.float32, device=device)
        steps = torch.tensor(spacing, device=device)
        return place / steps.view(3, 1, 1, 1) + middle.view(3, 1, 1, 1), linear

    def _start(self, codes: torch.Tensor, place: torch.Tensor, count: int, spacing: Sequence[float]) -> list[tuple[int, ...]]:
        """Voxels of the case in which a tumour begins: white matter mostly, further foci within 50 mm of the first."""
        tissue = _nearest(codes[None], place)[0]
        rim = torch.zeros_like(tissue)
        rim[4:-4, 4:-4, 4:-4] = 1  # not at the border of the patch
        white = torch.nonzero((tissue == (WHITE if self.R.random() < 0.9 else DEEP)) & (rim > 0))
        if not len(white):
            white = torch.nonzero((tissue > 0) & (rim > 0))
        if not len(white):
            return [tuple(n // 2 for n in tissue.shape)]
        first = white[int(self.R.randint(len(white)))]
        steps = torch.tensor(spacing, device=white.device)
        near = white[((white - first) * steps).norm(dim=1) < 50]
        others = [near[int(self.R.randint(len(near)))] for _ in range(count - 1)]
        return [tuple(voxel.tolist()) for voxel in (first, *others)]


def _grid(place: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Places in voxels (3, H, W, D) as `grid_sample` wants them."""
    size = torch.tensor(shape, device=place.device).view(3, 1, 1, 1)
    return (2 * place / (size - 1) - 1).flip(0).permute(1, 2, 3, 0)[None]


def _nearest(codes: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    grid = _grid(place, codes.shape[1:])
    return F.grid_sample(codes[None].float(), grid, mode="nearest", align_corners=True)[0].to(torch.uint8)


def _sample(maps: torch.Tensor, codes: torch.Tensor, place: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Tissue coordinate, depth and tissue codes at some places, (H, W, D) each; far outside the anatomy is deep outside."""
    grid = _grid(place, maps.shape[1:])
    coordinate, depth = F.grid_sample(maps[None], grid, padding_mode="border", align_corners=True)[0]
    return coordinate, depth, _nearest(codes, place)[0]
