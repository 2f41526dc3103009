"""The bundle from end to end, as its commands run it: training, resuming, evaluation, inference, damaged input."""

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, run
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from shared.errors import InputError
from shared.handlers.case_table import read_rows
from shared.registration import fields, itk
from tools.phantoms.ixi import ixi
from tools.prepare import prepare

from .conftest import REPOSITORY, config

BUNDLE = "brain_registration"
# a working grid of 5 mm voxels and networks with few channels
NETWORK = {
    "network_def::backbone::channels": [8, 8, 8],
    "network_def::backbone::strides": [2, 2],
    "network_def::anatomy::network::channels": [8, 8, 8],
    "network_def::anatomy::network::strides": [2, 2],
}
FLAT = {key: value for key, value in NETWORK.items() if "anatomy" not in key}  # of overlays without an anatomy


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
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


def test_training_logs_saves_and_goes_on_exactly(heads, small, tmp_path):
    for name, parts in {"straight": [2], "broken": [1, 2]}.items():
        for epochs in parts:
            options = {"max_epochs": epochs, "resume": epochs != parts[0], "lr_scheduler::T_max": 2}
            run(config_file=config("train", BUNDLE), **training(small, heads, tmp_path / name, **options))
    straight, broken = (torch.load(tmp_path / n / "last.pt", weights_only=True) for n in ("straight", "broken"))
    assert straight["epoch"] == broken["epoch"] == 2
    for key, value in straight["network"].items():
        assert torch.equal(value, broken["network"][key]), key
    rows = read_rows(tmp_path / "straight" / "validation.csv")
    assert rows and all(float(row["dice"]) > 0 for row in rows.values())
    assert all(name.split("_to_")[0] != name.split("_to_")[1] for name in rows)
    assert list((tmp_path / "straight" / "pictures").glob("*.png"))
    curves = [list(csv.DictReader((tmp_path / name / "training.csv").open())) for name in ("straight", "broken")]
    assert curves[0] == curves[1] and [row["epoch"] for row in curves[0]] == ["1", "2"]
    assert float(curves[0][-1]["dice"]) == pytest.approx(np.mean([float(row["dice"]) for row in rows.values()]), abs=1e-4)
    assert (tmp_path / "straight" / "training.png").stat().st_size > 5000


@pytest.mark.parametrize(
    "options",
    [
        {"similarity": "mse", "smoothness": 0.02, "label_weight": 0, "integration_steps": 0},
        {"pairing": "atlas", "affine": "rigid", "cache": "none"},
    ],
)
def test_the_named_choices_train(heads, small, tmp_path, options):
    run(config_file=config("train", BUNDLE), **training(small, heads, tmp_path, max_epochs=1, **options))
    assert (tmp_path / "model.pt").is_file()


def test_the_anatomy_is_trained_and_taken_over(heads, small, tmp_path):
    settings = {**training(small, heads, tmp_path / "r", max_epochs=2), "finetune": None}
    run(config_file=[config("train", BUNDLE), config("train_regions", BUNDLE)], **settings)
    settings = {**training(small, heads, tmp_path / "t", max_epochs=1), "finetune": str(tmp_path / "r" / "model.pt")}
    run(config_file=config("train", BUNDLE), **settings)
    start, regions, whole = (
        torch.load(path, weights_only=True)
        for path in (small["checkpoint"], tmp_path / "r" / "model.pt", tmp_path / "t" / "model.pt")
    )
    for key in whole:
        kept = torch.equal(whole[key], regions[key])
        assert kept == key.startswith("anatomy") or "bias" in key, key
    assert any(not torch.equal(start[key], regions[key]) for key in start if key.startswith("anatomy"))


@pytest.mark.parametrize("overlay", ["slices", "voxelmorph"])
def test_overlays_with_other_networks_train_and_are_scored(heads, small, tmp_path, overlay):
    own = FLAT if overlay == "slices" else {"network_def::backbone::channels": [4, 4, 4, 4]}
    settings = training(small, heads, tmp_path / "t", max_epochs=1, **{"train::dataset::cache": "none"})
    settings = {key: value for key, value in settings.items() if key not in (*NETWORK, "finetune")} | own
    settings |= {"slice": 16} if overlay == "slices" else {}
    run(config_file=[config("train", BUNDLE), config(overlay, BUNDLE)], **settings)
    state = torch.load(tmp_path / "t" / "model.pt", weights_only=True)
    assert not any(key.startswith("anatomy") for key in state)
    assert {value.ndim for value in state.values()} & {4, 5} == {4 if overlay == "slices" else 5}
    rows = read_rows(tmp_path / "t" / "validation.csv")
    assert all(0 < float(row["dice"]) < 1 for row in rows.values())


