"""Temperature and threshold of a classifier, chosen on the validation section and kept with its weights."""

from __future__ import annotations

import logging

import numpy as np
import torch
from ignite.engine import Engine, Events
from scipy.optimize import minimize_scalar

from ..distributed import everyones

LEAST = 10  # cases of each class from which on the two are fitted
logger = logging.getLogger(__name__)


def fit_temperature(log_odds: np.ndarray, truth: np.ndarray) -> float:
    """What log odds (N,) are divided by so that truth (N,), 0 or 1, is most likely: 0.05 to 20 (Guo et al. 2017)."""

    def loss(log_temperature: float) -> float:
        return float(np.logaddexp(0, -(2 * truth - 1) * log_odds / np.exp(log_temperature)).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded").x))


def youden_threshold(prob: np.ndarray, truth: np.ndarray) -> float:
    """The probability with the largest sum of sensitivity and specificity for prob (N,) and truth (N,), 0 or 1.

    It lies halfway between two of the probabilities; of several equally good ones it is the one nearest to 0.5.
    """
    values = np.unique(prob)
    cuts = np.concatenate([[values[0]], (values[1:] + values[:-1]) / 2])
    positive, negative = np.sort(prob[truth > 0.5]), np.sort(prob[truth <= 0.5])
    sensitivity = 1 - np.searchsorted(positive, cuts) / len(positive)
    specificity = np.searchsorted(negative, cuts) / len(negative)
    best = cuts[np.isclose(sensitivity + specificity, (sensitivity + specificity).max())]
    return float(best[np.abs(best - 0.5).argmin()])


class Calibration:
    """Set the buffers `temperature` and `threshold` of a network at the end of every validation.

    Attach it to the evaluator, whose outputs need "prob_raw" and "target" (shared.transforms.DecideFilmd). With fewer than
    ten cases of a class both stay as they are, and the log says so.

    Args:
        network: with these buffers, such as an ImageTagNet.
    """

    def __init__(self, network: torch.nn.Module):
        self.network = network
        self.pairs: list[tuple[float, float]] = []

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, lambda _: self.pairs.clear())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.fit)

    def collect(self, engine: Engine) -> None:
        """Note the probabilities of a batch."""
        self.pairs += [(float(output["prob_raw"]), float(output["target"])) for output in engine.state.output]

    def fit(self, engine: Engine) -> None:
        """Fit both to what all processes have noted."""
        prob, truth = np.array(everyones(self.pairs)).T
        positive = int(truth.sum())
        if min(positive, len(truth) - positive) < LEAST:
            logger.info(f"not calibrated: {positive} of {len(truth)} cases are positive, expected {LEAST} of each class")
            return
        prob = prob.clip(1e-6, 1 - 1e-6)
        log_odds = np.log(prob / (1 - prob))
        temperature = fit_temperature(log_odds, truth)
        threshold = youden_threshold(1 / (1 + np.exp(-log_odds / temperature)), truth)
        self.network.temperature.fill_(temperature)
        self.network.threshold.fill_(threshold)
        logger.info(f"calibrated on {len(truth)} cases: temperature {temperature:.3f}, threshold {threshold:.3f}")
