"""Operators that join MONAI Deploy's DICOM operators to the bundles of this collection."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from monai.data import MetaTensor
from monai.deploy.core import Image, IOType
from monai.deploy.core.domain.dicom_series_selection import StudySelectedSeries
from monai.deploy.operators.dicom_series_to_volume_operator import DICOMSeriesToVolumeOperator
from monai.deploy.operators.monai_bundle_inference_operator import IOMapping, MonaiBundleInferenceOperator

AFFINE_TOLERANCE_MM = 1e-2


class SeriesToImageOperator(DICOMSeriesToVolumeOperator):
    """Turn the selected series of a study, one per sequence, into one Image (D, H, W), or (D, H, W, C) of several.

    Raises:
        ValueError: no study has a series for each sequence, or the series lie on different grids.
    """

    def convert_to_image(self, study_selected_series_list: list[StudySelectedSeries]) -> Image:
        if not study_selected_series_list:
            raise ValueError("no study has the DICOM series that the bundle needs (see its modality and sequences)")
        study = study_selected_series_list[0]
        images = []
        for selected in study.selected_series:
            alone = StudySelectedSeries(study.study)
            alone.add_selected_series(selected)
            images.append(super().convert_to_image([alone]))
        first = images[0]
        for image in images[1:]:
            difference = np.abs(image.metadata()["affine"] - first.metadata()["affine"]).max()
            if image.asnumpy().shape != first.asnumpy().shape or difference > AFFINE_TOLERANCE_MM:
                raise ValueError(
                    f"series {image.metadata()['selection_name']} has shape {image.asnumpy().shape}, {first.asnumpy().shape} "
                    f"expected as of {first.metadata()['selection_name']}; affines differ by up to {difference:.3g}"
                )
        arrays = [image.asnumpy() for image in images]
        return first if len(images) == 1 else Image(np.stack(arrays, axis=-1), first.metadata())


class BundleOperator(MonaiBundleInferenceOperator):
    """MONAI Deploy's operator with the bundle's own loading step taken out of the preprocessing.

    MONAI Deploy leaves out what is called LoadImage or SaveImage; these bundles load by transforms of other names.
    """

    def __init__(self, fragment, *args, input_type: type, output_type: type, **kwargs):
        mappings = {
            "input_mapping": [IOMapping("image", input_type, IOType.IN_MEMORY)],
            "output_mapping": [IOMapping("pred", output_type, IOType.IN_MEMORY)],
        }
        super().__init__(fragment, *args, **mappings, **kwargs)

    def _init_config(self, config_names):
        super()._init_config(config_names)
        self._inputs = {"image": self._inputs["image"]}  # others are made by the preprocessing
        self.loader, *rest = self._preproc.transforms
        if not type(self.loader).__name__.startswith("Load"):
            raise ValueError(f"preprocessing begins with {type(self.loader).__name__}, expected a transform that loads")
        self._preproc.transforms = tuple(rest)

    def pre_process(self, data, *args, **kwargs):
        return self._preproc(data)

    def post_process(self, data, *args, **kwargs):
        return self._postproc({**kwargs[self.kw_preprocessed_inputs], "pred": data})


class VolumeOperator(BundleOperator):
    """A bundle that segments volumes: Image (D, H, W) or (D, H, W, C) in, Image (D, H, W) with segment numbers out.

    Args:
        segments: values of the bundle's label map; in the output they are numbered from 1 on, as DICOM wants it.
    """

    def __init__(self, fragment, *args, segments: Sequence[int], **kwargs):
        self.segments = segments
        super().__init__(fragment, *args, input_type=Image, output_type=Image, **kwargs)

    def pre_process(self, data, *args, **kwargs):
        image = data["image"]
        channels_first = image.movedim(-1, 0) if image.ndim == 4 else image[None]
        meta = {**image.meta, "case": "dicom", "original_channel_dim": 0}
        return super().pre_process({**data, "image": MetaTensor(channels_first.float().contiguous(), meta=meta)})

    def post_process(self, data, *args, **kwargs):
        item = super().post_process(data, *args, **kwargs)
        numbers = torch.zeros_like(item["pred"])
        for number, value in enumerate(self.segments, 1):
            numbers[item["pred"] == value] = number
        return {**item, "pred": numbers}


class FilmOperator(BundleOperator):
    """A bundle that classifies films: the selected series in, what the bundle's postprocessing says of it out, as a dict.

    Raises:
        ValueError: not one film was selected.
    """

    def __init__(self, fragment, *args, **kwargs):
        super().__init__(fragment, *args, input_type=list, output_type=dict, **kwargs)

    def _init_config(self, config_names):
        super()._init_config(config_names)
        # postprocessing may ask the network for its threshold, also where a TorchScript predicts in its place
        weights = torch.load(self.bundle_path / "models" / "model.pt", map_location="cpu", weights_only=True)
        self._parser.get_parsed_content("network").load_state_dict(weights)

    def _receive_input(self, name, op_input, context):
        studies = op_input.receive(name)
        files = [
            instance.get_native_sop_instance().filename
            for study in studies or []
            for selected in study.selected_series
            for instance in selected.series.get_sop_instances()
        ]
        if len(files) != 1:
            raise ValueError(f"{len(files)} films of the bundle's modality below the input folder, expected one")
        self.item = self.loader({"image": str(files[0]), "case": "dicom", "file": str(files[0])})
        return self.item["image"], dict(self.item["image"].meta)

    def pre_process(self, data, *args, **kwargs):
        item = super().pre_process({**self.item, **data})
        return {**item, "image": MetaTensor(item["image"])}  # MONAI Deploy asks the input for metadata afterwards

    def post_process(self, data, *args, **kwargs):
        before = set(kwargs[self.kw_preprocessed_inputs])
        item = super().post_process(data, *args, **kwargs)
        result = {}
        for key, value in item.items():
            if isinstance(value, torch.Tensor) and value.numel() == 1 and key not in before:
                result[key] = round(float(value), 6)
            elif isinstance(value, str) and key not in before:
                result[key] = value
        return {"pred": result}

    def _send_output(self, value, name, metadata, op_output, context):
        op_output.emit(value, name)
