"""What a bundle is for, told by its metadata: the words by which it is found in the catalogue and on the Hugging Face Hub."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import yaml

# kinds of prediction by "format" of the output "pred"; metadata.json may name another one under "kind"
KINDS = {"displacement": "registration", "magnitude": "image to image", "hidden": "representation"}
# https://huggingface.co/docs/hub/models-tasks; other kinds have no name there
PIPELINES = {
    "segmentation": "image-segmentation",
    "classification": "image-classification",
    "representation": "image-feature-extraction",
}
IMAGE_TO_IMAGE = ("registration", "super-resolution", "reconstruction", "image to image")


def facts(metadata: Mapping) -> dict[str, str]:
    """Kind of prediction ("segmentation"), modality ("MR") and dimension ("3D") of a bundle.

    Args:
        metadata: content of metadata.json; bundles with several networks have several `..._data_format`.
    """
    formats = [metadata[key] for key in sorted(metadata, reverse=True) if key.endswith("_data_format")]
    inputs = [value for data in formats for value in data["inputs"].values()]
    images = [value for value in inputs if value.get("type") == "image" or value.get("modality")] or inputs
    output = next(iter(formats[0]["outputs"].values()))["format"] if formats else ""
    return {
        "kind": metadata.get("kind") or KINDS.get(output, output),
        "modality": next((value["modality"] for value in images if value.get("modality")), ""),
        "dimension": f"{max((len(value.get('spatial_shape', [])) for value in images), default=0)}D",
    }


def hub_header(name: str, metadata: Mapping, licence: str) -> str:
    """The YAML that opens a model card on the Hugging Face Hub, with the key scores as its model index.

    Args:
        name: of the bundle.
        metadata: content of metadata.json.
        licence: text of its LICENSE.
    """
    found = facts(metadata)
    pipeline = PIPELINES.get(found["kind"]) or ("image-to-image" if found["kind"] in IMAGE_TO_IMAGE else None)
    metrics = metadata.get("eval_metrics") or {}
    scores = {key: value for key, value in metrics.get("scores", {}).items() if key in metrics["key"]}
    header: dict = {"license": "apache-2.0" if "Apache License" in licence else "other", "library_name": "monai"}
    if pipeline:
        header["pipeline_tag"] = pipeline
    header["tags"] = ["monai", "medical", *(value.lower().replace(" ", "-") for value in found.values() if value)]
    if scores:
        result = {
            "task": {"type": pipeline or "other", "name": metadata["task"]},
            "dataset": {"type": "other", "name": metrics["data"]},
            "metrics": [
                {"type": key, "value": value["mean"], "name": f"{key} (mean, n = {value['n']})"}
                for key, value in scores.items()
            ],
        }
        header["model-index"] = [{"name": name, "results": [result]}]
    return f"---\n{yaml.safe_dump(header, sort_keys=False, allow_unicode=True, width=120)}---\n"


def hub_card(packed: Path, metadata: Mapping) -> str:
    """The card of a packed bundle as the hub shows it: its header in front, links from the bundle's own folder."""
    text = (packed / "docs" / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"\]\((?!\w+:|#)([^)\s]+)\)", lambda match: f"]({_from_root(match[1])})", text)
    return hub_header(packed.name, metadata, (packed / "LICENSE").read_text(encoding="utf-8")) + text


def _from_root(target: str) -> str:
    return target.removeprefix("../") if target.startswith("../") else f"docs/{target}"
