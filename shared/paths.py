"""Where things are and how files are written: no path depends on the working directory, no file is left half-written."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .errors import InputError

PACKAGE = Path(__file__).resolve().parent


def bundle_root(name: str) -> str:
    """Folder of the bundle `name`, wherever the command is run from.

    In a checkout this package is `<repository>/shared` and the bundle `<repository>/bundles/<name>`; in a packed bundle
    this package lies inside the bundle's own folder.

    Raises:
        FileNotFoundError: there is no such bundle beside this package.
    """
    for root in (PACKAGE.parent, PACKAGE.parent / "bundles" / name):
        if (root / "configs" / "metadata.json").is_file():
            return str(root)
    raise FileNotFoundError(f"no bundle '{name}': expected {PACKAGE.parent / 'bundles' / name / 'configs' / 'metadata.json'}")


def writable_dir(path: str | os.PathLike) -> str:
    """Create the folder `path` if needed and prove that files can be written there, before any work is spent.

    Raises:
        InputError: `path` is a file, lies below one, or refuses new files.
    """
    folder = Path(path).expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(f"cannot write into the output folder {folder}: {error.strerror or error}") from None
    return str(folder)


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary name beside `path`; it becomes `path` when the block ends well and is removed when it does not.

    The temporary name keeps the full suffix (".nii.gz"), since writers choose the format by it. It is always the same, so
    that what a killed process left behind is replaced when the file is written again.
    """
    path = Path(path)
    temporary = path.with_name(f".partial-{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
