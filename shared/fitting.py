"""Train a RegionalRegressor's linear layers in closed form: squared error and a ridge penalty that is chosen by itself."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.utils import CommonKeys as Keys
from scipy.optimize import minimize

from .distributed import everyones
from .networks.regional import RegionalRegressor

PENALTIES = np.logspace(-4, 2, 25)
GROUPS = 10
LEAST_SPREAD = 0.005  # of the largest standard deviation among the features
STEADINESS = (1.0, 2.0, 3.0, 5.0)  # tried by `steady_ridge`
logger = logging.getLogger(__name__)


def ridge(x: np.ndarray, y: np.ndarray, people: Sequence[str]) -> tuple[np.ndarray, float, np.ndarray]:
    """Ridge regression on standardised features, with the penalty of least squared error on people left out.

    Ten groups of people are left out in turn; all rows of a person, several views of one head, stay together. Solved in the
    space of the rows, so there may be many more features than rows.

    Args:
        x: features (N, P).
        y: truth (N,).
        people: whose row it is (N,).

    Returns:
        weights (P,) and offset for features as they are, and the predictions for people left out (N,).
    """
    names = sorted(set(people))
    order = np.random.default_rng(0).permutation(len(names))
    group_of = {name: int(order[i]) % min(GROUPS, len(names)) for i, name in enumerate(names)}
    group = np.array([group_of[name] for name in people])
    mean, spread = x.mean(0), x.std(0)
    # what hardly varies here, air beside the head, may vary in others, where it must not count a thousandfold
    varies = spread > max(LEAST_SPREAD * spread.max(), 1e-8)
    scale = np.where(varies, 1 / np.where(varies, spread, 1), 0) / np.sqrt(x.shape[1])
    z = (x - mean) * scale
    kernel = z @ z.T
    left_out = np.zeros((len(PENALTIES), len(y)))
    for number in np.unique(group):
        rest, out = group != number, group == number
        if not rest.any():  # a single person
            left_out[:, out] = y.mean()
            continue
        values, vectors = np.linalg.eigh(_centred(kernel[np.ix_(rest, rest)]))
        cross = kernel[np.ix_(out, rest)]
        cross = cross - cross.mean(1, keepdims=True) - kernel[np.ix_(rest, rest)].mean(0) + kernel[np.ix_(rest, rest)].mean()
        turned = vectors.T @ (y[rest] - y[rest].mean())
        for i, penalty in enumerate(PENALTIES):
            left_out[i, out] = cross @ (vectors @ (turned / (values.clip(0) + penalty * rest.sum()))) + y[rest].mean()
    best = int(((left_out - y) ** 2).mean(1).argmin())
    values, vectors = np.linalg.eigh(_centred(kernel))
    dual = vectors @ ((vectors.T @ (y - y.mean())) / (values.clip(0) + PENALTIES[best] * len(y)))
    weights = (z.T @ (dual - dual.mean())) * scale
    return weights, float(y.mean() - mean @ weights), left_out[best]


def _centred(kernel: np.ndarray) -> np.ndarray:
    rows = kernel.mean(0)
    return kernel - rows - rows[:, None] + rows.mean()


def steady_ridge(x: np.ndarray, y: np.ndarray, people: Sequence[str]) -> tuple[np.ndarray, float, np.ndarray]:
    """`ridge` on several views of each head, whose predictions hang little on what changes between the views.

    The views of each person are moved away from the person's mean, so that least squares weighs what changes between them
    that number squared times. How far is chosen, like the penalty, by people left out.

    Returns:
        as `ridge`, with the mean of each person's views as prediction.
    """
    mean = person_means(x, people)
    best = None
    for factor in STEADINESS:
        weights, offset, left_out = ridge(mean + factor * (x - mean), y, people)
        left_out = person_means(left_out[:, None], people)[:, 0]
        error = np.abs(left_out - y).mean()
        if best is None or error < best[0]:
            best = error, (weights, offset, left_out)
    return best[1]


def person_means(x: np.ndarray, people: Sequence[str]) -> np.ndarray:
    """Each row of x (N, P) replaced by the mean of the rows of the same person."""
    numbers = np.unique(np.asarray(people), return_inverse=True)[1]
    mean = np.stack([np.bincount(numbers, column) for column in x.T], 1) / np.bincount(numbers)[:, None]
    return mean[numbers]


def log_odds(scores: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Slope and offset that turn scores into log odds of truth being 1, by maximum likelihood (Platt)."""

    def loss(line: np.ndarray) -> float:
        return float(np.logaddexp(0, -(2 * truth - 1) * (line[0] * scores + line[1])).mean() + 1e-4 * line[0] ** 2)

    slope, offset = minimize(loss, np.array([1.0, 0.0])).x
    return float(slope), float(offset)


