"""Dictionary transforms that MONAI lacks."""

from .align import AlignHeadd, FixedHeadd, LoadLabeld, StackPaird, TakeSliced, read_atlas
from .crop import RandShareCropd
from .degrade import Degraded, RandDegraded
from .film import Clahed, FitFilmd, LoadFilmd, ResampleFilmd
from .head import CropHeadd, SmoothForSpacingd, head_box
from .load import LoadCased, check_image, check_same_grid
from .person import PersonToLabeld, SplitPersond
from .regions import GroupLabelsd, LabelsToClassesd, LabelsToRegionsd, RegionsToLabelsd
from .register import MovePaird, ScorePaird
from .scale import ScaleHeadd, head_mask
from .sequences import RandDropSequencesd
from .slice_vectors import RandSpreadSlicesd, RebuildSlicesd, ScoreSlicesd
from .superres import FinerGridd, ScorePatchd, ScoreSuperResolutiond
from .synthesis import RandContrastd, RandJpegd
from .tags import DecideFilmd, EncodeTagsd, TargetToLabeld, tag_count

__all__ = [
    "AlignHeadd",
    "Clahed",
    "CropHeadd",
    "DecideFilmd",
    "Degraded",
    "EncodeTagsd",
    "FinerGridd",
    "FitFilmd",
    "FixedHeadd",
    "GroupLabelsd",
    "LabelsToClassesd",
    "LabelsToRegionsd",
    "LoadCased",
    "LoadFilmd",
    "LoadLabeld",
    "MovePaird",
    "PersonToLabeld",
    "RandContrastd",
    "RandDegraded",
    "RandDropSequencesd",
    "RandJpegd",
    "RandShareCropd",
    "RandSpreadSlicesd",
    "RebuildSlicesd",
    "RegionsToLabelsd",
    "ResampleFilmd",
    "ScaleHeadd",
    "ScorePaird",
    "ScorePatchd",
    "ScoreSlicesd",
    "ScoreSuperResolutiond",
    "SmoothForSpacingd",
    "SplitPersond",
    "StackPaird",
    "TakeSliced",
    "TargetToLabeld",
    "check_image",
    "check_same_grid",
    "head_box",
    "head_mask",
    "read_atlas",
    "tag_count",
]
