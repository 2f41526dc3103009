import json
import os
import pickle

import pytest
import torch

from shared.errors import InputError
from shared.handlers.weights import FineTune, WeightsLoader, load_fitting, read_state, sha256


class Net(torch.nn.Module):
    def __init__(self, inputs=4, outputs=3):
        super().__init__()
        self.first = torch.nn.Conv3d(inputs, 8, 3)
        self.middle = torch.nn.Conv3d(8, 8, 1)
        self.last = torch.nn.Conv3d(8, outputs, 1)


@pytest.fixture
def bundle(tmp_path):
    """A bundle folder with shipped weights and their checksum."""
    (tmp_path / "models").mkdir()
    (tmp_path / "configs").mkdir()
    torch.save(Net().state_dict(), tmp_path / "models" / "model.pt")
    content = {"weights": {"models/model.pt": sha256(tmp_path / "models" / "model.pt")}}
    (tmp_path / "configs" / "metadata.json").write_text(json.dumps(content))
    return tmp_path


def test_shipped_weights_are_loaded(bundle):
    net = Net()
    WeightsLoader(bundle / "models" / "model.pt", net, bundle)(None)
    for name, value in torch.load(bundle / "models" / "model.pt", weights_only=True).items():
        assert torch.equal(net.state_dict()[name], value)


def test_changed_shipped_weights_are_refused_and_others_are_not(bundle):
    torch.save(Net().state_dict(), bundle / "models" / "model.pt")
    torch.save(Net().state_dict(), bundle / "mine.pt")
    with pytest.raises(InputError, match="model.pt: SHA-256 .* differs from"):
        WeightsLoader(bundle / "models" / "model.pt", Net(), bundle)(None)
    WeightsLoader(bundle / "mine.pt", Net(), bundle)(None)


def test_weights_of_another_network_are_refused(bundle):
    with pytest.raises(InputError, match="does not fit the network: .*first.weight"):
        WeightsLoader(bundle / "models" / "model.pt", Net(inputs=2), bundle)(None)


class Evil:
    def __reduce__(self):
        return os.system, ("touch evil",)


def test_a_checkpoint_with_code_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"first.weight": Evil()}, "new.pt")
    (tmp_path / "old.pt").write_bytes(pickle.dumps(Evil()))
    for name in ("new.pt", "old.pt"):
        with pytest.raises(InputError, match=f"{name} is refused: expected a state_dict, which holds tensors and no code"):
            read_state(name)
    assert not (tmp_path / "evil").exists()


def test_files_that_are_no_state_dict_are_named(tmp_path):
    (tmp_path / "text.pt").write_text("hello")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"a": 1}, tmp_path / "numbers.pt")
    for name in ("gone.pt", "text.pt", "list.pt", "numbers.pt"):
        with pytest.raises(InputError, match=name):
            read_state(tmp_path / name)


def test_of_a_training_state_the_network_is_taken(tmp_path):
    torch.save({"network": Net().state_dict(), "epoch": 3, "optimizer": {"state": {}}}, tmp_path / "last.pt")
    assert set(read_state(tmp_path / "last.pt")) == set(Net().state_dict())


def test_other_channels_and_classes_load_what_fits():
    old, net = Net(4, 3), Net(2, 5)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = old.state_dict()
    report = load_fitting(net, {**state, "gone.weight": torch.zeros(1)})
    assert report == {
        "reused": ["first.bias", "middle.weight", "middle.bias"],
        "adapted": ["first.weight", "last.weight", "last.bias"],
        "inflated": [],
        "new": [],
    }
    assert torch.equal(net.first.weight, state["first.weight"][:, :2])
    assert torch.equal(net.last.weight[:3], state["last.weight"])
    assert torch.equal(net.last.weight[3:], before["last.weight"][3:])
    del state["middle.weight"]
    assert load_fitting(Net(), state)["new"] == ["middle.weight"]


def test_nothing_that_fits_is_an_error(tmp_path):
    torch.save({"other": torch.zeros(3)}, tmp_path / "x.pt")
    with pytest.raises(InputError, match="no layer fits"):
        FineTune(tmp_path / "x.pt", Net())(None)


def test_kernels_of_slices_become_kernels_of_volumes():
    torch.manual_seed(0)
    flat, deep = torch.nn.Conv2d(2, 8, 3), torch.nn.Sequential(torch.nn.Conv3d(2, 8, 3), torch.nn.Conv3d(8, 3, 1))
    report = load_fitting(deep, flat.state_dict(), rename={"": "0."})
    assert report == {"reused": ["0.bias"], "adapted": [], "inflated": ["0.weight"], "new": ["1.weight", "1.bias"]}
    slice_ = torch.rand(1, 2, 9, 8)
    volume = slice_[..., None].expand(1, 2, 9, 8, 5)  # the same in every slice
    torch.testing.assert_close(deep[0](volume)[..., 1], flat(slice_))


def test_names_and_channels_may_differ_at_once():
    flat = torch.nn.ModuleDict({"encoder": torch.nn.Conv2d(1, 8, 3), "decoder": torch.nn.Conv2d(8, 1, 3)})
    net = torch.nn.ModuleDict({"network": torch.nn.Conv3d(3, 8, 3)})
    before = net["network"].weight.clone()
    report = load_fitting(net, flat.state_dict(), rename={"encoder.": "network."})
    assert report["inflated"] == ["network.weight"] and report["reused"] == ["network.bias"]
    expected = flat["encoder"].weight[..., None].expand(8, 1, 3, 3, 3) / 3
    torch.testing.assert_close(net["network"].weight[:, :1], expected)
    assert torch.equal(net["network"].weight[:, 1:], before[:, 1:])
