"""Four MR sequences of a head whose tissues are known: contrasts, things that look like tumours, and what scanners add."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F

from .anatomy import CSF, GREY, VENTRICLE, WHITE
from .fields import soften
from .growth import CAVITY, CORE, ENHANCING, OEDEMA

SEQUENCES = ("t1ce", "t1", "t2", "flair")
# brightness (white matter = 1) of fluid, grey matter and white matter, from and to
NORMAL = {
    "t1": [(0.25, 0.5), (0.68, 0.92), (1.0, 1.0)],
    "t1ce": [(0.25, 0.5), (0.7, 0.94), (1.0, 1.0)],
    "t2": [(2.2, 4.2), (1.25, 1.7), (1.0, 1.0)],
    "flair": [(0.15, 0.6), (1.05, 1.4), (1.0, 1.0)],
}
# of tumours: dead core, the core of a plain tumour, oedema, what enhances
ABNORMAL = {
    "t1": {"dead": (0.35, 0.8), "plain": (0.55, 0.9), "oedema": (0.65, 0.92), "enhancing": (0.7, 1.05)},
    "t1ce": {"dead": (0.35, 0.85), "plain": (0.55, 0.92), "oedema": (0.65, 0.92), "enhancing": (1.25, 2.4)},
    "t2": {"dead": (1.5, 3.6), "plain": (1.6, 2.9), "oedema": (1.4, 2.6), "enhancing": (1.3, 2.3)},
    "flair": {"dead": (0.5, 2.1), "plain": (1.4, 2.5), "oedema": (1.35, 2.6), "enhancing": (1.3, 2.2)},
}


class Contrast:
    """The brightness of a case's four sequences, a share of them odd: drawn at random, tissue by tissue.

    T1ce and T1 agree where nothing enhances.

    Args:
        random: that draws.
        odd: share of the sequences whose brightness follows no rule.
    """

    def __init__(self, random: np.random.RandomState, odd: float):
        self.normal, self.abnormal, self.odd = {}, {}, {}
        share = random.random()  # where in their ranges this case's abnormal tissues lie: bright oedema is so on T2 and FLAIR
        for name in SEQUENCES:
            self.odd[name] = bool(random.random() < odd)
            if self.odd[name]:
                self.normal[name] = random.uniform(0.2, 2.5, 3).tolist()
                self.abnormal[name] = {key: float(random.uniform(0.2, 2.8)) for key in ABNORMAL[name]}
                continue
            self.normal[name] = [float(random.uniform(*limits)) for limits in NORMAL[name]]
            self.abnormal[name] = {
                key: float(low + (high - low) * (0.5 * share + 0.5 * random.random()))
                for key, (low, high) in ABNORMAL[name].items()
            }
        if not (self.odd["t1"] or self.odd["t1ce"]):
            self.normal["t1ce"] = [v * float(random.uniform(0.95, 1.05)) for v in self.normal["t1"]]
            for key in ("dead", "plain", "oedema"):
                self.abnormal["t1ce"][key] = self.abnormal["t1"][key] * float(random.uniform(0.95, 1.1))


def piecewise(coordinate: torch.Tensor, values: Sequence[float]) -> torch.Tensor:
    """Brightness of a tissue coordinate: linear between fluid (0), grey (1) and white matter (2), flatter beyond."""
    fluid, grey, white = values
    result = fluid + (grey - fluid) * coordinate.clamp(-0.3, 1) + (white - grey) * (coordinate - 1).clamp(0, 1.3)
    return result.clamp_min(0.02)


def healthy(
    coordinate: torch.Tensor, tissue: torch.Tensor, values: Sequence[float], by_label: float, texture: torch.Tensor
) -> torch.Tensor:
    """A sequence of the brain without a tumour: by the T1's own brightness, mixed with one value for each tissue."""
    fluid, grey, white = values
    between = 0.5 * (grey + white)
    table = torch.tensor([fluid, fluid, fluid, grey, white, between, white], device=tissue.device)
    labelled = soften(table[tissue.long()], [0.6] * 3)
    return ((1 - by_label) * piecewise(coordinate, values) + by_label * labelled) * (1 + 0.06 * texture)


def paint(images: torch.Tensor, amount: torch.Tensor, values: Sequence[float], only: Sequence[str] = SEQUENCES) -> None:
    """Blend the named sequences of `images` (4, H, W, D), in place, with a brightness each by `amount` (H, W, D), 0 to 1."""
    for name, value in zip(only, values, strict=True):
        channel = images[SEQUENCES.index(name)]
        channel += amount * (value - channel)


def paint_tumour(images: torch.Tensor, grown: torch.Tensor, contrast: Contrast, plain: bool, field, random) -> None:
    """Paint core, rim, oedema and cavity, in place, over soft borders and with a texture.

    Args:
        images: (4, H, W, D).
        grown: (H, W, D), codes of `growth`.
        plain: whether the core is that of a tumour in which nothing enhances or dies.
        field: called with a length in mm, gives a smooth random field.
        random: draws.
    """
    parts = {"oedema": OEDEMA, "plain" if plain else "dead": CORE, "enhancing": ENHANCING}
    soft = float(random.uniform(0.4, 0.9))
    mix = 1 + 0.5 * field(8).clamp(-1.5, 1.5) * random.random()
    oedema = random.uniform(0.65, 1.0)  # the tissue below shows through
    whole = soften((grown > 0).float(), [soft] * 3)
    paint(images, oedema * whole, [contrast.abnormal[name]["oedema"] for name in SEQUENCES])
    for part, code in parts.items():
        amount = soften((grown == code).float(), [soft] * 3) * (oedema if part == "oedema" else 1.0)
        for name in SEQUENCES:
            value, edema = contrast.abnormal[name][part], contrast.abnormal[name]["oedema"]
            varied = edema + (value - edema) * mix.clamp(0.4, 1.6) if part != "oedema" else value * (0.9 + 0.1 * mix)
            paint(images, amount, [varied], [name])
    cavity = soften((grown == CAVITY).float(), [soft] * 3)
    paint(images, cavity, [contrast.normal[name][0] for name in SEQUENCES])


