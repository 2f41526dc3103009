"""Draw slices from volumes, with and without foreground in balance; make what is said of slices agree."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Randomizable
from torch.nn import functional as F


class FilledSlicesd(MapTransform):
    """Note which slices of a label map or of region masks (C, H, W, D) hold foreground: item["<key>_filled"], bool (D,).

    Args:
        keys: the maps.
        values: what is foreground in a label map; None: all above 0.
    """

    def __init__(self, keys: KeysCollection, values: Sequence[int] | None = None):
        super().__init__(keys)
        self.values = None if values is None else torch.tensor(list(values))

    def __call__(self, data):
        item = dict(data)
        for key in self.key_iterator(item):
            label = torch.as_tensor(item[key]).as_subclass(torch.Tensor)
            mask = label > 0 if self.values is None else torch.isin(label, self.values.to(label))
            item[f"{key}_filled"] = mask.flatten(0, 2).any(0)
        return item


class RandSlicesd(Randomizable, MapTransform):
    """Draw slices along the last axis; a share of them is empty, whatever share of the volume's slices that is.

    Args:
        keys: volumes (C, H, W, D) of the same H, W, D.
        filled_key: bool (D,), which slices hold foreground (`FilledSlicesd`).
        num_samples: slices per volume.
        empty_share: of the slices drawn, on average; where a volume has only slices of one kind they are taken.
        thickness: None draws slices (C, H, W). Two numbers draw slabs (C, H, W, k) of as many slices, the drawn one in the
            middle, for transforms that average over them; at the ends slices are repeated.

    Returns:
        a list of `num_samples` items.
    """

    def __init__(
        self,
        keys: KeysCollection,
        filled_key: str,
        num_samples: int = 1,
        empty_share: float = 0.2,
        thickness: Sequence[int] | None = None,
        allow_missing_keys: bool = False,
    ):
        super().__init__(keys, allow_missing_keys)
        if not 0 <= empty_share <= 1:
            raise ValueError(f"empty_share is {empty_share}, expected a share between 0 and 1")
        self.filled_key, self.num_samples, self.empty_share, self.thickness = filled_key, num_samples, empty_share, thickness

    def __call__(self, data):
        item = dict(data)
        filled = torch.as_tensor(item.pop(self.filled_key)).as_subclass(torch.Tensor)
        kinds = [torch.nonzero(mask)[:, 0] for mask in (filled, ~filled)]
        drawn = []
        for _ in range(self.num_samples):
            empty = self.R.random() < self.empty_share
            places = kinds[int(empty)] if len(kinds[int(empty)]) else kinds[int(not empty)]
            middle = int(places[self.R.randint(len(places))])
            part = dict(item)
            if self.thickness is None:
                index: int | torch.Tensor = middle
            else:
                k = self.R.randint(self.thickness[0], self.thickness[1] + 1)
                index = (torch.arange(k) - k // 2 + middle).clamp(0, len(filled) - 1)
            for key in self.key_iterator(item):
                volume = item[key]
                plain = volume.as_tensor() if isinstance(volume, MetaTensor) else torch.as_tensor(volume)
                part[key] = plain[..., index].clone()
            drawn.append(part)
        return drawn


class SmoothSlicesd(MapTransform):
    """Smooth what a network says of slices along the third axis: neighbours agree, and a slip in one slice does not count.

    Args:
        keys: probabilities (C, H, W, D), a slice for each of the image's.
        sigma: standard deviation of the Gaussian in mm; 0 does nothing.
        image_key: the image (1, H, W, D) whose affine gives the distance of slices.
    """

    def __init__(self, keys: KeysCollection, sigma: float, image_key: str = "image"):
        super().__init__(keys)
        self.sigma, self.image_key = sigma, image_key

    def __call__(self, data):
        item = dict(data)
        if not self.sigma:
            return item
        gap = float(item[self.image_key].pixdim[2])
        reach = int(3 * self.sigma / gap)
        weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) * gap / self.sigma) ** 2)
        for key in self.key_iterator(item):
            prob = item[key]
            plain = prob.as_subclass(torch.Tensor)
            padded = F.pad(plain.flatten(0, 1), (reach, reach), mode="replicate").unflatten(0, plain.shape[:2])
            total = sum(w * padded[..., i : i + plain.shape[-1]] for i, w in enumerate((weights / weights.sum()).tolist()))
            item[key] = MetaTensor(total, meta=prob.meta) if isinstance(prob, MetaTensor) else total
        return item
