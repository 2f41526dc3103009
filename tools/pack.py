"""`pack`: write a bundle as one zip that runs anywhere, in the form of the official MONAI model zoo."""

from __future__ import annotations

import hashlib
import io
import json
import os
import posixpath
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from shared.paths import PACKAGE, atomic_write

from . import bundles
from .facts import hub_card

NEEDED = ("LICENSE", "docs/README.md", "docs/data_license.txt", "configs/inference.yaml")
# the package's name where it stands alone: in `shared.data.read_datalist` and `shared/data`, not in `my_shared.data`
SHARED = re.compile(r"(?<![\w./@%-])shared(?=[./]\w)")
# TorchScript's records of where its source code lay on this machine; loading does without them
MACHINE_RECORDS = (".debug_pkl", "/.data/serialization_id")


def pack(name: str, output: str = "dist") -> None:
    """Write `<output>/<name>_v<version>.zip` and note it in `<output>/model_info.json`.

    The zip runs without this repository: shared/ travels inside it under a name of its own, configs are JSON, a TorchScript
    model is added (not to a generator). The same input gives the same bytes.

    Args:
        name: the bundle, or a folder that holds one.
        output: folder for the zip.

    Raises:
        FileNotFoundError: the bundle lacks a file, such as its weights.
        ValueError: its name is no Python name, a config cannot be said in JSON, or the network cannot be exported.
    """
    root = bundles.folder(name)
    check_complete(root)
    version = f"{root.name}_v{bundles.metadata(name)['version']}"
    with tempfile.TemporaryDirectory() as temporary:
        packed = Path(temporary) / root.name
        lay_out(root, packed)
        if not bundles.is_generator(root):  # sampling is a loop around two networks, which TorchScript cannot say
            add_torchscript(packed)
        content = zip_bytes({p.relative_to(temporary).as_posix(): p.read_bytes() for p in files(packed)})
    folder = Path(output).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"{version}.zip"
    with atomic_write(archive) as partial:
        partial.write_bytes(content)
    entry = note(folder / "model_info.json", version, archive.name, content)
    print(f"{archive}: {entry['size'] / 1e6:.1f} MB, sha256 {entry['sha256']}")


def check_complete(root: Path) -> None:
    """Say which file a bundle lacks.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the bundle's name cannot become the name of a Python package.
    """
    if not root.name.isidentifier():
        raise ValueError(f"the bundle's name '{root.name}' must be a Python name: letters, digits and underscores")
    stages = bundles.trainings(root) or ["train"]
    for file in (*NEEDED, *(f"configs/{name}.yaml" for name in stages)):
        if not (root / file).is_file():
            raise FileNotFoundError(f"no {root / file}")
    for part in bundles.parts(root):
        if not (root / part.weights).is_file():
            raise FileNotFoundError(
                f"no weights {root / part.weights}: train them with `python -m monai.bundle run --config_file "
                f"{root / 'configs' / stages[0]}.yaml --dataset_dir DIR` and put model.pt of the run's output_dir there"
            )


