import gc
import threading

import pytest
import torch
from monai.data import DataLoader
from monai.transforms import Compose

from shared.data import CaseDataset
from shared.engines import CaseEvaluator
from shared.errors import InputError


class Spy(torch.nn.Module):
    """Sets the event of each value it sees, and fails at 13."""

    def __init__(self):
        super().__init__()
        self.seen = {value: threading.Event() for value in range(4)}

    def forward(self, x):
        value = int(x.flatten()[0])
        if value == 13:
            raise RuntimeError("out of memory")
        self.seen[value].set()
        return x


def load(item):
    if item["image"] is None:
        raise ValueError(f"{item['case']}.nii.gz: no image")
    return {**item, "image": torch.full((1, 2), float(item["image"]))}


def evaluate(values, post, network):
    data = CaseDataset([{"case": f"c{v}", "image": v} for v in values], load)
    evaluator = CaseEvaluator(
        device="cpu", val_data_loader=DataLoader(data, batch_size=1), network=network, postprocessing=Compose([post])
    )
    evaluator.run()
    return evaluator


def test_the_network_works_on_the_next_case_while_the_last_is_saved():
    network, saved = Spy(), []

    def save(item):
        value = int(item["pred"].flatten()[0])
        # would wait in vain if the network waited for this
        assert value == 3 or network.seen[value + 1].wait(10)
        saved.append((item["case"], value))
        return item

    evaluator = evaluate(range(4), save, network)
    assert saved == [(f"c{i}", i) for i in range(4)]  # in order, each with its own prediction, all done when run returns
    evaluator.finish()


def test_what_was_there_before_a_run_is_left_out_of_garbage_collection_only_until_it_ends():
    frozen = []

    def save(item):
        frozen.append(gc.get_freeze_count())
        return item

    evaluate([0], save, Spy())
    assert frozen[0] > 10_000 and gc.get_freeze_count() == 0


def test_whatever_fails_is_listed_and_the_others_are_saved():
    saved = []

    def save(item):
        if item["case"] == "c2":
            raise OSError("c2: disk full")
        saved.append(item["case"])
        return item

    evaluator = evaluate([0, None, 13, 2, 3], save, Spy())
    assert saved == ["c0", "c3"]
    with pytest.raises(InputError) as end:
        evaluator.finish()
    assert str(end.value).splitlines() == [
        "3 of 5 cases failed:",
        "  c13: RuntimeError: out of memory",
        "  c2: c2: disk full",
        "  cNone: cNone.nii.gz: no image",
    ]
