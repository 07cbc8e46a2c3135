"""Unpacker: the PE's part of the loader; turns tokens into weights, headers and channel table."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from evenspike_core.arch import (
    COUNT_BITS,
    HEADER_UNITS,
    PID_BITS,
    SLOTS_MAX,
    TOKEN_BITS,
    Arch,
)
from evenspike_hw.rtl.layouts import (
    BASE_BITS,
    CODE_UNIT_BITS,
    EXPONENT_BITS,
    FILTER_BITS,
    SLOT_BITS,
    UNIT_BITS,
    WORD_BITS,
    Layouts,
    join_header,
)

WORD_UNITS = WORD_BITS // UNIT_BITS
WORD_CODES = WORD_BITS // CODE_UNIT_BITS
"""Units of a word with weights of 4 bits."""

TOKENS_BITS = COUNT_BITS + 3
"""Bits of the number of tokens of a chunk: two a unit of 16 bits, and COUNT_BITS bits count its
words."""


def shifted(code: Value, base: Value) -> Value:
    """The weight of 16 bits that a code stands for: 2^(base + exponent), or its negative.

    Each bit is a function of the sum's four bits and the sign: a power of two has the bit of that
    number, its negative all from there on, too.
    """
    place = (base + code[:EXPONENT_BITS])[:BASE_BITS]
    negative = code[EXPONENT_BITS]
    return Cat((place == bit) | (negative & (place < bit)) for bit in range(UNIT_BITS))


class Tokens(wiring.Component):
    """A holding register for a word of the weight stream, and what each of its units means.

    word: units for this PE, four or, where weights have 4 bits, five of 12 bits; the context is the
        same in all words of a chunk.
    context: of the chunk; stable up to the cycle behind its last unit.
    unit: the one that is processed in this cycle, as the weight bank takes it; of the following at
        most one:
    counts: it is the chunk's first, the number of its tokens.
    weighs: it is the weight at position `pid` of kernel `kernel` (counted from the one that line 0
        of the channel table begins with). opens: the kernel's first; ends: the chunk's last.
    biases: it is half a bias.
    completes: this cycle is the last of the chunk's last word.

    A word taken in cycle c is processed in c + 1 ... c + k. With weights of 16 bits k is 4, one for
    each unit, plus the skip tokens met on the way, and `word.ready` is high again in c + k + 1.
    With weights of 8 bits k is 4, with those of 4 bits it is 5, and `word.ready` is high in c + k
    already, but after the chunk's last word. It depends on registers alone.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        self.layouts = Layouts(arch)
        super().__init__(
            {
                "word": In(stream.Signature(self.layouts.load_word)),
                "context": Out(self.layouts.load_context),
                "unit": Out(UNIT_BITS),
                "counts": Out(1),
                "weighs": Out(1),
                "opens": Out(1),
                "ends": Out(1),
                "biases": Out(1),
                "kernel": Out(self.layouts.line_bits + exact_log2(arch.slots)),
                "pid": Out(PID_BITS[arch.kernel_max]),
                "completes": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: PLR0915  (one decoder)
        """A cycle with a word processes a unit, or a skip token if one is the head of the pair. A
        word stays until the skip tokens behind its last unit are done, so none begins with one.
        Weights of 8 and 4 bits are beside their token in its unit, and no pair is ever held.
        """
        m = Module()
        hold = Signal(self.layouts.load_word)
        full, beside, coded, raw = Signal(), Signal(), Signal(), Signal(UNIT_BITS)
        units, next_units = Signal(range(WORD_CODES + 1)), Signal(range(WORD_CODES + 1))
        skips, next_skips = Signal(), Signal()
        room = Mux(coded, WORD_CODES, WORD_UNITS)
        m.d.comb += [
            beside.eq(hold.context.width.any()),
            coded.eq(hold.context.width[1]),
            # Behind the chunk's last word the context is needed for a cycle more.
            self.word.ready.eq(~full | (beside & (units == room - 1) & ~hold.last)),
            self.context.eq(hold.context),
            raw.eq(hold.units.word_select(units[:2], UNIT_BITS)),
            next_units.eq(units + ~skips),
        ]
        with m.If(coded):
            m.d.comb += raw.eq(hold.units.word_select(units, CODE_UNIT_BITS))
        m.d.comb += self.unit.eq(raw)
        with m.If(coded & self.weighs):
            m.d.comb += self.unit.eq(shifted(raw[TOKEN_BITS:CODE_UNIT_BITS], hold.context.base))
        with m.Elif(beside & self.weighs):
            m.d.comb += self.unit.eq(raw[TOKEN_BITS:].as_signed())
        with m.If(self.word.ready):
            m.d.sync += full.eq(self.word.valid)
            with m.If(self.word.valid):
                m.d.sync += hold.eq(self.word.payload)
        with m.Elif((next_units == room) & ~next_skips):
            m.d.sync += full.eq(0)
        with m.If(full):
            m.d.sync += units.eq(next_units)
            with m.If((next_units == room) & ~next_skips):
                m.d.sync += units.eq(0)
                m.d.comb += self.completes.eq(hold.last)

        # The tokens of a pair that are still to come, the head first; `left`: of later pairs.
        pair, next_pair = Signal(2 * TOKEN_BITS), Signal(2 * TOKEN_BITS)
        tokens, next_tokens = Signal(range(3)), Signal(range(3))
        left, biases = Signal(TOKENS_BITS), Signal(range(2 * self.arch.slots + 1))
        leaps, head, is_skip = Signal(), Signal(TOKEN_BITS), Signal()
        m.d.comb += [
            next_pair.eq(pair),
            next_tokens.eq(tokens),
            head.eq(Mux(beside, raw[:TOKEN_BITS], pair[:TOKEN_BITS])),
        ]
        with m.If(skips | (self.weighs & ~beside)):
            m.d.comb += [next_pair.eq(pair >> TOKEN_BITS), next_tokens.eq(tokens - 1)]
        with m.Elif(self.counts):
            m.d.comb += next_tokens.eq(0)
        with m.If(full & ~skips):
            with m.If(hold.first & (units == 0)):
                m.d.comb += self.counts.eq(1)
                m.d.sync += left.eq(raw)
                m.d.sync += biases.eq(Mux(hold.context.biases, 2 << hold.context.log_slots, 0))
            with m.Elif(tokens != 0):
                m.d.comb += self.weighs.eq(1)
            with m.Elif((left != 0) & beside):
                m.d.comb += [self.weighs.eq(~is_skip), leaps.eq(is_skip)]
                m.d.sync += left.eq(left - 1)
            with m.Elif(left != 0):
                m.d.comb += [next_pair.eq(raw), next_tokens.eq(Mux(left == 1, 1, 2))]
                m.d.sync += left.eq(left - next_tokens)
            with m.Elif(biases != 0):
                m.d.comb += self.biases.eq(1)
                m.d.sync += biases.eq(biases - 1)
        with m.Switch(hold.context.kernel):
            for code, side in enumerate(self.layouts.sides):
                with m.Case(code):
                    m.d.comb += [
                        is_skip.eq(head[: PID_BITS[side]].all()),
                        next_skips.eq((next_tokens != 0) & next_pair[: PID_BITS[side]].all()),
                    ]
        m.d.sync += [pair.eq(next_pair), tokens.eq(next_tokens), skips.eq(next_skips)]
        m.d.comb += self.ends.eq(self.weighs & (left == beside) & (next_tokens == 0))

        far = Mux(beside, raw[TOKEN_BITS:], 0)
        self._count_kernels(m, hold.context, skips | leaps, head, far)
        return m

    def _count_kernels(self, m: Module, context: Any, skips: Any, head: Any, far: Any) -> None:
        """The kernel counter. skips, head: this cycle's token is a skip, and it. far: what a skip
        has in the place of a weight.
        """
        gap, leap = Signal(TOKEN_BITS), Signal.like(self.kernel)
        # `moved`: it is not at the open kernel, or none is open yet.
        kernel, moved = Signal.like(self.kernel), Signal()
        with m.Switch(context.kernel):
            for code, side in enumerate(self.layouts.sides):
                pid_bits = PID_BITS[side]
                with m.Case(code):
                    gap_bits = TOKEN_BITS - pid_bits
                    m.d.comb += [
                        self.pid.eq(head[:pid_bits]),
                        gap.eq(head[pid_bits:]),
                        leap.eq((Cat(gap[:gap_bits], far) + 1) << gap_bits),
                    ]
        m.d.comb += [
            self.kernel.eq(kernel + Mux(skips, leap, gap)),
            self.opens.eq(self.weighs & (moved | (gap != 0))),
        ]
        with m.If(self.counts):
            m.d.sync += [kernel.eq(context.lead << context.log_slots), moved.eq(1)]
        with m.Elif(skips | self.weighs):
            m.d.sync += [kernel.eq(self.kernel), moved.eq(skips)]


class Unpacker(wiring.Component):
    """Writes what the token decoder finds (docs/timing.md, "Loader"; format: `pack`).

    word: see `Tokens`, also for the latency and the throughput.
    weight_write, header_write: to the scratchpad. table_write, presence_write: to the channel
        table, in which the chunk's first channel has line `lead`. All in the cycle after the unit
        is decoded, the header of the chunk's last kernel one later. Nothing holds them up.
    bias_base: of each half, the address behind the chunk's last weight, where its biases begin.
    unpacked: chunks completed, modulo 4; counts from two cycles after the last unit on.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        layouts = Layouts(arch)
        self.layouts = layouts
        super().__init__(
            {
                "word": In(stream.Signature(layouts.load_word)),
                "weight_write": Out(layouts.weight_write),
                "header_write": Out(layouts.header_write),
                "table_write": Out(layouts.table_write),
                "presence_write": Out(layouts.presence_write),
                "bias_base": Out(data.ArrayLayout(layouts.weight_address_bits, 2)),
                "unpacked": Out(2),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.tokens = tokens = Tokens(self.arch)
        connect(m, flipped(self.word), tokens.word)
        # Behind a register: what a token means is known late.
        decoded = Signal(
            data.StructLayout(
                {
                    name: member.shape
                    for name, member in tokens.signature.members.items()
                    if member.is_port
                }
            )
        )
        m.d.sync += [
            *(decoded[name].eq(getattr(tokens, name)) for name in decoded.shape().members),
            self.unpacked.eq(self.unpacked + decoded.completes),
        ]
        self._kernels(m, decoded, self._weights(m, decoded))
        return m

    def _weights(self, m: Module, tokens: data.View) -> Signal:
        """The weight bank; returns the address that is written next."""
        half = tokens.context.half
        address = Signal(self.layouts.weight_address_bits)
        following = Signal.like(address)
        m.d.comb += [
            self.weight_write.enable.eq(tokens.weighs | tokens.biases),
            self.weight_write.address.eq(address),
            self.weight_write.data.eq(tokens.unit),
            following.eq(address + 1),
        ]
        with m.If(tokens.counts):
            m.d.comb += following.eq(Mux(half, self.arch.weight_words, 0))
        with m.If(tokens.counts | self.weight_write.enable):
            m.d.sync += address.eq(following)
        with m.If(tokens.counts | tokens.weighs):
            m.d.sync += self.bias_base[half].eq(following)
        return address

    def _kernels(self, m: Module, tokens: data.View, address: Signal) -> None:
        """Headers, channel table and presence bits.

        The open kernel is written when the next one opens, or in the cycle after the last weight
        (`flush`): the header bank has one port, and may be taking the kernel before. No word of
        another chunk can be held by then, so the context serves that cycle, too.
        """
        layouts, context = self.layouts, tokens.context
        # Of the open kernel; `first` and `weight` are of its channel's line, whose end follows
        # from the `headers` when it is written: the matcher has no time for that.
        opened, closes, flush = Signal(), Signal(), Signal()
        line, slot, wsp = Signal(layouts.line_bits), Signal(SLOT_BITS), Signal(layouts.wsp_bits)
        written, next_written = Signal(layouts.header_unit_bits), Signal(layouts.header_unit_bits)
        first, weight = Signal(layouts.header_unit_bits), Signal(layouts.weight_address_bits)
        lanes = Signal(self.arch.pes)
        headers, last = Signal(SLOT_BITS + 1), Signal(layouts.fetch_bits)
        tail, pattern = Signal(layouts.place_bits), Signal(FILTER_BITS)
        # Of the kernel of the weight in this cycle.
        next_line, next_lanes = Signal(layouts.line_bits), Signal(self.arch.pes)
        block, next_block = line[layouts.lane_bits :], next_line[layouts.lane_bits :]
        position, begins = Signal(layouts.wsp_bits), Signal()  # begins: its channel
        m.d.sync += flush.eq(tokens.ends)
        m.d.comb += [
            closes.eq(flush | (opened & tokens.opens)),
            next_written.eq(written + closes),
            next_line.eq(tokens.kernel >> context.log_slots),
            next_lanes.eq(
                Mux(opened & (next_block == block), lanes, 0)
                | (1 << next_line[: layouts.lane_bits])
            ),
            position.eq(1 << tokens.pid),
            begins.eq(tokens.opens & (~opened | (next_line != line))),
            self.table_write.enable.eq(closes),
            self.table_write.half.eq(context.half),
            self.table_write.line.eq(line),
            self.table_write.data.first.eq(first),
            self.table_write.data.weight.eq(weight),
            self.table_write.data.last.eq(last),
            self.table_write.data.tail.eq(tail),
            self.table_write.pattern.eq(pattern),
            self.presence_write.clear.eq(tokens.counts),
            self.presence_write.enable.eq(tokens.weighs),
            self.presence_write.half.eq(context.half),
            self.presence_write.block.eq(next_block),
            self.presence_write.lanes.eq(next_lanes),
            self.header_write.enable.eq(closes),
            self.header_write.half.eq(context.half),
            self.header_write.kernel.eq(context.kernel),
        ]
        with m.Switch(context.kernel):
            for code, side in enumerate(layouts.sides):
                with m.Case(code):
                    m.d.comb += [
                        self.header_write.unit.eq(written << exact_log2(HEADER_UNITS[side])),
                        self.header_write.data.eq(join_header(wsp, slot, side)),
                    ]

        # The place of the channel's last header, counted from its first fetch on.
        end = Signal(range(SLOTS_MAX + self.arch.fetch_units))
        with m.Switch(context.kernel):
            for code, side in enumerate(layouts.sides):
                kernels = layouts.fetched(side)
                halves = max(1, HEADER_UNITS[side] // self.arch.fetch_units)
                shift = exact_log2(kernels)
                with m.Case(code):
                    m.d.comb += [
                        end.eq(headers + first[:shift] - 1),
                        last.eq(((end >> shift) + 1) * halves - 1),
                        tail.eq(end[:shift]),
                    ]

        m.d.sync += written.eq(next_written)
        with m.If(tokens.counts):
            m.d.sync += [opened.eq(0), written.eq(0)]
        with m.If(tokens.weighs):
            m.d.sync += [
                wsp.eq(Mux(tokens.opens, 0, wsp) | position),
                pattern.eq(Mux(begins, 0, pattern) | position),
                lanes.eq(next_lanes),
            ]
        with m.If(tokens.opens):
            m.d.sync += [
                opened.eq(1),
                line.eq(next_line),
                slot.eq(tokens.kernel & ((1 << context.log_slots) - 1)),
                headers.eq(headers + 1),
            ]
            with m.If(begins):
                m.d.sync += [
                    first.eq(next_written),
                    headers.eq(1),
                    weight.eq(address),
                ]
