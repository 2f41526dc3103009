"""What the generator needs of a head: tissues, how deep each voxel lies in the brain, and its T1 without the scanner's bias."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform
from scipy import ndimage

TISSUES = ("csf", "ventricle", "grey", "white", "deep", "stem")  # codes 1, 2, ... of the tissue map
CSF, VENTRICLE, GREY, WHITE, DEEP, STEM = range(1, 7)
DLMUSE = {  # label values of DLMUSE (MUSE, Doshi et al. 2016)
    "csf": [1, 46],
    "ventricle": [4, 11, *range(49, 53)],
    "grey": [31, 32, 38, 39, 47, 48, *range(71, 74), *range(100, 208)],
    "white": list(range(81, 96)),
    "deep": [23, 30, 36, 37, *range(55, 61), 75, 76],
    "stem": [35, 40, 41, 61, 62, 69],
}
CLOSING_MM = 8.0  # sulci narrower than twice this belong to the brain mask
RIM_MM = 1.5  # from the labelled brain to the mask's border: the film of fluid that skull stripping leaves
MARGIN_MM = 10.0  # that is kept around the brain, for what skull stripping leaves by mistake
BIAS_MM = 18.0  # over which the scanner's sensitivity varies


def brain_depth(brain: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Depth in mm below the border of the brain mask, negative outside: labelled tissue, closed and a little dilated."""
    far = ndimage.distance_transform_edt(~brain, spacing)
    inner = ndimage.distance_transform_edt(far <= CLOSING_MM, spacing)
    mask = ndimage.binary_fill_holes((inner > CLOSING_MM) | (far <= RIM_MM))
    return (ndimage.distance_transform_edt(mask, spacing) - ndimage.distance_transform_edt(~mask, spacing)).astype(np.float32)


def flatten_bias(image: np.ndarray, tissue: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Divide a T1 by what varies slowly within its tissues, so that each has one brightness throughout."""
    sigma = [BIAS_MM / s for s in spacing]
    flat = np.maximum(image, 1e-3).astype(np.float32)
    for _ in range(2):
        ratio, weight = np.zeros_like(flat), np.zeros_like(flat)
        for code, trust in ((GREY, 0.3), (WHITE, 1.0), (DEEP, 1.0), (STEM, 1.0)):
            inside = tissue == code
            if inside.any():
                middle = np.median(flat[inside])
                near = inside & (np.abs(flat - middle) < 0.5 * middle)
                ratio[near], weight[near] = trust * np.log(flat[near] / middle), trust
        field = ndimage.gaussian_filter(ratio, sigma) / np.maximum(ndimage.gaussian_filter(weight, sigma), 1e-3)
        flat = flat / np.exp(field)
    return flat


class AnatomyMapsd(MapTransform):
    """Turn a T1 (1, H, W, D) and its label map into what tumours are grown in, cropped to the brain with a margin.

    "image" becomes (2, h, w, d), float32: the T1 as a tissue coordinate (0 fluid, 1 grey matter, 2 white matter, linear in
    between and beyond), and the depth in mm below the border of the brain mask. "label" becomes tissue codes 1 to 6 in the
    order of `TISSUES`, 0 outside the brain mask; what the mask holds without a label is fluid.

    Args:
        tissues: label values of each tissue, `{"grey": [...], "white": [...], ...}`; grey and white are needed, fluid is
            found between them if it has no label. "stem" is brain stem and cerebellar white matter, where no tumour begins.
            None are the values of DLMUSE.

    Raises:
        ValueError: an unknown tissue, or an image without grey or white matter or with T1 darker in white than in grey matter.
    """

    def __init__(self, tissues: Mapping[str, Sequence[int]] | None = None):
        super().__init__(["image", "label"])
        tissues = DLMUSE if tissues is None else tissues
        unknown = set(tissues) - set(TISSUES)
        if unknown or not {"grey", "white"} <= set(tissues):
            raise ValueError(f"tissues are {', '.join(tissues)}, expected grey, white and others of {', '.join(TISSUES)}")
        self.values = {TISSUES.index(name) + 1: list(values) for name, values in tissues.items()}

    def __call__(self, data):
        item = dict(data)
        image, labels = item["image"], item["label"]
        spacing = [float(s) for s in image.pixdim]
        path = labels.meta.get("filename_or_obj", "label")
        values, t1 = labels[0].numpy(), image[0].numpy()
        tissue = np.zeros(values.shape, np.uint8)
        for code, those in self.values.items():
            tissue[np.isin(values, those)] = code
        for code in (GREY, WHITE):
            if (tissue == code).sum() < 1000:
                raise ValueError(f"{path}: hardly any voxel is {TISSUES[code - 1]} matter by these tissues")
        depth = brain_depth(tissue > 0, spacing)
        tissue[(depth > 0) & (tissue == 0)] = CSF

        flat = flatten_bias(t1, tissue, spacing)
        grey, white = (float(np.median(flat[tissue == code])) for code in (GREY, WHITE))
        fluid = float(np.percentile(flat[np.isin(tissue, (CSF, VENTRICLE))], 10))
        if not fluid < grey < white:
            raise ValueError(
                f"{image.meta.get('filename_or_obj', 'image')}: expected a T1, fluid darker than grey and grey darker than "
                f"white matter, found {fluid:.4g}, {grey:.4g} and {white:.4g}"
            )
        coordinate = np.where(flat < grey, (flat - fluid) / (grey - fluid), 1 + (flat - grey) / (white - grey))
        maps = np.stack([coordinate.clip(-1, 4).astype(np.float32), depth])

        inside = np.argwhere(depth > -MARGIN_MM)
        box = tuple(slice(a, b + 1) for a, b in zip(inside.min(0), inside.max(0), strict=True))
        affine = torch.as_tensor(image.affine).clone()
        affine[:3, 3] += affine[:3, :3] @ torch.tensor([s.start for s in box], dtype=affine.dtype)
        meta = {**image.meta, "affine": affine}
        item["image"] = MetaTensor(torch.from_numpy(maps[(slice(None), *box)].copy()), meta=meta)
        item["label"] = MetaTensor(torch.from_numpy(tissue[box].copy())[None], meta=meta)
        return item
