"""How the network is run over an image."""

from .channels import ChannelsInferer
from .crops import ShiftedCropsInferer
from .halo import HaloInferer
from .precision import PrecisionInferer
from .slices import SlicesInferer
from .timed import TimedInferer
from .window import WindowInferer

__all__ = [
    "ChannelsInferer",
    "HaloInferer",
    "PrecisionInferer",
    "ShiftedCropsInferer",
    "SlicesInferer",
    "TimedInferer",
    "WindowInferer",
]
