"""Broadcasts: which image's chunk goes to which tile next, and when the APU may start on it."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from evenspike_core.arch import CHUNK_WORDS, Arch
from evenspike_hw.rtl.descriptor import CHUNK, LAYER
from evenspike_hw.rtl.faults import FAULT_BITS, Fault, first_fault
from evenspike_hw.rtl.layouts import Layouts
from evenspike_hw.rtl.tiles import TileCounter


class Broadcasts(wiring.Component):
    """Walks `for pass: for tile: for part: for group: for chunk: for image` of a layer
    (docs/timing.md, "APU", Start).

    layer: its descriptor; stable from the cycle of `switched` on, in which the walk begins.
    enable: the layer has begun, its last drain cycle is not over.
    loaded, drained: modulo 4: chunks loaded, rounds drained. ends_round: a drain ends.
    marker: the APU broadcasts the marker of the broadcast before.
    chunk_read, chunk_address, chunk: as in `Fetch`; a chunk is read as soon as the one before has
        started for its last image.
    fault: pulse, in the cycle after the first in which the chunk could start: it cannot be run,
        and why; else 0.
    start: the APU starts in the next cycle. work: what it broadcasts, from then to the next start.

    A broadcast starts in the cycle after its chunk is loaded, the marker before it is broadcast and
    the round before the previous one is drained, whichever comes last; the chunk has to be fetched,
    which takes 4 cycles.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        self.layouts = Layouts(arch)
        super().__init__(
            {
                "layer": In(LAYER),
                "switched": In(1),
                "enable": In(1),
                "loaded": In(2),
                "drained": In(2),
                "ends_round": In(1),
                "marker": In(1),
                "chunk_read": Out(1),
                "chunk_address": Out(LAYER["chunk_base"].width),
                "chunk": In(CHUNK),
                "fault": Out(FAULT_BITS),
                "start": Out(1),
                "work": Out(self.layouts.broadcast),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        layer, chunk, work = self.layer, self.chunk, self.work
        m.submodules.tile = tile = TileCounter(self.arch)
        rounds, loads = Signal(2), Signal(2)  # begun before the next broadcast, modulo 4
        ahead = Signal(2)  # of these rounds, those that are not drained
        broadcasting = Signal()
        left = Signal(LAYER["chunks"].width)  # chunks of the list behind the next one
        behind, fetched, arrives = Signal(), Signal(), Signal()
        last_chunk, last, frees = Signal(), Signal(), Signal()
        m.d.comb += [
            tile.layer.eq(layer),
            tile.start.eq(self.switched),
            tile.advance.eq(self.start),
            tile.rewind.eq(~last_chunk),
            ahead.eq(rounds - self.drained),
            last_chunk.eq(left == 0),
            last.eq(last_chunk & tile.last_image),
            frees.eq(((layer.chunks != 1) | tile.last_round) & tile.last_image),
            self.start.eq(
                self.enable
                & fetched
                & (self.loaded != loads)
                & (~broadcasting | self.marker)
                & ((ahead < 2) | ((ahead == 2) & self.ends_round))
            ),
        ]
        with m.If(self.start):
            m.d.sync += broadcasting.eq(1)
        with m.Elif(self.marker):
            m.d.sync += broadcasting.eq(0)

        # A fetch: the address is there, the table's data, those of the second word, `chunk`.
        second = Signal()
        m.d.comb += self.chunk_read.eq(behind)
        m.d.sync += [behind.eq(0), second.eq(behind), arrives.eq(second)]
        unfit = self._unfit(m, left)
        arrived = Signal()  # in the cycle before: the chunk is complete
        m.d.sync += [arrived.eq(arrives), self.fault.eq(Mux(arrived, unfit, 0))]
        with m.If(arrives):
            m.d.sync += fetched.eq(1)
        with m.If(self.start):
            m.d.sync += [
                loads.eq(loads + frees),
                rounds.eq(rounds + last),
            ]
            with m.If(tile.last_image):
                m.d.sync += [
                    left.eq(left - 1),
                    fetched.eq(0),
                    behind.eq(~(last_chunk & tile.last)),
                    self.chunk_address.eq(self.chunk_address + CHUNK_WORDS),
                ]
            with m.If(last):
                m.d.sync += [left.eq(layer.chunks - 1), self.chunk_address.eq(layer.chunk_base)]
        with m.If(self.switched):
            m.d.sync += [
                left.eq(layer.chunks - 1),
                self.chunk_address.eq(layer.chunk_base),
                behind.eq(~layer.host),
            ]

        with m.If(self.start):
            m.d.sync += [
                work.segment.eq(chunk.segment),
                work.kernel.eq(chunk.kernel),
                work.half.eq(loads[0]),
                work.ends_round.eq(last),
                work.frees.eq(frees),
                work.blocks.eq(chunk.blocks),
                work.entry.eq(chunk.entry + tile.offset),
                work.top.eq(tile.top),
                work.left.eq(tile.left),
                work.height.eq(tile.height),
                work.width.eq(tile.width),
            ]
        return m

    def _unfit(self, m: Module, left: Signal) -> Signal:
        """What the hardware cannot run, or is not of the layer. left: chunks behind this one."""
        arch, chunk, layer = self.arch, self.chunk, self.layer
        return first_fault(
            m,
            {
                Fault.SLOTS: chunk.log_slots != layer.log_slots,
                Fault.KERNEL: ~layer.kernels.bit_select(chunk.kernel, 1)
                | (chunk.kernel >= len(self.layouts.sides)),
                Fault.LEAD: chunk.lead >= arch.pes,
                Fault.BIASES: chunk.biases != (left == 0),
                Fault.BLOCKS: (chunk.blocks == 0) | (chunk.blocks > arch.chunk_blocks),
            },
        )
