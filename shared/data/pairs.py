"""Pairs of images to be registered: drawn from a dataset, or found in a folder or a list."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from monai.data.utils import set_rnd
from monai.transforms import Randomizable
from torch.utils.data import Dataset, get_worker_info

from ..errors import InputError
from .cases import NIFTI, find_images, image_files, split_name
from .datasets import cached_dataset

COLUMNS = ("moving", "fixed", "label", "fixed_label", "points", "fixed_points", "affine", "case")  # of a list of pairs


def draw_pairs(subjects: Sequence[str], count: int, rng: np.random.RandomState) -> list[tuple[int, int]]:
    """`count` pairs of indices, moving and fixed, of different subjects.

    In rings of all images in random order, so that all are moving, and fixed, equally often. There must be two subjects.
    """
    pairs: list[tuple[int, int]] = []
    while len(pairs) < count:
        ring = rng.permutation(len(subjects)).tolist()
        pairs += [(a, b) for a, b in zip(ring, ring[1:] + ring[:1], strict=True) if subjects[a] != subjects[b]]
    return pairs[:count]


class PairDataset(Randomizable, Dataset):
    """Pairs of the images of a dataset.

    Args:
        data: items with "case" and "subject" ("case" where there is none).
        transform: makes of them "image" (1, *size) on the common working grid, "working_grid" (4, 4), and perhaps "label"
            (1, *own) and "label_grid" (4, 4).
        cache: where what the deterministic part of it makes is kept, as `cached_dataset` says.
        cache_dir: for the cache on disk.
        count: pairs; None pairs every image once as moving and once as fixed.
        seed: of the draw.
        redraw: draw anew whenever a random state is set, as at the start of every epoch.
        atlas: None for other images as fixed ones, or the file of one image that all are registered to.
        atlas_preprocessing: from an item with that file to the image on the working grid.
        stack_labels: label maps lie on the working grid, and go into "label"; else they stay on their own grids.

    Returns:
        items with "case" ("A_to_B"), "image" (2, *size): moving and fixed; "label" the same for a loss (of "target"
        where the transform makes one, such as the image without noise), with `stack_labels` and labels (4, *size): also
        moving and fixed label map. Without it "moving_label" and "fixed_label" where there are
        labels, and "moving_grid" and "fixed_grid", which lead from voxels of the working grid to mm in each image.
    """

    def __init__(
        self,
        data: Sequence[dict],
        transform: Callable,
        cache: str = "none",
        cache_dir: str | os.PathLike | None = None,
        count: int | None = None,
        seed: int | None = 0,
        redraw: bool = False,
        atlas: str | os.PathLike | None = None,
        atlas_preprocessing: Callable | None = None,
        stack_labels: bool = False,
    ):
        self.images = cached_dataset(data, transform, cache, cache_dir)
        self.count, self.redraw, self.stack_labels = count or len(data), redraw, stack_labels
        self.atlas, self.atlas_preprocessing = atlas, atlas_preprocessing
        self.subjects = [str(item.get("subject", item["case"])) for item in data]
        self.R = np.random.RandomState(seed)
        self.pairs = self.draw()

    def set_random_state(self, seed: int | None = None, state=None) -> PairDataset:
        """Seed the random transforms of the images and, with `redraw`, draw new pairs."""
        super().set_random_state(seed, state)
        if self.redraw and get_worker_info() is None:  # worker processes share the pairs that the main one has drawn
            self.pairs = self.draw()
        set_rnd(self.images, int(self.R.randint(2**31)))
        return self

    def draw(self) -> list[tuple[int, int]]:
        """New pairs; an index of -1 is the atlas."""
        if self.atlas is None:
            if len(set(self.subjects)) < 2:
                return []
            return draw_pairs(self.subjects, self.count, self.R)
        rounds = -(-self.count // len(self.subjects))
        order = np.concatenate([self.R.permutation(len(self.subjects)) for _ in range(rounds)])
        return [(int(i), -1) for i in order[: self.count]]

    def fixed(self, index: int) -> dict:
        """An item as the fixed image; the atlas is loaded once."""
        if index >= 0:
            return self.images[index]
        if isinstance(self.atlas, str | os.PathLike):
            self.atlas = self.atlas_preprocessing({"image": [str(self.atlas)], "case": "atlas"})
        return self.atlas

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict:
        if not self.pairs:
            raise InputError(f"pairs need heads of two subjects or more, found {', '.join(sorted(set(self.subjects)))}")
        a, b = self.pairs[index]
        moving = self.images[a]
        fixed = self.fixed(b)
        name = fixed["case"] if b >= 0 else "atlas"
        image = torch.cat([plain(moving["image"]), plain(fixed["image"])])
        clear = torch.cat([plain(part.get("target", part["image"])) for part in (moving, fixed)])
        item = {"case": f"{moving['case']}_to_{name}", "image": image, "label": clear}
        labels = [part["label"] for part in (moving, fixed) if "label" in part]
        if self.stack_labels and len(labels) == 2:
            item["label"] = torch.cat([clear, *(plain(label).to(image) for label in labels)])
        elif not self.stack_labels:
            for name, part in {"moving": moving, "fixed": fixed}.items():
                item[f"{name}_grid"] = part["working_grid"]
                if len(labels) == 2:
                    item[f"{name}_label"] = MetaTensor(plain(part["label"]), affine=part["label_grid"])
        return item


def plain(image: torch.Tensor) -> torch.Tensor:
    """The tensor without MONAI's metadata."""
    return image.as_tensor() if isinstance(image, MetaTensor) else image


