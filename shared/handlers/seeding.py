"""Random numbers that depend on the seed and the epoch alone."""

from __future__ import annotations

import ignite.distributed as idist
from ignite.engine import Engine, Events
from monai.data.utils import set_rnd
from monai.utils import set_determinism

PROCESS_STRIDE = 1_000_000  # more than a run has epochs, so that no process draws what another one draws in another epoch


class EpochSeed:
    """Seed everything anew at the start of every epoch, so that a resumed run draws what an uninterrupted one draws.

    Seeds Python, NumPy and PyTorch with seed + epoch, then the dataset's own random transforms, then starts the data loader
    afresh so that its shuffling and its workers use the new seed too. Put it first among the trainer's handlers. Of several
    processes each draws other numbers; their common order of cases is the sampler's (`shared.distributed.shuffled`).

    Args:
        seed: base seed; None leaves every random state alone.
    """

    def __init__(self, seed: int | None):
        self.seed = seed

    def attach(self, engine: Engine) -> None:
        if self.seed is not None:
            engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        seed = self.seed + engine.state.epoch + PROCESS_STRIDE * idist.get_rank()
        # PyTorch's own switch to deterministic kernels (set_determinism(use_deterministic_algorithms=True)) has no
        # backward pass for some 3D operations on CUDA; on the CPU the kernels are deterministic without it
        set_determinism(seed=seed)
        set_rnd(engine.data_loader.dataset, seed)
        engine.set_data(engine.data_loader)
