"""`report`: draw what is in a dataset, as one HTML page."""

from __future__ import annotations

from pathlib import Path

from shared.paths import atomic_write, writable_dir

from . import reports
from .prepare import load


def report(dataset: str, directory: str, output: str | None = None, examples: int = 3, workers: int = 2) -> None:
    """Write report.html: example cases, intensities, label frequencies and every case with its grid and problems.

    Args:
        dataset: brats, ... (a module of tools/reports).
        directory: the dataset's folder.
        output: folder for the page; by default the dataset's.
        examples: how many cases are pictured.
        workers: processes that read cases.
    """
    module = load(reports, dataset)
    root = Path(directory).expanduser().resolve()
    page = Path(writable_dir(output or root)) / "report.html"
    text = module.build(root, examples, workers)
    with atomic_write(page) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(f"report: {page}")
