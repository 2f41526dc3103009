"""Metrics that MONAI lacks or that need units."""

from .cohort import STATISTICS, CohortMetric, statistic
from .generation import frechet_distance, nearest, pairwise_similarity
from .mean import CaseMean
from .surface import HausdorffDistanceMM, RelativeVolumeDifference, SurfaceDistanceMM
from .volume import VolumeDifference

__all__ = [
    "CaseMean",
    "CohortMetric",
    "HausdorffDistanceMM",
    "RelativeVolumeDifference",
    "STATISTICS",
    "SurfaceDistanceMM",
    "VolumeDifference",
    "frechet_distance",
    "nearest",
    "pairwise_similarity",
    "statistic",
]
