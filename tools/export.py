"""`export`: write a bundle's network with its weights as TorchScript, ONNX or torch.export's format."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import torch
from monai.bundle import ConfigParser
from monai.bundle.scripts import _get_fake_spatial_shape as fake_shape

from shared.errors import describe
from shared.handlers.weights import read_state, sha256
from shared.networks import OnnxNetwork
from shared.paths import atomic_write

from . import bundles
from .pack import torchscript

TOLERANCE = 1e-3  # of values up to 1; of larger ones, such as ages, their thousandth
WEIGHTS = "models/model.pt"
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def export(name: str, format: str, output: str | None = None) -> None:
    """Export a bundle's network with the shipped weights, and compare what the file computes with what PyTorch computes.

    Batch and spatial sizes stay free, as far as metadata.json leaves them free.

    Args:
        name: the bundle, or the folder of one.
        format: ts (TorchScript, with metadata and inference config inside), onnx (needs the extra `onnx`), or pt2
            (torch.export).
        output: the file; by default models/model.<format> of the bundle.

    Raises:
        ImportError: a package that ONNX needs is missing.
        ValueError: an unknown format, a generator or another network that cannot be exported, or a result off by TOLERANCE; no
            file is left.
    """
    if format not in LOADERS:
        raise ValueError(f"format is '{format}', expected one of {', '.join(LOADERS)}")
    missing = [package for package in ONNX_PACKAGES if format == "onnx" and importlib.util.find_spec(package) is None]
    if missing:
        raise ImportError(f"export to ONNX needs {', '.join(missing)}: pip install -e .[onnx]")
    root = bundles.folder(name)
    if bundles.is_generator(root):
        raise ValueError(f"{root.name} is a loop around two networks, which none of these formats can say")
    path = Path(output).expanduser() if output else root / "models" / f"model.{format}"
    path.parent.mkdir(parents=True, exist_ok=True)
    network, inputs = load_network(root), bundles.metadata(name)["network_data_format"]["inputs"]
    image = inputs["image"]
    channels, pattern = image["num_channels"], image["spatial_shape"]
    vectors = {key: value["num_channels"] for key, value in inputs.items() if not value["spatial_shape"]}
    with atomic_write(path) as temporary:
        with bundles.quiet():
            if format == "ts":
                temporary.write_bytes(torchscript(root, path.name))
            elif format == "onnx":
                write_onnx(graph(network, channels, pattern, vectors), temporary, root / WEIGHTS, vectors)
            else:
                torch.export.save(graph(network, channels, pattern, vectors), temporary)
            exported = LOADERS[format](temporary)
        compare(network, exported, channels, pattern, vectors)
    print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")


def load_network(root: Path) -> torch.nn.Module:
    """The network of the inference config with the shipped weights, on the CPU."""
    sys.path.insert(1, str(root))  # the code of an unzipped bundle, as monai.bundle does
    parser = ConfigParser()
    parser.read_config(str(next(root.glob("configs/inference.[jy]*"))))
    parser["bundle_root"] = str(root)
    network = parser.get_parsed_content("network_def").cpu().eval()
    network.load_state_dict(read_state(root / WEIGHTS))
    return network


def shape(pattern: Sequence[int | str], multiples: Sequence[int]) -> tuple[int, ...]:
    """The spatial shape that metadata.json means by `["16*n", "*", 64]` with a multiple per axis; "*" counts in 32 voxels."""
    return tuple(fake_shape([side], n=n, any=32 * n)[0] for side, n in zip(pattern, multiples, strict=True))


def graph(
    network: torch.nn.Module, channels: int, pattern: Sequence[int | str], vectors: Mapping[str, int] | None = None
) -> torch.export.ExportedProgram:
    """The network as a graph of operators whose batch and spatial sizes are free where `pattern` is no number.

    Args:
        network: takes an image and `vectors`.
        channels: of the image.
        pattern: spatial shape of the image, as in metadata.json.
        vectors: names and lengths of what the network gets beside the image, (B, length) each.

    Raises:
        ValueError: the network cannot be exported like that.
    """
    # sides that differ, and none of them 1, so that nothing is taken for equal or constant by accident
    image = torch.rand(2, channels, *shape(pattern, range(2, 2 + len(pattern))))
    free = {0: torch.export.Dim.DYNAMIC}
    free |= {axis: torch.export.Dim.DYNAMIC for axis, side in enumerate(pattern, 2) if isinstance(side, str)}
    try:
        more = tuple(torch.rand(2, length) for length in (vectors or {}).values())
        shapes = (free, *({0: torch.export.Dim.DYNAMIC} for _ in more))
        program = torch.export.export(network, (image, *more), dynamic_shapes=shapes)
    except Exception as error:  # of many types
        raise ValueError(f"network_def cannot be exported: {describe(error)[:1000]}") from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine
    return program


def write_onnx(program: torch.export.ExportedProgram, path: Path, weights: Path, vectors: Iterable[str] = ()) -> None:
    """Write a graph as an ONNX file with the inputs "image" and `vectors`, the output "pred" and the weights' SHA-256.

    Raises:
        ValueError: ONNX lacks an operator.
    """
    try:
        names = {"input_names": ["image", *vectors], "output_names": ["pred"]}
        onnx = torch.onnx.export(program, dynamo=True, verbose=False, **names)
    except Exception as error:
        raise ValueError(f"network_def cannot be said in ONNX: {describe(error)[:1000]}") from error
    onnx.model.metadata_props["weights"] = sha256(weights)
    onnx.save(path, external_data=False)


LOADERS: dict[str, Callable[[Path], Callable]] = {
    "ts": lambda path: torch.jit.load(path, map_location="cpu"),
    "onnx": OnnxNetwork,
    "pt2": lambda path: torch.export.load(path).module(),
}


def compare(
    network: torch.nn.Module,
    exported: Callable,
    channels: int,
    pattern: Sequence[int | str],
    vectors: Mapping[str, int] | None = None,
) -> None:
    """Run both on random images (and vectors, as `graph` says) and print how they differ.

    The images are the smallest that `pattern` allows, and two of random sizes.

    Raises:
        ValueError: the exported network refuses a size, or a value differs by more than TOLERANCE.
    """
    random = torch.Generator().manual_seed(0)
    most = max(2, 64 // max(shape(pattern, [1] * len(pattern))))
    sizes = [(2, [1] * len(pattern))]
    sizes += [(1, torch.randint(2, most + 1, (len(pattern),), generator=random).tolist()) for _ in range(2)]
    for batch, multiples in sizes:
        image = torch.rand(batch, channels, *shape(pattern, multiples), generator=random)
        more = [torch.rand(batch, length, generator=random) for length in (vectors or {}).values()]
        said = " x ".join(map(str, image.shape))
        with torch.no_grad():
            expected = network(image, *more)
            try:
                difference = exported(image, *more) - expected
                error = float((difference / expected.abs().clamp_min(1)).abs().max())
            except Exception as reason:
                raise ValueError(f"the exported network fails on an image of {said}: {describe(reason)[:1000]}") from reason
        print(f"image {said}: largest error {error:.1e}")
        if not error <= TOLERANCE:  # not a number is no success
            raise ValueError(f"the exported network differs by up to {error:.1e}, expected at most {TOLERANCE:g}")
