"""Channel table: what a PE knows of each channel of a chunk before it reads a header."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from evenspike_core.arch import Arch
from evenspike_hw.rtl.layouts import FILTER_BITS, Layouts
from evenspike_hw.rtl.ram import Ram


class ChannelTable(wiring.Component):
    """A line and a presence bit for each channel of a chunk, in two halves (docs/timing.md,
    "Loader").

    table_write, table_read, line: the table, which the PE's matcher reads.
    pattern_read, pattern: what the PE's filter reads; written with the line.
    presence_write, presence_read, presence: which lanes of a block the PE has weights of, for the
        APU. A clear forgets all blocks of a half; a write in the same cycle counts after it.

    One read and one write of each a cycle. The data of a read in cycle c are there from c + 1 until
    the next read; a write in c is seen by reads from c + 1 on, of presence bits from c + 2 on, as a
    clear is, and the other half is read while one is written. A block that was not written since
    the half was cleared reads as 0, after a reset too. The line of a channel without presence bit
    is of no use: it is not cleared.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        layouts = Layouts(arch)
        self.layouts = layouts
        super().__init__(
            {
                "table_write": In(layouts.table_write),
                "presence_write": In(layouts.presence_write),
                "table_read": In(layouts.table_read),
                "pattern_read": In(layouts.table_read),
                "presence_read": In(layouts.presence_read),
                "line": Out(layouts.table_line),
                "pattern": Out(FILTER_BITS),
                "presence": Out(arch.pes),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """In all memories lines of the halves alternate: the half is the low bit of an address."""
        m = Module()
        lines, given = 2 * self.arch.chunk_channels, self.table_write
        for name, shape, content, wanted, out in (
            ("table", self.layouts.table_line, given.data, self.table_read, self.line),
            ("patterns", FILTER_BITS, given.pattern, self.pattern_read, self.pattern),
        ):
            m.submodules[name] = memory = Ram(shape, lines)
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [
                write.en.eq(given.enable),
                write.addr.eq(Cat(given.half, given.line)),
                write.data.eq(content),
                read.en.eq(wanted.enable),
                read.addr.eq(Cat(wanted.half, wanted.line)),
                out.eq(read.data),
            ]
        self._presence(m)
        return m

    def _presence(self, m: Module) -> None:
        """A RAM cannot be cleared in a cycle: a bit for each block says whether its line counts."""
        blocks = self.arch.chunk_blocks
        # Which lanes it is for is known last in its cycle.
        given, wanted = Signal.like(self.presence_write), self.presence_read
        m.d.sync += given.eq(self.presence_write)
        m.submodules.lanes = lanes = Ram(self.arch.pes, 2 * blocks)
        write, read = lanes.write_port(), lanes.read_port()
        write_address = Cat(given.half, given.block)
        read_address = Cat(wanted.half, wanted.block)
        m.d.comb += [
            write.en.eq(given.enable),
            write.addr.eq(write_address),
            write.data.eq(given.lanes),
            read.en.eq(wanted.enable),
            read.addr.eq(read_address),
        ]

        written = Signal(2 * blocks)
        kept = Signal(2 * blocks)
        halves = Cat(~given.half, given.half).replicate(blocks)  # bits of the half that is meant
        m.d.comb += kept.eq(written & ~Mux(given.clear, halves, 0))
        m.d.sync += written.eq(kept | given.enable << write_address)

        counts = Signal()
        with m.If(wanted.enable):
            m.d.sync += counts.eq(written.bit_select(read_address, 1))
        m.d.comb += self.presence.eq(Mux(counts, read.data, 0))
