"""The bundle from end to end: T1 alone, several sequences, nine classes, any grid, missing sequences, damaged input."""

import csv
import json

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import run

from shared.errors import InputError
from shared.handlers.case_table import read_rows
from tools.phantoms.ixi import ixi
from tools.phantoms.mrbrains import mrbrains
from tools.prepare import prepare

from .conftest import REAL_IMAGES, config

BUNDLE = "mrbrains_tissue3d"
SMALL = {
    "device": "cpu",
    "spacing": [4, 4, 4],
    "head_size": [48, 64, 48],
    "network_def::network::channels": [4, 8, 8, 8],
}
SMALL_MULTI = {
    "device": "cpu",
    "spacing": [4, 4, 6],
    "head_size": [48, 64, 24],
    "network_def::filters": [4, 4, 8, 8],
    "patch_size": [32, 32, 4],
    "patches_per_head": 2,
    "window": [48, 64, 8],
}
TISSUES = ("CSF", "GM", "WM")


def configs(*names):
    return [config(name, BUNDLE) for name in names]


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """Five prepared synthetic T1 heads of 4 mm: 3 to train, 1 to validate, 1 to test."""
    folder = tmp_path_factory.mktemp("heads")
    ixi(str(folder), cases=5, seed=3, spacing=4.0)
    prepare("heads", str(folder))
    return folder


@pytest.fixture(scope="module")
def sequences(tmp_path_factory):
    """Four prepared synthetic cases of three sequences."""
    folder = tmp_path_factory.mktemp("mrbrains")
    mrbrains(str(folder), cases=4, seed=1, spacing=(4.0, 4.0, 6.0))
    prepare("mrbrains", str(folder))
    return folder


@pytest.fixture(scope="module")
def trained(heads, tmp_path_factory):
    """Trained for two epochs, straight and with a break."""
    root = tmp_path_factory.mktemp("runs")
    settings = {**SMALL, "dataset_dir": str(heads), "val_interval": 1, "lr_scheduler::total_steps": 6}
    for name, parts in {"straight": [2], "broken": [1, 2]}.items():
        for epochs in parts:
            resume = {"resume": epochs != parts[0]}
            run(config_file=configs("train"), output_dir=str(root / name), max_epochs=epochs, **resume, **settings)
    return root


def infer(data, output, weights, *overlays, **options):
    settings = {**(SMALL_MULTI if overlays else SMALL), "dataset_dir": str(data), "output_dir": str(output)}
    run(config_file=configs("inference", *overlays), checkpoint=str(weights), **{**settings, **options})


def test_training_logs_every_tissue_and_goes_on_exactly(heads, trained):
    straight, broken = (torch.load(trained / n / "last.pt", weights_only=True) for n in ("straight", "broken"))
    assert straight["epoch"] == broken["epoch"] == 2
    for key, value in straight["network"].items():
        assert torch.equal(value, broken["network"][key]), key
    (case,) = [item["case"] for item in json.loads((heads / "datalist.json").read_text())["validation"]]
    row = read_rows(trained / "straight" / "validation.csv")[case]
    assert list(row)[1:] == [f"{metric}_{tissue}" for metric in ("dice", "hd95", "avd") for tissue in TISSUES]

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    scalars, images, last = set(), set(), {}
    for file in (trained / "straight").glob("events*"):
        events = EventAccumulator(str(file)).Reload()
        scalars |= set(events.Tags()["scalars"])
        images |= set(events.Tags()["images"])
        last |= {name: events.Scalars(name)[-1].value for name in events.Tags()["scalars"]}
    assert {"train_loss", "dice", "hd95", "avd", *(f"dice_{tissue}" for tissue in TISSUES)} <= scalars
    assert images == {f"validation/{case}"}
    for tissue in TISSUES:
        assert last[f"dice_{tissue}"] == pytest.approx(float(row[f"dice_{tissue}"]), abs=1e-5)


TURNED = nib.affines.from_matvec(np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]) @ np.diag([4.0, 4, 4]), [5, 6, 7])
GRIDS = {
    "as it is": lambda image: image,
    "flipped and permuted": lambda image: image.as_reoriented(nib.orientations.axcodes2ornt("SPL")),
    "oblique": lambda image: nib.Nifti1Image(np.asarray(nib.as_closest_canonical(image).dataobj), TURNED),
    "anisotropic": lambda image: nib.Nifti1Image(np.asarray(image.dataobj)[:, ::2], image.affine @ np.diag([1, 2, 1, 1])),
}


