"""A state dict is read in every spelling that training leaves, and refused for its true cause."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from evenspike_core.errors import EvenspikeError
from evenspike_train import networks
from evenspike_train.lowering import states
from evenspike_train.networks import NetworkConfig
from evenspike_train.recipes import recipe
from evenspike_train.runs.export import from_checkpoint, load_model
from evenspike_train.tickets import masks

SMALL = NetworkConfig(width=2)
State = dict[str, Any]


def trained() -> networks.SpikingNetwork:
    """Weights of eighths, which half precision holds."""
    torch.manual_seed(3)
    model = networks.build(SMALL)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randint(1, 8, parameter.shape) / 8)
    return model


def renamed(state: State, change: Callable[[str], str]) -> State:
    return {change(key): value for key, value in state.items()}


SPELLINGS: dict[str, Callable[[State], Any]] = {
    "as it is": lambda s: s,
    "state_dict": lambda s: {"state_dict": s, "epoch": 3},
    "model": lambda s: {"model": s, "optimizer": {"state": {0: {"step": torch.ones(1)}}}},
    "model_state_dict": lambda s: {"model_state_dict": s, "loss": 0.5},
    "net": lambda s: {"net": s, "acc": 91.0},
    "a tensor beside it": lambda s: {"state_dict": s, "best_acc": torch.tensor(3.0)},
    "twice": lambda s: {"model": {"state_dict": s}},
    "a name of its own": lambda s: {"student": s, "args": {"lr": 0.1}},
    "data parallel": lambda s: renamed(s, lambda key: f"module.{key}"),
    "compiled": lambda s: renamed(s, lambda key: f"_orig_mod.{key}"),
    "compiled inside": lambda s: renamed(s, lambda key: key.replace("conv.", "conv._orig_mod.")),
    "both": lambda s: renamed(s, lambda key: f"module._orig_mod.{key}"),
    "of a larger model": lambda s: {"state_dict": renamed(s, lambda key: f"model.net.{key}")},
    "half": lambda s: {k: v.half() if v.is_floating_point() else v for k, v in s.items()},
    "bfloat16": lambda s: {k: v.bfloat16() if v.is_floating_point() else v for k, v in s.items()},
    "double": lambda s: {k: v.double() if v.is_floating_point() else v for k, v in s.items()},
    "parameters": lambda s: {k: nn.Parameter(v, False) for k, v in s.items()},
    "without counters": lambda s: {k: v for k, v in s.items() if "num_batches" not in k},
    "a counter too many": lambda s: s | {"classifier.num_batches_tracked": torch.tensor(4)},
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_spellings(name: str, tmp_path: Path) -> None:
    model = trained()
    spelt = SPELLINGS[name](dict(model.state_dict()))
    torch.save(spelt, tmp_path / "weights.pt")
    read = states.read_state(tmp_path / "weights.pt")
    for loaded in (load_model(SMALL, spelt), load_model(SMALL, read)):
        for key, tensor in model.named_parameters():
            assert torch.equal(loaded.get_parameter(key), tensor)
    other = networks.build(SMALL)
    states.load_state(other, tmp_path / "weights.pt")
    assert all(
        torch.equal(a, b) for a, b in zip(other.parameters(), model.parameters(), strict=True)
    )


def test_a_safetensors_file(tmp_path: Path) -> None:
    model = trained()
    save_file(dict(model.state_dict()), tmp_path / "weights.safetensors")
    other = networks.build(SMALL)
    states.load_state(other, tmp_path / "weights.safetensors")
    assert torch.equal(other.classifier.weight, model.classifier.weight)


def pruned(model: nn.Module, *, biases: bool = False) -> None:
    for _, module in networks.prunable(model):
        prune.random_unstructured(module, "weight", amount=0.5)  # type: ignore[no-untyped-call]
        if biases:
            prune.random_unstructured(module, "bias", amount=0.5)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("biases", [False, True])
def test_torch_prune_under_wrappers(biases: bool) -> None:
    model = trained()
    pruned(model, biases=biases)
    state = {"model": renamed(dict(model.state_dict()), lambda key: f"module.{key}")}
    loaded = load_model(SMALL, state)
    other = networks.build(SMALL)
    states.load_state(other, state)
    for name, module in networks.prunable(model):
        for made in (loaded.get_submodule(name), other.get_submodule(name)):
            for part in ("weight", "bias"):
                mine, theirs = getattr(made, part), getattr(module, part)
                assert torch.equal(mine, theirs), f"{name}.{part}"
    assert masks.sparsity(masks.read(loaded)) == pytest.approx(0.5, abs=0.02)


def test_our_masks_in_a_plain_network() -> None:
    model = trained()
    masks.attach(model)
    masks.write(model, {k: torch.rand(v.shape) < 0.5 for k, v in masks.read(model).items()})
    other = networks.build(SMALL)
    states.load_state(other, model.state_dict())
    for name, module in networks.prunable(model):
        assert torch.equal(
            torch.as_tensor(other.get_submodule(name).weight), torch.as_tensor(module.weight)
        )


def bad(change: Callable[[State], Any]) -> Any:
    return change(dict(trained().state_dict()))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (list, "holds a list, not a state dict"),
        (lambda _: nn.Linear(2, 2), r"holds a Linear, not a state dict; save its state_dict\(\)"),
        (lambda _: {"epoch": 3, "acc": 1.0}, "holds no tensors, but 'epoch', 'acc'"),
        (lambda s: {"teacher": s, "student": s}, r"several state dicts \('teacher', 'student'\)"),
        (lambda s: s | {"epoch": 3}, "'epoch' is no named tensor"),
        (
            lambda s: (
                renamed(s, lambda key: f"student.{key}") | renamed(s, lambda key: f"teacher.{key}")
            ),
            "holds the network's tensors under 'student', 'teacher'; give those of one alone",
        ),
        (
            lambda s: renamed(s, lambda key: f"model.{key}") | {"loss.weight": torch.ones(2)},
            "holds the network's tensors under 'model' and 'loss.weight' beside; give those",
        ),
        (
            lambda s: (
                {k: v for k, v in s.items() if k != "classifier.weight"}
                | {
                    "classifier.weight_orig": s["classifier.weight"],
                    "classifier.weight_mask": torch.full_like(s["classifier.weight"], 0.5),
                }
            ),
            "classifier.weight_mask holds values other than 0 and 1",
        ),
        (lambda s: s | {"classifier.bias": s["classifier.bias"].to(torch.complex64)}, "complex64"),
        (
            lambda s: s | {"classifier.bias": torch.full((10,), torch.inf)},
            "classifier.bias holds val",
        ),
        (lambda s: s | {"classifier.bias": torch.ones(3)}, r"classifier.bias has shape \(3,\)"),
        (lambda s: s | {"head": torch.ones(3)}, "head is unknown"),
        (
            lambda s: {k: v for k, v in s.items() if k != "classifier.bias"},
            "classifier.bias is mis",
        ),
    ],
)
def test_refusals(change: Callable[[State], Any], reason: str) -> None:
    with pytest.raises(EvenspikeError, match=reason):
        states.load_state(networks.build(SMALL), bad(change))
    with pytest.raises(EvenspikeError, match=reason):
        load_model(SMALL, bad(change))


@pytest.mark.parametrize("dim", [0, 1, None])
@pytest.mark.parametrize("old", [False, True])
@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_normalised_weights_are_computed(old: bool, dim: Any) -> None:
    model = trained()
    normal = nn.utils.weight_norm if old else parametrizations.weight_norm
    normal(model.classifier, dim=dim)
    with torch.no_grad():
        for name, parameter in model.classifier.named_parameters():
            if name.endswith(("_g", "original0")):
                parameter.mul_(1.5)
    other = networks.build(SMALL)
    states.load_state(other, model.state_dict())
    wanted = model.classifier(torch.eye(16))
    for loaded in (other, load_model(SMALL, model.state_dict())):
        assert torch.allclose(loaded.classifier(torch.eye(16)), wanted, atol=1e-5)


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.filterwarnings("ignore:.*spectral_norm.*:FutureWarning")
def test_other_parametrizations_are_refused(old: bool) -> None:
    model = trained()
    (nn.utils.spectral_norm if old else parametrizations.spectral_norm)(model.classifier)
    for load in (states.load_state, lambda _, state: load_model(SMALL, state)):
        with pytest.raises(EvenspikeError, match=r"classifier.*something else than a mask"):
            load(networks.build(SMALL), model.state_dict())


def test_messages_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    with pytest.raises(EvenspikeError, match=r"^of/a/file\.pt: classifier.bias is missing"):
        load_model(
            SMALL, bad(lambda s: {k: s[k] for k in s if k != "classifier.bias"}), "of/a/file.pt"
        )
    torch.save(bad(lambda s: s | {"head": torch.ones(3)}), path)
    with pytest.raises(EvenspikeError, match=r"weights\.pt: head is unknown"):
        from_checkpoint(path, recipe.load("vgg16-small"))


OWN = """
from torch import nn
from evenspike_train.kernels.neuron import LIF

