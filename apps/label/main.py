"""MONAI Label app that serves the segmentation bundles of this collection, from the checkout or from packed zips."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import torch
import yaml
from monai.apps import extractall
from monai.bundle import ConfigParser

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.append(str(REPOSITORY))  # shared/, which bundles of a checkout use; packed ones bring their own

# PyPI's torchvision is built for CUDA: beside a CPU build of PyTorch its operators are missing, which ends its import
torchvision_operators = torch.library.Library("torchvision", "FRAGMENT")
if not torch.cuda.is_available():
    torchvision_operators.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    torchvision_operators.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import monailabel  # noqa: E402
from monailabel.interfaces.app import MONAILabelApp  # noqa: E402
from monailabel.interfaces.datastore import DefaultLabelTag  # noqa: E402
from monailabel.tasks.activelearning.first import First  # noqa: E402
from monailabel.tasks.activelearning.random import Random  # noqa: E402
from monailabel.tasks.infer.bundle import BundleConstants, BundleInferTask  # noqa: E402
from monailabel.tasks.train.bundle import BundleTrainTask  # noqa: E402
from monailabel.transform.writer import Writer  # noqa: E402

logger = logging.getLogger(__name__)


def metadata(bundle: Path) -> dict:
    """Content of a bundle's metadata.json."""
    return json.loads((bundle / "configs" / "metadata.json").read_text())


def labels_maps(bundle: Path) -> bool:
    """Whether a bundle's prediction is a segmentation, which is what MONAI Label can show and correct."""
    outputs = metadata(bundle).get("network_data_format", {}).get("outputs", {})  # generative bundles have other keys
    return outputs.get("pred", {}).get("format") == "segmentation"


def find_bundle(name: str, unpacked: Path) -> Path:
    """Folder of a bundle, given its name in the checkout, its folder, or its zip.

    A zip is unpacked below `unpacked`, in a folder that its content names, so that another zip never meets old files.

    Raises:
        ValueError: there is no such bundle, or it segments nothing.
    """
    path = Path(name).expanduser()
    if path.suffix == ".zip" and path.is_file():
        folder = unpacked / hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        if not folder.is_dir():
            partial = folder.with_name(f".partial-{folder.name}")
            shutil.rmtree(partial, ignore_errors=True)
            extractall(path, partial, has_base=False)
            partial.rename(folder)
        path = next(p.parent.parent for p in folder.glob("*/configs/metadata.json"))
    elif not (path / "configs" / "metadata.json").is_file():
        path = REPOSITORY / "bundles" / name
    if not (path / "configs" / "metadata.json").is_file():
        raise ValueError(f"no bundle '{name}': expected a name below {REPOSITORY / 'bundles'}, a bundle's folder, or its zip")
    if not labels_maps(path):
        raise ValueError(f"{name} predicts no label map: MONAI Label serves bundles whose output is a segmentation")
    return path.resolve()


def channel_order(bundle: Path) -> dict:
    """What an item needs beside its file where a 4D file has its sequences in another order than the network."""
    config = ConfigParser.load_config_file(next(bundle.glob("configs/inference.[jy]*")))
    return {"channels": config["channels_4d"]} if config.get("channels_4d") else {}


def options(conf: dict, config: dict, name: str) -> dict:
    """Those of the server's `--conf KEY VALUE` that are keys of a bundle's config; those of `--conf NAME.KEY` count first."""
    given = {**conf, **{key.removeprefix(f"{name}."): value for key, value in conf.items() if key.startswith(f"{name}.")}}
    return {key: yaml.safe_load(value) for key, value in given.items() if key in config}


class Constants(BundleConstants):
    def key_network_def(self) -> str:
        return "network"  # not network_def: its layout in memory is the one that the bundle computes in


