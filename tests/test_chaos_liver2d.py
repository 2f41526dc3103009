"""The bundle from end to end, as its commands run it: training, evaluation, inference, DICOM segmentation, damaged input."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from monai.bundle import run
from monai.networks.nets import UNet
from PIL import Image

from shared.errors import InputError
from shared.handlers.case_table import read_rows
from shared.transforms import LoadSeriesd
from tools.phantoms.abdomen import abdomen
from tools.phantoms.chaos import chaos
from tools.prepare import prepare

from .conftest import config

BUNDLE = "chaos_liver2d"
CHANNELS = [4, 4, 8, 8, 8]
SMALL = {"device": "cpu", "network_def::channels": CHANNELS, "pixdim": [8.0, 8.0, 0.0]}
TRAIN = {**SMALL, "patch_size": [48, 48], "cache": "none", "slices_per_volume": 2}
ORGANS = ("liver", "right_kidney", "left_kidney", "spleen")


def configs(*names):
    return [config(name, BUNDLE) for name in names]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A prepared release of small pictures: three patients to train on, one to validate, one to test."""
    folder = tmp_path_factory.mktemp("chaos")
    chaos(str(folder), cases=5, seed=1, size=48, slices=10)
    prepare("chaos", str(folder), workers=1)
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """Random weights of the small network, shifted so that they see organs nearly everywhere."""
    torch.manual_seed(0)
    net = UNet(spatial_dims=2, in_channels=1, out_channels=4, channels=CHANNELS, strides=[2, 2, 2, 2], num_res_units=1)
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    torch.save(net.state_dict(), path)
    return path


def infer(folder, output, weights, **options):
    run(
        config_file=config("inference", BUNDLE), dataset_dir=str(folder), output_dir=str(output), checkpoint=str(weights),
        **{**SMALL, **options},
    )  # fmt: skip


def patient(data, number=1):
    return data / "Train_Sets" / "MR" / str(number)


def cases_of(data, section, *kinds):
    return [i["case"] for i in json.loads((data / "datalist.json").read_text())[section] if i["series"] in kinds]


def test_training_learns_saves_and_validates_the_chosen_series(data, tmp_path):
    run(
        config_file=config("train", BUNDLE), dataset_dir=str(data), output_dir=str(tmp_path), max_epochs=2, val_interval=2,
        series=["in_phase", "t2_spir"], **TRAIN,
    )  # fmt: skip
    rows = read_rows(tmp_path / "validation.csv")
    assert sorted(rows) == sorted(cases_of(data, "validation", "in_phase", "t2_spir"))
    columns = list(next(iter(rows.values())))
    assert columns == ["case", *(f"{metric}_{organ}" for metric in ("dice", "ravd", "assd", "mssd") for organ in ORGANS)]
    state = torch.load(tmp_path / "model.pt", weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in state.values())


def test_one_organ_trains_one_channel_of_the_same_network(data, weights, tmp_path):
    """CT masks show only the liver; other channels keep their weights in the last layer."""
    options = {**TRAIN, "organ": "liver", "finetune": str(weights), "max_epochs": 1, "learning_rate": 0.1}
    run(config_file=configs("train", "tutorial"), dataset_dir=str(data), output_dir=str(tmp_path), val_interval=1, **options)
    before, after = (torch.load(p, weights_only=True) for p in (weights, tmp_path / "model.pt"))
    assert {k: v.shape for k, v in before.items()} == {k: v.shape for k, v in after.items()}
    assert [c for c in next(iter(read_rows(tmp_path / "validation.csv").values())) if c.startswith("dice")] == ["dice_liver"]
    with pytest.raises(InputError, match="organ is 'pancreas'"):
        run(config_file=configs("train"), dataset_dir=str(data), output_dir=str(tmp_path / "x"), organ="pancreas", **TRAIN)


def test_training_on_anatomies_of_random_contrast(data, tmp_path):
    abdomen(str(tmp_path / "a"), cases=4, seed=1, spacing=8.0)
    run(
        config_file=configs("train", "synthetic"), dataset_dir=str(data), anatomy_dir=str(tmp_path / "a"),
        output_dir=str(tmp_path / "o"), max_epochs=1, val_interval=1, **{**TRAIN, "precision": "bfloat16"},
    )  # fmt: skip
    kinds = ("in_phase", "out_phase", "t2_spir")
    assert sorted(read_rows(tmp_path / "o" / "validation.csv")) == sorted(cases_of(data, "validation", *kinds))


