"""The bundle from end to end: both trainings, its variants, evaluation, inference, damaged input, any orientation."""

import csv
import json

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from monai.bundle import run
from nibabel.processing import resample_from_to, resample_to_output
from scipy.spatial.transform import Rotation

from shared.errors import InputError
from shared.handlers.case_table import read_rows
from tools import bundles
from tools.phantoms.ixi import ixi
from tools.prepare import prepare

from .conftest import REAL_IMAGES, config
from .conftest import SMALL_HEADS as SMALL

BUNDLE = "ixi_age_regression"


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """Twelve prepared synthetic heads of 4 mm, and folds."""
    folder = tmp_path_factory.mktemp("ixi")
    ixi(str(folder), cases=12, seed=3, spacing=4.0)
    prepare("ixi", str(folder), folds=2, validation=0.2)
    return folder


@pytest.fixture(scope="module")
def trained(heads, tmp_path_factory):
    """A parcellation trained for an epoch, and the fit on top of it, straight and with a break."""
    root = tmp_path_factory.mktemp("runs")
    settings = {**SMALL, "dataset_dir": str(heads)}
    run(config_file=[config("train", BUNDLE), config("train_regions", BUNDLE)], output_dir=str(root / "regions"), max_epochs=1,
        **settings)  # fmt: skip
    for name, parts in {"straight": [2], "broken": [1, 2]}.items():
        for epochs in parts:
            run(config_file=config("train", BUNDLE), output_dir=str(root / name), max_epochs=epochs, resume=epochs != parts[0],
                finetune=str(root / "regions" / "model.pt"), **{"lr_scheduler::T_max": 2}, **settings)  # fmt: skip
    return root


def infer(data, output, weights, **options):
    settings = {**SMALL, "dataset_dir": str(data), "output_dir": str(output), "checkpoint": str(weights), **options}
    run(config_file=config("inference", BUNDLE), **settings)


def test_training_logs_saves_and_goes_on_exactly(heads, trained):
    straight, broken = (torch.load(trained / n / "last.pt", weights_only=True) for n in ("straight", "broken"))
    assert straight["epoch"] == broken["epoch"] == 2
    for key, value in straight["network"].items():
        assert torch.equal(value, broken["network"][key]), key
    sections = json.loads((heads / "datalist.json").read_text())
    assert len(straight["fit"]["people"]) == 2 * len(sections["training"])
    rows = read_rows(trained / "straight" / "validation.csv")
    assert list(rows) == sorted(item["case"] for item in sections["validation"])
    assert {"age", "age_pred", "male", "male_prob"} < set(next(iter(rows.values())))
    assert (trained / "straight" / "age.png").stat().st_size and list((trained / "straight").glob("events*"))
    weights = straight["network"]
    assert weights["age.weight"].any() and weights["sex.weight"].any() and weights["centres"].any()


def test_parcellation_is_what_training_the_regions_changed(trained):
    regions, fitted = (torch.load(trained / n / "model.pt", weights_only=True) for n in ("regions", "straight"))
    same = [torch.equal(regions[key], fitted[key]) for key in fitted if key.startswith("parcellation")]
    assert all(same) and not torch.equal(regions["age.weight"], fitted["age.weight"])


def test_evaluation_scores_the_test_section(heads, trained, tmp_path):
    files = [config("train", BUNDLE), config("evaluate", BUNDLE)]
    run(config_file=files, dataset_dir=str(heads), output_dir=str(tmp_path), checkpoint=str(trained / "straight" / "model.pt"),
        **SMALL)  # fmt: skip
    testing = {item["case"]: item for item in json.loads((heads / "datalist.json").read_text())["testing"]}
    rows = read_rows(tmp_path / "per_case.csv")
    assert set(rows) == set(testing)
    for case, row in rows.items():
        assert float(row["age"]) == pytest.approx(testing[case]["age"], abs=0.01)
        assert float(row["male"]) == {"F": 0, "M": 1}[testing[case]["sex"]]
        assert 0 <= float(row["male_prob"]) <= 1


@pytest.mark.parametrize("overlays", [["resnet"], ["resnet", "soft_labels"]])
def test_variants_learn_and_predict(heads, overlays, tmp_path):
    small = {"crop": [32, 32, 32], "network_def::network::block_inplanes": [8, 8, 8, 8], "max_epochs": 1, "heads_per_batch": 4}
    settings = {k: v for k, v in SMALL.items() if not k.startswith("network_def")} | {"dataset_dir": str(heads)} | small
    layers = [config(name, BUNDLE) for name in overlays]
    run(config_file=[config("train", BUNDLE), *layers], output_dir=str(tmp_path / "train"), **settings)
    checkpoint = str(tmp_path / "train" / "model.pt")
    out = str(tmp_path / "scores")
    run(
        config_file=[config("train", BUNDLE), *layers, config("evaluate", BUNDLE)],
        output_dir=out,
        checkpoint=checkpoint,
        **settings,
    )
    assert all(0 < float(row["age_pred"]) < 120 for row in read_rows(tmp_path / "scores" / "per_case.csv").values())


