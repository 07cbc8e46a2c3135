"""Parts: what can be synthesised by itself, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from amaranth.lib import wiring

from evenspike_core.arch import IMPLIED, WEIGHTS, Arch
from evenspike_core.errors import EvenspikeError
from evenspike_hw.rtl.accelerator import Accelerator
from evenspike_hw.rtl.apu import Apu
from evenspike_hw.rtl.array import Array
from evenspike_hw.rtl.collector import Collector
from evenspike_hw.rtl.control import Control
from evenspike_hw.rtl.drain import Drain
from evenspike_hw.rtl.fifo import Fifo
from evenspike_hw.rtl.input import InputWriter
from evenspike_hw.rtl.layouts import Layouts
from evenspike_hw.rtl.loader import Loader
from evenspike_hw.rtl.logits import LogitWriter
from evenspike_hw.rtl.pe.accumulators import Accumulators
from evenspike_hw.rtl.pe.bank import Bank
from evenspike_hw.rtl.pe.channel_table import ChannelTable
from evenspike_hw.rtl.pe.filter import Filter
from evenspike_hw.rtl.pe.gates import Gates
from evenspike_hw.rtl.pe.lanes import Lanes
from evenspike_hw.rtl.pe.lif import Lif
from evenspike_hw.rtl.pe.markers import Markers
from evenspike_hw.rtl.pe.matcher import Matcher
from evenspike_hw.rtl.pe.neuron_bank import NeuronBank
from evenspike_hw.rtl.pe.neurons import Neurons
from evenspike_hw.rtl.pe.pe import Pe
from evenspike_hw.rtl.pe.scratchpad import Scratchpad
from evenspike_hw.rtl.pe.selector import Selector
from evenspike_hw.rtl.pe.shared_lif import SharedLif
from evenspike_hw.rtl.pe.unpacker import Unpacker
from evenspike_hw.rtl.pe.weight_gates import WeightGates
from evenspike_hw.rtl.pe.window_accumulators import WindowAccumulators
from evenspike_hw.rtl.pe.window_selector import WindowSelector
from evenspike_hw.rtl.port import MemoryPort
from evenspike_hw.rtl.registers import Registers
from evenspike_hw.rtl.sequencer import Sequencer
from evenspike_hw.rtl.spikes import SpikeMemory
from evenspike_hw.rtl.states import States
from evenspike_hw.rtl.table import TableMemory
from evenspike_hw.rtl.watchdog import Watchdog


def _fifo(arch: Arch) -> wiring.Component:
    return Fifo(Layouts(arch).activation, arch.fifo_depth)


def _queue(arch: Arch) -> wiring.Component:
    return Fifo(Layouts(arch).matched, arch.match_depth)


def _bank(arch: Arch) -> wiring.Component:
    return Bank(arch, 1 if arch.issue > 1 else arch.timesteps)


def _of_weights(
    component: Callable[[Arch], wiring.Component],
) -> Callable[[Arch], wiring.Component]:
    """A part that there is only where the gates are weights; of another Arch, as if they were."""

    def built(arch: Arch) -> wiring.Component:
        if arch.gates != WEIGHTS:
            arch = replace(arch, gates=WEIGHTS, **IMPLIED)
        return component(arch)

    return built


PARTS: dict[str, Callable[[Arch], wiring.Component]] = {
    "top": Accelerator,
    "array": Array,
    "pe": Pe,
    "unpacker": Unpacker,
    "scratchpad": Scratchpad,
    "channel_table": ChannelTable,
    "filter": Filter,
    "fifo": _fifo,
    "matcher": Matcher,
    "queue": _queue,
    "selector": Selector,
    "gates": Gates,
    "window_selector": _of_weights(WindowSelector),
    "weight_gates": _of_weights(WeightGates),
    "window_accumulators": _of_weights(WindowAccumulators),
    "neurons": _of_weights(lambda arch: Neurons(replace(arch, lif_shared=0, lif_parallel=1))),
    "neuron_bank": _of_weights(lambda arch: NeuronBank(arch.accumulators // arch.window_banks)),
    "lanes": Lanes,
    "bank": _bank,
    "accumulators": Accumulators,
    "markers": Markers,
    "lif": Lif,
    "shared_lif": SharedLif,
    "apu": Apu,
    "spikes": SpikeMemory,
    "collector": Collector,
    "drain": Drain,
    "sequencer": Sequencer,
    "table": TableMemory,
    "port": MemoryPort,
    "loader": Loader,
    "input": InputWriter,
    "logits": LogitWriter,
    "control": Control,
    "registers": Registers,
    "states": States,
    "watchdog": lambda _: Watchdog(),
}
"""`window_selector`, `weight_gates`, `window_accumulators`: those of gates that are weights.
`fifo`: in front of each matcher. `queue`: of matches, in front of each selector."""

WITHOUT_ROUTING = ("top", "array")
"""Place-and-route of these takes many minutes, so it happens only when it is asked for."""


def part(name: str, arch: Arch) -> wiring.Component:
    """Returns the part of this name; raises EvenspikeError, which lists them, for another name."""
    if name not in PARTS:
        raise EvenspikeError(f"unknown part {name!r}; there are: {', '.join(PARTS)}")
    return PARTS[name](arch)
