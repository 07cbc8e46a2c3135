"""Bench of WindowSelector: what is selected in every cycle, against a model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from evenspike_core.arch import HEADER_UNITS, IMPLIED, WEIGHTS, Arch
from evenspike_hw.rtl.layouts import Layouts
from evenspike_hw.rtl.pe.window_selector import WindowSelector
from tests.helpers.driver import Bench, pack, test

component = WindowSelector
ARCH = Arch(pes=4, scratchpad_words=2048, gates=WEIGHTS, **IMPLIED)
VARIANTS = {f"kernel{side}": replace(ARCH, kernel_max=side) for side in (3, 5)}
WAYS = 4
ADDRESS_BITS = Layouts(ARCH).weight_address_bits
LOG_ROWS = Layouts(ARCH).row_bits
MARKER = {"marker": 1, "ends_round": 1}
MARKED = {"enable": 1, "ends_round": 1}


def CORNERS(arch: Arch) -> Iterator[str]:  # noqa: N802  (as where it is a constant)
    for side in Layouts(arch).sides:
        yield f"every position of K = {side}"
        for stride in (1, 2):
            yield f"K = {side}, stride {stride}"
    if arch.kernel_max > 3:
        yield "a neuron's bank alone ends a selection"
        yield "neurons four rows apart, with stride 2, go together"


def kernels(side: int) -> int:
    """How many a fetch of 32 bits brings; one where it is half of one."""
    return max(1, 2 // HEADER_UNITS[side])


@cache
def places(arch: Arch, side: int, number: int) -> tuple[int, ...]:
    """The places of the positions of a kernel of a fetch in the pattern.

    It is in groups, each as wide as the largest kernel that has a row there; kernel n has its rows
    from group n * K on, K = 1 its only one where K = 3 has its first.
    """
    rows = {k: k * kernels(k) for k in Layouts(arch).sides if k > 1}
    starts = [0]
    while len(starts) <= max(rows.values()):
        starts.append(starts[-1] + max(k for k, end in rows.items() if len(starts) - 1 < end))
    first = number * max(side, 3)
    return tuple(starts[first + pid // side] + pid % side for pid in range(side * side))


def spread(pattern: int, at: tuple[int, ...]) -> int:
    """Bit n of a kernel's positions where `at` says."""
    return sum(1 << place for n, place in enumerate(at) if pattern >> n & 1)


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
class Entry:
    """An entry of the match queue, of the kernel at place `number` of its fetch; without a living
    weight a marker.
    """

    side: int = 1
    stride: int = 1
    number: int = 0
    wsp: int = 0
    pids: int = 0
    base: int = 0
    mask: int = 0
    y: int = 0
    x: int = 0
    ends_round: int = 0
    frees: int = 0

    @property
    def marks(self) -> bool:
        return not self.wsp

    def bits(self, bench: Bench) -> int:
        matched = Layouts(bench.arch).matched
        fields = {"marker": self.marks, "ends_round": self.ends_round, "frees": self.frees}
        if self.marks:  # nothing else counts, but that it has no match
            whole = (1 << Layouts(bench.arch).pattern_bits) - 1
            known = pack(matched, dict.fromkeys(fields, 1) | {"pids": whole})
            return pack(matched, fields) | bench.random.getrandbits(matched.size) & ~known
        at = places(bench.arch, self.side, self.number)
        return pack(
            matched,
            fields
            | {
                "kernel": self.side // 2,
                "log_stride": self.stride - 1,
                "pids": spread(self.pids, at),
                "wsp": spread(self.wsp, at),
                "base": self.base,
                "slots": [0] * 2,
                "mask": self.mask,
                "y": self.y,
                "x": self.x,
            },
        )


@dataclass(frozen=True)
class Weight:
    """A matched weight, with the place of its neuron in the tile."""

    address: int
    row: int
    place: tuple[int, int]


Selection = tuple[Weight, ...]


