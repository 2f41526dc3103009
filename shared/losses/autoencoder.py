"""The losses of an autoencoder: what it is compared by, and the critic that it must convince."""

from __future__ import annotations

import torch
from ignite.engine import Engine, Events
from monai.inferers import Inferer
from monai.losses import PatchAdversarialLoss
from torch import nn


class AutoencoderInferer(Inferer):
    """Run an AutoencoderKL and give the image: in training from latents drawn at random, otherwise from their means.

    Attributes:
        kl: divergence of the last training batch's latents from a standard normal distribution, summed over an image's latents.
    """

    kl: torch.Tensor

    def __call__(self, inputs: torch.Tensor, network, *args, **kwargs) -> torch.Tensor:
        if not network.training:
            return network.reconstruct(inputs)
        image, mean, deviation = network(inputs, *args, **kwargs)
        mean, variance = mean.float(), deviation.float() ** 2
        self.kl = (0.5 * (mean**2 + variance - variance.log() - 1).flatten(1).sum(1)).mean()
        return image


class AutoencoderLoss(nn.Module):
    """Mean absolute difference, perceptual distance and divergence of the latents.

    Args:
        latents: what the network ran in; has the divergence of the batch.
        perceptual: distance between images.
        perceptual_weight, kl_weight: of the two beside the difference.
    """

    def __init__(self, latents: AutoencoderInferer, perceptual: nn.Module, perceptual_weight: float, kl_weight: float):
        super().__init__()
        self.latents, self.perceptual = latents, perceptual
        self.perceptual_weight, self.kl_weight = perceptual_weight, kl_weight

    def forward(self, pred: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        loss = (pred.float() - truth.float()).abs().mean() + self.kl_weight * self.latents.kl
        if self.perceptual_weight > 0:
            loss = loss + self.perceptual_weight * self.perceptual(pred, truth).mean()
        return loss


class Critic(Inferer):
    """Run a PatchDiscriminator and give its last output; before an epoch give zeros instead, without work.

    An autoencoder that cannot yet draw a film learns nothing from a critic. Attach it to the trainer, which tells the epoch.

    Args:
        start: epochs before it speaks.
    """

    def __init__(self, start: int = 0):
        super().__init__()
        self.start, self.speaks = start, start == 0

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self.note)

    def note(self, engine: Engine) -> None:
        """See whether the epoch has come."""
        self.speaks = engine.state.epoch > self.start

    def __call__(self, inputs: torch.Tensor, network, *args, **kwargs) -> torch.Tensor:
        if not self.speaks:
            return inputs.new_zeros(len(inputs), 1, 1, 1, requires_grad=True)
        return network(inputs)[-1]


class GeneratorLoss(nn.Module):
    """Least-squares loss of what a critic says of made images; 0 while it does not speak (Mao et al. 2017).

    Args:
        critic: what made the logits.
        weight: beside the other losses.
    """

    def __init__(self, critic: Critic, weight: float):
        super().__init__()
        self.critic, self.weight = critic, weight
        self.loss = PatchAdversarialLoss(criterion="least_squares", no_activation_leastsq=True)

    def forward(self, fake: torch.Tensor) -> torch.Tensor:
        weight = self.weight if self.critic.speaks else 0.0
        return weight * self.loss(fake.float(), target_is_real=True, for_discriminator=False)


class DiscriminatorLoss(nn.Module):
    """Least-squares loss of a critic's logits of real and made images."""

    def __init__(self):
        super().__init__()
        self.loss = PatchAdversarialLoss(criterion="least_squares", no_activation_leastsq=True)

    def forward(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        told = {True: real.float(), False: fake.float()}
        return sum(self.loss(logits, target_is_real=truth, for_discriminator=True) for truth, logits in told.items()) / 2