class RegionalFit:
    """What has been measured in heads so far, and the fit of a RegionalRegressor to it.

    Every view of a head adds a row; more views, moved and degraded at random, make the fit insensitive to such changes.

    Args:
        network: its `age` and `sex` layers are set, and `centres` if they are still zero.
    """

    def __init__(self, network: RegionalRegressor):
        self.network = network
        self.people: list[str] = []
        self.statistics: list[torch.Tensor] = []
        self.heads: list[torch.Tensor] = []
        self.truth: list[torch.Tensor] = []

    def add(self, people: Sequence[str], measured: torch.Tensor, truth: torch.Tensor) -> None:
        """Keep the network's measurements of a batch, and what is known of these people (B, 2)."""
        self.people += people
        # plain tensors: a checkpoint with MetaTensors in it cannot be loaded with weights_only
        measured = measured.as_subclass(torch.Tensor).cpu()
        self.statistics.append(measured[:, : self.network.age.in_features].clone())
        self.heads.append(measured[:, self.network.age.in_features :].half())
        self.truth.append(truth.as_subclass(torch.Tensor).cpu())

    def solve(self) -> None:
        """Set both layers to what fits all that was kept, by all processes."""
        statistics, heads, truth = (_gather(parts) for parts in (self.statistics, self.heads, self.truth))
        people = everyones(self.people)
        age, male = ~np.isnan(truth[:, 0]), ~np.isnan(truth[:, 1])
        if age.any():
            those = _those(people, age)
            weights, offset, left_out = steady_ridge(statistics[age], truth[age, 0], those)
            _set(self.network.age, weights, offset)
            error = np.abs(left_out - truth[age, 0]).mean()
            logger.info(f"fit to {len(set(people))} people, {len(people)} views: {error:.2f} years off for those left out")
        if len(np.unique(truth[male, 1])) == 2:
            those = _those(people, male)
            weights, offset, left_out = ridge(heads[male], 2 * truth[male, 1] - 1, those)
            slope, shift = log_odds(left_out, truth[male, 1])
            _set(self.network.sex, weights * slope, offset * slope + shift)
            right = ((slope * left_out + shift > 0) == (truth[male, 1] > 0.5)).mean()
            logger.info(f"sex of {right:.1%} right of those left out")

    def state_dict(self) -> dict:
        return {"people": self.people, "statistics": self.statistics, "heads": self.heads, "truth": self.truth}

    def load_state_dict(self, state: dict) -> None:
        for name, value in state.items():
            setattr(self, name, list(value))


def _gather(parts: list[torch.Tensor]) -> np.ndarray:
    return np.concatenate(everyones([torch.cat(parts).numpy()])).astype(np.float64)


def _those(people: Sequence[str], mask: np.ndarray) -> list[str]:
    return [name for name, known in zip(people, mask, strict=True) if known]


def _set(layer: torch.nn.Linear, weights: np.ndarray, offset: float) -> None:
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weights)[None])
        layer.bias.fill_(offset)


class RegionalTrainer(SupervisedTrainer):
    """A trainer that looks at every head and fits the network in closed form at the end of each epoch.

    Takes what MONAI's SupervisedTrainer takes; loss and optimizer are not used for steps, the loss is what the log shows.
    Before the first epoch it finds the average head, if the network has none yet.

    Args:
        fit: the RegionalFit of the network.
    """

    def __init__(self, *args, fit: RegionalFit, **kwargs):
        super().__init__(*args, **kwargs)
        self.fit = fit
        self.add_event_handler(Events.STARTED, self._find_average)  # behind the handlers, which may load weights

    def _find_average(self, engine) -> None:
        if not self.fit.network.centres.any():
            self.fit.network.eval()
            logger.info("finding the average head")
            with torch.no_grad():
                own = [self.fit.network.locate(batch[Keys.IMAGE].to(self.state.device)).cpu() for batch in self.data_loader]
            self.fit.network.set_average(torch.cat(everyones(own)))

    def _iteration(self, engine, batchdata):
        image, truth = engine.prepare_batch(batchdata, engine.state.device, engine.non_blocking, **engine.to_kwargs)
        self.fit.network.eval()
        with torch.no_grad():
            measured = self.inferer(image, self.fit.network.measure)
            pred = self.fit.network.judge(measured)
        self.fit.add(batchdata["subject"], measured, truth)
        engine.state.output = {Keys.IMAGE: image, Keys.LABEL: truth, Keys.PRED: pred}
        engine.state.output[Keys.LOSS] = self.loss_function(pred, truth)
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        if self.state.iteration % self.state.epoch_length == 0:
            self.fit.solve()  # before the handlers of the epoch's end validate and save
        return engine.state.output
