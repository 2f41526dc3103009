"""`ship`: put trained weights into a bundle."""

from __future__ import annotations

import json

import torch

from shared.handlers.weights import read_state, sha256
from shared.paths import atomic_write

from . import bundles

LARGEST = 16 * 2**20


def ship(bundle: str, weights: str, half: bool = False, name: str = "model.pt") -> None:
    """Write weights as the bundle's models/<name>, a plain state_dict, and their SHA-256 into its metadata.json.

    Args:
        bundle: its name.
        weights: model.pt or last.pt of a training run.
        half: store floating-point tensors in half precision; they are computed with in full precision all the same.
        name: of the file, where a bundle ships several.

    Raises:
        ValueError: the file would be larger than 16 MiB.
    """
    root = bundles.folder(bundle)
    state = {key: value.half() if half and value.is_floating_point() else value for key, value in read_state(weights).items()}
    path = root / "models" / name
    path.parent.mkdir(exist_ok=True)
    with atomic_write(path) as temporary:
        torch.save(state, temporary)
        if temporary.stat().st_size > LARGEST:
            raise ValueError(
                f"{weights} makes a file of {temporary.stat().st_size / 2**20:.1f} MiB, at most 16 are shipped; try --half"
            )
    metadata = bundles.metadata(bundle)
    metadata["weights"] = {**metadata.get("weights", {}), f"models/{name}": sha256(path)}
    with atomic_write(root / "configs" / "metadata.json") as temporary:
        temporary.write_text(json.dumps(metadata, indent=4) + "\n")
    print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB, {sum(v.numel() for v in state.values()) / 1e6:.2f} million values")
