import csv

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader, Dataset, MetaTensor
from monai.transforms import Compose, RandGaussianNoise

from shared.errors import InputError
from shared.handlers import CaseTable, Checkpoints, EarlyStopping, EpochSeed, RegionVolumes
from shared.handlers.case_table import read_rows, write_rows


def scores_engine(scores):
    """A trainer that does nothing and an evaluator whose best metric follows `scores`, one per epoch."""
    trainer, evaluator = Engine(lambda e, b: None), Engine(lambda e, b: None)
    evaluator.state.best_metric, evaluator.state.best_metric_epoch = -1, -1
    evaluator.state.key_metric_name = "dice"

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate(engine):
        score = scores[engine.state.epoch - 1]
        if score > evaluator.state.best_metric:
            evaluator.state.best_metric, evaluator.state.best_metric_epoch = score, engine.state.epoch

    trainer.state.device = torch.device("cpu")
    return trainer, evaluator


def test_early_stopping_counts_epochs_since_the_best():
    trainer, evaluator = scores_engine([0.1, 0.3, 0.2, 0.2, 0.2, 0.2, 0.2])
    EarlyStopping(evaluator, patience=3).attach(trainer)
    assert trainer.run([0], max_epochs=7).epoch == 5


def test_checkpoints_keep_the_best_network_and_the_last_state(tmp_path):
    net = torch.nn.Linear(1, 1)
    trainer, evaluator = scores_engine([0.1, 0.3, 0.2])

    @trainer.on(Events.EPOCH_STARTED)
    def train(engine):
        torch.nn.init.constant_(net.weight, engine.state.epoch)

    Checkpoints(tmp_path, net, {}, evaluator).attach(trainer)
    trainer.run([0], max_epochs=3)
    assert torch.load(tmp_path / "model.pt", weights_only=True)["weight"].item() == 2
    last = torch.load(tmp_path / "last.pt", weights_only=True)
    assert last["network"]["weight"].item() == 3
    assert (last["epoch"], last["best_metric"], last["best_metric_epoch"]) == (3, 0.3, 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last.pt", "model.pt"]


def test_an_earlier_run_is_not_overwritten_silently(tmp_path):
    (tmp_path / "last.pt").touch()
    trainer, evaluator = scores_engine([0.1])
    with pytest.raises(InputError, match="last.pt is the state of an earlier run.*--resume true"):
        Checkpoints(tmp_path, torch.nn.Linear(1, 1), {}, evaluator).attach(trainer)


def test_epoch_seed_makes_an_epochs_draws_independent_of_those_before():
    data = Dataset([torch.zeros(2)] * 6, Compose([RandGaussianNoise(prob=1.0)]))

    def epochs(first, count):
        engine = Engine(lambda e, batch: batch.sum().item())
        engine.data_loader = DataLoader(data, batch_size=1, shuffle=True)
        EpochSeed(3).attach(engine)
        sums = []
        engine.add_event_handler(Events.STARTED, lambda e: setattr(e.state, "epoch", first - 1))
        engine.add_event_handler(Events.ITERATION_COMPLETED, lambda e: sums.append(e.state.output))
        engine.run(engine.data_loader, max_epochs=first - 1 + count, epoch_length=6)
        return sums

    straight = epochs(1, 3)
    assert len(set(straight)) == 18
    assert epochs(2, 2) == straight[6:]


def test_volumes_in_ml_of_an_oblique_anisotropic_grid():
    labels = torch.zeros(1, 10, 10, 10, dtype=torch.uint8)
    labels[0, :5, :4, 0], labels[0, 5:, :2, 1] = 1, 4
    affine = torch.eye(4).double()
    affine[:3, :3] = torch.tensor([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, -1]]) @ torch.diag(torch.tensor([1.0, 2.0, 5.0]))
    volumes = RegionVolumes({"TC": [1, 4], "ET": [4]})(MetaTensor(labels, affine=affine))
    assert volumes == pytest.approx({"TC_mL": 30 * 10 / 1000, "ET_mL": 10 * 10 / 1000})


def test_a_table_keeps_rows_of_other_cases_and_replaces_its_own(tmp_path):
    path = tmp_path / "t.csv"
    write_rows(path, {"b": {"x": 1.0}, "a": {"x": 2.0}})
    write_rows(path, {**read_rows(path), "b": {"x": 3.0}, "c": {"x": 1 / 3, "y": float("nan")}})
    with path.open(newline="") as file:
        assert list(csv.reader(file)) == [["case", "x", "y"], ["a", "2", ""], ["b", "3", ""], ["c", "0.333333", "nan"]]


def test_metric_details_become_one_row_per_case(tmp_path):
    engine = Engine(lambda e, b: None)
    engine.register_events("model_completed")
    table = CaseTable(tmp_path / "t.csv", metrics={"dice": ["TC", "WT"]})
    engine.state.batch, engine.state.output = [{"case": "a"}], [{}]
    table.case_completed(engine)
    engine.state.batch = [{"case": "b"}]
    table.case_completed(engine)
    engine.state.metric_details = {"dice": torch.tensor([[0.5, 1.0], [0.25, np.nan]])}
    table.epoch_completed(engine)
    assert read_rows(tmp_path / "t.csv") == {
        "a": {"case": "a", "dice_TC": "0.5", "dice_WT": "1"},
        "b": {"case": "b", "dice_TC": "0.25", "dice_WT": "nan"},
    }
