"""A release can be downloaded, checked and loaded by MONAI; what was tampered with or cut off is refused."""

import html
import json
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import monai.bundle
import pytest
import torch
import yaml

from tools import bundles, pack
from tools.facts import facts, hub_header
from tools.release import download_command, release

from ..conftest import served

ARCHIVE = "small_seg_v0.1.0.zip"


@pytest.fixture(scope="module")
def released(small_bundle, tmp_path_factory) -> Path:
    """The folder of a release of a repository that holds the small bundle."""
    folder = tmp_path_factory.mktemp("released")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundles, "REPOSITORY", small_bundle.parent.parent)
        patch.setattr(pack, "add_torchscript", lambda packed: None)  # takes long; tests/tools/test_pack.py does it
        release(str(folder), url="https://example.org/zoo/")
    return folder


def sha256sum(folder: Path) -> subprocess.CompletedProcess:
    command = ["sha256sum", "--check", "--ignore-missing", "SHA256SUMS"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def command_for(url: str, sha256: str) -> list[str]:
    return shlex.split(download_command("small_seg", {"source": f"{url}/{ARCHIVE}", "sha256": sha256}))[1:]


def test_a_release_names_each_file_with_version_checksum_size_and_source(released):
    assert sorted(p.name for p in released.iterdir()) == ["SHA256SUMS", "index.html", "model_info.json", ARCHIVE]
    (name, entry), *others = json.loads((released / "model_info.json").read_text()).items()
    assert name == "small_seg_v0.1.0" and not others
    assert entry["source"] == f"https://example.org/zoo/{ARCHIVE}"
    assert {"checksum", "sha256", "version"} <= entry.keys() and entry["size"] == (released / ARCHIVE).stat().st_size
    assert sha256sum(released).stdout == f"{ARCHIVE}: OK\n"
    page = html.unescape((released / "index.html").read_text())
    assert all((released / link).is_file() for link in re.findall(r'href="([^"]+)"', page))
    assert download_command("small_seg", entry) in page and entry["sha256"] in page


def test_a_bundle_that_cannot_be_packed_is_named_and_the_others_are_there(small_bundle, tmp_path, monkeypatch):
    (tmp_path / "bundles").mkdir()
    (tmp_path / "bundles" / "small_seg").symlink_to(small_bundle)
    (tmp_path / "bundles" / "bare" / "configs").mkdir(parents=True)
    (tmp_path / "bundles" / "bare" / "configs" / "metadata.json").write_text('{"version": "0.1.0"}')
    monkeypatch.setattr(bundles, "REPOSITORY", tmp_path)
    monkeypatch.setattr(pack, "add_torchscript", lambda packed: None)
    with pytest.raises(ValueError, match="1 bundles could not be packed: bare"):
        release(str(tmp_path / "dist"))
    assert list(json.loads((tmp_path / "dist" / "model_info.json").read_text())) == ["small_seg_v0.1.0"]


def test_monai_downloads_and_loads_it(released, small_bundle, tmp_path):
    with served(released) as url:
        words = ["--name", "small_seg", "--bundle_dir", str(tmp_path), "--url", f"{url}/{ARCHIVE}", "--progress", "false"]
        subprocess.run([sys.executable, "-m", "monai.bundle", "download", *words], check=True, capture_output=True)
    network = monai.bundle.load("small_seg", bundle_dir=str(tmp_path), device="cpu")
    shipped = torch.load(small_bundle / "models" / "model.pt", weights_only=True)
    assert all(torch.equal(value, shipped[key]) for key, value in network.state_dict().items())


def test_the_command_of_the_index_unpacks_what_has_the_right_checksum(released, tmp_path):
    sha256 = json.loads((released / "model_info.json").read_text())["small_seg_v0.1.0"]["sha256"]
    with served(released) as url:
        subprocess.run([sys.executable, *command_for(url, sha256)], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "small_seg" / "configs" / "metadata.json").is_file()


def tamper(source: Path, target: Path) -> None:
    """A whole, valid zip in which one config says something else."""
    with zipfile.ZipFile(source) as before, zipfile.ZipFile(target, "w") as after:
        for name in before.namelist():
            content = before.read(name)
            after.writestr(name, content.replace(b'"seed": 0', b'"seed": 1') if name.endswith("train.json") else content)
    assert source.read_bytes() != target.read_bytes()


def cut(source: Path, target: Path) -> None:
    target.write_bytes(source.read_bytes()[:-1000])


@pytest.mark.parametrize("damage", [tamper, cut])
def test_a_damaged_zip_is_refused_before_it_is_unpacked(released, tmp_path, damage):
    sha256 = json.loads((released / "model_info.json").read_text())["small_seg_v0.1.0"]["sha256"]
    (tmp_path / "evil").mkdir()
    (tmp_path / "here").mkdir()
    damage(released / ARCHIVE, tmp_path / "evil" / ARCHIVE)
    with served(tmp_path / "evil") as url:
        done = subprocess.run(
            [sys.executable, *command_for(url, sha256)], cwd=tmp_path / "here", capture_output=True, text=True
        )
    assert done.returncode != 0 and "sha256 hash check of downloaded file failed" in done.stderr
    assert not (tmp_path / "here" / "small_seg").exists()
    (tmp_path / "evil" / "SHA256SUMS").write_text((released / "SHA256SUMS").read_text())
    checked = sha256sum(tmp_path / "evil")
    assert checked.returncode != 0 and f"{ARCHIVE}: FAILED" in checked.stdout


def test_monai_itself_refuses_a_zip_that_was_cut_off(released, tmp_path):
    (tmp_path / "evil").mkdir()
    cut(released / ARCHIVE, tmp_path / "evil" / ARCHIVE)
    with served(tmp_path / "evil") as url, pytest.raises(zipfile.BadZipFile):
        monai.bundle.download("small_seg", url=f"{url}/{ARCHIVE}", bundle_dir=str(tmp_path / "here"), progress=False)
    assert not (tmp_path / "here" / "small_seg").exists()


# MONAI's load knows one network with one model.pt: no generators
@pytest.mark.parametrize("name", [n for n in bundles.names() if not bundles.is_generator(bundles.folder(n))])
def test_monai_loads_every_packed_bundle(name, tmp_path, monkeypatch):
    """As the README says, with the bundle's folder on the path, where own networks are found."""
    pack.lay_out(bundles.folder(name), tmp_path / name)
    monkeypatch.syspath_prepend(str(tmp_path / name))
    workflow = "train" if (tmp_path / name / "configs" / "train.json").is_file() else "inference"
    network = monai.bundle.load(name, bundle_dir=str(tmp_path), device="cpu", workflow_type=workflow)
    shipped = torch.load(bundles.folder(name) / "models" / "model.pt", weights_only=True)
    assert all(torch.equal(value, shipped[key].to(value.dtype)) for key, value in network.state_dict().items())


@pytest.mark.parametrize("name", bundles.names())
def test_the_hubs_card_has_its_header_and_links_that_lead_somewhere(name, tmp_path):
    root = tmp_path / name
    pack.lay_out(bundles.folder(name), root)
    card = (root / "README.md").read_text()
    _, header, text = card.split("---\n", 2)
    header = yaml.safe_load(header)
    assert header["library_name"] == "monai" and {"monai", "medical"} <= set(header["tags"])
    assert header["license"] == "apache-2.0"
    metrics = bundles.metadata(name)["eval_metrics"]
    (index,) = header["model-index"]
    found = {metric["type"]: metric["value"] for metric in index["results"][0]["metrics"]}
    assert found == {key: metrics["scores"][key]["mean"] for key in metrics["key"]}
    assert not (root / "docs" / "README.md").read_text().startswith("---")  # push_to_hf_hub puts one there itself
    targets = [t.partition("#")[0] for t in re.findall(r"\]\(([^)\s]+)\)", text) if ":" not in t and t[0] != "#"]
    assert all((root / target).exists() for target in targets)


def test_facts_come_from_the_data_format_or_from_what_metadata_says():
    image = {"type": "image", "modality": "CT", "spatial_shape": ["16*n", "16*n", 8]}
    outputs = {"pred": {"format": "segmentation"}}
    metadata = {"network_data_format": {"inputs": {"tags": {"type": "tuples"}, "image": image}, "outputs": outputs}}
    assert facts(metadata) == {"kind": "segmentation", "modality": "CT", "dimension": "3D"}
    assert facts({**metadata, "kind": "contouring"})["kind"] == "contouring"
    assert facts({}) == {"kind": "", "modality": "", "dimension": "0D"}
    assert "license: other" in hub_header("x", {**metadata, "task": "t"}, "All rights reserved")
