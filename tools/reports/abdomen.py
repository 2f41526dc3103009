"""What a training on anatomies of random contrast sees: slices drawn as chaos_liver2d's synthetic.yaml draws them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from monai.bundle import ConfigParser
from monai.utils import set_determinism

from shared.montage import grid, outline, tile

from .. import bundles, page

COLUMNS = 8
CAPTION = (
    "Slices as the network sees them in training, with the outlines of liver (yellow), right kidney (blue), left kidney (red) "
    "and spleen (green). Every anatomy is drawn from as often as the others; contrast, texture, blur, ghosts, noise and bias "
    "field are drawn anew each time."
)


def build(root: Path, examples: int, workers: int) -> str:
    """The page about the anatomies below `root`, with `examples` rows of slices, as HTML."""
    slices = training_slices(root, COLUMNS * examples)
    picture = slice_picture(slices)
    figure = Figure(figsize=(picture.shape[1] / 100, picture.shape[0] / 100), facecolor="black")
    figure.add_axes((0, 0, 1, 1)).imshow(picture)
    figure.axes[0].set_axis_off()
    filled = np.mean([bool(item["label"].any()) for item in slices])
    text = f"{len(slices)} slices of {len(list(root.glob('*.nii.gz')))} files; {100 * filled:.0f} % show an organ."
    sections = {"": [page.paragraph(text)], "Training slices": [page.picture(figure, CAPTION)]}
    return page.page(f"Anatomies: {root.name}", sections)


def training_slices(root: Path, number: int, seed: int = 0) -> list[dict]:
    """So many items of the training, "image" (1, H, W) and "label" (4, H, W), of anatomies at even steps of their list."""
    configs = bundles.folder("chaos_liver2d") / "configs"
    parser = ConfigParser(ConfigParser.load_config_files([str(configs / f"{name}.yaml") for name in ("train", "synthetic")]))
    parser.update({"anatomy_dir": str(root), "cache": "none", "slices_per_volume": 1})
    set_determinism(seed)
    try:
        dataset = parser.get_parsed_content("train::dataset")
        dataset.transform.set_random_state(seed)
        places = np.linspace(0, len(dataset) - 1, number).round().astype(int)
        return [dataset[int(place)][0] for place in places]
    finally:
        set_determinism(None)


def slice_picture(slices: list[dict]) -> np.ndarray:
    """Slices with outlines in rows, uint8 (rows, columns, 3)."""
    tiles = []
    for item in slices:
        grey = tile(np.asarray(item["image"][0]), 0, 1.1, size=160)
        tiles.append(outline(grey, {n: np.asarray(mask) > 0.5 for n, mask in enumerate(item["label"])}))
    return grid(tiles, COLUMNS)
