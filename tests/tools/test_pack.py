"""A packed bundle is complete, the same each time, and runs anywhere, beside others."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import monai.bundle
import pytest
import torch
import yaml

from tools.pack import SHARED, config_json, pack, packed_card
from tools.phantoms.brats import brats
from tools.verify import verify

ARCHIVE = "small_seg_v0.1.0.zip"


def unzip(archive: Path, folder: Path) -> Path:
    with zipfile.ZipFile(archive) as content:
        content.extractall(folder)
    return folder / archive.name.partition("_v")[0]


def renamed(bundle: Path, folder: Path, name: str) -> Path:
    return shutil.copytree(bundle, folder / "bundles" / name)


def run_python(*arguments: str, cwd: Path) -> str:
    """Run Python in `cwd` with an empty PYTHONPATH; what it prints."""
    environment = {**os.environ, "PYTHONPATH": ""}
    done = subprocess.run([sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(small_bundle, tmp_path_factory) -> Path:
    """The folder that the small bundle was packed into."""
    folder = tmp_path_factory.mktemp("dist")
    pack(str(small_bundle), str(folder))
    return folder


@pytest.fixture(scope="module")
def unzipped(dist, tmp_path_factory) -> Path:
    return unzip(dist / ARCHIVE, tmp_path_factory.mktemp("elsewhere"))


@pytest.fixture(scope="module")
def case_dir(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("case")
    brats(str(folder), cases=1, spacing=4.0)
    return folder


def test_the_zip_holds_a_whole_bundle_and_passes_verify(dist, unzipped, small_bundle, capsys):
    with zipfile.ZipFile(dist / ARCHIVE) as archive:
        names = archive.namelist()
    files = "LICENSE docs/README.md docs/data_license.txt docs/figures/case.png models/model.pt models/model.ts"
    configs = "train.json evaluate.json inference.json metadata.json logging.conf smoke.json"
    expected = [*files.split(), *(f"configs/{name}" for name in configs.split()), "small_seg_shared/data/cases.py"]
    assert {f"small_seg/{name}" for name in expected} <= set(names)
    assert all(name.startswith("small_seg/") for name in names)
    assert not [name for name in names if "__pycache__" in name or name.endswith(".yaml")]
    assert (unzipped / "models" / "model.pt").read_bytes() == (small_bundle / "models" / "model.pt").read_bytes()
    verify(str(unzipped))
    assert "FAIL" not in capsys.readouterr().out


def test_configs_say_the_same_in_the_same_order(unzipped, small_bundle):
    for name in ("train", "evaluate", "inference"):
        text = (small_bundle / "configs" / f"{name}.yaml").read_text()
        before = yaml.safe_load(text.replace(" shared.", " small_seg_shared."))
        after = json.loads((unzipped / "configs" / f"{name}.json").read_text())
        assert json.dumps(after) == json.dumps(before)  # text, since dicts are equal in any order


def test_the_same_input_gives_the_same_bytes(dist, small_bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    copy = renamed(small_bundle, tmp_path, "small_seg")
    for path in copy.rglob("*"):
        os.utime(path, (10**9, 10**9))
        path.chmod(0o700)
    pack(str(copy), str(tmp_path))
    first, second = ((folder / ARCHIVE).read_bytes() for folder in (dist, tmp_path))
    assert hashlib.sha256(first).hexdigest() == hashlib.sha256(second).hexdigest()
    for trace in (str(tmp_path), torch.__file__.rpartition("/")[0]):
        assert trace.encode() not in second


def test_model_info_has_the_official_form_and_keeps_other_entries(small_bundle, tmp_path, monkeypatch):
    monkeypatch.setattr("tools.pack.add_torchscript", lambda packed: None)
    (tmp_path / "model_info.json").write_text('{"other_v1.0.0": {"checksum": "0", "source": "other"}}')
    pack(str(small_bundle), str(tmp_path))
    info = json.loads((tmp_path / "model_info.json").read_text())
    content = (tmp_path / ARCHIVE).read_bytes()
    assert list(info) == ["other_v1.0.0", "small_seg_v0.1.0"]
    assert info["small_seg_v0.1.0"] == {
        "checksum": hashlib.sha1(content).hexdigest(),
        "source": ARCHIVE,
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "version": "0.1.0",
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model_info.json", ARCHIVE]


def test_it_runs_from_another_folder_without_the_repository(unzipped, case_dir, tmp_path):
    config = str(unzipped / "configs" / "inference.json")
    folders = ["--dataset_dir", str(case_dir), "--output_dir", str(tmp_path / "out")]
    said = run_python("-m", "monai.bundle", "run", "--config_file", config, *folders, cwd=tmp_path)
    assert " - INFO - " in said  # logging.conf was read
    assert (tmp_path / "out" / "BraTS20_Training_001_seg.nii.gz").is_file()
    assert (tmp_path / "out" / "volumes.csv").is_file()


def test_two_packed_bundles_run_in_one_process_each_with_its_own_code(small_bundle, unzipped, case_dir, tmp_path, monkeypatch):
    monkeypatch.setattr("tools.pack.add_torchscript", lambda packed: None)  # takes long and is not used here
    pack(str(renamed(small_bundle, tmp_path, "second_seg")), str(tmp_path))
    second = unzip(tmp_path / "second_seg_v0.1.0.zip", tmp_path)
    writers = second / "second_seg_shared" / "data" / "writers.py"
    writers.write_text(writers.read_text().replace("{meta['case']}.nii.gz", "second_{meta['case']}.nii.gz"))
    program = tmp_path / "both.py"
    program.write_text(
        "import sys\nfrom monai.bundle import run\n"
        "for bundle in sys.argv[2:]:\n"
        "    options = {'dataset_dir': sys.argv[1], 'output_dir': 'out', 'pictures': False, 'overwrite': True}\n"
        "    run(config_file=bundle + '/configs/inference.json', **options)\n"
    )
    run_python(str(program), str(case_dir), str(unzipped), str(second), cwd=tmp_path)
    written = sorted(path.name for path in (tmp_path / "out").glob("*.nii.gz"))
    assert written == ["BraTS20_Training_001_seg.nii.gz", "second_BraTS20_Training_001_seg.nii.gz"]


def test_monai_loads_weights_and_torchscript_and_both_predict_the_same(unzipped):
    weights = monai.bundle.load("small_seg", bundle_dir=unzipped.parent, device="cpu").eval()
    options = {"load_ts_module": True, "config_files": ["inference.json"], "device": "cpu"}
    script, metadata, extra = monai.bundle.load("small_seg", bundle_dir=unzipped.parent, **options)
    assert metadata == json.loads((unzipped / "configs" / "metadata.json").read_text())
    assert json.loads(extra["inference.json"]) == json.loads((unzipped / "configs" / "inference.json").read_text())
    image = torch.rand(1, 4, 32, 32, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(script(image), weights(image))


def test_the_card_speaks_of_the_packed_bundle(unzipped):
    card = (unzipped / "docs" / "README.md").read_text()
    assert "--config_file configs/inference.json --dataset_dir" in card
    assert "\"['configs/train.json','configs/smoke.json']\"" in card
    assert "[the configs](../configs/train.json)" in card
    assert "[finds cases](../small_seg_shared/data/cases.py)" in card
    assert "`small_seg_shared.data.find_cases`" in card
    assert "see the project and [MONAI](https://monai.io)" in card  # what lies outside is no link any more
    assert "bundles/" not in card
    assert "python -m tools verify small_seg\n" in card


def test_a_link_to_a_common_config_leads_to_the_packed_one():
    text = packed_card("[smoke](../../../shared/configs/smoke.yaml)", "name", ["smoke"])
    assert text.endswith("[smoke](../configs/smoke.json)")
    text = packed_card("bundles/name/configs/train.yaml bundles/other/configs/train.yaml", "name", ["train"])
    assert text.endswith("configs/train.json bundles/other/configs/train.yaml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("shared.data.AtomicNibabelWriter", "new.data.AtomicNibabelWriter"),
        ("$import shared.data as data", "$import new.data as data"),
        ("$shared.paths.PACKAGE", "$new.paths.PACKAGE"),
        ("my_shared.data", "my_shared.data"),
        ("a.shared.data", "a.shared.data"),
        ("@shared.data", "@shared.data"),
        ("sharedly.data", "sharedly.data"),
        ("weights are shared.", "weights are shared."),
    ],
)
def test_only_the_package_is_renamed(text, expected):
    assert SHARED.sub("new", text) == expected


@pytest.mark.parametrize("line", ["labels: {1: core}", "limit: .nan", "day: 2024-01-31"])
def test_a_config_that_json_cannot_say_is_an_error(tmp_path, line):
    (tmp_path / "train.yaml").write_text(line)
    with pytest.raises(ValueError, match="train.yaml"):
        config_json(tmp_path / "train.yaml", "new")


@pytest.mark.parametrize(
    ("file", "message"),
    [("models/model.pt", "no weights .*monai.bundle run .*put model.pt of the run"), ("LICENSE", "no .*LICENSE")],
)
def test_a_missing_file_is_an_error_before_anything_is_written(small_bundle, tmp_path, file, message):
    copy = renamed(small_bundle, tmp_path, "small_seg")
    (copy / file).unlink()
    with pytest.raises(FileNotFoundError, match=message):
        pack(str(copy), str(tmp_path / "dist"))
    assert not (tmp_path / "dist").exists()


def test_a_name_that_python_cannot_import_is_an_error(small_bundle, tmp_path):
    with pytest.raises(ValueError, match="'small-seg' must be a Python name"):
        pack(str(renamed(small_bundle, tmp_path, "small-seg")), str(tmp_path))


def test_a_network_without_torchscript_is_an_error_that_says_why(small_bundle, tmp_path):
    copy = renamed(small_bundle, tmp_path, "small_seg")
    torch.save({"nothing": torch.zeros(1)}, copy / "models" / "model.pt")
    with pytest.raises(ValueError, match="(?s)no TorchScript of network_def.*Missing key"):
        pack(str(copy), str(tmp_path))