@pytest.mark.parametrize("grid", GRIDS)
def test_output_lies_on_the_inputs_grid(heads, trained, tmp_path, grid):
    (tmp_path / "in").mkdir()
    source = GRIDS[grid](nib.load(sorted((heads / "IXI-T1").glob("*.nii.gz"))[0]))
    nib.save(source, tmp_path / "in" / "P1_T1w.nii.gz")
    infer(tmp_path / "in", tmp_path / "out", trained / "straight" / "model.pt")
    output = nib.load(tmp_path / "out" / "P1_seg.nii.gz")
    assert output.shape == source.shape and output.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_allclose(output.affine, source.affine, atol=1e-4)
    labels = np.asarray(output.dataobj)
    assert labels.dtype == np.uint8 and set(np.unique(labels)) <= {0, 1, 2, 3} and labels.any()
    row, voxel = read_rows(tmp_path / "out" / "volumes.csv")["P1"], abs(np.linalg.det(source.affine[:3, :3])) / 1000
    for number, tissue in enumerate(TISSUES, 1):
        assert float(row[f"{tissue}_mL"]) == pytest.approx((labels == number).sum() * voxel, rel=1e-4)
    assert (tmp_path / "out" / "pictures" / "P1.png").stat().st_size > 10_000


def test_evaluated_dice_is_that_of_the_saved_label_map_and_the_merged_label(heads, trained, tmp_path):
    weights = trained / "straight" / "model.pt"
    settings = {**SMALL, "dataset_dir": str(heads), "checkpoint": str(weights)}
    run(config_file=configs("train", "evaluate"), output_dir=str(tmp_path / "e"), **settings)
    (item,) = json.loads((heads / "datalist.json").read_text())["testing"]
    (tmp_path / "list.txt").write_text(item["image"])
    infer(heads, tmp_path / "o", weights, image_list=str(tmp_path / "list.txt"), pictures=False)
    found = np.asarray(nib.load(tmp_path / "o" / f"{item['case']}_seg.nii.gz").dataobj) == 3
    regions = np.asarray(nib.load(heads / item["label"]).dataobj)
    truth = ((regions >= 81) & (regions <= 95)) | np.isin(regions, [35, 40, 41])
    row = read_rows(tmp_path / "e" / "per_case.csv")[item["case"]]
    assert float(row["dice_WM"]) == pytest.approx(2 * (found & truth).sum() / (found.sum() + truth.sum()), abs=1e-4)
    assert float(row["avd_WM"]) == pytest.approx(100 * abs(found.sum() - truth.sum()) / truth.sum(), abs=1e-2)


@pytest.mark.parametrize("overlays", [["multi_sequence"], ["multi_sequence", "nine_classes"]])
def test_sequences_are_optional_in_training_and_in_use(sequences, overlays, tmp_path):
    data = tmp_path / "data"
    content = json.loads((sequences / "datalist.json").read_text())
    item = content["training"][0]
    content["training"][0] = {**item, "image": item["image"][2:], "channels": ["flair"]}
    data.mkdir()
    (data / "datalist.json").write_text(json.dumps(content))
    settings = {**SMALL_MULTI, "dataset_dir": str(sequences), "datalist": str(data / "datalist.json")}
    out = tmp_path / "train"
    run(config_file=configs("train", *overlays), output_dir=str(out), max_epochs=1, val_interval=1, **settings)
    options = {"checkpoint": str(out / "model.pt"), "output_dir": str(tmp_path / "scores")}
    run(config_file=configs("train", *overlays, "evaluate"), **settings, **options)
    (row,) = read_rows(tmp_path / "scores" / "per_case.csv").values()
    classes = [name.removeprefix("dice_") for name in row if name.startswith("dice_")]
    assert classes == list(TISSUES) if len(overlays) == 1 else len(classes) == 8
    for name, kept in {"all": ("T1", "T1_IR", "T2_FLAIR"), "t1": ("T1",), "flair": ("T2_FLAIR",)}.items():
        (data / name).mkdir()
        for file in kept:
            (data / name / f"{file}.nii").symlink_to(sequences / "TrainingData" / "1" / f"{file}.nii")
    infer(data, tmp_path / "out", out / "model.pt", *overlays, pictures=False)
    maps = {name: np.asarray(nib.load(tmp_path / "out" / f"{name}_seg.nii.gz").dataobj) for name in ("all", "t1", "flair")}
    assert all(m.shape == (58, 58, 24) and m.max() <= len(classes) for m in maps.values())
    assert (maps["all"] != maps["t1"]).any() and (maps["t1"] != maps["flair"]).any()


