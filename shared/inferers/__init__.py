"""How the network is run over an image."""

from .precision import PrecisionInferer
from .window import WindowInferer

__all__ = ["PrecisionInferer", "WindowInferer"]
