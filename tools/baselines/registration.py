"""SyN and affine registration of ANTs, on the pairs that `evaluate` scores the registration bundle on."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from tqdm import tqdm

from shared.data.pairs import PairDataset, grid_of
from shared.registration.fields import warp
from shared.registration.itk import load_field
from shared.transforms.load import LoadCased
from shared.transforms.register import dice_scores, mean_of, smoothness_scores

from .. import bundles
from ..scores import score_table, summarise

BUNDLE = "brain_registration"  # whose test pairs and structures are taken
METHODS = {"affine": "Affine", "syn": "SyN"}  # by antspyx' names; SyN begins with an affine stage of its own
MISSING = (
    "needs antspyx, which asks for an older SciPy than it needs: "
    "pip install -e '.[ants]' and then pip install --no-deps antspyx==0.6.3"
)


def score(directory: str, datalist: str | None) -> None:
    """Print Dice (nearest neighbour, on the fixed head's own grid), folded voxels of SyN's field, and seconds a pair.

    "identity" is the pair as its files lie. Seconds are those of the registrations, each from the start and without reading
    files; ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS sets their threads.

    Raises:
        ImportError: antspyx is not installed.
        ValueError: a head has no label map.
    """
    ants()  # says at once what is missing
    pairs, regions = scored_pairs(directory, datalist)
    without = [moving["case"] for moving, _ in pairs if "label" not in moving]
    if without:
        raise ValueError(f"no label map of {', '.join(without)}: there is no Dice without")
    rows = []
    for moving, fixed in tqdm(pairs, desc="ANTs", unit="pair"):
        rows.append({key: str(value) for key, value in register(moving, fixed, regions).items()})
    data = f"antspyx {ants().__version__}, {len(rows)} pairs of {directory}"
    print(score_table({"data": data, "scores": summarise(rows)}))


def ants():
    """The package antspyx, which is called ants.

    Raises:
        ImportError: it is not installed; the message says how to.
    """
    try:
        import ants
    except ImportError as error:
        raise ImportError(f"{MISSING} ({error})") from None
    return ants


def scored_pairs(directory: str, datalist: str | None) -> tuple[list[tuple[dict, dict]], dict]:
    """The pairs, moving and fixed item, that `evaluate` scores the bundle on, and the label values of its structures."""
    configs = bundles.folder(BUNDLE) / "configs"
    parser = ConfigParser(ConfigParser.load_config_files([configs / "train.yaml", configs / "evaluate.yaml"]))
    parser["dataset_dir"] = str(Path(directory).expanduser())
    if datalist:
        parser["datalist"] = datalist
    items = parser.get_parsed_content("validate::dataset::data")
    chosen = PairDataset(items, None, count=parser.get_parsed_content("validate::pairs")).pairs
    return [(items[a], items[b]) for a, b in chosen], parser.get_parsed_content("regions")


def register(moving: dict, fixed: dict, regions: dict) -> dict[str, float]:
    """Scores of a pair: mean Dice over structures after each method, percent of folded voxels, seconds."""
    package, loader = ants(), LoadCased(("image",))
    files = [item["image"] if isinstance(item["image"], str) else item["image"][0] for item in (moving, fixed)]
    images = [package.image_read(file) for file in files]
    label, truth = (package.image_read(item["label"]) for item in (moving, fixed))
    start, end = (loader.read(item["label"]) for item in (moving, fixed))
    still = warp(start.as_tensor(), grid_of(start), torch.zeros(3, *end.shape[1:]), grid_of(end), "nearest")
    row = {"dice_identity": overlap(still[0].numpy(), end, regions)}
    for name, kind in METHODS.items():
        begin = time.perf_counter()
        found = package.registration(images[1], images[0], type_of_transform=kind, random_seed=1)
        seconds, steps = time.perf_counter() - begin, found["fwdtransforms"]
        moved = package.apply_transforms(truth, label, steps, interpolator="nearestNeighbor").numpy()
        row |= {f"dice_{name}": overlap(moved, end, regions), f"seconds_{name}": seconds}
        for field in (step for step in steps if step.endswith(".nii.gz")):
            vectors, grid = load_field(field)
            scores = smoothness_scores(torch.from_numpy(np.ascontiguousarray(vectors)), grid)
            row |= {f"{key}_{name}": value for key, value in scores.items()}
        for file in {*steps, *found["invtransforms"]}:
            Path(file).unlink()
    return row


def overlap(moved: np.ndarray, truth: MetaTensor, regions: dict) -> float:
    """Mean Dice over the structures of a label map (H, W, D) and the true one (1, H, W, D) of the same grid."""
    return mean_of(dice_scores(torch.from_numpy(moved), truth.as_tensor()[0], regions).values())
