"""The bundles of this repository and how to run them. No list is kept: a bundle is a folder under bundles/."""

from __future__ import annotations

import contextlib
import json
import logging
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def names() -> list[str]:
    """Names of all bundles."""
    return sorted(p.parent.parent.name for p in (REPOSITORY / "bundles").glob("*/configs/metadata.json"))


def folder(name: str) -> Path:
    """Folder of a bundle, given its name or a path to it (an unzipped one, say).

    Raises:
        ValueError: there is no such bundle.
    """
    for path in (REPOSITORY / "bundles" / name, Path(name).expanduser()):
        if (path / "configs" / "metadata.json").is_file():
            return path.resolve()
    raise ValueError(f"no bundle '{name}': expected one of {', '.join(names())}, or a folder with configs/metadata.json")


def metadata(name: str) -> dict:
    """Content of a bundle's metadata.json."""
    return json.loads((folder(name) / "configs" / "metadata.json").read_text())


def trainings(root: Path) -> list[str]:
    """The configs that train a bundle: "train", or those of a generator's stages, "train_autoencoder" and "train_diffusion"."""
    found = {path.stem for path in root.glob("configs/train*.[jy]*")}
    return ["train"] if "train" in found else sorted(found)


@dataclass(frozen=True)
class Part:
    """A network of a bundle that has weights of its own."""

    definition: str  # key of the inference config
    weights: str  # file below the bundle
    data_format: dict  # of metadata.json: inputs and outputs


GENERATOR = {"autoencoder": "autoencoder_data_format", "diffusion": "generator_data_format"}


def is_generator(root: Path) -> bool:
    """Whether a bundle makes images by an autoencoder and a diffusion model, and has the metadata of such bundles."""
    return set(GENERATOR.values()) <= set(metadata(root))


def parts(root: Path) -> list[Part]:
    """The networks of a bundle: one, of a generator two."""
    formats = metadata(root)
    if not is_generator(root):
        return [Part("network_def", "models/model.pt", formats["network_data_format"])]
    return [Part(f"{name}_def", f"models/{name}.pt", formats[key]) for name, key in GENERATOR.items()]


def run(name: str, *configs: str, **overrides) -> None:
    """Run a bundle's configs ("train", "evaluate", "inference"), merged in order, in a process of its own.

    Raises:
        SystemExit: with the run's exit code, if it is not 0.
    """
    root = folder(name)
    files = [str(next(root.glob(f"configs/{config}.[jy]*"))) for config in configs]
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(files)]
    for key, value in overrides.items():
        command += [f"--{key}", str(value)]
    code = subprocess.run(command, cwd=REPOSITORY, check=False).returncode
    if code:
        raise SystemExit(code)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what MONAI and the exporters log and warn from the console: they speak of their own insides."""
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
