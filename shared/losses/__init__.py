"""Losses that MONAI lacks."""

from .age import AgeSexLoss
from .blocks import BlockDiceCELoss
from .registration import RegistrationLoss
from .template import TemplateLoss

__all__ = [
    "AgeSexLoss",
    "BlockDiceCELoss",
    "RegistrationLoss",
    "TemplateLoss",
]
