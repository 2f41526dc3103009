"""A bundle's network beside the same architecture of another package, with the same weights: time, and what comes out."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.inferers import SimpleInferer
from monai.transforms import Compose, LoadImage, ResizeWithPadOrCrop, SaveImage, Spacing
from torch import nn
from tqdm import tqdm

from shared.inferers import PrecisionInferer
from shared.losses.registration import LocalNCC
from shared.networks.velocity import warped
from shared.transforms.register import correlation, smoothness_scores

from . import bundles
from .phantom import phantom

Field = Callable[[torch.Tensor], torch.Tensor]  # pair (1, 2, *size) to displacement (1, n, *size) in voxels


def compare_networks(name: str, against: str, runs: int, folder: Path) -> dict[str, dict]:
    """Fit the bundle's network to a synthetic pair, give its weights to the other one, and run both in turn.

    What is run stands in metadata.json under "benchmark_networks": "phantom" (its name and options), "spacing" (mm), "size",
    "steps" (of Adam with the bundle's own loss on that pair at half its resolution; without them both networks would move
    nothing), "network_def", and "other_def", which is called with moving and fixed image apart.

    Returns:
        of each: "seconds" of every run, "folded_percent", "sd_log_jacobian", "correlation" and "ncc" (mean squared local
        correlation) of moved and fixed image; "untouched" has the latter two of the pair as it is.

    Raises:
        ImportError: the other package is not installed.
        ValueError: the architectures differ.
    """
    root, job = bundles.folder(name), bundles.metadata(name)["benchmark_networks"][against]
    image = aligned_pair(root, job, folder)
    torch.manual_seed(0)
    parser = ConfigParser({key: job[key] for key in ("network_def", "other_def")})
    try:
        net, other = (parser.get_parsed_content(key).eval() for key in ("network_def", "other_def"))
    except (ImportError, RuntimeError) as error:
        raise ImportError(f"needs {against}: {job['install']} ({error})") from None
    settings = ConfigParser(ConfigParser.load_config_file(next(root.glob("configs/train.[jy]*"))))
    lower = PrecisionInferer(SimpleInferer(), "bfloat16")
    fields: dict[str, Field] = {
        root.name: lambda pair: lower(pair, net),
        against: lambda pair: other(pair[:, :1], pair[:, 1:]),
    }
    corner = image[..., :32, :32, :32]
    layers = matched(convolutions(net, net, corner), convolutions(fields[against], other, corner))
    fit(net, nn.functional.avg_pool3d(image, 2), settings.get_parsed_content("loss"), job["steps"])
    copy_weights(layers)
    found = {"untouched": similarity(image[:, :1], image[:, 1:])}
    found |= {label: {"seconds": []} for label in fields}
    for _ in tqdm(range(runs + 1), desc="runs", unit="run"):  # the first one warms up
        for label, field in fields.items():
            start = time.perf_counter()
            with torch.inference_mode():
                ddf = field(image)
            found[label]["seconds"].append(time.perf_counter() - start)
            if len(found[label]["seconds"]) == 1:
                scores = smoothness_scores(ddf[0].float(), torch.eye(4))
                found[label] |= {**scores, **similarity(warped(image[:, :1], ddf.float()), image[:, 1:])}
    for label in fields:
        found[label]["seconds"] = found[label]["seconds"][1:]
    return found


def aligned_pair(root: Path, job: dict, folder: Path) -> torch.Tensor:
    """Two synthetic heads on the grid of the atlas, made finer: (1, 2, *size), the network's input at inference."""
    synthetic = {**job["phantom"], "cases": 1}
    phantom[synthetic.pop("name")](str(folder / "data"), **synthetic)
    parser = ConfigParser(ConfigParser.load_config_file(next(root.glob("configs/inference.[jy]*"))))
    finer = Compose([LoadImage(ensure_channel_first=True), Spacing([job["spacing"]] * 3), ResizeWithPadOrCrop(job["size"])])
    atlas = finer(parser.get_parsed_content("atlas"))
    SaveImage(output_dir=folder, output_postfix="fine", separate_folder=False, print_log=False)(atlas)
    (parser["atlas"],) = map(str, folder.glob("*_fine.nii.gz"))
    parser["dataset_dir"], parser["pairs"] = str(folder / "data"), str(folder / "data" / "pairs.csv")
    parser["output_dir"] = str(folder / "out")
    item = parser.get_parsed_content("dataset")[0]
    if "error" in item:
        raise ValueError(item["error"])
    image = item["image"]
    return (image.as_tensor() if isinstance(image, MetaTensor) else image)[None].float()


