"""What a registration leaves behind for every case: files, a row of scores, a picture."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from monai.engines.utils import IterationEvents

from ..paths import atomic_write
from ..registration.affine import matrix_of
from ..registration.itk import save_affine, save_field
from ..registration.pictures import registration_figure
from .case_table import CaseTable
from .pictures import FirstCases, save_picture


class MeasuredTable(CaseTable):
    """A CaseTable whose rows are what the postprocessing has put under "measured", numbers by column."""

    def case_completed(self, engine: Engine) -> None:
        for item, output in zip(engine.state.batch, engine.state.output, strict=True):
            self.cases.append(item["case"])
            row = {key: "" if value != value else float(value) for key, value in output["measured"].items()}
            self._write({item["case"]: row})


class RegistrationFiles:
    """Save what `MovePaird` makes, as `<folder>/<case>_moved.nii.gz`, and so on.

    moved: the moving image on the fixed one's grid, float32. moved_label: its label map there. field: displacement for
    resampling onto the fixed image's grid, and inverse, onto the moving one's (mm in LPS, as ITK and ANTs take them).
    affine.txt: the affine part alone, for ITK. points.csv: points of the moving image in the fixed one.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(IterationEvents.MODEL_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        for item, output in zip(engine.state.batch, engine.state.output, strict=True):
            self.save(item["case"], {**item, **output})

    def save(self, case: str, item: dict) -> None:
        """Write the files of a case, the moved image last."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for key in ("field", "inverse"):
            if key in item:
                save_field(self.folder / f"{case}_{key}.nii.gz", item[key].as_tensor().numpy(), matrix_of(item[key]))
        save_affine(self.folder / f"{case}_affine.txt", item["transform"].numpy())
        if "moved_points" in item:
            with atomic_write(self.folder / f"{case}_points.csv") as temporary, temporary.open("w", newline="") as file:
                writer = csv.DictWriter(file, list(item["moved_points"][0]) if item["moved_points"] else "xyz")
                writer.writeheader()
                writer.writerows(item["moved_points"])
        if "moved_label" in item:
            self._image(f"{case}_moved_label", item["moved_label"], _label_type(item["moved_label"]))
        self._image(f"{case}_moved", item["moved"], np.float32)

    def _image(self, name: str, image: MetaTensor, dtype) -> None:
        saved = nib.Nifti1Image(image.as_tensor()[0].numpy().astype(dtype), matrix_of(image))
        saved.header.set_xyzt_units("mm")
        saved.set_qform(matrix_of(image), 1)
        with atomic_write(self.folder / f"{name}.nii.gz") as temporary:
            nib.save(saved, temporary)


def _label_type(labels: torch.Tensor) -> type:
    return np.uint8 if labels.min() >= 0 and labels.max() < 256 else np.int32


class RegistrationPictures(FirstCases):
    """Save `<folder>/<case>.png`: fixed, moving and moved head, their difference, the deformed grid and the Jacobian.

    Args:
        folder: where the pictures go.
        cases: how many of an epoch; None pictures all.
    """

    def __init__(self, folder: str | os.PathLike, cases: int | None = None):
        super().__init__(cases)
        self.folder = Path(folder)

    def show(self, engine: Engine, item: Mapping, output: Mapping) -> None:
        figure = registration_figure(item["image"].cpu(), output["pred"].cpu(), title=item["case"])
        save_picture(figure, self.folder, item["case"])
