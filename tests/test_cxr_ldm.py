"""The bundle as users run it, with tiny networks on synthetic films."""

import json

import numpy as np
import pydicom
import pytest
import torch
from monai.bundle import ConfigParser, run
from PIL import Image

from shared.errors import InputError
from shared.handlers.case_table import read_rows
from tools.phantoms.mimic_cxr import mimic_cxr
from tools.prepare import prepare
from tools.samples import diversity, fid, memorisation, speed

from .conftest import config

BUNDLE = "cxr_ldm"
SIZES = {
    "image_size": 64,
    "ssim_kernel": 3,
    "autoencoder_channels": [8, 8, 8, 8],
    "unet_channels": [16, 16, 16],
    "device": "cpu",
}
SIZES |= {"unet_head_channels": 8, "text_width": 16}
STAGE1 = {"critic_channels": 4, "films_per_batch": 4, "precision": "float32", "warmup_epochs": 0, "lr_scheduler::t_total": 2}
STAGE2 = {"views": 2, "latents_per_batch": 4, "precision": "float32", "lr_scheduler::t_total": 3}


def of(name):
    """The sizes that a config knows: others would be refused on the command line."""
    known = ConfigParser.load_config_file(config(name, BUNDLE))
    return {key: value for key, value in SIZES.items() if key in known}


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mimic")
    mimic_cxr(str(folder), cases=16, seed=2, size=96)
    prepare("mimic_cxr", str(folder), resized=str(folder / "png"), workers=1)
    return folder


@pytest.fixture(scope="module")
def trained(films, tmp_path_factory):
    """Both stages, straight and with a break."""
    root = tmp_path_factory.mktemp("runs")
    for name, parts in {"straight": [2], "broken": [1, 2]}.items():
        for epochs in parts:
            run(
                config_file=config("train_autoencoder", BUNDLE),
                dataset_dir=str(films),
                output_dir=str(root / name / "1"),
                max_epochs=epochs,
                val_interval=1,
                critic_from=1,
                resume=epochs != parts[0],
                **of("train_autoencoder"),
                **STAGE1,
            )
        for epochs in parts:
            run(config_file=config("train_diffusion", BUNDLE), dataset_dir=str(films), output_dir=str(root / name / "2"),
                max_epochs=epochs, resume=epochs != parts[0], autoencoder_weights=str(root / name / "1" / "model.pt"),
                **of("train_diffusion"), **STAGE2)  # fmt: skip
    return root


def sample(trained, output, **options):
    stage1, stage2 = (str(trained / "straight" / stage / "model.pt") for stage in "12")
    weights = {"checkpoint": stage2, "autoencoder_weights": stage1}
    options = {**of("inference"), **weights, "steps": 2, **options}
    run(config_file=config("inference", BUNDLE), output_dir=str(output), **options)


@pytest.mark.parametrize("stage", ["1", "2"])
def test_a_broken_run_ends_with_the_same_weights(trained, stage):
    straight, broken = (torch.load(trained / name / stage / "last.pt", weights_only=True) for name in ("straight", "broken"))
    assert straight["epoch"] == broken["epoch"] == 2
    for key, value in straight["network"].items():
        assert torch.equal(value, broken["network"][key]), key


def test_weights_hold_the_scale_and_the_words(trained):
    state = torch.load(trained / "straight" / "2" / "model.pt", weights_only=True)
    assert state["scale_factor"] > 0 and state["scale_factor"] != 1
    words = bytes(state["text.letters"].tolist()).rstrip(b"\0").decode().split("\n")
    assert {"lungs", "pneumonia"} <= set(words)
    latest = torch.load(trained / "straight" / "2" / "last.pt", weights_only=True)["latest"]
    assert any(not torch.equal(value, latest[key]) for key, value in state.items())  # the mean is kept, not the latest


def test_the_autoencoder_is_scored_and_pictured(films, trained, tmp_path):
    files = [config("train_autoencoder", BUNDLE), config("evaluate", BUNDLE)]
    weights = str(trained / "straight" / "1" / "model.pt")
    run(config_file=files, dataset_dir=str(films), output_dir=str(tmp_path), checkpoint=weights, **of("train_autoencoder"))
    testing = {item["case"] for item in json.loads((films / "datalist.json").read_text())["testing"]}
    rows = read_rows(tmp_path / "per_case.csv")
    assert set(rows) == testing and all(0 < float(row["ms_ssim"]) <= 1 and float(row["psnr"]) > 0 for row in rows.values())
    assert Image.open(tmp_path / "reconstructions.png").size[0] > 300