def fit(net: nn.Module, image: torch.Tensor, loss: Callable, steps: int) -> None:
    """Let a network learn one pair, so that there is a field to look at."""
    optimizer, lower = torch.optim.Adam(net.parameters(), lr=1e-3), PrecisionInferer(SimpleInferer(), "bfloat16")
    for _ in tqdm(range(steps), desc="fit", unit="step"):
        optimizer.zero_grad()
        loss(lower(image, net), image).backward()
        optimizer.step()


def convolutions(field: Field, net: nn.Module, image: torch.Tensor) -> list[nn.Module]:
    """The convolutions of a network in the order in which they run."""
    order: list[nn.Module] = []
    layers = [module for module in net.modules() if isinstance(module, nn.Conv2d | nn.Conv3d)]
    hooks = [layer.register_forward_hook(lambda layer, *_: order.append(layer)) for layer in layers]
    with torch.inference_mode():
        field(image)
    for hook in hooks:
        hook.remove()
    return order


def matched(ours: list[nn.Module], theirs: list[nn.Module]) -> list[tuple[nn.Module, nn.Module, tuple]]:
    """Pairs of convolutions of two networks of the same architecture, with the part of the first one's kernel that counts.

    Where the other network's kernel is smaller, the first one's is 0 around its middle, and stays so when it learns.

    Raises:
        ValueError: the convolutions do not agree.
    """
    channels = [[tuple(layer.weight.shape[:2]) for layer in layers] for layers in (ours, theirs)]
    if channels[0] != channels[1]:
        raise ValueError(f"the architectures differ: convolutions {channels[0]}, in the other network {channels[1]}")
    pairs = []
    for one, other in zip(ours, theirs, strict=True):
        sizes = zip(one.kernel_size, other.kernel_size, strict=True)
        middle = (..., *(slice((a - b) // 2, (a + b) // 2) for a, b in sizes))
        mask = torch.zeros_like(one.weight)
        mask[middle] = 1
        with torch.no_grad():
            one.weight *= mask
        one.weight.register_hook(mask.mul)
        pairs.append((one, other, middle))
    return pairs


@torch.no_grad()
def copy_weights(pairs: list[tuple[nn.Module, nn.Module, tuple]]) -> None:
    """Give the second convolution of each pair the weights of the first one.

    Where a layer takes more channels than the one before it gave, the others come from a skip connection, which MONAI's
    network puts in front of them and the other one behind.
    """
    given = 0
    for one, other, middle in pairs:
        skipped = one.in_channels - given if 0 < given < one.in_channels else 0
        other.weight.copy_(one.weight[middle].roll(-skipped, 1))
        other.bias.copy_(one.bias)
        given = one.out_channels


def similarity(moved: torch.Tensor, fixed: torch.Tensor) -> dict[str, float]:
    """Of images (1, 1, *size)."""
    return {"correlation": correlation(moved, fixed), "ncc": float(LocalNCC().squared(moved, fixed).mean())}


def network_rows(found: dict[str, dict]) -> list[list[str]]:
    """Rows of a table."""
    rows = [["", "s (all runs)", "folded %", "sd log Jacobian", "correlation", "local correlation squared"]]
    for label, m in found.items():
        times = [f"{second:.1f}" for second in m.get("seconds", [])]
        first = f"{median(m['seconds']):.1f} ({', '.join(times)})" if times else ""
        smooth = [f"{m[key]:.4f}" if key in m else "" for key in ("folded_percent", "sd_log_jacobian")]
        rows.append([label, first, *smooth, f"{m['correlation']:.4f}", f"{m['ncc']:.4f}"])
    return rows