def weights(entry: Entry, layer: Layer, first: int) -> list[Weight]:
    """The matched weights, PIDs ascending. first: the image's first row."""
    address, found = entry.base, list[Weight]()
    for pid in range(entry.side**2):
        if not entry.wsp >> pid & 1:
            continue
        if entry.pids >> pid & 1:
            y, rest_y = divmod(entry.y - pid // entry.side, entry.stride)
            x, rest_x = divmod(entry.x - pid % entry.side, entry.stride)
            assert not rest_y
            assert not rest_x
            assert 0 <= y < 1 << layer.log_height
            assert 0 <= x < 1 << layer.log_width
            row = first + (y << layer.log_width) + x
            found.append(Weight(address % (1 << ADDRESS_BITS), row, (y, x)))
        address += 1
    return found


def collides(one: Weight, other: Weight) -> tuple[bool, bool]:
    """In the weight bank, in the accumulators."""
    apart = [a - b for a, b in zip(one.place, other.place, strict=True)]
    return (one.address - other.address) % 4 == 0, all(n % 4 == 0 for n in apart)


def selections(entry: Entry, layer: Layer, first: int) -> list[Selection]:
    """The longest runs of weights of which no two collide; of a marker an empty one."""
    found: list[Selection] = []
    run: list[Weight] = []
    for weight in weights(entry, layer, first):
        if any(any(collides(weight, other)) for other in run):
            found.append(tuple(run))
            run = []
        run.append(weight)
    return [*found, tuple(run)]


def reaches(at: int, side: int, stride: int, length: int) -> list[int]:
    """Kernel rows (or columns) that connect position `at` to one of the tile."""
    return [n for n in range(side) if (at - n) % stride == 0 and 0 <= (at - n) // stride < length]


class Model:
    """The entry at the head of the queue, what S1 has left of the one before, S2 and S3."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.layer = Layer(0, 0)
        self.sides = Layouts(bench.arch).sides
        self.seen: dict[int, set[int]] = {side: set() for side in self.sides}
        self.entries = 0
        self.idle = 1.0  # how often nothing is behind
        self.clear()

    def clear(self) -> None:
        self.image_row = 0  # the first of the image
        self.head: Entry | None = None
        self.making: Entry | None = None  # whose selections S1 makes
        self.left: list[Selection] = []
        self.second: tuple[Selection, int] | None = None  # and the mask
        self.third: tuple[Selection, int] | None = None

    def offer(self, entry: Entry) -> None:
        self.head = entry
        self.packed = entry.bits(self.bench)

    async def cycle(self) -> None:
        bench, head, entry = self.bench, self.head, self.making
        idle = bench.chance(self.idle)
        size = Layouts(bench.arch).matched.size
        out = await bench.cycle(
            matched__valid=head is not None,
            matched__payload=bench.random.getrandbits(size) if head is None else self.packed,
            room=1,
            idle=idle,
            **self.layer.drive(),
        )
        marks = entry is not None and entry.marks
        empty = self.second is None and self.third is None
        between = entry is not None and marks and not entry.ends_round and not entry.frees
        leaves = entry is not None and (not marks or between or (empty and idle))
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
        bench.cover("a marker waits for S2", marks and not leaves and self.second and idle)
        bench.cover(
            "a marker waits for S3 alone", marks and not leaves and not self.second and idle
        )
        bench.cover("a marker waits for what is behind S3", marks and empty and not leaves)

        self.third, self.second = self.second, None
        if leaves:
            assert entry is not None
            made = self.left.pop(0)
            self.second = None if marks else (made, entry.mask)
            if marks:
                rows = self.image_row + self.layer.image_rows
                self.image_row = rows % (1 << LOG_ROWS) if between else 0
            bench.cover("an image begins behind a selection in S2", between and not empty)
            if not marks:
                self._made(entry, made)
            if not self.left:
                self.making = None
        if ready and head is not None:
            bench.cover(
                "taken with the last selection of the one before", leaves and not head.marks
            )
            self.left = selections(head, self.layer, self.image_row)
            bench.cover("a weight of a later image", self.image_row and not head.marks)
            self.making, self.head = head, None
            self.entries += 1
            self._first_cycle(head)

    def _check(self, bits: int) -> None:
        """What is selected: of a way without a weight only that it has none."""
        found = self.bench.fields("selected", bits)
        selection, mask = self.third or ((), None)
        wanted = {weight.address % 4: weight for weight in selection}
        assert len(wanted) == len(selection)
        assert mask is None or found["mask"] == mask, f"cycle {self.bench.now - 1}: mask"
        for way, one in enumerate(found["ways"]):
            weight = wanted.get(way)
            expected = (0,) if weight is None else (1, weight.address, weight.row)
            given = (one["enable"], one["address"], one["row"])[: len(expected)]
            if given != expected:
                now = self.bench.now - 1
                raise AssertionError(f"cycle {now}: way {way} is {given}, expected {expected}")

    def _made(self, entry: Entry, made: Selection) -> None:
        cover, following = self.bench.cover, self.left[0][:1] if self.left else ()
        cover("four weights", len(made) == WAYS)
        cover("one weight alone", len(made) == 1)
        for weight in following:
            memory, neuron = (
                any(pair) for pair in zip(*(collides(weight, one) for one in made), strict=True)
            )
            short = len(made) < WAYS
            cover("a weight bank alone ends a selection of less than four", short and memory)
            self._wide("a neuron's bank alone ends a selection", neuron and not memory)
        rows = [weight.place[0] * entry.stride for weight in made]
        apart = max(rows) - min(rows) >= 4 and entry.stride == 2
        self._wide("neurons four rows apart, with stride 2, go together", apart)
        layer = self.layer
        cover("tile of one neuron", layer.log_height + layer.log_width == 0)
        cover("tile of all accumulators", layer.log_height + layer.log_width == LOG_ROWS)
        cover("tile one column wide", layer.log_height and not layer.log_width)
        cover("tile one row high", layer.log_width and not layer.log_height)

    def _wide(self, corner: str, met: object) -> None:
        """A corner of CORNERS, where a kernel has more rows than a window."""
        if self.sides[-1] > 3:
            self.bench.cover(corner, met)

    def _first_cycle(self, head: Entry) -> None:
        if head.marks:
            return
        cover, side = self.bench.cover, head.side
        cover(f"K = {side}, stride {head.stride}")
        self.seen[side] |= {n for n in range(side * side) if head.pids >> n & 1}
        cover(f"every position of K = {side}", len(self.seen[side]) == side * side)
        cover("all positions match", side > 1 and head.pids == (1 << side * side) - 1)
        cover("the second kernel of a fetch", head.number)
        wraps = any(weight.address < head.base for one in self.left for weight in one)
        cover("address of a weight wraps", wraps)

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
            reached: list[int] = []
            while not reached:
                place = random.choice((end - 1, random.randrange(end)))
                reached = reaches(place, side, stride, length)
            at.append(place)
            found.append([n for n in reached if bench.chance(matching)] or [reached[0]])
        positions = sum(1 << r * side + s for r in found[0] for s in found[1])
        wsp = 0
        while not wsp & positions:
            wsp = sum(1 << n for n in range(side * side) if bench.chance(density))
            density = max(density, 0.2)
        return Entry(
            side,
            stride,
            random.randrange(kernels(side)),
            wsp,
            wsp & positions,
            bench.bits(ADDRESS_BITS),
            random.getrandbits(1),
            at[0],
            at[1],
            random.getrandbits(1),
            random.getrandbits(1),
        )

    def marker(self) -> Entry:
        random = self.bench.random
        return Entry(ends_round=random.getrandbits(1), frees=random.getrandbits(1))

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
    left. Of five weights in a row the fifth has the address of the first modulo 4.
    """
    layer = {"log_tile_width": 2, "log_tile": 4, "image_rows": 0}
    pids = spread(0b11111, places(bench.arch, 3, 0))
    entry: dict[str, Any] = {"kernel": 1, "pids": pids, "wsp": pids, "base": 9, "mask": 1}
    entry |= {"y": 2, "x": 3}
    out = await bench.cycle(matched__valid=1, matched__payload=entry, room=1, idle=1, **layer)
    bench.check(out, {"matched__ready": 1, "taken": 1, "valid": 0})
    for taken in (0, 1):
        out = await bench.cycle(matched__payload=MARKER)
        bench.check(out, {"matched__ready": taken, "taken": taken, "valid": 0})
    found = []
    for _ in range(2):
        out = await bench.cycle(matched__valid=0)
        bench.check(out, {"valid": 1, "matched__ready": 0})
        assert not out["marker"] & 1
        found.append(bench.fields("selected", out["selected"]))
    rows = (11, 10, 9, 7, 6)  # the first row of the kernel leads to the last of the tile
    for number, row in enumerate(rows):
        address = 9 + number
        wanted = {"enable": 1, "address": address, "row": row}
        assert found[number // 4]["ways"][address % 4] == wanted
    assert [way["enable"] for way in found[1]["ways"]] == [0, 1, 0, 0]
    out = await bench.cycle(idle=0)
    bench.check(out, {"valid": 0, "matched__ready": 0})
    out = await bench.cycle(idle=1)
    bench.check(out, {"valid": 0, "marker": MARKED, "matched__ready": 1})


@test
async def all_positions(bench: Bench) -> None:
    """Every kernel position alone, with all weights living; and all of them, for each side and
    stride.
    """
    model = Model(bench)
    for side in model.sides:
        whole = (1 << side * side) - 1
        for number in range(kernels(side)):
            model.layer = Layer(4, 4)
            for base in range(4):
                await model.run(Entry(side, 1, number, whole, whole, base, 1, 7, 7))
            for pid in range(side * side):
                for stride in (1, 2):
                    y, x = pid // side + 2 * stride, pid % side + 5 * stride
                    base = bench.bits(ADDRESS_BITS)
                    await model.run(Entry(side, stride, number, whole, 1 << pid, base, 1, y, x))
    await model.settle()


@test
async def random_traffic(bench: Bench) -> None:
    """Layers of all tiles; entries of all kernels and strides come at random rates."""
    model, random = Model(bench), bench.random
    while model.entries < bench.transactions // 4:  # each has several selections
        model.choose()
        density, matching = random.choice((0.03, 0.2, 0.6, 1.0)), random.choice((0.3, 1.0, 1.0))
        supply, markers = random.choice((0.3, 0.9, 1.0)), random.choice((0.02, 0.2, 0.5))
        model.idle = random.choice((0.3, 0.9, 1.0))
        for _ in range(random.randrange(10, 120)):
            if model.head is None and bench.chance(supply):
                marks = bench.chance(markers)
                model.offer(model.marker() if marks else model.entry(density, matching))
            await model.cycle()
        await model.settle()
        await model.run(Entry(ends_round=1))
        await model.settle()


@test
async def reset(bench: Bench) -> None:
    """A reset forgets the matches that are left, and the stages."""
    model = Model(bench)
    side = model.sides[-1]
    whole = (1 << side * side) - 1
    for _ in range(20):
        model.layer = Layer(4, 4)
        model.offer(Entry(side, 1, 0, whole, whole, 0, 1, 9, 9))
        for _ in range(bench.random.randrange(1, 5)):
            await model.cycle()
        bench.cover("reset between the weights of an entry", model.making and model.second)
        await bench.cycle(matched__valid=0)
        await bench.reset()
        model.clear()
        for _ in range(3):
            await model.cycle()
        for _ in range(3):
            model.offer(model.marker() if bench.chance(0.3) else model.entry(0.5, 1.0))
            await model.settle()
