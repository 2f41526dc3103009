"""A synthetic whole head as T1-weighted MR shows it: scalp, skull, face and a brain that ages, with a map of its regions.

Positions are mm in head coordinates: right, anterior, superior, with the origin in the middle of the brain's bounding box.
Sizes, places and the course of ageing (ventricles of about 7 mL at 25 and 35 mL at 75 years) follow labelled IXI heads.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import map_coordinates

from .anatomy import Canvas, blend, box_depth, ellipsoid_depth, smooth_noise

# Region numbers of DLMUSE; of a pair the right one, the left one is the next number. Lobes of cortex and white matter carry
# the number of one gyrus or lobe in them.
THIRD_VENTRICLE, FOURTH_VENTRICLE, BRAIN_STEM, CALLOSUM = 4, 11, 35, 95
VENTRICLE, HIPPOCAMPUS, AMYGDALA, CAUDATE, PUTAMEN, PALLIDUM, THALAMUS = 51, 47, 31, 36, 57, 55, 59
CEREBELLAR_CORTEX, CEREBELLAR_WHITE = 38, 40
FRONTAL, PARIETAL, OCCIPITAL, TEMPORAL = range(4)
LOBE_WHITE = np.array([81, 85, 83, 87], np.uint8)  # in the order of the lobes
LOBE_CORTEX = np.array([142, 198, 144, 154], np.uint8)  # middle frontal, superior parietal, middle occipital, middle temporal

CSF, CORTEX, WHITE, BONE, MARROW, SKIN, FAT, MUSCLE = 0.28, 0.66, 1.0, 0.08, 0.32, 0.5, 0.85, 0.48


def head(rng: np.random.Generator, position: np.ndarray, spacing: tuple, age: float, sex: str):
    """A head as `head_and_cavity` draws it, without the cavity."""
    return head_and_cavity(rng, position, spacing, age, sex)[:2]


def head_and_cavity(rng: np.random.Generator, position: np.ndarray, spacing: tuple, age: float, sex: str):
    """Draw a head.

    Args:
        rng: where individual differences come from.
        position: head coordinates of every voxel in mm, (3, H, W, D).
        spacing: voxel edges in mm.
        age: years, 20 to 85: ventricles and sulci widen, cortex, deep grey matter and the whole brain shrink.
        sex: "F" or "M": size of the head, brow, jaw.

    Returns:
        grey values (H, W, D) without noise, float32, air 0 and white matter 1, DLMUSE region numbers (H, W, D), uint8, and
        where the inside of the skull is (H, W, D), bool.
    """
    size = (1.02 if sex == "M" else 0.98) * rng.normal(1, 0.015)
    stretch = (size * rng.normal(1, 0.02, 3)).astype(np.float32)
    scaled = position / stretch[:, None, None, None]  # everything below is the same head in another size
    canvas, years = Canvas(scaled, spacing), age - 20
    texture, broad = (smooth_noise(rng, position.shape[1:], spacing, length) for length in (7, 25))

    cerebrum = box_depth(scaled - np.float32([0, 0, 15])[:, None, None, None], (66, 85, 54))
    cerebrum = -blend(-cerebrum, -(scaled[2] + 20), 12)  # flat below, where the skull base is
    for side in (1, -1):
        cerebrum = blend(cerebrum, ellipsoid_depth(scaled, (side * 41, 10, -20), (24, 41, 22)), 6)
    fossa = ellipsoid_depth(scaled, (0, -44, -42), (54, 38, 30))
    cavity = blend(cerebrum, fossa, 10)

    _paint_outside(canvas, rng, cavity, texture, broad, sex)
    canvas.paint(cavity + 0.5, CSF)
    shrinkage = 1.2 + 0.025 * years + rng.normal(0, 0.3)  # mm of CSF between brain and skull
    _paint_cerebrum(canvas, rng, cerebrum - shrinkage, broad, years)
    _paint_cerebellum(canvas, fossa - 1.5 * shrinkage - 2, texture)
    _paint_inside(canvas, rng, years)
    return canvas.image, canvas.labels, cavity > 0


def _paint_outside(canvas: Canvas, rng: np.random.Generator, cavity, texture, broad, sex: str) -> None:
    """Scalp, face, neck and skull around the cavity of the brain."""
    p, male = canvas.position, float(sex == "M")
    outside = cavity + rng.normal(14, 1)
    face = ellipsoid_depth(p, (0, 46, -66), (58 + 3 * male, 56, 62 + 3 * male))
    neck = (1 - np.hypot(p[0] / (54 + 6 * male), (p[1] + 22) / (60 + 4 * male))) * 55 - np.maximum(p[2] + 40, 0)
    outside = blend(blend(outside, face, 18), neck, 18)
    brow = rng.normal(1 + 5 * male, 1)
    for centre, radii in (
        ((0, 98, -50), (13, 20, 22)),  # nose
        ((0, 76, -112), (26 + 4 * male, 26 + 3 * male, 16)),  # chin
        ((0, 82 + brow, -8), (44, 16, 12)),
        ((82, -10, -40), (8, 16, 26)),  # ears
        ((-82, -10, -40), (8, 16, 26)),
    ):
        outside = blend(outside, ellipsoid_depth(p, centre, radii), 8)
    canvas.paint(outside, SKIN)
    canvas.paint(outside - 2, FAT + 0.05 * texture)
    canvas.paint(outside - 5 - broad, MUSCLE + 0.08 * texture + 0.06 * broad)

    for value, centre, radii in (
        (0.42, (0, -8, -108), (14, 10, 36)),  # vertebrae
        (0.5, (0, 8, -46), (13, 10, 22)),  # clivus
        (0.62, (0, 46, -98), (24, 32, 18)),  # tongue
        (0.01, (0, 66, -66), (9, 34, 16)),  # nasal cavity, sphenoid sinus, airway
        (0.01, (0, 30, -36), (13, 13, 10)),
        (0.01, (0, 16, -98), (9, 7, 36)),
    ):
        canvas.ellipsoid(centre, radii, value)
    canvas.ellipsoid((27, 62, -62), (13, 17, 16), 0.01, mirrored=True)  # maxillary sinus
    canvas.ellipsoid((57, -14, -44), (15, 12, 11), BONE, mirrored=True)  # petrous bone
    skull = np.minimum(cavity + 7 + broad, outside - 4)
    canvas.paint(skull, BONE)
    canvas.paint(np.minimum(skull - 2, -cavity - 2), MARROW + 0.08 * broad)
    canvas.ellipsoid((32, 70, -24), (18, 20, 16), FAT, mirrored=True)  # orbit, eye, lens
    canvas.ellipsoid((32, 77, -24), (12.5, 12.5, 12.5), 0.42, mirrored=True)
    canvas.ellipsoid((32, 77, -24), (11, 11, 11), 0.2, mirrored=True)
    canvas.ellipsoid((32, 85.5, -24), (4.5, 2.2, 4.5), 0.5, mirrored=True)


def _paint_cerebrum(canvas: Canvas, rng: np.random.Generator, depth, broad, years: float) -> None:
    """White matter, and cortex along the surface and the sulci; `depth` is mm below the surface of the cerebrum."""
    right, front, up = canvas.position
    right = right + 2 * broad  # the middle is nowhere quite straight
    # no fissure between the hemispheres where callosum, thalamus and brain stem join them
    joined = np.where(up > 2, 36 - np.hypot(front - 4, 1.3 * (up - 2)), 20 - np.abs(front + 4))
    fissure = np.abs(right) + np.maximum(joined, 0)
    line = 2 - 0.33 * front  # Sylvian fissure
    lateral = np.abs(up - line) + np.maximum(34 - np.abs(right), 0) + np.maximum(np.abs(front - 6) - 32, 0)
    sulcus = np.minimum(np.minimum(fissure, lateral), _folds(canvas, rng, depth, fissure))
    width = max(0.1, 0.3 + 0.02 * years + rng.normal(0, 0.12))  # mm from the middle of a sulcus to its wall
    thickness = 3.1 - 0.010 * years + rng.normal(0, 0.1)
    pial = np.minimum(depth, sulcus - width)

    lobe = np.full(depth.shape, FRONTAL, np.uint8)
    lobe[front < -2 + 0.2 * up] = PARIETAL
    lobe[(up < line) & (np.abs(right) > 16) & (up < 16)] = TEMPORAL
    lobe[front < -50] = OCCIPITAL
    left = (right < 0).astype(np.uint8)
    canvas.paint(pial, CORTEX)
    canvas.paint(pial - thickness, WHITE)
    inside = pial > 0
    grey = pial < thickness
    canvas.labels[inside] = np.where(grey, LOBE_CORTEX[lobe], LOBE_WHITE[lobe])[inside] + left[inside]


def _folds(canvas: Canvas, rng: np.random.Generator, depth: np.ndarray, fissure: np.ndarray) -> np.ndarray:
    """Distance in mm from the nearest of random sheets that run inwards from the surfaces of the hemispheres."""
    distance = np.full(depth.shape, 99, np.float32)

    def sheets(place: tuple, points: np.ndarray, below: np.ndarray, reach: float, pitch: float) -> None:
        """Where a random field is 0 at `points`, (3, N) mm on a surface, there is a sheet of `reach` mm under it."""
        nodes = rng.standard_normal((32, 32, 32)).astype(np.float32)
        field = map_coordinates(nodes, points / pitch, order=3, mode="grid-wrap")
        found = np.abs(field) * (0.75 * pitch) + 1.5 * np.maximum(below - reach, 0)
        distance[place] = np.minimum(distance[place], found)

    shell = np.nonzero((depth > -2) & (depth < 32))
    points = canvas.position[(slice(None), *shell)] - np.float32([[0], [0], [6]])
    level = np.sqrt(((points / np.float32([[67], [86], [62]])) ** 2).sum(0))
    below = np.maximum(depth[shell], (1 - level) * 68)  # the flat base is no surface that sulci start from
    above = points * (0.8 / level + 0.2)  # nearly the same all the way down, hence sheets
    sheets(shell, above, below, rng.normal(21, 1), 12)
    sheets(shell, above, below, rng.normal(11, 1), 9)
    shell = np.nonzero((depth > -2) & (fissure < 26))
    points = canvas.position[(slice(None), *shell)] * np.float32([[0.2], [1], [1]])
    sheets(shell, points, fissure[shell], rng.normal(14, 1), 11)
    return distance


def _paint_cerebellum(canvas: Canvas, depth: np.ndarray, texture: np.ndarray) -> None:
    """Cerebellum with leaves and a white core, and the brain stem."""
    right, front, up = canvas.position
    radius = np.hypot(front + 22, up + 36) + 1.2 * texture
    leaves = np.abs(np.sin(radius * np.float32(np.pi / 6.5)))  # a furrow each 6.5 mm
    depth = -blend(-depth, up + 12 - 0.35 * np.abs(front + 40), 6)  # the tentorium above it
    depth = depth - np.maximum(6 - np.abs(right), 0) * (front < -62)  # notch between the hemispheres
    canvas.paint(depth, 0.5 + 0.25 * leaves, CEREBELLAR_CORTEX, paired=True)
    canvas.paint(depth - 9 - 4 * leaves, 0.95, CEREBELLAR_WHITE, paired=True)
    cord = 8 - np.hypot(right, front + 14 - 0.12 * np.minimum(up + 50, 0)) + np.clip(up + 80, -20, 20) / 10
    canvas.paint(np.minimum(cord + 4, -50 - up), CSF)
    canvas.paint(np.minimum(cord, -50 - up), 0.95)
    medulla = np.minimum(cord, np.minimum(-50 - up, up + 72))
    canvas.paint(medulla, 0.95, BRAIN_STEM)
    canvas.ellipsoid((0, -4, -36), (14, 12, 16), 0.95, BRAIN_STEM)
    canvas.ellipsoid((0, -8, -16), (15, 10, 13), 0.95, BRAIN_STEM)


def _paint_inside(canvas: Canvas, rng: np.random.Generator, years: float) -> None:
    """Corpus callosum, deep grey matter and ventricles."""
    right, front, up = canvas.position
    arch = np.hypot(front - 5, 1.35 * (up - 2))
    canvas.paint(np.minimum(np.minimum(4 - np.abs(arch - 32), 14 - np.abs(right)), up + 1), 1.06, CALLOSUM)
    volume = 7 * np.exp(0.03 * years) * rng.lognormal(0, 0.25)  # mL of both lateral ventricles
    wide = (volume / 11) ** 0.5  # lengths hardly change
    shrunk = 1.06 - 0.0022 * years + rng.normal(0, 0.015)
    edge = 6 + 6 * wide  # lateral end of the body of the ventricle
    canvas.ellipsoid((1.7, 8, 11), (1.8, 25, 10), CSF + 0.1, VENTRICLE, mirrored=True)  # septum and what is beside it
    for label, value, centre, radii in (
        (THALAMUS, 0.84, (10.5, -4, 3), (10.5, 16, 11)),
        (PUTAMEN, 0.82, (25, 14, 4), (5.2, 18.5, 11)),
        (PALLIDUM, 0.94, (18.5, 10, 1), (4.6, 9, 8)),
        (CAUDATE, 0.80, (edge + 1, 20, 14), (5.5, 20, 9)),
        (HIPPOCAMPUS, 0.76, (26, -3, -14), (6.8, 21, 6.8)),
        (AMYGDALA, 0.76, (21, 19, -15), (6.5, 7, 6)),
    ):
        canvas.ellipsoid(centre, np.array(radii) * shrunk, value, label, mirrored=True)
    canvas.ellipsoid((edge - 4 * wide, 12, 16), (4 * wide, 30, 6.5 * wide**0.7), CSF, VENTRICLE, mirrored=True)
    canvas.ellipsoid((20 + wide, -30, 6), (4 * wide, 22, 7 * wide**0.7), CSF, VENTRICLE, mirrored=True)
    canvas.ellipsoid((33, -6, -11), (2 * wide, 18, 2.5 * wide), CSF, VENTRICLE, mirrored=True)
    canvas.ellipsoid((0, 3, -2), (1.6 * wide**0.8, 15, 9), CSF, THIRD_VENTRICLE)
    canvas.ellipsoid((0, -19, -36), (7, 5, 11), CSF, FOURTH_VENTRICLE)
