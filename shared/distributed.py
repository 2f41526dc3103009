"""Several processes (shared/configs/multi_gpu.yaml): which cases are this one's. A process on its own has all of them."""

from __future__ import annotations

from collections.abc import Sized

import ignite.distributed as idist
from torch.utils.data import DistributedSampler, RandomSampler, Sampler


def shuffled(dataset: Sized, seed: int | None = None) -> Sampler:
    """A sampler for training: the cases in a new order every epoch, of several processes each an equal share.

    Equal, since every step waits for the gradients of all: where the cases cannot be divided, a few come twice.

    Args:
        dataset: what has the cases.
        seed: of the order among several processes, on all the same. A single process draws it from PyTorch's generator.
    """
    if idist.get_world_size() == 1:
        return RandomSampler(dataset)
    return DistributedSampler(dataset, seed=seed or 0)


def share(dataset: Sized, idle: bool = False) -> range:
    """A sampler for validation and inference: the cases in their order, of n processes each every n-th, none twice.

    Args:
        dataset: what has the cases.
        idle: where there are fewer cases than processes, some have none. MONAI's metrics would wait for these for ever, so
            without `idle` they take all cases, which leaves every case with the same weight in a mean.
    """
    cases = range(len(dataset))
    return cases[idist.get_rank() :: idist.get_world_size()] or (cases[:0] if idle else cases)
