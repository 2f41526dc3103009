"""How the network is run over an image."""

from .channels import ChannelsInferer
from .crops import ShiftedCropsInferer
from .halo import HaloInferer
from .precision import PrecisionInferer
from .sampling import TextToFilmInferer
from .schedulers import DPMSolverPPScheduler, noise_scheduler
from .slices import SlicesInferer
from .timed import TimedInferer
from .window import WindowInferer

__all__ = [
    "ChannelsInferer",
    "DPMSolverPPScheduler",
    "HaloInferer",
    "PrecisionInferer",
    "ShiftedCropsInferer",
    "SlicesInferer",
    "TextToFilmInferer",
    "TimedInferer",
    "WindowInferer",
    "noise_scheduler",
]
