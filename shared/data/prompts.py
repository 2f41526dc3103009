"""Text about chest X-rays: sentences of reports, sentences made from a table, and the prompts that a user gives."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..person import parse_age, parse_sex

SECTIONS = ("FINDINGS", "IMPRESSION")
# a heading is in capitals and ends in a colon, at the start of a line or in the middle of a paragraph
HEADING = re.compile(r"(?:^|(?<=\s))([A-Z][A-Z /()&,-]{2,60}):")
NUMBERING = re.compile(r"(?:^|(?<=\s))\d{1,2}[.)](?=\s+[A-Z])")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
AGES = ((18, "child"), (40, "young"), (60, "middle-aged"), (200, "elderly"))
VIEWS = {"AP": "anteroposterior", "PA": "posteroanterior"}
MOST = 3  # findings named in one sentence


def report_sentences(text: str) -> list[str]:
    """The sentences of a report's FINDINGS and IMPRESSION sections, without numbering and blanks left by de-identification.

    Raises:
        ValueError: there is neither section, or nothing in them.
    """
    parts = HEADING.split(text)
    sections = {name.strip(): body for name, body in zip(parts[1::2], parts[2::2], strict=True)}
    if not any(name in sections for name in SECTIONS):
        found = ", ".join(sections) or "no headings"
        raise ValueError(f"expected a section {' or '.join(SECTIONS)}, found {found}")
    sentences: list[str] = []
    for name in SECTIONS:
        words = " ".join(NUMBERING.sub(" ", sections.get(name, "")).replace("___", " ").split())
        sentences += [sentence for sentence in SENTENCE_END.split(words) if re.search(r"[A-Za-z]{2}", sentence)]
    if not sentences:
        raise ValueError(f"the sections {' and '.join(SECTIONS)} are empty")
    return sentences


def template_sentences(item: Mapping, rng: np.random.RandomState) -> list[str]:
    """Sentences made from what a table knows of a film: its "findings" (texts, none for a film without), view, age and sex.

    They are templates, no radiologist's words: "pneumonia and edema.", "posteroanterior view.", "elderly woman." Findings come
    in random order, at most three; view and person are said half of the time each.
    """
    findings = [str(name).replace("_", " ").lower() for name in item["findings"]]
    named = [findings[i] for i in rng.permutation(len(findings))[:MOST]] or ["no finding"]
    sentences = [" and ".join(named)]
    view, person = VIEWS.get(str(item.get("view") or "").upper()), describe_person(item)
    if view and rng.rand() < 0.5:
        sentences.append(f"{view} view")
    if person and rng.rand() < 0.5:
        sentences.append(person)
    return [f"{sentence}." for sentence in sentences]


def describe_person(item: Mapping) -> str:
    """Age group and sex in words, as "elderly woman"; "" where either is unknown."""
    try:
        age, sex = parse_age(str(item.get("age") or "")), parse_sex(str(item.get("sex") or ""))
    except ValueError:
        return ""
    word = next(word for limit, word in AGES if age < limit)
    return {"F": "girl", "M": "boy"}[sex] if word == "child" else f"{word} {({'F': 'woman', 'M': 'man'})[sex]}"


class DrawPrompt:
    """Draw a prompt for a film: up to five random sentences of its report, or sentences from its table; sometimes none.

    Args:
        tokenize: a text to tokens; a ValueError says that it is too long, and sentences are left out until it fits.
        empty_share: of the draws that give the empty prompt, which classifier-free guidance needs.
        most: sentences at most.
    """

    def __init__(self, tokenize: Callable, empty_share: float = 0.1, most: int = 5):
        self.tokenize, self.empty_share, self.most = tokenize, empty_share, most

    def __call__(self, item: Mapping, rng: np.random.RandomState):
        """Tokens of a prompt for an item with "sentences" (of a report) or "findings".

        Raises:
            ValueError: the item has neither.
        """
        if rng.rand() < self.empty_share:
            return self.tokenize("")
        if "sentences" in item:
            count = min(rng.randint(1, self.most + 1), len(item["sentences"]))
            chosen = sorted(rng.permutation(len(item["sentences"]))[:count])
            sentences = [item["sentences"][i] for i in chosen]
        elif "findings" in item:
            sentences = template_sentences(item, rng)
        else:
            raise ValueError(f"{item.get('case')}: neither sentences nor findings; prepare the dataset anew")
        for count in range(len(sentences), 0, -1):
            try:
                return self.tokenize(" ".join(sentences[:count]))
            except ValueError:  # too long
                continue
        return self.tokenize("")


def training_texts(items: Sequence[Mapping], draws: int = 20) -> list[str]:
    """Texts of all items, from which a vocabulary is learned: all sentences of reports, and some draws of the templates."""
    rng = np.random.RandomState(0)
    texts: list[str] = []
    for item in items:
        texts += item.get("sentences", [])
        texts += [s for _ in range(draws) for s in template_sentences(item, rng)] if "findings" in item else []
    return texts


def read_prompts(prompt: str, prompts: str | os.PathLike | None) -> list[str]:
    """The prompts of a run: the lines of a file, without blank ones, or where there is no file one given as text.

    Raises:
        InputError: there is no such file, or it holds no prompt.
    """
    if prompts is None:
        return [str(prompt)]
    path = Path(prompts).expanduser()
    if not path.is_file():
        raise InputError(f"no file of prompts {path}")
    found = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    if not found:
        raise InputError(f"{path} holds no prompt, expected one a line")
    logging.getLogger(__name__).info(f"{len(found)} prompts of {path}")
    return found
