from collections import Counter

import pytest

from tools.datasets.brats import subject_of
from tools.splits import folds_by_subject, shuffle_subjects, split_by_subject


def people(number):
    """One case each, in ten groups of different sizes."""
    cases = [{"case": f"c{i}", "subject": f"s{i:03d}"} for i in range(number)]
    return cases, [(i * i) % 7 + (i % 2) for i in range(number)]


def test_time_points_of_one_person_stay_in_one_split():
    cases = [{"case": f"c{i}", "subject": f"s{i // 3}"} for i in range(30)]
    parts = split_by_subject(cases, seed=0, validation=0.2, testing=0.3)
    subjects = [{c["subject"] for c in part} for part in parts.values()]
    assert [len(s) for s in subjects] == [5, 2, 3]
    assert len(set.union(*subjects)) == 10
    assert parts == split_by_subject(cases, seed=0, validation=0.2, testing=0.3)
    assert parts != split_by_subject(cases, seed=1, validation=0.2, testing=0.3)
    assert subject_of("BraTS-GLI-00005-001") == subject_of("BraTS-GLI-00005-000") != subject_of("BraTS-GLI-00006-000")


@pytest.mark.parametrize(("seed", "validation", "testing"), [(0, ["c09"], ["c02", "c10"]), (7, ["c04"], ["c08", "c12"])])
def test_the_split_that_scores_were_published_for_stays(seed, validation, testing):
    cases = [{"case": f"c{i:02d}", "subject": f"BraTS20_Training_{i:03d}"} for i in range(1, 13)]
    parts = split_by_subject(cases, seed, 0.1, 0.2)
    assert [c["case"] for c in parts["validation"]] == validation
    assert [c["case"] for c in parts["testing"]] == testing


def test_too_few_subjects_are_refused():
    with pytest.raises(ValueError, match="2 subjects are too few"):
        split_by_subject([{"subject": "a"}, {"subject": "b"}], 0, 0.1, 0.2)


def test_every_section_has_its_share_of_every_group():
    cases, strata = people(97)
    group = dict(zip((c["case"] for c in cases), strata, strict=True))
    size = Counter(strata)
    assert len(size) > 5
    for seed in range(5):
        parts = split_by_subject(cases, seed, 0.1, 0.2, strata)
        assert [len(part) for part in parts.values()] == [68, 10, 19]
        for part in parts.values():
            found = Counter(group[c["case"]] for c in part)
            assert all(abs(found[g] - size[g] * len(part) / 97) <= 1.5 for g in size)
    assert parts != split_by_subject(cases, 5, 0.1, 0.2, strata)


def test_somebody_unlike_all_others_may_be_anywhere():
    cases = [{"subject": f"s{i}"} for i in range(20)]
    places = {shuffle_subjects(cases, seed, [i == 7 for i in range(20)]).index("s7") for seed in range(40)}
    assert min(places) < 5 and max(places) > 14


@pytest.mark.parametrize("stratified", [False, True])
def test_each_subject_is_tested_once(stratified):
    cases, strata = people(23)
    cases += [{"case": "again", "subject": "s004"}]
    splits = folds_by_subject(cases, 3, 0.2, 5, [*strata, strata[4]] if stratified else None)
    assert Counter(c["case"] for split in splits for c in split["testing"]) == Counter(c["case"] for c in cases)
    for split in splits:
        parts = [{c["subject"] for c in part} for part in split.values()]
        assert [len(part) for part in parts] in ([15, 4, 4], [14, 4, 5]) and len(set.union(*parts)) == 23


@pytest.mark.parametrize("folds", [1, -2, 24])
def test_impossible_numbers_of_folds_are_refused(folds):
    with pytest.raises(ValueError, match=f"folds is {folds} for 23 subjects and validation 0.1, expected 2 to 23"):
        folds_by_subject(people(23)[0], 0, 0.1, folds)
