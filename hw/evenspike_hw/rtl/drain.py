"""Drain: walks the neurons of a round, and keeps what the collector has to know about each."""

from __future__ import annotations

from itertools import pairwise

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from evenspike_core.arch import MAP_MAX, Arch
from evenspike_core.program import Readout
from evenspike_hw.rtl.descriptor import LAYER, READOUTS
from evenspike_hw.rtl.layouts import ENTRY_BITS, MAP_BITS, SLOT_BITS, TIMESTEP_BITS, Layouts
from evenspike_hw.rtl.tiles import TileCounter


class Drain(wiring.Component):
    """Drain counters, in lockstep for all PEs (docs/timing.md, "Barrier, drain, LIF, collector").

    layer: the descriptor; stable from the cycle of `start` on.
    start: begin with the layer's first round, from the next cycle on.
    begin: in the cycle before the round's first drain cycle; ignored while it drains.
    half: of the scratchpad that holds the biases.
    drains: this is a drain cycle. ends_round, ends_pass, ends_layer: it is the last of the round;
        of a round that ends the pass, the layer.
    read: what all PEs read in this cycle; the row is 0 without its enable.
    bias_low, bias_high: the weight bank's output is the low or the high half of the slot's biases.
    valid: a row that was read enters the LIF (the cycle after the drain cycle). timesteps, carries:
        how many the round's group has; whether the row's membranes are needed for the next. With
        shared LIF both stay until the next row enters.
    place, logits: what comes out of the LIF in this cycle, `Arch.lif_latency` cycles after it was
        read: a position for the collector, or of the last layer for the logits.
    claim: a position of the last layer is read; it waits, in a drain cycle, for `room`, which in
        other layers does not matter.
    carry: the row that gets in this cycle, `Arch.carry_latency` after it was read, what its neurons
        leave to the next group.

    With parallel LIF the bias is read once a round, all neurons step (`read`), and the positions of
    all images follow; nothing is carried.

    The images of a round are drained one after the other. One position every
    `Arch.position_cycles`; 2 cycles more for each slot (its bias); in the last layer those without
    room, too. A round that carries has `Arch.carry_cycles` more behind its last position.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        layouts = Layouts(arch)
        self.layouts = layouts
        super().__init__(
            {
                "layer": In(LAYER),
                "start": In(1),
                "begin": In(1),
                "half": In(1),
                "drains": Out(1),
                "ends_round": Out(1),
                "ends_pass": Out(1),
                "ends_layer": Out(1),
                "read": Out(layouts.drain_read),
                "bias_low": Out(1),
                "bias_high": Out(1),
                "valid": Out(1),
                "timesteps": Out(TIMESTEP_BITS),
                "carries": Out(1),
                "place": Out(layouts.place),
                "logits": Out(1),
                "claim": Out(1),
                "room": In(1),
                "carry": Out(layouts.row_read),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: PLR0915  (the counters are one walk)
        m = Module()
        layer = self.layer
        m.submodules.tile = tile = TileCounter(self.arch)
        ends_image = Signal()
        m.d.comb += [
            tile.layer.eq(layer),
            tile.start.eq(self.start),
            tile.advance.eq(ends_image),
            self.ends_pass.eq(self.ends_round & tile.last_round),
            self.ends_layer.eq(self.ends_round & tile.last),
        ]
        active = Signal()
        phase = Signal(2)  # 0 and 1: the bias is read; 2: positions; 3: until the last is carried
        parallel = bool(self.arch.lif_parallel)  # phase 3 comes before 2
        wait = self.arch.step_cycles if parallel else self.arch.carry_cycles
        behind = Signal(range(wait))  # cycles of phase 3 so far
        carries, waits_behind = Signal(), Signal()
        beat = Signal(range(max(2, self.arch.position_cycles(last=True, carries=True))))
        slot = Signal(SLOT_BITS)
        # A window of the pool, or a single position, and the position in it.
        places = range(min(self.arch.accumulators, MAP_MAX) + 1)
        top, left = Signal(places), Signal(places)
        inner = Signal(2)
        # From the tile's first entry to the slot's first row, and to this row.
        slot_offset, row_offset = Signal(ENTRY_BITS), Signal(ENTRY_BITS)

        item, step, waits = Signal(), Signal(), Signal()
        last_beat, closes, last_column, last_row, last_slot = (Signal() for _ in range(5))
        last_position = Signal()
        side = Signal(2)
        m.d.comb += [
            side.eq(Mux(layer.pool, 2, 1)),
            last_beat.eq(self._last_beat(beat, carries)),
            waits.eq(layer.last & (beat == 0) & ~self.room),
            item.eq(active & (phase == 2) & (beat == 0) & ~waits),
            step.eq(active & (phase == 2) & last_beat & ~waits),
            self.claim.eq(item & layer.last),
            closes.eq(~layer.pool | (inner == 3)),
            # With a pool the map and so its tiles are even, and a window ends at an odd place.
            last_column.eq((left | layer.pool) == tile.last_column),
            last_row.eq((top | layer.pool) == tile.last_row),
            last_slot.eq(slot == tile.last_slot),
            last_position.eq(step & closes & last_column & last_row & last_slot),
            carries.eq(~tile.last_group & (layer.readout != READOUTS.index(Readout.PSUM))),
            waits_behind.eq(0 if parallel else carries & tile.last_image),
            self.drains.eq(active),
            ends_image.eq(
                Mux(
                    waits_behind,
                    active & (phase == 3) & (behind == wait - 1),
                    last_position,
                )
            ),
            self.ends_round.eq(ends_image & tile.last_image),
        ]
        with m.If(active & ~phase[1]):
            m.d.sync += phase.eq(phase + 1)
        with m.If(active & (phase == 3)):
            m.d.sync += behind.eq(behind + 1)
        if parallel:
            self._step(m, phase, active, behind == wait - 1)
        with m.If(active & (phase == 2) & ~waits):
            m.d.sync += beat.eq(Mux(last_beat, 0, beat + 1))
        with m.If(step):
            m.d.sync += inner.eq(Mux(closes, 0, inner + 1))
            with m.If(closes):
                m.d.sync += left.eq(left + side)
                with m.If(last_column):
                    m.d.sync += [
                        left.eq(0),
                        top.eq(top + side),
                        row_offset.eq(row_offset + layer.row_stride),
                    ]
                with m.If(last_column & last_row):
                    m.d.sync += [
                        top.eq(0),
                        slot.eq(slot + 1),
                        slot_offset.eq(slot_offset + layer.block_stride),
                        row_offset.eq(slot_offset + layer.block_stride),
                        phase.eq(2 if parallel else 0),
                    ]
        with m.If(last_position):
            m.d.sync += [slot.eq(0), slot_offset.eq(0), row_offset.eq(0), behind.eq(0)]
            with m.If(waits_behind):
                m.d.sync += phase.eq(3)
        with m.If(self.ends_round):
            m.d.sync += [active.eq(0), phase.eq(0)]
        with m.If(self.begin & ~active):
            m.d.sync += active.eq(1)

        log_tile, row = Signal(5), Signal(self.layouts.row_bits)
        m.d.comb += [
            log_tile.eq(layer.log_tile_height + layer.log_tile_width),
            self.read.bias.eq(active & ~phase[1]),
            self.read.high.eq(phase[0]),
            self.read.half.eq(self.half),
            self.read.slot.eq(slot),
            self.read.read.eq(item),
            self.read.keep.eq(carries),
            row.eq(
                tile.first_row
                | (slot << log_tile)
                | ((top + inner[1]) << layer.log_tile_width)
                | (left + inner[0])
            ),
            self.read.row.eq(Mux(self.read.read, row, 0)),
        ]
        m.d.sync += [
            self.bias_low.eq(active & (phase == 0)),
            self.bias_high.eq(active & (phase == 1)),
        ]

        place = Signal(self.layouts.place)
        column = Signal(MAP_BITS)
        m.d.comb += [
            column.eq(tile.left + left),
            place.valid.eq(item & ~layer.last),
            place.opens.eq(inner == 0),
            place.closes.eq(closes),
            place.restarts.eq(column == 0),
            place.row_start.eq(left == 0),
            place.entry.eq(tile.entry + row_offset + tile.offset),
            place.column.eq(Mux(layer.pool, column >> 1, column)),
        ]
        self._enter(m, tile, item, carries)
        self._fly(m, place, item & layer.last, item & carries)
        return m

    def _step(self, m: Module, phase: Signal, active: Signal, waited: Value) -> None:
        """Parallel LIF: between the bias and the positions all neurons step."""
        with m.If(active & (phase == 1)):
            m.d.sync += phase.eq(3)
        with m.If(self.read.steps):
            m.d.sync += phase.eq(2)
        m.d.comb += [
            self.read.steps.eq(active & (phase == 3) & waited),
            self.read.ends.eq(self.ends_round),
        ]

    def _enter(self, m: Module, tile: TileCounter, item: Signal, carries: Signal) -> None:
        """What the LIF has to know of a row that was read in the cycle before."""
        layer = self.layer
        group = [
            self.timesteps.eq(Mux(tile.last_group, layer.timesteps, self.arch.timesteps)),
            self.carries.eq(carries),
        ]
        m.d.sync += self.valid.eq(item)
        if self.arch.lif_shared:
            with m.If(item):
                m.d.sync += group
        else:
            m.d.sync += group

    def _last_beat(self, beat: Signal, carries: Signal) -> Value:
        """Whether this is the last cycle of a position."""
        if not self.arch.lif_shared:
            return ~self.layer.last | (beat == self.arch.logit_words - 1)
        plain, carrying = (
            [self.arch.position_cycles(last=last, carries=carries) - 1 for last in (False, True)]
            for carries in (False, True)
        )
        return beat == Mux(
            self.layer.last,
            Mux(carries, carrying[1], plain[1]),
            Mux(carries, carrying[0], plain[0]),
        )

    def _fly(self, m: Module, place: Signal, logits: Value, carries: Value) -> None:
        """What goes along with the neurons: a register for the RAM, and one a stage of the LIF."""
        flight = data.StructLayout({"place": self.layouts.place, "logits": 1})
        stages = [Signal(flight, name=f"stage{n}") for n in range(self.arch.lif_latency)]
        late = 0 if self.arch.lif_parallel else self.arch.carry_latency
        rows = [Signal(self.layouts.row_read, name=f"row{n}") for n in range(late)]
        m.d.sync += [
            stages[0].place.eq(place),
            stages[0].logits.eq(logits),
        ]
        if rows:
            m.d.sync += [rows[0].enable.eq(carries), rows[0].row.eq(self.read.row)]
        for before, after in (*pairwise(stages), *pairwise(rows)):
            m.d.sync += after.eq(before)
        m.d.comb += [
            self.place.eq(stages[-1].place),
            self.logits.eq(stages[-1].logits),
        ]
        if rows:
            m.d.comb += self.carry.eq(rows[-1])
