"""Dictionary transforms that MONAI lacks."""

from ..tumours.anatomy import AnatomyMapsd
from .align import AlignHeadd, FixedHeadd, LoadLabeld, StackPaird, TakeSliced, read_atlas
from .contrast import RandGhostd, RandTissueContrastd
from .crop import RandShareCropd
from .degrade import Degraded, RandDegraded, RandStrippedd
from .film import Clahed, FitFilmd, LoadFilmd, ResampleFilmd, SquareFilmd
from .head import CropHeadd, HeadGridd, SmoothForSpacingd, SmoothMmd, head_box
from .load import LoadCased, check_image, check_same_grid
from .person import PersonToLabeld, SplitPersond
from .perturb import Perturbd
from .reconstruct import ScoreReconstructiond, ScoreVelocityd
from .regions import DecideRegionsd, DropSmallPiecesd, GroupLabelsd, LabelsToClassesd, LabelsToRegionsd, RegionsToLabelsd
from .register import MovePaird, ScorePaird
from .scale import ScaleHeadd, head_mask
from .sequences import RandDropSequencesd
from .series import LoadSeriesd, OrganMasksd, ScaleAbdomend
from .slice_vectors import RandSpreadSlicesd, RebuildSlicesd, ScoreSlicesd
from .slices import FilledSlicesd, RandSlicesd, SmoothSlicesd
from .superres import FinerGridd, ScorePatchd, ScoreSuperResolutiond
from .synthesis import RandContrastd, RandJpegd
from .tags import DecideFilmd, EncodeTagsd, TargetToLabeld, tag_count
from .tumours import RandTumourCased

__all__ = [
    "AlignHeadd",
    "AnatomyMapsd",
    "Clahed",
    "CropHeadd",
    "DecideFilmd",
    "DecideRegionsd",
    "Degraded",
    "DropSmallPiecesd",
    "EncodeTagsd",
    "FilledSlicesd",
    "FinerGridd",
    "FitFilmd",
    "FixedHeadd",
    "GroupLabelsd",
    "HeadGridd",
    "LabelsToClassesd",
    "LabelsToRegionsd",
    "LoadCased",
    "LoadFilmd",
    "LoadLabeld",
    "LoadSeriesd",
    "MovePaird",
    "OrganMasksd",
    "PersonToLabeld",
    "Perturbd",
    "RandContrastd",
    "RandDegraded",
    "RandDropSequencesd",
    "RandGhostd",
    "RandJpegd",
    "RandShareCropd",
    "RandSlicesd",
    "RandSpreadSlicesd",
    "RandStrippedd",
    "RandTissueContrastd",
    "RandTumourCased",
    "RebuildSlicesd",
    "RegionsToLabelsd",
    "ResampleFilmd",
    "ScaleAbdomend",
    "ScaleHeadd",
    "ScorePaird",
    "ScorePatchd",
    "ScoreReconstructiond",
    "ScoreSlicesd",
    "ScoreSuperResolutiond",
    "ScoreVelocityd",
    "SmoothForSpacingd",
    "SmoothMmd",
    "SmoothSlicesd",
    "SplitPersond",
    "SquareFilmd",
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
