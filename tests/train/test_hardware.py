"""A round's line says what its network costs on the accelerator, and measuring changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("torch")

import torch

from evenspike.flows.measure import measure
from evenspike_core.arch import Arch
from evenspike_core.errors import EvenspikeError
from evenspike_core.program import Program
from evenspike_train import data
from evenspike_train.export.programs import activity
from evenspike_train.recipes import recipe
from evenspike_train.runs.export import load_ticket, to_program
from evenspike_train.runs.hardware import arch_for
from evenspike_train.runs.trainer import Trainer
from tests.helpers.training import LADDER, lines

pytestmark = pytest.mark.usefixtures("one_thread")

KEYS = {"cycles", "hardware_utilization", "energy_pj", "measure_seconds"}


class Recorded:
    """A `Measure` that keeps what it was asked and disturbs what randomness it can."""

    def __init__(self) -> None:
        self.asked: list[tuple[Program, npt.NDArray[np.uint8], Arch, str]] = []

    def __call__(
        self, program: Program, images: npt.NDArray[np.uint8], arch: Arch, mapping: str
    ) -> Mapping[str, float]:
        self.asked.append((program, images, arch, mapping))
        torch.rand(7)
        return {"cycles": 7.0, "hardware_utilization": 0.5, "energy_pj": 3.0}


def changed(words: Mapping[str, str]) -> recipe.Recipe:
    text = LADDER
    for old, new in words.items():
        text = text.replace(old, new)
    return recipe.parse(text)


def test_every_round_is_measured_and_nothing_changes(sets: data.Dataset, tmp_path: Path) -> None:
    given = recipe.parse(LADDER)
    asked = Recorded()
    Trainer(given, sets, tmp_path / "with", asked).run()
    Trainer(given, sets, tmp_path / "without").run()
    tickets = [
        torch.load(tmp_path / name / "ticket.pt", weights_only=True) for name in ("with", "without")
    ]
    assert tickets[0]["figures"] == tickets[1]["figures"]
    for name, tensor in tickets[0]["model"].items():
        assert torch.equal(tensor, tickets[1]["model"][name]), name
    rounds = lines(tmp_path / "with", "trained")
    assert [line["round"] for line in rounds] == [0, 1, 2]
    assert all(line.keys() >= KEYS for line in rounds)
    assert all(line["cycles"] == 7.0 for line in rounds)
    assert not any(line.keys() & KEYS for line in lines(tmp_path / "without", "trained"))
    # The ticket is measured with both assignments, the rounds with the mapper's.
    assert [mapping for *_, mapping in asked.asked] == ["cost", "cost", "cost", "natural"]
    assert ["cycles_natural" in line for line in rounds] == [False, False, True]
    for program, images, arch, _ in asked.asked:
        assert program.timesteps == 2
        assert program.provenance["activity"].keys() == {f"conv{n}" for n in range(1, 14)}
        assert np.array_equal(images, sets.validation.images[:2].numpy())
        assert arch.pes == 2
    sparsities = [program.sparsity for program, *_ in asked.asked]
    assert sparsities == sorted(sparsities)
    assert sparsities[0] < sparsities[2]


def test_the_last_line_is_the_cycle_models_on_the_exported_program(
    sets: data.Dataset, tmp_path: Path
) -> None:
    """Measured again from the finished ticket, in another way round."""
    given = changed({"pes = 2": "pes = 4", "round_validation = 10": "round_cycles_images = 1"})
    Trainer(given, sets, tmp_path, measure).run()
    program, _ = to_program(load_ticket(tmp_path), {})
    shares = activity(program, sets.train.images)
    program, _ = to_program(load_ticket(tmp_path), {"activity": shares})
    found = measure(program, sets.validation.images[:1].numpy(), arch_for(4, 2), "cost")
    line = lines(tmp_path, "trained")[-1]
    assert {key: line[key] for key in found} == {k: round(v, 5) for k, v in found.items()}
    assert found["cycles"] > 0
    assert 0 < found["hardware_utilization"] <= 1
    assert found["energy_pj"] > 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"timesteps = 2": "timesteps = 33"}, "the network has 33 timesteps; a Program holds 32"),
        (
            {"pes = 2": "pes = 3"},
            "Arch pes is 3, not a power of two; possible are 1, 2, 4, 8, 16, 32, 64",
        ),
    ],
)
def test_what_cannot_be_measured_is_said_once(
    sets: data.Dataset, tmp_path: Path, words: dict[str, str], says: str
) -> None:
    Trainer(changed(words), sets, tmp_path, measure).run()
    (line,) = lines(tmp_path, "unmeasured")
    assert says in line["reason"]
    assert not any(line.keys() & KEYS for line in lines(tmp_path, "trained"))


def test_a_search_on_the_twin_is_not_measured_but_its_ticket_is(
    sets: data.Dataset, tmp_path: Path
) -> None:
    method = 'name = "transferred"\n    scope = "local"\n    rounds = 2\n    rate = 0.5'
    before, after = LADDER.index('name = "u-ticket"'), LADDER.index("    snapshot = 80")
    asked = Recorded()
    given = recipe.parse(LADDER[:before] + method + "\n" + LADDER[after:])
    Trainer(given, sets, tmp_path, asked).run()
    (line,) = lines(tmp_path, "unmeasured")
    assert "the search runs on the ReLU twin, which has no spikes" in line["reason"]
    assert [line.keys() >= KEYS for line in lines(tmp_path, "trained")] == [False, False, True]
    assert [mapping for *_, mapping in asked.asked] == ["cost", "natural"]


def test_nothing_is_measured_where_it_is_not_asked_for(sets: data.Dataset, tmp_path: Path) -> None:
    asked = Recorded()
    given = changed({"round_validation = 10": "round_cycles_images = 0"})
    Trainer(given, sets, tmp_path, asked).run()
    assert not asked.asked
    assert not lines(tmp_path, "unmeasured")


def test_the_accelerator_that_a_round_is_measured_on() -> None:
    assert arch_for(16, 4) == arch_for(16, 2) == Arch()
    assert arch_for(4, 8) == Arch(preset="custom", pes=4, timesteps=8, spike_entries=32768)
    assert arch_for(16, 10) == Arch()  # in groups
    with pytest.raises(EvenspikeError, match="Arch pes is 128"):
        arch_for(128, 4)


def test_wrong_images_and_mapping_are_named(sets: data.Dataset, tmp_path: Path) -> None:
    Trainer(recipe.parse(LADDER), sets, tmp_path).run()
    program, _ = to_program(load_ticket(tmp_path), {})
    with pytest.raises(
        EvenspikeError, match=r"tiny: takes pixels \(1, 32, 32\) or \(2, 1, 32, 32\)"
    ):
        measure(program, np.zeros((1, 3, 32, 32), np.uint8), Arch(), "cost")
    with pytest.raises(EvenspikeError, match="no mapping 'best'; there are cost, natural"):
        measure(program, np.zeros((1, 1, 32, 32), np.uint8), Arch(), "best")
