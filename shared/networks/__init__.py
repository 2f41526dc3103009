"""Networks that MONAI lacks."""

from .age import AgeSexNet
from .onnx import OnnxNetwork
from .regional import HalfResolution, RegionalRegressor
from .superres import SuperResolutionNet
from .tagged import ImageTagNet
from .template import TemplateNet
from .velocity import RegistrationNet

__all__ = [
    "AgeSexNet",
    "HalfResolution",
    "ImageTagNet",
    "OnnxNetwork",
    "RegionalRegressor",
    "RegistrationNet",
    "SuperResolutionNet",
    "TemplateNet",
]