def test_scores_are_those_of_the_files_that_inference_writes(data, weights, tmp_path):
    """Dice and volume difference by hand, on the grid of the series and its masks."""
    for name, extra in {"plain": [], "flipped": ["perturbed"], "noisy": ["perturbed"]}.items():
        options = {"flip": 0} if name == "flipped" else {"noise": 0.2} if name == "noisy" else {}
        run(
            config_file=configs("train", "evaluate", *extra), dataset_dir=str(data), output_dir=str(tmp_path / name),
            checkpoint=str(weights), **{**TRAIN, **options},
        )  # fmt: skip
    (case,) = cases_of(data, "testing", "in_phase")
    rows = {name: read_rows(tmp_path / name / "per_case.csv")[case] for name in ("plain", "flipped", "noisy")}
    assert (tmp_path / "plain" / "pictures" / f"{case}.png").is_file()
    item = next(i for i in json.loads((data / "datalist.json").read_text())["testing"] if i["case"] == case)
    item = {**item, "image": [str(data / p) for p in item["image"]], "label": [str(data / p) for p in item["label"]]}
    truth = LoadSeriesd("label")(item)["label"][0].numpy()
    infer(Path(item["image"][0]).parent, tmp_path / "out", weights)
    pred = np.asarray(nib.load(next((tmp_path / "out").glob("*_seg.nii.gz"))).dataobj)
    for value, organ in enumerate(ORGANS, 1):
        found, wanted = pred == value, truth == value
        dice = 2 * (found & wanted).sum() / (found.sum() + wanted.sum())
        ravd = 100 * abs(int(found.sum()) - int(wanted.sum())) / wanted.sum()
        assert float(rows["plain"][f"dice_{organ}"]) == pytest.approx(dice, abs=1e-4)
        assert float(rows["plain"][f"ravd_{organ}"]) == pytest.approx(ravd, rel=1e-3)
        # how the file is stored does not matter but for the last pixels of resampling, noise does
        assert float(rows["flipped"][f"dice_{organ}"]) == pytest.approx(dice, abs=0.03)
    assert rows["noisy"] != rows["plain"]


def test_outputs_lie_on_the_series_grid_and_volumes_are_theirs(data, weights, tmp_path):
    infer(patient(data), tmp_path, weights)
    rows = read_rows(tmp_path / "volumes.csv")
    assert set(rows) == {"T1DUAL_DICOM_anon_InPhase", "T1DUAL_DICOM_anon_OutPhase", "T2SPIR_DICOM_anon"}
    for case, row in rows.items():
        saved = nib.load(tmp_path / f"{case}_seg.nii.gz")
        labels = np.asarray(saved.dataobj)
        ml = float(np.prod(saved.header.get_zooms())) / 1000
        expected = [(labels == value).sum() * ml for value in range(1, 5)]
        assert [float(row[f"{organ}_mL"]) for organ in ORGANS] == pytest.approx(expected, rel=1e-4)
        assert Image.open(tmp_path / "pictures" / f"{case}.png").size[0] > 8 * 150
    image = LoadSeriesd()({"image": sorted(map(str, (patient(data) / "T2SPIR" / "DICOM_anon").glob("*.dcm")))})["image"]
    saved = nib.load(tmp_path / "T2SPIR_DICOM_anon_seg.nii.gz")
    assert saved.shape == tuple(image.shape[1:]) and np.allclose(saved.affine, image.affine, atol=1e-4)
    before = (tmp_path / "T2SPIR_DICOM_anon_seg.nii.gz").stat().st_mtime_ns
    infer(patient(data), tmp_path, weights)  # all is finished
    assert (tmp_path / "T2SPIR_DICOM_anon_seg.nii.gz").stat().st_mtime_ns == before


def test_one_organ_of_four(data, weights, tmp_path):
    folder = patient(data) / "T2SPIR" / "DICOM_anon"
    infer(folder, tmp_path, weights, organ="spleen", pictures=False)
    assert set(np.unique(nib.load(tmp_path / "DICOM_anon_seg.nii.gz").dataobj)) == {0, 4}
    assert not (tmp_path / "pictures").exists()
    assert list(read_rows(tmp_path / "volumes.csv")["DICOM_anon"]) == ["case", "spleen_mL"]