def test_inference_writes_a_row_per_head_and_a_map_on_its_grid(heads, trained, tmp_path):
    weights = trained / "straight" / "model.pt"
    infer(heads / "IXI-T1", tmp_path, weights, saliency=True, interval=9.0)
    files = sorted((heads / "IXI-T1").glob("*.nii.gz"))
    rows = read_rows(tmp_path / "ages.csv")
    assert list(rows) == [path.name.removesuffix("-T1.nii.gz") for path in files]
    for row in rows.values():
        assert float(row["age_high"]) - float(row["age_pred"]) == pytest.approx(9, abs=0.01)
    for path in files[:2]:
        source, reaction = nib.load(path), nib.load(tmp_path / "saliency" / f"{path.name.removesuffix('-T1.nii.gz')}.nii.gz")
        assert reaction.shape == source.shape
        np.testing.assert_allclose(reaction.affine, source.affine, atol=1e-4)
        data = reaction.get_fdata()
        assert 0.5 < data.max() <= 1 and data.min() >= 0
    before = (tmp_path / "ages.csv").read_bytes()
    infer(heads / "IXI-T1", tmp_path, weights)  # nothing is left to do
    assert (tmp_path / "ages.csv").read_bytes() == before


def test_shifted_crops_are_averaged_with_a_fixed_seed(heads, trained, tmp_path):
    weights, names = trained / "straight" / "model.pt", tmp_path / "list.txt"
    names.write_text(sorted((heads / "IXI-T1").glob("*.nii.gz"))[0].name)
    for name, crops in {"one": 1, "first": 3, "second": 3}.items():
        infer(heads / "IXI-T1", tmp_path / name, weights, crops=crops, image_list=str(names))
    one, first, second = ((tmp_path / n / "ages.csv").read_text() for n in ("one", "first", "second"))
    assert first == second != one


def test_a_list_names_the_heads(heads, trained, tmp_path):
    files = sorted((heads / "IXI-T1").glob("*.nii.gz"))
    (tmp_path / "list.txt").write_text(f"{files[0].name}\n\n{files[2].name}\nabsent-T1.nii.gz\n")
    with pytest.raises(InputError, match=r"1 of 3 cases failed:\n  absent: .*no such file, though .*list.txt names it"):
        infer(heads / "IXI-T1", tmp_path / "out", trained / "straight" / "model.pt", image_list=str(tmp_path / "list.txt"))
    assert len(read_rows(tmp_path / "out" / "ages.csv")) == 2
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(InputError, match="empty.txt is empty"):
        infer(heads / "IXI-T1", tmp_path / "out", trained / "straight" / "model.pt", image_list=str(tmp_path / "empty.txt"))


