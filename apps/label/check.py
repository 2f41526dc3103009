"""Try the app: a server on loopback, scans put into it, info, infer, labels saved, training, infer again.

Every bundle works on synthetic scans with an oblique, flipped grid. What the server segments must be what the bundle segments
when it is run by itself, with the scan's shape and affine. `make test-label` runs it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import requests

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "apps")]

from scans import kind, labelled_scans, write_phantom  # noqa: E402

from tools import bundles, pack  # noqa: E402
from tools.checks import config, config_file  # noqa: E402

LABELLED, EPOCHS, START_SECONDS = 3, 2, 900


def say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


def expect(condition: bool, message: str) -> None:
    if not condition:
        raise SystemExit(f"FAILED: {message}")


def make_scans(name: str, folder: Path) -> list[tuple[Path, Path]]:
    """Write synthetic scans as a viewer would send them, one file each, with their label maps, on oblique and flipped grids.

    Returns:
        pairs of scan (3D, or 4D with a volume per sequence) and label map.
    """
    write_phantom(name, folder / "phantom", LABELLED)
    settings = config(bundles.folder(name), "inference")
    (folder / "scans").mkdir()
    pairs = []
    for number, (image, label) in enumerate(labelled_scans(name, folder / "phantom")):
        values = image.numpy()
        if settings.get("channels_4d"):
            values = values[[settings["sequences"].index(sequence) for sequence in settings["channels_4d"]]]
        values = np.moveaxis(values, 0, -1) if len(values) > 1 else values[0]
        pair = (folder / "scans" / f"{name}_{number}.nii.gz", folder / f"{name}_{number}_label.nii.gz")
        for path, content in zip(pair, (values, label.numpy()[0].astype(np.uint8)), strict=True):
            nib.save(nib.Nifti1Image(content, image.affine.numpy() @ np.diag([-1, -1, 1, 1])), path)
        pairs.append(pair)
    return pairs


def run_bundle(name: str, scan: Path, output: Path) -> nib.Nifti1Image:
    """The label map that a bundle makes of a scan when it is run by itself."""
    (output / "scan").mkdir(parents=True)
    (output / "scan" / scan.name).symlink_to(scan)
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", config_file(bundles.folder(name), "inference")]
    subprocess.run([*command, "--dataset_dir", output / "scan", "--output_dir", output / "out"], check=True, cwd=REPOSITORY)
    return nib.load(next((output / "out").rglob("*.nii.gz")))


@contextlib.contextmanager
def server(models: list[str], folder: Path, **conf: str):
    """A server on loopback that serves `models`; yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "studies").mkdir(parents=True)
    program = "import sys; from monailabel.main import Main; sys.argv[0] = 'monailabel'; Main().run()"
    command = [sys.executable, "-c", program, "start_server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--app", str(Path(__file__).parent), "--studies", str(folder / "studies")]
    for key, value in {"models": ",".join(models), "model_dir": str(folder / "model"), **conf}.items():
        command += ["--conf", key, value]
    log = folder / "server.log"
    with log.open("w") as file, subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, cwd=folder) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for(url, process, log)
            yield url
        except SystemExit:
            print(log.read_text()[-6000:])
            raise
        finally:
            process.terminate()


def wait_for(url: str, process: subprocess.Popen, log: Path) -> None:
    """Wait until a server answers."""
    start = time.monotonic()
    while True:
        with contextlib.suppress(requests.ConnectionError):
            if requests.get(f"{url}/info/", timeout=60).ok:
                return
        expect(process.poll() is None, f"the server ended:\n{log.read_text()[-3000:]}")
        expect(time.monotonic() - start < START_SECONDS, f"the server does not answer:\n{log.read_text()[-3000:]}")
        time.sleep(0.5)


def answer(response: requests.Response) -> requests.Response:
    expect(response.ok, f"{response.request.method} {response.url}: {response.status_code} {response.text[:1000]}")
    return response


def put(url: str, scan: Path) -> None:
    """Put a scan into the server's datastore under its name without suffix."""
    with scan.open("rb") as file:
        answer(requests.put(f"{url}/datastore/", params={"image": scan.name.split(".")[0]}, files={"file": (scan.name, file)}))


def infer(url: str, model: str, scan: Path, target: Path) -> nib.Nifti1Image:
    """The label map that the server makes of a scan it has."""
    found = answer(requests.post(f"{url}/infer/{model}", params={"image": scan.name.split(".")[0], "output": "image"}))
    target.write_bytes(found.content)
    return nib.load(target)


