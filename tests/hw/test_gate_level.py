"""Every bench passes on the netlist of its component, and not on one with a gate changed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("amaranth")
pytest.importorskip("cocotb_tools")

from tests.helpers import bench, gate_level, netlists
from tests.helpers.forms import forms

pytestmark = [
    pytest.mark.gates,
    pytest.mark.skipif(
        bool(netlists.missing() or bench.missing("icarus")),
        reason=f"needs {netlists.missing() or bench.missing('icarus')}",
    ),
]


def passes(component: str, path: Path, place: Path) -> None:
    result = gate_level.check(component, path, build_dir=place)
    assert result.passed, f"see {result.log}\n{result.log.read_text()[-3000:]}"
    assert not result.missed
    assert result.coverage


MINUTES = ("accelerator", "array", "lif", "neurons", "neuron_bank", "pe")
"""Whose synthesis or simulation takes minutes: the whole, PEs, and multipliers. A PE and its LIF
run on iCE40's cells every time.
"""


@pytest.mark.parametrize("component", forms(bench.names(), whole=MINUTES))
def test_gates(component: str, tmp_path: Path) -> None:
    passes(component, gate_level.synthesise(component, tmp_path), tmp_path)


@pytest.mark.parametrize("component", gate_level.ICE40)
def test_ice40(component: str, tmp_path: Path) -> None:
    path = gate_level.synthesise(component, tmp_path, "ice40")
    text = path.read_text().partition("`define")[0]
    assert "SB_LUT4" in text
    assert component in {"gates", "lanes", "lif", "selector"} or "SB_RAM40_4K" in text
    passes(component, path, tmp_path)


@pytest.mark.parametrize("component", ["fifo", "gates", "lif:one-timestep"])
def test_a_changed_gate_is_found(component: str, tmp_path: Path) -> None:
    gate_level.synthesise(component, tmp_path)
    folders = gate_level.change(component.partition(":")[0], tmp_path, count=3)
    assert len(folders) == 3
    for folder in folders:
        assert not gate_level.check(component, folder / "gates.v", build_dir=folder).passed


READ = """
  reg [3:0] \\a.words  [1:0];
  initial begin
    \\a.words [0] = 4'h0;
    \\a.words [1] = 4'h0;
  end
  reg [3:0] _0_;
  reg [3:0] _1_;
  reg [3:0] _2_;
  always @(posedge clk) begin
    if (en) begin
      _0_ <= \\a.words [address];
      _1_ <= 4'h0;
      _2_ <= 4'hx;
      if (we && address == other) begin
        _1_ <= 4'hf;
        _2_ <= 4'hx;
      end
    end
  end
"""


def test_memories_are_hostile() -> None:
    text = gate_level.hostile(READ)
    assert "_2_ <= ~\\a.words [address];" in text
    assert "hx" not in text
    assert text.count(" = 4'h") == 5
    assert text != gate_level.hostile(READ, seed=1)
    kept = gate_level.hostile(READ.replace("words", "rows"), kept=("rows",))
    assert "_2_ <= \\a.rows [address];" in kept
    assert kept.count("] = 4'h0;") == 2
    with pytest.raises(ValueError, match="an undefined value"):
        gate_level.hostile("always @(posedge clk) q <= 4'hx;")


def test_what_memories_do_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = gate_level.synthesise("fifo", tmp_path)
    text = path.read_text()
    always = tmp_path / "always.v"
    always.write_text(re.sub(r"if \(.* == .*\) begin(\n +_\d+_ <= \d+'hf+;)", r"begin\1", text))
    assert always.read_text() != text
    assert not gate_level.check("fifo", always, build_dir=tmp_path).passed
    monkeypatch.setattr(gate_level, "POWER_UP", ())
    path = gate_level.synthesise("accumulators", tmp_path)
    assert not gate_level.check("accumulators", path, build_dir=tmp_path).passed
