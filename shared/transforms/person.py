"""What is known of a person, and what a network says of them, as tensors and as columns of a table."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from monai.transforms import Transform


class PersonToLabeld(Transform):
    """Age and sex of an item as "label", float32 (2,): years, and the number of the sex; NaN where unknown.

    Args:
        sexes: numbers of the sexes, `{"F": 0, "M": 1}`.

    Raises:
        ValueError: the age is no number, or the sex is another word; the message names the case.
    """

    def __init__(self, sexes: Mapping[str, int]):
        self.sexes = dict(sexes)

    def __call__(self, data):
        item = dict(data)
        age, sex = item.pop("age", None), item.pop("sex", None)  # None cannot be put into a batch
        if age is not None and (isinstance(age, bool) or not isinstance(age, int | float)):
            raise ValueError(f"{item.get('case')}: age is {age!r}, expected a number of years")
        if sex is not None and sex not in self.sexes:
            raise ValueError(f"{item.get('case')}: sex is {sex!r}, expected {' or '.join(self.sexes)}")
        number = math.nan if sex is None else float(self.sexes[sex])
        item["label"] = torch.tensor([math.nan if age is None else float(age), number])
        return item


class SplitPersond(Transform):
    """Split a prediction into what metrics and tables name: "age_pred" in years and "male_prob", 0..1, each (1,).

    Where the item has a "label" (2,), "age" and "male" come from it. With `interval`, also "age_low" and "age_high".

    Args:
        interval: half width in years of the interval in which the true age is expected.
    """

    def __init__(self, interval: float | None = None):
        self.interval = interval

    def __call__(self, data):
        item = dict(data)
        item["age_pred"], item["male_prob"] = item["pred"][:1].float(), torch.sigmoid(item["pred"][1:2].float())
        if self.interval is not None:
            item["age_low"] = (item["age_pred"] - self.interval).clamp_min(0)
            item["age_high"] = item["age_pred"] + self.interval
        if item.get("label") is not None:  # during inference an engine adds an empty one
            item["age"], item["male"] = item["label"][:1], item["label"][1:2]
        return item
