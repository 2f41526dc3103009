"""What `benchmark` runs in a process of its own, `python -m tools.stages JOB REPORT`: a bundle's command with clocks in it.

JOB is a JSON file with "what" (inference or training), "files" (configs, merged in order) and "options" (overrides); REPORT is
written. Nothing is imported before the clock runs, since imports are a stage.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path


class Clock:
    """Seconds spent in named stages; the time of a stage inside another one counts for the inner one alone.

    Every thread nests for itself, so stages of two threads that work at the same time may add up to more than the whole.
    """

    def __init__(self):
        self.seconds: dict[str, float] = defaultdict(float)
        self._thread = threading.local()

    @contextlib.contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        before = getattr(self._thread, "inside", 0.0)  # spent in stages inside the surrounding one so far
        self._thread.inside, start = 0.0, time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self.seconds[stage] += spent - self._thread.inside
            self._thread.inside = before + spent


def time_calls(component: Callable, stage: str, clock: Clock) -> None:
    """Count the calls of one object for a stage, by a subclass of its own; MONAI finds the same type and name as before."""
    kind = type(component)

    def timed(self, *args, **kwargs):
        import torch

        with clock(stage):
            result = kind.__call__(self, *args, **kwargs)
            if torch.cuda.is_available():
                torch.cuda.synchronize()  # else work that was only queued would count for the next stage
            return result

    component.__class__ = type(kind)(kind.__name__, (kind,), {"__call__": timed})


def inference(files: list[str], options: dict, clock: Clock) -> dict:
    """Run an inference config.

    Returns:
        seconds of each stage and of the "whole", which is less than their sum where threads prepare the next case and save
        the last one while the network works.
    """
    start = time.perf_counter()
    with clock("import"):
        from monai.bundle import ConfigWorkflow
        from monai.engines.utils import IterationEvents
        from monai.transforms import LoadImaged, SaveImaged
    with clock("config"):
        workflow = ConfigWorkflow(files, workflow_type="infer", **options)
        workflow.initialize()
        get = workflow.parser.get_parsed_content
        preprocessing, inferer, postprocessing, evaluator = map(
            get, ("preprocessing", "inferer", "postprocessing", "evaluator")
        )
        loaders = get("load") if "load" in workflow.parser else ()
    for transform in preprocessing.transforms:
        if isinstance(transform, LoadImaged) or transform in loaders:
            time_calls(transform, "load", clock)
    for transform in postprocessing.transforms:
        if isinstance(transform, SaveImaged):
            time_calls(transform, "save", clock)
    time_calls(preprocessing, "preprocess", clock)
    time_calls(inferer, "network", clock)
    time_calls(postprocessing, "postprocess", clock)
    engine = getattr(evaluator, "behind", evaluator)  # shared.engines.CaseEvaluator has an engine for what follows the network
    fire_event = engine.fire_event

    def fire(event):
        # it starts postprocessing, which is counted by itself, and then the handlers
        with clock("tables, pictures") if event == IterationEvents.MODEL_COMPLETED else contextlib.nullcontext():
            fire_event(event)

    engine.fire_event = fire
    workflow.run()
    workflow.finalize()
    return {**clock.seconds, "whole": time.perf_counter() - start}


def training(files: list[str], options: dict, clock: Clock) -> dict:
    """Run a training config.

    Returns:
        seconds until the first epoch ("start"), seconds of the first epoch ("first epoch"), which fills a cache on disk,
        and "steps" and their "seconds" in all later epochs.
    """
    start = time.perf_counter()
    from ignite.engine import Events
    from monai.bundle import ConfigWorkflow

    workflow = ConfigWorkflow(files, workflow_type="train", **options)
    workflow.initialize()
    trainer = workflow.parser.get_parsed_content("train::trainer")
    started, ended = [], []  # per epoch: before its first batch is loaded, after its last step
    trainer.add_event_handler(Events.EPOCH_STARTED, lambda _: started.append(time.perf_counter()))
    trainer.add_event_handler(Events.EPOCH_STARTED, lambda _: ended.append(0.0))
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda _: ended.__setitem__(-1, time.perf_counter()))
    workflow.run()
    workflow.finalize()
    seconds = [after - before for before, after in zip(started, ended, strict=True)]
    steps = trainer.state.epoch_length * (len(seconds) - 1)
    return {"start": started[0] - start, "first epoch": seconds[0], "steps": steps, "seconds": sum(seconds[1:])}


def main(job: str, report: str) -> None:
    """Do the job and write the report."""
    content = json.loads(Path(job).read_text())
    run = {"inference": inference, "training": training}[content["what"]]
    Path(report).write_text(json.dumps(run(content["files"], content["options"], Clock())))


if __name__ == "__main__":
    main(*sys.argv[1:])
