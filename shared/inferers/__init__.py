"""How the network is run over an image."""

from .crops import ShiftedCropsInferer
from .precision import PrecisionInferer
from .timed import TimedInferer
from .window import WindowInferer

__all__ = [
    "PrecisionInferer",
    "ShiftedCropsInferer",
    "TimedInferer",
    "WindowInferer",
]
