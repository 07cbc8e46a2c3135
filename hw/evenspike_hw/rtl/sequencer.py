"""Sequencer: runs a list of layers; starts broadcasts and drains, and frees scratchpad halves."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from evenspike_core.arch import CHUNK_WORDS, Arch
from evenspike_core.program import Readout
from evenspike_hw.rtl.broadcasts import Broadcasts
from evenspike_hw.rtl.descriptor import GROUPS_MAX, LAYER, LAYER_WORDS, READOUTS
from evenspike_hw.rtl.faults import FAULT_BITS, Fault, first_fault
from evenspike_hw.rtl.fetch import LAYER_BITS, Fetch
from evenspike_hw.rtl.layouts import FILL_BITS, LEAK_ONE, MAP_BITS, WORD_BITS, Layouts
from evenspike_hw.rtl.table import table_read

SETUP = 5
"""Cycles from a layer's last write to the first action of the next."""


class Sequencer(wiring.Component):
    """Layers in order, and in each the walk of `Broadcasts` (docs/timing.md).

    prepare: read the first two descriptors; `prepared` rises when `go` may come.
    go: cycle 0 of an inference. running: from cycle 1 to the last layer's last write.
    layer: descriptor of the layer that runs. number: its index. switched: it is new in this cycle.
    last_write: of the layer, in this cycle. tail: its last drain cycle is over, the last write is
        not.
    fault: layer `number` or a chunk of it cannot be run, and why; `running` has ended. 0: none.
    filled: words that the table has.

    loaded, worked, rounds: modulo 4, over all PEs: chunks unpacked, markers issued that free a half
        in the middle of a round, markers issued that end a round.
    ends_round, ends_pass, ends_layer: this is the last drain cycle of a round; of a pass, a layer.
        The input ends its layer only.
    marker: the APU broadcasts a marker in this cycle.
    start, work: as in `Broadcasts`. begin: the drain begins in the next cycle.
    free: the older half of the scratchpad is free from the next cycle on. half: it, which at the
        end of a round is the half with the biases.
    drained, seen: modulo 4: rounds drained, chunks whose `loaded` was seen in an earlier cycle.

    Of several clusters, each of which has a sequencer, there are besides
    written: the layer's last write may be in this cycle, as far as this cluster goes; a register.
    together: so it is in all clusters, and is the last write of all of them. It is waited for.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        super().__init__(
            {
                "prepare": In(1),
                "prepared": Out(1),
                "go": In(1),
                "table_read": Out(table_read(arch)),
                "table": In(WORD_BITS),
                "layer": Out(LAYER),
                "number": Out(LAYER_BITS),
                "switched": Out(1),
                "running": Out(1),
                "last_write": Out(1),
                "tail": Out(1),
                "fault": Out(FAULT_BITS),
                "filled": In(FILL_BITS),
                "loaded": In(2),
                "worked": In(2),
                "rounds": In(2),
                "ends_round": In(1),
                "ends_pass": In(1),
                "ends_layer": In(1),
                "marker": In(1),
                "start": Out(1),
                "work": Out(Layouts(arch).broadcast),
                "begin": Out(1),
                "free": Out(1),
                "half": Out(1),
                "drained": Out(2),
                "seen": Out(2),
                **({"written": Out(1), "together": In(1)} if arch.clusters > 1 else {}),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        layer = self.layer
        m.submodules.fetch = fetch = Fetch(self.arch)
        m.submodules.broadcasts = broadcasts = Broadcasts(self.arch)
        gap = Signal(range(SETUP))
        self._layers(m, fetch, gap, broadcasts.fault)
        m.d.comb += [
            self.table_read.eq(fetch.table_read),
            fetch.table.eq(self.table),
            fetch.chunk_read.eq(broadcasts.chunk_read),
            fetch.chunk_address.eq(broadcasts.chunk_address),
            broadcasts.chunk.eq(fetch.chunk),
            broadcasts.layer.eq(layer),
            broadcasts.switched.eq(self.switched),
            broadcasts.enable.eq(self.running & ~layer.host & (gap == 0) & ~self.tail),
            broadcasts.loaded.eq(self.loaded),
            broadcasts.drained.eq(self.drained),
            broadcasts.ends_round.eq(self.ends_round),
            broadcasts.marker.eq(self.marker),
            self.start.eq(broadcasts.start),
            self.work.eq(broadcasts.work),
        ]

        freed = Signal(2)  # halves freed in the middle of a round, modulo 4
        early, late = Signal(), Signal()
        m.d.comb += [
            self.begin.eq(self.rounds != self.drained),
            early.eq(self.worked != freed),
            late.eq(Mux(layer.chunks == 1, self.ends_pass, self.ends_round)),
            self.free.eq(early | late),
        ]
        m.d.sync += [
            freed.eq(freed + early),
            self.half.eq(self.half ^ self.free),
            self.seen.eq(self.loaded),
            self.drained.eq(self.drained + self.ends_round),
        ]
        return m

    def _layers(self, m: Module, fetch: Fetch, gap: Signal, chunk_fault: Signal) -> None:
        """From layer to layer; the descriptor that follows is fetched while a layer runs."""
        layer, following = self.layer, fetch.layer
        tail = Signal(range(self.arch.drain_latency + 1))
        number = Signal(LAYER_BITS)  # of the layer that follows
        first, second = Signal(), Signal()  # waiting for this descriptor before `go`
        switch = Signal()
        one = self.arch.clusters == 1
        unfit = self._unfit(m, following, number)
        m.d.comb += [
            self.tail.eq(tail != 0),
            self.last_write.eq(self._ends(m, tail)),
            switch.eq((first & fetch.valid) | (self.last_write & ~layer.last)),
            fetch.read.eq(self.prepare | switch),
            fetch.number.eq(Mux(self.prepare, 0, number + 1)),
        ]
        m.d.sync += self.switched.eq(switch)
        with m.If(self.ends_layer):
            # The input's spikes are at the collector in their drain cycle.
            m.d.sync += tail.eq(Mux(layer.host, 1, self.arch.drain_latency))
        with m.Elif(self.tail if one else self.tail & (~self.written | self.together)):
            m.d.sync += tail.eq(tail - 1)
        with m.If(self.last_write):
            m.d.sync += gap.eq(SETUP - 1)
        with m.Elif(gap != 0):
            m.d.sync += gap.eq(gap - 1)

        with m.If(self.go):
            m.d.sync += [self.running.eq(1), self.prepared.eq(0)]
        with m.If(self.last_write):
            m.d.sync += self.number.eq(number)
            with m.If(layer.last):
                m.d.sync += [self.running.eq(0), self.number.eq(self.number)]
        with m.If(second & fetch.valid):
            m.d.sync += [second.eq(0), self.prepared.eq(1)]
        with m.If(switch):
            m.d.sync += [layer.eq(following), number.eq(number + 1), first.eq(0), second.eq(first)]
            with m.If(unfit != 0):
                m.d.sync += [self.fault.eq(unfit), self.running.eq(0), second.eq(0)]
        with m.If((chunk_fault != 0) & (self.fault == 0)):
            m.d.sync += [self.fault.eq(chunk_fault), self.running.eq(0)]
        with m.If(self.prepare):
            m.d.sync += [first.eq(1), number.eq(0), self.number.eq(0), self.fault.eq(0)]

    def _ends(self, m: Module, tail: Signal) -> Value:
        """The layer's last write is in this cycle."""
        if self.arch.clusters == 1:
            return self.running & (tail == 1)
        m.d.comb += self.written.eq(self.running & (tail == 1))
        return self.written & self.together

    def _unfit(self, m: Module, layer: data.View, number: Signal) -> Signal:
        """What the hardware cannot run, although the fields have room for it."""
        arch = self.arch
        chunks_end = layer.chunk_base + CHUNK_WORDS * layer.chunks
        return first_fault(
            m,
            {
                # Its own descriptor, and that of the next layer.
                Fault.LAYERS: (number + ~layer.last >= self.filled >> exact_log2(LAYER_WORDS))
                | (~layer.last & number.all()),
                Fault.HOST: layer.host != (number == 0),
                Fault.LAST: layer.host & layer.last,
                Fault.READOUT: layer.last != layer.readout.any(),
                Fault.TIMESTEPS: (layer.timesteps == 0) | (layer.timesteps > arch.timesteps),
                Fault.GROUPS: (layer.groups == 0) | (layer.groups > GROUPS_MAX),
                Fault.LEAK: layer.leak > LEAK_ONE,
                Fault.THRESHOLD: ~layer.host
                & (layer.readout != READOUTS.index(Readout.PSUM))
                & (layer.threshold == 0),
                Fault.NEURONS: layer.log_tile_height
                + layer.log_tile_width
                + layer.log_slots
                + layer.log_images
                > exact_log2(arch.accumulators),
                Fault.TILE: (layer.log_tile_height >= MAP_BITS)
                | (layer.log_tile_width >= MAP_BITS),
                Fault.SLOTS: (layer.log_slots > exact_log2(arch.slots))
                | (layer.slots_last == 0)
                | (layer.slots_last > (1 << layer.log_slots)),
                Fault.EMPTY: (layer.height == 0)
                | (layer.width == 0)
                | (layer.passes == 0)
                | (layer.parts == 0),
                Fault.POOL: layer.pool
                & (
                    layer.height[0]
                    | layer.width[0]
                    | (layer.log_tile_height == 0)
                    | (layer.log_tile_width == 0)
                ),
                Fault.LOADS: layer.loads == 0,
                Fault.CHUNKS: ~layer.host & ((layer.chunks == 0) | (chunks_end > self.filled)),
            },
        )
