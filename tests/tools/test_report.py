"""The report of a dataset: every case is on the page, measured rightly, and damage does not stop it."""

import re
from html.parser import HTMLParser
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

from tools import page
from tools.charts import along_body, histogram, slice_kinds
from tools.datasets.brats import read
from tools.phantoms.brats import brats
from tools.report import report
from tools.reports.brats import Facts, case_figure, measure, spread

VOID = {"meta", "img", "path", "use", "image", "rect", "stop", "br"}


class Balanced(HTMLParser):
    """Fails on an end tag that closes nothing."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


def rows(html: str) -> dict[str, list[str]]:
    """Cells of the last table by the first cell of the row."""
    body = html[html.rindex("<tbody>") :]
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", body)]
    return {row[0]: row[1:] for row in cells}


def make(folder: Path, **options) -> Path:
    brats(str(folder), spacing=6.0, **options)
    return folder


def test_damaged_and_unlabelled_cases_are_listed(tmp_path):
    root = make(tmp_path / "data", cases=6)
    cases = {item["case"][-3:]: item for item in read(str(root))}
    truncated = Path(cases["001"]["image"][0])
    truncated.write_bytes(truncated.read_bytes()[:5000])
    Path(cases["002"]["image"][1]).unlink()
    Path(cases["003"]["label"]).unlink()
    flair = nib.load(cases["004"]["image"][3])
    voxels = flair.get_fdata(dtype=np.float32)
    voxels[5, 5, 5] = np.nan
    nib.save(nib.Nifti1Image(voxels, flair.affine), cases["004"]["image"][3])

    report("brats", str(root), output=str(tmp_path / "out"), examples=2, workers=2)
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.html"]
    table = rows(html)
    assert len(table) == 6
    assert {name[-3:]: cells[-1] for name, cells in table.items()} == {
        "001": "problem",
        "002": "problem",
        "003": "no label",
        "004": "problem",
        "005": "good",
        "006": "good",
    }
    assert all(cells[:3] == ["40 x 40 x 26", "6 x 6 x 6", "LPS"] for cells in table.values())
    problems = re.findall("<li>(.*?)</li>", html)
    assert [text for text, found in zip(problems, ("not readable", "missing sequence", "NaN"), strict=True) if found in text]
    assert html.count("data:image/png;base64,") - html.count('xlink:href="data:image/png') == 2  # pictures, not charts
    assert str(root) not in html
    assert not re.search(r'(src|href)="(?!data:|#)', html)
    assert page.INK not in html
    parser = Balanced()
    parser.feed(html)
    assert parser.open == []


@pytest.mark.parametrize("release", ["2021", "2023", "msd"])
def test_releases(tmp_path, release):
    root = make(tmp_path, cases=1, release=release)
    report("brats", str(root), examples=1, workers=1)
    ((name, cells),) = rows((root / "report.html").read_text(encoding="utf-8")).items()
    item = read(str(root))[0]
    assert name == item["case"]
    labels = np.asarray(nib.load(item["label"]).dataobj)
    core, oedema, enhancing = {"msd": (2, 1, 3), "2021": (1, 2, 4), "2023": (1, 2, 3)}[release]
    expected = [f"{(labels == value).sum() * 0.216:.1f}" for value in (core, oedema, enhancing)]  # 6 mm cubed = 0.216 mL
    assert cells[3:6] == expected


def test_nothing_good(tmp_path):
    root = make(tmp_path, cases=1)
    Path(read(str(root))[0]["image"][0]).write_bytes(b"")
    report("brats", str(root), workers=1)
    assert "not a readable NIfTI image" in (root / "report.html").read_text(encoding="utf-8")


def test_slices_do_not_depend_on_the_orientation_on_disk(tmp_path):
    root = make(tmp_path, cases=1)
    (item,) = read(str(root))
    before = measure(item)
    for path in [*item["image"], item["label"]]:
        image = nib.load(path)
        change = ornt_transform(io_orientation(image.affine), axcodes2ornt("SRA"))
        nib.save(image.as_reoriented(change), path)
        assert nib.aff2axcodes(nib.load(path).affine) == ("S", "R", "A")
        assert np.allclose(nib.load(path).affine, image.affine @ inv_ornt_aff(change, image.shape))
    after = measure(item)
    assert before.grid[2] == "LPS"
    assert after.grid[2] == "SRA"
    assert before.volumes == pytest.approx(after.volumes)
    for plane in ("axial", "coronal", "sagittal"):
        assert (before.slices[plane] == after.slices[plane]).all()


@pytest.mark.parametrize("axes", ["RAS", "LPS", "SRA"])
def test_pictures_show_the_right_on_the_left_and_true_proportions(tmp_path, axes):
    # a head of 60 x 80 x 48 mm with a bright cube of tumour at its right, front and top
    head, label = np.zeros((2, 30, 20, 12), np.int16)
    head[:] = 100
    label[24:27, 15:17, 9:11] = 4
    head[label == 4] = 1000
    change = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(axes))
    for name, voxels in (*((name, head) for name in ("t1", "t1ce", "t2", "flair")), ("seg", label)):
        image = nib.Nifti1Image(voxels, np.diag([2.0, 4, 4, 1])).as_reoriented(change)
        nib.save(image, tmp_path / f"P1_{name}.nii.gz")
    figure = case_figure(read(str(tmp_path))[0])
    figure.draw_without_rendering()
    sizes = ((72, 104), (72, 72), (104, 72))  # mm, with the margin of 3 voxels on each side
    shown = [(axis.images[0].get_array(), axis.get_window_extent()) for axis in figure.axes[::5]]  # of T1
    for (pixels, box), (width, height) in zip(shown, sizes, strict=True):
        row, column = np.unravel_index(np.argmax(pixels), pixels.shape)
        assert row < pixels.shape[0] / 2
        assert column < pixels.shape[1] / 2
        assert box.height / box.width == pytest.approx(height / width, rel=0.02)


def test_slice_kinds():
    body, target = np.zeros((2, 4, 5), bool), np.zeros((2, 4, 5), bool)
    body[:, 1:4, :3] = True
    target[0, 2, 1] = True
    kinds = slice_kinds(body, target)
    assert kinds["sagittal"].tolist() == [2, 1]
    assert kinds["coronal"].tolist() == [0, 1, 2, 1]
    assert kinds["axial"].tolist() == [1, 2, 1, 0, 0]
    assert along_body(kinds["coronal"], steps=6).tolist() == [1, 1, 2, 2, 1, 1]


def test_histogram():
    values = np.random.default_rng(0).normal(100, 7, 100_000)
    density, edges, mean, std = histogram(values)
    assert (density * np.diff(edges)).sum() == pytest.approx(1)
    assert (mean, std) == pytest.approx((100, 7), rel=0.01)
    assert density.max() == pytest.approx(1 / (7 * np.sqrt(2 * np.pi)), rel=0.1)  # of a normal distribution
    assert histogram(np.full(10, 5.0))[3] == 1  # nothing to divide by


def test_spread():
    facts = [Facts(str(ml), [], volumes={"oedema": ml}) for ml in (5.0, 1.0, 4.0, 2.0, 3.0)]
    assert [f.tumour for f in spread(facts, 3)] == [1, 3, 5]
    assert len(spread(facts, 9)) == 5


def test_page_escapes_text():
    html = page.page("<a>", {"b & c": [page.paragraph("<d>"), page.table(["<e>"], [["<f>"], ["g"]]), page.bullets(["<h>"])]})
    assert not re.search("<[abdf]>", html)
    assert "b &amp; c" in html


def test_unknown_dataset(tmp_path):
    with pytest.raises(ValueError, match="'brat' is none of abdomen, brats, rsna"):
        report("brat", str(tmp_path))
