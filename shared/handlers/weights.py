"""Load weights: those a bundle ships, checked against its metadata, or others to fine-tune from."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from ignite.engine import Engine, Events

from ..errors import InputError

OLD_KEY = re.compile(r"(upsampler|decoder\.blocks\.\d+)\.conv\.conv\.|proj_attn\.|to_out\.0\.")


def sha256(path: str | os.PathLike) -> str:
    """SHA-256 of a file in hexadecimal digits."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def read_state(path: str | os.PathLike) -> dict[str, torch.Tensor]:
    """A state_dict from a file, on the CPU; of a training state (`last.pt`) the network's.

    Raises:
        InputError: there is no such file, it is no checkpoint, it holds objects (which could run code when they are loaded),
            or it holds no state_dict.
    """
    if not Path(path).is_file():
        raise InputError(f"no weights {path}: expected a PyTorch state_dict")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what a file that is no checkpoint makes the unpickler raise is not documented
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path} is refused: expected a state_dict, which holds tensors and no code ({reason})") from None
    state = state.get("network", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise InputError(f"{path} holds no state_dict: expected names with tensors")
    return state


def converted(network: torch.nn.Module, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state_dict of the `generative` package (0.2) as MONAI's network of the same kind has it; any other one unchanged.

    A network that has its denoiser inside, as `unet`, takes the weights of the denoiser alone: the rest of it stays.
    """
    prefix, core = ("unet.", network.unet) if hasattr(network, "unet") else ("", network)
    own = core.state_dict()
    if not hasattr(core, "load_old_state_dict") or not any(OLD_KEY.search(name) for name in state):
        if prefix and state.keys() == own.keys():
            return network.state_dict() | {prefix + name: value for name, value in state.items()}
        return state
    before = {name: value.clone() for name, value in own.items()}
    try:
        with contextlib.redirect_stdout(None):
            core.load_old_state_dict(dict(state))
        return network.state_dict() | {prefix + name: value.clone() for name, value in core.state_dict().items()}
    except (KeyError, RuntimeError):  # weights of another network after all: the caller says so
        core.load_state_dict(before)
        return state


class WeightsLoader:
    """Load a state_dict into the network when a run starts.

    If the file is one that the bundle ships, its SHA-256 must be the one in metadata.json. Weights of the `generative` package
    (0.2), whose layers had other names, are converted for networks that know how (`load_old_state_dict`).

    Args:
        path: the file.
        network: what it is loaded into; every layer must fit.
        bundle_root: folder of the bundle, whose configs/metadata.json may list `"weights": {"models/model.pt": sha256}`.

    Raises:
        InputError: see `read_state`; or the checksum differs, or the layers do not fit.
    """

    def __init__(self, path: str | os.PathLike, network: torch.nn.Module, bundle_root: str | os.PathLike):
        self.path, self.network, self.root = Path(path), network, Path(bundle_root)
        self.logger = logging.getLogger(type(self).__name__)

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        state = read_state(self.path)
        expected = self._shipped().get(self.path.resolve())
        if expected is not None and sha256(self.path) != expected:
            raise InputError(f"{self.path}: SHA-256 {sha256(self.path)} differs from {expected} in metadata.json")
        network = getattr(self.network, "module", self.network)
        try:
            network.load_state_dict(converted(network, state))
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:400]
            raise InputError(f"{self.path} does not fit the network: {reason}") from None
        self.logger.info(f"weights of {self.path}")

    def _shipped(self) -> dict[Path, str]:
        metadata = json.loads((self.root / "configs" / "metadata.json").read_text())
        return {(self.root / name).resolve(): digest for name, digest in metadata.get("weights", {}).items()}


def load_fitting(
    network: torch.nn.Module, state: Mapping[str, torch.Tensor], rename: Mapping[str, str] | None = None
) -> dict[str, list[str]]:
    """Load what fits of a state_dict whose network had other channels or classes, other names, or one dimension less.

    A tensor of the same shape is reused. One that differs only in its first two dimensions (output and input channels) is
    adapted: the channels both have are copied, in order, and the rest keeps its initial values. A kernel of slices is
    inflated to one of volumes (Carreira and Zisserman 2017): repeated along a new last axis and divided by its length, so
    that a volume whose slices are all the same gives what the slice gave. Anything else stays new.

    Args:
        network: whose weights are replaced.
        state: the other network's.
        rename: beginnings of names in `state`, and what stands there in the network's: `{"encoder.": "network."}`.

    Returns:
        names of the tensors under "reused", "adapted", "inflated" and "new".
    """
    for before, after in (rename or {}).items():
        state = {after + name.removeprefix(before) if name.startswith(before) else name: t for name, t in state.items()}
    report: dict[str, list[str]] = {"reused": [], "adapted": [], "inflated": [], "new": []}
    own = network.state_dict()
    for name, value in own.items():
        old = state.get(name)
        kind = "adapted"
        if old is not None and 4 <= old.ndim == value.ndim - 1:
            kind, old = "inflated", old.unsqueeze(-1).expand(*old.shape, value.shape[-1]) / value.shape[-1]
        if old is not None and old.shape == value.shape:
            own[name] = old
            report[kind if kind == "inflated" else "reused"].append(name)
        elif old is not None and old.ndim == value.ndim and old.shape[2:] == value.shape[2:]:
            common = tuple(slice(0, min(a, b)) for a, b in zip(old.shape, value.shape, strict=True))
            own[name] = value.clone()
            own[name][common] = old[common].to(value)
            report[kind].append(name)
        else:
            report["new"].append(name)
    network.load_state_dict(own)
    return report


class FineTune:
    """Start training from other weights: load what fits (`load_fitting`) and log which tensors were reused, adapted and so on.

    Raises:
        InputError: see `read_state`; or nothing fits.
    """

    def __init__(self, path: str | os.PathLike, network: torch.nn.Module, rename: Mapping[str, str] | None = None):
        self.path, self.network, self.rename = path, network, rename
        self.logger = logging.getLogger(type(self).__name__)

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        report = load_fitting(getattr(self.network, "module", self.network), read_state(self.path), self.rename)
        if len(report["new"]) == sum(map(len, report.values())):
            raise InputError(f"{self.path}: no layer fits this network")
        for kind, names in report.items():
            self.logger.info(f"{kind}: {len(names)} tensors" + (f": {', '.join(names)}" if names and kind != "reused" else ""))
