"""The RTL of every component and its netlist of gates are proved to be the same; a fault is not."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("amaranth")
pytest.importorskip("cocotb_tools")

from tests.helpers import bench, equivalence, gate_level, netlists
from tests.helpers.equivalence import BELOW, NARROWED, PROVED, REFUTED, TOO_LARGE, UNKNOWN
from tests.helpers.forms import forms

pytestmark = [
    pytest.mark.gates,
    pytest.mark.skipif(bool(netlists.missing()), reason=f"needs {netlists.missing()}"),
]

BELOW_ARITHMETIC = {
    "matcher",
    "selector",
    "window_selector",
    "pe",
    "lif",
    "neuron_bank",
    "shared_lif",
}
"""Those that count the bits of a pattern, or multiply."""


def small(component: str) -> bool:
    return component.partition(":")[0] not in TOO_LARGE and component not in NARROWED


MINUTES = ("lif", "matcher", "neuron_bank", "pe", "selector", "window_selector")
"""Proofs that take minutes."""


@pytest.mark.parametrize("component", forms(filter(small, bench.names()), whole=MINUTES))
def test_gates_do_what_the_rtl_does(component: str, tmp_path: Path) -> None:
    gate_level.synthesise(component, tmp_path)
    proof = equivalence.prove(component, tmp_path)
    # On a fast machine a whole proof may end where only one below the arithmetic is asked for.
    counts = component.partition(":")[0] in BELOW_ARITHMETIC
    wanted = (PROVED, BELOW) if counts else (PROVED,)
    assert proof.state in wanted, proof.reason


@pytest.mark.parametrize("component", ["fifo", "fetch"])
def test_a_changed_gate_is_refuted(component: str, tmp_path: Path) -> None:
    gate_level.synthesise(component, tmp_path)
    for folder in gate_level.change(component, tmp_path, count=2):
        proof = equivalence.prove(component, folder)
        assert proof.state == REFUTED
        assert proof.reason.startswith("open: ")


def test_a_changed_gate_beside_a_multiplier_is_refuted(tmp_path: Path) -> None:
    gate_level.synthesise("lif:one-timestep", tmp_path)
    cut = equivalence.without_multipliers("lif", tmp_path)
    for folder in gate_level.change("lif", cut, count=2):
        assert equivalence.proved("lif", folder)[0] == REFUTED


def edited(component: str, place: Path, old: str, new: str) -> equivalence.Proof:
    gate_level.synthesise(component, place)
    path = place / "gates.il"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return equivalence.prove(component, place)


def test_another_initial_state_is_refuted(tmp_path: Path) -> None:
    old = "attribute \\init 3'000\n  wire width 3 \\level"
    assert edited("fifo", tmp_path, old, old.replace("000", "001")).state == REFUTED


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("parameter \\RD_COLLISION_X_MASK 1'1", "parameter \\RD_COLLISION_X_MASK 1'0"),
        ("parameter \\INIT 112'0", "parameter \\INIT 112'1"),
        ("cell $mem_v2 \\memory", "cell $mem_v2 \\other"),
    ],
)
def test_another_memory_is_no_proof(old: str, new: str, tmp_path: Path) -> None:
    proof = edited("fifo", tmp_path, old, new)
    assert proof.state == UNKNOWN
    assert "memor" in proof.reason or "match" in proof.reason
