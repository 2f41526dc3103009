import sys

import nibabel as nib
import numpy as np
import pytest
import xlrd
from nibabel.processing import resample_from_to

from tools.anatomy import grid_mm
from tools.head import head
from tools.phantom import phantom
from tools.phantoms.ixi import COLUMNS, Person, draw_person, ixi, make_image


def draw(age, sex, seed, spacing=4.0):
    """Grey values and labels of a head, axes right, anterior, superior."""
    grid = grid_mm(tuple(round(mm / spacing) for mm in (180, 240, 240)), (spacing,) * 3)
    return head(np.random.default_rng(seed), grid + np.float32([0, 17, 0])[:, None, None, None], (spacing,) * 3, age, sex)


def test_the_seed_and_the_place_make_the_case(tmp_path):
    for name, cases, seed in (("a", 2, 1), ("b", 3, 1), ("c", 2, 2)):
        ixi(str(tmp_path / name), cases=cases, seed=seed, spacing=12.0)
    a, b, c = (sorted((tmp_path / n).rglob("*.nii.gz")) for n in "abc")
    assert all((tmp_path / "b" / p.relative_to(tmp_path / "a")).read_bytes() == p.read_bytes() for p in a)
    assert len(b) == len(a) + 2 and {p.name for p in a} != {p.name for p in c}


def test_age_shows():
    """Over six people: ventricles grow manifold, cortex and deep grey matter shrink, as in real heads."""
    volumes = {}
    for age in (22, 82):
        labels = [draw(age, sex, seed)[1] for seed in range(3) for sex in "FM"]
        for name, values in {"ventricles": (51, 52), "cortex": range(142, 200), "putamen": (57, 58)}.items():
            volumes[name, age] = np.mean([np.isin(m, list(values)).sum() for m in labels]) * 4**3 / 1000  # mL
    assert 4 < volumes["ventricles", 22] < 16 and 25 < volumes["ventricles", 82] < 70
    assert 400 < volumes["cortex", 22] < 700 and volumes["cortex", 82] < 0.85 * volumes["cortex", 22]
    assert volumes["putamen", 82] < 0.85 * volumes["putamen", 22]


def test_a_man_has_the_larger_head_and_brow():
    women, men = ([draw(40, sex, seed)[0] > 0.2 for seed in range(3)] for sex in "FM")
    assert 1.02 < np.mean([m.sum() for m in men]) / np.mean([w.sum() for w in women]) < 1.3


def test_a_head_has_a_front_a_top_and_two_sides():
    image, labels = draw(30, "F", 0)
    inside = np.argwhere(image > 0.3)
    brain = np.argwhere(labels > 0)
    assert inside[:, 1].max() - brain[:, 1].max() > brain[:, 1].min() - inside[:, 1].min() + 2  # the nose is in front
    assert brain[:, 2].min() - inside[:, 2].min() > inside[:, 2].max() - brain[:, 2].max() + 2  # the neck is below
    centre = {v: np.argwhere(labels == v).mean(0) for v in np.unique(labels)[1:]}
    pairs = (31, 36, 38, 40, 47, 51, 55, 57, 59, 81, 83, 85, 87, 142, 144, 154, 198)
    assert set(centre) == {4, 11, 35, 95, *pairs, *(v + 1 for v in pairs)}
    assert all(centre[v][0] > 22.5 > centre[v + 1][0] for v in pairs)  # a pair's first is on the right
    assert centre[81][1] > centre[85][1] > centre[83][1] and centre[38][2] < centre[87][2] < centre[85][2]
    white, cortex, ventricle = (np.median(image[np.isin(labels, v)]) for v in ((81, 85), (142, 198), (51, 52)))
    assert white > 1.2 * cortex > 1.5 * ventricle


def test_files_are_like_those_of_the_release(tmp_path):
    ixi(str(tmp_path), cases=9, seed=5, spacing=(8, 8, 10))
    people = [draw_person(np.random.default_rng([5, i]), i) for i in range(9)]
    assert {p.name for p in (tmp_path / "IXI-T1").iterdir()} == {f"{p.case}-T1.nii.gz" for p in people}
    oblique = 0
    for person in people:
        image = nib.load(tmp_path / "IXI-T1" / f"{person.case}-T1.nii.gz")
        labels = nib.load(tmp_path / "IXI-labels" / f"{person.case}-labels.nii.gz")
        assert image.shape == (30, 30, 18) == labels.shape and nib.aff2axcodes(image.affine) == ("P", "S", "R")
        np.testing.assert_allclose(nib.affines.voxel_sizes(image.affine), (8, 8, 10), rtol=1e-5)
        np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-3)
        np.testing.assert_array_equal(image.affine, labels.affine)
        oblique += (np.count_nonzero(np.abs(image.affine[:3, :3]) > 1e-3)) > 3
        assert image.get_data_dtype() == (np.uint8 if person.site == "IOP" else np.int16)
    assert 0 < oblique < 9 and len({p.site for p in people}) > 1


