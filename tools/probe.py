"""`probe`: what the vectors of an auto-encoder know of age and sex, beside other vectors of the same slices."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from monai.bundle import ConfigParser
from tqdm import tqdm

from shared.data import read_datalist
from shared.handlers.weights import read_state
from shared.metrics import statistic
from shared.transforms.slice_vectors import as_slices, ms_ssim

from . import bundles
from .linear import predict_people

SCORES = {"age MAE": ("mae", 0), "age r": ("pearson_r", 0), "sex accuracy": ("accuracy", 1), "sex AUC": ("auc", 1)}
RESAMPLES = 999
PREDICTIONS = tuple[np.ndarray, np.ndarray]  # age and probability of being male, (N,) each


def probe(
    bundle: str,
    dataset_dir: str,
    datalist: str | None = None,
    checkpoint: str | None = None,
    random: int = 5,
    **overrides,
) -> None:
    """Fit linear models of age and sex to the mean vector of each head's slices, and score them on the test section.

    The models are fitted to training and validation heads, the encoder stays as it is. Beside it stand the same network with
    random weights, principal components of the training slices, as many as the vector has numbers, and guessing the mean.
    Differences are those to the auto-encoder, and intervals 95 % bootstrap intervals over test heads. Heads without age or
    sex are left out.

    Args:
        bundle: an auto-encoder of slices, ixi_cae or the folder of one.
        dataset_dir: a prepared dataset whose test heads the encoder has not seen.
        datalist: that `prepare` wrote; by default datalist.json there.
        checkpoint: weights; by default the shipped ones.
        random: networks with random weights, over which scores are averaged.
        overrides: what the inference config defines, such as sequences.
    """
    root = bundles.folder(bundle)
    parser = ConfigParser()
    parser.read_config(str(next(root.glob("configs/inference.[jy]*"))))
    parser.update({"bundle_root": str(root), **overrides})
    load, inferer, network = (parser.get_parsed_content(key) for key in ("preprocessing", "inferer", "network_def"))
    sections = {}
    for name in ("training", "validation", "testing"):
        items = read_datalist(datalist or f"{dataset_dir}/datalist.json", name, dataset_dir, sequences=parser["sequences"])
        sections[name] = [item for item in items if item.get("age") is not None and item.get("sex")]
    fitted, tested = sections["training"] + sections["validation"], sections["testing"]
    slices = [as_slices(load(item)["image"]) for item in tqdm([*fitted, *tested], desc="heads", unit="head")]
    truth = (np.array([i["age"] for i in tested]), np.array([i["sex"] == "M" for i in tested], float))

    def predict(vectors: Sequence[np.ndarray]) -> PREDICTIONS:
        """From the vectors (D, K) of every head."""
        x = np.stack([v.mean(0) for v in vectors]).astype(float)
        return predict_people(x[: len(fitted)], fitted, x[len(fitted) :])

    def encode(weights: Mapping[str, torch.Tensor] | None) -> list[np.ndarray]:
        net = copy.deepcopy(network) if weights is not None else parser.get_parsed_content("network_def", instantiate=True)
        if weights is not None:
            net.load_state_dict(weights)
        net.eval()
        with torch.no_grad():
            return [inferer(s.permute(1, 2, 3, 0)[None], net)[0].numpy() for s in tqdm(slices, desc="encode", unit="head")]

    trained = encode(read_state(checkpoint or root / "models" / "model.pt"))
    mean, components = principal_components(torch.cat(slices[: len(sections["training"])]), trained[0].shape[1])
    flat = [(s.flatten(1) - mean) @ components.T for s in slices]
    guess = np.mean([i["age"] for i in fitted]), np.mean([i["sex"] == "M" for i in fitted])
    found = {"auto-encoder": [predict(trained)]}
    for seed in range(random):
        torch.manual_seed(seed)
        found.setdefault("random weights", []).append(predict(encode(None)))
    # turned at random, which changes nothing but that all numbers vary alike: the models standardise each number, and would
    # else give the last components, which are noise, the weight of the first
    turn = torch.linalg.qr(torch.randn([len(components)] * 2, generator=torch.Generator().manual_seed(0)))[0]
    found["principal components"] = [predict([(f @ turn).numpy() for f in flat])]
    found["mean of the others"] = [(np.full(len(tested), guess[0]), np.full(len(tested), guess[1]))]
    print(f"{len(tested)} test heads; models fitted to {len(fitted)} others\n\n{comparison(truth, found)}\n")
    for number in sorted({64, 256, len(components)}):
        rebuilt = [f[:, :number] @ components[:number] + mean for f in flat[len(fitted) :]]
        scores = [float(ms_ssim(r.view_as(s), s).mean()) for r, s in zip(rebuilt, slices[len(fitted) :], strict=True)]
        print(f"MS-SSIM of slices rebuilt from {number} principal components: {np.mean(scores):.3f}")


def principal_components(slices: torch.Tensor, number: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean (P,) and the first `number` components (at most one less than slices) of slices (N, ...) of P values."""
    flat = slices.flatten(1)
    mean = flat.mean(0)
    values, vectors = torch.linalg.eigh((flat - mean) @ (flat - mean).T)  # fewer slices than pixels
    number = min(number, len(flat) - 1)
    best = values.argsort(descending=True)[:number]
    return mean, (vectors[:, best].T @ (flat - mean)) / values[best].clamp_min(1e-12).sqrt()[:, None]


def comparison(truth: tuple[np.ndarray, np.ndarray], found: Mapping[str, Sequence[PREDICTIONS]]) -> str:
    """A table of all scores with intervals, and of the differences to the first kind of predictions.

    Args:
        truth: age and being male (N,).
        found: predictions by kind; where there are several, their scores are averaged.
    """
    draws = np.random.default_rng(0).integers(len(truth[0]), size=(RESAMPLES, len(truth[0])))
    lines = ["| vectors | " + " | ".join(f"{s} | difference" for s in SCORES) + " |", "|---" * (1 + 2 * len(SCORES)) + "|"]
    first: dict[str, Callable[[np.ndarray], float]] = {}
    for kind, predictions in found.items():
        cells = []
        for score, (name, which) in SCORES.items():

            def value(rows: np.ndarray, name=name, which=which, predictions=predictions) -> float:
                return float(np.mean([statistic(name, truth[which][rows], p[which][rows]) for p in predictions]))

            cells.append(_interval(value, draws))
            reference = first.setdefault(score, value)
            cells.append(
                "" if reference is value else _interval(lambda rows, v=value, r=reference: v(rows) - r(rows), draws, "+.3f")
            )
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _interval(value: Callable[[np.ndarray], float], draws: np.ndarray, form: str = ".3f") -> str:
    resampled = np.array([value(rows) for rows in draws])
    all_rows = value(np.arange(draws.shape[1]))
    if not np.isfinite(all_rows):
        return "-"
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return f"{all_rows:{form}} ({low:{form}} to {high:{form}})"
