"""Age and sex of people by linear models of whatever is measured in their heads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shared.fitting import log_odds, ridge


def predict_people(x: np.ndarray, people: Sequence[dict], test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit ridge regressions of age and sex on people, the penalties chosen by leaving people out, and apply them to others.

    Args:
        x: what is measured in people's heads (N, P).
        people: items with "subject", "age" (years) and "sex" ("F" or "M").
        test: the same of others (M, P).

    Returns:
        predicted age in years and probability of being male, (M,) each.
    """
    names = [item["subject"] for item in people]
    weights, offset, _ = ridge(x, np.array([item["age"] for item in people]), names)
    male = np.array([item["sex"] == "M" for item in people], dtype=float)
    direction, start, left_out = ridge(x, 2 * male - 1, names)
    slope, shift = log_odds(left_out, male)
    return test @ weights + offset, 1 / (1 + np.exp(-(slope * (test @ direction + start) + shift)))
