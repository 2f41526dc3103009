"""Try the app: synthetic DICOM in, the whole graph on the CPU, its result compared with the bundle run by itself.

A bundle that segments gets oblique series; the voxels of the DICOM SEG must be what the bundle makes of the same series,
turned into NIfTI by ITK if it cannot read series itself, but for one in a thousand. One that classifies gets a film.
`make test-deploy` runs it.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import highdicom
import nibabel as nib
import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

APP = Path(__file__).with_name("app.py")
sys.path[:0] = [str(APP.parents[2]), str(APP.parents[1])]

from scans import kind, labelled_scans, write_phantom  # noqa: E402

from tools import bundles, pack  # noqa: E402
from tools.checks import config, config_file  # noqa: E402

LPS = np.diag([-1.0, -1, 1, 1])
# share of voxels: NIfTI holds affines in single precision, by which a crop to the foreground may move by a voxel
DIFFERENT = 1e-3


def say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


def expect(condition: bool, message: str) -> None:
    if not condition:
        raise SystemExit(f"FAILED: {message}")


def make_series(name: str, dataset: Path, output: Path) -> None:
    """Write a synthetic case as DICOM, a series per sequence of one study, on an oblique grid."""
    image, _ = next(labelled_scans(name, dataset))
    affine = LPS @ image.affine.numpy()
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    axes = affine[:3, :3] / spacing
    if np.linalg.det(axes) < 0:  # slices of a series are sorted along rows x columns
        image, affine = image.flip(3), affine.copy()
        affine[:3, 3] += affine[:3, 2] * (image.shape[3] - 1)
        affine[:3, 2] *= -1
        axes = affine[:3, :3] / spacing
    modality = bundles.metadata(name)["network_data_format"]["inputs"]["image"]["modality"]
    study, frame = generate_uid(), generate_uid()
    settings = config(bundles.folder(name), "inference")
    endings = settings.get("file_endings") or {}
    for number, (channel, sequence) in enumerate(zip(image.numpy(), settings.get("sequences") or ["image"], strict=True), 1):
        series = generate_uid()
        intercept = -1024 if modality == "CT" else 0
        scaled = channel if modality == "CT" else channel * (4095 / channel.max())  # the scale of MR means nothing
        stored = np.round(scaled - intercept).clip(0, 65535).astype(np.uint16)
        for z in range(stored.shape[2]):
            ds = pydicom.Dataset()
            ds.SOPClassUID = CTImageStorage if modality == "CT" else MRImageStorage
            ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), study, series
            ds.FrameOfReferenceUID, ds.Modality, ds.PatientID, ds.PatientName = frame, modality, "PHANTOM", "Phantom^One"
            ds.PatientBirthDate, ds.PatientSex, ds.StudyID, ds.AccessionNumber = "", "O", "1", ""
            ds.StudyDate, ds.StudyTime, ds.ReferringPhysicianName, ds.Manufacturer = "20200101", "120000", "", "synthetic"
            ds.SeriesNumber, ds.InstanceNumber, ds.ImageType = number, z + 1, ["ORIGINAL", "PRIMARY", "AXIAL"]
            ds.SeriesDescription = f"synthetic {endings.get(sequence, [sequence])[0]}"
            ds.PositionReferenceIndicator = ""
            ds.ImageOrientationPatient = [f"{v:.10f}"[:16] for v in (*axes[:, 0], *axes[:, 1])]
            ds.ImagePositionPatient = [f"{v:.8f}"[:16] for v in (affine @ [0, 0, z, 1])[:3]]
            ds.PixelSpacing = [f"{spacing[1]:.10f}"[:16], f"{spacing[0]:.10f}"[:16]]
            ds.SliceThickness = f"{spacing[2]:.8f}"
            ds.Rows, ds.Columns = stored.shape[1], stored.shape[0]
            ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
            ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
            ds.RescaleSlope, ds.RescaleIntercept = "1", str(intercept)
            ds.PixelData = stored[:, :, z].T.tobytes()
            ds.file_meta = pydicom.dataset.FileMetaDataset()
            ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            ds.save_as(output / f"{number}_{z:03}.dcm", enforce_file_format=True)


def series_to_nifti(name: str, dicom: Path, output: Path) -> list[list[str]]:
    """Turn every series into a NIfTI file by ITK; the files' instances in the order of their slices."""
    reader, instances = sitk.ImageSeriesReader(), []
    endings = config(bundles.folder(name), "inference").get("file_endings") or {"": ["t1"]}
    for series in reader.GetGDCMSeriesIDs(str(dicom)):
        files = reader.GetGDCMSeriesFileNames(str(dicom), series)
        reader.SetFileNames(files)
        first = pydicom.dcmread(files[0], stop_before_pixels=True)
        ending = first.SeriesDescription.split()[-1] if len(endings) > 1 else next(iter(endings.values()))[0]
        sitk.WriteImage(sitk.Cast(reader.Execute(), sitk.sitkFloat32), output / f"case_{ending}.nii.gz")
        instances.append([pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID for file in files])
    return instances


