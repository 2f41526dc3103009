"""The bundle from end to end: training with one and three sequences, evaluation, vectors, transfer, probe, damaged input."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import run

from shared.errors import InputError
from shared.handlers.case_table import read_rows
from shared.handlers.weights import read_state
from tools import bundles
from tools.phantoms.ixi import ixi
from tools.prepare import prepare
from tools.probe import comparison, principal_components, probe

from .conftest import REAL_IMAGES, SMALL_HEADS, config

BUNDLE = "ixi_cae"
SMALL = {
    "device": "cpu",
    "spacing": [6, 6, 6],
    "size": [40, 40],
    "hidden": 12,
    "network_def::filters": [8, 8, 8, 8],
    "network_def::decoder_filters": [8, 8, 8, 8, 8],
}
ALL = ["t1", "t2", "pd"]
SLICES = 12  # of 6 mm


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr("tools.probe.RESAMPLES", 30)


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """Ten prepared synthetic heads of 6 mm, each with T2 and PD but one."""
    folder = tmp_path_factory.mktemp("ixi")
    ixi(str(folder), cases=10, seed=3, spacing=6.0, others=True)
    sorted((folder / "IXI-PD").iterdir())[0].unlink()
    prepare("ixi", str(folder))
    return folder


@pytest.fixture(scope="module")
def trained(heads, tmp_path_factory):
    """T1 alone, two epochs straight and with a break; all three sequences."""
    root = tmp_path_factory.mktemp("runs")
    for name, sequences, parts in (("straight", ["t1"], [2]), ("broken", ["t1"], [1, 2]), ("three", ALL, [1])):
        for end in parts:
            run(config_file=config("train", BUNDLE), dataset_dir=str(heads), output_dir=str(root / name), max_epochs=end,
                val_interval=1, sequences=sequences, precision="float32", resume=end != parts[0],
                **{"lr_scheduler::T_max": 2}, **SMALL)  # fmt: skip
    return root


def infer(data, output, weights=None, **options):
    settings = {**SMALL, "dataset_dir": str(data), "output_dir": str(output), **options}
    settings |= {"checkpoint": str(weights)} if weights else {}
    run(config_file=config("inference", BUNDLE), **settings)


def vectors(output) -> dict[str, list[float]]:
    rows = read_rows(output / "latents.csv")
    return {case: [float(row[f"z{i:04d}"]) for i in range(SMALL["hidden"])] for case, row in rows.items()}


def test_training_logs_saves_and_goes_on_exactly(heads, trained):
    straight, broken = (torch.load(trained / n / "last.pt", weights_only=True) for n in ("straight", "broken"))
    assert straight["epoch"] == broken["epoch"] == 2
    for key, value in straight["network"].items():
        assert torch.equal(value, broken["network"][key]), key
    validation = {item["case"] for item in json.loads((heads / "datalist.json").read_text())["validation"]}
    for name in ("straight", "three"):
        assert set(read_rows(trained / name / "validation.csv")) == validation
        assert {path.stem for path in (trained / name / "pictures").glob("*.png")} == validation
    assert list((trained / "straight").glob("events*"))
    assert read_state(trained / "three" / "model.pt")["encoder.conv1.weight"].shape == (8, 3, 3, 3)


def test_evaluation_scores_the_test_section(heads, trained, tmp_path):
    files = [config("train", BUNDLE), config("evaluate", BUNDLE)]
    weights = trained / "straight" / "model.pt"
    run(config_file=files, dataset_dir=str(heads), output_dir=str(tmp_path), checkpoint=str(weights), **SMALL)
    testing = {item["case"] for item in json.loads((heads / "datalist.json").read_text())["testing"]}
    rows = read_rows(tmp_path / "per_case.csv")
    assert set(rows) == testing and {"ms_ssim", "ssim", "psnr", "mae"} <= set(next(iter(rows.values())))
    infer(heads / "IXI-T1", tmp_path / "out", weights)
    told = read_rows(tmp_path / "out" / "latents.csv")
    for case in testing:  # inference says the same of the reconstructions
        assert float(told[case]["ms_ssim"]) == pytest.approx(float(rows[case]["ms_ssim"]), abs=1e-4)


def test_the_table_holds_the_mean_vector_and_files_those_of_the_slices(heads, trained, tmp_path):
    weights = trained / "straight" / "model.pt"
    infer(heads, tmp_path, weights, slices=True, reconstructions=True, pictures=True)
    found = vectors(tmp_path)
    images = {path.name.removesuffix("-T1.nii.gz"): path for path in (heads / "IXI-T1").iterdir()}
    assert set(found) == set(images)
    for case, path in images.items():
        with np.load(tmp_path / f"{case}_latents.npz") as file:
            latent, centres = file["latent"], file["centre_mm"]
        assert latent.shape == (SLICES, SMALL["hidden"]) and centres.shape == (SLICES, 3)
        np.testing.assert_allclose(latent.mean(0), found[case], rtol=1e-4, atol=1e-4)
        assert latent.std(0).max() > 1e-3
        rebuilt = nib.load(tmp_path / f"{case}_recon.nii.gz")
        assert rebuilt.shape == (40, 40, SLICES) and nib.aff2axcodes(rebuilt.affine) == ("R", "A", "S")
        np.testing.assert_allclose(nib.affines.apply_affine(rebuilt.affine, [19.5, 19.5, 3]), centres[3], atol=1e-3)
        np.testing.assert_allclose(rebuilt.header.get_zooms(), 6, rtol=1e-4)
        # the box is around the head, in mm
        original = nib.load(path)
        bright = np.argwhere(original.get_fdata() > np.percentile(original.get_fdata(), 80))
        middle = nib.affines.apply_affine(original.affine, bright.mean(0))
        assert np.abs(centres.mean(0) - middle)[:2].max() < 30
        assert (tmp_path / "pictures" / f"{case}.png").stat().st_size
    before = (tmp_path / "latents.csv").read_bytes()
    infer(heads, tmp_path, weights)  # nothing is left to do
    assert (tmp_path / "latents.csv").read_bytes() == before


def test_three_sequences_of_several_folders_and_grids(heads, trained, tmp_path):
    with pytest.raises(InputError, match="1 of 10 cases failed:\n.*missing sequence, expected pd"):
        infer(heads, tmp_path, trained / "three" / "model.pt", sequences=ALL, reconstructions=True)
    found = vectors(tmp_path)
    assert len(found) == 9
    for case in found:
        assert nib.load(tmp_path / f"{case}_recon.nii.gz").shape == (40, 40, SLICES, 3)


def test_how_a_head_is_stored_makes_no_difference(heads, trained, tmp_path):
    image = nib.load(sorted((heads / "IXI-T1").iterdir())[0])
    data = np.asarray(image.dataobj).astype(np.float32)
    flipped = image.as_reoriented(np.array([[2, -1], [0, 1], [1, -1]]))
    variants = {"plain": image, "flipped": flipped, "bright": nib.Nifti1Image(3 * data, image.affine)}
    for name, variant in variants.items():
        nib.save(variant, tmp_path / f"{name}.nii.gz")
    infer(tmp_path, tmp_path / "out", trained / "straight" / "model.pt")
    found = vectors(tmp_path / "out")
    spread = np.std(found["plain"])
    for name in ("flipped", "bright"):
        np.testing.assert_allclose(found[name], found["plain"], atol=0.01 * spread)


def test_damaged_volumes_are_named_and_the_others_finish(heads, trained, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    good = nib.load(sorted((heads / "IXI-T1").iterdir())[0])
    values = np.asarray(good.dataobj)
    nib.save(good, data / "good_T1.nii.gz")
    nib.save(nib.Nifti1Image(np.stack([values, values], -1), good.affine), data / "four_T1.nii.gz")
    nib.save(nib.Nifti1Image(values[..., 9], good.affine), data / "flat_T1.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros_like(values), good.affine), data / "empty_T1.nii.gz")
    nib.save(nib.Nifti1Image(values[:4, :4, :4], good.affine), data / "corner_T1.nii.gz")
    nib.save(nib.Nifti1Image(np.full(values.shape, np.nan, np.float32), good.affine), data / "nan_T1.nii.gz")
    (data / "text_T1.nii.gz").write_text("no image")
    with pytest.raises(InputError) as error:
        infer(data, tmp_path / "out", trained / "straight" / "model.pt", slices=True)
    assert "6 of 7 cases failed" in str(error.value)
    for name in ("four", "flat", "empty", "corner", "nan", "text"):
        assert f"  {name}: " in str(error.value), str(error.value)
    assert list(vectors(tmp_path / "out")) == ["good"]
    assert [path.name for path in (tmp_path / "out").glob("*.npz")] == ["good_latents.npz"]


def test_the_encoder_starts_a_network_of_volumes(heads, tmp_path, caplog):
    """The shipped weights, inflated, are those of the first training step of ixi_age_regression's residual network."""
    files = [config(name, "ixi_age_regression") for name in ("train", "resnet", "pretrained")]
    options = {key: SMALL_HEADS[key] for key in ("device", "spacing", "head_size")}
    options |= {"max_epochs": 1, "val_interval": 1, "learning_rate": 0.0, "crop": [32, 32, 32]}
    with caplog.at_level("INFO"):  # the bundle's logging.conf takes messages away from caplog
        run(config_file=files, dataset_dir=str(heads), output_dir=str(tmp_path), logging_file=False, **options)
    told = [message for message in caplog.messages if message.startswith(("inflated", "new", "adapted"))]
    assert told[0] == "adapted: 0 tensors" and told[1].startswith("inflated: 12 tensors: network.conv1.weight, ")
    assert told[2] == "new: 2 tensors: network.fc.weight, network.fc.bias"
    flat = read_state(bundles.folder(BUNDLE) / "models" / "model.pt")
    deep = read_state(tmp_path / "model.pt")
    for name in ("conv1.weight", "layer3.0.conv2.weight"):
        torch.testing.assert_close(deep[f"network.{name}"].sum(-1), flat[f"encoder.{name}"].float(), rtol=1e-3, atol=1e-4)


