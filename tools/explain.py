"""`explain`: what a bundle takes and gives, its options with their defaults, and its commands."""

from __future__ import annotations

import re
from pathlib import Path

from . import bundles

OPTION = re.compile(r"^(?P<name>\w+): (?P<default>.*?)(?:\s+# (?P<comment>.*))?$")


def explain(bundle: str) -> None:
    """Print a bundle's inputs, outputs, options with defaults, and commands.

    Args:
        bundle: its name.
    """
    meta, configs = bundles.metadata(bundle), bundles.folder(bundle) / "configs"
    print(f"{bundle} {meta['version']}: {meta['task']}\n\n{meta['description']}\n")
    for part in bundles.parts(bundles.folder(bundle)):
        of = f" of {part.definition}" if part.definition != "network_def" else ""
        for kind in ("inputs", "outputs"):
            for name, value in part.data_format[kind].items():
                if "num_channels" in value:
                    channels = ", ".join(value.get("channel_def", {}).values())
                    print(f"{kind[:-1]} {name}{of}: {value['num_channels']} channels ({channels}), {value['dtype']}")
    for path in sorted(configs.glob("*.yaml")):
        print(f"\n{path.stem}\n{command(path)}")
        rows = options(path)
        width = max((len(f"{name} = {default}") for name, default, _ in rows), default=0)
        for name, default, comment in rows:
            print(f"  --{f'{name} = {default}':{min(width, 50)}}  {comment}".rstrip())


def command(config: Path) -> str:
    """The command in the head comment of a config."""
    head = re.match(r"(?:#.*\n)*", config.read_text())[0]
    lines = [line[1:].strip() for line in head.splitlines()]
    start = next(i for i, line in enumerate(lines) if line.startswith("python -m monai.bundle"))
    last = next(i for i in range(start, len(lines)) if not lines[i].endswith("\\"))
    return "\n".join(f"  {line}" for line in lines[start : last + 1])


def options(config: Path) -> list[tuple[str, str, str]]:
    """Name, default and comment of what stands under "paths" and "settings" in a config; of an overlay, all plain keys."""
    text = config.read_text()
    parts = re.split(r"^# --- (.*) ---$", text, flags=re.MULTILINE)
    chosen = [body for title, body in zip(parts[1::2], parts[2::2], strict=True) if title in ("paths", "settings")] or [text]
    found = [OPTION.match(line) for body in chosen for line in body.splitlines()]
    return [(m["name"], m["default"], m["comment"] or "") for m in found if m and not m["default"].startswith("{_target_")]
