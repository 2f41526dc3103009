"""Small heads and a small network for the tests of brain_registration."""

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, run
from scipy.ndimage import map_coordinates

from shared.handlers.case_table import read_rows
from tools.phantoms.ixi import ixi
from tools.prepare import prepare

from ..conftest import REPOSITORY, config

BUNDLE = "brain_registration"
# a working grid of 5 mm voxels and networks with few channels
NETWORK = {
    "network_def::backbone::channels": [8, 8, 8],
    "network_def::backbone::strides": [2, 2],
    "network_def::anatomy::network::channels": [8, 8, 8],
    "network_def::anatomy::network::strides": [2, 2],
}
FLAT = {key: value for key, value in NETWORK.items() if "anatomy" not in key}  # of overlays without an anatomy


@pytest.fixture(scope="session")
def heads(tmp_path_factory) -> Path:
    """Seven prepared synthetic heads of 5 mm, five of them to train."""
    pytest.importorskip("xlwt", reason="needs xlwt (pip install -e .[ixi])")
    folder = tmp_path_factory.mktemp("heads")
    ixi(str(folder), cases=7, seed=1, spacing=5.0)
    prepare("ixi", str(folder), validation=0.3, testing=0.3)
    return folder


def last_weight(network) -> torch.nn.Parameter:
    """Weight of the convolution that gives the velocity."""
    return [weight for name, weight in network.backbone.named_parameters() if weight.ndim == 5][-1]


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> dict:
    """Options for a small atlas and a small network with random weights that moves things by some mm."""
    folder = tmp_path_factory.mktemp("small")
    atlas = nib.load(REPOSITORY / "bundles" / BUNDLE / "models" / "atlas.nii.gz")
    index = np.stack(np.meshgrid(*[np.arange(n) * 2.5 + 0.75 for n in (32, 32, 32)], indexing="ij"))
    index[1] = index[1] * 1.2
    coarse = map_coordinates(atlas.get_fdata(), index, order=1, mode="nearest").astype(np.float32)
    step = atlas.affine @ np.diag([2.5, 3.0, 2.5, 1])
    nib.save(nib.Nifti1Image(coarse, step), folder / "atlas.nii.gz")
    torch.manual_seed(0)
    parser = ConfigParser(ConfigParser.load_config_file(config("inference", BUNDLE)))
    parser.update(NETWORK)
    network = parser.get_parsed_content("network_def")
    torch.nn.init.normal_(last_weight(network), std=0.02)
    torch.save(network.state_dict(), folder / "model.pt")
    options = {**NETWORK, "atlas": str(folder / "atlas.nii.gz"), "checkpoint": str(folder / "model.pt"), "device": "cpu"}
    return {**options, "precision": "float32"}


def training(small: dict, heads: Path, output: Path, **options) -> dict:
    settings = {key: value for key, value in small.items() if key != "checkpoint"}
    return {
        **settings,
        "finetune": small["checkpoint"],
        "dataset_dir": str(heads),
        "output_dir": str(output),
        "pairs_per_epoch": 3,
        "val_interval": 1,
        **options,
    }


def infer(small: dict, data: Path, output: Path, **options) -> dict[str, dict[str, str]]:
    run(config_file=config("inference", BUNDLE), **{**small, "dataset_dir": str(data), "output_dir": str(output), **options})
    return read_rows(output / "registrations.csv")


def files(heads: Path, index: int) -> tuple[Path, Path]:
    """Image and label map of a head."""
    image = sorted((heads / "IXI-T1").glob("*.nii.gz"))[index]
    return image, heads / "IXI-labels" / image.name.replace("-T1", "-labels")


def write_pairs(path: Path, *rows: dict) -> str:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)
