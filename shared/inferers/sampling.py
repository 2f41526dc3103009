"""From noise and text to films."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from monai.inferers import Inferer, LatentDiffusionInferer

from ..errors import InputError
from ..networks.diffusion import GuidedDiffusion
from .schedulers import noise_scheduler


class TextToFilmInferer(Inferer):
    """Sample latents from noise under a text, by MONAI's LatentDiffusionInferer, and decode them.

    Args:
        autoencoder: decodes the latents.
        noise: how latents became noise in training, see `noise_scheduler`.
        scheduler: ddpm, ddim, pndm or dpm++.
        steps: of sampling.
        guidance: of classifier-free guidance, see `GuidedDiffusion`.
        verbose: a progress bar over the steps.

    Raises:
        InputError: guidance below 0; an unknown scheduler, or a number of steps that it does not take.
    """

    def __init__(
        self,
        autoencoder: torch.nn.Module,
        noise: Mapping,
        scheduler: str = "dpm++",
        steps: int = 20,
        guidance: float = 7.0,
        verbose: bool = True,
    ):
        super().__init__()
        if not guidance >= 0:
            raise InputError(f"guidance is {guidance}, expected 0 or more")
        noise_scheduler(scheduler, noise, steps)  # refuses what it does not know before any work is spent
        self.autoencoder, self.noise, self.scheduler = autoencoder, dict(noise), scheduler
        self.steps, self.guidance, self.verbose = steps, guidance, verbose

    @torch.no_grad()
    def __call__(
        self, inputs: torch.Tensor, network: torch.nn.Module, tokens: torch.Tensor, seed: torch.Tensor
    ) -> torch.Tensor:
        """Noise (B, C, h, w) and tokens (B, T) to films (B, 1, H, W), 0..1.

        Args:
            inputs: the noise.
            network: a TextDiffusion.
            tokens: of the prompts.
            seed: (B,); the first is that of the noise which ddpm adds on its way, the others add none.
        """
        self.autoencoder.eval()
        empty = network.text(network.text.tokenize("")[None].to(inputs.device))
        guided = GuidedDiffusion(network, empty, self.guidance)
        scheduler = noise_scheduler(self.scheduler, self.noise, self.steps)
        inferer = LatentDiffusionInferer(scheduler, scale_factor=float(network.scale_factor))
        with torch.random.fork_rng():
            torch.manual_seed(int(seed[0]))
            films = inferer.sample(inputs, self.autoencoder, guided, conditioning=network.text(tokens), verbose=self.verbose)
        return films.float().clamp(0, 1)
