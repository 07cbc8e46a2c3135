"""Bench of Selector: what is selected in every cycle, against a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations, zip_longest
from typing import Any

from amaranth.lib import data

from evenspike_core.arch import HEADER_UNITS, Arch
from evenspike_hw.rtl.layouts import Layouts
from evenspike_hw.rtl.pe.selector import Selector
from tests.helpers.driver import Bench, pack, test

component = Selector
ARCH = Arch(pes=4, scratchpad_words=2048)
ONE = replace(ARCH, issue=1)
VARIANTS = {
    **{f"kernel{side}": replace(ARCH, kernel_max=side) for side in (3, 5)},
    "issue1": ONE,
    "issue1-kernel3": replace(ONE, kernel_max=3, timesteps=1),
}
ADDRESS_BITS = Layouts(ARCH).weight_address_bits
LOG_ROWS = Layouts(ARCH).row_bits
OPEN = {"room": 1, "idle": 1}
"""Nothing behind the selector holds it up."""
MARKER = {"marker": 1, "ends_round": 1}
MARKED = {"enable": 1, "ends_round": 1}


def CORNERS(arch: Arch) -> Iterator[str]:  # noqa: N802  (as where it is a constant)
    for side in Layouts(arch).sides:
        yield f"every position of K = {side}"
        for stride in (1, 2):
            yield f"K = {side}, stride {stride}"
    if arch.issue > 1:
        yield from ("an even and an odd address", "the first way alone", "the second way alone")
        yield from ("two even addresses on end", "two odd addresses on end")
        yield "a selection out of two kernels"


def kernels(arch: Arch, side: int) -> int:
    """How many a fetch of 32 bits a selected weight brings; one where it is half of one."""
    return max(1, 2 * arch.issue // HEADER_UNITS[side])


@cache
def places(arch: Arch, side: int) -> tuple[tuple[int, ...], ...]:
    """For each kernel of a fetch the places of its positions in the pattern.

    The pattern is in groups, each as wide as the largest kernel that has a row there; kernel n has
    its rows from group n * K on, K = 1 its only one where K = 3 has its first.
    """
    rows = {k: k * kernels(arch, k) for k in Layouts(arch).sides if k > 1}
    starts = [0]
    while len(starts) <= max(rows.values()):
        starts.append(starts[-1] + max(k for k, end in rows.items() if len(starts) - 1 < end))
    step = max(side, 3)
    return tuple(
        tuple(starts[n * step + pid // side] + pid % side for pid in range(side * side))
        for n in range(kernels(arch, side))
    )


@cache  # of the same layouts: to compare two costs more than a cycle
def layout(arch: Arch) -> data.StructLayout:
    """Of an entry of the match queue."""
    return Layouts(arch).matched


@cache
def whole_pattern(arch: Arch) -> int:
    return (1 << Layouts(arch).pattern_bits) - 1


@cache
def selected(arch: Arch) -> data.StructLayout:
    return Layouts(arch).selected


@dataclass(frozen=True)
class Layer:
    """The tile's height and width, powers of two, and the rows of an image."""

    log_height: int
    log_width: int
    log_rows: int = LOG_ROWS

    @property
    def image_rows(self) -> int:
        return (1 << self.log_rows) % (1 << LOG_ROWS)

    def drive(self) -> dict[str, Any]:
        return {
            "log_tile_width": self.log_width,
            "log_tile": self.log_height + self.log_width,
            "image_rows": self.image_rows,
        }


@dataclass(frozen=True)
class Kernel:
    slot: int
    wsp: int
    pids: int


