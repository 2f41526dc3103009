"""A bundle like those of the repository, but small and complete, to be packed and verified."""

import json
import re
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser

from shared.handlers.weights import sha256
from tools.bundles import REPOSITORY

CARD = """# A small bundle

    python -m monai.bundle run --config_file bundles/small_seg/configs/inference.yaml --dataset_dir DIR --output_dir OUT
    python -m monai.bundle run --config_file "['bundles/small_seg/configs/train.yaml','shared/configs/smoke.yaml']"
    python -m tools verify small_seg

## How it works

![a case](figures/case.png)
It [finds cases](../../../shared/data/cases.py) as [How it works](#how-it-works) and [the configs](../configs/train.yaml)
tell, reached as `shared.data.find_cases`; see the [project](../../../pyproject.toml) and [MONAI](https://monai.io).
"""


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory) -> Path:
    """bundles/small_seg: the configs of brats_seg3d with 8 filters and 4 mm voxels, random weights, a short card."""
    source = REPOSITORY / "bundles" / "brats_seg3d" / "configs"
    root = tmp_path_factory.mktemp("repository") / "bundles" / "small_seg"
    (root / "configs").mkdir(parents=True)
    for path in source.glob("*.yaml"):
        text = re.sub(r"init_filters: \d+", "init_filters: 8", path.read_text().replace(source.parent.name, "small_seg"))
        (root / "configs" / path.name).write_text(re.sub(r"(?m)^spacing: .*", "spacing: [4.0, 4.0, 4.0]", text))
    metadata = json.loads((source / "metadata.json").read_text())
    metadata |= {"version": "0.1.0", "changelog": {"0.1.0": "first"}}

    (root / "LICENSE").write_text("free\n")
    (root / "docs" / "figures").mkdir(parents=True)
    (root / "docs" / "data_license.txt").write_text("free\n")
    (root / "docs" / "README.md").write_text(CARD)
    (root / "docs" / "figures" / "case.png").write_bytes(b"\x89PNG\0")
    (root / "models").mkdir()
    torch.manual_seed(0)
    parser = ConfigParser(ConfigParser.load_config_file(root / "configs" / "inference.yaml"))
    torch.save(parser.get_parsed_content("network_def").state_dict(), root / "models" / "model.pt")
    metadata["weights"] = {"models/model.pt": sha256(root / "models" / "model.pt")}
    (root / "configs" / "metadata.json").write_text(json.dumps(metadata))
    for name in ("shared", "pyproject.toml"):  # what the card links to beside bundles/
        (root.parent.parent / name).symlink_to(REPOSITORY / name)
    return root
