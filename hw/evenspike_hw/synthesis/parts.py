"""Parts: what can be synthesised by itself, by name."""

from __future__ import annotations

from collections.abc import Callable

from amaranth.lib import wiring

from evenspike.arch import Arch
from evenspike.errors import EvenspikeError
from evenspike_hw.accelerator import Accelerator
from evenspike_hw.accumulators import Accumulators
from evenspike_hw.apu import Apu
from evenspike_hw.array import Array
from evenspike_hw.channel_table import ChannelTable
from evenspike_hw.collector import Collector
from evenspike_hw.control import Control
from evenspike_hw.currents import Currents
from evenspike_hw.drain import Drain
from evenspike_hw.fifo import Fifo
from evenspike_hw.gates import Gates
from evenspike_hw.layouts import Layouts
from evenspike_hw.lif import Lif
from evenspike_hw.loader import Loader
from evenspike_hw.logits import LogitWriter
from evenspike_hw.matcher import Matcher
from evenspike_hw.pe import Pe
from evenspike_hw.port import MemoryPort
from evenspike_hw.registers import Registers
from evenspike_hw.scratchpad import Scratchpad
from evenspike_hw.selector import Selector
from evenspike_hw.sequencer import Sequencer
from evenspike_hw.spikes import SpikeMemory
from evenspike_hw.states import States
from evenspike_hw.table import TableMemory
from evenspike_hw.unpacker import Unpacker


def _fifo(arch: Arch) -> wiring.Component:
    return Fifo(Layouts(arch).activation, arch.fifo_depth)


def _queue(arch: Arch) -> wiring.Component:
    return Fifo(Layouts(arch).matched, arch.match_depth)


PARTS: dict[str, Callable[[Arch], wiring.Component]] = {
    "top": Accelerator,
    "array": Array,
    "pe": Pe,
    "unpacker": Unpacker,
    "scratchpad": Scratchpad,
    "channel_table": ChannelTable,
    "fifo": _fifo,
    "matcher": Matcher,
    "queue": _queue,
    "selector": Selector,
    "gates": Gates,
    "accumulators": Accumulators,
    "lif": Lif,
    "apu": Apu,
    "spikes": SpikeMemory,
    "collector": Collector,
    "drain": Drain,
    "sequencer": Sequencer,
    "table": TableMemory,
    "port": MemoryPort,
    "loader": Loader,
    "currents": Currents,
    "logits": LogitWriter,
    "control": Control,
    "registers": Registers,
    "states": States,
}
"""`fifo`: in front of each matcher. `queue`: of matches, in front of each selector."""

WITHOUT_ROUTING = ("top", "array")
"""Place-and-route of these takes many minutes, so it happens only when it is asked for."""


def part(name: str, arch: Arch) -> wiring.Component:
    """The named part, or an error that lists them."""
    if name not in PARTS:
        raise EvenspikeError(f"unknown part {name!r}; there are: {', '.join(PARTS)}")
    return PARTS[name](arch)
