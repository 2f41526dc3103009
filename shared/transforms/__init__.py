"""Dictionary transforms that MONAI lacks."""

from .align import AlignHeadd, FixedHeadd, LoadLabeld, StackPaird, TakeSliced, read_atlas
from .crop import RandShareCropd
from .degrade import Degraded, RandDegraded
from .head import CropHeadd, SmoothForSpacingd, head_box
from .load import LoadCased, check_image, check_same_grid
from .person import PersonToLabeld, SplitPersond
from .regions import GroupLabelsd, LabelsToRegionsd, RegionsToLabelsd
from .register import MovePaird, ScorePaird
from .scale import ScaleHeadd, head_mask
from .superres import FinerGridd, ScorePatchd, ScoreSuperResolutiond
from .synthesis import RandContrastd

__all__ = [
    "AlignHeadd",
    "CropHeadd",
    "Degraded",
    "FinerGridd",
    "FixedHeadd",
    "GroupLabelsd",
    "LabelsToRegionsd",
    "LoadCased",
    "LoadLabeld",
    "MovePaird",
    "PersonToLabeld",
    "RandContrastd",
    "RandDegraded",
    "RandShareCropd",
    "RegionsToLabelsd",
    "ScorePaird",
    "ScaleHeadd",
    "ScorePatchd",
    "ScoreSuperResolutiond",
    "SmoothForSpacingd",
    "SplitPersond",
    "StackPaird",
    "TakeSliced",
    "check_image",
    "check_same_grid",
    "head_box",
    "head_mask",
    "read_atlas",
]
