"""`baseline`: score a simple method on the folds that `crossvalidate` scores a bundle on."""

from __future__ import annotations

from . import baselines
from .prepare import load


def baseline(method: str, directory: str, datalist: str | None = None) -> None:
    """Train and score a simple method on every fold of a prepared dataset, and print its scores with intervals.

    Args:
        method: ixi_volumes, ... (a module of tools/baselines, whose docstring tells what it does).
        directory: the prepared dataset.
        datalist: that `prepare ... --folds K` wrote, whose folds lie beside it; by default datalist.json in that folder.
    """
    load(baselines, method).score(directory, datalist)
