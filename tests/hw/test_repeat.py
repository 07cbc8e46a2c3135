"""Equal components that are elaborated once."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("amaranth")

from amaranth.hdl import Module

from evenspike_core.arch import Arch
from evenspike_hw.engine.top import SimulatedTop
from evenspike_hw.rtl.pe.pe import Pe
from evenspike_hw.verilog import convert

ARCH = Arch(pes=2, timesteps=2, accumulators=16, chunk_blocks=4, spike_entries=96, clusters=2)


@pytest.mark.parametrize(("once", "elaborated"), [(False, 4), (True, 1)])
def test_all_pes_are_one_module(
    once: bool, elaborated: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That it does what the others would is what all of the compiled engine's tests say."""
    seen: list[Pe] = []
    original = Pe.elaborate

    def counted(self: Pe, platform: object) -> Module:
        seen.append(self)
        return original(self, platform)

    monkeypatch.setattr(Pe, "elaborate", counted)
    text = convert(SimulatedTop(ARCH), "top", once=once)
    assert len(seen) == elaborated
    pe = "pe" if once else "\\top.accelerator.array0.pe0"
    assert len(re.findall(rf"^module {re.escape(pe)} *\(", text, re.MULTILINE)) == 1
    # Both arrays are one module, too, which has an instance of each PE.
    instances = re.findall(rf"^  {re.escape(pe)} +pe(\d) \(", text, re.MULTILINE)
    assert instances == ["0", "1"]
