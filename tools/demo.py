"""`demo`: make a synthetic case and run a bundle's inference on it."""

from __future__ import annotations

import shutil

from . import bundles
from .phantom import phantom


def demo(bundle: str) -> None:
    """Write a synthetic case into demo/<bundle>/data, run the shipped weights on it and say where the results lie.

    Args:
        bundle: its name; the "demo" entry of its metadata.json says which phantom it takes, or how inference runs without.

    Raises:
        ValueError: there is no such bundle.
    """
    bundles.folder(bundle)
    root = bundles.REPOSITORY / "demo" / bundle
    shutil.rmtree(root, ignore_errors=True)  # the folder is the demo's own
    options = dict(bundles.metadata(bundle)["demo"])
    if "phantom" in options:
        phantom[options.pop("phantom")](str(root / "data"), **options)
        options = {"dataset_dir": str(root / "data")}
    bundles.run(bundle, "inference", output_dir=str(root / "output"), **options)
    print(f"\n{bundle} wrote:")
    for path in sorted((root / "output").rglob("*")):
        if path.is_file():
            print(f"  {path.relative_to(bundles.REPOSITORY)}")
