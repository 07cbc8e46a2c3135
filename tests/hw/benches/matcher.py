"""Bench of Matcher: every stage in every cycle against a model, with a table and a header bank."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from evenspike_core.arch import HEADER_UNITS, Arch
from evenspike_hw.rtl.layouts import PAIR_OFFSET, Layouts
from evenspike_hw.rtl.pe.matcher import Matcher
from tests.helpers.driver import Bench, pack, test
from tests.helpers.layers import table_line

component = Matcher
ARCH = Arch(pes=4, chunk_blocks=2, scratchpad_words=2048, header_words=400)
VARIANTS = {f"kernel{side}": replace(ARCH, kernel_max=side) for side in (3, 5)}
ALL_SLOTS = 1 << 6


def CORNERS(arch: Arch) -> Iterator[str]:  # noqa: N802  (as where it is a constant)
    for side in Layouts(arch).sides:
        yield f"K = {side} with a match"
        yield f"K = {side} without a match"
        yield f"K = {side} with 64 headers"


class Packets:
    """The layouts that the model packs, made once. fields: offset and width in `matched`."""

    def __init__(self, arch: Arch) -> None:
        layouts = Layouts(arch)
        self.sides = layouts.sides
        self.address_bits = layouts.weight_address_bits
        self.activation, self.table_line = layouts.activation, layouts.table_line
        self.round = self.activation["round"].offset
        matched = layouts.matched
        self.fields = {name: (field.offset, field.width) for name, field in matched} | {
            f"slot {n}": (matched["slots"].offset + 6 * n, 6) for n in range(2)
        }


@cache
def position_mask(side: int, rows: int, columns: int) -> int:
    return sum(
        1 << n for n in range(side * side) if rows >> n // side & 1 and columns >> n % side & 1
    )


@dataclass
class Fetch:
    """A fetch in M2; `entry`, `base` and `headers` are what follows from the header it has read."""

    item: dict[str, Any]
    number: int
    line: dict[str, int]
    entry: dict[str, Any] | None = None
    base: int = 0
    headers: list[tuple[int, int, int]] | None = None


@dataclass
class Wires:
    """What happens in a cycle; the reads as half and address, None if there is none.

    current: the head's round. free: M1 is, or gives up its last fetch.
    """

    current: bool
    free: bool
    pops: bool
    m1_leaves: bool
    m1_ends: bool
    m2_leaves: bool
    table_read: tuple[int, int] | None
    header_read: tuple[int, int] | None


class Model:
    """Registers of the stages, and the memories that they read."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.packets = Packets(bench.arch)
        self.every = (1 << bench.arch.kernel_max) - 1  # row, or column, of a kernel
        self.table = [[{"first": 0, "headers": 1, "weight": 0}] * 8 for _ in range(2)]
        self.units = [[0] * 400 for _ in range(2)]
        self.line = {"first": 0, "headers": 1, "weight": 0}
        self.line_bits = pack(self.packets.table_line, table_line(**self.line, side=1))
        self.header = 0
        self.round = 0
        self.head: dict[str, Any] | None = None
        self.packed: int | None = None  # the head's bits
        self.waited = False  # the head, for its round, in the cycle before
        self.popped = 0
        self.clear()

    def clear(self) -> None:
        self.m1: tuple[dict[str, Any], int] | None = None
        self.m2: Fetch | None = None
        self.seen = 0
        self.low = 0

    # What the contract says about a fetch.

    def side(self, item: dict[str, Any]) -> int:
        return 2 * int(item["kernel"]) + 1

    def span(self, item: dict[str, Any]) -> range:
        """The 32-bit words of the channel's headers."""
        units = HEADER_UNITS[self.side(item)]
        first, headers = self.line["first"], self.line["headers"]
        return range(first * units // 2, ((first + headers) * units + 1) // 2)

    def decoded(self) -> tuple[list[tuple[int, int, int]], bool]:
        """Number in the fetch, slot and WSP of the headers in M2; whether the fetch has a match."""
        assert self.m2 is not None
        item, line = self.m2.item, self.m2.line
        side = self.side(item)
        area = side * side
        if side <= 3:
            at = 2 * (line["first"] // 2 + self.m2.number)
            owned = range(line["first"], line["first"] + line["headers"])
            values = [(n, self.header >> 16 * n & 0xFFFF) for n in range(2) if at + n in owned]
        elif side == 5:
            values = [(0, self.header)]
        else:
            values = [(0, self.low | self.header << 32)] if self.m2.number % 2 else []
        found = [(n, v >> area & ALL_SLOTS - 1, v & (1 << area) - 1) for n, v in values]
        positions = self.positions(item)
        return found, any(wsp & positions for _, _, wsp in found)

    def positions(self, item: dict[str, Any]) -> int:
        return position_mask(self.side(item), item["rows"], item["columns"])

    # A cycle.

    async def cycle(self, ready: bool = True) -> None:
        """The head, if there is one, is at the FIFO; ready: of the match queue."""
        bench, head = self.bench, self.head
        if head is None:
            payload = bench.random.getrandbits(self.packets.activation.size)
        elif self.packed is None:
            payload = self.packed = pack(self.packets.activation, head)
        else:
            payload = self.packed
        wires = self._wires((payload >> self.packets.round & 1) == self.round, ready)
        out = await bench.cycle(
            activation__valid=head is not None,
            activation__payload=payload,
            round=self.round,
            line=self.line_bits,
            header=self.header,
            matched__ready=ready,
        )
        entry = self.m2.entry if self.m2 else None
        bench.check(
            out,
            {
                "matched__valid": int(entry is not None),
                "activation__ready": int(wires.current and wires.free),
            },
        )
        self._check_read(out, "table_read", wires.table_read)
        self._check_read(out, "header_read", wires.header_read)
        if entry is not None:
            self._check_entry(out["matched__payload"], entry)
        self._corners(wires, ready)
        self._advance(wires)

    def _wires(self, current: bool, ready: bool) -> Wires:
        """From the last stage to the first."""
        head, m2_leaves, m1_leaves, m1_ends = self.head, False, False, False
        table_read = header_read = None
        if self.m2 is not None:
            if self.m2.headers is None:
                self.m2.entry, self.m2.base, self.m2.headers = self._entry()
            m2_leaves = self.m2.entry is None or ready
        if self.m1 is not None:
            item, number = self.m1
            m1_leaves = self.m2 is None or m2_leaves
            m1_ends = item["marker"] or number == len(self.span(item)) - 1
            if m1_leaves and not item["marker"]:
                header_read = item["half"], self.span(item)[number]
        free = self.m1 is None or (m1_leaves and m1_ends)
        pops = head is not None and current and free
        if pops and head is not None and not head["marker"]:
            table_read = head["half"], head["line"]
        return Wires(current, free, pops, m1_leaves, m1_ends, m2_leaves, table_read, header_read)

    def _corners(self, wires: Wires, ready: bool) -> None:
        cover, head, entry = self.bench.cover, self.head, self.m2.entry if self.m2 else None
        waits = head is not None and not wires.current and wires.free
        both = head is not None and self.m1 is not None and wires.pops and not head["marker"]
        cover("marker waits for the queue", entry and entry["marker"] and not ready)
        cover("match waits for the queue", entry and not entry["marker"] and not ready)
        cover("FIFO empty while M1 is free", head is None and self.m1 is None)
        cover("marker of the next round waits", waits and head and head["marker"])
        cover("activation of the next round waits", waits and head and not head["marker"])
        cover("pop waits for fetches", head and wires.m1_leaves and not wires.m1_ends)
        cover("M0, M1 and M2 move in one cycle", wires.pops and wires.m1_leaves and wires.m2_leaves)
        cover("round begins and the head is popped", wires.pops and self.waited)
        cover(
            "another half in the next activation",
            both and head and self.m1 and self.m1[0]["half"] != head["half"],
        )
        cover(
            "another kernel in the next activation",
            both and head and self.m1 and self.side(self.m1[0]) != self.side(head),
        )
        self.waited = waits

    def _advance(self, wires: Wires) -> None:
        """The next registers."""
        if self.m2 is not None and wires.m2_leaves:
            if not self.m2.item["marker"]:
                weights = sum(wsp.bit_count() for _, _, wsp in self.m2.headers or [])
                self.bench.cover(
                    "address of a weight wraps",
                    self.m2.base + weights >= 1 << self.packets.address_bits and weights,
                )
                self.seen = (self.m2.base + weights) % (1 << self.packets.address_bits)
                self.low = self.header
            self.m2 = None
        if self.m1 is not None and wires.m1_leaves:
            item, number = self.m1
            self.m2 = Fetch(item, number, self.line)
            self.m1 = None if wires.m1_ends else (item, number + 1)
        if wires.header_read is not None:
            half, word = wires.header_read
            self.header = self.units[half][2 * word] | self.units[half][2 * word + 1] << 16
        if wires.table_read is not None:
            half, line = wires.table_read
            self.line = self.table[half][line]
            assert self.head is not None
            side = self.side(self.head)
            self.line_bits = pack(self.packets.table_line, table_line(**self.line, side=side))
        if self.head is not None and wires.pops:
            self.m1 = self.head, 0
            self.head = self.packed = None
            self.popped += 1

    def _entry(self) -> tuple[dict[str, Any] | None, int, list[tuple[int, int, int]]]:
        """What M2 sends, the address of its first weight, and its headers."""
        assert self.m2 is not None
        item, cover = self.m2.item, self.bench.cover
        if item["marker"]:
            cover("marker ends a round", item["ends_round"])
            cover("marker gives up a half", item["frees"])
            return {name: item[name] for name in ("marker", "ends_round", "frees")}, 0, []
        headers, matches = self.decoded()
        side, line = self.side(item), self.m2.line
        base = line["weight"] if self.m2.number == 0 else self.seen
        cover(f"K = {side} {'with' if matches else 'without'} a match", headers)
        cover(f"K = {side} with 64 headers", line["headers"] == ALL_SLOTS)
        if side <= 3:
            self._alignment(line, headers)
        if not matches:
            return None, base, headers
        positions = self.positions(item)
        entry = {name: item[name] for name in ("marker", "kernel", "log_stride", "mask", "y", "x")}
        entry |= {"base": base, "pids": 0, "wsp": 0}
        matched = []
        for number, slot, wsp in headers:
            entry["wsp"] |= wsp << PAIR_OFFSET * number
            entry["pids"] |= (wsp & positions) << PAIR_OFFSET * number
            if wsp & positions:
                entry[f"slot {number}"] = slot
                matched.append(number)
        cover("both kernels of a fetch match", matched == [0, 1])
        cover("only the second kernel of a fetch matches", matched == [1])
        return entry, base, headers

    def _alignment(self, line: dict[str, int], headers: list[tuple[int, int, int]]) -> None:
        cover = self.bench.cover
        numbers = [number for number, _, _ in headers]
        if numbers == [1]:
            cover("the first header is the upper one of its word")
            cover("a single header, the upper one", line["headers"] == 1)
        cover("the last header is the lower one of its word", numbers == [0])

    def _check_read(self, out: dict[str, int], name: str, wanted: tuple[int, int] | None) -> None:
        found = out[name]
        if wanted is None:
            assert not found & 1, f"cycle {self.bench.now}: {name} is enabled"
        else:
            half, address = wanted
            assert found == 1 | half << 1 | address << 2, (
                f"cycle {self.bench.now}: {name} is {found:#x}, expected half {half}, {address}"
            )

    def _check_entry(self, found: int, wanted: dict[str, Any]) -> None:
        for name, value in wanted.items():
            offset, width = self.packets.fields[name]
            shown = found >> offset & (1 << width) - 1
            assert shown == value, (
                f"cycle {self.bench.now}: matched {name} is {shown:#x}, expected {value:#x}"
            )

    # Content and traffic.

    def fill(self, density: float, longest: int) -> None:
        """Other kernels, tables and headers; nothing may be in flight."""
        bench, random = self.bench, self.bench.random
        # A chunk has one segment, so a half has the headers of one kernel.
        self.kernels = [random.randrange(len(self.packets.sides)) for _ in range(2)]
        for half in range(2):
            side = 2 * self.kernels[half] + 1
            self.units[half] = self._headers(side, density)
            room = 400 // HEADER_UNITS[side]
            lines = []
            for _ in range(8):
                headers = min(random.choice((1, 1, 2, random.randint(1, longest))), room)
                first = random.choice((0, room - headers, random.randint(0, room - headers)))
                weight = bench.bits(self.packets.address_bits)
                lines.append({"first": first, "headers": headers, "weight": weight})
            self.table[half] = lines

    def _headers(self, side: int, density: float) -> list[int]:
        random, area, units = self.bench.random, side * side, HEADER_UNITS[side]
        found: list[int] = []
        while len(found) < 400:
            slot = random.getrandbits(6)
            wsp = sum(1 << n for n in range(area) if random.random() < density)
            spare = random.getrandbits(16 * units - area - 6) << area + 6
            value = spare | slot << area | wsp
            found += [value >> 16 * n & 0xFFFF for n in range(units)]
        return found[:400]

    def activation(self, markers: float) -> dict[str, Any]:
        bench, random = self.bench, self.bench.random
        half = random.getrandbits(1)
        side = bench.arch.kernel_max
        some = (
            self.every,
            1 << random.randrange(side),
            0,
            random.getrandbits(side),
            random.getrandbits(side),
        )
        return {
            "marker": int(bench.chance(markers)),
            "ends_round": random.getrandbits(1),
            "frees": random.getrandbits(1),
            "round": self.round ^ bench.chance(0.1),
            "half": half,
            "kernel": self.kernels[half],
            "log_stride": random.getrandbits(1),
            "line": random.randrange(8),
            "mask": bench.bits(4),
            "rows": random.choice(some),
            "columns": random.choice((self.every, *some)),
            "y": bench.bits(10),
            "x": bench.bits(10),
        }

    def offer(self, activation: dict[str, Any]) -> None:
        """It is the FIFO's head until it is popped."""
        self.head, self.packed = activation, None

    async def settle(self) -> None:
        while self.m1 is not None or self.m2 is not None:
            await self.cycle()
        await self.cycle()


@test
async def latency(bench: Bench) -> None:
    """Popped in p, headers read in p + 1, matches in p + 2; a fetch a cycle, without a gap."""
    line = table_line(4, 4, 5, side=1)
    activation = {"rows": 1, "columns": 1, "line": 3, "mask": 1}
    count = 6
    pops: list[int] = []
    reads: list[tuple[int, int]] = []
    entries: list[int] = []
    inputs: dict[str, Any] = {"header": 0x00030005, "matched__ready": 1}
    for now in range(2 * count + 4):
        out = await bench.cycle(
            activation__valid=len(pops) < count, activation__payload=activation, line=line, **inputs
        )
        if out["activation__ready"] and len(pops) < count:
            pops.append(now)
            assert out["table_read"] == bench.bits_of("table_read", {"enable": 1, "line": 3})
        if out["header_read"] & 1:
            reads.append((now, out["header_read"] >> 2))
        if out["matched__valid"]:
            entries.append(now)
            entry = bench.fields("matched__payload", out["matched__payload"])
            assert entry["base"] == 5 + 2 * ((len(entries) - 1) % 2)
            assert entry["slots"] == [2, 1]
    assert pops == [2 * n for n in range(count)]
    assert reads == [(1 + n, 2 + n % 2) for n in range(2 * count)]
    assert entries == [2 + n for n in range(2 * count)]


@test
async def throughput(bench: Bench) -> None:
    """Activations of one fetch each pass at one a cycle, with a match or without, and markers."""
    made = Model(bench)
    made.fill(0.5, 1)
    for half in range(2):
        made.table[half] = [{"first": 2, "headers": 1, "weight": 7}] * 8
        made.kernels = [1, 0]
    for count in range(200):
        made.offer(made.activation(0.2) | {"round": made.round})
        await made.cycle()
        assert made.popped == count + 1
    await made.settle()


@test
async def random_traffic(bench: Bench) -> None:
    """Networks of all kernels; activations come and the match queue takes at random rates."""
    made = Model(bench)
    random = bench.random
    while made.popped < bench.transactions:
        await made.settle()
        made.fill(random.choice((0.05, 0.3, 0.7, 1.0)), random.choice((2, 4, 4, 20)))
        supply = random.choice((0.3, 0.9, 1.0))
        take = random.choice((0.2, 0.7, 1.0))
        turn = random.choice((0.05, 0.3))
        markers = random.choice((0.02, 0.3))
        for _ in range(random.randrange(20, 500)):
            if made.head is None and bench.chance(supply):
                made.offer(made.activation(markers))
            await made.cycle(ready=bench.chance(take))
            if bench.chance(turn):
                made.round ^= 1
        made.head = None


@test
async def long_channels(bench: Bench) -> None:
    """Channels with 64 headers, for each kernel, at the ends of the header bank."""
    made = Model(bench)
    for code in range(len(made.packets.sides)):
        for density in (0.02, 1.0):
            made.fill(density, 64)
            made.kernels = [code, code]
            made.units = [made._headers(2 * code + 1, density) for _ in range(2)]
            room = 400 // HEADER_UNITS[2 * code + 1]
            for half, first in (
                (0, 0),
                (1, room - 64),
                (0, min(1, room - 64)),
                (1, room // 2 - 32),
            ):
                line = {"first": first, "headers": 64, "weight": bench.bits(11)}
                made.table[half] = [line] * 8
                whole = {"rows": made.every, "columns": made.every}
                made.offer(made.activation(0.0) | {"half": half, "round": made.round} | whole)
                for _ in range(4):
                    await made.cycle(ready=bench.chance(0.5))
                await made.settle()


@test
async def reset(bench: Bench) -> None:
    """A reset empties the stages."""
    made = Model(bench)
    for _ in range(20):
        made.fill(1.0, 4)
        for _ in range(bench.random.randrange(1, 8)):
            whole = {"rows": made.every, "columns": made.every}
            made.offer(made.activation(0.3) | {"round": made.round} | whole)
            await made.cycle(ready=False)
        bench.cover("reset with all stages full", made.m1 is not None and made.m2 is not None)
        made.head = None
        await bench.cycle(activation__valid=0)
        await bench.reset()
        made.clear()
        await made.cycle()
        await made.settle()
