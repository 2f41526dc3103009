"""Networks that MONAI lacks."""

from .age import AgeSexNet
from .autoencoder import SliceAutoEncoder
from .diffusion import GuidedDiffusion, TextDiffusion
from .features import FilmFeatures
from .half import HalfResolutionSegmenter
from .onnx import OnnxNetwork
from .regional import HalfResolution, RegionalRegressor
from .superres import SuperResolutionNet
from .tagged import ImageTagNet
from .template import TemplateNet
from .text import ClipTextEncoder, WordTextEncoder
from .velocity import RegistrationNet

__all__ = [
    "AgeSexNet",
    "ClipTextEncoder",
    "FilmFeatures",
    "GuidedDiffusion",
    "HalfResolution",
    "HalfResolutionSegmenter",
    "ImageTagNet",
    "OnnxNetwork",
    "RegionalRegressor",
    "RegistrationNet",
    "SliceAutoEncoder",
    "SuperResolutionNet",
    "TemplateNet",
    "TextDiffusion",
    "WordTextEncoder",
]
