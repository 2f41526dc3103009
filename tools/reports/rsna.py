"""What an RSNA pneumonia dataset holds: classes, views, ages, sexes, pixel spacing, brightness, example films."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from shared.person import parse_age, parse_sex
from shared.transforms import LoadFilmd
from shared.transforms.film import resize

from .. import page
from ..charts import BLUE, GREY, RED
from ..datasets.rsna import CLASSES, read
from ..page import INK
from ..parallel import unordered

SHORT = dict(zip(CLASSES, ("normal", "not normal,\nno opacity", "opacity"), strict=True))
COLOURS = dict(zip(CLASSES, (BLUE, GREY, RED), strict=True))
EXAMPLE_SIDE = 384  # pixels
CAPTIONS = {
    "classes": "Films of each class, and with target 0 and 1: only opacities count as pneumonia.",
    "tags": "View, sex and age in each class, as shares of the class; the number on a bar is that of the films. Where views or "
    "ages differ between classes, a network may learn them in place of the disease.",
    "pixels": "Pixel spacing and mean intensity (0 black, 1 white, after the window) in each class: differences that have "
    "nothing to do with lungs.",
    "examples": "Films as read, bones bright. From left to right films whose mean intensity is spread over that of the class.",
}


@dataclass
class Facts:
    """What the report says of a film."""

    case: str
    group: str = ""
    problem: str = ""
    view: str = "unknown"
    sex: str = "unknown"
    age: float | None = None
    spacing: float | None = None
    shape: str = ""
    mean: float = float("nan")
    notes: list[str] = field(default_factory=list)


def build(root: Path, examples: int, workers: int) -> str:
    """The page about all films below `root`, as HTML."""
    items = {item["case"]: item for item in read(str(root))}
    facts = sorted(unordered(measure, list(items.values()), workers, "report", "film"), key=lambda f: f.case)
    good = [f for f in facts if not f.problem and f.group]
    sections = {"": [_overview(facts, good)]}
    wrong = [f"{f.case}: {f.problem}".replace(f"{root}/", "") for f in facts if f.problem]
    odd = [f"{f.case}: {text}".replace(f"{root}/", "") for f in facts for text in f.notes]
    if wrong:
        sections["Problems"] = [page.paragraph("These films count only in the last table."), page.bullets(wrong)]
    if odd:
        more = [f"and {len(odd) - 30} more"] if len(odd) > 30 else []
        sections["Odd tags"] = [page.paragraph("The bundle takes these as unknown."), page.bullets([*odd[:30], *more])]
    if good:
        with page.theme():
            sections["Classes"] = [page.chart(class_chart(good), CAPTIONS["classes"])]
            sections["View, sex and age"] = [page.chart(tag_chart(good), CAPTIONS["tags"])]
            sections["Pixels"] = [page.chart(pixel_chart(good), CAPTIONS["pixels"])]
        pictures = [page.picture(example_figure(good, items, examples), CAPTIONS["examples"])] if examples else []
        sections["Examples"] = pictures
    sections["Films"] = [_film_table(facts)]
    return page.page(f"RSNA pneumonia: {root.name}", sections)


def measure(item: dict) -> Facts:
    """Read a film and reduce it to what the report shows; what is damaged becomes a problem."""
    facts = Facts(item["case"], item.get("class", ""), item.get("problem", ""))
    facts.notes += item.get("notes", [])
    if facts.problem:
        return facts
    logging.disable(logging.WARNING)  # the notes say what is odd
    try:
        found = LoadFilmd()({"image": item["image"]})
    except ValueError as error:
        facts.problem = str(error)
        return facts
    finally:
        logging.disable(logging.NOTSET)
    image = found["image"]
    facts.mean, facts.shape = float(image.mean()), " x ".join(map(str, image.shape[1:]))
    facts.spacing = float(image.pixdim[0])
    if found["view"].upper() in ("AP", "PA"):
        facts.view = found["view"].upper()
    else:
        facts.notes.append(f"view is '{found['view']}'")
    for name, parse in (("age", parse_age), ("sex", parse_sex)):
        try:
            setattr(facts, name, parse(found[name]))
        except ValueError as error:
            facts.notes.append(str(error))
    return facts


def class_chart(facts: Sequence[Facts]) -> Figure:
    """Films per class and per target."""
    figure = Figure(figsize=(11, 2.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    counts = Counter(f.group for f in facts)
    bars = left.barh([SHORT[c] for c in CLASSES], [counts[c] for c in CLASSES], color=[COLOURS[c] for c in CLASSES])
    left.bar_label(bars, padding=3)
    targets = Counter(f.group == CLASSES[2] for f in facts)
    bars = right.barh(["target 0", "target 1"], [targets[False], targets[True]], color=[GREY, RED])
    right.bar_label(bars, padding=3)
    for axis in (left, right):
        axis.set_xlabel("films")
        axis.margins(x=0.12)
    return figure


def tag_chart(facts: Sequence[Facts]) -> Figure:
    """Views and sexes per class as shares, ages as lines."""
    figure = Figure(figsize=(11, 3), layout="constrained")
    views, sexes, ages = figure.subplots(1, 3)
    for axis, name, values in ((views, "view", ("AP", "PA", "unknown")), (sexes, "sex", ("F", "M", "unknown"))):
        for i, group in enumerate(CLASSES):
            told = [getattr(f, name) for f in facts if f.group == group]
            numbers = [told.count(value) for value in values]
            heights = [100 * n / max(len(told), 1) for n in numbers]
            bars = axis.bar(np.arange(3) + 0.27 * (i - 1), heights, 0.25, color=COLOURS[group], label=SHORT[group])
            axis.bar_label(bars, numbers, fontsize=8)
        axis.set_xticks(range(3), values)
        axis.set(ylabel="% of the class", title=name, ylim=(0, 110))
    views.legend(fontsize=8)
    edges = np.arange(0, 105, 10)
    for group in CLASSES:
        known = [f.age for f in facts if f.group == group and f.age is not None]
        if known:
            share = 100 * np.histogram(known, edges)[0] / len(known)
            ages.stairs(share, edges, color=COLOURS[group], linewidth=1.8, label=SHORT[group])
    ages.set(xlabel="years", title="age", ylim=0)
    return figure


def pixel_chart(facts: Sequence[Facts]) -> Figure:
    """Pixel spacing and mean intensity per class and per target, a dot per film."""
    figure = Figure(figsize=(11, 3), layout="constrained")
    rng = np.random.default_rng(0)
    rows = {SHORT[c]: ([f for f in facts if f.group == c], COLOURS[c]) for c in CLASSES}
    rows["target 0"] = ([f for f in facts if f.group != CLASSES[2]], GREY)
    rows["target 1"] = ([f for f in facts if f.group == CLASSES[2]], RED)
    style = {f"{part}props": {"color": INK} for part in ("box", "whisker", "cap", "median")}
    for axis, name, label in zip(figure.subplots(1, 2), ("spacing", "mean"), ("mm", "mean intensity"), strict=True):
        for y, (films, colour) in enumerate(rows.values()):
            values = np.array([getattr(f, name) for f in films])
            if not len(values):
                continue
            few = rng.choice(values, min(len(values), 500), replace=False)
            axis.scatter(few, y + rng.uniform(-0.25, 0.25, len(few)), s=16, color=colour, alpha=0.5, linewidths=0)
            axis.boxplot(values, orientation="horizontal", positions=[y], widths=0.6, showfliers=False, **style)
        axis.set_yticks(range(len(rows)), list(rows))
        axis.invert_yaxis()
        axis.set(xlabel=label, title={"spacing": "pixel spacing", "mean": "brightness"}[name])
    return figure


def example_figure(facts: Sequence[Facts], items: dict[str, dict], examples: int) -> Figure:
    """Films of each class in a row."""
    figure = Figure(figsize=(11, 11 / examples * 3 + 0.3), facecolor="black", layout="constrained")
    for row, group in zip(figure.subplots(3, examples, squeeze=False), CLASSES, strict=True):
        films = sorted((f for f in facts if f.group == group), key=lambda f: f.mean)
        places = np.unique(np.linspace(0, len(films) - 1, min(examples, len(films))).round().astype(int)) if films else []
        for axis in row:
            axis.set_axis_off()
        for axis, place in zip(row, places, strict=False):
            film = films[place]
            image = LoadFilmd()({"image": items[film.case]["image"]})["image"].as_tensor()
            scale = EXAMPLE_SIDE / max(image.shape[1:])
            small = resize(image, tuple(max(1, round(n * scale)) for n in image.shape[1:])) if scale < 1 else image
            axis.imshow(small[0].numpy(), cmap="gray", vmin=0, vmax=1)
            age = "age unknown" if film.age is None else f"{film.age:.0f} years"
            text = f"{SHORT[group].replace(chr(10), ' ')}, {film.view}, {film.sex}, {age}"
            axis.set_title(text, color="white", fontsize=9)
    return figure


def _overview(facts: Sequence[Facts], good: Sequence[Facts]) -> str:
    shapes = Counter(f.shape for f in good).most_common(5)
    without = sum(not f.problem and not f.group for f in facts)
    listed = ", ".join(f"{shape} pixels ({n})" for shape, n in shapes)
    damaged = sum(bool(f.problem) for f in facts)
    return page.paragraph(f"{len(facts)} films, {damaged} with problems, {without} without row in the tables. {listed}.")


def _film_table(facts: Sequence[Facts], most: int = 2000) -> str:
    columns = ("film", "class", "view", "sex", "age", "pixels", "spacing (mm)", "mean intensity", "state")
    rows = []
    for f in facts[:most]:
        spacing, mean = (f"{v:.3f}" if v is not None and np.isfinite(v) else "" for v in (f.spacing, f.mean))
        age = "" if f.age is None else f"{f.age:.0f}"
        state = "problem" if f.problem else "good" if f.group else "no row"
        rows.append((f.case, f.group, f.view, f.sex, age, f.shape, spacing, mean, state))
    more = page.paragraph(f"and {len(facts) - most} more") if len(facts) > most else ""
    return page.table(columns, rows) + more
