"""README and CONTRIBUTING speak of things that exist."""

import re
import subprocess
import sys

import pytest

from tools.__main__ import VERBS, main

from .conftest import REPOSITORY

PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "docs/elsewhere.md",
    *(str(p.relative_to(REPOSITORY)) for p in REPOSITORY.glob("bundles/*/docs/README.md")),
]


def test_readme_lists_every_verb_and_no_other():
    text = (REPOSITORY / "README.md").read_text()
    assert sorted(set(re.findall(r"^\| `(\w+) ", text, re.MULTILINE))) == sorted(VERBS)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = (REPOSITORY / page).read_text()
    links = [target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target]
    assert links or page != "README.md"
    for target in links:
        assert ((REPOSITORY / page).parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES)
def test_files_and_options_in_commands_exist(page):
    """Config paths of every command, and options that the configs or the verbs know."""
    text = (REPOSITORY / page).read_text()
    for path in re.findall(r"(?:bundles|shared)/\w+/configs/\w+\.yaml|shared/configs/\w+\.yaml", text):
        assert (REPOSITORY / path.replace("NAME", "brats_seg3d")).is_file(), path
    for verb in re.findall(r"python -m tools (\w+)", text):
        assert verb in VERBS or verb == "VERB"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tools", verb, "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    said = "".join(capsys.readouterr())
    assert "SYNOPSIS" in said and f"python -m tools {verb}" in said


def test_help_comes_from_the_command_line():
    command = [sys.executable, "-m", "tools", "ship", "--help"]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert "SYNOPSIS" in ended.stdout + ended.stderr


def test_an_unknown_verb_lists_those_there_are():
    ended = subprocess.run([sys.executable, "-m", "tools", "fly"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert ended.returncode == 1 and "prepare" in ended.stderr


def test_make_help_lists_every_target():
    command = ["make", "--no-print-directory", "help"]  # tests may themselves be run by make
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    phony = re.search(r"^\.PHONY: (.*)$", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)[1].split()
    assert [line.split()[0] for line in ended.stdout.splitlines()] == phony


def test_an_old_python_is_told_so(tmp_path):
    """A stand-in for an old interpreter: it reports version 3.8 to the check in the Makefile."""
    fake = tmp_path / "python3.8"
    fake.write_text(f'#!/bin/sh\nexec {sys.executable} -c "import sys; sys.version_info = (3, 8); exec(sys.argv[1])" "$2"\n')
    fake.chmod(0o755)
    ended = subprocess.run(
        ["make", "test", f"PYTHON={fake}", f"VENV={tmp_path / 'venv'}"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode != 0
    assert f"Python 3.10 or newer is needed, {fake} is 3.8" in ended.stderr
    assert not (tmp_path / "venv").exists()
