"""Losses that MONAI lacks."""

from .age import AgeSexLoss
from .autoencoder import AutoencoderInferer, AutoencoderLoss, Critic, DiscriminatorLoss, GeneratorLoss
from .blocks import BlockDiceCELoss
from .perceptual import FilmPerceptualLoss, perceptual_loss
from .registration import RegistrationLoss
from .superres import SuperResolutionLoss
from .template import TemplateLoss

__all__ = [
    "AgeSexLoss",
    "AutoencoderInferer",
    "AutoencoderLoss",
    "BlockDiceCELoss",
    "Critic",
    "DiscriminatorLoss",
    "FilmPerceptualLoss",
    "GeneratorLoss",
    "RegistrationLoss",
    "SuperResolutionLoss",
    "TemplateLoss",
    "perceptual_loss",
]
