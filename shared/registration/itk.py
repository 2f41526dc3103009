"""Files that SimpleITK, ANTs and 3D Slicer read and write: displacement fields and affine transforms, mm in LPS."""

from __future__ import annotations

import os
import re
from pathlib import Path

import nibabel as nib
import numpy as np

from ..paths import atomic_write

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # RAS to LPS and back
VECTOR = 1007  # NIfTI's intent code of vectors, which ANTs gives its warps


def save_field(path: str | os.PathLike, field: np.ndarray, affine: np.ndarray) -> None:
    """Write a displacement field as ANTs does: 5D NIfTI (H, W, D, 1, 3), float32, components in LPS.

    Args:
        path: ends in .nii or .nii.gz.
        field: (3, H, W, D), mm in RAS.
        affine: voxels to mm of its grid.
    """
    vectors = np.moveaxis(field, 0, -1)[:, :, :, None] * np.float32([-1, -1, 1])
    image = nib.Nifti1Image(vectors.astype(np.float32), affine)
    image.header.set_intent(VECTOR)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, 1)  # ITK takes the qform where there are both
    with atomic_write(path) as temporary:
        nib.save(image, temporary)


def load_field(path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
    """A displacement field as `save_field` writes it: (3, H, W, D) in RAS mm, and voxels to mm.

    Raises:
        ValueError: it is no such file.
    """
    image = nib.load(path)
    if image.ndim != 5 or image.shape[3:] != (1, 3):
        raise ValueError(f"{path}: shape {image.shape}, expected a displacement field (H, W, D, 1, 3)")
    vectors = np.asarray(image.dataobj)[:, :, :, 0] * np.float32([-1, -1, 1])
    return np.moveaxis(vectors, -1, 0), image.affine


def save_affine(path: str | os.PathLike, matrix: np.ndarray) -> None:
    """Write an affine transform (4, 4), mm of the fixed to mm of the moving image in RAS, as ITK's text file."""
    lps = LPS @ matrix @ LPS
    numbers = " ".join(f"{v:.17g}" for v in [*lps[:3, :3].ravel(), *lps[:3, 3]])
    text = f"#Insight Transform File V1.0\n#Transform 0\nTransform: AffineTransform_double_3_3\nParameters: {numbers}\n"
    with atomic_write(path) as temporary:
        temporary.write_text(text + "FixedParameters: 0 0 0\n")


def load_affine(path: str | os.PathLike) -> np.ndarray:
    """Read an affine transform (4, 4), mm of the fixed to mm of the moving image in RAS.

    Takes ITK's text files (.txt, .tfm; affine or matrix offset transforms), ANTs' binary ones (.mat), both in LPS, and plain
    text with four rows of four numbers, in RAS.

    Raises:
        ValueError: it is none of these, or the matrix cannot be inverted.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file, expected an affine transform")
    if path.suffix == ".mat":
        matrix = _from_parameters(*_read_mat(path))
    else:
        text = path.read_text(errors="replace")
        if text.startswith("#Insight"):
            found = [re.search(rf"^{name}: (.*)$", text, re.MULTILINE) for name in ("Parameters", "FixedParameters")]
            numbers = [[float(word) for word in match[1].split()] if match else [] for match in found]
            if len(numbers[0]) != 12 or len(numbers[1]) != 3 or text.count("\nTransform:") != 1:
                raise ValueError(f"{path}: expected one affine transform with 12 parameters and a centre of 3")
            matrix = _from_parameters(*numbers)
        else:
            try:
                matrix = np.loadtxt(path)
            except ValueError:
                matrix = np.zeros(0)
            if matrix.shape != (4, 4):
                raise ValueError(f"{path}: expected an ITK transform file, or four rows of four numbers")
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-6 or not np.allclose(matrix[3], [0, 0, 0, 1]):
        raise ValueError(f"{path}: {np.round(matrix, 3).tolist()} is no affine transform that can be inverted")
    return matrix


def _read_mat(path: Path) -> tuple[np.ndarray, np.ndarray]:
    from scipy.io import loadmat

    try:
        content = loadmat(path)
        name = next(key for key in content if key.endswith("_3_3"))
        return content[name].ravel(), content["fixed"].ravel()
    except (ValueError, KeyError, StopIteration, TypeError):
        raise ValueError(f"{path}: expected an affine transform as ANTs writes it (0GenericAffine.mat)") from None


def _from_parameters(numbers, centre) -> np.ndarray:
    """ITK's 12 parameters and centre, in LPS, as a matrix in RAS."""
    matrix, centre = np.eye(4), np.asarray(centre, float)
    matrix[:3, :3] = np.reshape(numbers[:9], (3, 3))
    matrix[:3, 3] = np.asarray(numbers[9:12]) + centre - matrix[:3, :3] @ centre
    return LPS @ matrix @ LPS
