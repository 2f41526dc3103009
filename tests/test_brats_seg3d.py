"""The bundle from end to end, as its commands run it: training, resuming, evaluation, inference, damaged input."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import run

from shared.errors import InputError, root_cause
from shared.handlers.case_table import read_rows
from tools.phantoms.brats import SEQUENCES, brats

from .conftest import REAL_IMAGES, REPOSITORY, SMALL, config

TRAIN = {**SMALL, "workers": 0, "patch_size": [24, 24, 24], "patches_per_case": 1}


def infer(data, output, weights, **options):
    settings = {**SMALL, "dataset_dir": str(data), "output_dir": str(output), "checkpoint": str(weights), **options}
    run(config_file=config("inference"), **settings)


def copy_case(source: Path, target: Path, change=lambda image: image) -> dict[str, Path]:
    """Copy the four sequences of a case, each through `change`."""
    target.mkdir(parents=True)
    files = {}
    for name in SEQUENCES:
        path = next(source.glob(f"*_{name}.nii.gz"))
        files[name] = target / path.name
        nib.save(change(nib.load(path)), files[name])
    return files


@pytest.fixture(scope="module")
def case_dir(brats_dir) -> Path:
    return brats_dir / "MICCAI_BraTS2020_TrainingData" / "BraTS20_Training_001"


def test_training_logs_saves_and_goes_on_exactly(brats_dir, tmp_path):
    # the cache on disk is read from the second epoch on, and must not forget where voxels lie
    settings = {**TRAIN, "dataset_dir": str(brats_dir), "lr_scheduler::T_max": 2, "val_interval": 1, "cache": "disk"}
    for name, parts in {"straight": [2], "broken": [1, 2]}.items():
        for epochs in parts:
            resume = {"resume": epochs != parts[0]}
            run(config_file=config("train"), output_dir=str(tmp_path / name), max_epochs=epochs, **resume, **settings)
    straight, broken = (torch.load(tmp_path / n / "last.pt", weights_only=True) for n in ("straight", "broken"))
    assert straight["epoch"] == broken["epoch"] == 2
    for key, value in straight["network"].items():
        assert torch.equal(value, broken["network"][key]), key
    assert straight["best_metric"] == broken["best_metric"]

    best = torch.load(tmp_path / "straight" / "model.pt", weights_only=True)
    assert all(isinstance(v, torch.Tensor) for v in best.values())
    assert list(read_rows(tmp_path / "straight" / "validation.csv")) == _cases(brats_dir, "validation")

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    scalars, images = set(), set()
    for file in (tmp_path / "straight").glob("events*"):
        events = EventAccumulator(str(file)).Reload()
        scalars |= set(events.Tags()["scalars"])
        images |= set(events.Tags()["images"])
    assert {"train_loss", "dice", "hd95", "train_dice"} <= scalars
    assert images == {f"validation/{_cases(brats_dir, 'validation')[0]}"}


def test_training_on_drawn_cases_is_repeated_by_its_seed(heads_dir, brats_dir, tmp_path):
    settings = {**TRAIN, "dataset_dir": str(brats_dir), "heads_dir": str(heads_dir), "max_epochs": 1, "cache": "none"}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(config_file=[config("train"), config("synthetic")], output_dir=str(tmp_path / name), seed=seed, **settings)
    a, b, c = (torch.load(tmp_path / n / "model.pt", weights_only=True) for n in "abc")
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not all(torch.equal(a[key], c[key]) for key in a)


def test_pieces_below_the_least_volume_are_dropped(case_dir, small_weights, tmp_path):
    for name, least in (("all", 0.0), ("none", 1e6)):
        infer(case_dir, tmp_path / name, small_weights, pictures=False, min_volume=least)
    volumes = [read_rows(tmp_path / n / "volumes.csv")["BraTS20_Training_001"]["WT_mL"] for n in ("all", "none")]
    assert float(volumes[0]) > 0 == float(volumes[1])


def _cases(brats_dir, section):
    return [c["case"] for c in json.loads((brats_dir / "datalist.json").read_text())[section]]


def test_evaluation_scores_every_test_case_and_bfloat16_agrees(brats_dir, small_weights, tmp_path):
    files = [config("train"), config("evaluate")]
    for precision in ("float32", "bfloat16"):
        output = str(tmp_path / precision)
        settings = {**TRAIN, "dataset_dir": str(brats_dir), "checkpoint": str(small_weights), "precision": precision}
        run(config_file=files, output_dir=output, **settings)
    exact, rough = (read_rows(tmp_path / p / "per_case.csv") for p in ("float32", "bfloat16"))
    assert list(exact) == _cases(brats_dir, "testing")
    (case,) = exact
    assert list(exact[case])[1:] == [f"{m}_{r}" for m in ("dice", "hd95") for r in ("TC", "WT", "ET")]
    for key in ("dice_TC", "dice_WT", "dice_ET"):
        assert float(rough[case][key]) == pytest.approx(float(exact[case][key]), abs=0.03)


@pytest.mark.parametrize("missing", [None, "t1ce", "flair"])
def test_evaluated_dice_is_that_of_the_saved_label_map_and_the_original_label(missing, brats_dir, small_weights, tmp_path):
    """Scored by hand from the files that inference writes: the two paths must tell the same, also without a sequence."""
    settings = {
        **TRAIN,
        "dataset_dir": str(brats_dir),
        "checkpoint": str(small_weights),
        "output_dir": str(tmp_path / "e"),
        "change": f"no_{missing}" if missing else "none",
    }
    run(config_file=[config("train"), config("evaluate"), config("stability")], **settings)
    (case,) = _cases(brats_dir, "testing")
    source = brats_dir / "MICCAI_BraTS2020_TrainingData" / case
    files = copy_case(source, tmp_path / "in")
    if missing:
        files[missing].unlink()
    infer(tmp_path / "in", tmp_path / "o", small_weights, partial=[missing] if missing else [])
    pred = np.asarray(nib.load(tmp_path / "o" / f"{case}_seg.nii.gz").dataobj)
    truth = np.asarray(nib.load(source / f"{case}_seg.nii.gz").dataobj)
    both = 2 * ((pred > 0) & (truth > 0)).sum() / ((pred > 0).sum() + (truth > 0).sum())
    assert float(read_rows(tmp_path / "e" / "per_case.csv")[case]["dice_WT"]) == pytest.approx(both, abs=1e-4)


def test_an_unknown_change_of_the_stability_test_is_refused(brats_dir, small_weights, tmp_path):
    settings = {**TRAIN, "dataset_dir": str(brats_dir), "checkpoint": str(small_weights), "output_dir": str(tmp_path / "e")}
    with pytest.raises(RuntimeError) as caught:
        run(config_file=[config("train"), config("evaluate"), config("stability")], change="contrst", **settings)
    assert "did you mean 'contrast'" in str(caught.getrepr(chain=True))


TURNED = nib.affines.from_matvec(np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]) @ np.diag([4.0, 4, 4]), [5, 6, 7])
GRIDS = {
    "as it is": lambda image: image,
    "flipped and permuted": lambda image: image.as_reoriented(nib.orientations.axcodes2ornt("SPL")),
    "oblique": lambda image: nib.Nifti1Image(np.asarray(image.dataobj), TURNED),
    "anisotropic": lambda image: nib.Nifti1Image(np.asarray(image.dataobj)[:, :, ::2], image.affine @ np.diag([1, 1, 2, 1])),
}


@pytest.mark.parametrize("grid", GRIDS)
def test_output_lies_on_the_inputs_grid(case_dir, small_weights, tmp_path, grid):
    files = copy_case(case_dir, tmp_path / "in", GRIDS[grid])
    infer(tmp_path / "in", tmp_path / "out", small_weights)
    source, output = nib.load(files["t1ce"]), nib.load(tmp_path / "out" / "BraTS20_Training_001_seg.nii.gz")
    assert output.shape == source.shape
    np.testing.assert_allclose(output.affine, source.affine, atol=1e-4)
    assert output.header.get_xyzt_units()[0] == "mm"
    labels = np.asarray(output.dataobj)
    assert labels.dtype == np.uint8 and set(np.unique(labels)) <= {0, 1, 2, 4} and labels.any()
    assert not labels[np.asarray(nib.load(files["t1"]).dataobj) == 0].all()
    volume = abs(np.linalg.det(source.affine[:3, :3])) / 1000
    row = read_rows(tmp_path / "out" / "volumes.csv")["BraTS20_Training_001"]
    assert float(row["WT_mL"]) == pytest.approx((labels > 0).sum() * volume, rel=1e-4)
    assert float(row["ET_mL"]) == pytest.approx((labels == 4).sum() * volume, rel=1e-4)
    assert (tmp_path / "out" / "pictures" / "BraTS20_Training_001.png").stat().st_size > 10_000


def test_the_orientation_of_the_file_does_not_change_the_result(case_dir, small_weights, tmp_path):
    copy_case(case_dir, tmp_path / "a")
    copy_case(case_dir, tmp_path / "b", GRIDS["flipped and permuted"])
    for name in "ab":
        infer(tmp_path / name, tmp_path / f"out_{name}", small_weights, pictures=False)
    first, second = (nib.load(tmp_path / f"out_{n}" / "BraTS20_Training_001_seg.nii.gz") for n in "ab")
    back = second.as_reoriented(
        nib.orientations.ornt_transform(nib.io_orientation(second.affine), nib.io_orientation(first.affine))
    )
    np.testing.assert_array_equal(np.asarray(first.dataobj), np.asarray(back.dataobj))


def test_one_4d_file_gives_what_four_files_give(case_dir, small_weights, tmp_path):
    files = copy_case(case_dir, tmp_path / "four")
    (tmp_path / "one").mkdir()
    images = [nib.load(files[name]) for name in ("flair", "t1", "t1ce", "t2")]
    stacked = np.stack([np.asarray(i.dataobj) for i in images], -1)
    nib.save(nib.Nifti1Image(stacked, images[0].affine), tmp_path / "one" / "P9.nii.gz")
    infer(tmp_path / "four", tmp_path / "o4", small_weights, pictures=False)
    infer(tmp_path / "one", tmp_path / "o1", small_weights, pictures=False)
    four = np.asarray(nib.load(tmp_path / "o4" / "BraTS20_Training_001_seg.nii.gz").dataobj)
    np.testing.assert_array_equal(four, np.asarray(nib.load(tmp_path / "o1" / "P9_seg.nii.gz").dataobj))
    assert not (tmp_path / "o1" / "pictures").exists()


def test_damaged_cases_are_listed_and_the_others_finish(case_dir, small_weights, tmp_path, caplog):
    data = tmp_path / "in"
    copy_case(case_dir, data / "good1")
    copy_case(case_dir, data / "good2")
    next((data / "good2").glob("*_t2.nii.gz")).rename(data / "good2" / "BraTS20_Training_001_T2w.nii.gz")
    text = copy_case(case_dir, data / "text")["t1"]
    text.write_text("this is no image")
    missing = copy_case(case_dir, data / "missing")["flair"]
    missing.unlink()
    with pytest.raises(InputError) as end:
        infer(data, tmp_path / "out", small_weights, pictures=False)
    message = str(end.value)
    assert message.startswith("2 of 4 cases failed:")
    assert f"{text}: not a readable NIfTI image" in message
    assert f"{data / 'missing'}: missing sequence, expected flair" in message
    names = [f"good{i}_BraTS20_Training_001" for i in (1, 2)]
    assert sorted(p.name for p in (tmp_path / "out").glob("*.nii.gz")) == [f"{n}_seg.nii.gz" for n in names]
    assert sorted(read_rows(tmp_path / "out" / "volumes.csv")) == names


def test_a_failed_case_ends_the_command_with_an_exit_code(case_dir, small_weights, tmp_path):
    files = copy_case(case_dir, tmp_path / "in")
    files["t2"].write_bytes(files["t2"].read_bytes()[:2000])
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", config("inference")]
    options = {**SMALL, "dataset_dir": tmp_path / "in", "output_dir": tmp_path / "out", "checkpoint": small_weights}
    for key, value in options.items():
        command += [f"--{key}", str(value)]
    ended = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert f"1 of 1 cases failed:\n  BraTS20_Training_001: {files['t2']}: not a readable NIfTI image" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not list((tmp_path / "out").glob("*.nii.gz"))


def test_an_unwritable_output_folder_is_refused_before_any_work(case_dir, small_weights, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=f"cannot write into the output folder {tmp_path}/file"):
        infer(case_dir, tmp_path / "file", small_weights)


def test_labels_outside_the_convention_stop_training_and_name_the_file(brats_dir, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(brats_dir, data)
    for path in data.glob("*/*/*_seg.nii.gz"):
        image = nib.load(path)
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj) * np.uint8(3), image.affine), path)
    with pytest.raises(Exception) as error:
        run(config_file=config("train"), dataset_dir=str(data), output_dir=str(tmp_path / "o"), max_epochs=1, **TRAIN)
    cause = str(root_cause(error.value))
    assert "_seg.nii.gz: label values" in cause and "convention 'brats2020'" in cause


@pytest.mark.skipif(not (REAL_IMAGES / "open_ms").is_dir(), reason="needs the MS patients of the reference images")
def test_real_patients_keep_their_geometry(small_weights, tmp_path):
    source = REAL_IMAGES / "open_ms" / "MNI_1mm"
    infer(source, tmp_path, small_weights)
    for patient in ("patient07", "patient19"):
        image, output = nib.load(source / patient / "T1POST.nii.gz"), nib.load(tmp_path / f"{patient}_seg.nii.gz")
        assert image.shape == output.shape
        np.testing.assert_allclose(image.affine, output.affine, atol=1e-4)


def test_the_phantoms_of_all_releases_train_alike(tmp_path):
    """The same tumours under four naming and labelling conventions give the same regions."""
    from monai.transforms import Compose

    from shared.transforms import LabelsToRegionsd, LoadCased
    from tools.datasets.brats import read

    conventions = {
        "brats2020": {"TC": [1, 4], "WT": [1, 2, 4], "ET": [4]},
        "brats2023": {"TC": [1, 3], "WT": [1, 2, 3], "ET": [3]},
        "msd": {"TC": [2, 3], "WT": [1, 2, 3], "ET": [3]},
    }
    load = Compose([LoadCased(["t1ce", "t1", "t2", "flair"], "label"), LabelsToRegionsd("label", conventions)])
    items = []
    for release in ("2020", "2021", "2023", "msd"):
        brats(str(tmp_path / release), cases=1, seed=3, spacing=6.0, release=release)
        (case,) = read(str(tmp_path / release))
        items.append(load(case))
    for item in items[1:]:
        assert torch.equal(item["image"].as_tensor(), items[0]["image"].as_tensor())
        assert torch.equal(item["label"].as_tensor(), items[0]["label"].as_tensor())
    assert items[0]["label"].amax((1, 2, 3)).tolist() == [1, 1, 1]


def test_fine_tuning_with_other_sequences_logs_what_was_adapted(brats_dir, small_weights, tmp_path, caplog):
    options = {"sequences": ["t1ce", "flair"], "network_def::in_channels": 2, "pictured": {"T1ce": 0}, "max_epochs": 1}
    data = tmp_path / "data"
    shutil.copytree(brats_dir, data)
    content = json.loads((data / "datalist.json").read_text())
    for section in ("training", "validation"):
        for item in content[section]:
            item["image"] = [item["image"][0], item["image"][3]]
    (data / "datalist.json").write_text(json.dumps(content))
    with caplog.at_level("INFO"):
        run(
            config_file=config("train"),
            dataset_dir=str(data),
            output_dir=str(tmp_path / "out"),
            finetune=str(small_weights),
            logging_file=False,  # the bundle's takes messages away from caplog
            **TRAIN,
            **options,
        )
    assert any("adapted: 1 tensors: convInit.conv.weight" in message for message in caplog.messages)
    assert any(message.startswith("reused: ") for message in caplog.messages)
