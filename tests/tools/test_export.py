"""Every format gives what PyTorch gives, at sizes it was not exported at, or leaves no file."""

import json
import shutil

import pytest
import torch

from tools import export as module
from tools.export import LOADERS, export, load_network, shape


@pytest.mark.parametrize("form", LOADERS)
def test_an_exported_file_computes_the_same_and_names_no_folder_of_this_machine(small_bundle, tmp_path, capsys, form):
    if form == "onnx":
        for package in module.ONNX_PACKAGES:
            pytest.importorskip(package, reason="needs the extra onnx")
    path = tmp_path / "new" / f"net.{form}"
    export(str(small_bundle), form, str(path))
    assert capsys.readouterr().out.count("largest error") == 3
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    network, exported = load_network(small_bundle), LOADERS[form](path)
    for size in [(1, 4, 64, 16, 48), (3, 4, 40, 24, 16)]:  # multiples of 8 too, which inference crops to
        image = torch.rand(size, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            torch.testing.assert_close(exported(image), network(image), atol=1e-4, rtol=0)
    for folder in (tmp_path, small_bundle, torch.__file__.rpartition("/")[0]):
        assert str(folder).encode() not in path.read_bytes()
    if form == "ts":
        inside = {"metadata.json": "", "inference.json": ""}
        torch.jit.load(path, _extra_files=inside)
        assert json.loads(inside["metadata.json"]) == json.loads((small_bundle / "configs" / "metadata.json").read_text())
        assert "network_def" in json.loads(inside["inference.json"])


def test_a_result_that_differs_is_an_error_and_leaves_no_file(small_bundle, tmp_path, monkeypatch):
    network = load_network(small_bundle)
    monkeypatch.setattr(module, "torchscript", lambda root, file: b"exported")
    monkeypatch.setitem(LOADERS, "ts", lambda path: lambda image: network(image) + 0.002)
    with pytest.raises(ValueError, match="differs by up to 2.0e-03, expected at most 0.001"):
        export(str(small_bundle), "ts", str(tmp_path / "model.ts"))
    monkeypatch.setitem(LOADERS, "ts", lambda path: lambda image: network(image) * float("nan"))
    with pytest.raises(ValueError, match="differs by up to nan"):
        export(str(small_bundle), "ts", str(tmp_path / "model.ts"))
    assert not list(tmp_path.iterdir())


def test_a_network_that_depends_on_values_is_refused_by_name():
    class Branching(torch.nn.Module):
        def forward(self, image):
            return image if image.mean() > 0 else -image

    with pytest.raises(ValueError, match="network_def cannot be exported"):
        module.graph(Branching(), 1, ["16*n"])


@pytest.mark.parametrize(
    ("pattern", "multiples", "expected"),
    [(["16*n", "16*n", 64], [1, 3, 2], (16, 48, 64)), (["*", "2**p*n"], [2, 3], (64, 6))],
)
def test_shapes_are_those_of_the_metadata(pattern, multiples, expected):
    assert shape(pattern, multiples) == expected


def test_missing_packages_and_unknown_formats_are_told(small_bundle, monkeypatch):
    with pytest.raises(ValueError, match="format is 'h5', expected one of ts, onnx, pt2"):
        export(str(small_bundle), "h5")
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None if name == "onnxscript" else name)
    with pytest.raises(ImportError, match=r"needs onnxscript: pip install -e .\[onnx\]"):
        export(str(small_bundle), "onnx")


def test_a_bundle_without_weights_says_so(small_bundle, tmp_path):
    copy = shutil.copytree(small_bundle, tmp_path / "small_seg")
    (copy / "models" / "model.pt").unlink()
    with pytest.raises(SystemExit, match="no weights .*model.pt"):
        export(str(copy), "pt2")
    assert not list((copy / "models").iterdir())
