"""A pruning method of another package: found by its entry point, with its options and hooks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch

from evenspike_core.errors import EvenspikeError
from evenspike_train import data, tickets
from evenspike_train.recipes import derive, recipe
from evenspike_train.runs import dense_phase
from evenspike_train.runs.trainer import Trainer
from evenspike_train.tickets import MethodConfig, registry
from evenspike_train.tickets import masks as weight_masks
from evenspike_train.tickets.imp import IterativeMagnitude
from tests.helpers.training import SHORT

MODULE = """
from evenspike_train.tickets.imp import IterativeMagnitude


class Quiet(IterativeMagnitude):
    name = "quiet"
    own_options = {"strength": 0.5, "kind": "rate"}
    reads_spikes = True
    steps = 0
    terms = []

    def loss_term(self, model, spikes):
        assert all(one.requires_grad for one in spikes)
        term = self.config.own["strength"] * sum(one.mean() for one in spikes) / len(spikes)
        Quiet.terms.append(float(term.detach()))
        return term

    def after_step(self, model):
        Quiet.steps += 1
        next(model.parameters()).clamp_(-1, 1)  # in place, as it may be
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package that names its method in the entry points."""
    (tmp_path / "quiet_method.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    point = EntryPoint("quiet", "quiet_method:Quiet", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda **_: [point])
    yield
    registry.METHODS.pop("quiet", None)
    sys.modules.pop("quiet_method", None)


TEXT = SHORT.replace("[method]", '[method]\nname = "quiet"\nstrength = 20.0')


@pytest.mark.usefixtures("installed", "one_thread")
def test_it_trains_by_its_options_and_hooks(sets: data.Dataset, tmp_path: Path) -> None:
    given = recipe.parse(TEXT)
    assert given.method.own == {"strength": 20.0, "kind": "rate"}
    run = Trainer(given, sets, tmp_path / "run")
    figures = run.run()
    quiet = tickets.METHODS["quiet"]
    assert quiet.steps == len(quiet.terms) == 3  # type: ignore[attr-defined]
    assert figures["sparsity"] == pytest.approx(0.5, abs=0.01)
    # The term is in the loss: without it the weights are others.
    plain = Trainer(
        recipe.parse(SHORT.replace("[method]", '[method]\nname = "imp"')), sets, tmp_path
    )
    plain.run()
    one, other = (weight_masks.originals(each.model) for each in (run, plain))
    assert not torch.equal(one["layers.3.conv"], other["layers.3.conv"])
    kept = recipe.load(tmp_path / "run" / "recipe.toml")
    assert kept.method == given.method


@pytest.mark.usefixtures("installed")
def test_its_dense_phase_is_its_own() -> None:
    """A sweep shares the dense phase of methods that only prune: this one trains otherwise."""
    plain = recipe.parse(SHORT.replace("[method]", '[method]\nname = "imp"'))
    assert dense_phase.depends_on(plain) is not None
    assert dense_phase.depends_on(recipe.parse(TEXT)) is None


@pytest.mark.parametrize("hook", ["begin", "before_step", "loss_term", "after_step", "progressed"])
def test_a_hook_of_a_step_makes_the_dense_phase_its_own(hook: str) -> None:
    config = MethodConfig(name="imp")
    plain: Any = type("Plain", (IterativeMagnitude,), {})
    with_hook: Any = type("WithHook", (IterativeMagnitude,), {hook: lambda *_: None})
    assert not plain(config).acts_in_steps
    assert with_hook(config).acts_in_steps


@pytest.mark.usefixtures("installed")
def test_its_options_go_through_derived_recipes() -> None:
    given = recipe.parse(TEXT)
    derived = derive.derive(given, derive.Changes(seed=4))
    assert derived.method == given.method
    assert "strength = 20.0" in derived.text
    other = derive.derive(given, derive.Changes(method="imp"))
    assert other.method.own == {}
    back = derive.derive(recipe.parse(SHORT), derive.Changes(method="quiet"))
    assert back.method.own == {"strength": 0.5, "kind": "rate"}


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('strength = "much"', "strength: expected float, got str"),
        ("kind = 3", "kind: expected str, got int"),
        ("strong = 1", r"method\.strong: unknown key; known here: .*strength"),
        ("carry = 'code'", "quiet has no option carry; it has .*strength"),
    ],
)
def test_a_wrong_option_of_its_own_is_named(line: str, says: str) -> None:
    text = SHORT.replace("[method]", f'[method]\nname = "quiet"\n{line}')
    with pytest.raises(recipe.RecipeError, match=says):
        recipe.parse(text)


def test_another_methods_option_is_unknown() -> None:
    with pytest.raises(recipe.RecipeError, match=r"method\.strength: unknown key"):
        recipe.parse(SHORT.replace("[method]", "[method]\nstrength = 1.0"))


def test_a_package_that_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("gone", "no_such_module:Gone", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda **_: [point])
    with pytest.raises(EvenspikeError, match="methods of no_such_module:Gone: No module named"):
        recipe.parse(SHORT.replace("[method]", '[method]\nname = "gone"'))


def test_a_name_that_there_is_not_is_named() -> None:
    with pytest.raises(recipe.RecipeError, match=r"name must be one of \['admm', .* not 'x'"):
        recipe.parse(SHORT.replace("[method]", '[method]\nname = "x"'))
