"""`verify`: the official model zoo's checks of a bundle, and this collection's."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from shared.errors import describe

from . import bundles
from .checks import checks_of, strings

# code that a reader of a config need not look up: MONAI's own, by its short name too, PyTorch's, ignite's, this package's
KNOWN_CODE = re.compile(r"(monai|torch|ignite|(\w+_)?shared)\..*|\w+")


def verify(name: str) -> None:
    """Run every check on a bundle and print a line for each.

    Args:
        name: the bundle, or the folder of one, such as an unzipped one.

    Prints at the end what the configs can run: every `$` expression, and every component of other packages.

    Raises:
        SystemExit: a check failed.
    """
    root = bundles.folder(name)
    failed, checks = 0, checks_of(root)
    with surroundings(root):
        for check in checks:
            title = (check.__doc__ or "").strip().splitlines()[0].rstrip(".")
            try:
                check(root)
                print(f"ok    {title}")
            except (Exception, SystemExit) as error:  # shared.errors.InputError is a SystemExit
                failed += 1
                print(f"FAIL  {title}: {describe(error)}")
    print("\nwhat the configs can run beside MONAI, PyTorch, ignite and the shared package:")
    for file, text in sorted(set(foreign(root))):
        print(f"  {file}: {text}")
    if failed:
        raise SystemExit(f"{root.name}: {failed} of {len(checks)} checks failed")


@contextlib.contextmanager
def surroundings(root: Path) -> Iterator[None]:
    """Make the package in a packed bundle importable, as MONAI does, and leave the console to the checks' own lines."""
    sys.path.insert(1, str(root))
    try:
        with bundles.quiet():
            yield
    finally:
        sys.path.remove(str(root))


def foreign(root: Path) -> Iterator[tuple[str, str]]:
    """Every `$` expression in the configs, and every `_target_` outside the known packages, each with its file."""
    for file, key, text in strings(root):
        if text.startswith("$") or (key == "_target_" and not KNOWN_CODE.fullmatch(text)):
            yield file, text
