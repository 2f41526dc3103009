"""Films as latents of an autoencoder, encoded once and kept in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from monai.data import Dataset
from monai.data.utils import set_rnd
from monai.transforms import Randomizable
from tqdm import tqdm


class LatentFilms(Randomizable, Dataset):
    """Latents of several views of every film, with a prompt drawn anew each time.

    `encode` must have run. An item is "case", "image": latents (C, h, w) drawn from the autoencoder's distribution, times
    `scale`; "tokens" (T,).

    Args:
        data: items of films with what `prompt` needs.
        transform: makes of them "image" (1, H, W); where it is random, the views of a film differ.
        views: of every film.
        prompt: from an item and a random state to tokens.
    """

    def __init__(self, data: Sequence[dict], transform: Callable, prompt: Callable, views: int = 1):
        super().__init__(data, transform)
        self.views, self.prompt = views, prompt
        self.scale = 1.0
        self.mean = self.deviation = torch.zeros(0)

    def set_random_state(self, seed: int | None = None, state=None) -> LatentFilms:
        """Seed the draw of prompts; the views are seeded by `encode`."""
        super().set_random_state(seed, state)
        return self

    @torch.no_grad()
    def encode(self, autoencoder: torch.nn.Module, device: torch.device | str, seed: int = 0) -> None:
        """Encode all views; the same seed gives the same ones. Shows a progress bar.

        Args:
            autoencoder: an AutoencoderKL.
            device: where it works; the latents stay in the computer's memory.
            seed: of the random part of `transform`.
        """
        set_rnd(self.transform, seed)
        found: list[list[torch.Tensor]] = [[], []]
        for item in tqdm(self.data, desc="encode", unit="film"):
            views = torch.stack([torch.as_tensor(self.transform(dict(item))["image"]) for _ in range(self.views)])
            for kept, part in zip(found, autoencoder.encode(views.to(device)), strict=True):
                kept += part.float().cpu()
        self.mean, self.deviation = (torch.stack(part) for part in found)

    def __len__(self) -> int:
        return len(self.data) * self.views

    def __getitem__(self, index: int) -> dict:
        item = self.data[index // self.views]
        mean, deviation = self.mean[index], self.deviation[index]
        latents = (mean + deviation * torch.randn_like(mean)) * self.scale
        return {"case": item["case"], "image": latents, "tokens": self.prompt(item, self.R)}