def test_damaged_heads_are_named_and_the_others_finish(heads, trained, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    good = nib.load(sorted((heads / "IXI-T1").glob("*.nii.gz"))[0])
    values = np.asarray(good.dataobj).astype(np.float32)
    nib.save(good, data / "good.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros_like(values), good.affine), data / "empty.nii.gz")
    nib.save(nib.Nifti1Image(np.where(values > 100, np.nan, values), good.affine), data / "holes.nii.gz")
    nib.save(nib.Nifti1Image(np.stack([values, values], -1), good.affine), data / "four.nii.gz")
    (data / "text.nii.gz").write_text("no image")
    with pytest.raises(InputError) as error:
        infer(data, tmp_path / "out", trained / "straight" / "model.pt", pictures=False)
    message = str(error.value)
    assert "4 of 5 cases failed" in message
    for name, found in {"empty": "all voxels are zero", "holes": "NaN", "four": "expected a 3D", "text": "not a read"}.items():
        assert f"{data / name}.nii.gz: " in message and found in message, message
    assert [p.name for p in (tmp_path / "out").glob("*.nii.gz")] == ["good_seg.nii.gz"]
    assert list(read_rows(tmp_path / "out" / "volumes.csv")) == ["good"]


def test_labels_of_another_convention_stop_training_and_name_the_file(heads, tmp_path):
    settings = {**SMALL, "dataset_dir": str(heads), "conventions": {"simple": {"CSF": [1], "GM": [2], "WM": [3]}}}
    with pytest.raises(Exception) as error:
        run(config_file=configs("train"), output_dir=str(tmp_path / "o"), max_epochs=1, **settings)
    chain, message = error.value, ""
    while chain is not None:
        message, chain = message + str(chain), chain.__cause__ or chain.__context__
    assert "-labels.nii.gz: label values" in message and "convention 'simple'" in message


@pytest.mark.skipif(not (REAL_IMAGES / "ixi_2mm").is_dir(), reason="needs real heads beside the checkout, ixi_2mm")
def test_a_head_that_training_never_saw_stored_otherwise_and_finer(tmp_path):
    """The shipped weights on a test head: as it is, with other axes, three times brighter, and interpolated to 1 mm."""
    folder = REAL_IMAGES / "ixi_2mm"
    with (folder / "participants.csv").open() as file:
        row = next(row for row in csv.DictReader(file) if row["subject"] == "IXI258-HH-1769")
    image = nib.as_closest_canonical(nib.load(folder / row["t1"]))
    data = np.asarray(image.dataobj).astype(np.float32)
    label = np.asarray(nib.as_closest_canonical(nib.load(folder / row["dlmuse"])).dataobj)
    fine = np.kron(data, np.ones((2, 2, 2), np.float32))
    half = image.affine @ np.array([[0.5, 0, 0, -0.25], [0, 0.5, 0, -0.25], [0, 0, 0.5, -0.25], [0, 0, 0, 1]])
    nib.save(image, tmp_path / "plain.nii.gz")
    nib.save(image.as_reoriented(nib.orientations.axcodes2ornt("PSL")), tmp_path / "turned.nii.gz")
    nib.save(nib.Nifti1Image(3 * data, image.affine), tmp_path / "bright.nii.gz")
    nib.save(nib.Nifti1Image(fine, half), tmp_path / "fine.nii.gz")
    run(
        config_file=configs("inference"),
        dataset_dir=str(tmp_path),
        output_dir=str(tmp_path / "out"),
        device="cpu",
        pictures=False,
    )
    for name in ("plain", "turned", "bright", "fine"):
        found = np.asarray(nib.as_closest_canonical(nib.load(tmp_path / "out" / f"{name}_seg.nii.gz")).dataobj)
        if name == "fine":
            assert found.shape == fine.shape
            found = found[::2, ::2, ::2]
        white = (label >= 81) & (label <= 95)
        assert 2 * ((found == 3) & white).sum() / ((found == 3).sum() + white.sum()) > 0.75, name