class Infer(BundleInferTask):
    """A bundle's inference; after training with the trained weights."""

    def __init__(self, bundle: Path, conf: dict, trained: Path):
        super().__init__(str(bundle), conf, const=Constants(), type="segmentation")
        self.bundle_config.config.update(options(conf, self.bundle_config.config, bundle.name))
        self.channels = channel_order(bundle)
        self.path.append(str(trained))  # the last one that is there counts
        self._config.pop("model_filename")  # would always be the shipped one
        self._config["result_dtype"] = "uint8"
        segments = metadata(bundle).get("segments")
        if segments:
            self.labels = {segment["label"]: int(value) for value, segment in segments.items()}
        elif 0 in self.labels.values():  # no channel for the background
            self.labels = {name: value + 1 for name, value in self.labels.items()}

    def run_pre_transforms(self, data, transforms):
        # Spacingd updates whatever stands under a key that begins with image_, and MONAI Label keeps a file name there
        hidden = {key: data.pop(key) for key in list(data) if key.startswith("image_")}
        return {**super().run_pre_transforms({**data, **self.channels}, transforms), **hidden}

    def writer(self, data, extension=None, dtype=None):
        return Writer(label=self.output_label_key, json=self.output_json_key, nibabel=True)(data)  # ITK refuses sheared grids


class Train(BundleTrainTask):
    """A bundle's training on scans with labels of its structures. Weights and logs go to `folder`; the bundle keeps its own."""

    def __init__(self, bundle: Path, conf: dict, folder: Path, labels: Iterable[str]):
        super().__init__(str(bundle), conf)
        self.name, self.more, self.folder, self.labels = bundle.name, channel_order(bundle), folder, set(labels)
        convention = metadata(bundle).get("label_convention")  # what the values of the bundle's own label maps mean
        self.more |= {"convention": convention} if convention else {}

    def _fetch_datalist(self, request, datastore):
        items = []
        for item in super()._fetch_datalist(request, datastore):
            case = Path(item["image"]).name.split(".")[0]
            named = datastore.get_label_info(case, DefaultLabelTag.FINAL).get("label_info") or []
            # viewers save the names of what was outlined; labels of another bundle's structures are not for this one
            if not named or self.labels & {part["name"] for part in named}:
                items.append({**item, **self.more, "case": case})
        if len(items) < 2:
            raise ValueError(
                f"{len(items)} scans have labels of {', '.join(sorted(self.labels))}, "
                "expected at least two: one to train on, one to validate with"
            )
        return items

    def _load_checkpoint(self, model_pytorch, pretrained, train_handlers):
        trained = self.folder / "model.pt"
        if pretrained:
            super()._load_checkpoint(str(trained) if trained.is_file() else model_pytorch, pretrained, train_handlers)

    def _update_overrides(self, overrides):
        overrides.update(options(self.conf, self.bundle_config.config, self.name))
        overrides["output_dir"] = str(self.folder)
        overrides["max_epochs"] = overrides["train#trainer#max_epochs"]  # the learning rate's schedule follows it
        # the best weights are kept when validation has told them, which must happen before the end
        overrides["val_interval"] = min(self.bundle_config.get("val_interval", 1), overrides["max_epochs"])
        overrides["workers"] = 0
        return overrides


class Zoo(MONAILabelApp):
    """Every segmentation bundle of the checkout, or those that `--conf models` names (names, folders, zips; commas between).

    `--conf model_dir` is where trained weights and unpacked zips lie; any other `--conf` is an option of the
    bundles, `--conf NAME.KEY VALUE` of one of them.
    """

    def __init__(self, app_dir: str, studies: str, conf: dict):
        model_dir = Path(conf.get("model_dir") or Path(app_dir) / "model")
        names = [name.strip() for name in conf.get("models", "").split(",") if name.strip()]
        if not names:
            folders = sorted(p.parent.parent for p in (REPOSITORY / "bundles").glob("*/configs/metadata.json"))
            names = [folder.name for folder in folders if labels_maps(folder)]
        folders = [find_bundle(name, model_dir / "unpacked") for name in names]
        self.bundles = {folder.name: folder for folder in folders}
        self.trained = model_dir / "trained"
        super().__init__(
            app_dir,
            studies,
            conf,
            name="MONAI bundles",
            description=f"Segmentation by {', '.join(self.bundles)}",
            version=monailabel.__version__,
        )

    def init_infers(self):
        return {name: Infer(bundle, self.conf, self.trained / name / "model.pt") for name, bundle in self.bundles.items()}

    def init_trainers(self):
        return {
            name: Train(bundle, self.conf, self.trained / name, self._infers[name].labels)
            for name, bundle in self.bundles.items()
        }

    def init_strategies(self):
        return {"random": Random(), "first": First()}