@pytest.mark.parametrize("overlays", [["any_contrast"], ["train_regions", "any_contrast"]])
def test_any_contrast_trains(heads, small, tmp_path, overlays):
    settings = training(small, heads, tmp_path, max_epochs=1)
    run(config_file=[config(name, BUNDLE) for name in ("train", *overlays)], **settings)
    start, trained = (torch.load(path, weights_only=True) for path in (small["checkpoint"], tmp_path / "model.pt"))
    changed = {key.split(".")[0] for key in trained if not torch.equal(trained[key], start[key])}
    assert changed == {"anatomy" if len(overlays) == 2 else "backbone"}


def test_an_atlas_is_averaged_and_learned(heads, small, tmp_path):
    settings = {key: value for key, value in training(small, heads, tmp_path / "a").items() if key not in ("checkpoint",)}
    run(config_file=[config("train", BUNDLE), config("average", BUNDLE)], **settings, grid_size=[32, 32, 32])
    average = nib.load(tmp_path / "a" / "atlas.nii.gz")
    assert average.shape == (32, 32, 32) and nib.aff2axcodes(average.affine) == ("R", "A", "S")
    settings |= {"output_dir": str(tmp_path / "b"), "max_epochs": 2, "learning_rate": 0.01, **FLAT}
    settings = {key: value for key, value in settings.items() if "anatomy" not in key}
    run(config_file=[config("train", BUNDLE), config("atlas", BUNDLE)], **settings)
    learned, grid = nib.load(tmp_path / "b" / "atlas.nii.gz"), nib.load(small["atlas"])
    np.testing.assert_allclose(learned.affine, grid.affine, atol=1e-4)
    assert learned.shape == grid.shape and learned.get_fdata().std() > 0.1
    assert (tmp_path / "b" / "atlas.png").stat().st_size > 10_000


def test_evaluation_tells_what_inference_tells(heads, small, tmp_path):
    settings = {**training(small, heads, tmp_path / "e"), "checkpoint": small["checkpoint"]}
    run(config_file=[config("train", BUNDLE), config("evaluate", BUNDLE)], **settings)
    (case, row), *_ = read_rows(tmp_path / "e" / "per_case.csv").items()
    moving, fixed = (
        {i["case"]: i for i in json.loads((heads / "datalist.json").read_text())["testing"]}[n] for n in case.split("_to_")
    )
    pairs = write_pairs(
        tmp_path / "p.csv",
        {
            "moving": moving["image"],
            "fixed": fixed["image"],
            "label": moving["label"],
            "fixed_label": fixed["label"],
            "case": case,
        },
    )
    (inferred,) = infer(small, heads, tmp_path / "o", pairs=pairs, pictures=False).values()
    for key, value in row.items():
        if key != "case":
            assert inferred[key] == value or float(inferred[key]) == pytest.approx(float(value), abs=1e-4), key
    # and by hand from the files
    moved = np.asarray(nib.load(tmp_path / "o" / f"{case}_moved_label.nii.gz").dataobj)
    truth = np.asarray(nib.load(heads / fixed["label"]).dataobj)
    a, b = np.isin(moved, [51, 52]), np.isin(truth, [51, 52])
    assert float(inferred["dice_lateral_ventricle"]) == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()), abs=1e-4)


GRIDS = {
    "as it is": lambda image: image,
    "flipped and permuted": lambda image: image.as_reoriented(nib.orientations.axcodes2ornt("LAS")),
    "oblique": lambda image: nib.Nifti1Image(
        np.asarray(image.dataobj),
        nib.affines.from_matvec(Rotation.from_euler("xyz", [9, -6, 12], True).as_matrix(), [30, -40, 25]) @ image.affine,
    ),
    "anisotropic": lambda image: nib.Nifti1Image(np.asarray(image.dataobj)[:, ::2], image.affine @ np.diag([1, 2, 1, 1])),
}


@pytest.fixture(scope="module", params=GRIDS)
def registered(heads, small, tmp_path_factory, request) -> dict:
    """A head on some grid, registered to another one, and what was found."""
    folder = tmp_path_factory.mktemp("registered")
    moving, fixed = folder / "in" / "a_T1.nii.gz", files(heads, 1)[0]
    moving.parent.mkdir()
    nib.save(GRIDS[request.param](nib.load(files(heads, 0)[0])), moving)
    row = infer(small, moving.parent, folder / "out", fixed=str(fixed), pictures=False)["a"]
    return {"moving": moving, "fixed": fixed, "row": row, "out": folder / "out"}


