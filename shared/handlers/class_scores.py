"""A score of every class where logs and TensorBoard find it."""

from __future__ import annotations

from collections.abc import Sequence

from ignite.engine import Engine, Events


class ClassScores:
    """Put the mean of a metric over cases, class by class, among an engine's metrics: dice_CSF, dice_GM, ...

    Attach it before the handlers that log metrics. Cases in which a class has no score (NaN) do not count.

    Args:
        metric: name of a metric whose details MONAI keeps, (cases, classes).
        classes: names of its channels.
    """

    def __init__(self, metric: str, classes: Sequence[str]):
        self.metric, self.classes = metric, list(classes)

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        means = engine.state.metric_details[self.metric].nanmean(0).tolist()
        engine.state.metrics |= {f"{self.metric}_{n}": m for n, m in zip(self.classes, means, strict=True)}
