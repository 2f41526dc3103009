"""What must have happened before a diffusion model can be trained."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from ignite.engine import Engine, Events

from ..data.latents import LatentFilms
from ..data.prompts import training_texts


class EncodeFilms:
    """When a run starts, learn the vocabulary, encode the films, and measure the scale of their latents.

    Attach it behind the handler that loads the autoencoder and before `Checkpoints`. The scale is 1 / standard deviation of
    the latents of the first dataset; it goes into the network's buffer `scale_factor` and into every dataset.

    Args:
        datasets: of training, then of validation.
        autoencoder: an AutoencoderKL.
        network: a TextDiffusion.
        device: where the autoencoder works.
    """

    def __init__(
        self,
        datasets: Sequence[LatentFilms],
        autoencoder: torch.nn.Module,
        network: torch.nn.Module,
        device: torch.device | str,
    ):
        self.datasets, self.autoencoder, self.network, self.device = list(datasets), autoencoder, network, device

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        logger = logging.getLogger(type(self).__name__)
        self.network.text.learn(training_texts(self.datasets[0].data))
        self.autoencoder.eval()
        for number, dataset in enumerate(self.datasets):
            dataset.encode(self.autoencoder, self.device, seed=number)
        first = self.datasets[0]
        scale = float(1 / (first.mean.var() + (first.deviation**2).mean()).sqrt())
        self.network.scale_factor.fill_(scale)
        for dataset in self.datasets:
            dataset.scale = scale
        logger.info(f"{len(first)} views of {len(first.data)} films; scale factor {scale:.4f}")
