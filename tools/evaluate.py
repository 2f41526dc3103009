"""`evaluate`: score a bundle on a split, with intervals, and write the numbers where readers look."""

from __future__ import annotations

import json
from pathlib import Path

from shared.handlers.case_table import read_rows
from shared.paths import atomic_write, writable_dir

from . import bundles
from .scores import score_table, summarise, write_scores


def evaluate(
    bundle: str, dataset_dir: str, output_dir: str | None = None, write: bool = False, data: str | None = None, **overrides
) -> None:
    """Run a bundle's evaluation and print mean, median and 95 % bootstrap interval of every score.

    Args:
        bundle: its name.
        dataset_dir: a prepared dataset; the cases under "testing" are scored unless --validate::section names others.
        output_dir: for per_case.csv and summary.json; by default runs/<bundle>/evaluate.
        write: put the numbers into the bundle's metadata.json, its card and the README.
        data: with --write, what was scored, in the words that readers will see ("10 synthetic cases ...").
        overrides: anything that the configs define, as in `python -m monai.bundle run`.

    Raises:
        ValueError: --write without --data.
    """
    if write and not data:
        raise ValueError('--write needs --data "what was scored", which is printed beside the numbers')
    output = Path(writable_dir(output_dir or bundles.REPOSITORY / "runs" / bundle / "evaluate"))
    table = output / "per_case.csv"
    table.unlink(missing_ok=True)  # rows of an earlier run would be averaged in
    dataset_dir = str(Path(dataset_dir).expanduser().resolve())
    bundles.run(
        bundle,
        bundles.trainings(bundles.folder(bundle))[0],
        "evaluate",
        dataset_dir=dataset_dir,
        output_dir=str(output),
        **overrides,
    )
    report(bundle, table, data or f"{len(read_rows(table))} cases of {dataset_dir}", write)


def report(bundle: str, table: Path, data: str, write: bool) -> None:
    """Summarise a table of cases into summary.json beside it and onto the console; with `write` also where readers look."""
    metadata = bundles.metadata(bundle)
    scores = summarise(read_rows(table).values(), metadata.get("cohort_scores"))
    eval_metrics = {"data": data, "key": metadata.get("eval_metrics", {}).get("key", list(scores)[:1]), "scores": scores}
    with atomic_write(table.parent / "summary.json") as temporary:
        temporary.write_text(json.dumps(eval_metrics, indent=1) + "\n")
    print(score_table(eval_metrics))
    print(f"per case: {table}")
    if write:
        write_scores(bundle, eval_metrics)
        print(f"written into metadata.json and card of {bundle} and the README")
