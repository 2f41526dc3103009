"""Regions made of label values, nested (whole tumour, tumour core, enhancing tumour) or side by side."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import convert_to_dst_type
from scipy import ndimage


def pick_convention(item: Mapping, conventions: Mapping[str, Mapping[str, Sequence[int]]]) -> str:
    """Name of the labelling convention that an item's label map follows: its "convention", else the first.

    Raises:
        ValueError: the item names another.
    """
    name = item.get("convention") or next(iter(conventions))
    if name not in conventions:
        raise ValueError(f"labelling convention '{name}' is none of {', '.join(conventions)}")
    return name


def refuse_unknown(labels: torch.Tensor, key: str, found: Sequence[float], known: Collection[float], name: str) -> None:
    """Refuse label values that a convention does not know.

    Raises:
        ValueError: there are such values; the message names the file.
    """
    unknown = sorted(set(found) - set(known))
    if unknown:
        path = labels.meta.get("filename_or_obj", key) if isinstance(labels, MetaTensor) else key
        raise ValueError(
            f"{path}: label values {[f'{v:g}' for v in unknown]} are not of the convention '{name}', expected {sorted(known)}"
        )


class LabelsToRegionsd(MapTransform):
    """Turn a label map (1, H, W, D) into one binary channel per region (R, H, W, D), float32.

    Args:
        keys: the label maps.
        conventions: for every labelling convention the label values of each region,
            `{"brats2020": {"TC": [1, 4], "WT": [1, 2, 4], "ET": [4]}, ...}`; an item's "convention" picks one,
            the first is the default. The order of the regions is that of the channels.

    Raises:
        ValueError: the map holds a value that its convention does not know; the message names the file.
    """

    def __init__(self, keys: KeysCollection, conventions: Mapping[str, Mapping[str, Sequence[int]]]):
        super().__init__(keys)
        self.conventions = {name: dict(regions) for name, regions in conventions.items()}

    def __call__(self, data):
        item = dict(data)
        name = pick_convention(item, self.conventions)
        regions = self.conventions[name]
        known = {0}.union(*regions.values())
        for key in self.key_iterator(item):
            labels = item[key]
            refuse_unknown(labels, key, torch.unique(labels).tolist(), known, name)
            channels = [torch.isin(labels[0], labels.new_tensor(values)) for values in regions.values()]
            item[key] = convert_to_dst_type(torch.stack(channels), labels, dtype=torch.float32)[0]
        return item


class LabelsToClassesd(MapTransform):
    """Number the classes of a label map (1, H, W, D) from 1 on, in a fixed order, whatever its labelling convention. uint8.

    Args:
        keys: the label maps.
        classes: names in the order of their numbers.
        conventions: for every labelling convention the label values by name, `{"mrbrains": {"CSF": [5, 6], ...}, ...}`; an
            item's "convention" picks one, the first is the default. What is named otherwise than a class becomes 0.

    Raises:
        ValueError: the map holds a value that its convention does not know; the message names the file. There is no such
            convention, or it lacks a class.
    """

    def __init__(self, keys: KeysCollection, classes: Sequence[str], conventions: Mapping[str, Mapping[str, Sequence[int]]]):
        super().__init__(keys)
        self.classes, self.conventions = list(classes), dict(conventions)

    def __call__(self, data):
        item = dict(data)
        name = pick_convention(item, self.conventions)
        values = self.conventions[name]
        lacking = [label for label in self.classes if label not in values]
        if lacking:
            raise ValueError(f"labelling convention '{name}' does not tell {', '.join(lacking)}")
        known = {0: 0} | {v: self.classes.index(c) + 1 if c in self.classes else 0 for c in values for v in values[c]}
        for key in self.key_iterator(item):
            labels = item[key]
            plain = labels.as_tensor() if isinstance(labels, MetaTensor) else labels
            found, place = torch.unique(plain, return_inverse=True)
            refuse_unknown(labels, key, found.tolist(), known, name)
            numbers = torch.tensor([known[value] for value in found.tolist()], dtype=torch.uint8)[place]
            item[key] = convert_to_dst_type(numbers, labels, dtype=torch.uint8)[0]
        return item


class GroupLabelsd(MapTransform):
    """Number the regions of a label map (1, H, W, D) from 1 on; every value that belongs to none becomes 0. uint8.

    Args:
        keys: the label maps.
        regions: label values of each region, none in two regions: `[[4], [51, 52], ...]`; at most 255 regions.
        allow_missing_keys: whether an item may lack a label map.

    Raises:
        ValueError: a value is in two regions, or none of the values occurs in the map; the message names the file.
    """

    def __init__(self, keys: KeysCollection, regions: Sequence[Sequence[int]], allow_missing_keys: bool = False):
        super().__init__(keys, allow_missing_keys)
        values = [value for region in regions for value in region]
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise ValueError(f"label values {twice} belong to more than one region")
        self.table = torch.zeros(max(values) + 2, dtype=torch.uint8)  # the last entry is for all that is larger
        for number, region in enumerate(regions, 1):
            self.table[list(region)] = number

    def __call__(self, data):
        item = dict(data)
        for key in self.key_iterator(item):
            labels = item[key]
            numbers = self.table[labels.as_tensor().long().clamp(0, len(self.table) - 1)]
            if not numbers.any():
                raise ValueError(f"{labels.meta.get('filename_or_obj', key)}: no voxel has a label value of any region")
            item[key] = convert_to_dst_type(numbers, labels, dtype=torch.uint8)[0]
        return item


class DropSmallPiecesd(MapTransform):
    """Empty the pieces of binary regions (R, H, W, D) that are smaller than `min_volume` mL.

    A piece is what hangs together, over faces, edges or corners, where any region is: a small core inside a large whole
    tumour stays. (MONAI's RemoveSmallObjects joins regions across channels and counts a voxel once for each.)

    Args:
        keys: the region masks, with affine.
        min_volume: in mL; 0 keeps everything.
    """

    def __init__(self, keys: KeysCollection, min_volume: float):
        super().__init__(keys)
        self.min_volume = float(min_volume)

    def __call__(self, data):
        item = dict(data)
        for key in self.key_iterator(item):
            masks = item[key]
            voxel = float(np.abs(np.linalg.det(np.asarray(masks.affine)[:3, :3]))) / 1000
            if self.min_volume <= voxel:
                continue
            pieces, _ = ndimage.label((masks.as_tensor() > 0).any(0).numpy(force=True), np.ones((3, 3, 3)))
            small = np.bincount(pieces.ravel()) * voxel < self.min_volume
            small[0] = False
            item[key] = masks * torch.from_numpy(~small[pieces]).to(masks.device)
        return item


class RegionsToLabelsd(MapTransform):
    """Turn binary region channels (R, H, W, D) into a label map (1, H, W, D), uint8.

    Args:
        keys: the region masks.
        regions: names of the channels in order.
        paint: label value of each region in the order they are painted, outermost first: `{"WT": 2, "TC": 1, "ET": 4}`.
        nested: a voxel takes a value only inside all regions painted before; else regions lie side by side.
    """

    def __init__(self, keys: KeysCollection, regions: Sequence[str], paint: Mapping[str, int], nested: bool = True):
        super().__init__(keys)
        self.nested = nested
        self.channels = [(list(regions).index(name), value) for name, value in paint.items()]

    def __call__(self, data):
        item = dict(data)
        for key in self.key_iterator(item):
            masks = item[key] > 0
            inside = torch.ones_like(masks[0])
            labels = torch.zeros_like(masks[0], dtype=torch.uint8)
            for channel, value in self.channels:
                inside = inside & masks[channel] if self.nested else masks[channel]
                labels[inside] = value
            item[key] = convert_to_dst_type(labels[None], item[key], dtype=torch.uint8)[0]
        return item


class DecideRegionsd(MapTransform):
    """Turn probabilities of regions side by side (R, H, W, D) into binary masks, float32, no voxel in two of them.

    A voxel belongs to the region of the largest probability if that is above 0.5.

    Args:
        keys: the probabilities.
        largest_component: keep only the largest connected piece of each region (neighbours share a face).
    """

    def __init__(self, keys: KeysCollection, largest_component: bool = False):
        super().__init__(keys)
        self.largest_component = largest_component

    def __call__(self, data):
        item = dict(data)
        for key in self.key_iterator(item):
            prob = item[key].as_subclass(torch.Tensor)
            best = prob.amax(0)
            masks = torch.stack([(channel == best) & (channel > 0.5) for channel in prob]).numpy(force=True)
            if self.largest_component:
                for mask in masks:
                    keep_largest(mask)
            item[key] = convert_to_dst_type(torch.from_numpy(masks), item[key], dtype=torch.float32)[0]
        return item


def keep_largest(mask: np.ndarray) -> None:
    """Remove from a boolean mask, in place, all but its largest piece."""
    if not mask.any():
        return
    box = ndimage.find_objects(mask.astype(np.uint8))[0]  # labelling a whole volume would take much longer
    pieces, count = ndimage.label(mask[box])
    if count > 1:
        mask[box] &= pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
