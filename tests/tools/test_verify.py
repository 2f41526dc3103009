"""Every check passes on a good bundle and fails on one that is broken in its respect."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from monai.bundle import ConfigParser

from tools import checks as module
from tools.checks import ABSOLUTE_PATH, CHECKS
from tools.verify import foreign, surroundings, verify


@pytest.fixture
def bundle(small_bundle, tmp_path) -> Path:
    """A copy to break."""
    shutil.copytree(small_bundle.parent.parent, tmp_path, symlinks=True, dirs_exist_ok=True)
    return tmp_path / "bundles" / small_bundle.name


def remove(file: str) -> Callable[[Path], None]:
    return lambda root: (root / file).unlink()


def setting(file: str, key: str, value: Any) -> Callable[[Path], None]:
    """Set `key` ("a::b::c") of a config, or drop it where the value is None."""

    def change(root: Path) -> None:
        parser = ConfigParser(ConfigParser.load_config_file(root / file))
        parser[key] = value
        content = {k: v for k, v in parser.get().items() if v is not None or k != key}
        (root / file).write_text(yaml.safe_dump(content, sort_keys=False))

    return change


def line(file: str, key: str, value: str) -> Callable[[Path], None]:
    """Set a setting that stands on a line of its own; all comments stay."""

    def change(root: Path) -> None:
        text, number = re.subn(rf"(?m)^{key}: .*", f"{key}: {value}", (root / file).read_text())
        assert number == 1
        (root / file).write_text(text)

    return change


def append(file: str, text: str) -> Callable[[Path], None]:
    return lambda root: (root / file).write_text((root / file).read_text() + text)


def metadata(change: Callable[[dict], None]) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        content = json.loads((root / "configs" / "metadata.json").read_text())
        change(content)
        (root / "configs" / "metadata.json").write_text(json.dumps(content))

    return write


def tensor(side: str, name: str, **values) -> Callable[[Path], None]:
    return metadata(lambda content: content["network_data_format"][side][name].update(values))


def weights(change: Callable[[dict], dict]) -> Callable[[Path], None]:
    def save(root: Path) -> None:
        path = root / "models" / "model.pt"
        torch.save(change(torch.load(path, weights_only=True)), path)

    return save


def write(file: str, content: bytes) -> Callable[[Path], None]:
    return lambda root: (root / file).write_bytes(content)


TRAIN, INFERENCE, CARD = "configs/train.yaml", "configs/inference.yaml", "docs/README.md"
LONG = "$" + "+".join(["1"] * 41)
BROKEN = [
    ("complete", remove("LICENSE"), "LICENSE"),
    ("complete", remove("docs/data_license.txt"), "docs/data_license.txt"),
    ("complete", remove("models/model.pt"), "models/model.pt"),
    ("complete", remove(TRAIN), "configs/train"),
    ("complete", remove(INFERENCE), "configs/inference"),
    ("metadata_schema", metadata(lambda m: m.pop("task")), "'task' is a required property"),
    ("metadata_schema", metadata(lambda m: m.update(schema="https://a.org/b.json")), "b.json'.*meta_schema_20240725"),
    ("metadata_schema", tensor("inputs", "image", num_channels="4"), "network_data_format"),
    ("changelog", metadata(lambda m: m.update(version="9.9.9")), "9.9.9 is none of 0.1.0"),
    ("network_in_out", tensor("inputs", "image", num_channels=3), "4 channels, but got 3"),
    ("network_in_out", tensor("outputs", "pred", num_channels=2), "`3` doesn't match: `2`"),
    ("network_in_out", tensor("outputs", "pred", dtype="float64"), "float32` doesn't match"),
    ("torchscript", weights(lambda state: dict(list(state.items())[1:])), "Missing key"),
    ("torchscript", write("models/model.ts", b"none"), "model.ts|archive"),
    ("train_properties", setting(TRAIN, "train::trainer::train_handlers", "@validate::handlers"), "train_handlers"),
    ("train_properties", setting(TRAIN, "bundle_root", None), "bundle_root"),
    ("train_properties", setting(TRAIN, "train::trainer::_target_", "NoTrainer"), "NoTrainer"),
    ("inference_properties", setting(INFERENCE, "dataset::transform", "@postprocessing"), "preprocessing"),
    ("inference_properties", setting(INFERENCE, "dataset_dir", None), "dataset_dir"),
    ("channels_and_shapes", tensor("outputs", "pred", channel_def={"0": "a", "1": "b"}), "pred: channel_def has"),
    ("channels_and_shapes", setting(INFERENCE, "network_def::out_channels", 2), "out_channels 2, metadata 3"),
    ("channels_and_shapes", tensor("outputs", "pred", spatial_shape=["8*n"] * 3), "metadata says .*8, 8, 8"),
    ("train_inference_agree", setting(TRAIN, "network_def::init_filters", 16), "network_def is"),
    ("train_inference_agree", line(TRAIN, "spacing", "[2.0, 2.0, 2.0]"), "spacing is"),
    ("train_inference_agree", line(INFERENCE, "regions", "[WT, TC, ET]"), "regions is"),
    ("train_inference_agree", setting(INFERENCE, "image_preprocessing::0::axcodes", "LPS"), "image_preprocessing is"),
    ("train_inference_agree", setting(INFERENCE, "image_preprocessing", None), "image_preprocessing"),
    ("weights", weights(lambda state: {"model": state}), "not model"),
    ("weights", weights(lambda state: {**state, "more": torch.zeros(1)}), "Unexpected key.*more"),
    ("weights", weights(lambda state: {k: v.to("meta") for k, v in state.items()}), "lie on meta"),
    ("checksums", weights(lambda state: {k: v + 1 for k, v in state.items()}), "model.pt has .* metadata says"),
    ("checksums", metadata(lambda meta: meta.pop("weights")), "no weights/models/model.pt in metadata"),
    ("weights", weights(lambda state: torch.nn.Linear(1, 1)), "[Ww]eights_only"),
    ("links", append(CARD, "\n![more](figures/more.png)"), "broken: figures/more.png"),
    ("links", append(CARD, "\n[train](../configs/train.json)"), "broken: ../configs/train.json"),
    ("links", append(CARD, "\n[see](#elsewhere)"), "broken: #elsewhere"),
    ("links", append(CARD, '\n<img src="figures/more.png">'), "broken: figures/more.png"),
    ("links", write("docs/figures/unused.png", b""), "unused: unused.png"),
    ("absolute_paths", append(INFERENCE, "\nextra: /data/brats\n"), "inference.yaml line .*: /data/brats"),
    ("absolute_paths", append(CARD, "\nin /mnt/scans"), "README.md line .*: /mnt/scans"),
    ("absolute_paths", append("LICENSE", "see C:\\texts"), "LICENSE line 2: C:.texts"),
    ("versions", metadata(lambda m: m.update(monai_version="1.0.0")), "monai 1.0.0, expected 1.6.1"),
    ("versions", metadata(lambda m: m["required_packages_version"].update(nobody="1")), "nobody 1.*no such"),
    ("segments", metadata(lambda m: m["segments"]["1"].pop("type")), "1: type is .*, expected value, scheme and meaning"),
    ("segments", metadata(lambda m: m["segments"].update({"0": {}})), "value '0', expected a whole number above 0"),
    ("expressions", setting(TRAIN, "extra", LONG), "train.yaml: 82 characters, at most 80"),
    ("expressions", setting(INFERENCE, "extra", "$[x for x in @regions]"), "inference.yaml: comprehension"),
    ("own_code", setting(INFERENCE, "extra", {"_target_": "shared.handlers.NoPictures"}), "NoPictures"),
    ("own_code", setting(INFERENCE, "extra", [{"writer": "shared.data.NoWriter"}]), "shared.data.NoWriter"),
]


@pytest.mark.parametrize(("check", "damage", "reason"), BROKEN)
def test_a_check_fails_on_what_it_is_for(bundle, check, damage, reason):
    damage(bundle)
    with surroundings(bundle), pytest.raises(BaseException, match=reason) as failure:
        getattr(module, check)(bundle)
    assert isinstance(failure.value, Exception | SystemExit)


def test_every_check_was_seen_to_fail():
    assert {check.__name__ for check in CHECKS} == {check for check, _, _ in BROKEN}


def test_a_good_bundle_passes_and_every_check_says_so(bundle, capsys):
    verify(str(bundle))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("ok ", "FAIL"))]
    assert len(lines) == len(CHECKS)
    assert all(line.startswith("ok ") for line in lines)


def test_failures_are_listed_and_the_rest_still_runs(bundle, capsys):
    remove("LICENSE")(bundle)
    metadata(lambda m: m.update(version="9.9.9"))(bundle)
    with pytest.raises(SystemExit, match=f"small_seg: 2 of {len(CHECKS)} checks failed"):
        verify(str(bundle))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("ok ", "FAIL"))]
    assert len(lines) == len(CHECKS)
    failed = [line for line in lines if line.startswith("FAIL")]
    assert "missing LICENSE" in failed[0]
    assert "9.9.9" in failed[1]


def test_settings_of_a_run_may_differ(bundle):
    line(INFERENCE, "overlap", "0.5")(bundle)
    module.train_inference_agree(bundle)


def test_an_unknown_bundle_is_an_error():
    with pytest.raises(ValueError, match="no bundle 'nothing'"):
        verify("nothing")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("data in /home/me/scans", "/home/me"),
        ('"/workspace/data"', "/workspace/data"),
        ("[card](/docs/README.md)", "/docs/README.md"),
        (r"D:\scans", r"D:\scans"),
        ("$@bundle_root + '/models/model.pt'", None),
        ("https://monai.io/docs/page", None),
        ("TC/WT/ET and 1/2 and </sub>", None),
        ("../shared/data ~/scans/new <root>/a/b", None),
    ],
)
def test_what_counts_as_an_absolute_path(text, path):
    match = ABSOLUTE_PATH.search(text)
    assert (match and match[0]) == path


def test_foreign_lists_expressions_and_components_of_other_packages(bundle):
    setting("configs/evaluate.yaml", "extra", {"_target_": "subprocess.run", "args": ["$@x + 1", "plain"]})(bundle)
    found = set(foreign(bundle))
    assert {("evaluate.yaml", "subprocess.run"), ("evaluate.yaml", "$@x + 1")} <= found
    assert not any(text.startswith(("shared.", "torch.", "ignite.", "plain")) or text == "Compose" for _, text in found)
