"""How the network is run over an image."""

from .channels import ChannelsInferer
from .crops import ShiftedCropsInferer
from .flips import FlipsInferer
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
    "FlipsInferer",
    "HaloInferer",
    "PrecisionInferer",
    "ShiftedCropsInferer",
    "SlicesInferer",
    "TextToFilmInferer",
    "TimedInferer",
    "WindowInferer",
    "noise_scheduler",
]
