"""Networks that MONAI lacks."""

from .age import AgeSexNet
from .autoencoder import SliceAutoEncoder
from .half import HalfResolutionSegmenter
from .onnx import OnnxNetwork
from .regional import HalfResolution, RegionalRegressor
from .superres import SuperResolutionNet
from .tagged import ImageTagNet
from .template import TemplateNet
from .velocity import RegistrationNet

__all__ = [
    "AgeSexNet",
    "HalfResolution",
    "HalfResolutionSegmenter",
    "ImageTagNet",
    "OnnxNetwork",
    "RegionalRegressor",
    "RegistrationNet",
    "SliceAutoEncoder",
    "SuperResolutionNet",
    "TemplateNet",
]