def by_simpleitk(moving: Path, fixed: Path, field: Path) -> np.ndarray:
    """As the card tells SimpleITK's users."""
    sitk = pytest.importorskip("SimpleITK", reason="needs SimpleITK (pip install -e .[n4])")
    displacement = sitk.DisplacementFieldTransform(sitk.ReadImage(str(field), sitk.sitkVectorFloat64))
    image, grid = (sitk.ReadImage(str(path), sitk.sitkFloat32) for path in (moving, fixed))
    return sitk.GetArrayFromImage(sitk.Resample(image, grid, displacement, sitk.sitkLinear, 0.0)).transpose(2, 1, 0)


def by_ants(moving: Path, fixed: Path, field: Path) -> np.ndarray:
    """As the card tells ANTs' users; antspyx runs antsApplyTransforms."""
    ants = pytest.importorskip("ants", reason="needs antspyx (see tools/baselines/registration.py)")
    image, grid = (ants.image_read(str(path)) for path in (moving, fixed))
    return ants.apply_transforms(grid, image, [str(field)], interpolator="linear").numpy()


@pytest.mark.parametrize("program", [by_simpleitk, by_ants])
def test_the_saved_field_moves_the_head_in_other_programs_too(registered, program):
    moving, fixed, out = nib.load(registered["moving"]), nib.load(registered["fixed"]), registered["out"]
    theirs = program(registered["moving"], registered["fixed"], out / "a_field.nii.gz")
    moved, row = nib.load(out / "a_moved.nii.gz"), registered["row"]
    assert moved.shape == fixed.shape
    np.testing.assert_allclose(moved.affine, fixed.affine, atol=1e-4)
    assert float(row["correlation_affine"]) > 0.8 and float(row["inverse_mean_mm"]) < 0.2
    ours = moved.get_fdata()
    field, affine = itk.load_field(out / "a_field.nii.gz")
    whole = fields.warp(torch.ones(1, *moving.shape), moving.affine, torch.from_numpy(field.copy()), affine)[0].numpy() > 0.999
    assert whole.mean() > 0.3  # at the rim of the moving image ITK stops half a voxel later
    np.testing.assert_allclose(ours[whole], theirs[whole], atol=1e-3 * ours.max())
    assert np.linalg.norm(field, axis=0).max() > 3 and np.allclose(affine, fixed.affine, atol=1e-4)


@pytest.mark.parametrize("program", [by_simpleitk, by_ants])
def test_the_saved_inverse_brings_the_fixed_head_onto_the_moving_one(registered, program):
    theirs = program(registered["fixed"], registered["moving"], registered["out"] / "a_inverse.nii.gz")
    moving, fixed = nib.load(registered["moving"]), nib.load(registered["fixed"])
    field, affine = itk.load_field(registered["out"] / "a_inverse.nii.gz")
    values = torch.from_numpy(fixed.get_fdata(dtype=np.float32))[None]
    ours, whole = (
        fields.warp(image, fixed.affine, torch.from_numpy(field.copy()), affine)[0].numpy()
        for image in (values, torch.ones_like(values))
    )
    assert theirs.shape == moving.shape and (whole > 0.999).mean() > 0.3
    np.testing.assert_allclose(ours[whole > 0.999], theirs[whole > 0.999], atol=1e-3 * ours.max())
    assert np.corrcoef(theirs[whole > 0.999], moving.get_fdata()[whole > 0.999])[0, 1] > 0.8


def test_a_head_with_itself_stays_where_it_is(heads, tmp_path):
    """The shipped weights, identical images: about no field."""
    image, label = files(heads, 0)
    pairs = write_pairs(
        tmp_path / "p.csv", {"moving": image, "fixed": image, "label": label, "fixed_label": label, "case": "same"}
    )
    run(
        config_file=config("inference", BUNDLE),
        dataset_dir=str(heads),
        output_dir=str(tmp_path / "o"),
        pairs=pairs,
        pictures=False,
    )
    row = read_rows(tmp_path / "o" / "registrations.csv")["same"]
    field, _ = itk.load_field(tmp_path / "o" / "same_field.nii.gz")
    assert np.linalg.norm(field, axis=0).mean() < 1.0 and float(row["correlation"]) > 0.97
    assert float(row["dice_identity"]) == 1 and float(row["dice_affine"]) == 1


