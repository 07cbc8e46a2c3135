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
from evenspike_train.runs.export import load_model
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


def test_other_parametrizations_are_refused() -> None:
    model = trained()
    parametrizations.weight_norm(model.classifier)
    with pytest.raises(EvenspikeError, match="classifier"):
        states.load_state(networks.build(SMALL), model.state_dict())


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
