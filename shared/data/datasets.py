"""Datasets: the cache as a named choice, and a dataset that survives damaged cases."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np
import torch
from monai.data import CacheDataset, Dataset, PersistentDataset
from monai.utils import TraceKeys

from ..errors import describe

# what images' metadata consists of, beside tensors: without it a cache on disk could not be read with weights_only=True
DTYPES = {type(np.dtype(code)) for code in np.typecodes["All"] if code != "O"}
torch.serialization.add_safe_globals([TraceKeys, np.ndarray, np.dtype, np.empty(0).__reduce__()[0], *DTYPES])


def cached_dataset(
    data: Sequence, transform: Callable, cache: str = "none", cache_dir: str | os.PathLike | None = None
) -> Dataset:
    """A dataset whose deterministic transforms run every time ("none"), once into "memory", or once onto "disk".

    Images keep their affines and what was applied to them, so that predictions can be brought back, with every choice.
    A folder of "disk" belongs to one set of transforms: what is found there is taken by its item, whatever made it.

    Raises:
        ValueError: another choice, or "disk" without `cache_dir`.
    """
    if cache == "none":
        return Dataset(data, transform)
    if cache == "memory":
        return CacheDataset(data, transform, num_workers=None, progress=True)
    if cache == "disk" and cache_dir is not None:
        return PersistentDataset(data, transform, cache_dir=cache_dir, track_meta=True)
    raise ValueError(f"cache is '{cache}' with cache_dir '{cache_dir}', expected none, memory or disk (with a cache_dir)")


class CaseDataset(Dataset):
    """A dataset in which a case that cannot be loaded becomes `{"case": name, "error": reason}` instead of an exception.

    `shared.engines.CaseEvaluator` reports such cases and goes on with the others. Items are dicts with a "case".
    """

    def _transform(self, index: int):
        try:
            return super()._transform(index)
        except Exception as error:
            return {"case": self.data[index]["case"], "error": describe(error)}
