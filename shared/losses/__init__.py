"""Losses that MONAI lacks."""

from .age import AgeSexLoss
from .blocks import BlockDiceCELoss
from .registration import RegistrationLoss

__all__ = [
    "AgeSexLoss",
    "BlockDiceCELoss",
    "RegistrationLoss",
]
