"""What MLflow gets of a run beside losses and scores: its options and files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ignite.engine import Engine, Events
from monai.handlers import MLFlowHandler

FILES = ("model.pt", "*.csv", "config_*.json")
LONGEST = 500  # characters of a value


def plain_options(config: Mapping) -> dict[str, str]:
    """The options of a config: what stands at its top and is a number, text, true, false, null or a list of these.

    Expressions and references are no options, nor is what is longer than 500 characters.
    """

    def plain(value) -> bool:
        if isinstance(value, list):
            return all(not isinstance(item, list) and plain(item) for item in value)
        return not isinstance(value, dict) and not str(value).startswith(("$", "@", "%"))

    return {key: str(value) for key, value in config.items() if plain(value) and len(str(value)) <= LONGEST}


def track(engine: Engine, folder: Path) -> None:
    """Give the options and files of a run to MLflow, where `--tracking mlflow` attached MONAI's handler to the engine.

    Call it before that handler starts. MONAI writes the config that is run, overrides included, into the run's folder; its
    options become parameters of the MLflow run. MONAI would also pass it on as an artefact but looks for it in the wrong place
    when output_dir is no expression (1.6.1). Artefacts are taken when the run is complete.

    Args:
        engine: the trainer.
        folder: output_dir of the run.
    """
    handlers = [getattr(handler, "__self__", None) for handler, *_ in engine._event_handlers[Events.STARTED]]
    trackers = [handler for handler in handlers if isinstance(handler, MLFlowHandler)]
    configs = sorted(folder.glob("config_*.json"))
    for tracker in trackers:
        tracker.start(engine)
        run = tracker.cur_run.info.run_id
        known = tracker.client.get_run(run).data.params  # a run that is gone on with cannot change them
        for key, value in plain_options(json.loads(configs[-1].read_text())).items() if configs else ():
            if key not in known:
                tracker.client.log_param(run, key, value)
        engine.add_event_handler(Events.EPOCH_COMPLETED, _collect, tracker, folder)


def _collect(engine: Engine, tracker: MLFlowHandler, folder: Path) -> None:
    tracker.artifacts = tuple(str(path) for pattern in FILES for path in sorted(folder.glob(pattern)))
