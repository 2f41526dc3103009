"""README and cards give commands that work.

By default their options are checked, and of every card the first command is run in the packed bundle. `make test-commands`
runs all of them, in the repository's form and in the packed one, on synthetic data and with one epoch of training.
"""

import ast
import inspect
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from monai.bundle import ConfigParser

from shared.options import RUNNER, refuse_unknown
from tools import bundles, pack
from tools.phantom import phantom
from tools.prepare import prepare

from .commands import FOLDERS, TWINS, command_blocks, commands, dataset_of, most_cases, reason_not_to_run, shortened, words
from .conftest import REPOSITORY

NAMES = bundles.names()
PAGES = {
    "README": REPOSITORY / "README.md",
    "elsewhere": REPOSITORY / "docs" / "elsewhere.md",
    **{name: bundles.folder(name) / "docs" / "README.md" for name in NAMES},
}
TOOLS, OF_PACKED = "python -m tools ", re.compile("python -m tools (prepare|phantom|export) ")
COPIED = ("bundles", "shared", "tools", "docs", "README.md", "CHANGELOG.md", "pyproject.toml", "requirements.txt")


def page_commands(page: str) -> list[str]:
    return commands(PAGES[page].read_text())


def config_files(parts: list[str]) -> list[str]:
    """The config files that a command names, also those that an overlay of `tools` stands for."""
    if "--config_file" in parts:
        value = parts[parts.index("--config_file") + 1]
        return ast.literal_eval(value) if value.startswith("[") else [value]
    if parts[1:4] in (["-m", "tools", "evaluate"], ["-m", "tools", "crossvalidate"]):
        return [f"bundles/{parts[4]}/configs/{bundles.trainings(bundles.folder(parts[4]))[0]}.yaml"]
    return []


def test_commands_are_found_in_blocks_joined_and_without_comments():
    text = "a\n\n    python -m x \\\n      --a 1   # why\n    make demo && pip y\n    field = 3\n\nb\n\n    $ no\n"
    assert commands(text) == ["python -m x --a 1", "make demo", "pip y"]


@pytest.mark.parametrize("page", PAGES)
def test_every_option_of_every_command_exists(page):
    found = page_commands(page)
    assert found
    for command in found:
        parts = words(command)
        if "monai.bundle" in parts and "run" in parts:
            at = parts.index("run")
            files = str([str(REPOSITORY / file) for file in config_files(parts)])
            rest = [word for i, word in enumerate(parts[at + 1 :], at + 1) if "--config_file" not in (word, parts[i - 1])]
            refuse_unknown([str(RUNNER), "run", "--config_file", files, *rest])
        elif parts[1:3] == ["-m", "tools"]:
            verb = parts[3]
            function = getattr(__import__(f"tools.{verb}", fromlist=[verb]), verb)
            function = function[parts[4]] if isinstance(function, dict) else function
            options = {word[2:].partition("=")[0] for word in parts if word.startswith("--")}
            known = inspect.signature(function).parameters
            if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
                assert options <= known.keys(), (command, sorted(known))


def small_dataset(dataset: str, folder: Path, page: str) -> None:
    """A synthetic dataset, prepared where there is a `prepare` for it."""
    twin = TWINS.get(dataset, dataset)
    demos = [bundles.metadata(name)["demo"] for name in NAMES]
    demo = next((dict(demo) for demo in demos if demo.get("phantom") == twin), {})
    demo.pop("phantom", None)
    phantom[twin](str(folder), **{**demo, "cases": most_cases(dataset, page)})
    if (REPOSITORY / "tools" / "datasets" / f"{dataset}.py").is_file():
        prepare(dataset, str(folder))


def default_dataset(page: str) -> str | None:
    name = page if page in NAMES else re.search(r"bundles/(\w+)/configs/inference", " ".join(page_commands(page)))[1]
    return bundles.metadata(name)["demo"].get("phantom")


def run(parts: list[str], folder: Path, path: str = "") -> subprocess.CompletedProcess:
    """Run a command in a folder, without any other checkout on the path than the one that is given."""
    program = [sys.executable] if parts[0] == "python" else [sys.executable, "-m", "torch.distributed.run"]
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run([*program, *parts[1:]], cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", NAMES)
def test_the_first_command_of_a_card_runs_in_the_packed_bundle(name, tmp_path):
    packed = tmp_path / name
    pack.lay_out(bundles.folder(name), packed)
    command = commands((packed / "docs" / "README.md").read_text())[0]
    assert "configs/inference.json" in command or "configs/" in command
    demo = dict(bundles.metadata(name)["demo"])
    options = []
    if "phantom" in demo:
        phantom[demo.pop("phantom")](str(tmp_path / "data"), **{**demo, "cases": 1})
    else:  # it generates, and the demo says what
        options = [word for key, value in demo.items() for word in (f"--{key}", str(value))]
    parts = [{"DIR": str(tmp_path / "data"), "OUT": str(tmp_path / "out")}.get(word, word) for word in words(command)]
    done = run([*parts, *options], packed)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file() and path.stat().st_size]


