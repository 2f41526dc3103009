"""From the network's displacement to everything that a registration is used for, and how good it is."""

from __future__ import annotations

import csv
import math
import os
import time
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform

from ..data.pairs import grid_of, plain
from ..inferers.timed import TimedInferer
from ..registration.fields import invert, jacobian, move_points, round_trip, total_field, transform, warp


def dice_scores(labels: torch.Tensor, truth: torch.Tensor, regions: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """Dice of every region between two label maps of the same shape; NaN where it is in neither.

    Raises:
        ValueError: a value belongs to two regions.
    """
    values = [value for region in regions.values() for value in region]
    if len(set(values)) < len(values):
        raise ValueError(f"label values {sorted({v for v in values if values.count(v) > 1})} belong to more than one region")
    count, highest = len(regions) + 1, int(max(labels.max(), truth.max(), *values))
    table = np.zeros(highest + 1, np.int64)
    for number, region in enumerate(regions.values(), 1):
        table[list(region)] = number
    a, b = (table[part.cpu().numpy().astype(np.int64)].ravel() for part in (labels, truth))
    joint = np.bincount(a * count + b, minlength=count**2).reshape(count, count)
    both, total = 2 * joint.diagonal(), joint.sum(0) + joint.sum(1)
    return {n: float(both[i] / total[i]) if total[i] else math.nan for i, n in enumerate(regions, 1)}


def mean_of(values) -> float:
    """Mean of what is no NaN; NaN of nothing."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def smoothness_scores(field: torch.Tensor, affine, mask: torch.Tensor | None = None) -> dict[str, float]:
    """Percent of voxels with a Jacobian determinant of 0 or less, and the standard deviation of the logarithm of the others.

    Args:
        field: (n, *shape), mm.
        affine: voxels to mm.
        mask: (*shape), the voxels that count.
    """
    determinant = jacobian(field, affine)
    values = determinant[mask] if mask is not None and mask.any() else determinant.flatten()
    folded = values <= 0
    logarithm = torch.log(values[~folded])
    deviation = float(logarithm.std()) if len(logarithm) > 1 else math.nan
    return {"folded_percent": 100 * float(folded.double().mean()), "sd_log_jacobian": deviation}


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    """Correlation of the intensities of two images of one shape; NaN where one is constant."""
    a, b = (v.float().flatten() - v.float().mean() for v in (a, b))
    norm = float(a.norm() * b.norm())
    return float(a @ b) / norm if norm else math.nan


class ScorePaird(Transform):
    """Scores of a registration, under "measured"; "dice" and "folded_percent" also as tensors (1,).

    On the grid of the fixed image: Dice per region of the moved label map (nearest neighbour) with the fixed one, without any
    registration ("dice_identity"), after the affine part ("dice_affine") and after all ("dice"); percent of voxels folded and
    standard deviation of the log Jacobian of the deformable part on the working grid.

    Args:
        regions: label values of each region.
    """

    def __init__(self, regions: Mapping[str, Sequence[int]]):
        self.regions = {name: list(values) for name, values in regions.items()}

    def __call__(self, data):
        item = dict(data)
        measured = self.overlaps(item) if "moving_label" in item else {}
        ddf = plain(item["pred"]).float().cpu()
        measured |= smoothness_scores(ddf, np.eye(4))
        item["measured"] = measured
        item |= {key: torch.tensor([measured.get(key, math.nan)]) for key in ("dice", "folded_percent")}
        return item

    def overlaps(self, item: Mapping) -> dict[str, float]:
        """Mean Dice in three stages, then the Dice of every region after the last one."""
        ddf = plain(item["pred"]).float().cpu()
        moving, fixed = item["moving_label"], item["fixed_label"]
        grids = plain(item["fixed_grid"]).cpu(), plain(item["moving_grid"]).cpu()
        shape, affine = fixed.shape[1:], grid_of(fixed)
        fields = {
            "dice_identity": torch.zeros(len(ddf), *shape),
            "dice_affine": total_field(torch.zeros_like(ddf), *grids, affine, shape),
            "dice": total_field(ddf, *grids, affine, shape),
        }
        scores, result = {}, {}
        for name, field in fields.items():
            moved = warp(plain(moving).cpu(), grid_of(moving), field, affine, "nearest")
            scores[name] = dice_scores(moved[0], plain(fixed)[0].cpu(), self.regions)
            result[name] = mean_of(scores[name].values())
        result = dict(reversed(result.items()))
        for name in self.regions:
            result |= {f"dice_{name}": scores["dice"][name], f"dice_affine_{name}": scores["dice_affine"][name]}
        return result


class MovePaird(Transform):
    """Apply a registration to all that an item holds.

    Takes "pred" (3, *working) in voxels, "moving" and "fixed" (1, H, W, D), "moving_grid", "fixed_grid", and where there are
    any "moving_label", "fixed_label", "points" (a CSV file with x, y, z in mm, RAS, of the moving image) and "fixed_points" (
    the same points, row by row, where they should come to lie in the fixed image).

    Makes, on the fixed image's grid, "field" (3, H, W, D) in mm, "moved", and "moved_label" (nearest neighbour); on the moving
    image's grid "inverse"; "moved_points" (rows of text); "transform" (4, 4), the affine part; "measured", the scores.

    Args:
        regions: label values of each region, for the scores; None scores every value that is in both maps.
        inverse: also make the inverse, which points need.
        timer: what timed the network.
    """

    def __init__(self, regions: Mapping[str, Sequence[int]] | None, inverse: bool = True, timer: TimedInferer | None = None):
        self.regions, self.inverse, self.timer = regions, inverse, timer

    def __call__(self, data):
        item, start = dict(data), time.perf_counter()
        network = self.timer.seconds.popleft() if self.timer is not None and self.timer.seconds else 0.0
        ddf, moving, fixed = plain(item["pred"]).float().cpu(), item["moving"].cpu(), item["fixed"].cpu()
        grids = plain(item["fixed_grid"]).cpu(), plain(item["moving_grid"]).cpu()
        affine, shape = grid_of(fixed), fixed.shape[1:]
        field = total_field(ddf, *grids, affine, shape)
        moved = warp(plain(moving), grid_of(moving), field, affine)
        seconds = float(item.get("seconds", 0.0)) + network + time.perf_counter() - start
        item |= {"field": MetaTensor(field, affine=affine), "moved": MetaTensor(moved, affine=affine)}
        item["transform"] = grids[1] @ torch.linalg.inv(grids[0])
        rows = self.scores(item, ddf, moving, fixed, moved, grids)
        if "moving_label" in item:
            label = warp(plain(item["moving_label"]).cpu(), grid_of(moving), field, affine, "nearest")
            item["moved_label"] = MetaTensor(label, affine=affine)
        if self.inverse:
            start = time.perf_counter()
            back = total_field(invert(ddf), grids[1], grids[0], grid_of(moving), moving.shape[1:])
            rows["seconds_inverse"] = time.perf_counter() - start
            gap = round_trip(field, affine, back, grid_of(moving))
            inside = gap[~gap.isnan() & (warp(torch.ones_like(plain(moving)), grid_of(moving), field, affine)[0] > 0.5)]
            rows |= {"inverse_mean_mm": float(inside.mean()), "inverse_p99_mm": float(quantile(inside, 0.99))}
            item["inverse"] = MetaTensor(back, affine=grid_of(moving))
            if "points" in item:
                item["moved_points"] = moved_rows(item["points"], back, moving)
                if "fixed_points" in item:
                    rows |= landmark_scores(item)
        item["measured"] = {**rows, "seconds": seconds}
        return item

    def scores(self, item, ddf, moving, fixed, moved, grids) -> dict[str, float]:
        """The columns of a case, but times and inverse."""
        regions = self.regions
        if "moving_label" in item and "fixed_label" in item:
            if regions is None:
                values = [set(torch.unique(plain(item[key])).long().tolist()) for key in ("moving_label", "fixed_label")]
                regions = {str(value): [value] for value in sorted(values[0] & values[1] - {0})}
            rows = ScorePaird(regions)({**item, "pred": ddf})["measured"]
        else:
            rows = smoothness_scores(ddf, np.eye(4))
        affine = total_field(torch.zeros_like(ddf), *grids, grid_of(fixed), fixed.shape[1:])
        before = warp(plain(moving), grid_of(moving), affine, grid_of(fixed))
        similarity = {"correlation_affine": correlation(before, plain(fixed)), "correlation": correlation(moved, plain(fixed))}
        return {**rows, **similarity}


def quantile(values: torch.Tensor, share: float) -> torch.Tensor:
    """A quantile of a tensor of any size, NaN of an empty one; torch.quantile takes 16 million values at most."""
    return torch.tensor(np.quantile(values.numpy(), share) if values.numel() else math.nan)


def read_points(path: str | os.PathLike) -> tuple[list[dict[str, str]], torch.Tensor]:
    """Rows of a CSV of points with x, y, z in mm, and those as (N, 3) float64.

    Raises:
        ValueError: the file has no such columns or numbers.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
        places = torch.tensor([[float(row[axis]) for axis in "xyz"] for row in rows], dtype=torch.float64).reshape(-1, 3)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: expected a CSV with the columns x, y, z in mm ({type(error).__name__}: {error})") from None
    return rows, places


def landmark_scores(item: Mapping) -> dict[str, float]:
    """Mean distance in mm of "moved_points" from "fixed_points": at the end, after the affine part, and as "points" lie.

    Raises:
        ValueError: the two files have different numbers of points.
    """
    start, goal = (read_points(item[key])[1] for key in ("points", "fixed_points"))
    if len(start) != len(goal):
        raise ValueError(f"{item['fixed_points']}: {len(goal)} points, expected {len(start)} as in {item['points']}")
    end = torch.tensor([[float(row[axis]) for axis in "xyz"] for row in item["moved_points"]], dtype=torch.float64)
    middle = transform(torch.linalg.inv(item["transform"]).double(), start.T).T
    stages = {"landmarks_mm": end, "landmarks_mm_affine": middle, "landmarks_mm_identity": start}
    return {name: float((places - goal).norm(dim=1).mean()) for name, places in stages.items()}


def moved_rows(path: str | os.PathLike, inverse: torch.Tensor, moving: MetaTensor) -> list[dict[str, str]]:
    """Rows of a CSV of points in mm (RAS), with x, y, z replaced by where they lie in the fixed image.

    Raises:
        ValueError: the file has no such columns or numbers, or a point lies outside the moving image.
    """
    rows, places = read_points(path)
    moved = move_points(places, inverse, grid_of(moving))
    outside = [i for i, place in enumerate(moved.isnan().any(1).tolist(), 2) if place]
    if outside:
        name = moving.meta.get("filename_or_obj", "the moving image")
        raise ValueError(f"{path}: the points in rows {outside} lie outside {name}, expected mm in RAS within its grid")
    for row, place in zip(rows, moved.tolist(), strict=True):
        row |= {axis: f"{value:.4f}" for axis, value in zip("xyz", place, strict=True)}
    return rows