@dataclass(frozen=True)
class Entry:
    """An entry of the match queue; no kernels: a marker."""

    side: int
    stride: int
    kernels: tuple[Kernel, ...]
    base: int
    mask: int
    y: int
    x: int
    ends_round: int = 0
    frees: int = 0

    def bits(self, bench: Bench) -> int:
        fields = {
            "marker": int(not self.kernels),
            "ends_round": self.ends_round,
            "frees": self.frees,
        }
        matched = layout(bench.arch)
        if not self.kernels:  # of a marker nothing else counts, but that it has no match
            fields["pids"] = 0
            known = pack(matched, dict.fromkeys(fields, 1) | {"pids": whole_pattern(bench.arch)})
            return pack(matched, fields) | bench.random.getrandbits(matched.size) & ~known
        slots = [kernel.slot for kernel in self.kernels]
        more = 2 * bench.arch.issue - len(slots)
        at = places(bench.arch, self.side)
        return pack(
            matched,
            fields
            | {
                "kernel": self.side // 2,
                "log_stride": self.stride - 1,
                "pids": sum(spread(k.pids, at[n]) for n, k in enumerate(self.kernels)),
                "wsp": sum(spread(k.wsp, at[n]) for n, k in enumerate(self.kernels)),
                "base": self.base,
                "slots": [*slots, *(bench.random.getrandbits(6) for _ in range(more))],
                "mask": self.mask,
                "y": self.y,
                "x": self.x,
            },
        )


def spread(pattern: int, at: tuple[int, ...]) -> int:
    """Bit n of a kernel's positions where `at` says."""
    return sum(1 << place for n, place in enumerate(at) if pattern >> n & 1)


@dataclass(frozen=True)
class Selection:
    """Of each way the number of its kernel, the address and the row, or None. No way: a marker."""

    ways: tuple[tuple[int, int, int] | None, ...]
    mask: int = 0

    def bits(self, arch: Arch) -> tuple[int, int]:
        """What `selected` is, and those of its bits that count."""
        found: list[dict[str, int]] = []
        counts: list[dict[str, int]] = []
        for way in self.ways:
            found.append({} if way is None else {"enable": 1, "address": way[1], "row": way[2]})
            ends = {"address": (1 << ADDRESS_BITS) - 1, "row": (1 << LOG_ROWS) - 1}
            counts.append({"enable": 1} | ({} if way is None else ends))
        whole = (1 << arch.timesteps) - 1
        shape = selected(arch)
        return (
            pack(shape, {"mask": self.mask, "ways": found}),
            pack(shape, {"mask": whole, "ways": counts}),
        )


