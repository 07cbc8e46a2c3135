"""Accelerator: the RTL top; the wiring of all blocks."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, ResetInserter, Signal
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
from evenspike_hw.rtl.watchdog import Watchdog


class Accelerator(wiring.Component):
    """Array, APU, collector, sequencer and one memory port of `Arch.port_bits`.

    registers: what a host writes and reads (`evenspike_hw.rtl.registers`).
    memory: see `MemorySignature`; the reads are of table, weights and input, the writes of logits.

    `rst` clears registers and no memory. Behind it, an abort or a fault the accumulators are
    cleared before the next command is taken (`evenspike_hw.rtl.control`).

    The rest says what happens inside, for counters and comparisons; a board leaves it open:
    running: from cycle 1 to the last write. number: of the layer. last_write: the layer ends.
    states: what each PE does (`evenspike_hw.rtl.states`).
    entry_write, count_write: what the collector writes into the spike memory.
    accumulator_overflow, membrane_overflow: of each PE, in this layer up to this cycle.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        layouts = Layouts(arch)
        super().__init__(
            {
                "registers": In(REGISTERS),
                "memory": Out(MemorySignature(arch.address_bits, arch.port_bits)),
                "running": Out(1),
                "number": Out(LAYER_BITS),
                "last_write": Out(1),
                "states": Out(data.ArrayLayout(STATE_BITS, arch.pes)),
                "entry_write": Out(layouts.entry_write),
                "count_write": Out(layouts.count_write),
                "accumulator_overflow": Out(arch.pes),
                "membrane_overflow": Out(arch.pes),
            }
        )
        self.layouts = layouts

    def elaborate(self, platform: object) -> Module:
        m = Module()
        arch = self.arch
        m.submodules.registers = registers = Registers(arch)
        m.submodules.control = control = Control(arch)
        m.submodules.table = table = TableMemory(arch)
        m.submodules.spikes = spikes = SpikeMemory(arch)
        m.submodules.states = states = States(arch)
        m.submodules.watchdog = watchdog = Watchdog()
        port, loader, sequencer, drain = (
            MemoryPort(arch),
            Loader(arch),
            Sequencer(arch),
            Drain(arch),
        )
        array, apu, collector = Array(arch), Apu(arch), Collector(arch)
        input_, logits = InputWriter(arch), LogitWriter(arch)
        for name, block in {
            "port": port,
            "loader": loader,
            "sequencer": sequencer,
            "drain": drain,
            "array": array,
            "apu": apu,
            "collector": collector,
            "input": input_,
            "logits": logits,
        }.items():
            m.submodules[name] = ResetInserter(control.reset)(block)

        # A word of the port brings `lanes` words of the table.
        lane_bits = exact_log2(arch.port_lanes)
        table_lane = control.fill_address[:lane_bits]
        overflow = array.accumulator_overflow.any() | array.membrane_overflow.any()
        connect(m, flipped(self.registers), registers.bus)
        memory = self.memory
        m.d.comb += [
            registers.busy.eq(control.busy),
            registers.running.eq(sequencer.running & ~control.reset),
            registers.done.eq(control.done),
            registers.stopped.eq(control.stopped),
            registers.overflow.eq(overflow & ~control.reset),
            registers.number.eq(sequencer.number),
            control.start.eq(registers.start),
            control.fill.eq(registers.fill),
            control.abort.eq(registers.abort),
            control.table_words.eq(registers.table_words),
            control.word_valid.eq(port.word.valid),
            control.prepared.eq(port.prepared & loader.prepared & sequencer.prepared),
            control.running.eq(sequencer.running),
            control.written.eq(logits.over),
            control.answers.eq(memory.response.valid),
            control.fault.eq(Mux(sequencer.fault != 0, sequencer.fault, port.fault)),
            control.barks.eq(watchdog.barks),
        ]

        # What moves; a register, since it comes from everywhere.
        moves = Signal()
        m.d.sync += moves.eq(
            (port.word.valid & port.word.ready)
            | apu.send.any()
            | array.busy.any()
            | drain.drains
            | collector.count_write.enable
            | (logits.write.enable & memory.write.ready)
            | sequencer.switched
        )
        m.d.comb += [
            watchdog.watches.eq(control.watches),
            watchdog.event.eq(moves),
            watchdog.limit.eq(registers.watchdog),
        ]

        # Answers that the memory owes; the port forgets them in a reset of the core.
        owed = Signal(range(arch.stream_depth + 1))
        asks = Signal()
        m.d.comb += [
            asks.eq(port.request.valid & memory.request.ready),
            control.pending.eq((owed != 0) | asks),
        ]
        # With nothing owed an answer is to a request of before the reset.
        m.d.sync += owed.eq(owed + asks - (memory.response.valid & (owed != 0)))

        # Memory port, table and loader.
        m.d.comb += [
            port.prepare.eq(control.prepare),
            port.go.eq(control.go),
            port.input.eq(registers.input),
            port.weights.eq(registers.weights),
            port.pass_base.eq(registers.pass_base),
            port.filled.eq(control.filled),
            port.fill.eq(control.begin_fill),
            port.fill_address.eq(registers.table),
            port.fill_words.eq((registers.table_words + arch.port_lanes - 1) >> lane_bits),
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
            loader.free.eq(sequencer.free),
            table.loader_read.eq(loader.table_read),
            loader.table.eq(table.loader),
            array.words.eq(loader.words),
            array.send_word.eq(loader.send),
            loader.ready.eq(array.word_ready),
            input_.word.eq(loader.input),
        ]

        # Sequencer.
        m.d.comb += [
            sequencer.prepare.eq(control.prepare),
            sequencer.go.eq(control.go),
            sequencer.filled.eq(control.filled),
            table.sequencer_read.eq(sequencer.table_read),
            sequencer.table.eq(table.sequencer),
            sequencer.loaded.eq(array.loaded),
            sequencer.worked.eq(array.worked),
            sequencer.rounds.eq(array.rounds),
            sequencer.ends_round.eq(drain.ends_round),
            sequencer.ends_pass.eq(drain.ends_pass),
            sequencer.ends_layer.eq(drain.ends_layer | input_.ends_layer),
            sequencer.marker.eq(apu.marker),
            self.running.eq(sequencer.running),
            self.number.eq(sequencer.number),
            self.last_write.eq(sequencer.last_write),
        ]

        # APU and spike memory.
        m.d.comb += [
            apu.start.eq(sequencer.start),
            apu.work.eq(sequencer.work),
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

        # Drain, LIF, collector.
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
            input_.layer.eq(sequencer.layer),
            input_.start.eq(sequencer.switched),
            collector.place.eq(Mux(sequencer.layer.host, input_.place, drain.place)),
            collector.masks.eq(Mux(sequencer.layer.host, input_.masks, array.masks)),
            spikes.entry_write.eq(collector.entry_write),
            spikes.count_write.eq(collector.count_write),
            spikes.resume_read.eq(collector.resume_read),
            collector.resume.eq(spikes.resume),
            logits.start.eq(control.go),
            logits.base.eq(registers.logits),
            logits.claim.eq(drain.claim),
            drain.room.eq(logits.room),
            logits.ready.eq(memory.write.ready),
            logits.valid.eq(drain.logits),
            logits.logits.eq(array.logits),
            memory.write.valid.eq(logits.write.enable),
            memory.write.address.eq(logits.write.address),
            memory.write.data.eq(logits.write.data),
            self.entry_write.eq(collector.entry_write),
            self.count_write.eq(collector.count_write),
            self.accumulator_overflow.eq(array.accumulator_overflow),
            self.membrane_overflow.eq(array.membrane_overflow),
            states.drains.eq(drain.drains | input_.drains),
            states.tail.eq(sequencer.tail),
            states.host.eq(sequencer.layer.host),
            states.drained.eq(sequencer.drained),
            states.seen.eq(sequencer.seen),
            states.busy.eq(array.busy),
            states.rounds.eq(array.pe_rounds),
            states.finished.eq(array.finished),
            self.states.eq(states.state),
        ]
        for name, value in pe_layer(sequencer.layer).items():
            m.d.comb += array.layer[name].eq(value)
        return m
