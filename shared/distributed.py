"""What several processes (shared/configs/multi_gpu.yaml) share among themselves: the cases, and a file they all write."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence, Sized
from pathlib import Path

import ignite.distributed as idist
import torch
from monai.data import DistributedWeightedRandomSampler
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DistributedSampler, RandomSampler, Sampler, WeightedRandomSampler


def shuffled(dataset: Sized, seed: int | None = None, balance: Sequence[str] = ()) -> Sampler:
    """A sampler for training: the cases in a new order every epoch, of several processes each an equal share.

    Equal, since every step waits for the gradients of all: where the cases cannot be divided, a few come twice.

    Args:
        dataset: what has the cases; with `balance` its `data` are their items.
        seed: of the order among several processes, on all the same. A single process draws it from PyTorch's generator.
        balance: entries of the items, such as age and sex. Cases are drawn with replacement so that every combination of
            their values comes up equally often; numbers count by tens.
    """
    if balance:
        groups = [tuple(_group(item.get(key)) for key in balance) for item in dataset.data]
        weights = [1 / groups.count(group) for group in groups]
        if idist.get_world_size() == 1:
            return WeightedRandomSampler(weights, len(weights))
        return DistributedWeightedRandomSampler(dataset, weights, generator=torch.Generator().manual_seed(seed or 0))
    if idist.get_world_size() == 1:
        return RandomSampler(dataset)
    return DistributedSampler(dataset, seed=seed or 0)


def _group(value):
    return int(value // 10) if isinstance(value, int | float) else value


def share(dataset: Sized, idle: bool = False) -> range:
    """A sampler for validation and inference: the cases in their order, of n processes each every n-th, none twice.

    It waits for the other processes, so that none finishes a case before all have listed what is unfinished.

    Args:
        dataset: what has the cases.
        idle: where there are fewer cases than processes, some have none. MONAI's metrics would wait for these for ever, so
            without `idle` they take all cases, which leaves every case with the same weight in a mean.
    """
    idist.barrier()
    cases = range(len(dataset))
    return cases[idist.get_rank() :: idist.get_world_size()] or (cases[:0] if idle else cases)


def joined(module: nn.Module) -> nn.Module:
    """A second network of a training, such as a critic, whose gradients several processes average; alone, the module itself.

    It may run several times before one backward pass, so its buffers stay those of each process.
    """
    return module if idist.get_world_size() == 1 else DistributedDataParallel(module, broadcast_buffers=False)


def everyones(own: list) -> list:
    """The items of a list of each process, one after the other; on all processes the same."""
    return [item for items in idist.all_gather(own) for item in items]


@contextlib.contextmanager
def taking_turns(path: Path) -> Iterator[None]:
    """Let one of several processes after the other into the block in which they change the file `path`."""
    if idist.get_world_size() == 1:
        yield
        return
    import fcntl  # not on Windows

    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # ends with the closing of the file, so also with the death of its process
        yield