def test_damaged_heads_are_named_and_the_others_finish(heads, trained, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    good = nib.load(sorted((heads / "IXI-T1").glob("*.nii.gz"))[0])
    nib.save(good, data / "good.nii.gz")
    values = np.asarray(good.dataobj)
    nib.save(nib.Nifti1Image(np.stack([values, values], -1), good.affine), data / "four.nii.gz")
    nib.save(nib.Nifti1Image(values[..., 20], good.affine), data / "flat.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros_like(values), good.affine), data / "empty.nii.gz")
    nib.save(good, data / "no_axes.nii")
    header = bytearray((data / "no_axes.nii").read_bytes())
    header[252:256] = b"\0\0\1\0"  # no qform, but an sform
    header[280:328], header[76:108] = bytes(48), bytes(32)  # whose axes have no length, as voxels have no size
    (data / "no_axes.nii").write_bytes(header)
    (data / "text.nii.gz").write_text("no image")
    with pytest.raises(InputError) as error:
        infer(data, tmp_path / "out", trained / "straight" / "model.pt")
    message = str(error.value)
    assert "5 of 6 cases failed" in message
    for name in ("four", "flat", "empty", "text", "no_axes"):
        assert f"{name}.nii" in message, message
    assert list(read_rows(tmp_path / "out" / "ages.csv")) == ["good"]


def test_tables_without_ages_or_with_ages_as_text_are_refused(heads, tmp_path):
    items = json.loads((heads / "datalist.json").read_text())
    items["training"][0]["age"] = "sixty"
    (tmp_path / "datalist.json").write_text(json.dumps(items))
    settings = {**SMALL, "dataset_dir": str(heads), "datalist": str(tmp_path / "datalist.json"), "finetune": None}
    with pytest.raises(Exception) as error:
        run(config_file=config("train", BUNDLE), output_dir=str(tmp_path / "run"), max_epochs=1, **settings)
    chain, message = error.value, ""
    while chain is not None:
        message, chain = message + str(chain), chain.__cause__ or chain.__context__
    assert "age is 'sixty', expected a number of years" in message
    for text, expected in (("subject,t1,sex\nA,a.nii,M\n", "no column for age"), ("subject,t1,age\n", "no rows")):
        folder = tmp_path / f"table{len(text)}"
        folder.mkdir()
        (folder / "participants.csv").write_text(text)
        with pytest.raises(InputError, match=expected):
            prepare("ixi", str(folder))


def stored_otherwise(image: nib.Nifti1Image) -> dict[str, nib.Nifti1Image]:
    """The same head in files that differ: flipped, rotated by 90 degrees, brighter, finer voxels, an oblique grid."""
    data, affine = np.asarray(image.dataobj).astype(np.float32), image.affine
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = data.shape[0] - 1  # voxel i is where voxel n - 1 - i was
    turn = np.eye(4)[[1, 0, 2, 3]]  # rows became columns, one of them reversed
    turn[0] = [0, 1, 0, 0]
    turn[1] = [-1, 0, 0, data.shape[1] - 1]
    return {
        "flipped": nib.Nifti1Image(data[::-1], affine @ flip),
        "rotated": nib.Nifti1Image(np.rot90(data), affine @ turn),
        "brighter": nib.Nifti1Image(3 * data, affine),
        "finer": resample_to_output(image, (1.2, 1.5, 1.5), order=3),
        "oblique": resample_from_to(image, oblique_grid(image), order=3),
    }


def oblique_grid(image: nib.Nifti1Image) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape and affine of voxels of 1.4 mm, turned by 7 and 5 degrees, that cover an image."""
    turn = Rotation.from_euler("zx", (7, 5), degrees=True).as_matrix()
    corners = np.stack(np.meshgrid(*[(0, n - 1) for n in image.shape], indexing="ij"), -1).reshape(-1, 3)
    places = nib.affines.apply_affine(image.affine, corners) @ turn
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn * 1.4, turn @ places.min(0)
    return tuple(np.ceil(np.ptp(places, axis=0) / 1.4).astype(int) + 1), affine


def ages_of(images: dict[str, nib.Nifti1Image], folder) -> dict[str, float]:
    """Ages that the shipped weights give to images, by name."""
    folder.mkdir()
    for name, image in images.items():
        nib.save(image, folder / f"{name}.nii.gz")
    run(config_file=config("inference", BUNDLE), dataset_dir=str(folder), output_dir=str(folder / "out"), device="cpu")
    ages = {case: float(row["age_pred"]) for case, row in read_rows(folder / "out" / "ages.csv").items()}
    assert len(ages) == len(images)
    return ages


@pytest.mark.skipif(not (REAL_IMAGES / "ixi_2mm").is_dir(), reason="needs real heads beside the checkout, ixi_2mm")
def test_the_same_head_stored_otherwise_has_the_same_age(tmp_path):
    folder = REAL_IMAGES / "ixi_2mm"
    with (folder / "participants.csv").open() as file:
        files = [row["t1"] for row in csv.DictReader(file)][::4]
    images = {}
    for number, name in enumerate(files):
        image = nib.load(folder / name)
        for change, other in {"plain": image, **stored_otherwise(image)}.items():
            images[f"head{number}_{change}"] = other
    ages = ages_of(images, tmp_path / "in")
    for change in ("flipped", "rotated", "brighter", "finer", "oblique"):
        years = [abs(ages[f"head{n}_{change}"] - ages[f"head{n}_plain"]) for n in range(len(files))]
        print(f"{change}: {np.mean(years):.2f} years in the mean, {max(years):.2f} at most, {len(years)} heads")
        assert max(years) <= 0.5, (change, years)


def test_a_synthetic_head_stored_otherwise_has_the_same_age(tmp_path):
    ixi(str(tmp_path / "heads"), cases=1, seed=7, spacing=2.0)
    image = nib.load(next((tmp_path / "heads").rglob("*-T1.nii.gz")))
    ages = ages_of({"plain": image, **stored_otherwise(image)}, tmp_path / "in")
    for change, age in ages.items():
        # edges of a drawn head are sharper than those of any scan, and interpolation changes them more
        assert age == pytest.approx(ages["plain"], abs=1.5 if change == "oblique" else 0.5), change


def test_shipped_interval_is_that_of_the_cross_validation():
    """Nine of ten people of the cross-validation lie within the interval that inference.yaml states."""
    inference = yaml.safe_load((bundles.folder(BUNDLE) / "configs" / "inference.yaml").read_text())
    assert inference["interval"] == round(bundles.metadata(BUNDLE)["eval_metrics"]["scores"]["age_p90"]["mean"], 1)
