"""N4 copies: the field goes, the grid stays, and a run that was stopped goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tools.anatomy import GREY, WHITE, brain, grid_mm
from tools.bias_field import correct, correct_cases

pytest.importorskip("SimpleITK")

SPACING = (8.0, 7.0, 9.0)
# oblique, flipped and of unequal spacing
TURN = np.array([[0.96, -0.28, 0], [0.28, 0.96, 0], [0, 0, 1]])
AFFINE = nib.affines.from_matvec(TURN @ np.diag([-8, 7, -9]), [90.5, -70.25, 33])


@pytest.fixture(scope="module")
def head():
    """White matter mask, clean image and image with a known field of 0.55 to 1.8."""
    rng = np.random.default_rng(0)
    shape = (28, 32, 20)
    grid = grid_mm(shape, SPACING)
    tissue = brain(rng, grid, SPACING)
    clean = np.array([0, 200, 500, 800], np.float32)[tissue]
    clean *= 1 + 0.02 * rng.standard_normal(shape, dtype=np.float32)
    field = np.exp(0.35 * grid[0] / 60 + 0.25 * np.sin(grid[1] / 50))
    return tissue == WHITE, clean, clean * field, tissue == GREY


def variation(values: np.ndarray) -> float:
    """Coefficient of variation."""
    return float(values.std() / values.mean())


def save(path: Path, data: np.ndarray, affine=AFFINE, **header) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm", "sec")
    for name, code in header.items():
        getattr(image, f"set_{name}")(affine, code)
    nib.save(image, path)
    return str(path)


def test_known_field_is_removed(head):
    white, clean, biased, grey = head
    corrected = correct(biased, np.array(SPACING))
    assert corrected.dtype == np.float32
    assert (corrected[biased == 0] == 0).all()
    assert variation(biased[white]) > 0.15
    assert variation(corrected[white]) < 0.25 * variation(biased[white])
    found, true = np.log(biased[white] / corrected[white]), np.log(biased[white] / clean[white])
    assert np.corrcoef(found, true)[0, 1] > 0.98
    contrast = corrected[white].mean() / corrected[grey].mean()
    assert contrast == pytest.approx(clean[white].mean() / clean[grey].mean(), rel=0.05)


def test_geometry_and_layout_survive(tmp_path, head):
    root, target = tmp_path / "data", tmp_path / "n4"
    voxels = head[2].astype(np.int16)
    paths = [
        save(root / "a" / "P1_t1.nii.gz", voxels, sform=1, qform=0),
        save(root / "a" / "P1_t2.nii", voxels, sform=0, qform=1),
    ]
    item = {"case": "P1", "image": paths, "label": "somewhere", "subject": "P1"}
    (found,) = correct_cases([item], root, target, workers=2)
    assert found == {**item, "image": [str(target / "a" / "P1_t1.nii.gz"), str(target / "a" / "P1_t2.nii")]}
    for old, new in zip(paths, found["image"], strict=True):
        before, after = nib.load(old), nib.load(new)
        assert np.array_equal(before.affine, after.affine)
        for key in ("sform_code", "qform_code", "pixdim", "xyzt_units"):
            assert np.array_equal(before.header[key], after.header[key])
        assert after.get_data_dtype() == np.float32
        assert after.shape == before.shape
        assert (np.asarray(after.dataobj)[voxels == 0] == 0).all()
        assert variation(np.asarray(after.dataobj)[head[0]]) < 0.5 * variation(voxels[head[0]])
    assert sorted(p.name for p in target.rglob("*") if p.is_file()) == ["P1_t1.nii.gz", "P1_t2.nii"]


def test_volumes_of_a_4d_file_are_corrected_one_by_one(tmp_path, head):
    white, clean, biased, _ = head
    path = save(tmp_path / "data" / "P1.nii.gz", np.stack([biased, clean], -1).astype(np.float32))
    (found,) = correct_cases([{"case": "P1", "image": path}], tmp_path / "data", tmp_path / "n4", workers=1)
    assert found["image"] == str(tmp_path / "n4" / "P1.nii.gz")
    corrected = nib.load(found["image"])
    assert np.array_equal(corrected.affine, nib.load(path).affine)
    assert corrected.shape == (*clean.shape, 2)
    first, second = np.moveaxis(corrected.get_fdata(), -1, 0)
    assert variation(first[white]) < 0.25 * variation(biased[white])
    assert variation(second[white]) < 1.5 * variation(clean[white])


def test_damage_is_reported_and_the_rest_goes_on_where_it_stopped(tmp_path, head, capsys):
    root, target = tmp_path / "data", tmp_path / "n4"
    good = save(root / "good.nii.gz", head[2])
    cut = save(root / "cut.nii.gz", head[2])
    Path(cut).write_bytes(Path(cut).read_bytes()[:3000])
    holes = save(root / "holes.nii.gz", np.where(head[2] > 500, np.nan, head[2]))
    items = [{"case": Path(path).name.split(".")[0], "image": [path]} for path in (cut, good, holes)]
    assert [item["case"] for item in correct_cases(items, root, target, workers=1)] == ["good"]
    printed = capsys.readouterr().out
    assert f"PROBLEM {cut}: " in printed
    assert f"PROBLEM {holes}: " in printed
    assert "left out: cut, holes" in printed
    assert [path.name for path in target.iterdir()] == ["good.nii.gz"]

    (target / "good.nii.gz").write_bytes(b"as it was")
    save(root / "holes.nii.gz", head[2])
    assert [item["case"] for item in correct_cases(items, root, target, workers=1)] == ["good", "holes"]
    assert (target / "good.nii.gz").read_bytes() == b"as it was"
    assert nib.load(target / "holes.nii.gz").shape == head[2].shape


def test_copies_must_not_lie_in_the_dataset(tmp_path):
    with pytest.raises(ValueError, match="outside of the dataset"):
        correct_cases([], tmp_path, tmp_path / "n4", workers=1)


def test_missing_simpleitk_names_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install -e \.\[n4\]"):
        correct_cases([], tmp_path / "data", tmp_path / "n4", workers=1)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no process groups with SIGINT")
def test_interrupt_leaves_whole_files_only(tmp_path, head):
    root, target = tmp_path / "data", tmp_path / "n4"
    # 200 files take minutes: the interrupt comes long before the end
    first = Path(save(root / "000.nii.gz", head[2]))
    for i in range(1, 200):
        (root / f"{i:03d}.nii.gz").symlink_to(first)
    code = (
        "from pathlib import Path; from tools.bias_field import correct_cases\n"
        f"root = Path({str(root)!r})\n"
        "items = [{'case': p.name, 'image': [str(p)]} for p in sorted(root.iterdir())]\n"
        f"if __name__ == '__main__': correct_cases(items, root, Path({str(target)!r}), 2)\n"
    )
    script = tmp_path / "run.py"
    script.write_text(code)
    repository = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    process = subprocess.Popen(
        [sys.executable, script],
        env=environment,
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
        # where the tests run in a shell's background, Ctrl-C is ignored and the child would inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    stop = time.monotonic() + 60
    while not list(target.glob("0*.nii.gz")) and time.monotonic() < stop and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)  # returns when the last worker has let go of stderr
    assert process.returncode != 0
    assert "KeyboardInterrupt" in errors
    files = sorted(target.iterdir())
    assert 0 < len(files) < 200
    for path in files:
        assert not path.name.startswith(".")
        assert np.isfinite(nib.load(path).get_fdata()).all()
