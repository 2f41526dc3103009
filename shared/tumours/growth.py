"""Tumours: what is drawn of one, how it pushes the brain aside, and how core, rim and oedema grow into the tissue."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from .anatomy import CSF, DEEP, GREY, STEM, VENTRICLE, WHITE
from .fields import positions, smooth_field, soften, travel_time

CORE, OEDEMA, CAVITY, ENHANCING = 1, 2, 3, 4  # tissue of a tumour; BraTS has a label for all but the cavity
KINDS = {"ring": 0.55, "solid": 0.15, "patchy": 0.1, "plain": 0.2}  # of core; plain: nothing enhances
# how fast a core grows into each tissue (0 outside the brain, 1 fluid, ...), and how fast oedema spreads in it
CORE_SPEED = {0: 0.0, CSF: 0.15, VENTRICLE: 0.1, GREY: 0.9, WHITE: 1.0, DEEP: 0.9, STEM: 0.7}
OEDEMA_SPEED = {0: 0.0, CSF: 0.0, VENTRICLE: 0.0, GREY: 0.22, WHITE: 1.0, DEEP: 0.35, STEM: 0.6}


@dataclass
class Tumour:
    """What is drawn of a tumour before it grows; lengths in mm."""

    kind: str
    radius: float  # of the core
    oedema: float  # how far it spreads in white matter
    rim: float  # thickness of what enhances around a dead core
    rough: float  # how much the core's speed varies
    push: float  # displacement at the core's border
    cavity: bool  # fluid in the middle, after resection: no tumour
    foci: list[float] = field(default_factory=list)  # when further ones begin, as a share of the radius


def draw_tumour(random: np.random.RandomState) -> Tumour:
    """Draw a tumour: cores of 0.1 to 180 mL (median about 15), oedema of none to far beyond it."""
    kind = random.choice(list(KINDS), p=list(KINDS.values()))
    radius = float(np.clip(np.exp(random.normal(math.log(16), 0.45)), 3, 35))
    spread = random.uniform(0, 12) if kind == "plain" else random.uniform(2, 35)
    return Tumour(
        kind=str(kind),
        radius=radius,
        oedema=float(spread),
        rim=float(random.uniform(2, 7)),
        rough=float(random.uniform(0.15, 0.5)),
        push=float(random.uniform(0, 0.4) * radius),
        cavity=bool(random.random() < 0.05),
        foci=random.uniform(0.2, 0.8, random.choice([0, 1, 2], p=[0.8, 0.13, 0.07])).tolist(),
    )


def mass_effect(position: torch.Tensor, centre: torch.Tensor, tumour: Tumour) -> torch.Tensor:
    """How far what is now at each place was pushed away from the centre: (3, H, W, D) in mm, smooth, 0 at the centre.

    Args:
        position: (3, H, W, D), mm.
        centre: (3,), mm.
    """
    away = position - centre.view(3, 1, 1, 1)
    distance = away.norm(dim=0).clamp_min(1e-3)
    beyond = (distance - tumour.radius).clamp_min(0) / (1.2 * tumour.radius + 8)
    size = tumour.push * (distance / tumour.radius).clamp_max(1) * torch.exp(-beyond * beyond)
    return away / distance * size


def speed_in(tissue: torch.Tensor, speeds: dict[int, float]) -> torch.Tensor:
    """The speed of each voxel's tissue, (H, W, D) float32."""
    return torch.tensor([speeds[code] for code in range(len(speeds))], device=tissue.device)[tissue.long()]


def grow(
    tissue: torch.Tensor,
    start: Sequence[Sequence[int]],
    spacing: Sequence[float],
    tumour: Tumour,
    random: torch.Generator,
) -> torch.Tensor:
    """Grow a tumour into a tissue map.

    The core is what a front reaches that runs through the tissue with a speed that varies smoothly and is low in fluid;
    oedema is what a second front, which starts from the core and follows white matter, reaches next.

    Args:
        tissue: (H, W, D) codes, 0 outside the brain.
        start: voxels of the foci: the first begins at once, the others when `tumour.foci` says.
        random: of the CPU.

    Returns:
        (H, W, D), uint8: 0 no tumour, 1 core, 2 oedema, 3 cavity, 4 enhancing.
    """
    shape, device = tissue.shape, tissue.device
    rough = 0.8 * smooth_field(random, shape, spacing, 14, device) + 0.6 * smooth_field(random, shape, spacing, 6, device)
    begin = torch.full(shape, float("inf"), device=device)
    position = positions(shape, spacing, device)
    for place, share in zip(start, [0.0, *tumour.foci], strict=False):
        away = (position - position[(slice(None), *place)].view(3, 1, 1, 1)).norm(dim=0)
        # round from the start: a front that comes out of one voxel is late by half a voxel or more
        begin = torch.where(away < 2.5 * max(spacing), torch.minimum(begin, away + share * tumour.radius), begin)
    # smooth speeds: a front that stops at single voxels of fluid looks like a labyrinth
    speed = soften(speed_in(tissue, CORE_SPEED), [1.0] * 3) * torch.exp(tumour.rough * rough).clamp_max(2)
    reached = travel_time(begin, speed, spacing, 1.3 * tumour.radius + 4)
    inside = tissue > 0
    core = (reached < tumour.radius) & inside

    wander = smooth_field(random, shape, spacing, 12, device)
    spread = torch.where(core, 0.0, float("inf"))
    speed = speed_in(tissue, OEDEMA_SPEED) * torch.exp(0.35 * wander).clamp_max(1.5)
    oedema = (travel_time(spread, speed, spacing, tumour.oedema + 2) < tumour.oedema) & inside & (tissue != VENTRICLE)

    grown = torch.zeros(shape, dtype=torch.uint8, device=device)
    grown[oedema] = OEDEMA
    grown[core] = CORE
    depth = tumour.radius - reached  # below the core's surface, in the front's own mm
    if tumour.kind == "ring":
        rim = tumour.rim * (1 + 0.5 * smooth_field(random, shape, spacing, 10, device))
        grown[core & (depth < rim.clamp_max(0.7 * tumour.radius)) & (rim > 0.25 * tumour.rim)] = ENHANCING
    elif tumour.kind == "solid":
        grown[core & (smooth_field(random, shape, spacing, 6, device) < 1.5)] = ENHANCING
    elif tumour.kind == "patchy":
        grown[core & (smooth_field(random, shape, spacing, 9, device) > 0.8)] = ENHANCING
    if tumour.cavity:
        grown[core & (depth > 0.35 * tumour.radius)] = CAVITY
    return grown
