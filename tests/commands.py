"""The commands of README and cards, and how to run them on synthetic data in little time."""

from __future__ import annotations

import importlib.util
import re
import shlex

BLOCK = re.compile(r"(?:^(?: {4}.*)?\n)*^ {4}.*$", re.MULTILINE)
PROGRAMS = ("python", "torchrun", "make", "pip", "sha256sum", "monailabel", "apt-get", "hf")


def commands(text: str) -> list[str]:
    """Every shell command in the indented blocks of a page, on one line each; comments and other code are left out."""
    found = []
    for block in BLOCK.findall(text):
        joined = re.sub(r"\\\n\s*", "", block)
        for line in (line.strip() for line in joined.splitlines()):
            line = re.split(r"\s+# ", line)[0]
            if line.split(" ")[0].split("/")[-1] in PROGRAMS:
                found += re.split(r"\s+&&\s+", line)
    return found


def words(command: str) -> list[str]:
    """A command as a list of words, as a shell splits it."""
    return shlex.split(command)


# Why a command of the documentation is not run by `make test-commands`
NOT_RUN = {
    r"make ": "a target of its own, which tests or CI run",
    r"pip install": "downloads packages",
    r"apt-get ": "downloads packages",
    r".*\bURL\b|.*monai\.bundle download|sha256sum": "tests/tools/test_release.py runs it against a server on loopback",
    r".*USER/": "needs an account of the Hugging Face Hub",
    r".*trt_export": "needs TensorRT, as the page says",
    r"python -m tools baseline registration": "needs the extra 'ants'",
    r"python apps/|monailabel ": "needs an environment of its own: make test-label, make test-deploy",
}
STAND_INS = {"nih": "rsna"}  # datasets without a synthetic twin, and another that the same bundle takes
SMALL = {"--max_epochs": "1", "--val_interval": "1", "--runs": "1", "--workers": "0"}
MOST_CASES = 10


def reason_not_to_run(command: str) -> str | None:
    """Why a command is not run, None where it is."""
    if "--tracking mlflow" in command and importlib.util.find_spec("mlflow") is None:
        return "needs the extra 'mlflow'"
    return next((reason for pattern, reason in NOT_RUN.items() if re.match(pattern, command)), None)


def dataset_of(command: str) -> str | None:
    """The dataset that a command prepares or makes up in DIR, None for other commands."""
    match = re.match(r"python -m tools (?:prepare|phantom) (\w+)", command)
    return STAND_INS.get(match[1], match[1]) if match else None


def shortened(command: str, keys: set[str], training: dict[str, object]) -> list[str]:
    """A command's words with fewer cases and epochs.

    Args:
        command: as the page has it.
        keys: of the configs that it runs.
        training: small settings for training.
    """
    parts = [STAND_INS.get(word, word) for word in words(command)]
    if "--dicom" in parts:  # of a dataset that has no synthetic twin
        at = parts.index("--dicom")
        del parts[at : at + 2]
    for at, word in enumerate(parts[:-1]):
        if word in SMALL:
            parts[at + 1] = SMALL[word]
        elif word == "--cases":
            parts[at + 1] = str(min(int(parts[at + 1]), MOST_CASES))
    trains = "max_epochs" in keys
    for key, value in {"max_epochs": 1, "val_interval": 1, "workers": 0, **training}.items() if trains else ():
        if f"--{key}" not in parts and key in keys:
            parts += [f"--{key}", str(value).replace(" ", "")]
    return parts
