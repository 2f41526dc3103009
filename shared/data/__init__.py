"""Finding cases on disk, datalists, datasets, and files written whole or not at all."""

from .cases import find_cases, find_images, image_files, unfinished
from .datalist import read_datalist
from .datasets import CaseDataset, cached_dataset
from .films import find_films, negatives_per_positive
from .latents import LatentFilms
from .pairs import PairDataset, find_pairs, image_as_target
from .prompts import DrawPrompt, read_prompts
from .sampling import DrawNoised, PromptBatches, prompt_cases
from .series import find_series
from .writers import AtomicNibabelWriter, case_name

__all__ = [
    "AtomicNibabelWriter",
    "CaseDataset",
    "DrawNoised",
    "DrawPrompt",
    "LatentFilms",
    "PairDataset",
    "PromptBatches",
    "cached_dataset",
    "case_name",
    "find_cases",
    "find_films",
    "find_images",
    "find_pairs",
    "find_series",
    "image_as_target",
    "image_files",
    "negatives_per_positive",
    "prompt_cases",
    "read_datalist",
    "read_prompts",
    "unfinished",
]