def test_the_table_has_the_columns_and_gaps_of_the_real_one(tmp_path):
    ixi(str(tmp_path), cases=8, seed=5, spacing=20.0)
    sheet = xlrd.open_workbook(tmp_path / "IXI.xls").sheet_by_name("Table")
    assert tuple(sheet.row_values(0)) == COLUMNS
    rows = [sheet.row_values(i) for i in range(1, sheet.nrows)]
    numbers = [p.number for p in (draw_person(np.random.default_rng([5, i]), i) for i in range(8))]
    assert [r[0] for r in rows] == [*numbers[:2], numbers[1], *numbers[3:], numbers[7] + 5]
    assert rows[1] == rows[2] and [r[0] for r in rows if r[-1] == ""] == [numbers[4]]
    person = draw_person(np.random.default_rng([5, 0]), 0)
    assert rows[0][1] == {"M": 1, "F": 2}[person.sex] and rows[0][-1] == person.age
    # age is what lies between birth and scan
    assert rows[0][10] - rows[0][8] == pytest.approx(person.age * 365.25, abs=1)


def test_a_few_cases_have_a_table_without_gaps(tmp_path):
    ixi(str(tmp_path), cases=2, spacing=20.0)
    sheet = xlrd.open_workbook(tmp_path / "IXI.xls").sheet_by_name("Table")
    assert sheet.nrows == 3 and all(cell != "" for i in range(3) for cell in sheet.row_values(i))


def test_early_scans_of_hammersmith_are_three_times_brighter():
    def level(scan):
        person = Person(12, "HH", scan, "F", 30.0, None, 160, 60)
        image, labels = make_image(np.random.default_rng(4), person, (40, 40, 30), (6.0, 6.0, 6.0))
        return np.median(image[np.isin(labels, (81, 82))])

    assert level(1388) / level(1400) == pytest.approx(3, rel=0.01)
    people = [draw_person(np.random.default_rng(i), i) for i in range(400)]
    bright = [p.age for p in people if p.site == "HH" and p.scan < 1400]
    assert len(bright) > 5 and max(bright) <= 45 < max(p.age for p in people)


def test_existing_cases_are_not_overwritten(tmp_path):
    phantom["ixi"](str(tmp_path), cases=1, spacing=20.0)
    with pytest.raises(FileExistsError, match="-T1.nii.gz exists already"):
        phantom["ixi"](str(tmp_path), cases=1, spacing=20.0)


def test_without_xlwt_the_command_to_install_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "xlwt", None)
    with pytest.raises(ImportError, match=r"needs xlwt: pip install -e \.\[ixi\]"):
        ixi(str(tmp_path / "a"), cases=1)
    assert not (tmp_path / "a").exists()


def test_t2_and_pd_show_the_same_head_on_axial_slices(tmp_path):
    """Where T1 has little signal inside the head, in CSF, T2 has much; the T1 images are those without them."""
    for name, others in (("alone", False), ("all", True)):
        ixi(str(tmp_path / name), cases=2, seed=7, spacing=4.0, others=others)
    for path in sorted((tmp_path / "all" / "IXI-T1").iterdir()):
        assert path.read_bytes() == (tmp_path / "alone" / "IXI-T1" / path.name).read_bytes()
        t1, labels = nib.load(path), nib.load(str(path).replace("IXI-T1", "IXI-labels").replace("-T1", "-labels"))
        for name in ("T2", "PD"):
            image = nib.load(str(path).replace("T1", name))
            assert nib.aff2axcodes(image.affine) == ("L", "P", "S") and image.get_data_dtype() == t1.get_data_dtype()
            np.testing.assert_allclose(nib.affines.voxel_sizes(image.affine), (4, 4, 16 / 3), rtol=1e-5)
            at = resample_from_to(labels, (image.shape, image.affine), order=0).get_fdata()
            ventricle, white = (np.median(image.get_fdata()[np.isin(at, v)]) for v in ((51, 52), (81, 82, 85, 86)))
            assert ventricle > (1.2 if name == "T2" else 1.05) * white
    assert not (tmp_path / "alone" / "IXI-T2").exists()
