"""`release`: pack every bundle into a folder that can be put on the web as it is."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path

from shared.errors import describe
from shared.paths import atomic_write

from . import bundles, page
from .pack import pack

CHECKSUMS = "SHA256SUMS"


def release(output: str = "dist", url: str = "") -> None:
    """Pack all bundles, and write what others need to find and check them.

    `<output>/<name>_v<version>.zip` of each, `model_info.json` as the official zoo has it (version, checksum, size, source),
    `SHA256SUMS` for `sha256sum --check`, and `index.html` with the commands to download each.

    Args:
        output: folder for all that.
        url: where the folder will be found, such as https://github.com/OWNER/REPO/releases/download/TAG; the sources of
            model_info.json begin with it.

    Raises:
        ValueError: bundles could not be packed; the others are there.
    """
    failures = {}
    for name in bundles.names():
        try:
            pack(name, output)
        except (OSError, ValueError) as error:
            failures[name] = describe(error)
            print(f"{name}: {failures[name]}")
    folder = Path(output).expanduser()
    index = folder / "model_info.json"
    entries = json.loads(index.read_text()) if index.is_file() else {}
    for version, entry in entries.items():
        entry["source"] = "/".join(filter(None, [url.rstrip("/"), f"{version}.zip"]))
    sums = "".join(f"{entry['sha256']}  {version}.zip\n" for version, entry in entries.items() if "sha256" in entry)
    contents = {index.name: json.dumps(entries, indent=4) + "\n", CHECKSUMS: sums, "index.html": html(entries)}
    for name, text in contents.items():
        with atomic_write(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    print(f"{folder}: {len(entries)} bundles, {', '.join(contents)}")
    if failures:
        raise ValueError(f"{len(failures)} bundles could not be packed: {', '.join(failures)}")


def download_command(name: str, entry: dict) -> str:
    """Download and unpack a bundle into the working directory; a file with another SHA-256 is refused before it is unpacked."""
    get = f"download_url('{entry['source']}', '{name}.zip', hash_val='{entry['sha256']}', hash_type='sha256')"
    return f"python -c \"from monai.apps.utils import download_url, extractall; {get}; extractall('{name}.zip', '.')\""


def html(entries: dict[str, dict]) -> str:
    """The index as a page."""
    rows = []
    commands = []
    for version, entry in entries.items():
        name = version.rpartition("_v")[0]
        task = bundles.metadata(name)["task"] if name in bundles.names() else ""
        rows.append([name, entry["version"], task, f"{entry['size'] / 1e6:.1f} MB", entry["sha256"]])
        commands.append(f'<p><a href="{escape(version)}.zip">{escape(version)}.zip</a></p>')
        if "://" in entry["source"]:
            commands.append(f'<pre class="scroll">{escape(download_command(name, entry))}</pre>')
    check = page.paragraph(f"Checksums of what was downloaded otherwise: sha256sum --check --ignore-missing {CHECKSUMS}")
    table = page.table(["bundle", "version", "task", "size", "SHA-256"], rows)
    return page.page("Bundles to download", {"": [table, check], "Download": commands})
