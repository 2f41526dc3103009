"""Inference through ONNX Runtime gives the label maps that PyTorch gives."""

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import run
from monai.networks.nets import SegResNet

from shared.errors import InputError
from shared.networks import OnnxNetwork

from ..conftest import REPOSITORY, SMALL, config

OVERLAY = str(REPOSITORY / "shared" / "configs" / "onnx.yaml")


SHALLOW = {"blocks_down": [1, 1, 1], "blocks_up": [1, 1]}  # exported sooner


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    """That of the bundle with few layers and random weights."""
    torch.manual_seed(0)
    return SegResNet(spatial_dims=3, init_filters=8, in_channels=4, out_channels=3, **SHALLOW).eval()


@pytest.fixture(scope="module")
def weights(network, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    torch.save(network.state_dict(), path)
    return str(path)


@pytest.fixture(scope="module")
def onnx_file(network, weights, tmp_path_factory) -> str:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="needs the extra onnx")
    from tools.bundles import quiet
    from tools.export import graph, write_onnx

    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    with quiet():
        write_onnx(graph(network, 4, ["16*n", "16*n", "16*n"]), path, Path(weights))
    return str(path)


def test_any_batch_and_size_agree_with_pytorch(network, onnx_file):
    onnx = OnnxNetwork(onnx_file)
    for size in [(1, 4, 16, 24, 48), (2, 4, 32, 16, 16)]:
        image = torch.rand(size, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            torch.testing.assert_close(onnx(image), network(image), atol=1e-4, rtol=0)
            torch.testing.assert_close(onnx(image.double()), network(image), atol=1e-4, rtol=0)


def test_label_maps_of_inference_are_the_same(brats_dir, weights, onnx_file, tmp_path):
    case = brats_dir / "MICCAI_BraTS2020_TrainingData" / "BraTS20_Training_001"
    settings = {**SMALL, **{f"network_def::{key}": value for key, value in SHALLOW.items()}, "window": [32, 32, 32]}
    settings |= {"dataset_dir": str(case), "checkpoint": weights, "pictures": False}
    labels = []
    for name, overlay in {"eager": {}, "onnx": {"onnx_file": onnx_file}}.items():
        files = [config("inference"), OVERLAY] if overlay else [config("inference")]
        run(config_file=files, output_dir=str(tmp_path / name), **settings, **overlay)
        labels.append(np.asarray(nib.load(tmp_path / name / f"{case.name}_seg.nii.gz").dataobj))
    eager, onnx = labels
    assert len(np.unique(eager)) > 1
    assert (eager == onnx).mean() > 0.999


def test_other_weights_than_those_in_the_file_are_refused(onnx_file, weights, small_weights):
    OnnxNetwork(onnx_file, checkpoint=weights)
    with pytest.raises(InputError, match="model.onnx was exported from other weights than .*model.pt: export it again"):
        OnnxNetwork(onnx_file, checkpoint=small_weights)


def test_what_cannot_run_is_told(tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    with pytest.raises(InputError, match="no ONNX file .*model.onnx: write it with `python -m tools export"):
        OnnxNetwork(tmp_path / "model.onnx")
    (tmp_path / "model.onnx").write_text("words")
    with pytest.raises(InputError, match="is no ONNX model that can be run"):
        OnnxNetwork(tmp_path / "model.onnx")


def test_without_onnx_runtime_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"pip install -e .\[onnx\]"):
        OnnxNetwork(tmp_path / "model.onnx")
