"""What tests have in common: a tiny synthetic dataset and tiny settings, so that every run takes seconds."""

import contextlib
import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from monai.networks.nets import SegResNet

from tools.phantoms.brats import brats
from tools.phantoms.ixi import ixi
from tools.prepare import prepare

REPOSITORY = Path(__file__).resolve().parent.parent
REAL_IMAGES = REPOSITORY.parent / "shared" / "data"  # reference images beside the checkout; no user has them

SMALL_HEADS = {  # of ixi_age_regression: 4 mm voxels, an eighth of the channels
    "device": "cpu",
    "spacing": [4, 4, 4],
    "head_size": [64, 64, 64],
    "network_def::parcellation::network::channels": [4, 8, 16, 32],
    "network_def::map_size": [12, 12, 12],
}
# 4 mm voxels keep a whole head under 60 x 60 x 39; half the filters
SMALL = {"spacing": [4, 4, 4], "network_def::init_filters": 8, "device": "cpu"}


@pytest.fixture(scope="session")
def brats_dir(tmp_path_factory) -> Path:
    """Six prepared synthetic cases of 4 mm: 4 to train, 1 to validate, 1 to test."""
    folder = tmp_path_factory.mktemp("brats")
    brats(str(folder), cases=6, seed=1, spacing=4.0)
    prepare("brats", str(folder))
    return folder


@pytest.fixture(scope="session")
def heads_dir(tmp_path_factory) -> Path:
    """Four prepared synthetic heads of 4 mm with DLMUSE labels: 2 to train."""
    folder = tmp_path_factory.mktemp("heads")
    ixi(str(folder), cases=4, spacing=4.0)
    prepare("ixi", str(folder))
    return folder


@pytest.fixture(scope="session")
def small_weights(tmp_path_factory) -> Path:
    """Random weights for the network of SMALL."""
    torch.manual_seed(0)
    net = SegResNet(
        spatial_dims=3, init_filters=8, in_channels=4, out_channels=3, blocks_down=[1, 2, 2, 4], blocks_up=[1, 1, 1]
    )
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    torch.save(net.state_dict(), path)
    return path


def config(name: str, bundle: str = "brats_seg3d") -> str:
    """Path of a bundle's config."""
    return str(REPOSITORY / "bundles" / bundle / "configs" / f"{name}.yaml")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """A web server on loopback that gives out the files of a folder; yields its address."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
