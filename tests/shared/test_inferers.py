import pytest
import torch
from monai.inferers import SimpleInferer

from shared.inferers import PrecisionInferer, WindowInferer


class Spy(torch.nn.Module):
    """A convolution that notes the shapes it sees and the type it computes in."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.shapes, self.types = torch.nn.Conv3d(1, 1, 3, padding=1), [], []

    def forward(self, x):
        self.shapes.append(tuple(x.shape[2:]))
        out = self.conv(x)
        self.types.append(out.dtype)
        return out


def test_window_does_not_pad_a_small_image():
    net, x = Spy(), torch.randn(1, 1, 8, 40, 16)
    with torch.no_grad():
        WindowInferer(roi_size=(32, 32, 32), overlap=0.25)(x, net)
    assert set(net.shapes) == {(8, 32, 16)}


def test_window_as_large_as_the_image_equals_the_network():
    net, x = Spy(), torch.randn(1, 1, 8, 12, 16)
    inferer = WindowInferer(roi_size=(32, 32, 32), mode="gaussian")
    with torch.no_grad():
        torch.testing.assert_close(inferer(x, net), net(x))
    assert inferer.roi_size == (32, 32, 32)  # the next image is measured against the full window again


def test_bfloat16_computes_in_bfloat16_and_returns_float32():
    net, x = Spy(), torch.randn(1, 1, 8, 8, 8)
    with torch.no_grad():
        exact = PrecisionInferer(SimpleInferer(), "float32")(x, net)
        rough = PrecisionInferer(SimpleInferer(), "bfloat16")(x, net)
    assert net.types == [torch.float32, torch.bfloat16]
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).abs().max() < 0.05


@pytest.mark.parametrize(
    ("capabilities", "dtype"),
    [({"avx512_bf16": True}, torch.bfloat16), ({"amx_bf16": True}, torch.bfloat16), ({"avx512_f": True}, torch.float32)],
)
def test_auto_is_bfloat16_only_where_the_processor_computes_in_it(monkeypatch, capabilities, dtype):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    net = Spy()
    with torch.no_grad():
        PrecisionInferer(SimpleInferer(), "auto")(torch.randn(1, 1, 8, 8, 8), net)
    assert net.types == [dtype]


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="precision is 'half', expected one of auto, float32, bfloat16"):
        PrecisionInferer(SimpleInferer(), "half")
