"""Parts: what can be synthesised by itself, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from amaranth.lib import wiring

from evenspike_core.arch import TIMESTEPS, WEIGHTS, Arch
from evenspike_core.errors import EvenspikeError
from evenspike_hw.rtl.accelerator import Accelerator
from evenspike_hw.rtl.apu import Apu
from evenspike_hw.rtl.array import Array
from evenspike_hw.rtl.collector import Collector
from evenspike_hw.rtl.control import Control
from evenspike_hw.rtl.drain import Drain
from evenspike_hw.rtl.fifo import Fifo
from evenspike_hw.rtl.halves import Halves
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
from evenspike_hw.rtl.pe.window_accumulators import WindowAccumulators, bank_arch
from evenspike_hw.rtl.pe.window_selector import WindowSelector
from evenspike_hw.rtl.port import MemoryPort
from evenspike_hw.rtl.registers import Registers
from evenspike_hw.rtl.sequencer import Sequencer
from evenspike_hw.rtl.spikes import SpikeMemory
from evenspike_hw.rtl.states import States
from evenspike_hw.rtl.table import TableMemory
from evenspike_hw.rtl.turns import Turns
from evenspike_hw.rtl.watchdog import Watchdog


def _fifo(arch: Arch) -> wiring.Component:
    return Fifo(Layouts(arch).activation, arch.fifo_depth)


def _queue(arch: Arch) -> wiring.Component:
    return Fifo(Layouts(arch).matched, arch.match_depth)


def _bank(arch: Arch) -> wiring.Component:
    if arch.gates == WEIGHTS:
        return Bank(bank_arch(arch), 1)
    return Bank(arch, 1 if arch.issue > 1 else arch.timesteps)


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
    "window_selector": WindowSelector,
    "weight_gates": WeightGates,
    "window_accumulators": WindowAccumulators,
    "neurons": Neurons,
    "neuron_bank": lambda arch: NeuronBank(arch.lif_units // arch.window_banks),
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
    "halves": Halves,
    "turns": Turns,
}
"""`fifo`: in front of each matcher. `queue`: of matches, in front of each selector."""


@dataclass(frozen=True)
class Choice:
    """Where a part is. has: whether a machine of an Arch has it. example: an Arch that does."""

    has: Callable[[Arch], bool]
    example: str = "packed"


_OF_TIMESTEPS = Choice(lambda arch: arch.gates == TIMESTEPS)
_OF_WEIGHTS = Choice(lambda arch: arch.gates == WEIGHTS, "paper")
_PARALLEL = Choice(lambda arch: bool(arch.lif_parallel), "paper")
_CLUSTERS = Choice(lambda arch: arch.clusters > 1, "packed,clusters=4")

CHOICES = {
    "selector": _OF_TIMESTEPS,
    "gates": Choice(lambda arch: arch.gates == TIMESTEPS and arch.issue == 1, "packed,issue=1"),
    "lanes": Choice(lambda arch: arch.issue > 1),
    "bank": Choice(lambda arch: not arch.lif_parallel),
    "accumulators": _OF_TIMESTEPS,
    "window_selector": _OF_WEIGHTS,
    "weight_gates": _OF_WEIGHTS,
    "window_accumulators": Choice(
        lambda arch: arch.gates == WEIGHTS and not arch.lif_parallel, "paper,lif_parallel=0"
    ),
    "neurons": _PARALLEL,
    "neuron_bank": _PARALLEL,
    "lif": Choice(lambda arch: not arch.lif_shared and not arch.lif_parallel),
    "shared_lif": Choice(lambda arch: bool(arch.lif_shared), "packed,lif_shared=1"),
    "halves": _CLUSTERS,
    "turns": _CLUSTERS,
}
"""The parts that not every machine has."""

WITHOUT_ROUTING = ("top", "array")
"""Place-and-route of these takes many minutes, so it happens only when it is asked for."""


def home(name: str) -> str:
    """An Arch whose machine has this part: `packed`, unless it has none."""
    choice = CHOICES.get(name)
    return "packed" if choice is None else choice.example


def check_part(name: str, arch: Arch) -> None:
    """Raises EvenspikeError for a name that there is not, which lists them, and for a part that a
    machine of the Arch does not have, with an Arch that does.
    """
    if name not in PARTS:
        raise EvenspikeError(f"unknown part {name!r}; there are: {', '.join(PARTS)}")
    choice = CHOICES.get(name)
    if choice is not None and not choice.has(arch):
        raise EvenspikeError(
            f"Arch {arch.preset!r} has no part {name!r}; Arch {choice.example!r} has it"
        )


def part(name: str, arch: Arch) -> wiring.Component:
    """Returns the part of this name; raises as `check_part`."""
    check_part(name, arch)
    return PARTS[name](arch)
