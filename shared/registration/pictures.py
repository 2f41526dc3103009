"""A page with what a registration did, in three planes."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.figure import Figure

from ..visualize import PLANES, plane
from .fields import identity, jacobian, sample

ROWS = ("fixed", "moving, affine", "moved", "difference before", "difference after", "checkerboard", "grid", "log Jacobian")
GRID = 4  # voxels between the lines of the deformed grid


def slices(image: np.ndarray) -> dict[str, np.ndarray]:
    """The middle planes of an image in RAS orientation (H, W, D) for display; of a 2D one (H, W) the only one, turned alike."""
    if image.ndim == 2:
        return {"axial": image[::-1].T[::-1]}
    middle = [n // 2 for n in image.shape]
    return {name: plane(image, name, middle) for name in PLANES}


def registration_figure(pair: torch.Tensor, ddf: torch.Tensor, title: str = "") -> Figure:
    """Draw a pair and its registration, a column for each plane.

    Args:
        pair: (2, *size) moving and fixed image on the working grid, in RAS orientation.
        ddf: (n, *size) displacement in voxels.
        title: printed above.

    Returns:
        a matplotlib figure. The grid is that of the moving image as it comes to lie on the fixed one; red in the Jacobian's
        logarithm is where the moving image is larger, blue where it is smaller, black where the field folds.
    """
    pair, ddf = torch.as_tensor(pair).float(), torch.as_tensor(ddf).float()
    n = len(ddf)
    places = identity(ddf.shape[1:]) + ddf
    moved = sample(pair[:1], places)[0]
    moving, fixed = pair[0], pair[1]
    determinant = jacobian(ddf, np.eye(n + 1))
    board = (identity(fixed.shape) // 8).sum(0) % 2 > 0
    lines = places / GRID
    lines = torch.stack([(line - line.round()).abs() * GRID for line in lines])  # voxels to the nearest line of each axis
    images = {
        "fixed": fixed,
        "moving, affine": moving,
        "moved": moved,
        "difference before": moving - fixed,
        "difference after": moved - fixed,
        "checkerboard": torch.where(board, moved, fixed),
        "grid": None,
        "log Jacobian": determinant.clamp_min(1e-3).log().masked_fill(determinant <= 0, torch.nan),
    }
    high = float(torch.quantile(fixed.flatten()[:: max(1, fixed.numel() // 100_000)], 0.995)) or 1.0
    cuts = slices(fixed.numpy())
    figure = Figure(figsize=(2.4 * len(ROWS), 2.6 * len(cuts) + 0.5), facecolor="black")
    figure.subplots_adjust(0.003, 0.005, 0.997, 1 - 0.6 / figure.get_figheight(), wspace=0.02, hspace=0.02)
    axes = figure.subplots(len(cuts), len(ROWS), squeeze=False)
    for column, name in enumerate(ROWS):
        style = {"cmap": "gray", "vmin": 0, "vmax": high}
        if name.startswith("difference"):
            style = {"cmap": "RdBu_r", "vmin": -high, "vmax": high}
        elif name == "log Jacobian":
            style = {"cmap": "coolwarm", "vmin": -1, "vmax": 1}
        for row, which in enumerate(cuts):
            axis = axes[row][column]
            cut = _grid_plane(lines, which) if name == "grid" else slices(images[name].numpy())[which]
            axis.imshow(cut, **(style if name != "grid" else {"cmap": "gray", "vmin": 0, "vmax": 1}), interpolation="nearest")
            axis.set_axis_off()
        axes[0][column].set_title(name, color="white", fontsize=9, y=1)
    figure.suptitle(title, color="white", fontsize=11)
    return figure


def _grid_plane(lines: torch.Tensor, which: str) -> np.ndarray:
    """The lines of the two axes that lie in a plane, bright on black."""
    across = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}[which]
    distance = torch.minimum(*(lines[axis] for axis in across))
    return slices((1 - distance).clamp_min(0).numpy())[which]
