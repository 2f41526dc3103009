"""Finding cases on disk, datalists, datasets, and files written whole or not at all."""

from .cases import find_cases, image_files, unfinished
from .datalist import read_datalist
from .datasets import CaseDataset, cached_dataset
from .writers import AtomicNibabelWriter, case_name

__all__ = [
    "AtomicNibabelWriter",
    "CaseDataset",
    "cached_dataset",
    "case_name",
    "find_cases",
    "image_files",
    "read_datalist",
    "unfinished",
]
