"""MONAI Deploy app for a bundle of this collection: DICOM series in, DICOM segmentation or structured report out.

    python apps/deploy/app.py BUNDLE --input DICOM_FOLDER --output FOLDER

BUNDLE is a name in the checkout or the folder of an unzipped bundle. A bundle that segments takes a series per sequence, found
by modality and, where it has several sequences, by what SeriesDescription ends in; the result is a DICOM SEG. One that
classifies takes a film; the result is a DICOM SR and result.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from monai.bundle import ConfigParser
from monai.deploy.conditions import CountCondition
from monai.deploy.core import Application, ConditionType, Operator
from monai.deploy.operators.dicom_data_loader_operator import DICOMDataLoaderOperator
from monai.deploy.operators.dicom_seg_writer_operator import DICOMSegmentationWriterOperator, SegmentDescription
from monai.deploy.operators.dicom_series_selector_operator import DICOMSeriesSelectorOperator
from monai.deploy.operators.dicom_text_sr_writer_operator import DICOMTextSRWriterOperator
from monai.deploy.operators.dicom_utils import ModelInfo
from pydicom.sr.coding import Code

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.append(str(REPOSITORY))  # shared/, which bundles of a checkout use; packed ones bring their own
sys.path.insert(0, str(Path(__file__).parent))

from operators import FilmOperator, SeriesToImageOperator, VolumeOperator  # noqa: E402

# what a segment is, where metadata.json does not say
UNKNOWN = {"category": ["85756007", "SCT", "Tissue"], "type": ["85756007", "SCT", "Tissue"]}


class ResultWriter(Operator):
    """Write a result as JSON, and pass it on as text."""

    def __init__(self, fragment, *args, output_folder: Path, **kwargs):
        self.output_folder = output_folder
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec):
        spec.input("result")
        spec.output("text").condition(ConditionType.NONE)

    def compute(self, op_input, op_output, context):
        result = op_input.receive("result")
        self.output_folder.mkdir(parents=True, exist_ok=True)
        (self.output_folder / "result.json").write_text(json.dumps(result, indent=1) + "\n")
        op_output.emit("; ".join(f"{key}: {value}" for key, value in result.items()), "text")


class BundleApp(Application):
    """The graph for one bundle.

    Args:
        bundle: folder of a bundle.
        input_folder: is searched with its subfolders for DICOM files.
        output_folder: for the results.

    Raises:
        ValueError: the bundle neither segments nor classifies.
    """

    def __init__(self, bundle: Path, input_folder: Path, output_folder: Path):
        self.bundle, self.input_folder, self.output_folder = bundle, input_folder, output_folder
        self.metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
        self.config = ConfigParser.load_config_file(next(bundle.glob("configs/inference.[jy]*")))
        outputs = self.metadata.get("network_data_format", {}).get("outputs", {})  # generative bundles have other keys
        self.kind = outputs.get("pred", {}).get("format")
        if self.kind not in ("segmentation", "classification"):
            raise ValueError(f"{bundle.name} gives {self.kind}; this app takes bundles for segmentation and classification")
        super().__init__([str(Path(__file__))])  # the arguments that the SDK would read

    def compose(self):
        context = Application.init_app_context(["", "-i", str(self.input_folder), "-o", str(self.output_folder)])
        once = CountCondition(self, 1)  # else the graph would run again and again
        loader = DICOMDataLoaderOperator(self, once, input_folder=self.input_folder, name="loader")
        selector = DICOMSeriesSelectorOperator(self, rules=json.dumps(self.rules()), all_matched=False, name="selector")
        self.add_flow(loader, selector, {("dicom_study_list", "dicom_study_list")})
        model = ModelInfo(self.metadata["authors"], self.bundle.name, self.metadata["version"], "")
        options = {"app_context": context, "bundle_path": self.bundle, "name": "bundle"}
        if self.kind == "segmentation":
            volume = SeriesToImageOperator(self, name="volume")
            infer = VolumeOperator(self, segments=[int(value) for value in self.segments()], **options)
            writer = DICOMSegmentationWriterOperator(
                self, segment_descriptions=self.descriptions(), model_info=model, output_folder=self.output_folder, name="seg"
            )
            self.add_flow(selector, volume, {("study_selected_series_list", "study_selected_series_list")})
            self.add_flow(volume, infer, {("image", "image")})
            self.add_flow(infer, writer, {("pred", "seg_image")})
        else:
            infer = FilmOperator(self, **options)
            result = ResultWriter(self, output_folder=self.output_folder, name="result")
            writer = DICOMTextSRWriterOperator(self, output_folder=self.output_folder, model_info=model, name="report")
            self.add_flow(selector, infer, {("study_selected_series_list", "image")})
            self.add_flow(infer, result, {("pred", "result")})
            self.add_flow(result, writer, {("text", "text")})
        self.add_flow(selector, writer, {("study_selected_series_list", "study_selected_series_list")})

    def rules(self) -> dict:
        """A selection per sequence of the bundle, in the network's order."""
        modality = self.metadata["network_data_format"]["inputs"]["image"]["modality"]
        modalities = "DX|CR" if modality in ("DX", "CR") else modality
        sequences = self.config.get("sequences") or ["image"]
        selections = []
        for sequence in sequences:
            conditions = {"Modality": f"(?i)^({modalities})$"}
            if len(sequences) > 1:
                endings = "|".join(self.config["file_endings"][sequence])
                conditions["SeriesDescription"] = rf"(?i)^(.*[\W_])?({endings})$"
            selections.append({"name": sequence, "conditions": conditions})
        return {"selections": selections}

    def segments(self) -> dict[str, dict]:
        """Label, category and type of every value of the label map, as metadata.json says or else from channel_def."""
        if "segments" in self.metadata:
            return self.metadata["segments"]
        names = list(self.metadata["network_data_format"]["outputs"]["pred"]["channel_def"].values())
        first = 0 if names[0].lower() == "background" else 1
        return {str(value): {"label": name, **UNKNOWN} for value, name in enumerate(names, first) if value > 0}

    def descriptions(self) -> list[SegmentDescription]:
        """The same for the DICOM SEG."""
        return [
            SegmentDescription(
                segment_label=segment["label"],
                segmented_property_category=Code(*segment["category"]),
                segmented_property_type=Code(*segment["type"]),
                algorithm_name=self.bundle.name,
                algorithm_version=self.metadata["version"],
            )
            for segment in self.segments().values()
        ]


def find_bundle(name: str) -> Path:
    """Folder of a bundle, given its name in the checkout or a folder.

    Raises:
        ValueError: there is no such bundle.
    """
    for folder in (REPOSITORY / "bundles" / name, Path(name).expanduser()):
        if (folder / "configs" / "metadata.json").is_file():
            return folder.resolve()
    raise ValueError(
        f"no bundle '{name}': expected a name below {REPOSITORY / 'bundles'}, or a folder with configs/metadata.json"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", help="name of a bundle, or its folder")
    parser.add_argument("--input", type=Path, required=True, help="folder of DICOM files")
    parser.add_argument("--output", type=Path, required=True, help="folder for the results")
    given = parser.parse_args()
    if not given.input.is_dir():
        raise SystemExit(f"--input is '{given.input}', which is not a folder")
    BundleApp(find_bundle(given.bundle), given.input.resolve(), given.output.resolve()).run()


if __name__ == "__main__":
    main()
