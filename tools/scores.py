"""Summarise a table of scores per case, and put the summary into metadata, card and README."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.stats import bootstrap

from shared.metrics import statistic
from shared.paths import atomic_write

from . import bundles

RESAMPLES = 9999


def summarise(rows: Iterable[Mapping[str, str]], cohort: Mapping[str, Sequence[str]] | None = None) -> dict[str, dict]:
    """Mean, median, 95 % interval and n of every column of a table of cases, or statistics of the group as a whole.

    The interval is the percentile bootstrap over cases (9999 resamples, seed 0). Cells that are no finite number (a distance
    where a region is absent, an unknown age) are left out, and n says so. A single case has no interval (None).

    Args:
        rows: one a case.
        cohort: names of scores with a statistic of shared.metrics and the columns of truth and prediction,
            `{"age_mae": ["mae", "age", "age_pred"]}`; their value stands under "mean", and there is no median. A fourth
            entry says which cases count: those in whose name a regular expression is found, or whose columns have these
            values, {"view": "AP"}. For `matched_auc` it is the column by which cases are matched.
    """
    if cohort:
        rows = list(rows)
        return {name: _of_cohort(rows, *definition) for name, definition in cohort.items()}
    columns: dict[str, list[float]] = {}
    for row in rows:
        for key, cell in row.items():
            if key != "case" and cell not in ("", None) and math.isfinite(float(cell)):
                columns.setdefault(key, []).append(float(cell))
    summary = {}
    for key, cells in columns.items():
        values = np.array(cells)
        interval = None
        if len(values) > 1:
            found = bootstrap((values,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=np.random.default_rng(0))
            interval = [round(float(found.confidence_interval.low), 4), round(float(found.confidence_interval.high), 4)]
        summary[key] = {
            "mean": round(float(values.mean()), 4),
            "median": round(float(np.median(values)), 4),
            "ci95": interval,
            "n": len(values),
        }
    return summary


def _of_cohort(rows: list[Mapping[str, str]], name: str, truth: str, pred: str, cases: str | Mapping[str, str] = "") -> dict:
    keys = [truth, pred]
    if name == "matched_auc":
        keys.append(str(cases))
        chosen = rows
    elif isinstance(cases, Mapping):
        chosen = [row for row in rows if all(row.get(key) == value for key, value in cases.items())]
    else:
        chosen = [row for row in rows if re.search(cases, row["case"])]
    pairs = np.array([[float(row.get(key) or "nan") for key in keys] for row in chosen]).reshape(-1, len(keys))
    pairs = pairs[np.isfinite(pairs).all(1)]
    rng, values = np.random.default_rng(0), []
    for _ in range(RESAMPLES if len(pairs) > 1 else 0):
        values.append(statistic(name, *pairs[rng.integers(len(pairs), size=len(pairs))].T))
    low, high = np.nanpercentile(values, [2.5, 97.5]) if np.isfinite(values).any() else (math.nan, math.nan)
    return {
        "mean": round(statistic(name, *pairs.T), 4),
        "median": None,
        "ci95": [round(float(low), 4), round(float(high), 4)] if values else None,
        "n": len(pairs),
    }


def score_table(eval_metrics: Mapping) -> str:
    """The table of a card, from the `eval_metrics` of metadata.json."""
    lines = [f"{eval_metrics['data']}:", "", "| metric | mean | 95 % interval | median | n |", "|---|---|---|---|---|"]
    if all(value["median"] is None for value in eval_metrics["scores"].values()):
        lines = [f"{eval_metrics['data']}:", "", "| metric | value | 95 % interval | n |", "|---|---|---|---|"]
    for key, value in eval_metrics["scores"].items():
        interval = "-" if value["ci95"] is None else f"{value['ci95'][0]:.3f} to {value['ci95'][1]:.3f}"
        median = "" if value["median"] is None else f" {value['median']:.3f} |"
        lines.append(f"| {key} | {value['mean']:.3f} | {interval} |{median} {value['n']} |")
    return "\n".join(lines)


def overview_table() -> str:
    """The README's table: every bundle with its task, its key score and the size of its weights."""
    lines = ["| bundle | task | score | on | weights |", "|---|---|---|---|---|"]
    for name in bundles.names():
        meta = bundles.metadata(name)
        metrics = meta.get("eval_metrics") or {}
        score = ", ".join(
            f"{key} {value['mean']:.3f}" + (f" ({value['ci95'][0]:.3f} to {value['ci95'][1]:.3f})" if value["ci95"] else "")
            for key, value in metrics.get("scores", {}).items()
            if key in metrics["key"]
        )
        size = sum(p.stat().st_size for p in (bundles.folder(name) / "models").glob("*.pt")) / 2**20
        link = f"[{name}](bundles/{name}/docs/README.md)"
        lines.append(f"| {link} | {meta['task']} | {score} | {metrics.get('data', '')} | {size:.1f} MiB |")
    return "\n".join(lines)


def between(text: str, mark: str) -> str:
    """What stands between `<!-- mark -->` and `<!-- /mark -->`.

    Raises:
        ValueError: the marks are not there.
    """
    found = re.search(rf"<!-- {mark} -->\n(.*?)<!-- /{mark} -->", text, re.DOTALL)
    if found is None:
        raise ValueError(f"no <!-- {mark} --> ... <!-- /{mark} --> in the text")
    return found[1].removesuffix("\n")


def put_between(path: Path, mark: str, content: str) -> None:
    """Replace what stands between the marks in a file."""
    text = path.read_text()
    between(text, mark)  # says what is wrong if the marks are not there
    head, _, rest = text.partition(f"<!-- {mark} -->\n")
    _, end, tail = rest.partition(f"<!-- /{mark} -->")
    with atomic_write(path) as temporary:
        temporary.write_text(f"{head}<!-- {mark} -->\n{content}\n{end}{tail}")


def write_scores(name: str, eval_metrics: Mapping) -> None:
    """Put scores into a bundle's metadata.json, the table of its card, and the README's overview."""
    root = bundles.folder(name)
    meta = bundles.metadata(name)
    meta["eval_metrics"] = dict(eval_metrics)
    with atomic_write(root / "configs" / "metadata.json") as temporary:
        temporary.write_text(json.dumps(meta, indent=4) + "\n")
    put_between(root / "docs" / "README.md", "scores", score_table(eval_metrics))
    put_between(bundles.REPOSITORY / "README.md", "bundles", overview_table())
