"""Pictures of volumes: three planes through a point, masks as outlines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from monai.data import MetaTensor
from monai.transforms import Orientation, ResampleToMatch

PLANES = ("axial", "coronal", "sagittal")
COLOURS = ("#ffd400", "#00d0ff", "#ff3b6b", "#7dff4f")


def outermost_first(masks: Mapping[str, np.ndarray]) -> list[str]:
    """Names of the masks from the largest to the smallest, so that inner outlines are drawn on top."""
    return sorted(masks, key=lambda name: -int(masks[name].sum()))


def best_voxel(mask: np.ndarray) -> tuple[int, ...]:
    """The voxel whose three planes show most of a boolean mask (H, W, D); the middle where it is empty."""
    if not mask.any():
        return tuple(n // 2 for n in mask.shape)
    return tuple(int(mask.sum(axis=tuple(a for a in range(3) if a != axis)).argmax()) for axis in range(3))


def plane(volume: np.ndarray, name: str, voxel: Sequence[int]) -> np.ndarray:
    """A plane of a volume in RAS orientation (H, W, D) as rows and columns for display: patient's right on the left."""
    cut = {
        "axial": volume[::-1, :, voxel[2]],
        "coronal": volume[::-1, voxel[1], :],
        "sagittal": volume[voxel[0], ::-1, :],
    }
    return cut[name].T[::-1]


def aspect(name: str, spacing: Sequence[float]) -> float:
    """Height over width of a pixel of that plane, from the spacing in mm."""
    x, y, z = spacing
    return {"axial": y / x, "coronal": z / x, "sagittal": z / y}[name]


def on_grid(masks: MetaTensor, image: MetaTensor) -> MetaTensor:
    """Masks or a label map (C, H, W, D) at the nearest voxels of an image's grid, 0 outside; themselves if they are on it."""
    if not len(masks) or (masks.shape[1:] == image.shape[1:] and torch.allclose(masks.affine, image.affine)):
        return masks
    # single precision is enough to choose a voxel, and twice as fast as MONAI's default
    return ResampleToMatch(mode="nearest", padding_mode="zeros", dtype=torch.float32)(masks.cpu(), image.cpu())


def outline_figure(image: MetaTensor, channels: Mapping[str, int], rows: Mapping[str, MetaTensor], title: str = "") -> Figure:
    """Draw channels of an image in three planes, with the outlines of masks over them.

    Args:
        image: (C, H, W, D) with affine, any grey values; above 0.5 and 99.5 per cent of the non-zero ones are clipped.
        channels: names of the channels to show, a column group each, `{"FLAIR": 3, "T1ce": 0}`.
        rows: a row of pictures per entry: masks (R, H, W, D) with affine on any grid, drawn as outlines; R may be 0.
            Their meta entry "regions" names the channels.
        title: printed above.

    Returns:
        a matplotlib figure. Planes run through the voxel that shows most of the first row that has masks.
    """
    orient = Orientation("RAS", labels=None)
    masks = {}
    for name, regions in rows.items():
        names = list(regions.meta.get("regions", range(len(regions))))
        masks[name] = dict(zip(names, orient(on_grid(regions, image)).as_tensor().cpu().numpy() > 0.5, strict=True))
    image = orient(image)
    volume, spacing = image.as_tensor().float().cpu().numpy(), [float(s) for s in image.pixdim]
    union = [np.any(list(m.values()), axis=0) for m in masks.values() if m]
    voxel = best_voxel(next((u for u in union if u.any()), np.zeros(volume.shape[1:], bool)))

    shown = list(next((m for m in masks.values() if m), {}))
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(shown)}
    columns = [(label, index, name) for label, index in channels.items() for name in PLANES]
    height = 2.9 * len(rows) + 0.7  # inches
    figure = Figure(figsize=(2.6 * len(columns), height), facecolor="black")
    # matplotlib's automatic layouts draw everything twice
    figure.subplots_adjust(0.005, 0.3 / height, 0.995, 1 - 0.55 / height, wspace=0.03, hspace=0.12)
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for axes_row, (row, regions) in zip(axes, masks.items(), strict=True):
        for axis, (label, index, name) in zip(axes_row, columns, strict=True):
            draw_plane(axis, volume[index], regions, name, voxel, spacing, colours)
            text = f"{row}, {label} {name}" if row else f"{label} {name}"
            axis.set_title(text, color="white", fontsize=9, y=1)  # else matplotlib lays out all ticks to find a place
    left = 0.01
    for name in shown:
        figure.text(left, 0.01, str(name), color=colours[name], fontsize=11, weight="bold")
        left += (0.13 * len(str(name)) + 0.25) / figure.get_figwidth()  # about the text's width in inches
    figure.suptitle(title, color="white", fontsize=11)
    return figure


def draw_plane(axis, volume: np.ndarray, masks: Mapping[str, np.ndarray], name: str, voxel, spacing, colours) -> None:
    """Draw a plane of a volume (H, W, D) in RAS orientation into a matplotlib axis, masks as outlines in `colours` by name."""
    sample = volume[::2, ::2, ::2]  # tells the range of the values as well as all voxels do
    inside = sample[sample != 0]
    low, high = np.percentile(inside, [0.5, 99.5]) if inside.size else (0, 1)
    cut = plane(volume, name, voxel)
    # background is exactly 0 after normalisation over non-zero voxels: show it black, not as the mean grey
    axis.imshow(np.where(cut == 0, low, cut), cmap="gray", vmin=low, vmax=high, aspect=aspect(name, spacing))
    for region in outermost_first(masks):
        cut = plane(masks[region], name, voxel)
        if cut.any():
            axis.contour(cut.astype(float), levels=[0.5], colors=[colours[region]], linewidths=0.9)
    axis.set_axis_off()


def with_regions(masks: torch.Tensor, names: Sequence[str]) -> MetaTensor:
    """Note the names of mask channels in the tensor's meta, where `outline_figure` reads them."""
    tensor = masks if isinstance(masks, MetaTensor) else MetaTensor(masks)
    tensor.meta["regions"] = list(names)
    return tensor
