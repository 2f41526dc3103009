"""Dictionary transforms that MONAI lacks."""

from .align import AlignHeadd, FixedHeadd, LoadLabeld, StackPaird, TakeSliced, read_atlas
from .crop import RandShareCropd
from .head import CropHeadd, SmoothForSpacingd, head_box
from .load import LoadCased, check_image, check_same_grid
from .person import PersonToLabeld, SplitPersond
from .regions import GroupLabelsd, LabelsToRegionsd, RegionsToLabelsd
from .register import MovePaird, ScorePaird
from .synthesis import RandContrastd

__all__ = [
    "AlignHeadd",
    "CropHeadd",
    "FixedHeadd",
    "GroupLabelsd",
    "LabelsToRegionsd",
    "LoadCased",
    "LoadLabeld",
    "MovePaird",
    "PersonToLabeld",
    "RandContrastd",
    "RandShareCropd",
    "RegionsToLabelsd",
    "ScorePaird",
    "SmoothForSpacingd",
    "SplitPersond",
    "StackPaird",
    "TakeSliced",
    "check_image",
    "check_same_grid",
    "head_box",
    "read_atlas",
]
