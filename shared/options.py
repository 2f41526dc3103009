"""Refuse misspelt options of the command line."""

from __future__ import annotations

import ast
import difflib
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path

import monai.bundle
from monai.bundle import ConfigParser
from monai.bundle.utils import DEFAULT_EXP_MGMT_SETTINGS

from .errors import InputError

RUNNER = Path(monai.bundle.__file__).parent / "__main__.py"


def refuse_unknown(argv: Sequence[str] | None = None) -> None:
    """Check every `--name` of a `python -m monai.bundle run` command against the keys of its config files.

    MONAI adds unknown names to the config, where nothing reads them, so a misspelt option would go unnoticed. An id such as
    `train::dataloader::drop_last` may add an argument to a component; `--tracking` brings keys of its own (tracking_uri,
    experiment_name, run_name). Does nothing in any other program.

    Raises:
        InputError: a name is no key; the message gives the nearest one.
    """
    argv = list(sys.argv if argv is None else argv)
    if Path(argv[0]).resolve() != RUNNER.resolve():
        return
    given = _options(argv[1:])
    if "config_file" not in given:
        return
    content = ConfigParser.load_config_files(_files(given["config_file"]))
    tracking = given.get("tracking")
    if tracking:
        settings = DEFAULT_EXP_MGMT_SETTINGS.get(tracking) or ConfigParser.load_config_files(_files(tracking))
        content = {**settings["configs"], **content}
    own = set(inspect.signature(monai.bundle.run).parameters) - {"override"}
    for name in given:
        key = name.replace("#", "::").removeprefix("+")
        if name not in own and not _fits(content, key.split("::")):
            near = difflib.get_close_matches(key, [*_keys(content), *own], n=1)
            raise InputError(f"unknown option --{name}" + (f"; the nearest is --{near[0]}" if near else ""))


def _options(words: Sequence[str]) -> dict[str, str]:
    """`--a 1 --b=2 --c` as names with their values."""
    found = {}
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word.startswith("--") and len(word) > 2:
            name, _, value = word[2:].partition("=")
            found[name] = value or following
    return found


def _files(value: str) -> list[str]:
    """The value of --config_file: a path, or a list of paths in Python's notation."""
    if not value.lstrip().startswith(("[", "(")):
        return value.split(",")
    return list(ast.literal_eval(value))


def _fits(content, path: Sequence[str]) -> bool:
    """Whether `path` leads to a key, or to a new argument of a component."""
    for i, part in enumerate(path):
        if isinstance(content, list) and part.isdigit() and int(part) < len(content):
            content = content[int(part)]
        elif isinstance(content, dict) and part in content:
            content = content[part]
        else:
            return i == len(path) - 1 and isinstance(content, dict) and "_target_" in content
    return True


def _keys(content, prefix: str = "") -> list[str]:
    """All ids of a config but those inside lists."""
    if not isinstance(content, dict):
        return []
    return [id_ for key, value in content.items() for id_ in (prefix + key, *_keys(value, f"{prefix}{key}::"))]
