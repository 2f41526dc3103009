"""Age, sex and view of a radiograph as numbers for a network; what is missing or odd is unknown, and said."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from monai.transforms import Transform

from ..person import parse_age, parse_sex

SEXES = ("F", "M")
logger = logging.getLogger(__name__)


def tag_count(age_groups: Sequence[float], views: Sequence[str]) -> int:
    """How many numbers `EncodeTagsd` makes."""
    return len(age_groups) + 1 + len(SEXES) + len(views) + 3


class EncodeTagsd(Transform):
    """Turn "age", "sex" and "view" of an item (text; absent, None or "" where unknown) into "tags", float32 (T,).

    One-hot groups, each with a last place for unknown: the age's group, the sex (F, M), the view. Text that means nothing
    (age 155, sex "O", view "LL") is unknown, too, and a warning names the file. "view" stays in the item as what was
    understood, "" where unknown; "age" and "sex" go.

    Args:
        age_groups: years at which the next group begins, `[20, 40, 60, 80]`.
        views: known views, `["AP", "PA"]`.
    """

    def __init__(self, age_groups: Sequence[float], views: Sequence[str]):
        self.age_groups, self.views = list(age_groups), [view.upper() for view in views]

    def __call__(self, data):
        item = dict(data)
        name = getattr(item.get("image"), "meta", {}).get("filename_or_obj", item.get("case"))
        age, sex, view = (self._text(item.pop(key, None)) for key in ("age", "sex", "view"))
        group = sex_number = None
        unknown = []
        try:
            group = sum(parse_age(age) >= start for start in self.age_groups)
        except ValueError as error:
            unknown.append(str(error) if age else "no age")
        try:
            sex_number = SEXES.index(parse_sex(sex))
        except ValueError as error:
            unknown.append(str(error) if sex else "no sex")
        known = view.upper() if view.upper() in self.views else ""
        if not known:
            unknown.append(f"view is '{view}', expected {' or '.join(self.views)}" if view else "no view")
        if unknown:
            logger.warning(f"{name}: {'; '.join(unknown)}: taken as unknown")
        item["view"] = known
        item["tags"] = torch.cat(
            [
                self._one_hot(group, len(self.age_groups) + 1),
                self._one_hot(sex_number, len(SEXES)),
                self._one_hot(self.views.index(known) if known else None, len(self.views)),
            ]
        )
        return item

    @staticmethod
    def _text(value) -> str:
        return "" if value is None else str(value).strip()

    @staticmethod
    def _one_hot(number: int | None, count: int) -> torch.Tensor:
        places = torch.zeros(count + 1)
        places[count if number is None else number] = 1
        return places


class TargetToLabeld(Transform):
    """The "target" of an item, 0 or 1, as "label", float32 (1,).

    Raises:
        ValueError: it is something else; the message names the case.
    """

    def __call__(self, data):
        item = dict(data)
        target = item.pop("target", None)
        if target not in (0, 1):
            raise ValueError(f"{item.get('case')}: target is {target!r}, expected 0 or 1")
        item["label"] = torch.tensor([float(target)])
        return item


class DecideFilmd(Transform):
    """Split a prediction into what metrics and tables name.

    From "pred" (1,), calibrated log odds: "prob" and, before calibration, "prob_raw", 0..1; "decision", 1 from the threshold
    on; "class", its name. Where the item has a "label", "target" (1,) is it.

    Args:
        network: an ImageTagNet, whose buffers hold temperature and threshold.
        classes: names of the two classes.
    """

    def __init__(self, network: torch.nn.Module, classes: Sequence[str]):
        self.network, self.classes = network, list(classes)

    def __call__(self, data):
        item = dict(data)
        pred = item["pred"].float().cpu()
        item["prob"] = torch.sigmoid(pred)
        item["prob_raw"] = torch.sigmoid(pred * self.network.temperature.cpu())
        item["decision"] = (item["prob"] >= self.network.threshold.cpu()).float()
        item["class"] = self.classes[int(item["decision"])]
        if item.get("label") is not None:  # during inference an engine adds an empty one
            item["target"] = item["label"]
        return item
