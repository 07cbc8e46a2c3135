"""Bench of Matcher: every stage in every cycle against a model, with a table and a header bank."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from evenspike_core.arch import HEADER_UNITS, Arch
from evenspike_hw.rtl.layouts import Layouts
from evenspike_hw.rtl.pe.matcher import Matcher
from tests.helpers.driver import Bench, pack, test
from tests.helpers.layers import table_line

component = Matcher
ARCH = Arch(pes=4, chunk_blocks=2, scratchpad_words=2048, header_words=400)
VARIANTS = {
    "kernel3": replace(ARCH, kernel_max=3, match_depth=4),
    "kernel5": replace(ARCH, kernel_max=5, issue=1, match_depth=2),
    "issue1": replace(ARCH, issue=1, match_depth=3),
    "depth1": replace(ARCH, kernel_max=3, issue=1, match_depth=1),
    "depth1-kernel5": replace(ARCH, kernel_max=5, match_depth=1),
}
ALL_SLOTS = 1 << 6
UNITS = 400


def CORNERS(arch: Arch) -> Iterator[str]:  # noqa: N802  (as where it is a constant)
    for side in Layouts(arch).sides:
        yield f"K = {side} with a match"
        yield f"K = {side} without a match"
        yield f"K = {side} with 64 headers"
        kernels = arch.fetch_units // HEADER_UNITS[side]
        for place in range(kernels if kernels > 1 else 0):
            yield f"K = {side}: the first header is at place {place}"
            yield f"K = {side}: the last header is at place {place}"
            yield f"K = {side}: a match at place {place} alone"


class Packets:
    """The layouts that the model packs, made once. fields: offset and width in `matched`."""

    def __init__(self, arch: Arch) -> None:
        layouts = Layouts(arch)
        self.sides, self.fetch = layouts.sides, arch.fetch_units
        self.address_bits = layouts.weight_address_bits
        self.activation, self.table_line = layouts.activation, layouts.table_line
        matched = layouts.matched
        self.fields = {name: (at.offset, at.width) for name, at in matched} | {
            f"slot {n}": (matched["slots"].offset + 6 * n, 6) for n in range(arch.fetch_units)
        }
        self.groups = layouts.groups

    def pattern(self, side: int, kernel: int, bits: int) -> int:
        """Where the kernel positions of a kernel of a fetch are in a pattern."""
        found = 0
        for row in range(side):
            first = sum(self.groups[: kernel * max(side, 3) + row])
            found |= (bits >> row * side & (1 << side) - 1) << first
        return found


@cache
def position_mask(side: int, rows: int, columns: int) -> int:
    return sum(
        1 << n for n in range(side * side) if rows >> n // side & 1 and columns >> n % side & 1
    )


@dataclass
class Fetch:
    """What a fetch reads, as half and line, nothing for a marker; and what it queues, if it does.

    behind: cycles since it was made.
    """

    read: tuple[int, int] | None
    entry: dict[str, int] | None
    behind: int = 0


@dataclass
class Wires:
    """What happens in a cycle; the reads as half and address, None if there is none.

    current: the rounds whose markers were popped are drained. free: M1 is, or gives up its
    activation. seen: the fetch whose matches are seen in this cycle. fetches: M2 does.
    """

    current: bool
    free: bool
    pops: bool
    m1_leaves: bool
    fetches: bool
    ends: bool
    seen: Fetch | None
    table_read: tuple[int, int] | None


@dataclass
class Channel:
    """A line of the table, before it is packed."""

    first: int = 0
    headers: int = 1
    weight: int = 0

    def packed(self, packets: Packets, side: int) -> int:
        line = table_line(self.first, self.headers, self.weight, side, packets.fetch)
        return pack(packets.table_line, line)


@dataclass
class Model:
    """Registers of the stages, and the memories that they read.

    m1: an activation. m2: the fetches of one that are still to come. under_way: fetches whose
    matches have not been seen. queued: entries of the match queue; what is written in a cycle is in
    it from the next on. ended, drained: numbers of rounds.
    """

    bench: Bench
    m1: dict[str, Any] | None = None
    m2: deque[Fetch] = field(default_factory=deque)
    under_way: deque[Fetch] = field(default_factory=deque)
    queued: int = 0
    ended: int = 0
    drained: int = 0
    head: dict[str, Any] | None = None
    packed: int | None = None  # the head's bits
    waited: bool = False  # the head, for a round, in the cycle before
    starved: bool = False  # M2, for a credit, in the cycle before
    popped: int = 0
    fetched: int = 0

    def __post_init__(self) -> None:
        arch = self.bench.arch
        self.packets = Packets(arch)
        self.depth, self.fetch = arch.match_depth, arch.fetch_units
        self.every = (1 << arch.kernel_max) - 1  # row, or column, of a kernel
        self.table = [[Channel()] * 8 for _ in range(2)]
        self.units = [[0] * UNITS for _ in range(2)]
        self.line = Channel()
        self.line_bits = self.line.packed(self.packets, 1)
        self.header = 0

    def clear(self) -> None:
        self.m1 = None
        self.m2.clear()
        self.under_way.clear()
        self.queued = self.ended = self.drained = 0

    @property
    def busy(self) -> bool:
        return self.m1 is not None or bool(self.m2) or bool(self.under_way)

    @property
    def credits(self) -> int:
        return self.depth - self.queued - len(self.under_way)

    # What the contract says about an activation.

    def side(self, item: dict[str, Any]) -> int:
        return 2 * int(item["kernel"]) + 1

    def fetches(self, item: dict[str, Any], line: Channel) -> Iterator[Fetch]:
        """One for each line of the header bank that the channel's headers touch."""
        cover = self.bench.cover
        if item["marker"]:
            names = ("marker", "ends_round", "frees")
            cover("marker ends a round", item["ends_round"])
            cover("marker gives up a half", item["frees"])
            yield Fetch(None, {name: item[name] for name in names} | {"pids": 0})
            return
        side, half, weight = self.side(item), item["half"], line.weight
        units, headers = HEADER_UNITS[side], range(line.first, line.first + line.headers)
        cover(f"K = {side} with 64 headers", line.headers == ALL_SLOTS)
        first, end = line.first * units, (line.first + line.headers) * units
        for number in range(first // self.fetch, -(-end // self.fetch)):
            # A header is there with its last unit.
            units_read = range(number * self.fetch, (number + 1) * self.fetch)
            there = [n for n in headers if (n + 1) * units - 1 in units_read]
            found = [(n * units % self.fetch // units, *self.decoded(half, n, side)) for n in there]
            entry = self._entry(item, side, found, weight)
            self._places(
                side, line, headers, {n: at[0] for n, at in zip(there, found, strict=True)}
            )
            weights = sum(wsp.bit_count() for _, _, wsp in found)
            room = 1 << self.packets.address_bits
            cover("address of a weight wraps", entry is not None and weight + weights >= room)
            weight = (weight + weights) % room
            yield Fetch((half, number), entry)

    def decoded(self, half: int, number: int, side: int) -> tuple[int, int]:
        """Slot and WSP of a header of the bank."""
        units, area = HEADER_UNITS[side], side * side
        value = sum(self.units[half][number * units + n] << 16 * n for n in range(units))
        return value >> area & ALL_SLOTS - 1, value & (1 << area) - 1

    def _entry(
        self, item: dict[str, Any], side: int, found: list[tuple[int, int, int]], weight: int
    ) -> dict[str, int] | None:
        """What is queued for headers with their places: nothing if none matches."""
        cover, packets = self.bench.cover, self.packets
        positions = position_mask(side, item["rows"], item["columns"])
        matched = [place for place, _, wsp in found if wsp & positions]
        if found:
            cover(f"K = {side} {'with' if matched else 'without'} a match")
        if not matched:
            return None
        entry: dict[str, int] = {
            name: item[name] for name in ("marker", "kernel", "log_stride", "mask", "y", "x")
        }
        entry |= {"base": weight, "pids": 0, "wsp": 0}
        for place, slot, wsp in found:
            entry["wsp"] |= packets.pattern(side, place, wsp)
            entry["pids"] |= packets.pattern(side, place, wsp & positions)
            if place in matched:
                entry[f"slot {place}"] = slot
        kernels = self.fetch // HEADER_UNITS[side]
        if kernels > 1:
            cover("all kernels of a fetch match", len(matched) == kernels)
            if len(matched) == 1:
                cover(f"K = {side}: a match at place {matched[0]} alone")
        return entry

    def _places(self, side: int, line: Channel, headers: range, places: dict[int, int]) -> None:
        """places: of the headers of a fetch, by their numbers."""
        if self.fetch // HEADER_UNITS[side] < 2:
            return
        cover = self.bench.cover
        first, last = places.get(headers[0]), places.get(headers[-1])
        if first is not None:
            cover(f"K = {side}: the first header is at place {first}")
            cover("a single header, not the lowest of its fetch", line.headers == 1 and first > 0)
        if last is not None:
            cover(f"K = {side}: the last header is at place {last}")

    # A cycle.

    async def cycle(self, take: bool = True) -> None:
        """The head, if there is one, is at the FIFO; take: from the match queue, if it has any."""
        bench, head = self.bench, self.head
        if head is None:
            payload = bench.random.getrandbits(self.packets.activation.size)
        elif self.packed is None:
            payload = self.packed = pack(self.packets.activation, head)
        else:
            payload = self.packed
        taken = take and self.queued > 0
        wires = self._wires(self.ended == self.drained)
        out = await bench.cycle(
            activation__valid=head is not None,
            activation__payload=payload,
            round=self.drained % 2,
            line=self.line_bits,
            header=self.header,
            taken=taken,
        )
        entry = wires.seen.entry if wires.seen else None
        bench.check(
            out,
            {
                "matched__valid": int(entry is not None),
                "activation__ready": int(wires.current and wires.free),
            },
        )
        self._check_read(out, "table_read", wires.table_read)
        self._check_read(out, "header_read", self.m2[0].read if wires.fetches else None)
        if entry is not None:
            self._check_entry(out["matched__payload"], entry)
        self._corners(wires, taken)
        self._advance(wires, taken)

    def _wires(self, current: bool) -> Wires:
        """From the last stage to the first."""
        head, table_read = self.head, None
        seen = self.under_way[0] if self.under_way and self.under_way[0].behind == 2 else None
        fetches = bool(self.m2) and self.credits > 0
        ends = fetches and len(self.m2) == 1
        m1_leaves = self.m1 is not None and (not self.m2 or ends)
        free = self.m1 is None or m1_leaves
        pops = head is not None and current and free
        if pops and head is not None and not head["marker"]:
            table_read = head["half"], head["line"]
        return Wires(current, free, pops, m1_leaves, fetches, ends, seen, table_read)

    def _corners(self, wires: Wires, taken: bool) -> None:
        cover, head = self.bench.cover, self.head
        waits = head is not None and not wires.current and wires.free
        both = head is not None and self.m1 is not None and wires.pops and not head["marker"]
        starves = bool(self.m2) and not wires.fetches
        missed = wires.seen is not None and wires.seen.entry is None
        cover("marker waits for a credit", starves and self.m2[0].read is None)
        cover("fetch waits for a credit", starves and self.m2[0].read is not None)
        cover(
            "fetch in the first cycle of a credit that was waited for",
            self.starved and wires.fetches,
        )
        cover("two credits come back at once (never with 1)", self.depth < 2 or (missed and taken))
        cover(
            "two credits come back while one is given (never below 3)",
            self.depth < 3 or (missed and taken and wires.fetches),
        )
        cover("all credits in the queue", self.queued == self.depth)
        cover("all credits back", self.credits == self.depth and self.fetched)
        cover("FIFO empty while M1 is free", head is None and self.m1 is None)
        cover("marker of the next round waits", waits and head and head["marker"])
        cover("activation of the next round waits", waits and head and not head["marker"])
        cover(
            "marker in the middle of a round holds nothing up",
            self.m1 and self.m1["marker"] and not self.m1["ends_round"] and wires.pops,
        )
        cover("pop waits for fetches", head and self.m1 and wires.fetches and not wires.ends)
        cover("M0, M1 and M2 move in one cycle", wires.pops and wires.m1_leaves and wires.ends)
        cover("round begins and the head is popped", wires.pops and self.waited)
        cover(
            "another half in the next activation",
            both and head and self.m1 and self.m1["half"] != head["half"],
        )
        cover(
            "another kernel in the next activation",
            both and head and self.m1 and self.side(self.m1) != self.side(head),
        )
        self.waited, self.starved = waits, starves

    def _advance(self, wires: Wires, taken: bool) -> None:
        """The next registers."""
        self.queued -= taken
        if wires.seen is not None:
            self.under_way.popleft()
            self.queued += wires.seen.entry is not None
        for fetch in self.under_way:
            fetch.behind += 1
        if wires.fetches:
            fetch = self.m2.popleft()
            fetch.behind = 1
            self.under_way.append(fetch)
            self.fetched += 1
            if fetch.read is not None:
                half, number = fetch.read
                units = self.units[half][number * self.fetch : (number + 1) * self.fetch]
                self.header = sum(unit << 16 * n for n, unit in enumerate(units))
        if self.m1 is not None and wires.m1_leaves:
            self.m2.extend(self.fetches(self.m1, self.line))
            self.m1 = None
        if wires.table_read is not None:
            half, number = wires.table_read
            self.line = self.table[half][number]
            assert self.head is not None
            self.line_bits = self.line.packed(self.packets, self.side(self.head))
        if self.head is not None and wires.pops:
            self.ended += self.head["marker"] and self.head["ends_round"]
            self.m1 = self.head
            self.head = self.packed = None
            self.popped += 1

    def _check_read(self, out: dict[str, int], name: str, wanted: tuple[int, int] | None) -> None:
        found = out[name]
        if wanted is None:
            assert not found & 1, f"cycle {self.bench.now}: {name} is enabled"
        else:
            half, address = wanted
            assert found == 1 | half << 1 | address << 2, (
                f"cycle {self.bench.now}: {name} is {found:#x}, expected half {half}, {address}"
            )

    def _check_entry(self, found: int, wanted: dict[str, int]) -> None:
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
            self.units[half] = self.headers(side, density)
            room = UNITS // HEADER_UNITS[side]
            lines = []
            for _ in range(8):
                headers = min(random.choice((1, 1, 2, random.randint(1, longest))), room)
                first = random.choice((0, room - headers, random.randint(0, room - headers)))
                lines.append(Channel(first, headers, bench.bits(self.packets.address_bits)))
            self.table[half] = lines

    def headers(self, side: int, density: float) -> list[int]:
        random, area, units = self.bench.random, side * side, HEADER_UNITS[side]
        found: list[int] = []
        while len(found) < UNITS:
            slot = random.getrandbits(6)
            wsp = sum(1 << n for n in range(area) if random.random() < density)
            spare = random.getrandbits(16 * units - area - 6) << area + 6
            value = spare | slot << area | wsp
            found += [value >> 16 * n & 0xFFFF for n in range(units)]
        return found[:UNITS]

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

    def drain(self) -> None:
        """The round whose marker was popped is drained in this cycle, if there is one."""
        self.drained = self.ended

    def offer(self, activation: dict[str, Any]) -> None:
        """It is the FIFO's head until it is popped."""
        self.head, self.packed = activation, None

    def whole(self, **fields: int) -> dict[str, Any]:
        """An activation that every living weight of its channel matches; it ends no round."""
        every = {"rows": self.every, "columns": self.every, "ends_round": 0}
        return self.activation(0.0) | every | fields

    async def settle(self) -> None:
        self.drain()
        while self.busy or self.queued:
            await self.cycle()
        await self.cycle()


@test
async def latency(bench: Bench) -> None:
    """Popped in p, headers read from p + 2 on, a line a cycle, matches two cycles behind."""
    fetch, depth = bench.arch.fetch_units, bench.arch.match_depth
    # Two lines of headers, from the first of line 1 on: K = 1, all alike.
    line = table_line(fetch, 2 * fetch, 5, side=1, fetch=fetch)
    activation = {"rows": 1, "columns": 1, "line": 3, "mask": 1}
    count = 6
    pops: list[int] = []
    reads: list[tuple[int, int]] = []
    entries: list[int] = []
    header = sum(0x0003 << 16 * n for n in range(fetch))  # slot 1, and the weight lives
    taken = 0
    for now in range(2 * count + 6 if depth > 3 else 60):
        out = await bench.cycle(
            activation__valid=len(pops) < count,
            activation__payload=activation,
            line=line,
            header=header,
            taken=taken,
        )
        taken = 0
        if out["activation__ready"] and len(pops) < count:
            pops.append(now)
            assert out["table_read"] == bench.bits_of("table_read", {"enable": 1, "line": 3})
        if out["header_read"] & 1:
            reads.append((now, out["header_read"] >> 2))
        if out["matched__valid"]:
            entries.append(now)
            entry = bench.fields("matched__payload", out["matched__payload"])
            assert entry["base"] == 5 + fetch * ((len(entries) - 1) % 2)
            assert entry["slots"] == [1] * fetch
            taken = 1
    # A match has a credit for four cycles: fetch, two behind it, and one in the queue.
    turns = [n // depth * 4 + n % depth if depth < 4 else n for n in range(2 * count)]
    assert pops[:2] == [0, 1]
    assert reads == [(2 + turn, 1 + n % 2) for n, turn in enumerate(turns)]
    assert entries == [4 + turn for turn in turns]
    # M1 gives its activation up with the last fetch of the one before.
    assert pops[2:] == [2 + turns[2 * n - 3] for n in range(2, count)]


@test
async def throughput(bench: Bench) -> None:
    """Activations of one fetch, and markers, pass at one a cycle, as long as there are credits."""
    made = Model(bench)
    for density, cycles in ((1.0, 4), (0.0, 3)):
        await made.settle()
        made.fill(density, 1)
        made.kernels = [1, 0]
        for half in range(2):
            made.units[half] = made.headers(2 * made.kernels[half] + 1, density)
            made.table[half] = [Channel(2, 1, 7)] * 8
        await made.settle()
        before = made.fetched
        for _ in range(240):
            if made.head is None:
                made.offer(made.whole(marker=int(bench.chance(0.2) and density > 0)))
            await made.cycle()
        made.head = None
        # A match has its credit for four cycles, anything else for three.
        rate = min(1.0, bench.arch.match_depth / cycles)
        assert made.fetched - before >= rate * 238 - cycles


@test
async def all_credits(bench: Bench) -> None:
    """As many fetches as there are credits, and one more for each that comes back."""
    made = Model(bench)
    for _ in range(10):
        made.kernels = [1, 1]
        for half in range(2):
            made.units[half] = made.headers(3, 1.0)
            made.table[half] = [Channel(n, n + 1, 9) for n in range(8)]
        for _ in range(4 * made.depth + 10):
            made.offer(made.whole())
            await made.cycle(take=False)
        assert made.credits == 0
        assert made.queued == made.depth
        for _ in range(6):
            before = made.fetched
            await made.cycle(take=True)
            for _ in range(5):
                made.offer(made.whole())
                await made.cycle(take=False)
            assert made.fetched == before + 1
        made.head = None
        await made.settle()


@test
async def random_traffic(bench: Bench) -> None:
    """Networks of all kernels; activations come and the match queue is emptied at random rates."""
    made = Model(bench)
    random = bench.random
    while made.popped < bench.transactions:
        await made.settle()
        made.fill(random.choice((0.05, 0.3, 0.7, 1.0)), random.choice((2, 4, 6, 20)))
        supply = random.choice((0.3, 0.9, 1.0))
        take = random.choice((0.2, 0.7, 1.0))
        turn = random.choice((0.05, 0.3))
        markers = random.choice((0.02, 0.3))
        for _ in range(random.randrange(20, 500)):
            if made.head is None and bench.chance(supply):
                made.offer(made.activation(markers))
            await made.cycle(take=bench.chance(take))
            if bench.chance(turn):
                made.drain()
        made.head = None


@test
async def single_matches(bench: Bench) -> None:
    """Headers at every place of a fetch, of which few match."""
    made = Model(bench)
    for code, side in enumerate(made.packets.sides):
        for _ in range(8):
            made.fill(1 / side**2, 4)
            made.kernels = [code, code]
            for half in range(2):
                made.units[half] = made.headers(side, 1 / (2 * side**2))
                made.table[half] = [
                    Channel(bench.random.randrange(12), bench.random.randrange(1, 8), 9)
                    for _ in range(8)
                ]
            for _ in range(16):
                made.offer(made.whole())
                while made.head is not None:
                    await made.cycle(take=bench.chance(0.9))
            await made.settle()


@test
async def long_channels(bench: Bench) -> None:
    """Channels with 64 headers, for each kernel, at the ends of the header bank."""
    made = Model(bench)
    for code in range(len(made.packets.sides)):
        for density in (0.02, 1.0):
            made.fill(density, 64)
            made.kernels = [code, code]
            made.units = [made.headers(2 * code + 1, density) for _ in range(2)]
            room = UNITS // HEADER_UNITS[2 * code + 1]
            for half, first in (
                (0, 0),
                (1, room - 64),
                (0, min(1, room - 64)),
                (1, room // 2 - 32),
            ):
                made.table[half] = [Channel(first, 64, bench.bits(11))] * 8
                made.offer(made.whole(half=half))
                for _ in range(4):
                    await made.cycle(take=bench.chance(0.5))
                await made.settle()


@test
async def reset(bench: Bench) -> None:
    """A reset empties the stages, and all credits are back."""
    made = Model(bench)
    for turn in range(24):
        made.fill(1.0, 4)
        for _ in range(bench.random.randrange(1, 8) + turn // 4 * 3):
            made.offer(made.whole(marker=int(bench.chance(0.3))))
            await made.cycle(take=False)
        bench.cover("reset with all stages full", made.m1 is not None and made.m2)
        bench.cover("reset without a credit", made.credits == 0)
        made.head = None
        await bench.cycle(activation__valid=0, taken=0)
        await bench.reset()
        made.clear()
        await made.cycle()
        await made.settle()
        for _ in range(8):
            made.offer(made.whole())
            await made.cycle(take=bench.chance(0.5))
        made.head = None
        await made.settle()
