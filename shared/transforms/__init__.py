"""Dictionary transforms that MONAI lacks."""

from .crop import RandShareCropd
from .load import LoadCased, check_image, check_same_grid
from .regions import LabelsToRegionsd, RegionsToLabelsd

__all__ = ["LabelsToRegionsd", "LoadCased", "RandShareCropd", "RegionsToLabelsd", "check_image", "check_same_grid"]
