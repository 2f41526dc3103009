"""Scores of a whole group of people, where no case has a score of its own: errors, correlation, AUC."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from monai.metrics import CumulativeIterationMetric, compute_average_precision, compute_roc_auc


def mae(truth: np.ndarray, pred: np.ndarray) -> float:
    """Mean absolute error."""
    return float(np.abs(pred - truth).mean())


def p90(truth: np.ndarray, pred: np.ndarray) -> float:
    """The absolute error that nine of ten cases do not exceed."""
    return float(np.percentile(np.abs(pred - truth), 90))


def rmse(truth: np.ndarray, pred: np.ndarray) -> float:
    """Root mean squared error."""
    return float(np.sqrt(((pred - truth) ** 2).mean()))


def pearson_r(truth: np.ndarray, pred: np.ndarray) -> float:
    """Pearson's correlation; NaN where one of the two does not vary."""
    if len(truth) < 2 or truth.std() == 0 or pred.std() == 0:
        return float("nan")
    return float(np.corrcoef(truth, pred)[0, 1])


def bias(truth: np.ndarray, pred: np.ndarray) -> float:
    """Mean error: above 0 where predictions are too large."""
    return float((pred - truth).mean())


def bias_slope(truth: np.ndarray, pred: np.ndarray) -> float:
    """Slope of the error against the truth: -0.2 means that each ten years more are predicted as eight."""
    if len(truth) < 2 or truth.std() == 0:
        return float("nan")
    return float(np.polyfit(truth, pred - truth, 1)[0])


def accuracy(truth: np.ndarray, pred: np.ndarray) -> float:
    """Share of predicted probabilities on the right side of 0.5, for truth 0 or 1."""
    return float(((pred > 0.5) == (truth > 0.5)).mean())


def auc(truth: np.ndarray, pred: np.ndarray) -> float:
    """Area under the ROC curve, for truth 0 or 1; NaN where only one of them occurs."""
    if truth.min() == truth.max():
        return float("nan")
    return float(compute_roc_auc(torch.from_numpy(pred.copy()), torch.from_numpy(truth.copy())))


def auprc(truth: np.ndarray, pred: np.ndarray) -> float:
    """Area under the precision-recall curve as average precision, for truth 0 or 1; NaN where only one of them occurs."""
    if truth.min() == truth.max():
        return float("nan")
    return float(compute_average_precision(torch.from_numpy(pred.copy()), torch.from_numpy(truth.copy())))


def sensitivity(truth: np.ndarray, pred: np.ndarray) -> float:
    """Share of those with truth 1 whose decision (0 or 1) is 1; NaN where there is none."""
    return float((pred[truth > 0.5] > 0.5).mean()) if (truth > 0.5).any() else float("nan")


def specificity(truth: np.ndarray, pred: np.ndarray) -> float:
    """Share of those with truth 0 whose decision (0 or 1) is 0; NaN where there is none."""
    return float((pred[truth <= 0.5] <= 0.5).mean()) if (truth <= 0.5).any() else float("nan")


def ece(truth: np.ndarray, pred: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error of probabilities, for truth 0 or 1, with bins of equal width (Guo et al. 2017)."""
    place = np.minimum((pred * bins).astype(int), bins - 1)
    gaps = np.bincount(place, weights=pred - truth, minlength=bins)
    return float(np.abs(gaps).sum() / len(truth))


def matched_auc(truth: np.ndarray, pred: np.ndarray, by: np.ndarray, ratio: float = 1.1) -> float:
    """AUC over those pairs of a case with truth 1 and one with truth 0 whose `by`, a third number above 0, is about the same.

    It tells what is left of an AUC when `by` (a file's size) separates the classes and might be all that was learned.

    Args:
        truth: 0 or 1 (N,).
        pred: predictions (N,).
        by: what cases are matched by (N,).
        ratio: by which it may differ within a pair.

    Returns:
        the share of the pairs in which the case with truth 1 has the larger prediction, ties counting half; NaN without pairs.
    """
    sick, well = truth > 0.5, truth <= 0.5
    alike = np.abs(np.log(by[sick][:, None] / by[well][None])) <= np.log(ratio)
    gap = pred[sick][:, None] - pred[well][None]
    return float(((gap > 0) + 0.5 * (gap == 0))[alike].mean()) if alike.any() else float("nan")


OF_ERRORS = (mae, p90, rmse, pearson_r, bias, bias_slope)
OF_CLASSES = (accuracy, auc, auprc, sensitivity, specificity, ece, matched_auc)
STATISTICS: dict[str, Callable[..., float]] = {f.__name__: f for f in (*OF_ERRORS, *OF_CLASSES)}


def statistic(name: str, truth: np.ndarray, pred: np.ndarray, *more: np.ndarray) -> float:
    """A statistic of two vectors, or of as many as it takes; cases with NaN (an unknown age or sex) are left out.

    NaN where none is left.

    Raises:
        ValueError: there is no such statistic.
    """
    if name not in STATISTICS:
        raise ValueError(f"statistic is '{name}', expected one of {', '.join(STATISTICS)}")
    vectors = np.stack([truth, pred, *more]).astype(float)
    known = np.isfinite(vectors).all(0)
    return STATISTICS[name](*vectors[:, known]) if known.any() else float("nan")


class CohortMetric(CumulativeIterationMetric):
    """A statistic of all predictions of an epoch, of all processes: one of STATISTICS (mae, auc, ...).

    Predictions and truth are (B, 1) or lists of (1,); unknown truth is NaN.
    """

    def __init__(self, statistic: str):
        super().__init__()
        if statistic not in STATISTICS:
            raise ValueError(f"statistic is '{statistic}', expected one of {', '.join(STATISTICS)}")
        self.statistic = statistic

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor, **kwargs):
        return torch.cat([y.reshape(-1, 1).float(), y_pred.reshape(-1, 1).float()], 1)

    def aggregate(self) -> float:
        truth, pred = self.get_buffer().numpy(force=True).T
        return statistic(self.statistic, truth, pred)