def check_grid(label: nib.Nifti1Image, scan: Path, name: str) -> None:
    """A label map lies on the scan's grid."""
    image = nib.load(scan)
    expect(label.shape == image.shape[:3], f"{name}: shape {label.shape}, the scan has {image.shape[:3]}")
    difference = np.abs(label.affine - image.affine).max()
    expect(difference < 1e-4, f"{name}: the affine is off by {difference}")


def check_bundle(url: str, name: str, folder: Path, pairs: list[tuple[Path, Path]]) -> None:
    """The whole cycle with one bundle of a running server."""
    for scan, _ in pairs:
        put(url, scan)
    info = answer(requests.get(f"{url}/info/")).json()
    labels = info["models"][name]["labels"]
    expect(info["models"][name]["type"] == "segmentation" and len(labels) > 0, f"{name}: info says {info['models'][name]}")
    say(f"{name}: {info['models'][name]['description'][:60]}...; labels {labels}")

    first = pairs[0][0]
    expected = np.asarray(run_bundle(name, first, folder / "alone").dataobj)
    served = infer(url, name, first, folder / "served.nii.gz")
    check_grid(served, first, name)
    values = np.asarray(served.dataobj)
    expect((values == expected).all(), f"{name}: {(values != expected).sum()} voxels differ from the bundle run by itself")
    expect(set(np.unique(values)) <= {0, *labels.values()}, f"{name}: values {np.unique(values)}, labels {labels}")
    expect(values.any(), f"{name}: the label map is empty")
    say(f"{name}: segmented as by the bundle itself, on the scan's grid; values {np.unique(values).tolist()}")

    for scan, label in pairs:
        with label.open("rb") as file:
            where = {"image": scan.name.split(".")[0], "tag": "final"}
            # as a viewer does it, with the names of what is outlined
            info = {"params": json.dumps({"label_info": [{"name": key, "idx": value} for key, value in labels.items()]})}
            answer(requests.put(f"{url}/datastore/label", params=where, data=info, files={"label": (label.name, file)}))
        saved = requests.get(f"{url}/datastore/label", params={"label": where["image"], "tag": "final"})
        (folder / "saved.nii.gz").write_bytes(answer(saved).content)
        check_grid(nib.load(folder / "saved.nii.gz"), scan, f"{name}, saved label of {scan.name}")
    settings = {"max_epochs": EPOCHS, "val_split": 0.34, "device": "cpu", "multi_gpu": False}
    answer(requests.post(f"{url}/train/{name}", params={"run_sync": True}, json=settings))
    trained = folder.parent / "server" / "model" / "trained" / name
    log = (trained.parents[2] / "server.log").read_text()
    expect((trained / "model.pt").is_file(), f"{name}: training left no model.pt: {log[-6000:]}")
    say(f"{name}: trained {EPOCHS} epochs on {len(pairs)} scans with labels")
    check_grid(infer(url, name, first, folder / "again.nii.gz"), first, f"{name} after training")
    used = str(trained / "model.pt")
    expect(f"Infer model path: {used}" in (trained.parents[2] / "server.log").read_text(), f"{name}: {used} was not used")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", nargs="*", help="names; by default every segmentation bundle")
    names = parser.parse_args().bundles or [name for name in bundles.names() if kind(name) == "segmentation"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in names:
            (folder / name).mkdir()
        pairs = {name: make_scans(name, folder / name) for name in names}
        small = {
            f"{name}.{key}": str(value)
            for name in names
            for key, value in bundles.metadata(name).get("benchmark_training", {}).items()
        }
        with server(names, folder / "server", **small) as url:
            for name in names:
                check_bundle(url, name, folder / name, pairs[name])

        for name in names[:2]:
            pack.pack(name, str(folder / "dist"))
        zips = [str(path) for path in sorted((folder / "dist").glob("*.zip"))]
        with server(zips, folder / "packed") as url:
            for name in names[:2]:
                put(url, pairs[name][0][0])
                label = infer(url, name, pairs[name][0][0], folder / "packed.nii.gz")
                served = nib.load(folder / name / "served.nii.gz")
                expect((np.asarray(label.dataobj) == np.asarray(served.dataobj)).all(), f"{name}: the zip segments otherwise")
            say(f"{len(zips)} packed zips in one server segment the same")
    say("all is well")


if __name__ == "__main__":
    main()
