"""A network that ONNX Runtime computes."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from ..errors import InputError
from ..handlers.weights import sha256


class OnnxNetwork(torch.nn.Module):
    """An exported network in the place of the PyTorch one, for inference.

    Computes in float32 on CUDA, where `device` is one and the installed ONNX Runtime has it, else on the CPU with as many
    threads as PyTorch. Its sums over large images are less exact than PyTorch's: in images of some million voxels, logits of
    about 10 may differ by some 0.01.

    Args:
        path: the ONNX file, with the image as its first input, and one output.
        device: where the images are.
        checkpoint: the weights that the file should have; `python -m tools export` notes their SHA-256 in it.

    Raises:
        InputError: ONNX Runtime is not installed, there is no such file, it is no ONNX model, or it says that it was exported
            from other weights.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        device: str | torch.device = "cpu",
        checkpoint: str | os.PathLike | None = None,
    ):
        super().__init__()
        try:
            import onnxruntime
        except ImportError:
            raise InputError("running an ONNX file needs ONNX Runtime: pip install -e .[onnx]") from None
        if not Path(path).is_file():
            raise InputError(f"no ONNX file {path}: write it with `python -m tools export BUNDLE --format onnx`")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        device = torch.device(device)
        providers: list = ["CPUExecutionProvider"]
        if device.type == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": device.index or 0}))
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # ONNX Runtime has a dozen types of its own
            raise InputError(f"{path} is no ONNX model that can be run: {' '.join(str(error).split())[:400]}") from None
        noted = self.session.get_modelmeta().custom_metadata_map.get("weights")
        if noted and checkpoint is not None and Path(checkpoint).is_file() and sha256(checkpoint) != noted:
            raise InputError(f"{path} was exported from other weights than {checkpoint}: export it again")
        self.inputs = [given.name for given in self.session.get_inputs()]

    def forward(self, image: torch.Tensor, *more: torch.Tensor, **named: torch.Tensor) -> torch.Tensor:
        """Map an image (B, C, H, W, D), or (B, C, H, W), to the network's output on the image's device.

        Further inputs, in the file's order or by name, are vectors (B, length).
        """
        given = dict(zip(self.inputs, (image, *more), strict=False)) | named
        (output,) = self.session.run(None, {name: value.float().cpu().numpy() for name, value in given.items()})
        return torch.from_numpy(output).to(image.device)