class Net(nn.Module):
    def __init__(self, classes, neuron):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
        self.fire, self.head = LIF(neuron), nn.Linear(4 * 26 * 26, classes)

    def forward(self, x):
        x = self.body(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        return self.head(self.fire(x).flatten(2))

class Single(Net):
    def __init__(self, classes, neuron):
        super().__init__(classes, neuron)
        whole = nn.Module()
        whole.__dict__["_modules"].update(self._modules)
        self._modules = {"net": whole}

    def forward(self, x):
        return Net.forward(self.net, x)
"""


@pytest.mark.parametrize("name", ["Net", "Single"])
@pytest.mark.parametrize("front", ["", "network.", "module.", "module.network."])
@pytest.mark.parametrize("masked", [False, True])
def test_a_module_of_ones_own(name: str, front: str, masked: bool, tmp_path: Path) -> None:
    """Its own state dict, and that of the network of a recipe, which has it inside."""
    (tmp_path / "own.py").write_text(OWN)
    config = NetworkConfig(name=f"{tmp_path}/own.py:{name}")
    torch.manual_seed(2)
    model = networks.build(config)
    if masked:
        pruned(model)
    state = renamed(dict(model.state_dict()), lambda key: front + key.removeprefix("network."))
    loaded = load_model(config, {"state_dict": state})
    for (_, one), (_, other) in zip(
        networks.prunable(model), networks.prunable(loaded), strict=True
    ):
        assert torch.equal(torch.as_tensor(one.weight), torch.as_tensor(other.weight))
    assert masks.sparsity(masks.read(loaded)) == pytest.approx(0.5 * masked, abs=0.02)
    plain, bare = (one.get_submodule("network") for one in (model, networks.build(config)))
    states.load_state(bare, state)
    for (_, one), (_, two) in zip(networks.prunable(plain), networks.prunable(bare), strict=True):
        assert torch.equal(torch.as_tensor(one.weight), torch.as_tensor(two.weight))


class Opened:
    """Would be run by a reader that trusts its file."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("opened"),))


def test_files_that_would_run_code_are_refused(tmp_path: Path) -> None:
    torch.save(trained(), tmp_path / "model.pt")
    torch.save({"x": Opened()}, tmp_path / "worse.pt")
    (tmp_path / "rubbish.pt").write_bytes(b"rubbish")
    for name, reason in (
        ("model.pt", r"holds more than tensors \(a whole model, .*save model.state_dict\(\)"),
        ("worse.pt", "holds more than tensors"),
        ("rubbish.pt", "not a readable file of torch"),
        ("nothing.pt", "no such file"),
    ):
        with pytest.raises(EvenspikeError, match=reason):
            states.read_state(tmp_path / name)


def test_scalars_of_other_frameworks_fit_their_shape() -> None:
    class Leaky(nn.Module):
        def __init__(self, shape: tuple[int, ...]) -> None:
            super().__init__()
            self.beta: Tensor
            self.register_buffer("beta", torch.full(shape, 0.5))

    one, other = Leaky((1,)), Leaky(())
    one.beta.fill_(0.75)
    states.load_state(other, one.state_dict())
    assert float(other.beta) == 0.75
