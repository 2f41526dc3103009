"""Losses that MONAI lacks."""

from .age import AgeSexLoss
from .blocks import BlockDiceCELoss
from .registration import RegistrationLoss
from .superres import SuperResolutionLoss
from .template import TemplateLoss

__all__ = [
    "AgeSexLoss",
    "BlockDiceCELoss",
    "RegistrationLoss",
    "SuperResolutionLoss",
    "TemplateLoss",
]