def files(folder: Path) -> list[Path]:
    """All files below a folder."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def lay_out(root: Path, packed: Path) -> None:
    """Copy a bundle to `packed`: its package inside, configs as JSON beside those that all bundles have, its card adapted.

    The card comes twice: docs/README.md as in the official zoo, README.md as the Hugging Face Hub wants it.
    """
    package = f"{root.name}_shared"
    unwanted = shutil.ignore_patterns(".*", "__pycache__", "*.ts", "*.onnx", "*.pt2")
    shutil.copytree(root, packed, ignore=unwanted)
    shutil.copytree(PACKAGE / "configs", packed / "configs", ignore=unwanted, dirs_exist_ok=True)
    shutil.copytree(PACKAGE, packed / package, ignore=shutil.ignore_patterns(".*", "__pycache__", "configs"))
    configs = sorted(packed.glob("configs/*.yaml"))
    for path in configs:
        path.with_suffix(".json").write_text(config_json(path, package), encoding="utf-8")
        path.unlink()
    card = packed / "docs" / "README.md"
    text = card.read_text(encoding="utf-8")
    card.write_text(packed_card(text, root.name, [path.stem for path in configs]), encoding="utf-8")
    (packed / "README.md").write_text(hub_card(packed, bundles.metadata(str(root))), encoding="utf-8")


def config_json(path: Path, package: str) -> str:
    """A YAML config as JSON in which own code is reached through `package`.

    Raises:
        ValueError: JSON would change the content, as it does with keys that are no text.
    """
    config = map_strings(ConfigParser.load_config_file(path), lambda value: SHARED.sub(package, value))
    text = json.dumps(config, indent=4, default=str)
    if json.loads(text) != config:
        raise ValueError(f"{path.name} says what JSON cannot: keys must be text, numbers finite, dates quoted")
    return text + "\n"


def map_strings(value: Any, change: Callable[[str], str]) -> Any:
    """Apply `change` to every string value in nested mappings and lists; keys stay."""
    if isinstance(value, Mapping):
        return {key: map_strings(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [map_strings(item, change) for item in value]
    return change(value) if isinstance(value, str) else value


def packed_card(text: str, name: str, configs: list[str]) -> str:
    """A card whose commands run in the packed bundle's folder and whose links stay inside it.

    Args:
        text: the card in the repository.
        name: the bundle.
        configs: names of all configs, without suffix.
    """

    def relink(match: re.Match) -> str:
        words, target = match.groups()
        path = posixpath.normpath(posixpath.join("docs", target))
        for outside, inside in {"../../shared/configs/": "../configs/", "../../shared/": f"../{name}_shared/"}.items():
            if path.startswith(outside):
                return f"[{words}]({inside}{path.removeprefix(outside)})"
        return words if path.startswith("../") else match[0]

    text = re.sub(r"(?<!!)\[([^\]]*)\]\(([^)\s:]+)\)", relink, text)
    text = text.replace(f"bundles/{name}/", "").replace("shared/configs/", "configs/")
    other = r"(bundles/\w+/configs/)?"  # of another bundle, which stays as it is in the repository
    text = re.sub(rf"{other}\b({'|'.join(configs)})\.yaml\b", lambda m: m[0] if m[1] else f"{m[2]}.json", text)
    text = SHARED.sub(f"{name}_shared", text)
    hint = (
        "Commands run in this folder. `python -m tools`, and whatever names a file in `bundles`, belongs to the repository "
        "that this bundle was packed from."
    )
    return re.sub(r"\A(# .*\n)?", lambda title: f"{title[0]}\n> {hint}\n", text)


def add_torchscript(packed: Path) -> None:
    """Write models/model.ts.

    Raises:
        ValueError: the network cannot be exported.
    """
    (packed / "models" / "model.ts").write_bytes(torchscript(packed, "model.ts"))


def torchscript(root: Path, file: str) -> bytes:
    """A bundle as MONAI's exporter says it in TorchScript: network, weights, metadata and inference config in one file.

    The same bundle gives the same bytes. The export runs in a process of its own, since TorchScript numbers its classes by
    what was exported before, and orders them by Python's random hashes.

    Args:
        root: the bundle's folder.
        file: what the file will be called; the name is a part of its content.

    Raises:
        ValueError: the network cannot be exported.
    """
    config = next(root.glob("configs/inference.[jy]*")).relative_to(root)
    paths = [str(bundles.REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": os.pathsep.join(paths)}
    with tempfile.TemporaryDirectory() as temporary:
        model = Path(temporary) / file
        command = [sys.executable, "-m", "monai.bundle", "ckpt_export", "--config_file", str(config), "--filepath", str(model)]
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = re.split(r"\n(?=\w[\w.]*: )", done.stderr.strip())[-1]  # the traceback's end
            raise ValueError(f"{root.name}: no TorchScript of network_def: {reason[:1000]}")
        with zipfile.ZipFile(model) as records:
            return zip_bytes({n: records.read(n) for n in records.namelist() if not n.endswith(MACHINE_RECORDS)})


def zip_bytes(content: Mapping[str, bytes]) -> bytes:
    """A zip of `content` (by name) that depends on nothing else: sorted, without dates, and stored, as zlib versions differ."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(content):
            info = zipfile.ZipInfo(name)  # dated 1980-01-01
            info.create_system, info.external_attr = 3, 0o644 << 16  # Unix, rw-r--r--
            archive.writestr(info, content[name])
    return buffer.getvalue()


def note(path: Path, version: str, source: str, content: bytes) -> dict:
    """Enter a zip in model_info.json: "checksum" (SHA-1) and "source" as in the official zoo, SHA-256, size, version.

    Returns:
        the entry.
    """
    entries = json.loads(path.read_text()) if path.is_file() else {}
    entries[version] = {
        "checksum": hashlib.sha1(content).hexdigest(),
        "source": source,
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "version": version.rpartition("_v")[2],
    }
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(dict(sorted(entries.items())), indent=4) + "\n")
    return entries[version]
