"""`crossvalidate`: train and score a bundle on every fold of a prepared dataset, and pool the scores."""

from __future__ import annotations

import json
from pathlib import Path

from shared.handlers import age_figure
from shared.handlers.case_table import read_rows, write_rows
from shared.paths import writable_dir

from . import bundles
from .evaluate import report


def crossvalidate(
    bundle: str,
    dataset_dir: str,
    datalist: str | None = None,
    overlays: str = "",
    first: str = "",
    start: str | None = None,
    output_dir: str | None = None,
    write: bool = False,
    data: str | None = None,
    **overrides,
) -> None:
    """Train on each fold's training section and score its testing section, which together are all subjects once.

    Writes per_case.csv, summary.json and, where ages are predicted, age.png. Folds come from `prepare ... --folds K`, with
    --validation 0 for bundles that choose nothing: no fold chooses anything by its testing section, and the last epoch's
    weights count. A fold that is finished in output_dir is not trained again.

    Args:
        bundle: its name.
        dataset_dir: the prepared dataset.
        datalist: that `prepare` wrote, whose folds lie beside it; by default datalist.json in dataset_dir.
        overlays: configs behind train.yaml in training and scoring, with commas: resnet.
        first: configs of a training before it, whose weights the training starts from: train_regions.
        start: weights that the first of these trainings starts from; they must not have seen any of the subjects.
        output_dir: by default runs/<bundle>/folds.
        write: put the numbers into the bundle's metadata.json, its card and the README.
        data: with --write, what was scored, in the words that readers will see.
        overrides: anything that the configs define, for all trainings and the scoring.

    Raises:
        ValueError: there are no folds, or --write without --data.
    """
    if write and not data:
        raise ValueError('--write needs --data "what was scored", which is printed beside the numbers')
    dataset = Path(dataset_dir).expanduser().resolve()
    folds = find_folds(dataset_dir, datalist)
    output = Path(writable_dir(output_dir or bundles.REPOSITORY / "runs" / bundle / "folds"))
    layers = tuple(_words(overlays))
    rows: dict[str, dict] = {}
    for number, fold in enumerate(folds, 1):
        root = output / f"fold{number}"
        common = {"dataset_dir": str(dataset), "datalist": str(fold)}
        # looked at once, after the last epoch, so these weights are kept, whatever the score; what is left to be chosen for
        # given weights, such as a threshold, comes from there
        section = "validation" if json.loads(fold.read_text()).get("validation") else "training"
        training = {**common, "validate::section": section, "val_interval": "@max_epochs", **overrides}
        begin = {"finetune": start} if start else {}
        if first:
            _train(bundle, ("train", *_words(first)), root / "first", {**training, **begin})
            begin = {"finetune": str(root / "first" / "model.pt")}
        _train(bundle, ("train", *layers), root, {**training, **begin})
        scoring = {**common, **overrides, "checkpoint": str(root / "model.pt"), "output_dir": str(root / "evaluate")}
        bundles.run(bundle, "train", *layers, "evaluate", **scoring)
        rows |= read_rows(root / "evaluate" / "per_case.csv")
        print(f"fold {number} of {len(folds)} is scored")
    write_rows(output / "per_case.csv", rows)
    if all({"age", "age_pred"} <= set(row) for row in rows.values()):
        age_figure(rows).savefig(output / "age.png", dpi=110)
    scored = data or f"{len(rows)} cases of {dataset}, {len(folds)}-fold cross-validation"
    report(bundle, output / "per_case.csv", scored, write)


def find_folds(dataset_dir: str, datalist: str | None) -> list[Path]:
    """The datalists of the folds beside a datalist, by default datalist.json in the dataset's folder.

    Raises:
        ValueError: there are none.
    """
    split = Path(datalist or Path(dataset_dir) / "datalist.json").expanduser().resolve()
    folds = sorted(split.parent.glob(f"{split.stem}_fold*{split.suffix}"), key=lambda path: (len(path.name), path.name))
    if not folds:
        raise ValueError(f"no {split.stem}_fold1{split.suffix} beside {split}: write them with prepare ... --folds 5")
    return folds


def _words(text) -> list[str]:
    """The words between commas; fire makes a tuple of them where it can."""
    words = text if isinstance(text, tuple | list) else text.split(",")
    return [word.strip() for word in words if word.strip()]


def _train(bundle: str, configs: tuple[str, ...], output: Path, options: dict) -> None:
    """Train unless it is done; a training that was cut off goes on."""
    done = output / "done"
    if not done.exists():
        bundles.run(bundle, *configs, **options, output_dir=str(output), resume=True)
        done.touch()
