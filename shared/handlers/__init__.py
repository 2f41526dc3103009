"""Handlers that training, evaluation and inference of every bundle attach by name."""

from .atlas import AtlasFiles
from .calibration import Calibration
from .cam import CamPictures
from .case_table import CaseTable, RegionVolumes
from .checkpoints import Checkpoints
from .class_scores import ClassScores
from .curves import TrainingCurves
from .dicom_seg import DicomSegmentations
from .early_stopping import EarlyStopping
from .latents import EncodeFilms
from .montages import SliceMontages, SlicePanels
from .pictures import CasePictures, TensorBoardPanels
from .registration import MeasuredTable, RegistrationFiles, RegistrationPictures
from .saliency import SaliencyMaps
from .samples import ReconstructionPictures, SampleFiles
from .scatter import AgeScatter, age_figure
from .seeding import EpochSeed
from .slices import LatentFiles, SlicesPictures
from .superres import SuperResolutionPictures
from .weights import FineTune, WeightsLoader

__all__ = [
    "AgeScatter",
    "AtlasFiles",
    "Calibration",
    "CamPictures",
    "CasePictures",
    "CaseTable",
    "Checkpoints",
    "ClassScores",
    "DicomSegmentations",
    "EarlyStopping",
    "EncodeFilms",
    "EpochSeed",
    "FineTune",
    "LatentFiles",
    "MeasuredTable",
    "ReconstructionPictures",
    "RegionVolumes",
    "RegistrationFiles",
    "RegistrationPictures",
    "SaliencyMaps",
    "SampleFiles",
    "SliceMontages",
    "SlicePanels",
    "SlicesPictures",
    "SuperResolutionPictures",
    "TensorBoardPanels",
    "TrainingCurves",
    "WeightsLoader",
    "age_figure",
]
