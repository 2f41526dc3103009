"""Ages and sexes as tables and DICOM tags write them."""

from __future__ import annotations

import math
import re

PER_YEAR = {"y": 1, "m": 12, "w": 52.1775, "d": 365.25}
SEXES = {"m": "M", "male": "M", "1": "M", "f": "F", "female": "F", "2": "F"}
OLDEST = 120  # years


def parse_age(text: str) -> float:
    """Years from "35.8", "35,8", "35 years", or as DICOM writes ages: "035Y", "018M", "020W", "100D".

    Raises:
        ValueError: it is no number, or not between 0 and 120.
    """
    key = text.strip().casefold()
    match = re.fullmatch(r"(\d{3})([ymwd])", key)
    match = match or re.fullmatch(r"([-+]?\d+(?:[.,]\d*)?(?:e[-+]?\d+)?)\s*(?:y|yrs?|years?)?", key)
    if match is None:
        raise ValueError(f"age is '{text}', expected a number of years")
    age = float(match[1].replace(",", "."))
    if match.re.groups == 2:
        age /= PER_YEAR[match[2]]
    if not (math.isfinite(age) and 0 <= age <= OLDEST):
        raise ValueError(f"age is {text}, expected 0 to {OLDEST} years")
    return age


def parse_sex(text: str) -> str:
    """ "M" or "F" from m, f, male, female in any case, or 1 (male) and 2 (female) as in IXI.

    Raises:
        ValueError: anything else.
    """
    key = text.strip().casefold().removesuffix(".0")
    if key not in SEXES:
        raise ValueError(f"sex is '{text}', expected M, F, male, female, 1 (male) or 2 (female)")
    return SEXES[key]
