"""Charts of what segmentation datasets hold; make them within `page.theme`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from shared.visualize import PLANES

from .page import INK

BLUE, RED, GREY = "#3d8fd1", "#e0567a", "#8c95a0"
EMPTY, BODY, TARGET = 0, 1, 2  # kinds of slices: nothing, the scanned part without target, target
AXES = {"sagittal": "left to right", "coronal": "back to front", "axial": "bottom to top"}  # in the order of RAS
Histogram = tuple[np.ndarray, np.ndarray, float, float]  # density, bin edges, mean, standard deviation


def histogram(values: np.ndarray, bins: int = 80) -> Histogram:
    """Density of values between their 0.1 and 99.9 per cent quantiles, with mean and standard deviation of all."""
    density, edges = np.histogram(values, bins, range=np.percentile(values, [0.1, 99.9]), density=True)
    return density, edges, float(values.mean()), float(values.std()) or 1.0


def intensity_chart(histograms: Mapping[str, Sequence[Histogram]]) -> Figure:
    """A line per case and channel, and their mean: above as stored, below with mean 0 and deviation 1."""
    figure = Figure(figsize=(11, 4.6), layout="constrained", dpi=150)
    axes = figure.subplots(2, len(histograms), squeeze=False)
    for (stored, normalised), (title, cases) in zip(axes.T, histograms.items(), strict=True):
        _draw_histograms(stored, [(density, edges) for density, edges, _, _ in cases])
        _draw_histograms(normalised, [(density * std, (edges - mean) / std) for density, edges, mean, std in cases])
        stored.set_title(title)
        stored.set_xlabel("stored value")
        normalised.set_xlabel("standard deviations from the mean")
    axes[0, 0].set_ylabel("as stored")
    axes[1, 0].set_ylabel("normalised per case")
    return figure


def _draw_histograms(axis, cases: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
    lines = [np.column_stack([(edges[1:] + edges[:-1]) / 2, density]) for density, edges in cases]
    alpha = float(np.clip(10 / len(lines), 0.08, 0.7))
    axis.add_collection(LineCollection(lines, colors=BLUE, alpha=alpha, linewidths=1, rasterized=True))
    # a few cases with huge values must not squeeze the others into a corner
    start = np.quantile([line[0, 0] for line in lines], 0.05)
    stop = np.quantile([line[-1, 0] for line in lines], 0.95)
    grid = np.linspace(start, stop, 200)
    mean = np.mean([np.interp(grid, *line.T, left=0, right=0) for line in lines], axis=0)
    axis.plot(grid, mean, color=INK, linewidth=1.6)
    top = np.quantile([line[:, 1].max() for line in lines], 0.95)
    axis.set(xlim=(start, stop), ylim=(0, 1.1 * top), yticks=[])


def label_chart(volumes: Mapping[str, np.ndarray], colours: Mapping[str, str], whole: str) -> Figure:
    """Volumes in mL of the parts of a target as boxes with a dot per case, and the parts' shares in each case."""
    figure = Figure(figsize=(11, 3.4), layout="constrained", dpi=150)
    boxes, shares = figure.subplots(1, 2)
    total = np.sum(list(volumes.values()), axis=0)
    rows = {whole: total, **dict(reversed(volumes.items()))}
    jitter = np.random.default_rng(0).uniform(-0.25, 0.25, len(total))
    style = {f"{part}props": {"color": INK} for part in ("box", "whisker", "cap", "median")}
    for y, (name, ml) in enumerate(rows.items()):
        boxes.boxplot(ml, orientation="horizontal", positions=[y], widths=0.6, showfliers=False, **style)
        boxes.scatter(ml, y + jitter, s=14, color=colours.get(name, GREY), alpha=0.7, linewidths=0)
    boxes.set_yticks(range(len(rows)), list(rows))
    boxes.set_xlim(0)
    boxes.set_xlabel("mL")

    order, bottom = np.argsort(total), np.zeros(len(total))
    for name, ml in volumes.items():
        top = bottom + 100 * (ml / np.maximum(total, 1e-9))[order]
        edges = np.arange(len(total) + 1)
        shares.stairs(top, edges, baseline=bottom, fill=True, color=colours[name], label=name, linewidth=0)
        bottom = top
    shares.set(xlabel=f"cases from the smallest to the largest {whole}", ylabel=f"% of the {whole}")
    shares.set(xlim=(0, len(total)), ylim=(0, 100), xticks=[])
    shares.legend(ncols=len(volumes), loc="lower center", bbox_to_anchor=(0.5, 1))
    return figure


def slice_kinds(body: np.ndarray, target: np.ndarray) -> dict[str, np.ndarray]:
    """What the slices of each plane hold (EMPTY, BODY, TARGET), from two boolean masks (H, W, D) in RAS orientation."""
    kinds = {}
    for axis, name in enumerate(AXES):
        others = tuple(a for a in range(3) if a != axis)
        kinds[name] = np.where(target.any(others), TARGET, np.where(body.any(others), BODY, EMPTY))
    return kinds


def slice_chart(cases: Sequence[Mapping[str, np.ndarray]], body: str, target: str) -> Figure:
    """Mean shares of slices of each kind, and in how many cases the target reaches each part of the body.

    Args:
        cases: `slice_kinds` of each.
        body: name of the scanned part.
        target: name of the target.
    """
    figure = Figure(figsize=(11, 3), layout="constrained", dpi=150)
    bars, *places = figure.subplots(1, 4, width_ratios=[1.5, 1, 1, 1])
    looks = {TARGET: (target, RED), BODY: (f"{body} only", BLUE), EMPTY: ("empty", GREY)}
    for y, name in enumerate(PLANES):
        left = 0.0
        for kind, (_, colour) in looks.items():
            share = 100 * float(np.mean([(kinds[name] == kind).mean() for kinds in cases]))
            bars.barh(y, share, left=left, color=colour, height=0.6)
            if share > 5:
                bars.text(left + share / 2, y, f"{share:.0f} %", ha="center", va="center", fontsize=9, color="black")
            left += share
    bars.set_yticks(range(len(PLANES)), PLANES)
    bars.invert_yaxis()
    bars.set(xlim=(0, 100), xlabel="% of slices")
    patches = [Patch(color=colour, label=label) for label, colour in looks.values()]
    bars.legend(handles=patches, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1), handlelength=1, columnspacing=1)
    for axis, (name, direction) in zip(places, AXES.items(), strict=True):
        share = 100 * np.mean([along_body(kinds[name]) == TARGET for kinds in cases], axis=0)
        axis.stairs(share, np.linspace(0, 100, len(share) + 1), fill=True, color=RED, linewidth=0)
        axis.set(xlim=(0, 100), ylim=(0, 100), xlabel=f"% of the {body}, {direction}")
    places[0].set_ylabel("% of cases")
    return figure


def along_body(kinds: np.ndarray, steps: int = 50) -> np.ndarray:
    """Kinds of the slices at the middles of equal steps from the first to the last slice that is not empty."""
    inside = np.flatnonzero(kinds != EMPTY)
    middles = (np.arange(steps) + 0.5) / steps
    return kinds[(inside[0] + middles * (inside[-1] + 1 - inside[0])).astype(int)]
