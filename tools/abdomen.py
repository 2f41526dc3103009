"""Abdomens drawn at random: a map of tissues from simple shapes, which press on each other as organs do.

Coordinates are in mm, x to the patient's right, y to the front, z to the head; z = 0 lies a little above the kidneys' middle.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shared import abdomen as t

from .anatomy import ellipsoid_depth, grid_mm, smooth_noise

WANDER = 7  # mm by which all surfaces wander
REACH = 3 * WANDER  # mm, at most

STOMACH = ((-62, -20, 62, 38), (-72, 8, 35, 44), (-56, 40, 5, 36), (-20, 56, -18, 27), (18, 46, -22, 19))
DUODENUM = ((22, 40, -24, 17), (46, 22, -32, 13), (46, 8, -68, 13), (5, -2, -80, 11), (-25, 5, -62, 11))
COLON = (
    (95, 5, -160, 30), (106, -5, -110, 27), (108, -8, -62, 24), (86, 12, -42, 22), (40, 56, -66, 22), (-10, 62, -72, 21),
    (-60, 48, -40, 20), (-104, -8, 14, 21), (-112, -26, -40, 18), (-110, -22, -100, 17), (-96, -10, -160, 17),
)  # fmt: skip
AORTA = ((-6, -36, 190, 12), (-10, -36, 60, 11), (-8, -34, -60, 10), (-4, -30, -120, 9))
CAVA = ((20, 0, 95, 12), (20, -26, 60, 13), (19, -30, 0, 12), (18, -28, -120, 11))
PORTAL = ((6, 16, -100, 6), (6, 8, -25, 7), (30, 6, 8, 8), (58, 8, 26, 7))
SPLENIC_VEIN = ((6, 6, -18, 5), (-35, -12, -2, 5), (-78, -34, 18, 4))
PANCREAS = ((32, 18, -40, 14), (18, 18, -28, 13), (-10, 8, -12, 10), (-45, -10, 2, 10), (-72, -26, 12, 9))


def draw_abdomen(
    rng: np.random.Generator, shape: Sequence[int], spacing: Sequence[float], centre: Sequence[float] = (0.0, 0.0, 0.0)
) -> np.ndarray:
    """One abdomen at random as tissue numbers of shared.abdomen.

    Args:
        rng: draws it; the same state, shape and spacing give the same abdomen.
        shape: voxels along x (to the right), y (to the front), z (to the head).
        spacing: mm.
        centre: where the middle of the volume lies in mm.

    Returns:
        uint8 of `shape`.
    """
    return _Torso(rng, tuple(shape), tuple(spacing), centre).tissue


class _Torso:
    def __init__(self, rng: np.random.Generator, shape: tuple, spacing: tuple, centre: Sequence[float]):
        self.rng, self.shape, self.spacing = rng, shape, spacing
        self.tissue = np.zeros(shape, np.uint8)
        self.scale = np.array([rng.uniform(0.88, 1.12), rng.uniform(0.88, 1.15), rng.uniform(0.88, 1.12)], np.float32)
        grid = grid_mm(shape, spacing) + np.asarray(centre, np.float32)[:, None, None, None]
        grid /= self.scale[:, None, None, None]
        self.axes = [grid[0, :, 0, 0].copy(), grid[1, 0, :, 0].copy(), grid[2, 0, 0, :].copy()]
        for axis in range(3):  # all shapes wander alike, so that neighbours stay neighbours
            grid[axis] += 0.45 * WANDER * self.noise(70)
        self.x, self.y, self.z = self.p = grid
        self.rough = self.noise(28)
        self.body()
        self.diaphragm()
        self.bowel()
        self.upper_organs()
        self.vessels()
        self.chest()
        self.bones()

    def noise(self, length: float) -> np.ndarray:
        return smooth_noise(self.rng, self.shape, self.spacing, length)

    def jitter(self, points, deviation: float) -> list[np.ndarray]:
        """Points x, y, z, radius, moved at random together and each by itself."""
        together = self.rng.normal(0, deviation / 2, 3)
        size = self.rng.uniform(0.85, 1.15)
        return [np.array([*(p[:3] + together + self.rng.normal(0, deviation, 3)), p[3] * size]) for p in np.array(points)]

    def box(self, low, high) -> tuple[slice, ...]:
        """The part of the volume between two corners in mm, with room for what wanders."""
        edges = [np.searchsorted(a, (lo - REACH / 2, hi + REACH / 2)) for a, lo, hi in zip(self.axes, low, high, strict=True)]
        return tuple(slice(a, b) for a, b in edges)

    def depth(self, centre, radii, box=(), roughness: float = 0.0) -> np.ndarray:
        """mm below the surface of an ellipsoid."""
        found = ellipsoid_depth(self.p[(slice(None), *box)], centre, np.asarray(radii, np.float32))
        return found + roughness * self.rough[box] if roughness else found

    def ellipsoid(self, centre, radii, code: int, inside: np.ndarray | None = None, roughness: float = 2.0) -> None:
        box = self.box(np.subtract(centre, radii), np.add(centre, radii))
        mask = self.depth(centre, radii, box, roughness) > 0
        self.tissue[box][mask if inside is None else mask & inside[box]] = code

    def tube(self, points, code: int, inside: np.ndarray, shell: float = 0, filling=None, haustra: float = 0.0) -> None:
        """Paint balls along a path (x, y, z, radius); with `filling` what lies deeper than `shell` gets a content."""
        points = np.array(points)
        steps = np.linalg.norm(np.diff(points[:, :3], axis=0), axis=1)
        along = np.concatenate([[0], np.cumsum(steps)])
        places = np.arange(0, along[-1], max(0.35 * points[:, 3].min(), 2.5))
        balls = np.stack([np.interp(places, along, column) for column in points.T], 1)
        if haustra:
            balls[:, 3] *= 1 + haustra * np.sin(places / 6 + self.rng.uniform(0, 6))
        for part, thick in ((code, 0.0), (filling, shell)):
            for place, (x, y, z, radius) in zip(places, balls, strict=True):
                reach = radius + 4
                box = self.box((x - reach, y - reach, z - reach), (x + reach, y + reach, z + reach))
                dx, dy, dz = self.x[box] - x, self.y[box] - y, self.z[box] - z
                mask = (np.sqrt(dx * dx + dy * dy + dz * dz) < radius - thick + 1.2 * self.rough[box]) & inside[box]
                if callable(part):
                    self.tissue[box][mask] = part(place, dy[mask] / radius)
                elif part is not None:
                    self.tissue[box][mask] = part

    def body(self) -> None:
        rng = self.rng
        a, b = rng.uniform(118, 138), rng.uniform(78, 98)
        taper = 1 - 0.0007 * np.clip(self.z - 50, 0, 100)
        level = (np.abs(self.x / (a * taper)) ** 2.3 + np.abs(self.y / (b * taper)) ** 2.3) ** np.float32(1 / 2.3)
        self.cavity_depth = (1 - level) * np.float32((a + b) / 2)
        self.back = -b
        self.wall = rng.uniform(8, 15) + 1.5 * self.rough
        thin, belly = rng.uniform(3, 30), rng.uniform(0, 22)
        fat = thin + belly * np.clip(self.y / b, -0.6, 1) * (self.z < 20) + 2.5 * self.noise(60)
        outer = -self.cavity_depth - self.wall - np.maximum(fat, 2)
        spine_back = self.back - 24
        muscles = np.maximum(*(self.depth((s * 33, self.back - 16, self.z.mean()), (31, 24, 1e4)) for s in (-1, 1)))
        body = (outer < 0) | (muscles > -max(8, thin)) | (self.depth((0, spine_back, 0), (22, 18, 1e4)) > 0)
        self.tissue[body] = t.FAT
        self.tissue[-self.cavity_depth < self.wall] = t.MUSCLE
        self.tissue[muscles > 0] = t.MUSCLE
        self.cavity = self.cavity_depth > 0
        self.tissue[self.cavity] = t.VISCERAL_FAT
        for side in (-1, 1):
            up, middle, down = (30, 22, 0, 8), (42, 28, -90, 20), (55, 45, -190, 26)
            psoas = [(side * x, self.back + y, z, radius) for x, y, z, radius in (up, middle, down)]
            self.tube(psoas, t.MUSCLE, self.cavity)
        if rng.random() < 0.25:  # arms beside the body
            for side in (-1, 1):
                x, y = side * (a + thin + rng.uniform(50, 70)), rng.uniform(-40, 20)
                for radius, code in ((36, t.FAT), (29, t.MUSCLE), (9, t.BONE)):
                    self.tissue[(self.depth((x, y, 0), (radius, radius * 1.1, 1e4)) > 0) & ~body] = code

    def diaphragm(self) -> None:
        rng = self.rng
        self.dome = rng.uniform(75, 110)
        heights = []
        for x, y, height in ((58, 5, self.dome), (-62, 8, self.dome - rng.uniform(5, 25))):
            wide = np.where(self.y < y, np.float32(96), np.float32(130))
            away = ((self.x - x) / 95) ** 2 + ((self.y - y) / wide) ** 2
            heights.append(height - 62 * (away + 0.5 * np.minimum(away, 1.5) ** 2))
        self.below = np.maximum(*heights) - self.z + 2.5 * self.rough  # mm below the diaphragm
        self.room = self.cavity & (self.below > 0)

    def bowel(self) -> None:
        rng = self.rng

        def content():
            kinds = rng.choice([t.FLUID, t.FOOD, t.GAS, t.WALL], 2, p=[0.3, 0.35, 0.15, 0.2])
            gas, period = rng.uniform(-0.3, 1.3), rng.uniform(30, 90)  # height above which there is gas, in radii

            def filling(place: float, height: np.ndarray) -> np.ndarray:
                rest = kinds[int(np.sin(place / period) > 0)]
                return np.where(height > gas + 0.4 * np.sin(place / period), t.GAS, rest)

            return filling

        for _ in range(rng.integers(6, 14)):
            low, high = np.array([-85, -30, -190]), np.array([85, 68, rng.uniform(-60, -25)])
            points = np.concatenate([rng.uniform(low, high, (7, 3)), np.full((7, 1), rng.uniform(9, 14))], 1)
            self.tube(points, t.WALL, self.room, 2.5, content(), 0.08)
        self.tube(self.jitter(DUODENUM, 6), t.WALL, self.room, 2.5, content())
        self.tube(self.jitter(COLON, 10), t.WALL, self.room, 2.5, content(), 0.12)
        self.tube(self.jitter(PANCREAS, 4), t.PANCREAS, self.room)
        full = rng.uniform(0.6, 1.1)
        self.tube([(*p[:3], p[3] * full) for p in self.jitter(STOMACH, 8)], t.WALL, self.room, rng.uniform(3, 7), content())

    def upper_organs(self) -> None:
        rng = self.rng
        gap = rng.uniform(1, 6)
        size = rng.uniform(0.75, 1.35)
        place = np.array([-92, -40, 24]) + rng.normal(0, 8, 3)
        spleen = self.depth(place, np.array([44, 58, 56]) * size, roughness=3)
        hollow = self.depth(place + (46, 32, 0), np.array([42, 54, 70]) * np.sqrt(size))
        reach = (self.cavity_depth > gap) & (self.below > 2)
        self.tissue[(np.minimum(spleen, -hollow) > 0) & reach] = t.SPLEEN

        self.liver(reach)
        vein = self.noise(30) ** 2 + self.noise(30) ** 2
        liver = self.tissue == t.LIVER
        self.tissue[liver & (vein < rng.uniform(0.008, 0.045))] = t.HEPATIC_VESSEL
        if rng.random() < 0.35:
            for voxel in rng.permutation(np.argwhere(liver))[: rng.integers(1, 5)]:
                place = [axis[i] for axis, i in zip(self.axes, voxel, strict=True)]
                self.ellipsoid(place, rng.uniform(4, 24) * rng.uniform(0.8, 1.2, 3), t.LESION, liver)

        self.ellipsoid((22, 4, 4), (26, 11, 11), t.VISCERAL_FAT)
        if rng.random() < 0.85:
            gallbladder = np.array([52, 48, -32]) + rng.normal(0, 9, 3)
            self.ellipsoid(gallbladder, np.array([14, 19, 24]) * rng.uniform(0.7, 1.3, 3), t.GALLBLADDER, self.room)
        # medullas are islands in the cortex
        islands = self.noise(14)
        for side, z, cortex, medulla in ((1, -48, t.RIGHT_KIDNEY, t.RIGHT_MEDULLA), (-1, -36, t.LEFT_KIDNEY, t.LEFT_MEDULLA)):
            centre = np.array([side * 60, self.back + 44, z]) + rng.normal(0, 8, 3)
            radii = np.array([28, 27, 54]) * rng.uniform(0.85, 1.15, 3)
            self.ellipsoid(centre, radii + rng.uniform(1, 10), t.VISCERAL_FAT, self.room)
            box = self.box(centre - radii, centre + radii)
            depth = self.depth(centre, radii, box, 1.5)
            kidney = (depth > 0) & self.room[box]
            self.tissue[box][kidney] = cortex
            self.tissue[box][kidney & (depth > 6) & (islands[box] > 0.2)] = medulla
            sinus = centre - (side * rng.uniform(10, 16), 0, 0)
            self.ellipsoid(sinus, radii * (0.48, 0.4, 0.5), t.VISCERAL_FAT)
            self.ellipsoid(sinus, radii * rng.uniform(0.1, 0.3), t.FLUID)

    def liver(self, reach: np.ndarray) -> None:
        rng = self.rng
        size = rng.uniform(0.9, 1.15)
        right = self.depth(np.array([62, 2, 18]) + rng.normal(0, 6, 3), np.array([86, 98, 100]) * size, roughness=3)
        left_size = np.array([rng.uniform(60, 110), rng.uniform(42, 62), rng.uniform(40, 62)])
        left = self.depth(np.array([-14, 42, 46]) + rng.normal(0, 8, 3), left_size, roughness=3)
        # the visceral surface falls to the right and to the front
        lowest = rng.uniform(-105, -50)
        under = lowest + rng.uniform(0.55, 0.95) * np.clip(105 - self.x, 0, None) - rng.uniform(0, 0.3) * self.y
        over = self.z - under + 6 * self.noise(45)
        mask = (np.maximum(right, left) > 0) & (over > 0) & reach
        self.tissue[mask] = t.LIVER
        if rng.random() < 0.8:  # fissure of the round ligament
            place = rng.uniform(-18, 12)
            fissure = np.abs(self.x - place - 0.25 * self.z + 3 * self.rough) < rng.uniform(1, 4)
            self.tissue[mask & fissure & (self.y > 18) & (self.z < rng.uniform(25, 60))] = t.VISCERAL_FAT

    def vessels(self) -> None:
        inside = self.cavity
        for path, code in ((CAVA, t.VEIN), (PORTAL, t.VEIN), (SPLENIC_VEIN, t.VEIN), (AORTA, t.ARTERY)):
            self.tube(self.jitter(path, 3), code, inside)

    def chest(self) -> None:
        above = self.cavity & (self.below <= 0)
        self.tissue[above] = t.MUSCLE
        lung = self.cavity & (self.below < -3) & (self.cavity_depth > 2)
        self.tissue[lung] = t.LUNG
        middle = self.depth((0, -18, 0), (26, 46, 1e4))
        self.tissue[lung & (middle > 0)] = t.VISCERAL_FAT
        self.tube(AORTA, t.ARTERY, lung)
        heart = np.array([-22, 28, self.dome + 34]) + self.rng.normal(0, 6, 3)
        self.ellipsoid(heart, (62, 52, 48), t.VISCERAL_FAT, lung)
        self.ellipsoid(heart, (57, 47, 44), t.MUSCLE, lung)
        self.ellipsoid(heart, (44, 35, 33), t.HEART, lung)

    def bones(self) -> None:
        rng = self.rng
        vertebra = (0, self.back + 24, 0)
        disc = np.abs((self.z / 34 + rng.uniform()) % 1 - 0.5) > 0.4
        spine = self.depth(vertebra, (23, 18, 1e4), roughness=1)
        self.tissue[(spine > 0) & (self.tissue > 0)] = t.BONE
        self.tissue[spine > 2] = t.MARROW
        self.tissue[(spine > 0) & disc] = t.MUSCLE
        arch = self.depth((0, self.back - 4, 0), (19, 15, 1e4))
        process = (np.abs(self.x) < 4) & (self.y < self.back - 10) & (self.y > self.back - 42) & ~disc & (self.tissue > 0)
        self.tissue[((arch > 0) | process) & (spine <= 0)] = t.BONE
        self.tissue[self.depth((0, self.back - 1, 0), (10, 9, 1e4)) > 0] = t.CANAL

        pitch, depth = rng.uniform(24, 30), -self.cavity_depth
        across = np.abs(((self.z + 0.55 * self.y) / pitch + rng.uniform()) % 1 - 0.5) * pitch
        caged = self.z > -75 + 0.75 * (self.y - self.back)
        in_wall = (depth > 1) & (depth < self.wall - 2) & caged & (np.abs(self.x) > 20)
        self.tissue[in_wall & (across < 5.5)] = t.BONE
        self.tissue[in_wall & (across < 3.5) & (depth > 3) & (depth < self.wall - 4)] = t.MARROW
        sternum = (np.abs(self.x) < 18) & (depth > 1) & (depth < self.wall - 2) & (self.y > 0) & (self.z > self.dome - 10)
        self.tissue[sternum] = t.MARROW
