"""The commands of README and cards, and how to run them on synthetic data in little time."""

from __future__ import annotations

import importlib.util
import re
import shlex

BLOCK = re.compile(r"(?:^(?: {4}.*)?\n)*^ {4}.*$", re.MULTILINE)
PROGRAMS = ("python", "torchrun", "make", "pip", "sha256sum", "monailabel", "apt-get", "hf")


def command_blocks(text: str) -> list[list[str]]:
    """The shell commands in each indented block of a page, on one line each; comments and other code are left out."""
    found = []
    for block in BLOCK.findall(text):
        joined, lines = re.sub(r"\\\n\s*", "", block), []
        for line in (line.strip() for line in joined.splitlines()):
            line = re.split(r"\s+# ", line)[0]
            if line.split(" ")[0].split("/")[-1] in PROGRAMS:
                lines += re.split(r"\s+&&\s+", line)
        found.append(lines)
    return found


def commands(text: str) -> list[str]:
    """All of these commands."""
    return [command for block in command_blocks(text) for command in block]


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
    r".*--against voxelmorph": "needs the package voxelmorph, as the page says",
    r".*--dataset_dir totalsegmentator": "needs the scans of TotalSegmentator's repository",
}
# What a page's words become where only its author has what they name: a dataset without a synthetic twin becomes another that
# the same bundle takes, weights of an earlier training become those that are shipped
STAND_INS = {
    "brats_seg3d": {"FIRST": "bundles/brats_seg3d/models/model.pt"},
    "chaos_liver2d": {"runs/stage3/model.pt": "bundles/chaos_liver2d/models/model.pt"},
    "cxr_ldm": {
        "nih": "mimic_cxr",
        "hannover": "mimic_cxr",
        "FIRST": "bundles/cxr_ldm/models/autoencoder.pt",
        "SECOND": "bundles/cxr_ldm/models/diffusion.pt",
    },
    "ixi_cae": {"runs/cae_2/last.pt": "runs/cae_2/model.pt"},
    "ixi_superres": {"DIR/train.json": "DIR/datalist.json", "runs/x4b/model.pt": "bundles/ixi_superres/models/model_x4.pt"},
    "rsna_pneumonia_cls": {"nih": "rsna"},
}
FOLDERS = {"HEADS": "ixi", "NIH": "mimic_cxr", "HANNOVER": "mimic_cxr", "DIR2": "mimic_cxr"}  # pages call datasets so
TWINS = {"heads": "ixi"}  # datasets whose synthetic twin has another name
# options whose files have no synthetic twin: a dataset's films as DICOM, scans outlined by TotalSegmentator
LEFT_OUT = re.compile(r' --(dicom DIR\S*|anatomy "example_[^"]*")')
SMALL = {"--max_epochs": "1", "--val_interval": "1", "--runs": "1", "--workers": "0", "--folds": "2"}
SMALL_TRAINING = {"max_epochs": 1, "val_interval": 1, "workers": 0, "patches_per_head": 1}
SMALLER = {"cxr_ldm": {"views": 1}}  # of single pages
# of these datasets, of others 10; films with pneumonia and pairs of heads are needed in every section
MOST_CASES = {"abdomen": 4, "brats": 6, "chaos": 6, "heads": 6, "mrbrains": 4, "rsna": 60}
MOST_HEADS = {"brain_registration": 20}  # of single pages
MOST_FILMS = 4
LARGEST_SHARE = 0.6  # of few cases for validation or testing, so that some are left to train on


def reason_not_to_run(command: str) -> str | None:
    """Why a command is not run, None where it is."""
    if "--tracking mlflow" in command and importlib.util.find_spec("mlflow") is None:
        return "needs the extra 'mlflow'"
    return next((reason for pattern, reason in NOT_RUN.items() if re.match(pattern, command)), None)


def dataset_of(command: str, page: str) -> str | None:
    """The dataset that a command prepares or makes up in DIR, None for other commands."""
    match = re.match(r"python -m tools (?:prepare|phantom) (\w+) DIR\b", command)
    return STAND_INS.get(page, {}).get(match[1], match[1]) if match else None


def most_cases(dataset: str, page: str) -> int:
    """How many cases of a dataset are enough for a page."""
    return MOST_HEADS.get(page, 10) if dataset == "ixi" else MOST_CASES.get(dataset, 10)


def shortened(command: str, page: str, keys: set[str], training: dict[str, object]) -> list[str]:
    """A command's words with fewer cases and epochs, and smaller patches.

    Args:
        command: as the page has it.
        page: the page.
        keys: of the configs that it runs.
        training: small settings for training.
    """
    parts = [STAND_INS.get(page, {}).get(word, word) for word in words(LEFT_OUT.sub("", command))]
    for at, word in enumerate(parts[:-1]):
        if word in SMALL:
            parts[at + 1] = SMALL[word]
        elif word in ("--cases", "--number"):
            most = MOST_FILMS if word == "--number" else most_cases(parts[4], page)
            parts[at + 1] = str(min(int(parts[at + 1]), most))
        elif word in ("--validation", "--testing"):
            parts[at + 1] = str(min(float(parts[at + 1]), LARGEST_SHARE))
    trains = "max_epochs" in keys
    for key, value in {**SMALL_TRAINING, **SMALLER.get(page, {}), **training}.items() if trains else ():
        option, text = f"--{key}", str(value).replace(" ", "")
        if option in parts:
            parts[parts.index(option) + 1] = text
        elif key in keys:
            parts += [option, text]
    return parts