def look_alikes(images: torch.Tensor, tissue: torch.Tensor, depth: torch.Tensor, contrast: Contrast, field, random) -> None:
    """Add, in place and each in some cases, what is bright and no tumour.

    Lesions of white matter as in multiple sclerosis or with age, rims of the ventricles, vessels and meninges that enhance,
    choroid plexus, fluid that flows (bright on FLAIR), an old infarct.
    """
    oedema = [contrast.abnormal[name]["oedema"] for name in SEQUENCES]
    near = soften((tissue == VENTRICLE).float(), [4.0] * 3).sqrt()
    white = soften((tissue == WHITE).float(), [0.7] * 3)
    if random.random() < 0.5:
        spots = field(random.uniform(5, 11)) + random.uniform(0, 2.5) * near
        lesions = ((spots - random.uniform(1.9, 3.2)) * 4).clamp(0, 1) * white
        paint(images, lesions * random.uniform(0.4, 1.0), oedema)
        if random.random() < 0.3:
            paint(images, lesions * (field(12) > 1).float(), [contrast.abnormal["t1ce"]["enhancing"]], ["t1ce"])
    if random.random() < 0.4:
        fluid = soften((tissue == VENTRICLE).float(), [1.2] * 3)
        rim = (fluid * 4).clamp(0, 1) * (tissue != VENTRICLE) * (1 + 0.5 * field(20)).clamp(0, 1)
        paint(images, rim * random.uniform(0.2, 0.9), oedema[2:], ["t2", "flair"])
    bright = contrast.abnormal["t1ce"]["enhancing"]
    if random.random() < 0.6:  # vessels in the sulci, sinuses and meninges near the border
        fluid = (tissue == CSF).float()
        vessels = ((field(random.uniform(4, 8)).abs() < 0.25) & (field(25) > -0.5)).float() * fluid
        shell = torch.exp(-(((depth - 1.5) / 2.5) ** 2)) * (field(18) > random.uniform(-0.3, 1.5)).float()
        paint(images, torch.maximum(0.8 * soften(vessels, [0.5] * 3), 0.9 * shell * (tissue > 0)), [bright], ["t1ce"])
    if random.random() < 0.5:  # choroid plexus
        plexus = ((field(7) - 0.9) * 3).clamp(0, 1) * (tissue == VENTRICLE)
        paint(images, plexus, [bright, contrast.normal["flair"][1]], ["t1ce", "flair"])
    if random.random() < 0.25:  # flowing fluid
        flow = ((field(15) - 0.8) * 2).clamp(0, 1) * ((tissue == CSF) | (tissue == VENTRICLE))
        paint(images, flow, [random.uniform(0.8, 2.0)], ["flair"])
    if random.random() < 0.12:  # a hole that an old infarct left
        hole = ((field(16) - 2.3) * 4).clamp(0, 1) * ((tissue == WHITE) | (tissue == GREY))
        paint(images, soften(hole, [0.7] * 3), [contrast.normal[name][0] for name in SEQUENCES])


def scan(image: torch.Tensor, spacing: Sequence[float], field, noise: torch.Tensor, random, amount: float) -> torch.Tensor:
    """What a scanner adds to a sequence (H, W, D): blur, thick slices, bias field, gamma and Rician noise.

    Args:
        field: called with a length in mm, gives a smooth random field.
        noise: (2, H, W, D), standard normal.
        amount: 0 to 1, of all this.
    """
    blur = random.uniform(0, 0.6) * amount
    if blur > 0.1:
        image = soften(image, [blur] * 3)
    if random.random() < 0.3 * amount:  # slices of 4 to 6 mm along one axis
        axis, size = int(random.randint(3)), list(image.shape)
        thick = list(size)
        thick[axis] = max(1, round(size[axis] * spacing[axis] / random.uniform(4, 6)))
        slices = F.interpolate(image[None, None], thick, mode="area")
        image = F.interpolate(slices, size, mode="trilinear")[0, 0]
    image = image * torch.exp(random.uniform(0, 0.2) * amount * field(90) + random.uniform(0, 0.05) * amount * field(30))
    image = image.clamp_min(0) ** float(np.exp(random.uniform(-0.25, 0.25) * amount))
    sigma = 0.005 + 0.08 * amount * random.random() ** 2  # most scans have little
    return torch.hypot(image + sigma * noise[0], sigma * noise[1])


def strip(depth: torch.Tensor, field, random, amount: float) -> torch.Tensor:
    """A brain mask (H, W, D), bool, as a program would find it: some mm off, here and there much more."""
    offset = random.uniform(-1.5, 2.0) + random.uniform(0, 1.5) * field(30)
    if random.random() < 0.3:
        offset = offset - 8 * (field(35) - 1.8).clamp(0, 1)  # skin, eyes or marrow that was left
    if random.random() < 0.2:
        offset = offset + 6 * (field(35) - 1.8).clamp(0, 1)  # brain that was cut away
    return depth > amount * offset
