"""The bundle from end to end: training, evaluation, inference on every kind of grid, consistency, damaged input."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import run
from scipy import ndimage
from scipy.spatial.transform import Rotation

from shared.errors import InputError
from shared.handlers.case_table import read_rows
from shared.resolution import coarser_affine, degrade, interpolate
from shared.transforms import head_mask
from tools import bundles
from tools.phantoms.ixi import ixi
from tools.prepare import prepare

from .conftest import REAL_IMAGES, config

BUNDLE = "ixi_superres"
SMALL = {"device": "cpu", "network_def::channels": 4, "network_def::blocks": 1}
FACTORS = {"x2": ([2, 2, 2], [6, 6, 6]), "slices": ([1, 1, 4], [12, 12, 4])}


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """Six prepared synthetic heads of 4 mm."""
    folder = tmp_path_factory.mktemp("ixi")
    ixi(str(folder), cases=6, seed=3, spacing=4.0)
    prepare("ixi", str(folder))
    return folder


@pytest.fixture(scope="module")
def trained(heads, tmp_path_factory):
    """Two factors, trained for two epochs straight, the first also with a break."""
    root = tmp_path_factory.mktemp("runs")
    for name, epochs in {"x2": [2], "slices": [2], "broken": [1, 2]}.items():
        factor, patch = FACTORS.get(name, FACTORS["x2"])
        for end in epochs:
            run(config_file=config("train", BUNDLE), dataset_dir=str(heads), output_dir=str(root / name), factor=factor,
                patch=patch, max_epochs=end, val_interval=1, precision="float32", resume=end != epochs[0],
                **{"lr_scheduler::T_max": 2}, **SMALL)  # fmt: skip
    return root


def infer(data, output, weights=None, small=True, **options):
    options |= {"checkpoint": str(weights)} if weights else {}
    settings = {**(SMALL if small else {}), "dataset_dir": str(data), "output_dir": str(output), **options}
    run(config_file=config("inference", BUNDLE), **settings)


def blob(affine: np.ndarray, middle, shape=(24, 22, 20), width=7.0) -> nib.Nifti1Image:
    """A Gaussian blob in a faint haze, the middle and width of which are in mm."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    distance = np.linalg.norm(nib.affines.apply_affine(affine, index) - middle, axis=-1)
    return nib.Nifti1Image((1000 * np.exp(-0.5 * (distance / width) ** 2)).astype(np.float32), affine)


def centre_mm(image: nib.Nifti1Image) -> np.ndarray:
    """Centre of mass in mm of what is bright."""
    data = image.get_fdata()
    return nib.affines.apply_affine(image.affine, ndimage.center_of_mass(np.clip(data - 100, 0, None)))