def grid_of(image: MetaTensor) -> torch.Tensor:
    """Voxels to mm, (4, 4) float64, as a plain tensor."""
    return torch.as_tensor(np.asarray(image.affine.cpu()), dtype=torch.float64)


def image_as_target(batch: dict, device=None, non_blocking: bool = False, **kwargs) -> tuple[torch.Tensor, torch.Tensor]:
    """The image of a batch as input and as target of the loss, for a trainer's `prepare_batch`."""
    image = plain(batch["image"]).to(device=device, non_blocking=non_blocking)
    return image, image


def find_pairs(
    dataset_dir: str | os.PathLike,
    fixed: str | os.PathLike,
    endings: Sequence[str],
    label_endings: Sequence[str],
    pairs: str | os.PathLike | None = None,
    fixed_label: str | os.PathLike | None = None,
    affine: str | os.PathLike | None = None,
) -> list[dict]:
    """What is to be registered: every image below a folder to one fixed image, or the rows of a list.

    Args:
        dataset_dir: folder; its images are those whose names end in one of `endings`, or all NIfTI files where none does. A
            file of the same beginning that ends in one of `label_endings` is a label map, one `<case>_points.csv` beside
            it holds points.
        fixed: the fixed image.
        endings: endings of names without .nii or .nii.gz, as ["t1", "t1w"].
        label_endings: likewise.
        pairs: a CSV with the columns moving and, where wanted, fixed, label, fixed_label, points, fixed_points, affine
            and case; paths are relative to `dataset_dir`.
        fixed_label: label map of the fixed image, for scores.
        affine: transform file, mm of the fixed to mm of the moving image, instead of an estimated one.

    Returns:
        items with "case", "image" (a list with the moving file), "fixed", and where there are any "label", "fixed_label",
        "points", "fixed_points", "affine".

    Raises:
        InputError: the folder, the fixed image or the list is not there, or there is nothing in them.
    """
    for path in (fixed, fixed_label, affine, pairs):
        if path is not None and not Path(path).expanduser().is_file():
            raise InputError(f"no such file {path}")
    common = {"fixed": fixed, "fixed_label": fixed_label, "affine": affine}
    common = {key: str(Path(path).expanduser().resolve()) for key, path in common.items() if path is not None}
    if pairs is not None:
        return [{**common, **row} for row in _read_pairs(Path(pairs).expanduser(), Path(dataset_dir).expanduser())]
    aliases = dict.fromkeys((ending.lower() for ending in label_endings), "label")
    split = {path: split_name(path.name, aliases) for path in image_files(dataset_dir)}
    labels = {found[0]: path for path, found in split.items() if found}
    items = []
    for item in find_images(dataset_dir, endings):
        path = Path(item["image"][0])
        if split.get(path) or str(path.resolve()) == common["fixed"]:
            continue
        extra = {"label": labels.get(item["case"]), "points": path.with_name(f"{item['case']}_points.csv")}
        items.append({**item, **common, **{key: str(file) for key, file in extra.items() if file and file.is_file()}})
    if not items:
        raise InputError(f"no image to register below {dataset_dir}: looked for NIfTI files other than {fixed}")
    return items


def _read_pairs(path: Path, folder: Path) -> list[dict]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    if not rows or "moving" not in rows[0] or set(rows[0]) - set(COLUMNS):
        found = ", ".join(map(str, rows[0])) if rows else "no rows"
        raise InputError(f"{path}: expected rows with the column moving and perhaps {', '.join(COLUMNS[1:])}; found {found}")
    items = []
    for row in rows:
        files = {key: str(folder / row[key]) for key in COLUMNS[:-1] if row.get(key)}
        names = [NIFTI.sub("", Path(files[key]).name) for key in ("moving", "fixed") if key in files]
        items.append({"case": row.get("case") or "_to_".join(names), **files, "image": [files.pop("moving")]})
    twice = sorted({item["case"] for item in items if [i["case"] for i in items].count(item["case"]) > 1})
    if twice:
        raise InputError(f"{path}: more than one pair is called {', '.join(twice)}; name them in a column case")
    return [{key: value for key, value in item.items() if key != "moving"} for item in items]
