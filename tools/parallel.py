"""Work through items in several processes, with a progress bar; Ctrl-C ends them soon and leaves no file half written."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

from tqdm import tqdm


def unordered(function: Callable, items: Sequence, workers: int, desc: str, unit: str = "case") -> Iterator:
    """Yield `function(item)` for every item, in the order they finish.

    Args:
        function: importable by its name; what it raises ends the loop.
        items: what it is called with.
        workers: processes; below 2 everything happens in this one.
        desc: in front of the progress bar.
        unit: what an item is.

    Raises:
        ChildProcessError: a worker was killed.
    """
    if workers < 2:
        yield from map(function, tqdm(items, desc=desc, unit=unit))
        return
    # a forked child would inherit locks of the threads that torch and ITK have started
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(items)) or 1, context, initializer=_start) as pool:
        try:
            futures = [pool.submit(_call, function, item) for item in items]
            for future in tqdm(as_completed(futures), total=len(futures), desc=desc, unit=unit):
                yield future.result()
        except BrokenProcessPool:
            raise ChildProcessError("a worker process was killed, often for lack of memory: try fewer workers") from None
        except BaseException:
            workers_left = multiprocessing.active_children()
            for process in workers_left:
                process.terminate()
            for process in workers_left:  # the pool swallows the signal while it hands a result over
                process.join(10)
                process.kill()
            pool.shutdown(cancel_futures=True)
            raise


def _start() -> None:
    """Make a worker deaf to Ctrl-C, which reaches all processes of a terminal, and let it clean up when told to end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


def _call(function: Callable, item):
    try:
        return function(item)
    except SystemExit:  # told to end: the pool would take it for a failed item and go on with the next
        os._exit(1)
