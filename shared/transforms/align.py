"""Bring heads onto the working grid of an atlas, and two of them together."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform

from ..errors import InputError
from ..registration.affine import AlignmentError, align, check_overlap, matrix_of
from ..registration.itk import load_affine
from ..registration.template import on_grid
from .load import LoadCased, check_image, check_same_grid

AFFINES = ("affine", "rigid")


def read_atlas(path: str | os.PathLike) -> MetaTensor:
    """An atlas (1, H, W, D).

    Raises:
        InputError: it is not there or not readable.
    """
    try:
        atlas = LoadCased(("atlas",)).read(path)
        check_image(atlas, path)
    except ValueError as error:
        raise InputError(f"atlas: {error}") from None
    return atlas


class AlignHeadd(MapTransform):
    """Resample heads to the grid of an atlas, after affine registration to it.

    The result's affine leads from voxels of that grid to mm in the head's own space, so nothing is lost: the working grid is
    a box laid into the head, turned and sized as the atlas. An item's "grid" (4, 4), such an affine, is taken instead of an
    estimate. It is also the item's "working_grid", as a plain tensor. "seconds" of the item grows by the time that the
    estimate took.

    Args:
        keys: images (1, H, W, D) with affine, any orientation and spacing.
        atlas: file of the atlas.
        kind: "affine", or "rigid", which leaves stretch and shear to the deformable part but still adapts the size.

    Raises:
        InputError: there is no such atlas.
        ValueError: no head is found in an image, it lies outside the given grid, or `kind` is another word.
    """

    def __init__(self, keys: KeysCollection, atlas: str | os.PathLike, kind: str = "affine"):
        super().__init__(keys)
        if kind not in AFFINES:
            raise ValueError(f"affine is '{kind}', expected {' or '.join(AFFINES)}")
        self.atlas, self.kind = read_atlas(atlas), kind

    def __call__(self, data):
        item = dict(data)
        for key in self.key_iterator(item):
            image = item[key]
            start = time.perf_counter()
            try:
                item[key] = on_grid(image, self._transform(image, item.get("grid")), self.atlas)
            except AlignmentError as error:
                raise ValueError(f"{image.meta.get('filename_or_obj', key)}: {error}") from None
            item["working_grid"] = torch.from_numpy(matrix_of(item[key]))
            item["seconds"] = item.get("seconds", 0.0) + time.perf_counter() - start
        return item

    def _transform(self, image: MetaTensor, grid) -> np.ndarray:
        """mm of the atlas to mm of the image."""
        if grid is not None:
            transform = np.asarray(grid, dtype=np.float64) @ np.linalg.inv(matrix_of(self.atlas))
            check_overlap(transform, image, self.atlas)
            return transform
        same = image.shape == self.atlas.shape and np.allclose(matrix_of(image), matrix_of(self.atlas))
        if same and torch.equal(image.as_tensor(), self.atlas.as_tensor()):
            return np.eye(4)
        return align(image, self.atlas, affine=self.kind == "affine")


class LoadLabeld(Transform):
    """Load the label map of an item that has one, on the grid of its loaded image, both (1, H, W, D).

    "label_grid" becomes its voxels to mm, (4, 4).

    Raises:
        ValueError: the file cannot be read or lies on another grid; the message names it.
    """

    def __init__(self):
        self.loader = LoadCased(("image",))

    def __call__(self, data):
        item = dict(data)
        if "label" in item:
            path, image = item["label"], item["image"]
            item["label"] = self.loader.read(path)
            check_same_grid(item["label"], path, image, image.meta["filename_or_obj"])
            item["label_grid"] = torch.from_numpy(matrix_of(item["label"]))
        return item


class FixedHeadd(Transform):
    """Load what a moving head is registered to, and whatever comes along with the two.

    Of an item with the loaded "image" and perhaps "label" (1, H, W, D), and files "fixed", perhaps "fixed_label" and "affine",
    it makes "moving" and "fixed" (1, H, W, D) as they are, "fixed_working" on the working grid, "moving_label" and
    "fixed_label" on their images' grids, and with an "affine" the "grid" that `AlignHeadd` takes.

    Args:
        preprocessing: from an item with the file "image" to the image on the working grid.

    Raises:
        ValueError: a file cannot be used; the message names it.
    """

    def __init__(self, preprocessing: Callable):
        self.preprocessing, self.loader = preprocessing, LoadCased(("image",))
        self.last: tuple[str, MetaTensor, MetaTensor, float] | None = None

    def __call__(self, data):
        item = dict(data)
        path, moving = item["fixed"], item["image"]
        if self.last is None or self.last[0] != path:  # one fixed image mostly serves all moving ones
            fixed = self.loader.read(path)
            check_image(fixed, path)
            working = self.preprocessing({"image": [path], "case": "fixed"})
            self.last = (path, fixed, working["image"], working.get("seconds", 0.0))
            item["seconds"] = item.get("seconds", 0.0) + self.last[3]
        item |= {"moving": moving, "fixed": self.last[1], "fixed_working": self.last[2]}
        if "label" in item:
            item["moving_label"] = item.pop("label")
        if "fixed_label" in item:
            file = item["fixed_label"]
            item["fixed_label"] = self.loader.read(file)
            check_same_grid(item["fixed_label"], file, item["fixed"], path)
        if "affine" in item:
            item["grid"] = load_affine(item["affine"]) @ matrix_of(item["fixed_working"])
        return item


class StackPaird(Transform):
    """The network's input from "image" and "fixed_working", each (1, *size): "image" (2, *size), moving and fixed.

    Also "moving_grid" and "fixed_grid" (4, 4), from voxels of the working grid to mm in each image.
    """

    def __call__(self, data):
        item = dict(data)
        moving, fixed = item["image"], item.pop("fixed_working")
        item |= {"moving_grid": torch.from_numpy(matrix_of(moving)), "fixed_grid": torch.from_numpy(matrix_of(fixed))}
        item["image"] = torch.cat([moving.as_tensor(), fixed.as_tensor()])
        item.pop("grid", None)
        return item


class TakeSliced(MapTransform):
    """One axial slice of images on the working grid, (1, H, W, D) to (1, H, W); positions are counted in voxels from there on.

    Args:
        keys: images and label maps on the working grid.
        index: of the slice.

    Raises:
        ValueError: an image has no such slice.
    """

    def __init__(self, keys: KeysCollection, index: int, allow_missing_keys: bool = False):
        super().__init__(keys, allow_missing_keys)
        self.index = index

    def __call__(self, data):
        item = dict(data)
        for key in self.key_iterator(item):
            if not 0 <= self.index < item[key].shape[-1]:
                raise ValueError(f"{item.get('case')}: no slice {self.index} in {key} of shape {tuple(item[key].shape)}")
            item[key] = torch.as_tensor(item[key]).as_subclass(torch.Tensor)[..., self.index].clone()
        return item | {"working_grid": torch.eye(4, dtype=torch.float64), "label_grid": torch.eye(4, dtype=torch.float64)}
