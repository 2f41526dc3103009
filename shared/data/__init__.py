"""Finding cases on disk, datalists, datasets, and files written whole or not at all."""

from .cases import find_cases, find_images, image_files, unfinished
from .datalist import read_datalist
from .datasets import CaseDataset, cached_dataset
from .films import find_films, negatives_per_positive
from .pairs import PairDataset, find_pairs
from .series import find_series
from .writers import AtomicNibabelWriter, case_name

__all__ = [
    "AtomicNibabelWriter",
    "CaseDataset",
    "PairDataset",
    "cached_dataset",
    "case_name",
    "find_cases",
    "find_films",
    "find_images",
    "find_pairs",
    "find_series",
    "image_files",
    "negatives_per_positive",
    "read_datalist",
    "unfinished",
]
