"""HTML pages in one file: text, tables, charts that follow the reader's light or dark theme, pictures."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape

import matplotlib
from matplotlib.figure import Figure

INK = "#010203"  # stands for the page's text colour in charts
CHARTS = {
    **{f"{key}color": INK for key in ("text.", "axes.edge", "axes.label", "xtick.", "ytick.")},
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "font.size": 10,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
}
STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --paper: #fff; --soft: #5f6670; --line: #d8dce1; --bad: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e6ea; --paper: #16181b; --soft: #9aa2ad; --line: #363b42; --bad: #ff8a80; }
}
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 70rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.7rem; margin: 0 0 .5rem; } h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; }
p { max-width: 50rem; margin: .5rem 0; } figure { margin: 1rem 0; overflow-x: auto; }
figcaption { color: var(--soft); font-size: .9rem; }
img, svg { display: block; width: 100%; height: auto; } svg { min-width: 40rem; } svg text { font-family: inherit !important; }
img { border-radius: 4px; } .bad { color: var(--bad); } .scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .75rem .25rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { color: var(--soft); font-weight: 600; } td { white-space: nowrap; } .number { text-align: right; }
"""


def theme():
    """Context in which charts are made, so that `chart` can give them the page's colours."""
    return matplotlib.rc_context(CHARTS)


def chart(figure: Figure, caption: str) -> str:
    """A figure made within `theme` as an inline drawing whose text takes the page's colour."""
    file = io.StringIO()
    with theme():
        figure.savefig(file, format="svg", metadata={"Date": None})
    drawing = file.getvalue()
    drawing = drawing[drawing.index("<svg") :].replace(INK, "currentColor")
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r' id="[a-z0-9._]+_\d+"', "", drawing)  # names of groups, the same in every drawing
    label = f'<svg role="img" aria-label="{escape(caption)}" '
    return _figure(drawing.replace("<svg ", label, 1), caption)


def picture(figure: Figure, caption: str) -> str:
    """A figure as an embedded image with colours of its own."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    data = base64.b64encode(file.getvalue()).decode()
    return _figure(f'<img alt="{escape(caption)}" src="data:image/png;base64,{data}">', caption)


def _figure(content: str, caption: str) -> str:
    return f"<figure>\n{content}\n<figcaption>{escape(caption)}</figcaption>\n</figure>"


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def bullets(texts: Iterable[str]) -> str:
    """A list of what is wrong."""
    return '<ul class="bad">\n' + "\n".join(f"<li>{escape(text)}</li>" for text in texts) + "\n</ul>"


def legend(colours: Mapping[str, str]) -> str:
    """Names with a dot in their colour."""
    dots = (f'<span style="color:{colour}">&#9679;</span> {escape(name)}' for name, colour in colours.items())
    return f"<p>{' &nbsp; '.join(dots)}</p>"


def table(columns: Sequence[str], rows: Sequence[Sequence]) -> str:
    """A table; floats get one decimal, columns that hold numbers stand right."""
    numbers = {i for row in rows for i, value in enumerate(row) if isinstance(value, int | float)}

    def line(tag: str, row: Sequence) -> str:
        texts = (f"{value:.1f}" if isinstance(value, float) else escape(str(value)) for value in row)
        cells = (f'<{tag} class="number">{t}</{tag}>' if i in numbers else f"<{tag}>{t}</{tag}>" for i, t in enumerate(texts))
        return f"<tr>{''.join(cells)}</tr>"

    body = "\n".join(line("td", row) for row in rows)
    return f'<div class="scroll"><table>\n<thead>{line("th", columns)}</thead>\n<tbody>\n{body}\n</tbody>\n</table></div>'


def page(title: str, sections: dict[str, Sequence[str]]) -> str:
    """The whole page: what the functions of this module return, under headings ("" for none)."""
    parts = [f"<h2>{escape(name)}</h2>\n" * bool(name) + "\n".join(content) for name, content in sections.items()]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n" + "\n".join(parts) + "\n</body>\n</html>\n"
    )
