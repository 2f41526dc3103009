"""`samples`: score images that a bundle has made from text: FID, diversity, memorisation, and the time that they take."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from monai.bundle import ConfigParser
from PIL import Image
from tqdm import tqdm

from shared.data import read_datalist
from shared.handlers.samples import grid_figure
from shared.handlers.weights import read_state
from shared.inferers import noise_scheduler
from shared.metrics import frechet_distance, nearest, pairwise_similarity
from shared.networks import FilmFeatures
from shared.paths import atomic_write
from shared.transforms.reconstruct import ms_ssim

from . import bundles

CANDIDATES = 8  # films whose features are nearest, among which the one nearest by MS-SSIM is looked for
BATCH = 32


def fid(
    folder: str,
    dataset_dir: str,
    bundle: str = "cxr_ldm",
    section: str = "testing",
    features: str = "local",
    feature_weights: str | None = None,
) -> dict:
    """Frechet distance between features of sampled films and of real ones, beside that between two sets of real ones.

    Args:
        folder: PNG files that inference wrote.
        dataset_dir: a prepared dataset.
        bundle: whose preprocessing the real films get.
        section: of the real films.
        features: local (the bundle's small network), radimagenet or inception. All get images of 0..1 and bring them into
            their own range. Distances of different networks, or numbers of films, cannot be compared.
        feature_weights: file of the network; by default the bundle's own for "local".
    """
    network = FilmFeatures(features, feature_weights or _own(bundle, features))
    sets = {"samples": read_samples(folder), section: read_films(bundle, dataset_dir, section)}
    other = "training" if section != "training" else "testing"
    sets[other] = read_films(bundle, dataset_dir, other)
    vectors = {name: embed(network, films) for name, films in sets.items()}
    count = min(map(len, vectors.values()))  # the distance depends on the number of films
    chosen = {n: v[np.random.default_rng(0).permutation(len(v))[:count]] for n, v in vectors.items()}
    result = {
        "features": f"{features}, {vectors[section].shape[1]} numbers, input 0 to 1",
        "fid": frechet_distance(vectors["samples"], vectors[section]),
        "n": {name: len(v) for name, v in vectors.items()},
        f"fid of {count} samples": frechet_distance(chosen["samples"], chosen[section]),
        f"fid of {count} {other} films": frechet_distance(chosen[other], chosen[section]),
    }
    return _told(result)


def diversity(folder: str, dataset_dir: str, bundle: str = "cxr_ldm", section: str = "testing", pairs: int = 1000) -> dict:
    """Mean MS-SSIM over random pairs of sampled films, beside that of real ones; the smaller, the more they differ.

    Args:
        folder: PNG files that inference wrote.
        dataset_dir: a prepared dataset.
        bundle: whose preprocessing the real films get.
        section: of the real films.
        pairs: of each set.
    """
    sets = {"samples": read_samples(folder), section: read_films(bundle, dataset_dir, section)}
    kernel, found = _parser(bundle)["ssim_kernel"], {}
    for name, films in sets.items():
        values = pairwise_similarity(films, kernel, pairs)
        found |= {name: float(values.mean()), f"{name}, n": f"{len(values)} pairs of {len(films)}"}
    return _told(found)


def memorisation(
    folder: str,
    dataset_dir: str,
    bundle: str = "cxr_ldm",
    more_dirs: Sequence[str] = (),
    picture: str | None = None,
) -> dict:
    """The training film that is nearest to every sampled one, by MS-SSIM, beside the same for films that were never trained on.

    A model that copies its training films makes samples nearer to them than other patients' films are.

    Args:
        folder: PNG files that inference wrote.
        dataset_dir: the prepared dataset that the model was trained on; the films under "testing" are the comparison.
        bundle: whose preprocessing the real films get.
        more_dirs: further datasets of the training.
        picture: a file for a picture of the eight samples that are nearest to a training film, with these.
    """
    network = FilmFeatures("local", _own(bundle, "local"))
    kernel = _parser(bundle)["ssim_kernel"]
    training = torch.cat([read_films(bundle, path, "training") for path in (dataset_dir, *more_dirs)])
    sets = {"samples": read_samples(folder), "testing": read_films(bundle, dataset_dir, "testing")}
    known, values, places = embed(network, training), {}, {}
    for name, films in sets.items():
        near = nearest(embed(network, films), known, CANDIDATES)
        scores = [
            ms_ssim(film[None].expand(len(row), -1, -1, -1), training[row], kernel)
            for film, row in zip(films, near, strict=True)
        ]
        places[name] = np.array([row[int(score.argmax())] for row, score in zip(near, scores, strict=True)])
        values[name] = np.array([float(score.max()) for score in scores])
    if picture:
        first = np.argsort(-values["samples"])[:8]
        rows = {"samples": sets["samples"][first], "nearest training films": training[places["samples"][first]]}
        _save(grid_figure({name: list(films[:, 0].numpy()) for name, films in rows.items()}), Path(picture))
    limit = float(values["testing"].max())
    result = {
        f"{name}, {what}": float(f(v)) for name, v in values.items() for what, f in {"mean": np.mean, "largest": np.max}.items()
    }
    result |= {"samples nearer than any testing film": f"{int((values['samples'] > limit).sum())} of {len(values['samples'])}"}
    return _told(result | {"n": f"{len(training)} training, {len(sets['testing'])} testing films"})


def speed(bundle: str = "cxr_ldm", number: int = 8, steps: int = 20, guidance: float = 7.0) -> dict:
    """Seconds per film: a batch with guidance in one pass, and a plain loop over films with two passes a step.

    Both take the same noise and give the same films; they are measured in turns, twice, and the faster time counts.

    Args:
        bundle: its shipped weights and inference config.
        number: of films.
        steps: of DPM-Solver++.
        guidance: of classifier-free guidance.
    """
    own = {"bundle_root": str(bundles.folder(bundle)), "guidance": guidance, "steps": steps, "device": "cpu"}
    # set before anything is built, since a change makes the parser build all of it anew
    own |= {"inferer::autoencoder": "@autoencoder_def", "inferer::verbose": False}
    parser = _parser(bundle, "inference", **own)
    network, autoencoder, noise = (parser.get_parsed_content(key) for key in ("network_def", "autoencoder_def", "noise"))
    network.load_state_dict(read_state(bundles.folder(bundle) / "models" / "diffusion.pt"))
    autoencoder.load_state_dict(read_state(bundles.folder(bundle) / "models" / "autoencoder.pt"))
    inferer = parser.get_parsed_content("inferer")
    network.eval(), autoencoder.eval()
    tokens = network.text.tokenize("pneumonia.")[None]
    start = torch.randn(number, *parser.get_parsed_content("latent_shape"), generator=torch.Generator().manual_seed(0))

    @torch.no_grad()
    def batched() -> torch.Tensor:
        return inferer(start, network, tokens.expand(number, -1), torch.zeros(number))

    @torch.no_grad()
    def plain() -> torch.Tensor:
        films = []
        texts = [network.text.tokenize(text)[None] for text in ("", "pneumonia.")]
        for latents in start.split(1):
            scheduler = noise_scheduler("dpm++", noise, steps)
            for timestep in scheduler.timesteps:
                without, told = (network(latents, timestep[None], text) for text in texts)
                latents, _ = scheduler.step(without + guidance * (told - without), timestep, latents)
            films.append(autoencoder.decode(latents / network.scale_factor).clamp(0, 1))
        return torch.cat(films)

    seconds: dict[str, float] = {}
    films: dict[str, torch.Tensor] = {}
    for _ in range(2):
        for way in (batched, plain):
            begin = time.perf_counter()
            films[way.__name__] = way()
            taken = (time.perf_counter() - begin) / number
            seconds[way.__name__] = min(taken, seconds.get(way.__name__, taken))
    difference = float((films["batched"] - films["plain"]).abs().max())
    return _told({f"{way}, seconds per film": value for way, value in seconds.items()} | {"largest difference": difference})


samples = {"fid": fid, "diversity": diversity, "memorisation": memorisation, "speed": speed}


def read_samples(folder: str) -> torch.Tensor:
    """The PNG files that inference wrote, (N, 1, H, W), 0..1.

    Raises:
        ValueError: there are fewer than two, or of different sizes.
    """
    paths = sorted(Path(folder).expanduser().glob("*_seed*.png"))
    films = [torch.from_numpy(np.asarray(Image.open(path), dtype=np.float32) / 255)[None] for path in paths]
    sizes = {tuple(film.shape) for film in films}
    if len(films) < 2 or len(sizes) > 1:
        raise ValueError(
            f"{folder}: {len(films)} sampled films (*_seed*.png) of sizes {sizes}, expected two or more of one size"
        )
    return torch.stack(films)


def read_films(bundle: str, dataset_dir: str, section: str) -> torch.Tensor:
    """A section of a prepared dataset as the bundle's autoencoder sees it, (N, 1, H, W), 0..1."""
    folder = str(Path(dataset_dir).expanduser().resolve())
    transform = _parser(bundle).get_parsed_content("validate::preprocessing")
    items = read_datalist(Path(folder) / "datalist.json", section, folder)
    return torch.stack([transform(item)["image"] for item in tqdm(items, desc=section, unit="film", delay=2)]).clamp(0, 1)


def embed(network: FilmFeatures, films: torch.Tensor) -> np.ndarray:
    """Features (N, F) of films (N, 1, H, W)."""
    with torch.no_grad():
        return torch.cat([network(part) for part in films.split(BATCH)]).numpy()


def _parser(bundle: str, config: str = "train_autoencoder", **overrides) -> ConfigParser:
    parser = ConfigParser(ConfigParser.load_config_file(next(bundles.folder(bundle).glob(f"configs/{config}.[jy]*"))))
    for key, value in overrides.items():
        parser[key] = value
    return parser


def _own(bundle: str, features: str) -> Path | None:
    return bundles.folder(bundle) / "models" / "features.pt" if features == "local" else None


def _save(figure: Figure, path: Path) -> None:
    with atomic_write(path.expanduser()) as temporary:
        figure.savefig(temporary, dpi=100)


def _told(result: dict) -> dict:
    """The result with numbers rounded, which fire prints."""
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in result.items()}