def run(*command: str | Path) -> None:
    done = subprocess.run([sys.executable, *command], cwd=APP.parents[2], capture_output=True, text=True, check=False)
    expect(done.returncode == 0, f"{' '.join(map(str, command))}:\n{(done.stdout + done.stderr)[-6000:]}")


def run_bundle(name: str, data: Path, output: Path) -> None:
    file = config_file(bundles.folder(name), "inference")
    run("-m", "monai.bundle", "run", "--config_file", file, "--dataset_dir", data, "--output_dir", output)


def check_segmentation(name: str, folder: Path, packed: Path | None) -> None:
    """The DICOM SEG of the app is the label map of the bundle, from the checkout and, if given, from the packed bundle."""
    for part in ("dicom", "nifti"):
        (folder / part).mkdir()
    make_series(name, folder / "phantom", folder / "dicom")
    instances = series_to_nifti(name, folder / "dicom", folder / "nifti")
    # a bundle that reads series gets them as they are: affines of NIfTI differ in the seventh digit, by which Spacingd of MONAI
    # may put the voxels of an oblique volume elsewhere
    reads_series = "find_series" in json.dumps(config(bundles.folder(name), "inference"))
    run_bundle(name, folder / ("dicom" if reads_series else "nifti"), folder / "alone")
    expected = np.asarray(nib.load(next((folder / "alone").rglob("*.nii.gz"))).dataobj)
    expect(expected.any(), f"{name}: the label map is empty")
    for bundle in filter(None, (name, packed)):
        output = folder / ("seg" if bundle == name else "seg_packed")
        run(APP, bundle, "--input", folder / "dicom", "--output", output)
        written = list(output.glob("*.dcm"))
        expect(len(written) == 1, f"{bundle}: {len(written)} files written, expected one DICOM SEG")
        seg = highdicom.seg.segread(written[0])
        frames = None
        for uids in instances:  # the SEG refers to one of the series
            if {str(uid) for _, _, uid in seg.get_source_image_uids()} & {str(uid) for uid in uids}:
                options = {"ignore_spatial_locations": True, "assert_missing_frames_are_empty": True, "combine_segments": True}
                frames = seg.get_pixels_by_source_instance(uids, **options)
        expect(frames is not None, f"{name}: the SEG refers to none of the series")
        segments = bundles.metadata(name).get("segments") or range(1, int(expected.max()) + 1)
        values = [0, *(int(value) for value in segments)]
        found = np.asarray(values)[frames].transpose(2, 1, 0)
        different = int((found != expected).sum())
        names = [segment.SegmentLabel for segment in seg.SegmentSequence]
        say(f"{bundle}: {different} of {found.size} voxels differ from the bundle by itself; segments {names}")
        expect(different <= DIFFERENT * found.size, f"{bundle}: too many voxels differ")


def check_classification(name: str, folder: Path) -> None:
    """The app says of a film what the bundle says, and writes a report that belongs to the film's study."""
    (folder / "film").mkdir()
    film = next(path for path in sorted((folder / "phantom").rglob("*.dcm")))
    (folder / "film" / film.name).write_bytes(film.read_bytes())
    run_bundle(name, folder / "film", folder / "alone")
    with next((folder / "alone").glob("*.csv")).open() as file:
        row = next(csv.DictReader(file))
    run(APP, name, "--input", folder / "film", "--output", folder / "report")
    result = json.loads((folder / "report" / "result.json").read_text())
    for key in result.keys() & row.keys():
        same = abs(result[key] - float(row[key])) < 1e-4 if isinstance(result[key], float) else result[key] == row[key]
        expect(same, f"{name}: {key} is {result[key]}, by the bundle itself {row[key]}")
    expect({"class", "probability"} <= result.keys() & row.keys(), f"{name}: result {result}, row {row}")
    report = pydicom.dcmread(next((folder / "report").glob("*.dcm")))
    text = report.ContentSequence[0].TextValue
    expect(report.StudyInstanceUID == pydicom.dcmread(film).StudyInstanceUID, f"{name}: the report is of another study")
    expect(result["class"] in text, f"{name}: the report says {text}")
    say(f"{name}: as by the bundle itself; the report says: {text}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", nargs="*", help="names; by default every bundle that segments or classifies")
    kinds = ("segmentation", "classification")
    names = parser.parse_args().bundles or [name for name in bundles.names() if kind(name) in kinds]
    resource.setrlimit(resource.RLIMIT_STACK, (2**25, resource.getrlimit(resource.RLIMIT_STACK)[1]))  # Holoscan asks for it
    with tempfile.TemporaryDirectory() as temporary:
        for number, name in enumerate(names):
            folder = Path(temporary) / name
            write_phantom(name, folder / "phantom", 3)
            if kind(name) == "classification":
                check_classification(name, folder)
                continue
            packed = folder / "unzipped" / name if number == 0 else None
            if packed:
                packed.parent.mkdir()
                pack.lay_out(bundles.folder(name), packed)
                pack.add_torchscript(packed)
            check_segmentation(name, folder, packed)
    say("all is well")


if __name__ == "__main__":
    main()
