"""`baseline`: score a simple or established method on what a bundle is scored on."""

from __future__ import annotations

from . import baselines
from .prepare import load


def baseline(method: str, directory: str, datalist: str | None = None) -> None:
    """Score a method on the folds or test pairs of a prepared dataset, and print its scores with intervals.

    Args:
        method: ixi_volumes, registration, ... (a module of tools/baselines, whose docstring tells what it does).
        directory: the prepared dataset.
        datalist: that `prepare` wrote, with its folds beside it if the method takes folds; by default datalist.json there.
    """
    load(baselines, method).score(directory, datalist)