def test_principal_components_are_those_of_a_singular_value_decomposition():
    slices = torch.randn(9, 2, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean, components = principal_components(slices, 5)
    flat = slices.flatten(1).numpy()
    _, _, expected = np.linalg.svd(flat - flat.mean(0), full_matrices=False)
    np.testing.assert_allclose(mean, flat.mean(0))
    np.testing.assert_allclose(np.abs(components.numpy() @ expected[:5].T), np.eye(5), atol=1e-8)
    assert len(principal_components(slices, 50)[1]) == 8


def test_the_comparison_tells_better_from_worse():
    age, male = np.linspace(20, 80, 30), np.arange(30) % 2.0
    found = {"right": [(age, male)], "five years off": [(age + 5, male), (age - 5, 1 - male)]}
    lines = comparison((age, male), found).splitlines()
    assert lines[2].startswith("| right | 0.000 (0.000 to 0.000) |  | 1.000 (1.000 to 1.000) |  | 1.000")
    assert lines[3].startswith("| five years off | 5.000 (5.000 to 5.000) | +5.000 (+5.000 to +5.000) | 1.000")
    assert "| 0.500 (0.500 to 0.500) | -0.500 (-0.500 to -0.500) |" in lines[3]


def test_probe_scores_the_test_heads(heads, trained, capsys):
    probe(BUNDLE, str(heads), checkpoint=str(trained / "straight" / "model.pt"), random=1, **SMALL)
    told = capsys.readouterr().out
    sections = json.loads((heads / "datalist.json").read_text())
    assert told.startswith(f"{len(sections['testing'])} test heads; models fitted to")
    for kind in ("auto-encoder", "random weights", "principal components", "mean of the others"):
        assert f"| {kind} |" in told
    assert "MS-SSIM of slices rebuilt from 12 principal components: 0." in told


@pytest.mark.skipif(not (REAL_IMAGES / "ixi_2mm").is_dir(), reason="needs real heads in ../shared/data, which no user has")
def test_shipped_weights_know_real_heads(tmp_path):
    """One test head, as the card scores it, and of all orders of its slices the right one is rebuilt best."""
    files = sorted((REAL_IMAGES / "ixi_2mm" / "t1").glob("*.nii.gz"))[-1:]
    for path in files:
        shutil.copy(path, tmp_path)
    run(config_file=config("inference", BUNDLE), dataset_dir=str(tmp_path), output_dir=str(tmp_path / "out"), device="cpu")
    (row,) = read_rows(tmp_path / "out" / "latents.csv").values()
    assert float(row["ms_ssim"]) > 0.6 and len(row) == 2 + 1024
