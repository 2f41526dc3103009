"""Deal out cases by subject, so that nobody is in two sections of a split."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Hashable, Sequence


def shuffle_subjects(cases: Sequence[dict], seed: int, strata: Sequence[Hashable] | None = None) -> list[str]:
    """The subjects in an order drawn with `seed`.

    With `strata`, a group for every case, the groups are spread evenly along the order: any stretch of it holds of each its
    share, give or take one. A subject is in the group of its first case.
    """
    rng = random.Random(seed)
    subjects = sorted({item["subject"] for item in cases})
    rng.shuffle(subjects)
    if strata is None:
        return subjects
    group = {}
    for item, stratum in zip(cases, strata, strict=True):
        group.setdefault(item["subject"], stratum)
    members = defaultdict(list)
    for subject in subjects:
        members[group[subject]].append(subject)
    place = {}
    for stratum in sorted(members, key=repr):
        start = rng.random()  # without it a group of one would always come first
        place |= {subject: (i + start) / len(members[stratum]) for i, subject in enumerate(members[stratum])}
    return sorted(subjects, key=place.__getitem__)


def deal(cases: Sequence[dict], subjects: Sequence[str], testing: int, validation: int) -> dict[str, list[dict]]:
    """Give the first subjects to testing, the next to validation, the rest to training; each with all its cases."""
    parts = {
        "training": set(subjects[testing + validation :]),
        "validation": set(subjects[testing : testing + validation]),
        "testing": set(subjects[:testing]),
    }
    return {name: [item for item in cases if item["subject"] in part] for name, part in parts.items()}


def share_of(number: int, share: float) -> int:
    """How many of `number` subjects a share means: at least one unless it is 0."""
    return max(1, round(share * number)) if share else 0


def split_by_subject(
    cases: Sequence[dict], seed: int, validation: float, testing: float, strata: Sequence[Hashable] | None = None
) -> dict[str, list[dict]]:
    """Deal cases into training, validation and testing, which get these shares of the subjects.

    Each share above 0 gets at least one subject, training the rest.

    Raises:
        ValueError: nobody is left to train on.
    """
    subjects = shuffle_subjects(cases, seed, strata)
    test, validate = (share_of(len(subjects), share) for share in (testing, validation))
    if len(subjects) <= test + validate:
        raise ValueError(f"{len(subjects)} subjects are too few for testing {testing} and validation {validation}")
    return deal(cases, subjects, test, validate)


def folds_by_subject(
    cases: Sequence[dict], seed: int, validation: float, folds: int, strata: Sequence[Hashable] | None = None
) -> list[dict[str, list[dict]]]:
    """Splits for cross-validation: each subject is in the testing section of exactly one of them.

    Of those that are left the share `validation` goes to validation.

    Raises:
        ValueError: fewer than 2 folds, or more than leave somebody to train on.
    """
    subjects = shuffle_subjects(cases, seed, strata)
    number = len(subjects)
    splits = []
    for fold in range(folds):
        start, end = fold * number // folds, (fold + 1) * number // folds
        test, validate = end - start, share_of(number - (end - start), validation)
        if folds < 2 or test < 1 or number <= test + validate:
            break
        splits.append(deal(cases, subjects[start:] + subjects[:start], test, validate))
    if len(splits) < max(folds, 2):
        raise ValueError(f"folds is {folds} for {number} subjects and validation {validation}, expected 2 to {number}")
    return splits
