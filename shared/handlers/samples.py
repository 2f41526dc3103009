"""Sampled films as files: PNG, DICOM, and a picture of all."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from ignite.engine import Engine, Events
from matplotlib.figure import Figure
from monai.engines.utils import IterationEvents
from PIL import Image, PngImagePlugin

from ..data.dicom import write_synthetic
from ..paths import atomic_write

WIDEST = 8  # films a row of a grid
SYNTHETIC = "synthetic chest X-ray, made by a model from text; no patient"


def grid_figure(rows: Mapping[str, Sequence[np.ndarray]], width: float = 1.6) -> Figure:
    """A row of films (H, W), 0..1, for every name, which is printed above it; longer rows are broken.

    Args:
        rows: films by name.
        width: of a film in inches.
    """
    lines = [
        (name if start == 0 else "", films[start : start + WIDEST])
        for name, films in rows.items()
        for start in range(0, len(films), WIDEST)
    ]
    columns = max(len(films) for _, films in lines)
    figure = Figure(figsize=(width * columns, (width + 0.2) * len(lines)), facecolor="black")
    figure.subplots_adjust(0.002, 0.002, 0.998, 1 - 0.2 / figure.get_figheight(), wspace=0.02, hspace=0.2 / width)
    axes = figure.subplots(len(lines), columns, squeeze=False)
    for line, (name, films) in zip(axes, lines, strict=True):
        for axis in line:
            axis.set_axis_off()
        for axis, film in zip(line, films, strict=False):
            axis.imshow(film, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        line[0].set_title(name, color="white", fontsize=8, loc="left", y=1)
    return figure


class SampleFiles:
    """Write every sampled film as `<case>.png` and, if asked for, `<case>.dcm`, both marked as synthetic; at the end grid.png.

    What made the film (prompt, seed, settings, checksum of the weights) stands in the files, too.

    Args:
        folder: where they go.
        told: entries of the case that are written into the files.
        dicom: write DICOM, too.
        most: films in grid.png.
    """

    def __init__(self, folder: str | os.PathLike, told: Sequence[str], dicom: bool = False, most: int = 32):
        self.folder, self.told, self.dicom, self.most = Path(folder), list(told), dicom, most
        self.shown: dict[str, list[np.ndarray]] = {}

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(IterationEvents.MODEL_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self.draw)

    def __call__(self, engine: Engine) -> None:
        for item, output in zip(engine.state.batch, engine.state.output, strict=True):
            film = output["pred"][0].numpy(force=True)
            about = {key: str(item[key].item() if hasattr(item[key], "item") else item[key]) for key in self.told}
            pixels = np.rint(film * 255).astype(np.uint8)
            note = PngImagePlugin.PngInfo()
            for key, value in {"Description": SYNTHETIC, **about}.items():
                note.add_itxt(key, value)
            with atomic_write(self.folder / f"{item['case']}.png") as temporary:
                Image.fromarray(pixels).save(temporary, pnginfo=note)
            if self.dicom:
                text = "; ".join(f"{key} {value}" for key, value in about.items())
                write_synthetic(self.folder / f"{item['case']}.dcm", pixels, item["case"], SYNTHETIC, text)
            if sum(map(len, self.shown.values())) < self.most:
                self.shown.setdefault(item["prompt"], []).append(film)

    def draw(self, engine: Engine) -> None:
        """Write grid.png with the first films of this run."""
        if self.shown:
            rows = math.ceil(sum(map(len, self.shown.values())) / WIDEST)
            with atomic_write(self.folder / "grid.png") as temporary:
                grid_figure(self.shown).savefig(temporary, dpi=100 if rows < 20 else 60)


class ReconstructionPictures:
    """Write `<folder>/reconstructions.png` at the end of an epoch: its first films, and below them what was made of them.

    Args:
        folder: where it goes.
        films: how many.
    """

    def __init__(self, folder: str | os.PathLike, films: int = WIDEST):
        self.folder, self.films = Path(folder), films
        self.rows: dict[str, list[np.ndarray]] = {}

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, lambda _: self.rows.clear())
        engine.add_event_handler(IterationEvents.MODEL_COMPLETED, self)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.draw)

    def __call__(self, engine: Engine) -> None:
        for item, output in zip(engine.state.batch, engine.state.output, strict=True):
            pair = {"film": item["image"], "reconstruction": output["pred"]}
            for name, film in pair.items():
                kept = self.rows.setdefault(name, [])
                if len(kept) < self.films:
                    kept.append(film[0].float().numpy(force=True))

    def draw(self, engine: Engine) -> None:
        """Write the picture."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.folder / "reconstructions.png") as temporary:
            grid_figure(self.rows).savefig(temporary, dpi=100)
