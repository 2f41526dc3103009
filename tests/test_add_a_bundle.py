"""The six steps by which a bundle is added, taken in a copy of this repository with a toy that finds balls."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from .conftest import REPOSITORY

COPIED = (
    "bundles",
    "shared",
    "tools",
    "tests",
    "docs",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "pyproject.toml",
    "requirements.txt",
)
PHANTOM = '''"""Bright balls in noise."""

from pathlib import Path

import nibabel as nib
import numpy as np


def toy(directory: str, cases: int = 4, seed: int = 0) -> None:
    """Write `<directory>/ball<i>_t1.nii.gz` and `ball<i>_label.nii.gz`, 32 x 32 x 32 voxels of 4 mm."""
    rng, folder = np.random.default_rng(seed), Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    grid = np.stack(np.meshgrid(*[np.arange(32)] * 3, indexing="ij"))
    for case in range(cases):
        ball = ((grid - rng.uniform(12, 20, 3).reshape(3, 1, 1, 1)) ** 2).sum(0) < rng.uniform(5, 8) ** 2
        image = (1 + 2 * ball + rng.normal(0, 0.2, ball.shape)).astype(np.float32)
        for name, values in {"t1": image, "label": ball.astype(np.uint8)}.items():
            nib.save(nib.Nifti1Image(values, np.diag([4.0, 4, 4, 1])), folder / f"ball{case}_{name}.nii.gz")
'''
DATASET = '''"""Balls with their label maps."""

from shared.data import find_cases

NEEDS = "label"


def read(directory):
    return [{**item, "subject": item["case"]} for item in find_cases(directory, {"t1": ["t1"]}, label=["label"])]


def check(item):
    return [], None


def describe(cases, findings):
    return ""
'''
CARD = """# toy: balls

    python -m monai.bundle run --config_file bundles/toy/configs/inference.yaml --dataset_dir DIR --output_dir OUT

<!-- scores -->
<!-- /scores -->
"""
CHANGES = {  # of brats_seg3d's configs
    r"brats_seg3d|(?<=data/)brats": "toy",
    r"(?m)^sequences: .*": "sequences: [t1]",
    r"(?m)^conventions:.*\n(?:  .*\n)+": "conventions: {toy: {ball: [1]}}\n",
    r"(?m)^file_endings:.*\n(?:  .*\n)+": "file_endings: {t1: [t1]}\n",
    r"(?m)^channels_4d: .*": "channels_4d: null",
    r"(?m)^regions: .*": "regions: [ball]",
    r"(?m)^paint: .*": "paint: {ball: 1}",
    r"(?m)^region_labels: .*": "region_labels: {ball: [1]}",
    r"(?m)^pictured: .*": "pictured: {T1: 0}",
    r"in_channels: 4": "in_channels: 1",
    r"out_channels: 3": "out_channels: 1",
    r"init_filters: 16": "init_filters: 8",
    r"(?m)^spacing: .*": "spacing: [4.0, 4.0, 4.0]",
    r"(?m)^patch_size: .*": "patch_size: [16, 16, 16]",
    r"(?m)^max_epochs: .*": "max_epochs: 4",
    r"(?m)^learning_rate: .*": "learning_rate: 0.01",
}


def write_bundle(root: Path) -> None:
    """Step 2: the files of brats_seg3d with what differs."""
    source = root.parent / "brats_seg3d"
    for folder in ("configs", "docs"):
        (root / folder).mkdir(parents=True)
    for name in ("LICENSE", "docs/data_license.txt", "configs/logging.conf"):
        shutil.copy(source / name, root / name)
    for name in ("train", "evaluate", "inference"):
        text = (source / "configs" / f"{name}.yaml").read_text()
        for pattern, replacement in CHANGES.items():
            text = re.sub(pattern, replacement, text)
        (root / "configs" / f"{name}.yaml").write_text(text)
    metadata = json.loads((source / "configs" / "metadata.json").read_text())
    for key in ("weights", "segments", "eval_metrics"):
        del metadata[key]
    metadata |= {"task": "Find balls", "demo": {"phantom": "toy", "cases": 1}, "eval_metrics": {"key": ["dice_ball"]}}
    data = metadata["network_data_format"]
    data["inputs"]["image"] |= {"num_channels": 1, "channel_def": {"0": "T1"}}
    data["outputs"]["pred"] |= {"num_channels": 1, "channel_def": {"0": "ball"}}
    (root / "configs" / "metadata.json").write_text(json.dumps(metadata, indent=4))
    (root / "docs" / "README.md").write_text(CARD)


def test_six_steps_and_the_toy_is_known_everywhere(tmp_path):
    root = tmp_path / "repository"
    root.mkdir()
    for name in COPIED:
        source, unwanted = REPOSITORY / name, shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, root / name, ignore=unwanted) if source.is_dir() else shutil.copy(source, root / name)

    def run(*commands: str) -> None:
        """Each as behind `python -m`, all in one process: what starting costs is paid once."""
        program = "import runpy, shlex, sys\n"
        for command in commands:
            module, *words = shlex.split(command)
            program += f"sys.argv = {['', *words]}\nrunpy.run_module({module!r}, run_name='__main__', alter_sys=True)\n"
        done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    write_bundle(root / "bundles" / "toy")
    (root / "tools" / "phantoms" / "toy.py").write_text(PHANTOM)  # step 3
    (root / "tools" / "datasets" / "toy.py").write_text(DATASET)
    run(
        "tools phantom toy data --cases 6",
        "tools prepare toy data",
        "monai.bundle run --config_file bundles/toy/configs/train.yaml --dataset_dir data --workers 0 --device cpu",  # step 4
        "tools ship toy runs/toy/model.pt --half",
        "tools evaluate toy --dataset_dir data --write --data 'one ball'",  # step 5
        "tools catalogue --output site",
    )
    run("pytest tests/test_bundles.py -k 'toy or readme' -p no:cacheprovider")  # also what verify checks; step 6

    row = next(line for line in (root / "README.md").read_text().splitlines() if line.startswith("| [toy]"))
    assert "Find balls" in row and "dice_ball" in row
    score = json.loads((root / "bundles" / "toy" / "configs" / "metadata.json").read_text())["eval_metrics"]["scores"]
    assert score["dice_ball"]["mean"] > 0.5  # it has learned something
    assert (root / "site" / "toy.html").is_file() and "toy.html" in (root / "site" / "index.html").read_text()


def test_contributing_has_six_steps():
    steps = re.findall(r"^(\d)\. ", (REPOSITORY / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    assert steps == ["1", "2", "3", "4", "5", "6"]
