"""PE: the wiring of one processing element."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from evenspike_core.arch import ACCUMULATORS_MAX, WEIGHTS, Arch
from evenspike_hw.rtl.descriptor import image_rows
from evenspike_hw.rtl.fifo import Fifo
from evenspike_hw.rtl.layouts import LEAK_BITS, LOGIT_BITS, PSUM_BITS, TIMESTEP_BITS, Layouts
from evenspike_hw.rtl.pe.accumulators import Accumulators
from evenspike_hw.rtl.pe.channel_table import ChannelTable
from evenspike_hw.rtl.pe.filter import Filter
from evenspike_hw.rtl.pe.gates import Gates
from evenspike_hw.rtl.pe.lanes import Lanes
from evenspike_hw.rtl.pe.lif import Lif
from evenspike_hw.rtl.pe.markers import Markers
from evenspike_hw.rtl.pe.matcher import Matcher
from evenspike_hw.rtl.pe.neurons import Neurons
from evenspike_hw.rtl.pe.scratchpad import Scratchpad
from evenspike_hw.rtl.pe.selector import Selector
from evenspike_hw.rtl.pe.shared_lif import SharedLif
from evenspike_hw.rtl.pe.unpacker import Unpacker
from evenspike_hw.rtl.pe.weight_gates import WeightGates
from evenspike_hw.rtl.pe.window_accumulators import WindowAccumulators
from evenspike_hw.rtl.pe.window_selector import WindowSelector

PE_LAYER = data.StructLayout(
    {
        "log_tile_width": 4,
        "log_tile": 4,
        "image_rows": exact_log2(ACCUMULATORS_MAX),
        "threshold": PSUM_BITS,
        "leak": LEAK_BITS,
        "hard": 1,
        "reset": signed(PSUM_BITS),
        "readout": 2,
    }
)
"""What a PE has to know of the layer; stable while its neurons are in flight."""


def pe_layer(layer: data.View) -> dict[str, Value]:
    """Returns the fields of `PE_LAYER` out of a layer descriptor."""
    return {
        "log_tile_width": layer.log_tile_width,
        "log_tile": layer.log_tile_height + layer.log_tile_width,
        "image_rows": image_rows(layer),
        "threshold": layer.threshold,
        "leak": layer.leak,
        "hard": layer.hard,
        "reset": layer.reset,
        "readout": layer.readout,
    }


class Pe(wiring.Component):
    """Filter, FIFO, matcher, match queue, selector, gates, accumulators and LIF; scratchpad and its
    loader. Where `Arch.gates` are weights, selector, gates and accumulators are those of a window.

    word: words of the weight stream. activation: what the APU broadcasts; ready: the PE is not
        full.
    presence_read, presence: which lanes of a block it has weights of, for the APU.
    layer: see `PE_LAYER`. round: low bit of the number of rounds that have been drained.
    drain: what is read in this cycle; bias_low, bias_high, valid, timesteps, carries: `Lif`.
    carry: the row that gets what has left the LIF for the next group.
    mask, logit: of the neuron that has left the LIF.
    busy: a matched weight issues, in any lane. unpacked, rounds, worked, finished: counters modulo
        4.
    accumulator_overflow, membrane_overflow: sticky until `clear_overflow`.

    Latency and throughput are those of the parts (docs/timing.md, "Filter, FIFO and matcher"
    on).
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        layouts = Layouts(arch)
        self.layouts = layouts
        super().__init__(
            {
                "word": In(stream.Signature(layouts.load_word)),
                "activation": In(stream.Signature(layouts.activation)),
                "presence_read": In(layouts.presence_read),
                "presence": Out(arch.pes),
                "layer": In(PE_LAYER),
                "round": In(1),
                "drain": In(layouts.drain_read),
                "bias_low": In(1),
                "bias_high": In(1),
                "valid": In(1),
                "timesteps": In(TIMESTEP_BITS),
                "carries": In(1),
                "carry": In(layouts.row_read),
                "clear_overflow": In(1),
                "mask": Out(arch.timesteps),
                "logit": Out(signed(LOGIT_BITS)),
                "busy": Out(1),
                "unpacked": Out(2),
                "rounds": Out(2),
                "worked": Out(2),
                "finished": Out(2),
                "accumulator_overflow": Out(1),
                "membrane_overflow": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        arch, layer = self.arch, self.layer

        m.submodules.unpacker = unpacker = Unpacker(arch)
        m.submodules.scratchpad = scratchpad = Scratchpad(arch)
        m.submodules.channel_table = table = ChannelTable(arch)
        connect(m, flipped(self.word), unpacker.word)
        m.d.comb += [
            scratchpad.weight_write.eq(unpacker.weight_write),
            scratchpad.header_write.eq(unpacker.header_write),
            table.table_write.eq(unpacker.table_write),
            table.presence_write.eq(unpacker.presence_write),
            table.presence_read.eq(self.presence_read),
            self.presence.eq(table.presence),
            self.unpacked.eq(unpacker.unpacked),
        ]

        m.submodules.filter = filter_ = Filter(arch)
        m.submodules.fifo = fifo = Fifo(self.layouts.activation, arch.fifo_depth)
        m.submodules.matcher = matcher = Matcher(arch)
        m.submodules.queue = queue = Fifo(self.layouts.matched, arch.match_depth)
        by_weights = arch.gates == WEIGHTS
        m.submodules.selector = selector = (WindowSelector if by_weights else Selector)(arch)
        m.submodules.markers = markers = Markers(arch)
        connect(m, flipped(self.activation), filter_.activation)
        connect(m, fifo.r, matcher.activation)
        connect(m, queue.r, selector.matched)
        # Both queues have room: the filter and the matcher's credits see to that.
        for passes, queued in ((filter_.passed, fifo.w), (matcher.matched, queue.w)):
            m.d.comb += [queued.payload.eq(passes.payload), queued.valid.eq(passes.valid)]
        m.d.comb += [
            filter_.popped.eq(fifo.r.valid & fifo.r.ready),
            table.pattern_read.eq(filter_.pattern_read),
            filter_.pattern.eq(table.pattern),
            matcher.round.eq(self.round),
            matcher.taken.eq(selector.taken),
            table.table_read.eq(matcher.table_read),
            matcher.line.eq(table.line),
            scratchpad.header_read.eq(matcher.header_read),
            matcher.header.eq(scratchpad.header),
            markers.marker.eq(selector.marker),
            selector.log_tile_width.eq(layer.log_tile_width),
            selector.log_tile.eq(layer.log_tile),
            selector.image_rows.eq(layer.image_rows),
            self.rounds.eq(markers.rounds),
            self.worked.eq(markers.worked),
            self.finished.eq(markers.finished),
        ]

        reads = [
            *(
                read.eq(Cat(way.enable, way.address))
                for read, way in zip(scratchpad.weight_read, selector.selected.ways, strict=True)
            ),
            scratchpad.bias_read.enable.eq(self.drain.bias),
            scratchpad.bias_read.address.eq(
                unpacker.bias_base[self.drain.half] + 2 * self.drain.slot + self.drain.high
            ),
        ]
        if arch.lif_parallel:
            m.d.comb += reads
            self._neurons(m, selector, scratchpad)
            return m
        accumulators = (WindowAccumulators if by_weights else Accumulators)(arch)
        m.submodules.accumulators = accumulators
        m.submodules.lif = lif = (SharedLif if arch.lif_shared else Lif)(arch)
        if isinstance(accumulators, WindowAccumulators):
            self._weight_gates(m, selector, scratchpad, accumulators)
        elif arch.issue > 1:
            self._lanes(m, selector, scratchpad, accumulators)
        else:
            self._gates(m, selector, scratchpad, accumulators)
        m.d.comb += [
            *reads,
            accumulators.drain.enable.eq(self.drain.read),
            accumulators.drain.keep.eq(self.drain.keep),
            accumulators.drain.row.eq(self.drain.row),
            accumulators.carry.enable.eq(self.carry.enable),
            accumulators.carry.row.eq(self.carry.row),
            accumulators.carry.value.eq(lif.carry),
            accumulators.clear_overflow.eq(self.clear_overflow),
            self.accumulator_overflow.eq(accumulators.overflow),
            lif.threshold.eq(layer.threshold),
            lif.leak.eq(layer.leak),
            lif.hard.eq(layer.hard),
            lif.reset.eq(layer.reset),
            lif.readout.eq(layer.readout),
            lif.valid.eq(self.valid),
            lif.timesteps.eq(self.timesteps),
            lif.carries.eq(self.carries),
            lif.sums.eq(accumulators.sums),
            lif.bias_unit.eq(scratchpad.bias_unit),
            lif.bias_low.eq(self.bias_low),
            lif.bias_high.eq(self.bias_high),
            lif.clear_overflow.eq(self.clear_overflow),
            self.mask.eq(lif.mask),
            self.logit.eq(lif.logit),
            self.membrane_overflow.eq(lif.overflow),
        ]
        return m

    def _gates(
        self, m: Module, selector: Selector, scratchpad: Scratchpad, accumulators: Accumulators
    ) -> None:
        """One weight issues in a cycle, for all timesteps."""
        m.submodules.gates = gates = Gates(self.arch)
        selected = selector.selected
        mask = Signal(self.arch.timesteps)
        m.d.sync += mask.eq(selected.mask)
        m.d.comb += [
            selector.room.eq(1),
            selector.idle.eq(1),
            self.busy.eq(selector.valid),
            accumulators.issue[0].enable.eq(selector.valid),
            accumulators.issue[0].row.eq(selected.ways[0].row),
            gates.weight.eq(scratchpad.weights[0]),
            gates.mask.eq(mask),
            accumulators.addends.eq(gates.addends),
        ]

    def _weight_gates(
        self,
        m: Module,
        selector: Selector,
        scratchpad: Scratchpad,
        accumulators: WindowAccumulators | Neurons,
    ) -> None:
        """Up to four weights issue in a cycle, for one timestep."""
        m.submodules.gates = gates = WeightGates(self.arch)
        selected = selector.selected
        spike = Signal()
        m.d.sync += spike.eq(selected.mask)
        m.d.comb += [
            selector.room.eq(1),
            selector.idle.eq(1),
            self.busy.eq(selector.valid),
            accumulators.log_tile_width.eq(self.layer.log_tile_width),
            gates.weights.eq(scratchpad.weights),
            gates.spike.eq(spike),
            accumulators.addends.eq(gates.addends),
        ]
        for issue, way in zip(accumulators.issue, selected.ways, strict=True):
            m.d.comb += [issue.enable.eq(way.enable), issue.row.eq(way.row)]

    def _neurons(self, m: Module, selector: Selector, scratchpad: Scratchpad) -> None:
        """Accumulators and LIF units are one block."""
        layer = self.layer
        m.submodules.neurons = neurons = Neurons(self.arch)
        self._weight_gates(m, selector, scratchpad, neurons)
        m.d.comb += [
            neurons.steps.eq(self.drain.steps),
            neurons.ends.eq(self.drain.ends),
            neurons.carries.eq(self.drain.keep),
            neurons.threshold.eq(layer.threshold),
            neurons.leak.eq(layer.leak),
            neurons.hard.eq(layer.hard),
            neurons.reset.eq(layer.reset),
            neurons.readout.eq(layer.readout),
            neurons.bias_unit.eq(scratchpad.bias_unit),
            neurons.bias_low.eq(self.bias_low),
            neurons.bias_high.eq(self.bias_high),
            neurons.read.enable.eq(self.drain.read),
            neurons.read.row.eq(self.drain.row),
            neurons.clear_overflow.eq(self.clear_overflow),
            self.mask.eq(neurons.mask),
            self.logit.eq(neurons.logit),
            self.accumulator_overflow.eq(neurons.accumulator_overflow),
            self.membrane_overflow.eq(neurons.membrane_overflow),
        ]

    def _lanes(
        self, m: Module, selector: Selector, scratchpad: Scratchpad, accumulators: Accumulators
    ) -> None:
        """Two weights a cycle wait in the lanes of the timesteps that fire."""
        m.submodules.lanes = lanes = Lanes(self.arch)
        m.d.comb += [
            lanes.valid.eq(selector.valid),
            lanes.selected.eq(selector.selected),
            selector.room.eq(lanes.room),
            selector.idle.eq(lanes.idle),
            lanes.weights.eq(scratchpad.weights),
            accumulators.issue.eq(lanes.issue),
            accumulators.addends.eq(lanes.addends),
            self.busy.eq(lanes.busy),
        ]
