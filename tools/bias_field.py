"""N4 bias field correction: copies of a dataset's images without the slow change of brightness that coils cause."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import nibabel as nib
import numpy as np
from tqdm import tqdm

from shared.errors import describe
from shared.paths import atomic_write

from .parallel import unordered

FIT_SPACING = 4  # mm: the field is smooth, so it is fitted on a coarse grid
MAX_SHRINK = 4


def correct_cases(cases: list[dict], root: Path, target: Path, workers: int) -> list[dict]:
    """Write N4-corrected copies of all images of all cases; files that exist already are kept, so a stopped run goes on.

    Args:
        cases: items whose "image" is a 4D file or a list of 3D files, and "files", if there, files by sequence; absolute paths
            below `root`.
        root: the dataset's folder.
        target: where the copies go, under the same relative paths: float32, same grid and header.
        workers: processes.

    Returns:
        the items with these replaced. A case is reported and left out if one of its files fails.

    Raises:
        ImportError: SimpleITK is not installed.
        ValueError: `target` lies in the dataset's folder, where the copies would be read as further cases.
    """
    if importlib.util.find_spec("SimpleITK") is None:
        raise ImportError("bias field correction needs SimpleITK: pip install -e .[n4]")
    if target.is_relative_to(root):
        raise ValueError(f"bias_field is {target}, expected a folder outside of the dataset {root}")

    copies = {path: target / Path(path).relative_to(root) for item in cases for path in _files(item)}
    todo = [(path, copy) for path, copy in copies.items() if not copy.is_file()]
    print(f"bias field: {len(copies)} files, {len(copies) - len(todo)} of them corrected before -> {target}")
    failed = set()
    for path, error in unordered(_correct_file, todo, workers, "bias field", "file"):
        if error:
            failed.add(path)
            tqdm.write(f"PROBLEM {error}")
    left_out = [item["case"] for item in cases if failed.intersection(_files(item))]
    if left_out:
        print(f"not corrected, left out: {', '.join(left_out)}")
    corrected = []
    for item in cases:
        if item["case"] not in left_out:
            image = item["image"]
            copy = {**item, "image": str(copies[image]) if isinstance(image, str) else [str(copies[path]) for path in image]}
            if "files" in item:
                copy["files"] = {name: str(copies[path]) for name, path in item["files"].items()}
            corrected.append(copy)
    return corrected


def _files(item: dict) -> list[str]:
    image = [item["image"]] if isinstance(item["image"], str) else item["image"]
    return list(dict.fromkeys([*image, *item.get("files", {}).values()]))


def _correct_file(job: tuple[str, Path]) -> tuple[str, str]:
    """Correct one file; returns its path and what went wrong, "" if nothing did."""
    source, output = job
    try:
        image = nib.load(source)
        data = np.asarray(image.dataobj, np.float32)
        volumes = data[..., None] if data.ndim == 3 else data
        spacing = nib.affines.voxel_sizes(image.affine)
        corrected = np.stack([correct(volumes[..., i], spacing) for i in range(volumes.shape[-1])], -1)
        copy = type(image)(corrected.reshape(data.shape), image.affine, image.header)
        copy.set_data_dtype(np.float32)
        output.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(output) as temporary:
            nib.save(copy, temporary)
    except Exception as error:  # whatever a damaged file provokes is reported under its name
        text = describe(error)
        return source, text if source in text else f"{source}: {text}"
    return source, ""


def correct(volume: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Divide a volume by the bias field that N4 finds in it.

    Follows N. J. Tustison et al., "N4ITK: Improved N3 Bias Correction", IEEE Trans. Med. Imaging 29 (2010). The field is
    fitted to the voxels above Otsu's threshold on a grid of about 4 mm and evaluated on the volume's own.

    Args:
        volume: (H, W, D), background near 0.
        spacing: voxel edges in mm.

    Returns:
        (H, W, D), float32; zeros stay zero.

    Raises:
        ValueError: a voxel is NaN or infinite, or all are zero.
    """
    import SimpleITK as sitk

    if not np.isfinite(volume).all() or not volume.any():
        raise ValueError("expected finite voxels that are not all zero")
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)  # files are what is parallel
    image = sitk.GetImageFromArray(volume.astype(np.float32).T)  # ITK's arrays run z, y, x
    image.SetSpacing([float(s) for s in spacing])
    mask = sitk.OtsuThreshold(image, 0, 1)
    shrink = [int(np.clip(round(FIT_SPACING / s), 1, MAX_SHRINK)) for s in spacing]
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.Execute(sitk.Shrink(image, shrink), sitk.Shrink(mask, shrink))
    field = sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(image)).T
    return (volume / np.exp(field)).astype(np.float32)