def test_dicom_segmentation_reads_back_over_its_series(data, weights, tmp_path):
    """Read with pydicom alone: every frame names its source slice, lies at its place and holds its mask."""
    pytest.importorskip("highdicom", reason="the extra seg is not installed")
    folder = patient(data) / "T1DUAL" / "DICOM_anon" / "InPhase"
    infer(folder, tmp_path, weights, dicom_seg=True, pictures=False)
    labels = np.asarray(nib.load(tmp_path / "InPhase_seg.nii.gz").dataobj)
    sources = {h.SOPInstanceUID: h for h in map(pydicom.dcmread, folder.glob("*.dcm"))}
    order = sorted(sources.values(), key=lambda h: float(h.ImagePositionPatient[2]))
    seg = pydicom.dcmread(tmp_path / "InPhase_seg.dcm")
    first = order[0]
    assert seg.Modality == "SEG" and seg.SegmentationType == "BINARY"
    for name in ("StudyInstanceUID", "PatientID", "FrameOfReferenceUID", "Rows", "Columns"):
        assert seg.get(name) == first.get(name)
    referenced = seg.ReferencedSeriesSequence[0]
    assert referenced.SeriesInstanceUID == first.SeriesInstanceUID
    assert {i.ReferencedSOPInstanceUID for i in referenced.ReferencedInstanceSequence} <= set(sources)
    names = {s.SegmentNumber: s.SegmentLabel for s in seg.SegmentSequence}
    codes = {s.SegmentedPropertyTypeCodeSequence[0].CodeValue for s in seg.SegmentSequence}
    assert "10200004" in codes and names[1] == "Liver"
    frames, seen = seg.pixel_array, dict.fromkeys(names, 0)
    for frame, about in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        source = about.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        place = about.PlanePositionSequence[0].ImagePositionPatient
        assert [float(p) for p in place] == [float(p) for p in sources[source].ImagePositionPatient]
        number = about.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        value = ORGANS.index(names[number].lower().replace(" ", "_")) + 1
        k = next(i for i, h in enumerate(order) if h.SOPInstanceUID == source)
        assert np.array_equal(frame.astype(bool), value == labels[:, :, k].T)
        seen[number] += int(frame.sum())
    assert seen == {n: int((labels == ORGANS.index(names[n].lower().replace(" ", "_")) + 1).sum()) for n in names}


def test_3d_slicers_reader_finds_the_dicom_segmentation_in_the_same_place(data, weights, tmp_path):
    """dcmqi is what 3D Slicer opens DICOM segmentations with; it writes the slices from the first organ to the last."""
    pytest.importorskip("highdicom", reason="the extra seg is not installed")
    dcmqi = pytest.importorskip("dcmqi", reason="needs dcmqi, of the extra dev")
    infer(patient(data) / "T1DUAL" / "DICOM_anon" / "InPhase", tmp_path, weights, dicom_seg=True, pictures=False)
    to, source = ["--outputDirectory", str(tmp_path), "--outputType", "nii"], str(tmp_path / "InPhase_seg.dcm")
    program = Path(dcmqi.__file__).parent / "bin" / "segimage2itkimage"
    subprocess.run([program, "--inputDICOM", source, "--mergeSegments", *to], check=True)
    ours, theirs = (nib.as_closest_canonical(nib.load(tmp_path / name)) for name in ("InPhase_seg.nii.gz", "1.nii.gz"))
    labels, read = np.asarray(ours.dataobj), np.asarray(theirs.dataobj)
    start = np.rint(np.linalg.inv(ours.affine) @ theirs.affine[:, 3])[:3].astype(int)
    np.testing.assert_allclose(theirs.affine[:3, :3], ours.affine[:3, :3], atol=1e-4)
    np.testing.assert_allclose((ours.affine @ [*start, 1])[:3], theirs.affine[:3, 3], atol=1e-3)  # mm
    part = tuple(slice(s, s + n) for s, n in zip(start, read.shape, strict=True))
    assert np.array_equal(labels[part], read) and (labels > 0).sum() == (read > 0).sum() > 100


def test_without_highdicom_the_command_says_what_to_install(data, weights, tmp_path, monkeypatch):
    import importlib.metadata

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("shared.handlers.dicom_seg.importlib.metadata.version", missing)
    with pytest.raises(InputError, match="pip install highdicom=="):
        infer(patient(data) / "T2SPIR", tmp_path, weights, dicom_seg=True)


