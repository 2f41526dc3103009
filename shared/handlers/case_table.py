"""One CSV with a row per case, written as the cases go by."""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from monai.engines.utils import IterationEvents

from ..distributed import taking_turns
from ..paths import atomic_write

SLOW = 0.03  # seconds


def read_rows(path: str | os.PathLike) -> dict[str, dict[str, str]]:
    """Rows of a case table by case, empty where there is no file."""
    if not Path(path).is_file():
        return {}
    with open(path, newline="") as file:
        return {row["case"]: row for row in csv.DictReader(file)}


def write_rows(path: str | os.PathLike, rows: Mapping[str, Mapping]) -> None:
    """Write rows by case, sorted, floats with six digits; the file is replaced whole."""
    columns = ["case"] + sorted({key for row in rows.values() for key in row} - {"case"}, key=_first_seen(rows))
    with atomic_write(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for case in sorted(rows):
            row = {key: f"{value:.6g}" if isinstance(value, float) else value for key, value in rows[case].items()}
            writer.writerow({**row, "case": case})


def _first_seen(rows: Mapping[str, Mapping]) -> Callable[[str], int]:
    order = list(dict.fromkeys(key for row in rows.values() for key in row))
    return order.index


class RegionVolumes:
    """Volumes in mL of regions of a label map (1, H, W, D) with an affine.

    Args:
        regions: label values of each region, `{"TC": [1, 4], ...}`.
    """

    def __init__(self, regions: Mapping[str, Sequence[int]]):
        self.regions = dict(regions)

    def __call__(self, labels: MetaTensor) -> dict[str, float]:
        voxel_ml = float(np.abs(np.linalg.det(np.asarray(labels.affine)[:3, :3]))) / 1000
        data = labels.as_tensor().cpu().numpy()  # NumPy's isin is nine times as fast as PyTorch's
        return {f"{n}_mL": int(np.count_nonzero(np.isin(data, v))) * voxel_ml for n, v in self.regions.items()}


def _number(value: torch.Tensor) -> float | str:
    return "" if value.isnan().any() else float(value)


class CaseTable:
    """Keep a CSV with one row per case; rows of other cases that the file already holds stay.

    During inference give `measure` or `columns`: they make a row of each case's output and the file grows case by case, in
    turns where there are several processes. During evaluation of images give `metrics`: the named metrics' values per case
    and channel are written when the epoch ends, by the first process for all.

    Args:
        path: the CSV.
        measure: called with a case's "pred", returns its columns.
        columns: keys of the output, each a tensor with one number, that become columns; empty where the number is NaN.
        texts: keys of the case or its output that become columns as they are, such as names.
        metrics: metric names with the names of their channels, `{"dice": ["TC", "WT", "ET"]}` makes dice_TC, ...
    """

    def __init__(
        self,
        path: str | os.PathLike,
        measure: Callable | None = None,
        columns: Sequence[str] = (),
        metrics: Mapping[str, Sequence[str]] | None = None,
        texts: Sequence[str] = (),
    ):
        self.texts = list(texts)
        self.path, self.measure, self.columns, self.metrics = Path(path), measure, list(columns), dict(metrics or {})
        self.cases: list[str] = []
        self.pending: dict[str, dict] = {}
        self.written, self.seconds = 0.0, 0.0  # when the file was last written, and how long that took

    def attach(self, engine: Engine) -> None:
        # inside the iteration, where CaseEvaluator guards it
        engine.add_event_handler(IterationEvents.MODEL_COMPLETED, self.case_completed)
        engine.add_event_handler(Events.COMPLETED, self.flush)
        if self.metrics:
            engine.add_event_handler(Events.EPOCH_STARTED, lambda _: self.cases.clear())
            engine.add_event_handler(Events.EPOCH_COMPLETED, self.epoch_completed)

    def case_completed(self, engine: Engine) -> None:
        """Note the case, and write its row if it is measured by itself."""
        for item, output in zip(engine.state.batch, engine.state.output, strict=True):
            self.cases.append(item["case"])
            row = self.measure(output["pred"]) if self.measure is not None else {}
            row |= {key: str(output.get(key, item.get(key, ""))) for key in self.texts}
            row |= {key: _number(output[key]) for key in self.columns}
            if row:
                self._write({item["case"]: row})

    def epoch_completed(self, engine: Engine) -> None:
        """Write the details of all metrics, which MONAI gathers from all processes in the same order."""
        cases = [case for part in idist.all_gather(self.cases) for case in part]
        rows: dict[str, dict] = {case: {} for case in cases}
        for name, channels in self.metrics.items():
            for case, values in zip(cases, engine.state.metric_details[name].tolist(), strict=True):
                rows[case] |= {f"{name}_{c}": float(v) for c, v in zip(channels, values, strict=True)}
        if idist.get_rank() == 0:
            self._write(rows)

    def _write(self, rows: Mapping[str, Mapping]) -> None:
        self.pending |= rows
        # a table of thousands takes long to write: not after every case, but so that it takes a twentieth of the time at most
        if self.seconds < SLOW or time.perf_counter() - self.written > 20 * self.seconds:
            self.flush()

    def flush(self, engine: Engine | None = None) -> None:
        """Write the rows that are not yet in the file."""
        if not self.pending:
            return
        start = time.perf_counter()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with taking_turns(self.path):
            write_rows(self.path, {**read_rows(self.path), **self.pending})
        self.pending = {}
        self.written = time.perf_counter()
        self.seconds = self.written - start
