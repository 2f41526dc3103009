"""Label maps as DICOM segmentations that open over their source series."""

from __future__ import annotations

import importlib.metadata
import logging
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from ignite.engine import Engine
from monai.data import MetaTensor
from monai.engines.utils import IterationEvents

from ..errors import InputError
from ..paths import atomic_write

HIGHDICOM = "0.28.2"
CODES = {  # SNOMED CT: what each organ is called in a DICOM segmentation
    "liver": ("10200004", "Liver"),
    "right_kidney": ("9846003", "Right kidney"),
    "left_kidney": ("18639004", "Left kidney"),
    "spleen": ("78961009", "Spleen"),
}
COLOURS = {"liver": (255, 212, 0), "right_kidney": (0, 208, 255), "left_kidney": (255, 59, 107), "spleen": (125, 255, 79)}


class DicomSegmentations:
    """Save `<folder>/<case>_seg.dcm` for every case that came from a DICOM series, with references to its slices.

    Patient, study and frame of reference are those of the series, so that viewers show the segmentation over it. A binary
    segment an organ, coded in SNOMED CT; slices without any are left out, as the standard allows. Cases from NIfTI get none.

    Args:
        folder: where the files go.
        organs: label values of each organ in "pred" (1, H, W, D), `{"liver": [1], ...}`; names of CODES.
        name: of the model, stated as the algorithm.
        version: of the model.

    Raises:
        InputError: highdicom is not installed.
        ValueError: no organ was found in a case: the standard knows no empty segmentation.
    """

    def __init__(self, folder: str | os.PathLike, organs: Mapping[str, list[int]], name: str, version: str):
        try:
            importlib.metadata.version("highdicom")
        except importlib.metadata.PackageNotFoundError:
            raise InputError(
                f"a DICOM segmentation needs highdicom, which is not installed: pip install highdicom=={HIGHDICOM} "
                "(the extra seg); or leave --dicom_seg out"
            ) from None
        logging.getLogger("highdicom").setLevel(logging.WARNING)  # it tells every module that it copies
        self.folder, self.organs, self.name, self.version = Path(folder), dict(organs), name, version

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(IterationEvents.MODEL_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        for item, output in zip(engine.state.batch, engine.state.output, strict=True):
            files = item["image"].meta["series"]
            if files:
                self.folder.mkdir(parents=True, exist_ok=True)
                with atomic_write(self.folder / f"{item['case']}_seg.dcm") as temporary:
                    self.segmentation(files, output["pred"]).save_as(temporary)

    def segmentation(self, files: list[str], labels: MetaTensor):
        """The highdicom object of a label map (1, columns, rows, slices) over the series' files, in the slices' order."""
        import highdicom as hd  # slow to import, and only this needs it
        import pydicom
        from pydicom.sr.codedict import codes
        from pydicom.sr.coding import Code

        sources = [pydicom.dcmread(path) for path in files]
        algorithm = hd.AlgorithmIdentificationSequence(
            name=self.name, version=self.version, family=codes.DCM.ArtificialIntelligence
        )
        volume = labels.as_tensor()[0].numpy(force=True).transpose(2, 1, 0)
        masks = {organ: np.isin(volume, values) for organ, values in self.organs.items()}
        masks = {organ: mask for organ, mask in masks.items() if mask.any()}
        if not masks:
            raise ValueError(f"{files[0]}: no organ found in the series, so that there is no DICOM segmentation of it")
        segments = [
            hd.seg.SegmentDescription(
                segment_number=number,
                segment_label=CODES[organ][1],
                segmented_property_category=codes.SCT.Organ,
                segmented_property_type=Code(CODES[organ][0], "SCT", CODES[organ][1]),
                algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
                algorithm_identification=algorithm,
                display_color=hd.color.CIELabColor.from_rgb(*COLOURS[organ]),
            )
            for number, organ in enumerate(masks, 1)
        ]
        return hd.seg.Segmentation(
            source_images=sources,
            pixel_array=np.stack(list(masks.values()), -1).astype(np.uint8),
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=segments,
            series_instance_uid=hd.UID(),
            series_number=1000,
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer="MONAI",
            manufacturer_model_name=self.name,
            software_versions=self.version,
            device_serial_number="0",
            series_description=f"Segmentation by {self.name}",
        )
