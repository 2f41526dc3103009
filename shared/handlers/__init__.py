"""Handlers that training, evaluation and inference of every bundle attach by name."""

from .case_table import CaseTable, RegionVolumes
from .checkpoints import Checkpoints
from .early_stopping import EarlyStopping
from .pictures import CasePictures, TensorBoardPanels
from .seeding import EpochSeed
from .weights import FineTune, WeightsLoader

__all__ = [
    "CasePictures",
    "CaseTable",
    "Checkpoints",
    "EarlyStopping",
    "EpochSeed",
    "FineTune",
    "RegionVolumes",
    "TensorBoardPanels",
    "WeightsLoader",
]
