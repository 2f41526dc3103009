"""The catalogue: links lead somewhere, search data are there, and in a browser search, filters and copy buttons work."""

import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tools import bundles
from tools.catalogue import catalogue
from tools.facts import facts

from ..conftest import served

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SHA256 = "0" * 64


class Page(HTMLParser):
    """Targets, ids and the attributes of list items of a page."""

    def __init__(self, path: Path):
        super().__init__()
        self.targets, self.ids, self.items = [], set(), []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.targets += [attributes[key] for key in ("href", "src") if attributes.get(key)]
        self.ids.add(attributes.get("id"))
        if tag == "li" and "data-search" in attributes:
            self.items.append(attributes)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site of this repository, with a download for every bundle."""
    release, folder = tmp_path_factory.mktemp("release"), tmp_path_factory.mktemp("site")
    entries = {}
    for name in bundles.names():
        version = f"{name}_v{bundles.metadata(name)['version']}"
        source = f"https://example.org/{version}.zip"
        entries[version] = {"source": source, "sha256": SHA256, "size": 10**6, "version": version.rpartition("_v")[2]}
    (release / "model_info.json").write_text(json.dumps(entries))
    catalogue(str(folder), release=str(release))
    return folder


@pytest.mark.parametrize("name", ["index", *bundles.names()])
def test_every_link_and_picture_of_a_page_is_there(site, name):
    page = Page(site / f"{name}.html")
    assert page.targets
    for target in page.targets:
        path, _, anchor = target.partition("#")
        if re.match(r"\w+:", target):
            assert target.startswith(("https://", "data:,")), target
        elif path:
            assert (site / path).is_file(), target
        else:
            assert anchor in page.ids, target


def test_the_index_can_be_searched_by_name_task_and_data(site):
    found = Page(site / "index.html").items
    items = {name: item for name in bundles.names() for item in found if item["data-search"].startswith(name)}
    assert list(items) == bundles.names()
    for name, item in items.items():
        metadata = bundles.metadata(name)
        for key, value in facts(metadata).items():
            assert value and item[f"data-{key}"] == value, (name, key)
        for text in (metadata["task"], metadata["data_source"], metadata["description"]):
            assert text.lower() in item["data-search"]


@pytest.mark.parametrize("name", bundles.names())
def test_a_page_has_scores_commands_checksum_and_card(site, name):
    text = html.unescape((site / f"{name}.html").read_text())
    metrics = bundles.metadata(name)["eval_metrics"]
    for key, value in metrics["scores"].items():
        assert re.search(rf"{re.escape(key)}</td>.*?{value['mean']:.3f}</td>.*?>{value['n']}</td>", text), key
    assert metrics["data"] in text and SHA256 in text and f"hash_val='{SHA256}'" in text
    given = '--prompt "pneumonia." --number 8' if bundles.is_generator(bundles.folder(name)) else "--dataset_dir DIR"
    assert f"bundles/{name}/configs/inference.yaml {given} --output_dir OUT" in text
    assert "<table>" in text[text.index('class="card"') :] and "](" not in text[text.index('class="card"') :]


def test_without_a_release_it_says_how_to_pack(tmp_path):
    catalogue(str(tmp_path))
    assert "python -m tools pack brats_seg3d" in (tmp_path / "brats_seg3d.html").read_text()


def test_a_folder_that_is_no_release_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="tools release --output"):
        catalogue(str(tmp_path / "site"), release=str(tmp_path))


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; on Debian: apt-get install chromium")
def test_in_a_browser_search_filters_and_copy_buttons_work(site, tmp_path):
    folder = shutil.copytree(site, tmp_path / "site")
    shutil.copy(Path(__file__).with_name("catalogue.html"), folder / "reader.html")
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    options += ["--enable-logging=stderr", "--virtual-time-budget=20000", "--dump-dom"]
    with served(folder) as url:
        done = subprocess.run([CHROMIUM, *options, f"{url}/reader.html"], capture_output=True, text=True, timeout=300)
    report = json.loads(html.unescape(re.search(r'<pre id="report">(.*?)</pre>', done.stdout, re.DOTALL)[1]))
    pages = [f"{name}.html" for name in bundles.names()]
    assert report["all"] == pages
    assert "brats_seg3d.html" in report["words"] and len(report["words"]) < len(pages)
    assert report["count"] == f"{len(report['words'])} of {len(pages)}"
    assert report["none"] == [] and "rsna_pneumonia_cls.html" in report["films"] and "brats_seg3d.html" not in report["films"]
    assert report["fits"] == [True] * 3, "wider than its window: index on a desktop, on a phone, card on a phone"
    assert report["copied"] == report["block"] and "monai.bundle run" in report["copied"] and report["said"] == "Copied"
    assert report["errors"] == [] and report["broken"] == []
    assert "CONSOLE" not in done.stderr, re.findall(r".*CONSOLE.*", done.stderr)