def test_points_and_labels_follow_a_given_affine(heads, small, tmp_path):
    """A head shifted by a known transform: the network gives nothing, the given affine all."""
    image, label = (nib.load(path) for path in files(heads, 2))
    shift = nib.affines.from_matvec(np.eye(3), [12.0, -7.0, 9.0])  # fixed to moving
    data = tmp_path / "in"
    data.mkdir()
    for name, source in {"b_T1": image, "b_seg": label}.items():
        nib.save(nib.Nifti1Image(np.asarray(source.dataobj), shift @ source.affine), data / f"{name}.nii.gz")
    place = (shift @ image.affine @ [20, 24, 18, 1])[:3]
    (data / "b_points.csv").write_text("name,x,y,z\nput," + ",".join(f"{v:.3f}" for v in place) + "\n")
    itk.save_affine(tmp_path / "given.txt", shift)
    state = torch.load(small["checkpoint"], weights_only=True)
    parser = ConfigParser(ConfigParser.load_config_file(config("inference", BUNDLE)))
    parser.update(NETWORK)
    network = parser.get_parsed_content("network_def")
    network.load_state_dict(state)
    torch.nn.init.zeros_(last_weight(network))
    torch.save(network.state_dict(), tmp_path / "still.pt")
    options = {
        "fixed": str(files(heads, 2)[0]),
        "fixed_label": str(files(heads, 2)[1]),
        "affine_file": str(tmp_path / "given.txt"),
    }
    row = infer(small, data, tmp_path / "out", **options, checkpoint=str(tmp_path / "still.pt"), pictures=False)["b"]
    assert float(row["dice"]) == 1 and float(row["dice_identity"]) < 0.6
    np.testing.assert_array_equal(
        np.asarray(nib.load(tmp_path / "out" / "b_moved_label.nii.gz").dataobj), np.asarray(label.dataobj)
    )
    with (tmp_path / "out" / "b_points.csv").open() as file:
        (point,) = csv.DictReader(file)
    assert point["name"] == "put"
    np.testing.assert_allclose([float(point[a]) for a in "xyz"], (image.affine @ [20, 24, 18, 1])[:3], atol=0.01)
    np.testing.assert_allclose(itk.load_affine(tmp_path / "out" / "b_affine.txt"), shift, atol=1e-5)


def test_damaged_cases_are_listed_and_the_others_finish(heads, small, tmp_path):
    data = tmp_path / "in"
    data.mkdir()
    image, label = (nib.load(path) for path in files(heads, 0))
    values = np.asarray(image.dataobj)
    for name in ("good", "far", "outside", "zero", "noise"):
        nib.save(image, data / f"{name}_T1.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros_like(values), image.affine), data / "zero_T1.nii.gz")
    (data / "noise_T1.nii.gz").write_text("no image")
    nib.save(nib.Nifti1Image(np.asarray(label.dataobj)[:-1], label.affine), data / "far_seg.nii.gz")
    (data / "outside_points.csv").write_text("x,y,z\n0,0,0\n900,0,0\n")
    with pytest.raises(InputError) as end:
        infer(small, data, tmp_path / "out", fixed=str(files(heads, 1)[0]), pictures=False)
    message = str(end.value)
    assert message.startswith("4 of 5 cases failed:")
    assert f"far: {data / 'far_seg.nii.gz'}: shape" in message
    assert f"zero: {data / 'zero_T1.nii.gz'}: all voxels are zero" in message
    assert f"noise: {data / 'noise_T1.nii.gz'}: not a readable NIfTI image" in message
    assert "outside_points.csv: the points in rows [3] lie outside" in message
    assert list(read_rows(tmp_path / "out" / "registrations.csv")) == ["good"]
    assert not (tmp_path / "out" / "outside_moved.nii.gz").exists()


def test_no_overlap_is_an_error(heads, small, tmp_path):
    np.savetxt(tmp_path / "away.txt", nib.affines.from_matvec(np.eye(3), [500.0, 0, 0]))
    pairs = write_pairs(tmp_path / "p.csv", {"moving": files(heads, 0)[0], "affine": tmp_path / "away.txt", "case": "a"})
    with pytest.raises(InputError, match="a: .*T1.nii.gz: only 0% of the fixed image lies in the moving one's field of view"):
        infer(small, heads, tmp_path / "out", pairs=pairs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fixed": "nowhere.nii.gz"}, "no such file nowhere.nii.gz"),
        ({"atlas": "nowhere.nii.gz", "fixed": "{head}"}, "nowhere.nii.gz: no such file"),
        ({"pairs": "{table}"}, "expected rows with the column moving"),
    ],
)
def test_what_makes_the_run_impossible_is_said(heads, small, tmp_path, options, message):
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    names = {"head": files(heads, 0)[0], "table": tmp_path / "table.csv"}
    options = {key: value.format(**names) for key, value in options.items()}
    with pytest.raises(InputError, match=message):
        infer(small, heads, tmp_path / "out", **options)
