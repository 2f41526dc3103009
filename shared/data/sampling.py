"""What is to be sampled: prompts times seeds."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import ignite.distributed as idist
import torch
from monai.transforms import Transform

from ..errors import InputError
from ..handlers.case_table import read_rows
from ..handlers.weights import sha256
from .prompts import read_prompts

TABLE = "samples.csv"


def prompt_cases(
    prompt: str,
    prompts: str | os.PathLike | None,
    number: int,
    seed: int,
    settings: Mapping,
    weights: Sequence[str | os.PathLike],
    output_dir: str | os.PathLike,
    overwrite: bool = False,
) -> list[dict]:
    """The films to sample, without those that are finished: with a row in samples.csv that says the same, and a PNG.

    Args:
        prompt, prompts: see `read_prompts`.
        number: of films for every prompt.
        seed: of a prompt's first film; the others have those that follow.
        settings: guidance, steps and scheduler, which become entries of every case.
        weights: files whose SHA-256 (its first 16 digits) becomes the entry "weights".
        output_dir: where samples.csv lies.
        overwrite: sample all of them again.

    Returns:
        one dict a film: "case" (words of the prompt, and the seed), "prompt", "seed", the settings, "weights".

    Raises:
        InputError: see `read_prompts`; or the number is below 1.
    """
    if number < 1:
        raise InputError(f"number is {number}, expected 1 or more")
    digests = ["absent" if not Path(path).is_file() else sha256(path)[:16] for path in weights]
    common = {**{key: str(value) for key, value in settings.items()}, "weights": " ".join(digests)}
    rows = {} if overwrite else read_rows(Path(output_dir) / TABLE)
    cases: list[dict] = []
    names: dict[str, str] = {}
    for text in dict.fromkeys(read_prompts(prompt, prompts)):
        words = "_".join(re.findall(r"[a-z0-9]+", text.lower()))[:40].strip("_") or "empty"
        while names.setdefault(words, text) != text:  # another prompt that begins alike
            words += "_"
        for own in range(seed, seed + number):
            cases.append({"case": f"{words}_seed{own}", "prompt": text, "seed": own, **common})
    told = ("prompt", *common)
    todo = [
        item
        for item in cases
        if any(rows.get(item["case"], {}).get(key) != item[key] for key in told)
        or not (Path(output_dir) / f"{item['case']}.png").is_file()
    ]
    if len(todo) < len(cases):
        done = f"{len(cases) - len(todo)} of {len(cases)} films are finished in {output_dir}"
        logging.getLogger(__name__).info(f"{done}; --overwrite true samples them again")
    return todo


class DrawNoised(Transform):
    """Noise and tokens for an item of `prompt_cases`: "image" (C, h, w), which depends on the seed alone, and "tokens" (T,).

    Args:
        tokenize: a text to tokens.
        shape: of the noise.

    Raises:
        ValueError: the prompt is too long.
    """

    def __init__(self, tokenize: Callable, shape: Sequence[int]):
        self.tokenize, self.shape = tokenize, tuple(shape)
        self.told: set[str] = set()  # prompts whose unknown words were warned of

    def __call__(self, data):
        item = dict(data)
        item["tokens"] = self.tokenize(item["prompt"], warn=item["prompt"] not in self.told)
        self.told.add(item["prompt"])
        item["image"] = torch.randn(self.shape, generator=torch.Generator().manual_seed(item["seed"]))
        return item


class PromptBatches:
    """Batches of the films of one prompt, as a `batch_sampler`; of several processes each has its share.

    Args:
        cases: of `prompt_cases`.
        size: films a batch at most.
    """

    def __init__(self, cases: Sequence[Mapping], size: int):
        idist.barrier()  # none may finish a film before all have listed what is unfinished
        groups: dict[str, list[int]] = {}
        for index, item in enumerate(cases):
            groups.setdefault(item.get("prompt", ""), []).append(index)
        batches = [group[i : i + size] for group in groups.values() for i in range(0, len(group), size)]
        self.batches = batches[idist.get_rank() :: idist.get_world_size()]

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)
