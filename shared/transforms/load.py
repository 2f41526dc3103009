"""Load the sequences of a case as channels of one image, and refuse what is damaged by naming the file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import LoadImage, MapTransform, ResampleToMatch

from ..errors import describe

AFFINE_TOLERANCE_MM = 1e-2  # headers store affines as float32 and quaternions, so equal grids differ in the last digits


def check_image(image: MetaTensor, path: str | os.PathLike) -> None:
    """Refuse a channel that no network can use.

    Args:
        image: one channel, any shape.
        path: the file it came from, for the message.

    Raises:
        ValueError: a value is NaN or infinite, or all values are zero.
    """
    low, high = (float(value) for value in torch.aminmax(image.as_subclass(torch.Tensor)))  # NaN where there is one
    if not np.isfinite([low, high]).all():
        bad = int((~torch.isfinite(image)).sum())
        raise ValueError(f"{path}: {bad} of {image.numel()} voxels are NaN or infinite, expected finite values")
    if low == high == 0:
        raise ValueError(f"{path}: all voxels are zero, expected an image")


def check_same_grid(image: MetaTensor, path: str | os.PathLike, first: MetaTensor, first_path: str | os.PathLike) -> None:
    """Refuse two volumes (1, H, W, D) whose voxels do not lie at the same places in mm.

    Raises:
        ValueError: shapes differ, or the affines differ by more than 0.01 mm in an entry.
    """
    if image.shape[1:] != first.shape[1:]:
        raise ValueError(
            f"{path}: shape {tuple(image.shape[1:])} differs from {tuple(first.shape[1:])} of {first_path}; "
            "the sequences of a case must be registered and resampled to one grid"
        )
    difference = float(np.abs(np.asarray(image.affine) - np.asarray(first.affine)).max())
    if difference > AFFINE_TOLERANCE_MM:
        raise ValueError(
            f"{path}: affine differs by up to {difference:.3g} from that of {first_path}; "
            "the sequences of a case must be registered and resampled to one grid"
        )


class LoadCased(MapTransform):
    """Load a case: its sequences as channels of "image" (C, H, W, D), float32, and its label map (1, H, W, D) if asked for.

    "image" holds one file per sequence in channel order, or a single 4D file together with "channels", the names of its
    volumes in the file's order. With "channels" the files may also be those of some of the sequences; the channels of the
    others are 0. Where the item has "files", one by sequence, those are loaded, and "files" is taken out. Files need 3D
    (or 4D) voxels on one common grid. A "problem" found while listing the case is raised here, so that it is reported like
    any other damage.

    Args:
        sequences: names of the channels in the network's order.
        label_key: key of the label map's file; None loads no label.
        image_key: key of the file or files.
        resample: bring sequences on other grids to the first one's, by what the headers say (linear, 0 outside); else
            another grid is an error.

    Raises:
        ValueError: a file or a sequence is missing, a file is unreadable, of another grid, not finite or all zero; the message
            names it.
    """

    def __init__(
        self, sequences: Sequence[str], label_key: str | None = None, image_key: str = "image", resample: bool = False
    ):
        super().__init__([image_key], allow_missing_keys=False)
        self.sequences, self.label_key, self.image_key = tuple(sequences), label_key, image_key
        self.match = ResampleToMatch(mode="bilinear", padding_mode="zeros") if resample else None
        with warnings.catch_warnings():  # of a GPU decoder for DICOM, which LoadImage asks for whatever is read
            warnings.filterwarnings("ignore", "NvImgCodecPydicomReader")
            self.loader = LoadImage(reader="NibabelReader", image_only=True, ensure_channel_first=True, dtype=np.float32)

    def __call__(self, data):
        item = dict(data)
        if "problem" in item:
            raise ValueError(item["problem"])
        files = item[self.image_key]
        by_sequence = item.pop("files", None)
        if by_sequence is not None:
            files = [by_sequence[name] for name in self.sequences if name in by_sequence]
            if len(files) < len(self.sequences):
                raise ValueError(
                    f"{item.get('case', item[self.image_key])}: expected the sequences {', '.join(self.sequences)}, "
                    f"found {', '.join(by_sequence)}"
                )
        if isinstance(files, str | os.PathLike):
            first_path = files
            image = self._load_4d(files, item.get("channels") or self.sequences)
        else:
            first_path = files[0]
            image = self._load_files(files, item.get("channels") or self.sequences)
        image.meta["case"] = str(item.get("case", os.path.basename(first_path).split(".")[0]))
        item[self.image_key] = image
        if self.label_key is not None:
            if self.label_key not in item:
                raise ValueError(f"{first_path}: no {self.label_key} is listed for this image, expected a label map")
            path = item[self.label_key]
            item[self.label_key] = self.read(path)
            check_same_grid(item[self.label_key], path, image, first_path)
            item[self.label_key].meta["case"] = image.meta["case"]
        return item

    def read(self, path: str | os.PathLike, dimensions: int = 3) -> MetaTensor:
        """Read one file as (1, H, W, D), or a 4D one as (C, H, W, D), float32.

        Raises:
            ValueError: it is not there, not readable, or has other dimensions.
        """
        if not os.path.isfile(path):
            raise ValueError(f"{path}: no such file")
        try:
            image = self.loader(path)
        except Exception as error:
            raise ValueError(f"{path}: not a readable NIfTI image ({describe(error)[:200]})") from None
        if image.ndim != 4 or (dimensions == 3 and image.shape[0] != 1):
            shape = (*image.shape[1:], *([image.shape[0]] if image.shape[0] > 1 else []))
            shape = tuple(s for s in shape if s != 1)
            raise ValueError(f"{path}: expected a {dimensions}D image, found shape {shape}")
        axes = np.asarray(image.affine, dtype=float)[:3, :3]
        if not np.isfinite(axes).all() or abs(np.linalg.det(axes)) < 1e-9:
            raise ValueError(f"{path}: the header's affine {axes.tolist()} gives no orientation, expected three axes in mm")
        return image

    def _load_files(self, files: Sequence[str | os.PathLike], channels: Sequence[str]) -> MetaTensor:
        if len(files) != len(channels):
            raise ValueError(
                f"{os.path.dirname(files[0])}: expected {len(channels)} files ({', '.join(channels)}), "
                f"found {len(files)}: {', '.join(os.path.basename(f) for f in files)}"
            )
        with ThreadPoolExecutor(len(files)) as pool:  # decompression runs outside Python's lock
            images = list(pool.map(self.read, files))
        for i, (path, image) in enumerate(zip(files, images, strict=True)):
            check_image(image, path)
            if self.match is not None and i:
                images[i] = image = self.match(image, images[0])
                check_image(image, f"{path} on the grid of {files[0]}")
            check_same_grid(image, path, images[0], files[0])
        found = dict(zip(channels, (i.as_tensor() for i in images), strict=True))
        if not set(found) & set(self.sequences):
            raise ValueError(f"{files[0]}: expected one of {', '.join(self.sequences)}, found {', '.join(channels)}")
        absent = torch.zeros_like(images[0].as_tensor())
        return MetaTensor(torch.cat([found.get(name, absent) for name in self.sequences]), meta=images[0].meta)

    def _load_4d(self, path: str | os.PathLike, channels: Sequence[str]) -> MetaTensor:
        image = self.read(path, dimensions=4)
        missing = [name for name in self.sequences if name not in channels]
        if missing or image.shape[0] != len(channels):
            raise ValueError(
                f"{path}: expected a 4D image with the {len(channels)} channels {', '.join(channels)} "
                f"(needed: {', '.join(self.sequences)}), found {image.shape[0]}"
            )
        image = image[[list(channels).index(name) for name in self.sequences]]
        for name, channel in zip(self.sequences, image, strict=True):
            check_image(channel, f"{path} (channel {name})")
        return image
