"""`catalogue`: a static site that shows every bundle, from metadata, cards and figures."""

from __future__ import annotations

import html
import json
import os
import posixpath
import re
import shutil
from html import escape
from pathlib import Path

import markdown

from shared.paths import writable_dir

from . import bundles, page
from .explain import command
from .facts import facts
from .release import download_command

ASSETS = Path(__file__).parent / "site"
FILTERS = {"kind": "Task", "modality": "Modality", "dimension": "Dimension"}


def catalogue(output: str = "site", release: str | None = None) -> None:
    """Write a site of plain files that needs no server: `<output>/index.html`, a page per bundle, figures.

    Args:
        output: folder; what an earlier run left there is replaced.
        release: folder written by `python -m tools release`; without it the pages give no download.

    Raises:
        ValueError: `release` has no model_info.json.
    """
    site = Path(writable_dir(output))
    entries = downloads(Path(release).expanduser()) if release else {}
    names = bundles.names()
    css = page.STYLE + (ASSETS / "catalogue.css").read_text()
    (site / "style.css").write_text(css)
    shutil.copyfile(ASSETS / "catalogue.js", site / "catalogue.js")
    shutil.rmtree(site / "files", ignore_errors=True)
    (site / "index.html").write_text(index_page(names), encoding="utf-8")
    for name in names:
        copy_files(name, site)
        entry = entries.get(f"{name}_v{bundles.metadata(name)['version']}")
        link = entry and download_link(name, entry, Path(release).expanduser(), site)
        (site / f"{name}.html").write_text(bundle_page(name, names, entry, link), encoding="utf-8")
    print(f"{site / 'index.html'}: {len(names)} bundles")


def downloads(release: Path) -> dict[str, dict]:
    """The entries of a release's model_info.json.

    Raises:
        ValueError: there is none.
    """
    if not (release / "model_info.json").is_file():
        raise ValueError(f"no {release / 'model_info.json'}: `python -m tools release --output {release}` writes it")
    return json.loads((release / "model_info.json").read_text())


def download_link(name: str, entry: dict, release: Path, site: Path) -> str:
    """Address of a zip: where the release will be on the web, or else the file on this machine, seen from the site."""
    if "://" in entry["source"]:
        return entry["source"]
    return Path(os.path.relpath(release.resolve() / entry["source"], site)).as_posix()


def copy_files(name: str, site: Path) -> None:
    """Copy what pages link to: figures and configs of a bundle."""
    root = bundles.folder(name)
    for path in [*root.glob("docs/figures/*"), *root.glob("configs/*"), root / "LICENSE", root / "docs" / "data_license.txt"]:
        target = site / "files" / name / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def first_figure(name: str) -> str | None:
    """The first picture of the card, seen from the site."""
    text = (bundles.folder(name) / "docs" / "README.md").read_text(encoding="utf-8")
    found = re.search(r"!\[[^\]]*\]\((figures/[^)\s]+)\)", text)
    return f"files/{name}/docs/{found[1]}" if found else None


def key_scores(metadata: dict) -> list[str]:
    """The scores that stand in the overview, with interval and number of cases."""
    metrics = metadata.get("eval_metrics") or {}
    lines = []
    for key in metrics.get("key", []):
        value = metrics["scores"][key]
        interval = f" ({value['ci95'][0]:.3f} to {value['ci95'][1]:.3f})" if value["ci95"] else ""
        lines.append(f"{key} {value['mean']:.3f}{interval}, n = {value['n']}")
    return lines


def whole_page(title: str, *parts: str) -> str:
    """A page of the site."""
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{escape(title)}</title>\n<link rel="stylesheet" href="style.css">\n<link rel="icon" href="data:,">\n'
        f'</head>\n<body>\n{body}\n<script src="catalogue.js"></script>\n</body>\n</html>\n'
    )


def index_page(names: list[str]) -> str:
    """All bundles, with a search and filters by what they are for."""
    every = {name: facts(bundles.metadata(name)) for name in names}
    selects = []
    for key, label in FILTERS.items():
        values = sorted({found[key] for found in every.values()} - {""})
        options = "".join(f"<option>{escape(value)}</option>" for value in values)
        selects.append(f'<label>{label} <select data-filter="{key}"><option value="">all</option>{options}</select></label>')
    return whole_page(
        "MONAI bundles",
        "<h1>MONAI bundles</h1>",
        page.paragraph("Bundles for the MONAI bundle runner: training, evaluation and inference on your own scans."),
        '<div class="bar" id="controls" hidden>',
        '<input id="search" type="search" placeholder="Search" aria-label="Search">',
        *selects,
        '<span id="count" class="soft" aria-live="polite"></span></div>',
        '<ul class="grid" id="bundles">',
        *(index_item(name, found) for name, found in every.items()),
        "</ul>",
    )


def index_item(name: str, found: dict[str, str]) -> str:
    """A bundle in the index."""
    metadata = bundles.metadata(name)
    texts = (name, metadata["name"], metadata["task"], metadata["description"], metadata["data_source"], *found.values())
    data = "".join(f' data-{key}="{escape(found[key])}"' for key in FILTERS)
    figure = first_figure(name)
    image = f'<img src="{escape(figure or "")}" alt="" loading="lazy">'
    parts = [
        f'<li data-search="{escape(" ".join(texts).lower())}"{data}>',
        f'<a class="picture" href="{name}.html" tabindex="-1" aria-hidden="true">{image}</a>' if figure else "",
        f'<div class="text"><h2><a href="{name}.html">{escape(metadata["name"])}</a></h2>',
        f'<p class="soft">{escape(name)} {escape(metadata["version"])}</p>',
        page.paragraph(metadata["task"]),
        *(f'<span class="chip">{escape(found[key])}</span>' for key in FILTERS if found[key]),
        *(f'<p class="score">{escape(line)}</p>' for line in key_scores(metadata)[:3]),
        "</div></li>",
    ]
    return "".join(parts)


