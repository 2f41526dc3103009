"""Lower precision as a named choice, on the CPU too."""

from __future__ import annotations

import torch
from monai.inferers import Inferer

PRECISIONS = ("auto", "float32", "bfloat16")


class PrecisionInferer(Inferer):
    """Run another inferer in "float32", under "bfloat16" autocast, or as "auto" finds faster; the result is float32 always.

    MONAI's engines switch autocast off on the CPU. There bfloat16, which keeps the range of float32 and about three decimal
    digits, is two to three times faster where the processor computes in it (AMX, AVX-512 BF16) and ten times slower where it
    does not; "auto" asks the processor. On CUDA "auto" leaves the choice to the engine (`amp`).

    Raises:
        ValueError: `precision` is another word.
    """

    def __init__(self, inferer: Inferer, precision: str = "float32"):
        super().__init__()
        if precision not in PRECISIONS:
            raise ValueError(f"precision is '{precision}', expected one of {', '.join(PRECISIONS)}")
        self.inferer, self.precision = inferer, precision

    def __call__(self, inputs: torch.Tensor, network, *args, **kwargs) -> torch.Tensor:
        if not self.lower(inputs.device):
            return self.inferer(inputs, network, *args, **kwargs)
        with torch.autocast(inputs.device.type, dtype=torch.bfloat16):
            return self.inferer(inputs, network, *args, **kwargs).float()

    def lower(self, device: torch.device) -> bool:
        """Whether bfloat16 autocast is used for tensors on this device."""
        if self.precision == "auto":
            return device.type == "cpu" and cpu_has_bfloat16()
        return self.precision == "bfloat16"


def cpu_has_bfloat16() -> bool:
    """Whether this machine's processor multiplies in bfloat16 itself, so that it is faster than float32."""
    known = torch.cpu.get_capabilities()
    return any(known.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
