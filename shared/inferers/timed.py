"""How long the network takes for every case."""

from __future__ import annotations

import time
from collections import deque

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer


class TimedInferer(Inferer):
    """Run another inferer on a plain tensor and keep its seconds in a queue, one entry a call, for what follows to take."""

    def __init__(self, inferer: Inferer):
        super().__init__()
        self.inferer = inferer
        self.seconds: deque[float] = deque()

    def __call__(self, inputs: torch.Tensor, network, *args, **kwargs) -> torch.Tensor:
        start = time.perf_counter()
        result = self.inferer(inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs, network, *args, **kwargs)
        if result.is_cuda:
            torch.cuda.synchronize()  # else work that was only queued would not count
        self.seconds.append(time.perf_counter() - start)
        return result