def bundle_page(name: str, names: list[str], entry: dict | None, link: str | None) -> str:
    """A bundle's page: facts, scores, commands, download, card, licences."""
    metadata, root = bundles.metadata(name), bundles.folder(name)
    metrics = metadata.get("eval_metrics")
    licences = {"bundle": "LICENSE", "data": "docs/data_license.txt"}
    links = [f'<a href="files/{name}/{file}">licence of the {what}</a>' for what, file in licences.items()]
    return whole_page(
        f"{metadata['name']} - {name}",
        '<p><a href="index.html">All bundles</a></p>',
        f"<h1>{escape(metadata['name'])}</h1>",
        page.paragraph(metadata["description"]),
        facts_table(metadata, root),
        *(["<h2>Scores</h2>", page.paragraph(f"{metrics['data']}:"), score_table(metrics)] if metrics else []),
        "<h2>Commands</h2>",
        *commands(root),
        "<h2>Download</h2>",
        *download(name, entry, link),
        f"<h2>Licence</h2><p>{', '.join(links)}</p>",
        '<h2>Card</h2><div class="card">',
        card(name, names),
        "</div>",
    )


def facts_table(metadata: dict, root: Path) -> str:
    """What a bundle takes and gives, and on what it was trained."""
    size = sum(path.stat().st_size for path in root.glob("models/*.pt")) / 2**20
    said = {
        "Task": metadata["task"],
        "Kind": ", ".join(filter(None, facts(metadata).values())),
        "Data": metadata["data_source"],
        "Input": metadata.get("image_classes"),
        "Output": metadata.get("pred_classes"),
        "Version": metadata["version"],
        "Weights": f"{size:.1f} MiB",
        "Intended use": metadata["intended_use"],
    }
    rows = "".join(f"<tr><td>{key}</td><td>{escape(str(value))}</td></tr>" for key, value in said.items() if value)
    return f'<table class="facts">{rows}</table>'


def commands(root: Path) -> list[str]:
    """The command of every config, that for inference first."""
    first = ["inference", "train", "evaluate"]
    found = {path.stem: path for path in sorted(root.glob("configs/*.yaml"))}
    configs = [found[stem] for stem in (*first, *(stem for stem in found if stem not in first)) if stem in found]
    texts = {path.stem: "\n".join(line.strip() for line in command(path).splitlines()) for path in configs}
    return [f"<h3>{escape(stem)}</h3>{block(text)}" for stem, text in texts.items()]


def download(name: str, entry: dict | None, link: str | None) -> list[str]:
    """Link, size and checksum of a released zip and the command that gets it; without a release how to make one."""
    if entry is None:
        return ["<p>Pack it from a checkout:</p>", block(f"python -m tools pack {name}")]
    file = f"{name}_v{entry['version']}.zip"
    size = f"{entry['size'] / 1e6:.1f} MB"
    parts = [f'<p><a href="{escape(link)}">{escape(file)}</a>, {size}, SHA-256:</p>', block(entry["sha256"])]
    if "://" in entry["source"]:
        parts += ["<p>Download, check and unpack:</p>", block(download_command(name, entry))]
    return parts


def block(text: str) -> str:
    """A block of code, which gets a button to copy it."""
    return f"<pre><code>{escape(text)}</code></pre>"


def score_table(metrics: dict) -> str:
    """Every score with interval and number of cases."""
    rows = []
    for key, value in metrics["scores"].items():
        interval = f"{value['ci95'][0]:.3f} to {value['ci95'][1]:.3f}" if value["ci95"] else "-"
        rows.append([key, f"{value['mean']:.3f}", interval, value["n"]])
    return page.table(["metric", "value", "95 % interval", "n"], rows)


def card(name: str, names: list[str]) -> str:
    """A card as HTML; links to other cards and to files of the bundle lead into the site, others outside it become text."""
    text = (bundles.folder(name) / "docs" / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"<!--.*?-->\n?", "", text, flags=re.DOTALL)

    def relink(match: re.Match) -> str:
        mark, words, target = match.groups()
        path = posixpath.normpath(posixpath.join("bundles", name, "docs", target))
        other = re.fullmatch(r"bundles/(\w+)/docs/README\.md", path)
        if target.startswith("#") or re.match(r"\w+:", target):
            return match[0]
        if other and other[1] in names:
            return f"{mark}[{words}]({other[1]}.html)"
        if path.startswith(f"bundles/{name}/"):
            return f"{mark}[{words}](files/{path.removeprefix('bundles/')})"
        return words

    text = re.sub(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", relink, text)
    text = re.sub(r"(?m)^([^|\n#*>\s-].*)\n(\* |\| )", r"\1\n\n\2", text)  # GitHub needs no empty line before a list
    extensions = ["tables", "fenced_code", "sane_lists", "toc"]
    slugs = {"toc": {"slugify": lambda title, _: re.sub(r"[^\w\- ]", "", html.unescape(title).lower()).replace(" ", "-")}}
    return markdown.markdown(text, extensions=extensions, extension_configs=slugs)
