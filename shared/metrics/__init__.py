"""Metrics that MONAI lacks or that need units."""

from .cohort import STATISTICS, CohortMetric, statistic
from .mean import CaseMean
from .surface import HausdorffDistanceMM
from .volume import VolumeDifference

__all__ = [
    "STATISTICS",
    "CaseMean",
    "CohortMetric",
    "HausdorffDistanceMM",
    "VolumeDifference",
    "statistic",
]
