"""`phantom`: write a synthetic dataset in the layout of a real one."""

from . import phantoms
from .prepare import load


def phantom(dataset: str, directory: str, **options) -> None:
    """Write a synthetic dataset with the same folders, names and quirks as the real one.

    Args:
        dataset: brats, ... (a module of tools/phantoms).
        directory: where to write it.
        options: --cases N --seed S and what else the module's function of that name takes.
    """
    getattr(load(phantoms, dataset), dataset)(directory, **options)