def test_damaged_series_are_named_and_the_others_done(data, weights, tmp_path):
    root = tmp_path / "in"
    good = patient(data) / "T2SPIR" / "DICOM_anon"
    for name in ("good", "gap", "mixed", "cut"):
        shutil.copytree(good, root / name)
    files = {name: sorted((root / name).glob("*.dcm")) for name in ("gap", "mixed", "cut")}
    files["gap"][4].unlink()
    shutil.copy(next((patient(data) / "T1DUAL" / "DICOM_anon" / "InPhase").glob("*.dcm")), root / "mixed" / "z.dcm")
    content = files["cut"][2].read_bytes()
    files["cut"][2].write_bytes(content[: len(content) // 2])
    (root / "text.nii.gz").write_text("no image")
    with pytest.raises(InputError) as found:
        infer(root, tmp_path / "out", weights, pictures=False)
    text = str(found.value)
    assert text.startswith("4 of 5 cases failed:") and found.value.code
    for expected in ("gap: ", "1 missing slice", "mixed: ", "2 series in one folder", "cut: ", "cannot be decoded", "text: "):
        assert expected in text, expected
    assert [p.name for p in sorted((tmp_path / "out").glob("*.nii.gz"))] == ["good_seg.nii.gz"]


@pytest.mark.parametrize("turned", [False, True])
def test_nifti_of_any_orientation_gives_the_same_volumes(data, weights, tmp_path, turned):
    image = LoadSeriesd()({"image": sorted(map(str, (patient(data) / "T2SPIR" / "DICOM_anon").glob("*.dcm")))})["image"]
    volume = nib.Nifti1Image(image[0].numpy(), np.asarray(image.affine))
    if turned:
        volume = volume.as_reoriented(np.array([[2, -1], [0, 1], [1, -1]]))
    os.mkdir(tmp_path / "in")
    nib.save(volume, tmp_path / "in" / "a.nii.gz")
    infer(tmp_path / "in", tmp_path / "nifti", weights, pictures=False)
    infer(patient(data) / "T2SPIR", tmp_path / "dicom", weights, pictures=False)
    one, other = (next(iter(read_rows(tmp_path / k / "volumes.csv").values())) for k in ("nifti", "dicom"))
    for organ in ORGANS:
        assert float(one[f"{organ}_mL"]) == pytest.approx(float(other[f"{organ}_mL"]), rel=0.02)
    saved = nib.load(tmp_path / "nifti" / "a_seg.nii.gz")
    assert saved.shape == volume.shape and np.allclose(saved.affine, volume.affine, atol=1e-3)


def test_nifti_labels_of_other_numbers_can_be_scored(data, weights, tmp_path):
    image = LoadSeriesd()({"image": sorted(map(str, (patient(data) / "T2SPIR" / "DICOM_anon").glob("*.dcm")))})["image"]
    labels = np.zeros(image.shape[1:], np.uint8)
    labels[10:20, 10:20, 3:6], labels[30:35, 10:20, 3:6], labels[0, 0, 0] = 5, 1, 77
    for name, volume in {"i": image[0].numpy(), "l": labels}.items():
        nib.save(nib.Nifti1Image(volume, np.asarray(image.affine)), tmp_path / f"{name}.nii.gz")
    item = {"case": "a", "series": "mr", "image": ["i.nii.gz"], "label": "l.nii.gz", "label_values": {"liver": 5, "spleen": 1}}
    (tmp_path / "datalist.json").write_text(json.dumps({"testing": [item]}))
    run(
        config_file=configs("train", "evaluate"), dataset_dir=str(tmp_path), output_dir=str(tmp_path / "o"),
        checkpoint=str(weights), **{**TRAIN, "series": ["mr"], "organ": "liver"},
    )  # fmt: skip
    infer(tmp_path, tmp_path / "p", weights, organ="liver", pictures=False)
    pred = np.asarray(nib.load(tmp_path / "p" / "i_seg.nii.gz").dataobj)
    dice = 2 * ((pred == 1) & (labels == 5)).sum() / ((pred == 1).sum() + (labels == 5).sum())
    assert float(read_rows(tmp_path / "o" / "per_case.csv")["a"]["dice_liver"]) == pytest.approx(dice, abs=1e-4)
