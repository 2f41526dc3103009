"""Metrics that MONAI lacks or that need units."""

from .cohort import STATISTICS, CohortMetric, statistic
from .mean import CaseMean
from .surface import HausdorffDistanceMM

__all__ = [
    "STATISTICS",
    "CaseMean",
    "CohortMetric",
    "HausdorffDistanceMM",
    "statistic",
]
