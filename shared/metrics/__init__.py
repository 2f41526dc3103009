"""Metrics that MONAI lacks or that need units."""

from .surface import HausdorffDistanceMM

__all__ = ["HausdorffDistanceMM"]