def grid(spacing, angles=(0, 0, 0)) -> np.ndarray:
    """Voxels to mm of a turned, perhaps flipped grid."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ np.diag(spacing)
    affine[:3, 3] = [-40, 15, 60]
    return affine


def test_training_logs_saves_and_goes_on_exactly(heads, trained):
    straight, broken = (torch.load(trained / n / "last.pt", weights_only=True) for n in ("x2", "broken"))
    assert straight["epoch"] == broken["epoch"] == 2
    for key, value in straight["network"].items():
        assert torch.equal(value, broken["network"][key]), key
    assert all(layer.any() for layer in straight["network"].values())  # both grids have learned something
    validation = {item["case"] for item in json.loads((heads / "datalist.json").read_text())["validation"]}
    assert set(read_rows(trained / "x2" / "validation.csv")) == validation
    assert {path.stem for path in (trained / "x2" / "pictures").glob("*.png")} == validation
    assert list((trained / "x2").glob("events*"))


@pytest.mark.parametrize("name", FACTORS)
def test_evaluation_scores_the_test_section_and_interpolations(heads, trained, name, tmp_path):
    files = [config("train", BUNDLE), config("evaluate", BUNDLE)]
    run(config_file=files, dataset_dir=str(heads), output_dir=str(tmp_path), checkpoint=str(trained / name / "model.pt"),
        factor=FACTORS[name][0], **SMALL)  # fmt: skip
    testing = {item["case"]: item for item in json.loads((heads / "datalist.json").read_text())["testing"]}
    rows = read_rows(tmp_path / "per_case.csv")
    assert set(rows) == set(testing)
    for case, row in rows.items():
        fine = nib.load(heads / testing[case]["image"]).get_fdata(dtype=np.float32)
        fine = fine[tuple(slice(n // f * f) for n, f in zip(fine.shape, FACTORS[name][0], strict=True))]
        cubic = interpolate(degrade(torch.from_numpy(fine)[None], FACTORS[name][0])[0].numpy(), FACTORS[name][0], "block", 3)
        inside = head_mask(fine)
        error = np.square((cubic - fine)[inside] / np.percentile(fine[inside], 99.9)).mean()
        assert float(row["psnr_cubic"]) == pytest.approx(-10 * np.log10(error), abs=1e-3)
        assert row["psnr_brain"] != row["psnr"] and {"ssim", "ssim_brain_nearest", "ssim_linear"} < set(row)


def test_degradations_score_differently(heads, trained, tmp_path):
    scores = {}
    for profile in ("gaussian", "average_pooling"):
        run(config_file=[config("train", BUNDLE), config("evaluate", BUNDLE)], dataset_dir=str(heads), profile=profile,
            output_dir=str(tmp_path / profile), checkpoint=str(trained / "x2" / "model.pt"), **SMALL)  # fmt: skip
        scores[profile] = [float(row["psnr_cubic"]) for row in read_rows(tmp_path / profile / "per_case.csv").values()]
    assert min(scores["gaussian"]) > max(scores["average_pooling"])


GRIDS = {
    "straight": grid((2, 2, 2)),
    "oblique": grid((2, 2.5, 2), (14, -9, 25)),
    "flipped": grid((-2, 2, -2.5)),
    "anisotropic": grid((1.5, 2, 3), (0, 0, 90)),
}


@pytest.mark.parametrize(("choice", "flips"), [("block", []), ("sample", []), ("sample", [0, 1, 2])])
def test_a_landmark_keeps_its_place_in_mm(trained, choice, flips, tmp_path):
    middles = {}
    for name, affine in GRIDS.items():
        middles[name] = nib.affines.apply_affine(affine, [11.3, 10.6, 9.8])
        nib.save(blob(affine, middles[name]), tmp_path / f"{name}_T1.nii.gz")
    infer(tmp_path, tmp_path / "out", trained / "x2" / "model.pt", grid=choice, flips=flips, pictures=False)
    for name, affine in GRIDS.items():
        fine = nib.load(tmp_path / "out" / f"{name}_sr.nii.gz")
        assert fine.shape == (48, 44, 40)
        np.testing.assert_allclose(coarser_affine(fine.affine, [2, 2, 2], choice), affine, atol=1e-4)
        np.testing.assert_allclose(fine.header.get_zooms(), np.linalg.norm(affine[:3, :3], axis=0) / 2, rtol=1e-5)
        np.testing.assert_allclose(centre_mm(fine), middles[name], atol=0.1)
        first = nib.affines.apply_affine(fine.affine, [[0, 0, 0], [1, 1, 1]])
        start = first.mean(0) if choice == "block" else first[0]
        np.testing.assert_allclose(start, affine[:3, 3], atol=1e-4)  # where the first coarse voxel has its centre


@pytest.mark.parametrize(
    ("dtype", "scale"), [(np.uint8, 0.25), (np.int16, 32.7), (np.uint16, 65.5), (np.int32, 2e6), (np.float64, 1e-6)]
)
def test_intensities_stay_on_the_inputs_scale(dtype, scale, tmp_path):
    """Also at the upper end of the type, where the output, which overshoots, must not wrap around."""
    image = blob(GRIDS["straight"], nib.affines.apply_affine(GRIDS["straight"], [11, 10, 9]))
    data = (image.get_fdata() * scale).astype(dtype)
    nib.save(nib.Nifti1Image(data, image.affine, dtype=dtype), tmp_path / "P1_T1.nii.gz")
    infer(tmp_path, tmp_path / "out", small=False, device="cpu")
    fine = nib.load(tmp_path / "out" / "P1_sr.nii.gz")
    assert fine.get_data_dtype() == np.float32
    values = fine.get_fdata()
    assert values.min() >= 0
    assert values.max() == pytest.approx(1000 * scale, rel=0.05)
    assert (tmp_path / "out" / "pictures" / "P1.png").stat().st_size


def test_slices_become_thinner(heads, trained, tmp_path):
    infer(heads / "IXI-T1", tmp_path, trained / "slices" / "model.pt", factor=[1, 1, 4], pictures=False)
    for path in sorted((heads / "IXI-T1").glob("*.nii.gz")):
        thick, thin = nib.load(path), nib.load(tmp_path / path.name.replace("-T1", "_sr"))
        assert thin.shape == (*thick.shape[:2], 4 * thick.shape[2])
        np.testing.assert_allclose(coarser_affine(thin.affine, [1, 1, 4], "block"), thick.affine, atol=1e-4)
    before = (tmp_path / "superres.csv").read_bytes()
    infer(heads / "IXI-T1", tmp_path, trained / "slices" / "model.pt", factor=[1, 1, 4])  # nothing is left to do
    assert (tmp_path / "superres.csv").read_bytes() == before


def test_consistency_shows_structure_that_was_invented(heads, trained, tmp_path):
    """Weights whose last layer adds a pattern: the table tells."""
    state = torch.load(trained / "x2" / "model.pt", weights_only=True)
    state["heads.0.bias"] = state["heads.0.bias"] + 0.2
    torch.save(state, tmp_path / "inventive.pt")
    data, found = tmp_path / "data", {}
    data.mkdir()
    shutil.copy(sorted((heads / "IXI-T1").glob("*.nii.gz"))[0], data)
    for name, weights in {"honest": trained / "x2" / "model.pt", "inventive": tmp_path / "inventive.pt"}.items():
        infer(data, tmp_path / name, weights, pictures=False)
        found[name] = read_rows(tmp_path / name / "superres.csv")
    for case, row in found["honest"].items():
        assert float(row["consistency_percent"]) < 10 < 15 < float(found["inventive"][case]["consistency_percent"]) < 30


def test_damaged_volumes_are_named_and_the_others_finish(heads, trained, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    good = nib.load(sorted((heads / "IXI-T1").glob("*.nii.gz"))[0])
    nib.save(good, data / "good.nii.gz")
    values = np.asarray(good.dataobj)
    nib.save(nib.Nifti1Image(values[20:25, 20:26, 20:27], good.affine), data / "small.nii.gz")  # much less than a tile
    nib.save(nib.Nifti1Image(np.stack([values, values], -1), good.affine), data / "four.nii.gz")
    nib.save(nib.Nifti1Image(values[..., 20], good.affine), data / "flat.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros_like(values), good.affine), data / "empty.nii.gz")
    nib.save(nib.Nifti1Image(-1.0 - values, good.affine), data / "negative.nii.gz")
    nib.save(nib.Nifti1Image(values * 1e300, good.affine), data / "overflow.nii.gz")
    nib.save(good, data / "no_size.nii")
    header = bytearray((data / "no_size.nii").read_bytes())
    header[252:256] = b"\0\0\1\0"  # no qform, but an sform
    header[280:328], header[76:108] = bytes(48), bytes(32)  # whose axes have no length, as voxels have no size
    (data / "no_size.nii").write_bytes(header)
    (data / "text.nii.gz").write_text("no image")
    with pytest.raises(InputError) as error:
        infer(data, tmp_path / "out", trained / "x2" / "model.pt")
    message = str(error.value)
    assert "7 of 9 cases failed" in message
    for name in ("four", "flat", "empty", "negative", "overflow", "text", "no_size"):
        assert f"{name}.nii" in message, message
    assert sorted(read_rows(tmp_path / "out" / "superres.csv")) == ["good", "small"]
    assert nib.load(tmp_path / "out" / "small_sr.nii.gz").shape == (10, 12, 14)


def test_a_factor_without_weights_is_refused(heads, tmp_path):
    with pytest.raises(InputError, match=r"no weights .*\[1, 1, 3\]"):
        infer(heads / "IXI-T1", tmp_path, small=False, factor=[1, 1, 3])


@pytest.mark.parametrize(("factor", "gain"), [([2, 2, 2], 0.5), ([4, 4, 4], 0.5)])
@pytest.mark.skipif(not (REAL_IMAGES / "open_ms").is_dir(), reason="needs real images beside the checkout, open_ms")
def test_shipped_weights_beat_cubic_interpolation_on_another_scanner(factor, gain, tmp_path):
    """A part of a brain at 1 mm, made coarse on the sample grid: filtered, every f-th voxel taken."""
    image = nib.load(REAL_IMAGES / "open_ms" / "MNI_1mm" / "patient07" / "T1.nii.gz")
    fine = image.get_fdata(dtype=np.float32)[40:144, 60:164, 40:136]
    coarse = degrade(torch.from_numpy(fine)[None], factor, "sample")[0].numpy()
    affine = coarser_affine(image.affine, factor, "sample")
    nib.save(nib.Nifti1Image(coarse, affine), tmp_path / "P7_T1.nii.gz")
    infer(tmp_path, tmp_path / "out", small=False, factor=factor, grid="sample", device="cpu")
    found, inside = nib.load(tmp_path / "out" / "P7_sr.nii.gz").get_fdata(), fine > 30
    errors = {
        name: np.square(volume - fine)[inside].mean()
        for name, volume in {"network": found, "cubic": interpolate(coarse, factor, "sample", 3)}.items()
    }
    assert 10 * np.log10(errors["cubic"] / errors["network"]) > gain


@pytest.mark.parametrize("factor", [[2, 2, 2], [4, 4, 4]])
def test_shipped_weights_leave_no_seams(factor, tmp_path):
    """Two tiles along the first axis against none, on a textured volume."""
    rng = np.random.default_rng(0)
    data = ndimage.gaussian_filter(rng.random((58, 20, 12)), 1.0)
    nib.save(nib.Nifti1Image((1000 * (data - data.min())).astype(np.float32), GRIDS["oblique"]), tmp_path / "P1_T1.nii.gz")
    found = []
    for tile in (44, 64):
        infer(tmp_path, tmp_path / f"out{tile}", small=False, factor=factor, window=[tile] * 3, device="cpu", pictures=False)
        found.append(nib.load(tmp_path / f"out{tile}" / "P1_sr.nii.gz").get_fdata())
    assert np.abs(found[0] - found[1]).max() < 1e-4 * np.percentile(data, 99.9) * 1000


def test_metadata_names_both_weights():
    assert set(bundles.metadata(BUNDLE)["weights"]) == {"models/model.pt", "models/model_x4.pt"}