class Book:
    """Runs the commands of a page one after the other, as a reader would."""

    def __init__(self, page: str, root: Path, tmp_path: Path):
        self.page, self.root, self.tmp_path, self.failures = page, root, tmp_path, []
        self.packed = not (root / "tools").is_dir()
        self.training = bundles.metadata(page).get("benchmark_training", {}) if page in NAMES else {"patch_size": [32, 32, 32]}
        self.outputs = 0
        (tmp_path / "prompts.txt").write_text("pneumonia.\nno finding.\n")
        dataset = default_dataset(page)
        self.usual = self.filled(dataset) if dataset else tmp_path / "none"

    def filled(self, dataset: str) -> Path:
        """A folder with that dataset."""
        folder = self.tmp_path / dataset
        if not folder.is_dir():
            small_dataset(dataset, folder, self.page)
        return folder

    def place(self, word: str) -> str:
        """What a word of the page stands for."""
        if word == "OUT":
            return str(self.tmp_path / f"out{self.outputs}")
        if word == "FILE":
            return str(self.tmp_path / "prompts.txt")
        return str(self.directory if word == "DIR" else self.filled(FOLDERS[word]))

    def follow(self, block: list[str]) -> None:
        """Run the commands of a block. DIR stays what they prepare, but what they make up in it is for themselves alone."""
        self.made, self.directory = None, self.usual
        for command in block:
            self.do(command)

    def do(self, command: str) -> None:
        reason = reason_not_to_run(command)
        if reason:
            print(f"not run: {command} ({reason})")
            return
        dataset = dataset_of(command, self.page)
        if dataset and " phantom " in command:  # which fills a fresh folder
            self.made, self.directory = dataset, self.tmp_path / f"{dataset}_fresh"
            shutil.rmtree(self.directory, ignore_errors=True)
        elif dataset and dataset != self.made:
            self.usual = self.directory = self.filled(dataset)
        keys = set()
        for file in config_files(words(command)):
            keys |= ConfigParser.load_config_file(self.root / file).keys()
        if "max_epochs" in keys:
            for path in self.root.glob("runs/**/last.pt"):
                path.unlink()
        parts = shortened(command, self.page, keys, self.training)
        if "--output_dir OUT " in f"{command} ":
            self.outputs += 1
        if self.packed:
            parts = [word.replace(f"bundles/{self.page}/", "") for word in parts]
            parts = [str(self.root) if word == self.page else word for word in parts]  # of the bundle that tools work on
        parts = [re.sub(rf"\b(DIR|OUT|FILE|{'|'.join(FOLDERS)})\b", lambda m: self.place(m[1]), word) for word in parts]
        start = time.perf_counter()
        done = run(parts, self.root, str(REPOSITORY) if self.packed and TOOLS in command else "")
        print(f"{time.perf_counter() - start:6.1f} s, exit code {done.returncode}: {command}", flush=True)
        if done.returncode:
            self.failures.append(f"{' '.join(parts)}\n{(done.stdout + done.stderr)[-3000:]}")


@pytest.mark.commands
@pytest.mark.parametrize("page", PAGES)
def test_all_commands_run_in_the_repository(page, tmp_path):
    root = tmp_path / "repository"
    root.mkdir()
    for name in COPIED:
        source = REPOSITORY / name
        unwanted = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, root / name, ignore=unwanted) if source.is_dir() else shutil.copy(source, root / name)
    book = Book(page, root, tmp_path)
    for block in command_blocks(PAGES[page].read_text()):
        book.follow(block)
    assert not book.failures, "\n\n".join(book.failures)


@pytest.mark.commands
@pytest.mark.parametrize("page", NAMES)
def test_all_commands_run_in_the_packed_bundle(page, tmp_path):
    packed = tmp_path / page
    pack.lay_out(bundles.folder(page), packed)
    (tmp_path / "work").mkdir()
    book = Book(page, packed, tmp_path / "work")
    for block in command_blocks((packed / "docs" / "README.md").read_text()):
        # tools and other bundles belong to the repository, which the card says, but data must be made up and networks exported
        own = [command for command in block if TOOLS not in command and "bundles/" not in command or OF_PACKED.match(command)]
        book.follow(own)
    assert not book.failures, "\n\n".join(book.failures)
