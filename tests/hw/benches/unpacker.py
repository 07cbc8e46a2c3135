"""Unpacker: every output in every cycle against the stepped model's, and what has been written
against the cycle model's loader.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

from amaranth.lib import wiring

from evenspike_core.arch import FILTER_SIDE, HEADER_UNITS, PID_BITS, TOKEN_BITS, Arch
from evenspike_core.pack import Descriptor, pack, split_chunk
from evenspike_hw.rtl.layouts import Layouts
from evenspike_hw.rtl.pe.unpacker import Unpacker
from evenspike_sim.loader import LoadedChunk, load_pass
from tests.helpers import stepped
from tests.helpers.archs import random_mapping
from tests.helpers.driver import Bench, test
from tests.helpers.layers import table_line
from tests.helpers.networks import random_program

ARCH = Arch(pes=4, scratchpad_words=512, header_words=64, spike_entries=1 << 15)

VARIANTS = {
    "kernel3": replace(ARCH, kernel_max=3),
    "kernel5": replace(ARCH, kernel_max=5, issue=1),
    "issue1": replace(ARCH, issue=1),
}


def CORNERS(arch: Arch) -> Iterator[str]:  # noqa: N802  (as where it is a constant)
    return (f"kernel of side {side}" for side in Layouts(arch).sides)


@cache  # of the same layouts, so that they are found fast: comparing two costs more than a cycle
def component(arch: Arch) -> wiring.Component:
    return Unpacker(arch)


# --- chunks ----------------------------------------------------------------------------------


@dataclass
class Chunk:
    """Words of one PE and what the loader sends with them."""

    side: int
    log_slots: int
    lead: int
    biases: bool
    half: int
    words: list[int] = field(default_factory=list)
    bits: int = 16
    base: int = 0

    @property
    def unit_bits(self) -> int:
        return 12 if self.bits == 4 else 16

    @property
    def context(self) -> dict[str, int]:
        return {
            "kernel": self.side // 2,
            "log_slots": self.log_slots,
            "lead": self.lead,
            "biases": int(self.biases),
            "width": (16, 8, 4).index(self.bits),
            "base": self.base,
            "half": self.half,
        }

    def load(self) -> stepped.Load:
        segment = SimpleNamespace(kernel=self.side, weight_bits=self.bits, base=self.base)
        slots = 1 << self.log_slots
        layer = cast(Descriptor, SimpleNamespace(segments=(segment,), slots=slots))
        return stepped.Load(layer, 0, self.half, self.biases)


@dataclass(frozen=True)
class Style:
    """Of a random chunk: share of weights in the open kernel, largest gap, most weights."""

    same: float
    gap: int
    weights: int


def random_chunk(bench: Bench, half: int, style: Style | None = None) -> Chunk:
    random, arch = bench.random, bench.arch
    chunk = Chunk(
        random.choice(Layouts(arch).sides),
        random.randrange(7),
        random.choice((0, random.randrange(arch.pes))),
        bench.chance(0.4),
        half,
        bits=random.choice((4, 8, 16)),
    )
    if chunk.bits == 4:
        chunk.base = random.randrange(15)
    slots = 1 << chunk.log_slots
    room = arch.weight_words - 2 * slots * chunk.biases
    if style is None:
        style = Style(
            random.choice((0.0, 0.5, 0.95)),
            random.choice((1, 3, 20, 300, 1500)),
            random.choice((0, 1, 2, random.randrange(20), random.randrange(60), room)),
        )
    positions = list(random_positions(bench, chunk, style, room))
    biases = [bench.bits(chunk.unit_bits) for _ in range(2 * slots * chunk.biases)]
    if chunk.bits < 16:
        units = list(units_beside(bench, chunk, positions))
        chunk.words = packed_units(bench, [len(units), *units, *biases], chunk.unit_bits)
    else:
        tokens = list(tokens_of(bench, chunk.side, positions))
        chunk.words = words_of(bench, tokens, biases, len(tokens))
    return chunk


def random_positions(
    bench: Bench, chunk: Chunk, style: Style, room: int
) -> Iterator[tuple[int, int]]:
    """(kernel, PID) of each weight, ascending, as many as both banks hold."""
    random, arch = bench.random, bench.arch
    kernels = (arch.chunk_channels - chunk.lead) << chunk.log_slots
    headers = arch.header_words // HEADER_UNITS[chunk.side]
    kernel, pid = 0, -1
    for _ in range(min(style.weights, room)):
        if pid < 0 or pid == chunk.side**2 - 1 or not bench.chance(style.same):
            last = kernels - 1 - kernel
            gap = last if bench.chance(0.02) else random.randrange(style.gap + 1)
            kernel += min(max(gap, pid >= 0), last)
            if (pid >= 0 and not last) or not headers:
                return
            headers -= 1
            pid = -1
        pid += 1 if bench.chance(0.7) else random.randrange(1, chunk.side**2 - pid)
        yield kernel, pid


def tokens_of(
    bench: Bench, side: int, positions: list[tuple[int, int]]
) -> Iterator[tuple[int, bool]]:
    """Each token, and whether it is a skip. Unlike `pack`, skips are not always the longest."""
    pid_bits = PID_BITS[side]
    gap_bits = TOKEN_BITS - pid_bits
    at = 0
    for kernel, pid in positions:
        gap = kernel - at
        while gap >> gap_bits:
            leap = min(gap >> gap_bits, 1 << gap_bits)
            leap = leap if bench.chance(0.7) else bench.random.randrange(1, leap + 1)
            yield (leap - 1) << pid_bits | (1 << pid_bits) - 1, True
            gap -= leap << gap_bits
        yield gap << pid_bits | pid, False
        at = kernel


def units_beside(bench: Bench, chunk: Chunk, positions: list[tuple[int, int]]) -> Iterator[int]:
    """The units of weights of 8 or 4 bits. Unlike `pack`, skips are not always the longest."""
    pid_bits = PID_BITS[chunk.side]
    gap_bits, at = TOKEN_BITS - pid_bits, 0
    for kernel, pid in positions:
        gap = kernel - at
        while gap >> gap_bits:
            leap = min(gap >> gap_bits, 1 << gap_bits + chunk.bits)
            leap = leap if bench.chance(0.7) else bench.random.randrange(1, leap + 1)
            token = (leap - 1) % (1 << gap_bits) << pid_bits | (1 << pid_bits) - 1
            yield (leap - 1) >> gap_bits << 8 | token
            gap -= leap << gap_bits
        weight = bench.bits(chunk.bits)
        if chunk.bits == 4:
            most = min(7, 14 - chunk.base)
            weight = weight & 8 | min(weight & 7, most)
        yield weight << 8 | gap << pid_bits | pid
        at = kernel


def words_of(
    bench: Bench, tokens: list[tuple[int, bool]], biases: list[int], count: int
) -> list[int]:
    """Words of a chunk with random weights; what does not count is random, too."""
    units = [count]
    for at in range(0, len(tokens), 2):
        pair = tokens[at : at + 2]
        high = pair[1][0] if len(pair) == 2 else bench.bits(TOKEN_BITS)
        units.append(pair[0][0] | high << TOKEN_BITS)
        units += [bench.bits(16) for _, skip in pair if not skip]
    return packed_units(bench, units + biases)


def packed_units(bench: Bench, units: list[int], bits: int = 16) -> list[int]:
    """Words of four units, or of five of 12 bits, padded with what does not count."""
    room = 64 // bits
    units = units + [bench.bits(bits) for _ in range(-len(units) % room)]
    spare = bits * room
    return [
        sum(unit << bits * n for n, unit in enumerate(units[at : at + room]))
        | (bench.bits(64 - spare) << spare if spare < 64 else 0)
        for at in range(0, len(units), room)
    ]


# --- reference -------------------------------------------------------------------------------


class Writes:
    """Stands for the stepped model's banks: keeps what is written in this cycle."""

    def __init__(self, arch: Arch) -> None:
        self.header: tuple[int, int, int, int] | None = None
        self.found: dict[str, dict[str, int]] = {}
        base = (0, arch.weight_words)
        self.base = base
        self.patterns = tuple(SimpleNamespace(write=self._pattern) for _ in base)
        self.table = tuple(
            SimpleNamespace(write=self._line(half, b)) for half, b in enumerate(base)
        )

    def write_weight(self, half: int, address: int, value: int) -> None:
        address += self.base[half]
        self.found["weight_write"] = {"address": address, "data": value & 0xFFFF}

    def _line(self, half: int, base: int) -> Any:
        def write(channel: int, line: tuple[int, int, int]) -> None:
            first, weight, headers = line
            fields = {"first": first, "headers": headers, "weight": base + weight}
            self.found["table_write"] = {"half": half, "line": channel, "data": cast(int, fields)}

        return write

    def _pattern(self, channel: int, pattern: int) -> None:
        """Written with the line; for K > 3 none is."""
        assert self.found["table_write"]["line"] == channel
        self.found["table_write"]["pattern"] = pattern

    def write_header(self, half: int, index: int, value: int, kernel: int) -> None:
        self.found["header_write"] = {
            "half": half,
            "unit": index * HEADER_UNITS[kernel],
            "kernel": kernel // 2,
            "data": value,
        }