def weights(entry: Entry, layer: Layer, first: int) -> list[tuple[int, int, int]]:
    """Kernel, address and accumulator row of each matched weight: kernels in header order, PIDs
    ascending. first: the image's first row.
    """
    side, stride = entry.side, entry.stride
    height, width = 1 << layer.log_height, 1 << layer.log_width
    address, found = entry.base, list[tuple[int, int, int]]()
    for number, kernel in enumerate(entry.kernels):
        for pid in range(side * side):
            if not kernel.wsp >> pid & 1:
                continue
            if kernel.pids >> pid & 1:
                y, rest_y = divmod(entry.y - pid // side, stride)
                x, rest_x = divmod(entry.x - pid % side, stride)
                assert not rest_y
                assert not rest_x
                assert 0 <= y < height
                assert 0 <= x < width
                row = first + (kernel.slot * height + y) * width + x
                found.append((number, address % (1 << ADDRESS_BITS), row))
            address += 1
    return found


@cache
def reaches(at: int, side: int, stride: int, length: int) -> tuple[int, ...]:
    """Kernel rows (or columns) that connect position `at` to one of the tile."""
    return tuple(
        n for n in range(side) if (at - n) % stride == 0 and 0 <= (at - n) // stride < length
    )


def selections(entry: Entry, layer: Layer, first: int, ways: int) -> list[Selection]:
    """Those that an entry takes: one weight each, or the next of an even and of an odd address."""
    if not entry.kernels:
        return [Selection(())]
    each = weights(entry, layer, first)
    if ways == 1:
        return [Selection((weight,), entry.mask) for weight in each]
    apart = [[weight for weight in each if weight[1] % 2 == parity] for parity in (0, 1)]
    return [Selection(pair, entry.mask) for pair in zip_longest(*apart)]


class Model:
    """The entry at the head of the queue, what S1 has left of the one before, S2 and S3."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.layer = Layer(0, 0)
        self.sides = Layouts(bench.arch).sides
        self.seen: dict[int, set[int]] = {side: set() for side in self.sides}
        enables = {"ways": [{"enable": 1}] * bench.arch.issue}
        self.enables = pack(selected(bench.arch), enables)
        self.entries = 0
        self.room = self.idle = 1.0  # how often there is
        self.clear()

    def clear(self) -> None:
        self.image_row = 0  # the first of the image
        self.head: Entry | None = None
        self.making: Entry | None = None  # whose selections S1 makes
        self.left: list[Selection] = []
        self.second: Selection | None = None
        self.third: Selection | None = None
        self.before: Selection | None = None  # that was in S3 in the cycle before

    def offer(self, entry: Entry) -> None:
        self.head = entry
        self.packed = entry.bits(self.bench)

    async def cycle(self) -> None:
        bench, head, entry = self.bench, self.head, self.making
        room, idle = bench.chance(self.room), bench.chance(self.idle)
        payload = bench.random.getrandbits(layout(bench.arch).size) if head is None else self.packed
        out = await bench.cycle(
            matched__valid=head is not None,
            matched__payload=payload,
            room=room,
            idle=idle,
            **self.layer.drive(),
        )
        marks = entry is not None and not entry.kernels
        empty = self.second is None and self.third is None
        between = entry is not None and marks and not entry.ends_round and not entry.frees
        leaves = entry is not None and (between or (empty and idle if marks else room))
        ready = entry is None or (leaves and len(self.left) == 1)
        expected: dict[str, Any] = {
            "matched__ready": ready,
            "taken": ready and head is not None,
            "valid": self.third is not None,
        }
        if marks and leaves:
            assert entry is not None
            expected["marker"] = 1 | entry.ends_round << 1 | entry.frees << 2
        else:
            assert not out["marker"] & 1, f"cycle {bench.now - 1}: a marker issues"
        bench.check(out, expected)
        self._check(out["selected"])
        self._corners(room, idle, leaves)

        self.before, self.third, self.second = self.third, self.second, None
        if leaves:
            made = self.left.pop(0)
            self.second = None if marks else made
            if marks:
                rows = self.image_row + self.layer.image_rows
                self.image_row = rows % (1 << LOG_ROWS) if between else 0
            bench.cover("an image begins behind a selection in S2", between and not empty)
            if not self.left:
                self.making = None
        if ready and head is not None:
            self._taken(head)
            self.left = selections(head, self.layer, self.image_row, bench.arch.issue)
            bench.cover("a weight of a later image", self.image_row and head.kernels)
            self.making, self.head = head, None
            self.entries += 1
            self._first_cycle(head)

    def _check(self, bits: int) -> None:
        """What is selected; without a selection only that no way has one."""
        arch, third = self.bench.arch, self.third
        if third is None:
            wanted, counts = 0, self.enables
        else:
            wanted, counts = third.bits(arch)
        if bits & counts != wanted:
            found = self.bench.fields("selected", bits)
            raise AssertionError(f"cycle {self.bench.now - 1}: selected {found}, expected {third}")

    def _corners(self, room: bool, idle: bool, leaves: bool) -> None:
        cover, entry, third = self.bench.cover, self.making, self.third
        marks = entry is not None and not entry.kernels
        cover("no room for a selection", entry is not None and not marks and not room)
        waits = marks and not leaves
        cover("a marker waits for S2", waits and self.second is not None and idle)
        cover("a marker waits for S3 alone", waits and third and self.second is None and idle)
        cover("a marker waits for what is behind S3", waits and not (third or self.second or idle))
        cover("a marker issues without room", marks and leaves and not room)
        cover("a weight is selected while not all is idle", leaves and not marks and not idle)
        cover("queue runs empty", self.head is None and entry is None)
        cover("an entry waits in the queue", self.head is not None and not leaves)
        if third is not None:
            self._selection(third)

    def _selection(self, third: Selection) -> None:
        cover, layer = self.bench.cover, self.layer
        given = [way for way in third.ways if way is not None]
        for _, _, row in given:
            cover("last row of the accumulators", row == (1 << LOG_ROWS) - 1)
        cover("tile of one neuron", layer.log_height + layer.log_width == 0)
        cover("tile of all accumulators", layer.log_height + layer.log_width == LOG_ROWS)
        cover("tile one column wide", layer.log_height and not layer.log_width)
        cover("tile one row high", layer.log_width and not layer.log_height)
        if self.bench.arch.issue == 1:
            return
        (even, odd), before = third.ways, self.before
        for name, met in (
            ("an even and an odd address", even and odd),
            ("the first way alone", not odd),
            ("the second way alone", not even),
            ("a selection out of two kernels", even and odd and even[0] != odd[0]),
            ("two even addresses on end", not odd and before and not before.ways[1]),
            ("two odd addresses on end", not even and before and not before.ways[0]),
        ):
            cover(name, met)

    def _taken(self, head: Entry) -> None:
        cover, before = self.bench.cover, self.second
        weight, marker, wide = bool(head.kernels), not head.kernels, self.making is None
        behind = before is not None and wide  # the entry before has made its last selection
        cover("an entry is taken with the last selection of the one before", behind and weight)
        cover("a marker is taken with the last selection of the one before", behind and marker)
        cover("marker that ends a round and gives up a half", head.ends_round and head.frees)
        cover("marker that ends a round", marker and head.ends_round and not head.frees)
        cover("marker that gives up a half", marker and head.frees and not head.ends_round)
        cover("marker that does neither", marker and not head.frees and not head.ends_round)

    def _first_cycle(self, head: Entry) -> None:
        if not head.kernels:
            return
        cover, side = self.bench.cover, head.side
        cover(f"K = {side}, stride {head.stride}")
        area = side * side
        pids = [kernel.pids for kernel in head.kernels]
        for pattern in pids:
            self.seen[side] |= {n for n in range(area) if pattern >> n & 1}
        first = head.kernels[0]
        cover(f"every position of K = {side}", len(self.seen[side]) == area)
        largest = side == self.sides[-1]
        cover("all positions of the largest kernel match", largest and pids[0] == (1 << area) - 1)
        full = all(pattern == (1 << area) - 1 for pattern in pids)
        cover("all positions of a fetch match", full and len(pids) > 1 and side > 1)
        cover("a single match", len(self.left) == 1 and sum(map(int.bit_count, pids)) == 1)
        most = len(pids) == kernels(self.bench.arch, side)
        cover("all kernels of a fetch match", most and len(pids) > 1 and all(pids))
        cover("only the last kernel matches", len(pids) > 1 and not any(pids[:-1]))
        cover("a kernel without a match between", len(pids) > 1 and not pids[-1])
        cover(
            "weights without a match before the first",
            first.pids and first.wsp & (first.pids & -first.pids) - 1,
        )
        cover(
            "address of a weight wraps",
            any(way and way[1] < head.base for one in self.left for way in one.ways),
        )

    # Random layers and entries.

    def choose(self) -> None:
        random = self.bench.random
        log_tile = random.choice((LOG_ROWS, 0, 1, random.randint(0, LOG_ROWS)))
        log_width = random.choice((0, log_tile, random.randint(0, log_tile)))
        log_rows = random.choice((LOG_ROWS, random.randint(log_tile, LOG_ROWS)))
        self.layer = Layer(log_tile - log_width, log_width, log_rows)

    def entry(self, density: float, matching: float) -> Entry:
        """With at least one match."""
        bench, random, layer = self.bench, self.bench.random, self.layer
        side, stride = random.choice(self.sides), random.choice((1, 2))
        found: list[list[int]] = []  # kernel rows, and columns, that match
        at = []
        for log_length in (layer.log_height, layer.log_width):
            length = 1 << log_length
            end = (length - 1) * stride + side  # the first that reaches the tile no more
            reached: tuple[int, ...] = ()
            while not reached:
                place = random.choice((end - 1, random.randrange(end)))
                reached = reaches(place, side, stride, length)
            at.append(place)
            found.append([n for n in reached if bench.chance(matching)] or [reached[0]])
        positions = sum(1 << r * side + s for r in found[0] for s in found[1])
        most = kernels(bench.arch, side)
        # The first or the last headers of the fetch can be another channel's.
        start = random.choice((0, random.randrange(most)))
        end = random.choice((most, random.randrange(start, most) + 1))
        slots = 1 << min(6, layer.log_rows - layer.log_height - layer.log_width)
        given: list[Kernel] = []
        while not any(kernel.pids for kernel in given):
            given = [Kernel(random.randrange(64), 0, 0) for _ in range(start)]
            for _ in range(start, end):
                living = (n for n in range(side * side) if bench.chance(density))
                wanted = positions if bench.chance(0.8) else 0
                given.append(self._kernel(living, slots, wanted))
            density = max(density, 0.2)
        return Entry(
            side,
            stride,
            tuple(given),
            bench.bits(ADDRESS_BITS),
            bench.bits(bench.arch.timesteps),
            at[0],
            at[1],
            random.getrandbits(1),
            random.getrandbits(1),
        )

    def _kernel(self, living: Iterable[int], slots: int, positions: int) -> Kernel:
        random = self.bench.random
        wsp = sum(1 << n for n in living)
        return Kernel(random.choice((slots - 1, random.randrange(slots))), wsp, wsp & positions)

    def marker(self) -> Entry:
        random = self.bench.random
        return Entry(1, 1, (), 0, 0, 0, 0, random.getrandbits(1), random.getrandbits(1))

    async def end(self) -> None:
        """The layer's last marker."""
        await self.run(Entry(1, 1, (), 0, 0, 0, 0, ends_round=1))
        await self.settle()

    async def settle(self) -> None:
        while self.head or self.making or self.second or self.third:
            await self.cycle()

    async def run(self, entry: Entry) -> None:
        """Offers it, and waits until the queue has given it up."""
        self.offer(entry)
        while self.head is not None:
            await self.cycle()


@test
async def latency(bench: Bench) -> None:
    """An entry that is taken in c is in S3 from c + 3 on, and a marker behind it issues when it has
    left.
    """
    ways = bench.arch.issue
    layer = {"log_tile_width": 2, "log_tile": 4, "image_rows": 0}
    mask = (1 << bench.arch.timesteps) - 1
    pids = spread(0b111, places(bench.arch, 3)[0])
    entry: dict[str, Any] = {"kernel": 1, "log_stride": 0, "pids": pids, "wsp": pids, "base": 8}
    entry |= {"slots": [3], "mask": mask, "y": 2, "x": 3}
    first, second, third = ({"enable": 1, "address": 8 + n, "row": 48 + 11 - n} for n in range(3))
    out = await bench.cycle(matched__valid=1, matched__payload=entry, **OPEN, **layer)
    bench.check(out, {"matched__ready": 1, "taken": 1, "valid": 0})
    count = 3 if ways == 1 else 2
    for n in range(2):
        out = await bench.cycle(matched__payload=MARKER)
        taken = n == count - 1
        bench.check(out, {"matched__ready": taken, "taken": taken, "valid": 0, "marker": 0})
    found = []
    for n in range(count):
        out = await bench.cycle(matched__valid=n == 0 and ways == 1, matched__payload=MARKER)
        bench.check(out, {"valid": 1, "taken": n == 0 and ways == 1})
        assert not out["marker"] & 1
        found.append(bench.fields("selected", out["selected"]))
    assert all(one["mask"] == mask for one in found)
    if ways == 1:
        assert [one["ways"] for one in found] == [[first], [second], [third]]
    else:
        assert found[0]["ways"] == [first, second]
        assert found[1]["ways"][0] == third
        assert not found[1]["ways"][1]["enable"]
    out = await bench.cycle(idle=0)
    bench.check(out, {"valid": 0, "matched__ready": 0})
    assert not out["marker"] & 1
    out = await bench.cycle(idle=1)
    bench.check(out, {"valid": 0, "marker": MARKED, "matched__ready": 1})
    assert not (await bench.cycle())["marker"] & 1


@test
async def all_positions(bench: Bench) -> None:
    """Every kernel position alone, with all weights living, for each side and stride."""
    model = Model(bench)
    mask = (1 << bench.arch.timesteps) - 1
    for side in model.sides:
        for stride in (1, 2):
            model.layer = Layer(3, 3)
            whole = (1 << side * side) - 1
            most = kernels(bench.arch, side)
            if stride == 1:
                full = tuple(Kernel(n, whole, whole) for n in range(most))
                await model.run(Entry(side, stride, full, 5, mask, 7, 7))
            for pid in range(side * side):
                y, x = pid // side + 2 * stride, pid % side + 5 * stride
                for number in range(most):
                    dead = Kernel(2, whole if bench.chance(0.5) else 0, 0)
                    given = (dead,) * number + (Kernel(3, whole, 1 << pid),)
                    base = bench.bits(ADDRESS_BITS)
                    await model.run(Entry(side, stride, given, base, mask, y, x))
    await model.settle()


@test
async def all_pairs(bench: Bench) -> None:
    """Every two positions of a fetch of each kernel, the weights between living or not."""
    model = Model(bench)
    model.layer = Layer(3, 3)
    for side in model.sides:
        area, count = side * side, kernels(bench.arch, side)
        whole = (1 << area) - 1
        for low, high in combinations(range(count * area), 2):
            pids = 1 << low | 1 << high
            wsp = pids | bench.bits(count * area)
            given = tuple(
                Kernel(bench.bits(2), wsp >> area * n & whole, pids >> area * n & whole)
                for n in range(count)
            )
            base, mask = bench.bits(ADDRESS_BITS), bench.bits(bench.arch.timesteps)
            await model.run(Entry(side, 1, given, base, mask, 7, 7))
    await model.settle()


@test
async def random_traffic(bench: Bench) -> None:
    """Layers of all tiles; entries of all kernels and strides come at random rates."""
    model = Model(bench)
    random = bench.random
    while model.entries < bench.transactions:
        model.choose()
        density = random.choice((0.03, 0.2, 0.6, 1.0))
        matching = random.choice((0.3, 1.0, 1.0))
        supply = random.choice((0.3, 0.9, 1.0))
        markers = random.choice((0.02, 0.2, 0.5))
        model.room, model.idle = random.choice((0.3, 0.9, 1.0)), random.choice((0.3, 0.9, 1.0))
        for _ in range(random.randrange(10, 120)):
            if model.head is None and bench.chance(supply):
                marks = bench.chance(markers)
                model.offer(model.marker() if marks else model.entry(density, matching))
            await model.cycle()
        await model.settle()
        await model.end()


@test
async def reset(bench: Bench) -> None:
    """A reset forgets the matches that are left, and the stages."""
    model = Model(bench)
    side = model.sides[-1]
    whole = (1 << side * side) - 1
    mask = (1 << bench.arch.timesteps) - 1
    for _ in range(20):
        model.layer = Layer(4, 4)
        given = (Kernel(0, whole, whole),) * kernels(bench.arch, side)
        model.offer(Entry(side, 1, given, 0, mask, 9, 9))
        for _ in range(bench.random.randrange(1, 8)):
            await model.cycle()
        bench.cover("reset between the weights of an entry", model.making and model.third)
        await bench.cycle(matched__valid=0)
        await bench.reset()
        model.clear()
        for _ in range(3):
            await model.cycle()
        for _ in range(3):
            model.offer(model.marker() if bench.chance(0.3) else model.entry(0.5, 1.0))
            await model.settle()
