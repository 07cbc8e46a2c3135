"""Accelerator: the RTL top; the wiring of all blocks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import and_, or_
from typing import Any

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from evenspike_core.arch import Arch
from evenspike_hw.rtl.apu import Apu
from evenspike_hw.rtl.array import Array
from evenspike_hw.rtl.collector import Collector
from evenspike_hw.rtl.control import Control
from evenspike_hw.rtl.drain import Drain
from evenspike_hw.rtl.fetch import LAYER_BITS
from evenspike_hw.rtl.halves import Halves
from evenspike_hw.rtl.input import InputWriter
from evenspike_hw.rtl.layouts import WORD_BITS, Layouts
from evenspike_hw.rtl.loader import Loader
from evenspike_hw.rtl.logits import LogitWriter
from evenspike_hw.rtl.memory_signature import MemorySignature
from evenspike_hw.rtl.pe.pe import pe_layer
from evenspike_hw.rtl.port import MemoryPort
from evenspike_hw.rtl.registers import REGISTERS, Registers
from evenspike_hw.rtl.sequencer import Sequencer
from evenspike_hw.rtl.spikes import SpikeMemory
from evenspike_hw.rtl.states import STATE_BITS, States
from evenspike_hw.rtl.table import TableMemory
from evenspike_hw.rtl.table import sequencer as reader
from evenspike_hw.rtl.turns import Turns
from evenspike_hw.rtl.watchdog import Watchdog


@dataclass(frozen=True)
class Cluster:
    """The blocks that each cluster has of its own."""

    number: int
    spikes: SpikeMemory
    states: States
    sequencer: Sequencer
    drain: Drain
    array: Array
    apu: Apu
    collector: Collector
    logits: LogitWriter


@dataclass(frozen=True)
class Shared:
    """The blocks that all clusters share, but for the watchdog."""

    registers: Registers
    control: Control
    table: TableMemory
    port: MemoryPort
    loader: Loader
    input: InputWriter


class Accelerator(wiring.Component):
    """Clusters of an array, APU, collector and sequencer each, and one memory port of
    `Arch.port_bits`, whose weights go to the same PEs of all clusters at once.

    registers: what a host writes and reads (`evenspike_hw.rtl.registers`).
    memory: see `MemorySignature`; the reads are of table, weights and input, the writes of logits.

    `rst` clears registers and no memory. Behind it, an abort or a fault the accumulators are
    cleared before the next command is taken (`evenspike_hw.rtl.control`).

    The rest says what happens inside, for counters and comparisons; a board leaves it open:
    running: from cycle 1 to the last write. number: of the layer. last_write: the layer ends.
    states: what each PE does (`evenspike_hw.rtl.states`), PE 0 of the second cluster behind the
        last of the first.
    entry_write, count_write: what the collector writes into the spike memory; of several clusters,
        that of each.
    accumulator_overflow, membrane_overflow: of each PE, in this layer up to this cycle.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        layouts = Layouts(arch)

        def each(layout: data.Layout) -> data.Layout:
            return layout if arch.clusters == 1 else data.ArrayLayout(layout, arch.clusters)

        super().__init__(
            {
                "registers": In(REGISTERS),
                "memory": Out(MemorySignature(arch.address_bits, arch.port_bits)),
                "running": Out(1),
                "number": Out(LAYER_BITS),
                "last_write": Out(1),
                "states": Out(data.ArrayLayout(STATE_BITS, arch.all_pes)),
                "entry_write": Out(each(layouts.entry_write)),
                "count_write": Out(each(layouts.count_write)),
                "accumulator_overflow": Out(arch.all_pes),
                "membrane_overflow": Out(arch.all_pes),
            }
        )
        self.layouts = layouts

    def elaborate(self, platform: object) -> Module:
        m = Module()
        arch = self.arch
        m.submodules.registers = registers = Registers(arch)
        m.submodules.control = control = Control(arch)
        m.submodules.table = table = TableMemory(arch)
        memories = [(SpikeMemory(arch), States(arch)) for _ in range(arch.clusters)]
        for number, (spikes, states) in enumerate(memories):
            m.submodules[self._name("spikes", number)] = spikes
            m.submodules[self._name("states", number)] = states
        m.submodules.watchdog = watchdog = Watchdog()
        port, loader, input_ = MemoryPort(arch), Loader(arch), InputWriter(arch)
        clusters = [
            Cluster(number, *own, Sequencer(arch), Drain(arch), Array(arch), Apu(arch),
                    Collector(arch), LogitWriter(arch))
            for number, own in enumerate(memories)
        ]  # fmt: skip

        shared = Shared(registers, control, table, port, loader, input_)

        def add(name: str, block: Any) -> None:
            m.submodules[name] = ResetInserter(control.reset)(block)

        add("port", port)
        add("loader", loader)
        for one in clusters:
            for name in ("sequencer", "drain", "array", "apu", "collector"):
                add(self._name(name, one.number), getattr(one, name))
        add("input", input_)
        for one in clusters:
            add(self._name("logits", one.number), one.logits)

        self._command(m, shared, clusters, watchdog)
        write, taken = self._results(m, control.reset, clusters)
        self._watch(m, shared, clusters, watchdog, write)
        self._load(m, shared, clusters)
        self._sequence(m, shared, clusters)
        for one in clusters:
            self._broadcast(m, one)
        for one in clusters:
            self._drain(m, one, control)
        first = clusters[0].sequencer
        m.d.comb += [input_.layer.eq(first.layer), input_.start.eq(first.switched)]
        for one in clusters:
            self._collect(m, one, input_)
        self._write(m, shared, clusters, write, taken)
        for one in clusters:
            self._state(m, one, input_)
        m.d.comb += self._shows(self.states, [one.states.state for one in clusters])
        for one in clusters:
            for name, value in pe_layer(one.sequencer.layer).items():
                m.d.comb += one.array.layer[name].eq(value)
        return m

    def _command(
        self, m: Module, shared: Shared, clusters: list[Cluster], watchdog: Watchdog
    ) -> None:
        """Registers and control."""
        registers, control, port = shared.registers, shared.control, shared.port
        first = clusters[0].sequencer
        overflow = _any(
            one.array.accumulator_overflow.any() | one.array.membrane_overflow.any()
            for one in clusters
        )
        fault: Value = port.fault
        for one in reversed(clusters):
            fault = Mux(one.sequencer.fault != 0, one.sequencer.fault, fault)
        connect(m, flipped(self.registers), registers.bus)
        m.d.comb += [
            registers.busy.eq(control.busy),
            registers.running.eq(first.running & ~control.reset),
            registers.done.eq(control.done),
            registers.stopped.eq(control.stopped),
            registers.overflow.eq(overflow & ~control.reset),
            registers.number.eq(first.number),
            control.start.eq(registers.start),
            control.fill.eq(registers.fill),
            control.abort.eq(registers.abort),
            control.table_words.eq(registers.table_words),
            control.word_valid.eq(port.word.valid),
            control.prepared.eq(
                port.prepared
                & shared.loader.prepared
                & _all(one.sequencer.prepared for one in clusters)
            ),
            control.running.eq(first.running),
            control.written.eq(_all(one.logits.over for one in clusters)),
            control.answers.eq(self.memory.response.valid),
            control.fault.eq(fault),
            control.barks.eq(watchdog.barks),
        ]

    def _watch(
        self,
        m: Module,
        shared: Shared,
        clusters: list[Cluster],
        watchdog: Watchdog,
        write: Any,
    ) -> None:
        """The watchdog, and what the memory owes."""
        registers, control, port = shared.registers, shared.control, shared.port
        memory = self.memory
        # What moves; a register, since it comes from everywhere.
        moves = Signal()
        m.d.sync += moves.eq(
            (port.word.valid & port.word.ready)
            | _any(one.apu.send.any() for one in clusters)
            | _any(one.array.busy.any() for one in clusters)
            | _any(one.drain.drains for one in clusters)
            | _any(one.collector.count_write.enable for one in clusters)
            | (write.enable & memory.write.ready)
            | _any(one.sequencer.switched for one in clusters)
        )
        m.d.comb += [
            watchdog.watches.eq(control.watches),
            watchdog.event.eq(moves),
            watchdog.limit.eq(registers.watchdog),
        ]

        # Answers that the memory owes; the port forgets them in a reset of the core.
        owed = Signal(range(self.arch.stream_depth + 1))
        asks = Signal()
        m.d.comb += [
            asks.eq(port.request.valid & memory.request.ready),
            control.pending.eq((owed != 0) | asks),
        ]
        # With nothing owed an answer is to a request of before the reset.
        m.d.sync += owed.eq(owed + asks - (memory.response.valid & (owed != 0)))

    def _load(self, m: Module, shared: Shared, clusters: list[Cluster]) -> None:
        """Memory port, table and loader."""
        registers, control, table = shared.registers, shared.control, shared.table
        port, loader, memory = shared.port, shared.loader, self.memory
        # A word of the port brings `lanes` words of the table.
        lanes = self.arch.port_lanes
        lane_bits = exact_log2(lanes)
        table_lane = control.fill_address[:lane_bits]
        m.d.comb += [
            port.prepare.eq(control.prepare),
            port.go.eq(control.go),
            port.input.eq(registers.input),
            port.weights.eq(registers.weights),
            port.pass_base.eq(registers.pass_base),
            port.filled.eq(control.filled),
            port.fill.eq(control.begin_fill),
            port.fill_address.eq(registers.table),
            port.fill_words.eq((registers.table_words + lanes - 1) >> lane_bits),
            memory.request.valid.eq(port.request.valid),
            memory.request.payload.eq(port.request.payload),
            port.request.ready.eq(memory.request.ready),
            port.response_valid.eq(memory.response.valid),
            port.response.eq(memory.response.payload),
            table.port_read.eq(port.table_read),
            port.table.eq(table.port),
            table.write.enable.eq(control.filling & port.word.valid),
            table.write.address.eq(control.fill_address),
            table.write.data.eq(port.word.payload.word_select(table_lane, WORD_BITS)),
            loader.word.valid.eq(port.word.valid & ~control.filling),
            loader.word.payload.eq(port.word.payload),
            port.word.ready.eq(Mux(control.filling, control.word_done, loader.word.ready)),
            loader.prepare.eq(control.prepare),
            loader.free.eq(self._free(m, control.reset, clusters)),
            table.loader_read.eq(loader.table_read),
            loader.table.eq(table.loader),
        ]
        for one in clusters:
            m.d.comb += [
                one.array.words.eq(loader.words),
                one.array.send_word.eq(loader.send),
            ]
        m.d.comb += [
            loader.ready.eq(_all(one.array.word_ready for one in clusters)),
            shared.input.word.eq(loader.input),
        ]

    def _sequence(self, m: Module, shared: Shared, clusters: list[Cluster]) -> None:
        """The sequencers, which end layers together."""
        first = clusters[0].sequencer
        for one in clusters:
            self._order(m, one, shared)
        if len(clusters) > 1:
            together = Signal()
            m.d.comb += [
                together.eq(_all(one.sequencer.written for one in clusters)),
                *(one.sequencer.together.eq(together) for one in clusters),
            ]
        m.d.comb += [
            self.running.eq(first.running),
            self.number.eq(first.number),
            self.last_write.eq(first.last_write),
        ]

    def _write(
        self,
        m: Module,
        shared: Shared,
        clusters: list[Cluster],
        write: Any,
        taken: list[Value],
    ) -> None:
        """Results on their way to the memory; and what is seen of all that is written."""
        control, memory = shared.control, self.memory
        for one in clusters:
            base = shared.registers.logits
            m.d.comb += [
                one.logits.start.eq(control.go),
                one.logits.base.eq(base + one.number if one.number else base),
                one.logits.claim.eq(one.drain.claim),
                one.drain.room.eq(one.logits.room),
                one.logits.ready.eq(taken[one.number]),
                one.logits.valid.eq(one.drain.logits),
                one.logits.logits.eq(one.array.logits),
            ]
        m.d.comb += [
            memory.write.valid.eq(write.enable),
            memory.write.address.eq(write.address),
            memory.write.data.eq(write.data),
            self._shows(self.entry_write, [one.collector.entry_write for one in clusters]),
            self._shows(self.count_write, [one.collector.count_write for one in clusters]),
            self._shows(
                self.accumulator_overflow, [one.array.accumulator_overflow for one in clusters]
            ),
            self._shows(self.membrane_overflow, [one.array.membrane_overflow for one in clusters]),
        ]

    def _name(self, block: str, number: int) -> str:
        """Of a cluster's block among all blocks."""
        return block if self.arch.clusters == 1 else f"{block}{number}"

    def _results(
        self, m: Module, reset: Signal, clusters: list[Cluster]
    ) -> tuple[Any, list[Value]]:
        """The word of results on the port, and whether the memory takes that of each cluster."""
        ready = self.memory.write.ready
        if len(clusters) == 1:
            return clusters[0].logits.write, [ready]
        turns = Turns(self.arch)
        m.submodules.turns = ResetInserter(reset)(turns)
        m.d.comb += [turns.writes[one.number].eq(one.logits.write) for one in clusters]
        m.d.comb += turns.ready.eq(ready)
        return turns.write, [turns.taken[one.number] for one in clusters]

    def _free(self, m: Module, reset: Signal, clusters: list[Cluster]) -> Value:
        """A half of the scratchpads is free in all clusters."""
        if len(clusters) == 1:
            return clusters[0].sequencer.free
        halves = Halves(self.arch)
        m.submodules.halves = ResetInserter(reset)(halves)
        m.d.comb += halves.frees.eq(Cat(one.sequencer.free for one in clusters))
        return halves.free

    def _order(self, m: Module, one: Cluster, shared: Shared) -> None:
        """What goes into a cluster's sequencer."""
        control, table = shared.control, shared.table
        sequencer, array, drain, name = one.sequencer, one.array, one.drain, reader(one.number)
        m.d.comb += [
            sequencer.prepare.eq(control.prepare),
            sequencer.go.eq(control.go),
            sequencer.filled.eq(control.filled),
            getattr(table, f"{name}_read").eq(sequencer.table_read),
            sequencer.table.eq(getattr(table, name)),
            sequencer.loaded.eq(array.loaded),
            sequencer.worked.eq(array.worked),
            sequencer.rounds.eq(array.rounds),
            sequencer.ends_round.eq(drain.ends_round),
            sequencer.ends_pass.eq(drain.ends_pass),
            sequencer.ends_layer.eq(drain.ends_layer | shared.input.ends_layer),
            sequencer.marker.eq(one.apu.marker),
        ]

    def _broadcast(self, m: Module, one: Cluster) -> None:
        """APU and spike memory of a cluster."""
        apu, array, spikes = one.apu, one.array, one.spikes
        m.d.comb += [
            apu.start.eq(one.sequencer.start),
            apu.work.eq(one.sequencer.work),
            spikes.count_read.eq(apu.count_read),
            apu.count.eq(spikes.count),
            spikes.entry_read.eq(apu.entry_read),
            apu.entry.eq(spikes.entry),
            array.presence_read.eq(apu.presence_read),
            apu.presence.eq(array.presence),
            array.activation.eq(apu.activation),
            array.send.eq(apu.send),
            apu.full.eq(array.full),
        ]

    def _drain(self, m: Module, one: Cluster, control: Control) -> None:
        """Drain and LIF of a cluster."""
        sequencer, drain, array = one.sequencer, one.drain, one.array
        m.d.comb += [
            drain.layer.eq(sequencer.layer),
            drain.start.eq(sequencer.switched),
            drain.begin.eq(sequencer.begin),
            drain.half.eq(sequencer.half),
            array.round.eq(sequencer.drained[0]),
            array.drain.eq(drain.read),
            array.drain.read.eq(drain.read.read | control.clear.enable),
            array.drain.keep.eq(drain.read.keep & ~control.clear.enable),
            array.drain.row.eq(drain.read.row | control.clear.row),
            array.bias_low.eq(drain.bias_low),
            array.bias_high.eq(drain.bias_high),
            array.valid.eq(drain.valid),
            array.timesteps.eq(drain.timesteps),
            array.carries.eq(drain.carries),
            array.carry.eq(drain.carry),
            array.clear_overflow.eq(sequencer.last_write),
        ]

    def _takes(self, one: Cluster, input_: InputWriter) -> Value:
        """A position of the input is one of a cluster's images."""
        if self.arch.clusters == 1:
            return input_.drains
        return input_.drains & (input_.cluster == one.number)

    def _collect(self, m: Module, one: Cluster, input_: InputWriter) -> None:
        """What a cluster's collector takes, and writes."""
        sequencer, drain, array = one.sequencer, one.drain, one.array
        collector, spikes, place = one.collector, one.spikes, input_.place
        if self.arch.clusters > 1:
            place = Signal.like(input_.place, name=f"input_place{one.number}")
            m.d.comb += [place.eq(input_.place), place.valid.eq(self._takes(one, input_))]
        m.d.comb += [
            collector.place.eq(Mux(sequencer.layer.host, place, drain.place)),
            collector.masks.eq(Mux(sequencer.layer.host, input_.masks, array.masks)),
            spikes.entry_write.eq(collector.entry_write),
            spikes.count_write.eq(collector.count_write),
            spikes.resume_read.eq(collector.resume_read),
            collector.resume.eq(spikes.resume),
        ]

    def _state(self, m: Module, one: Cluster, input_: InputWriter) -> None:
        """What a cluster's PEs do."""
        sequencer, array, states = one.sequencer, one.array, one.states
        m.d.comb += [
            states.drains.eq(one.drain.drains | self._takes(one, input_)),
            states.tail.eq(sequencer.tail),
            states.host.eq(sequencer.layer.host),
            states.drained.eq(sequencer.drained),
            states.seen.eq(sequencer.seen),
            states.busy.eq(array.busy),
            states.rounds.eq(array.pe_rounds),
            states.finished.eq(array.finished),
        ]

    def _shows(self, shown: Any, each: list[Any]) -> Any:
        """What counters and comparisons see of the inside of each cluster."""
        if len(each) == 1:
            return shown.eq(each[0])
        return Value.cast(shown).eq(Cat(Value.cast(one) for one in each))


def _any(signals: Any) -> Value:
    found: Value = reduce(or_, signals)
    return found


def _all(signals: Any) -> Value:
    found: Value = reduce(and_, signals)
    return found