class Model:
    """The stepped model's Unpacker beside the component; sends words and checks every cycle."""

    WRITES = ("weight_write", "header_write", "table_write", "presence_write")

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.arch = bench.arch
        self.sides = Layouts(bench.arch).sides
        self.clock = stepped.Clock()
        self.writes = Writes(bench.arch)
        machine = cast(stepped.Machine, SimpleNamespace(clock=self.clock))
        self.unpacker = stepped.Unpacker(machine, cast(stepped.Banks, self.writes))
        self.chunk: Chunk | None = None
        self.begun = [False, False]  # halves that have got a chunk
        self.bases = [0, 0]  # of the cycle before, behind a register, as what was written
        self.written: dict[str, dict[str, int]] = {}
        self.tail = bench.arch.fetch_units - 1  # of K <= 3
        self.lanes: set[int] = set()
        self.idle = 0
        self.blocked = 0
        self.free = 0
        self.memory = Memory(bench)
        self.spans: list[int] = []  # cycles that each word was held
        self.takes: list[int] = []  # cycles in which a word was taken
        self.noise = bench.inputs["word__payload"].width
        self.enables = {name: bench.bits_of(name, {"enable": 1}) for name in self.WRITES}
        self.enables["presence_write"] |= bench.bits_of("presence_write", {"clear": 1})
        self.pattern = bench.bits_of("table_write", {"pattern": -1 % (1 << FILTER_SIDE**2)})
        self.clear = bench.bits_of("presence_write", {"half": 1})  # counts beside a clear

    @property
    def busy(self) -> bool:
        return self.unpacker.word() is not None or self.unpacker.state.q.flush

    async def send(self, chunk: Chunk, stall: float = 0.0) -> None:
        for number, word in enumerate(chunk.words):
            payload = {
                "units": word,
                "first": int(number == 0),
                "last": int(number == len(chunk.words) - 1),
                "context": chunk.context,
            }
            while self.bench.chance(stall):
                await self.cycle(None, chunk)
                self.bench.cover(
                    "no word for some cycles inside a chunk",
                    number and self.unpacker.word() is None,
                )
            while not await self.cycle(payload, chunk):
                pass

    async def finish(self) -> None:
        while self.busy:
            await self.cycle(None, self.chunk)
        for _ in range(3):
            await self.cycle(None, self.chunk)

    async def cycle(self, word: dict[str, Any] | None, chunk: Chunk | None) -> bool:
        """One cycle in which the word is offered; whether it is taken."""
        bench, unpacker = self.bench, self.unpacker
        found = await bench.cycle(
            word__valid=word is not None,
            word__payload=bench.bits(self.noise) if word is None else word,
        )
        ready, held = unpacker.ready(), unpacker.word() is not None
        before = unpacker.state.q
        self.writes.found.clear()
        unpacker.step()
        base = self.arch.weight_words
        bench.check(
            found,
            {
                "word__ready": int(ready),
                "unpacked": unpacker.unpacked.q % 4,
                "bias_base": self.bases,
            },
        )
        for name in self.WRITES:
            self._check_write(name, found[name])
        self.bases = [unpacker.bias_base[h].q + h * base if self.begun[h] else 0 for h in (0, 1)]
        self._presence()
        self.written = dict(self.writes.found)
        self.memory.take(self.written)
        self._cover(before, word is not None)
        if held:
            self.spans[-1] += 1
        bench.cover("word taken with the last unit of the one before", held and ready and word)
        taken = word is not None and ready
        if taken:
            assert word is not None
            assert chunk is not None
            self.chunk = chunk
            first, last = bool(word["first"]), bool(word["last"])
            unpacker.give(stepped.Word(word["units"], chunk.load(), first, last))
            self.spans.append(0)
            self.takes.append(bench.now)
        self.clock.tick()
        return taken

    def _check_write(self, name: str, found: int) -> None:
        """The enables are exact; with an enable so are all fields."""
        expected = self.written.get(name)
        counts = self.enables[name]
        if expected is not None:
            counts |= self.clear if expected.get("clear") else -1
            if name == "table_write" and "pattern" not in expected:
                counts &= ~self.pattern
        bits = 0 if expected is None else self.bench.bits_of(name, {"enable": 1} | expected)
        if (found ^ bits) & counts:
            fields = self.bench.fields(name, found)
            raise AssertionError(f"cycle {self.bench.now - 1}: {name} is {fields}, not {expected}")

    def _presence(self) -> None:
        """What the stepped model sets in its presence bits, as a write of a block."""
        pes = self.arch.pes
        for half, bits in enumerate(self.unpacker.seen):
            if not bits._set:
                continue
            if not bits._next:
                self.begun[half] = True
                self.writes.found["presence_write"] = {"enable": 0, "clear": 1, "half": half}
                continue
            assert self.chunk is not None
            line = (self.unpacker.state._next.kernel >> self.chunk.log_slots) + self.chunk.lead
            lanes = bits._next << self.chunk.lead >> line // pes * pes & (1 << pes) - 1
            self.writes.found["presence_write"] = {
                "half": half,
                "block": line // pes,
                "lanes": lanes,
            }
        if "table_write" in self.writes.found:
            assert self.chunk is not None
            written = self.writes.found["table_write"]
            written["line"] += self.chunk.lead
            written["data"] = cast(int, self.line(cast(dict[str, int], written["data"])))

    def line(self, channel: dict[str, int]) -> dict[str, int]:
        assert self.chunk is not None
        return table_line(**channel, side=self.chunk.side, fetch=self.arch.fetch_units)

    # Corners.

    def _cover(self, before: stepped.Unpacking, offered: bool) -> None:
        unpacker, chunk, wrote = self.unpacker, self.chunk, self.writes.found
        cover, holds = self.bench.cover, unpacker.word() is not None
        after = unpacker.state._next if unpacker.state._set else before
        self.blocked = self.blocked + 1 if offered and holds else 0
        cover("word waits for the one before", self.blocked > 3)
        cover(
            "word taken in the first cycle that is free", offered and not holds and self.free == 0
        )
        cover("count of chunks wraps", unpacker.unpacked.q > 4)
        self.free = 0 if holds else self.free + 1
        if chunk is not None and (holds or before.flush):
            self._events(chunk, before, after, holds)
        if "presence_write" in wrote and "block" in wrote["presence_write"]:
            cover("second lane of a block", wrote["presence_write"]["lanes"].bit_count() > 1)

    def _events(
        self, chunk: Chunk, before: stepped.Unpacking, after: stepped.Unpacking, holds: bool
    ) -> None:
        cover, wrote = self.bench.cover, self.writes.found
        skip = (1 << PID_BITS[chunk.side]) - 1
        word = self.unpacker.word()
        starts = holds and word is not None and word.first and before.at == 0
        tokens, byte = before.tokens, 0
        if word is not None and chunk.bits < 16 and before.left:
            unit = word.bits >> chunk.unit_bits * before.at
            tokens, byte = (unit & 0xFF,), unit >> 8 & (1 << chunk.bits) - 1
        skips = holds and not starts and bool(tokens) and tokens[0] & skip == skip
        weighs = holds and not starts and not skips and bool(tokens)
        closes, flushes = "header_write" in wrote, before.flush
        opens = weighs and (after.kernel != before.opened)
        units = HEADER_UNITS[chunk.side]
        blocks = (
            (before.opened >> chunk.log_slots) + chunk.lead,
            (after.opened >> chunk.log_slots) + chunk.lead,
        )
        gap = blocks[1] // self.arch.pes - blocks[0] // self.arch.pes
        padding = not (starts or skips or before.tokens or before.left or before.biases)
        table = wrote.get("table_write", {"line": -1, "data": {}})
        pattern = cast(dict[str, int], table).get("pattern", 0)
        data = cast(dict[str, int], table["data"])
        self._banks(units)
        cover(f"kernel of side {chunk.side}", closes)
        cover("chunk without tokens", starts and after.left == 0)
        cover("chunk of one word", starts and word is not None and word.last)
        cover("odd number of tokens", starts and after.left % 2 == 1)
        cover("padding", holds and padding)
        if chunk.bits == 8:
            self._narrow_events(byte, weighs=weighs, skips=skips)
        elif chunk.bits == 4:
            self._code_events(byte, weighs=weighs, skips=skips)
        cover("skip token", skips)
        cover(
            "two skip tokens in a row", skips and len(before.tokens) == 2 and self.held_skip(after)
        )
        cover("word held for a skip token behind its last unit", skips and before.at == 4)
        cover(
            "word held for two skip tokens behind its last unit",
            skips and before.at == 4 and len(before.tokens) == 2 and self.held_skip(after),
        )
        cover(
            "kernel reached by a skip token alone",
            opens and before.opened != before.kernel and before.kernel == after.kernel > 0,
        )
        cover("second weight of a kernel", weighs and not opens)
        cover("second fetch of a channel", data.get("last", 0) > 0)
        cover("a channel's last header is the last of its fetch", data.get("tail") == self.tail)
        cover(
            "a pattern of all positions for K = 3",
            chunk.side == 3 and pattern == 0x1FF,
        )
        cover(
            "a pattern of another header than the last",
            pattern & ~wrote["header_write"]["data"] if pattern else 0,
        )
        cover("kernel ended by the next", closes and opens)
        cover("last token opens its kernel", closes and opens and after.flush)
        cover("last header written beside half a bias", flushes and "weight_write" in wrote)
        cover("last header written behind the last word", flushes and not holds)
        cover("chunk begins inside a block", starts and chunk.lead > 0)
        cover("block skipped", opens and before.opened >= 0 and gap > 1)
        cover("last line of the table", table["line"] == self.arch.chunk_channels - 1)
        cover("biases of 64 slots", starts and after.biases == 128)

    def _banks(self, units: int) -> None:
        """How far the banks are filled. units: of a header."""
        wrote, seen, last = self.writes.found, self.memory.seen, self.arch.weight_words - 1
        header = wrote.get("header_write")
        if header is not None and (header["unit"] // units + 1) * units == 64:
            seen.add(("headers", units))
        if "weight_write" in wrote:
            seen.add(("weight", wrote["weight_write"]["address"]))
        self.bench.cover(
            "weight bank of each half full", {("weight", last), ("weight", 2 * last + 1)} <= seen
        )
        self.bench.cover(
            "header bank full with headers of each size",
            {("headers", HEADER_UNITS[n]) for n in self.sides} <= seen,
        )

    def _narrow_events(self, byte: int, *, weighs: bool, skips: bool) -> None:
        cover = self.bench.cover
        cover("skip between 8-bit weights", skips and not byte)
        cover("skip that counts on in the weight's byte", skips and byte)
        cover("8-bit weight below zero", weighs and byte >> 7)
        cover("8-bit weight above zero", weighs and byte and not byte >> 7)
        biased = "weight_write" in self.writes.found and not weighs
        cover("half a bias behind 8-bit weights", biased)

    def _code_events(self, code: int, *, weighs: bool, skips: bool) -> None:
        assert self.chunk is not None
        cover = self.bench.cover
        place = self.chunk.base + (code & 7)
        cover("skip between codes", skips and not code)
        cover("skip that counts on in the code's place", skips and code)
        cover("code of 1", weighs and code == place == 0)
        cover("code of -1", weighs and code == 8 and not place)
        cover("code of 2^14 by its base alone", weighs and place == 14 == self.chunk.base)
        cover("code of -2^14 by base and exponent", weighs and place == 14 and code == 15)
        biased = "weight_write" in self.writes.found and not weighs
        cover("half a bias behind codes", biased)

    def held_skip(self, after: stepped.Unpacking) -> bool:
        assert self.chunk is not None
        skip = (1 << PID_BITS[self.chunk.side]) - 1
        return bool(after.tokens) and after.tokens[0] & skip == skip


class Memory:
    """What has been written: checked against the component in each cycle, so it is the
    component's. seen: for the corners.
    """

    def __init__(self, bench: Bench) -> None:
        self.arch = bench.arch
        self.weights: dict[int, int] = {}
        self.units: dict[tuple[int, int], int] = {}
        self.lines: dict[tuple[int, int], dict[str, int]] = {}
        self.patterns: dict[tuple[int, int], int | None] = {}
        self.present: dict[tuple[int, int], int] = {}
        self.seen: set[tuple[str, int]] = set()

    def take(self, writes: dict[str, dict[str, int]]) -> None:
        if "weight_write" in writes:
            self.weights[writes["weight_write"]["address"]] = writes["weight_write"]["data"]
        if "header_write" in writes:
            header = writes["header_write"]
            for n in range(HEADER_UNITS[2 * header["kernel"] + 1]):
                at = header["half"], header["unit"] + n
                self.units[at] = header["data"] >> 16 * n & 0xFFFF
        if "table_write" in writes:
            table = writes["table_write"]
            self.lines[table["half"], table["line"]] = cast(dict[str, int], table["data"])
            self.patterns[table["half"], table["line"]] = table.get("pattern")
        if "presence_write" in writes:
            presence = writes["presence_write"]
            if presence.get("clear"):
                self.present = {a: b for a, b in self.present.items() if a[0] != presence["half"]}
            else:
                self.present[presence["half"], presence["block"]] = presence["lanes"]

    def header(self, half: int, number: int, side: int) -> int:
        units = HEADER_UNITS[side]
        return sum(self.units[half, number * units + n] << 16 * n for n in range(units))

    def check(self, chunk: Chunk, loaded: LoadedChunk, pe: int) -> None:
        """The half holds what the cycle model's loader has decoded for this PE."""
        base = chunk.half * self.arch.weight_words
        starts = loaded.kernel_start[pe].tolist()
        for channel, (first, end) in enumerate(pairwise(starts)):
            line = chunk.lead + channel
            block = self.present.get((chunk.half, line // self.arch.pes), 0)
            assert block >> line % self.arch.pes & 1 == (first < end)
            if first < end:
                weight = int(loaded.weight_start[pe, first]) + base
                expected = table_line(first, end - first, weight, chunk.side, self.arch.fetch_units)
                assert self.lines[chunk.half, line] == expected
                if chunk.side <= FILTER_SIDE:
                    pattern = self.patterns[chunk.half, line]
                    assert pattern == int(loaded.patterns[pe, channel])
            for number in range(first, end):
                value = int(loaded.slot[pe, number]) << chunk.side**2 | int(loaded.wsp[pe, number])
                assert self.header(chunk.half, number, chunk.side) == value
        weights = sum(int(wsp).bit_count() for wsp in loaded.wsp[pe, : starts[-1]])
        for address, weight in enumerate(loaded.weights[pe, :weights].tolist()):
            assert self.weights[base + address] == weight & 0xFFFF
        if chunk.biases:
            for slot, bias in enumerate(loaded.bias[pe].tolist()):
                low, high = (self.weights[base + weights + 2 * slot + n] for n in (0, 1))
                assert low | high << 12 == bias & 0xFFFFFF


# --- tests -----------------------------------------------------------------------------------


@test
async def a_word_takes_a_cycle_a_unit_and_a_skip_token(bench: Bench) -> None:
    model = Model(bench)
    skip = (0x0F, True)  # K = 3: 16 kernels on
    weight = (0x08, False)
    # Units of the first word: its count, a pair, the pair's weights, the next pair.
    for pairs, spans in (
        ([(skip, skip), (weight, weight)], [6, 4]),
        ([(weight, weight), (skip, weight)], [4, 5]),
        ([(weight, skip), (skip, weight), (weight, weight)], [6, 4]),
        ([(weight, weight), (weight, weight)], [4, 4]),
    ):
        tokens = [token for pair in pairs for token in pair]
        # Kernel 0, position 8, then from kernel to kernel.
        tokens = [(t | 16 * (n > 0 and not s), s) for n, (t, s) in enumerate(tokens)]
        chunk = Chunk(3, 1, 0, False, 0, words_of(bench, tokens, [], len(tokens)))
        model.spans.clear()
        await model.send(chunk)
        await model.finish()
        assert model.spans == spans


@test
async def words_of_8_bit_weights_follow_each_other_without_a_gap(bench: Bench) -> None:
    """A word in every fourth cycle, skips or not; behind the chunk one cycle is free."""
    model = Model(bench)
    for half in (0, 1, 0):
        units = [bench.bits(8) << 8 | 0x10 | n % 8 for n in range(18)]
        units[5] = 0x000F  # a skip of 16 kernels
        chunk = Chunk(3, 1, 0, False, half, packed_units(bench, [len(units), *units]), bits=8)
        await model.send(chunk)
    assert [b - a for a, b in pairwise(model.takes)] == [4, 4, 4, 4, 5] * 2 + [4] * 4
    await model.finish()


@test
async def words_of_codes_follow_each_other_without_a_gap(bench: Bench) -> None:
    """A word in every fifth cycle, skips or not; behind the chunk one cycle is free."""
    model = Model(bench)
    for half in (0, 1, 0):
        units = [bench.bits(4) << 8 | 0x10 | n % 8 for n in range(18)]
        units[5] = 0x00F  # a skip of 16 kernels
        words = packed_units(bench, [len(units), *units], 12)
        await model.send(Chunk(3, 1, 0, False, half, words, bits=4, base=5))
    assert [b - a for a, b in pairwise(model.takes)] == [5, 5, 5, 6] * 2 + [5] * 3
    await model.finish()


@test
async def a_chunk_cut_short_leaves_nothing_behind(bench: Bench) -> None:
    model = Model(bench)
    for shift in range(11):
        for count in (1 << shift, (1 << shift + 1) - 1):
            half = shift % 2
            kernels = [(n // 2, n % 2) for n in range(12)]
            tokens = list(tokens_of(bench, 3, kernels))
            words = words_of(bench, tokens, [], max(count, 1))
            short = words[:3] if count > 12 else words
            await model.send(Chunk(3, 1, 1, bool(shift % 3), half, short), 0.2)
            bench.cover("more tokens announced than sent", count > 12)
            await model.send(random_chunk(bench, 1 - half), 0.2)
    await model.finish()


@test
async def reset_forgets_everything(bench: Bench) -> None:
    for cycles in range(60):
        model = Model(bench)
        chunk = random_chunk(bench, cycles % 2, Style(0.5, 20, 40))
        words = iter(enumerate(chunk.words))
        number, word = next(words)
        for _ in range(cycles):
            first, last = int(number == 0), int(number == len(chunk.words) - 1)
            payload = {"units": word, "first": first, "last": last, "context": chunk.context}
            if await model.cycle(payload, chunk):
                number, word = next(words, (0, chunk.words[0]))
        bench.cover("reset inside a chunk", model.busy)
        await bench.cycle(word__valid=0)
        await bench.reset()
    model = Model(bench)
    await model.finish()
    await model.send(random_chunk(bench, 1))
    await model.finish()


@test
async def full_banks(bench: Bench) -> None:
    model = Model(bench)
    for number in range(60):
        # Few kernels with many weights fill the weight bank, many with few the header bank.
        style = Style(0.97, 1, 1000) if number % 3 else Style(0.2, 8, 1000)
        await model.send(random_chunk(bench, number % 2, style))
    await model.finish()


@test
async def random_chunks(bench: Bench) -> None:
    model = Model(bench)
    half = 0
    while len(model.spans) < bench.transactions:
        stall = bench.random.choice((0, 0, 0.1, 0.5, 0.9))
        await model.send(random_chunk(bench, half), stall)
        half = 1 - half if bench.chance(0.9) else half
        if bench.chance(0.1):
            await model.finish()
    await model.finish()


@test
async def packed_programs(bench: Bench) -> None:
    """Streams of `pack`: what is written, and the cycles of each word, are the cycle model's."""
    model = Model(bench)
    seed = words = 0
    while words < bench.transactions // 4:
        for number, (streams, chunk, loaded) in enumerate(packed_chunks(bench.arch, seed)):
            pe = bench.random.randrange(bench.arch.pes)
            chunk.half, chunk.words = number % 2, streams[pe]
            model.spans.clear()
            await model.send(chunk)
            await model.finish()
            model.memory.check(chunk, loaded, pe)
            assert model.spans == loaded.word_cycles[loaded.word_pe == pe].tolist()
            words += len(chunk.words)
        seed += 1


def packed_chunks(arch: Arch, seed: int) -> Iterator[tuple[list[list[int]], Chunk, LoadedChunk]]:
    """Of a random Program's chunks: the words of each PE, the context, and what they decode to."""
    program = random_program(seed, timesteps=arch.timesteps, kernel_max=arch.kernel_max)
    packed = pack(program, random_mapping(program, arch, seed), arch)
    for layer in packed.layers[1:]:
        for number, (address, _) in enumerate(layer.passes):
            for position, loaded in enumerate(load_pass(packed, layer, number)):
                streams, address = split_chunk(packed.stream, address, arch)
                kernel = layer.segments[loaded.segment].kernel
                log_slots = layer.slots.bit_length() - 1
                last = position == len(layer.chunks) - 1
                source = layer.segments[loaded.segment]
                lead = loaded.start % arch.pes
                bits, base = source.weight_bits, source.base
                chunk = Chunk(kernel, log_slots, lead, last, 0, bits=bits, base=base)
                yield [stream.tolist() for stream in streams], chunk, loaded