def test_samples_are_files_that_say_what_they_are(trained, tmp_path):
    sample(trained, tmp_path, prompt="Pneumonia.", number=2, seed=5, dicom=True, guidance=2.0)
    rows = read_rows(tmp_path / "samples.csv")
    assert list(rows) == ["pneumonia_seed5", "pneumonia_seed6"]
    for name, row in rows.items():
        film, picture = pydicom.dcmread(tmp_path / f"{name}.dcm"), Image.open(tmp_path / f"{name}.png")
        np.testing.assert_array_equal(film.pixel_array, np.asarray(picture))
        assert film.ImageType == ["DERIVED", "SECONDARY"] and film.ConversionType == "SYN" and film.BurnedInAnnotation == "NO"
        assert film.PatientID == "SYNTHETIC" and "SYNTHETIC" in film.SeriesDescription
        for text in (film.ImageComments, picture.text["Description"]):
            assert "synthetic" in text
        for key in ("prompt", "seed", "guidance", "weights"):
            assert row[key] in film.ImageComments and row[key] in picture.text[key]
    assert (tmp_path / "grid.png").stat().st_size
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*seed*")}
    sample(trained, tmp_path, prompt="Pneumonia.", number=3, seed=5, dicom=True, guidance=2.0)
    after = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*seed*")}
    assert after.items() > before.items() and len(after) == 6  # finished films stay
    sample(trained, tmp_path, prompt="Pneumonia.", number=1, seed=5, guidance=3.0)
    assert (tmp_path / "pneumonia_seed5.png").stat().st_mtime_ns > after["pneumonia_seed5.png"]  # made with other settings
    assert read_rows(tmp_path / "samples.csv")["pneumonia_seed5"]["guidance"] == "3.0"


def test_the_same_seed_gives_the_same_file(trained, tmp_path):
    for name in ("a", "b"):
        sample(trained, tmp_path / name, prompt="pneumonia", number=2, scheduler="ddim")
    for path in (tmp_path / "a").glob("*seed*.png"):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_an_over_long_prompt_does_not_stop_the_others(trained, tmp_path):
    (tmp_path / "prompts.txt").write_text("word " * 40 + "\npneumonia\n")
    with pytest.raises(InputError, match="1 of 2 cases failed:\n.*prompt of 42 tokens, expected 32 at most"):
        sample(trained, tmp_path / "out", prompts=str(tmp_path / "prompts.txt"), number=1)
    assert list(read_rows(tmp_path / "out" / "samples.csv")) == ["pneumonia_seed0"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"guidance": -1.0}, "guidance is -1.0"),
        ({"scheduler": "euler"}, "scheduler is 'euler', expected one of ddpm, ddim, pndm, dpm"),
        ({"steps": 0}, "0 steps"),
        ({"unet_channels": [16, 16, 32]}, "does not fit the network"),
        ({"prompts": "nowhere.txt"}, "no file of prompts"),
    ],
)
def test_what_cannot_be_sampled_is_told(trained, tmp_path, options, reason):
    with pytest.raises(SystemExit, match=reason):
        sample(trained, tmp_path, number=1, **options)
    assert not list(tmp_path.glob("*.png"))


def test_samples_are_measured(films, trained, tmp_path, monkeypatch):
    sample(trained, tmp_path, number=4)
    parser = ConfigParser(ConfigParser.load_config_file(config("train_autoencoder", BUNDLE)))
    monkeypatch.setattr("tools.samples._parser", lambda *_, **__: (parser.update(of("train_autoencoder")), parser)[1])
    result = fid(str(tmp_path), str(films))
    assert result["n"]["samples"] == 4 and result["fid"] > 0 and "input 0 to 1" in result["features"]
    assert 0 < diversity(str(tmp_path), str(films))["samples"] <= 1
    result = memorisation(str(tmp_path), str(films), picture=str(tmp_path / "near.png"))
    assert "of 4" in result["samples nearer than any testing film"] and (tmp_path / "near.png").stat().st_size


def test_the_full_configuration_is_that_of_the_reference():
    parser = ConfigParser(ConfigParser.load_config_files([config("train_autoencoder", BUNDLE), config("full", BUNDLE)]))
    with torch.device("meta"):
        network = parser.get_parsed_content("autoencoder_def")
        assert [tuple(part.shape[1:]) for part in network.encode(torch.rand(1, 1, 512, 512))] == [(3, 64, 64)] * 2
    values = {key: parser[key] for key in ("perceptual_weight", "adversarial_weight", "kl_weight", "learning_rate")}
    assert values == {"perceptual_weight": 0.002, "adversarial_weight": 0.005, "kl_weight": 1e-8, "learning_rate": 5e-5}
    parser = ConfigParser(ConfigParser.load_config_files([config("train_diffusion", BUNDLE), config("full", BUNDLE)]))
    parser["text_encoder_def"] = {"_target_": "torch.nn.Identity"}  # CLIP itself has to be downloaded
    with torch.device("meta"):
        network = parser.get_parsed_content("diffusion_def")
        output = network.unet(torch.rand(1, 3, 64, 64), torch.zeros(1), context=torch.rand(1, 77, 1024))
    assert output.shape == (1, 3, 64, 64) and parser["diffusion_learning_rate"] == 2.5e-5 and parser["empty_share"] == 0.1


def test_a_batch_and_a_plain_loop_make_the_same_films():
    """With the shipped weights."""
    result = speed(BUNDLE, number=2, steps=2, guidance=2.0)
    assert result["largest difference"] < 1e-3 and result["batched, seconds per film"] > 0
