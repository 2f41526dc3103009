"""Networks that MONAI lacks."""

from .onnx import OnnxNetwork

__all__ = ["OnnxNetwork"]
