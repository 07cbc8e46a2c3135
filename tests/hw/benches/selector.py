"""Bench of Selector: the weight that issues in every cycle, against a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from typing import Any

from amaranth.lib import data

from evenspike_core.arch import Arch
from evenspike_hw.rtl.layouts import PAIR_OFFSET, Layouts
from evenspike_hw.rtl.pe.selector import Selector
from tests.helpers.driver import Bench, pack, test

component = Selector
ARCH = Arch(pes=4, scratchpad_words=2048)
VARIANTS = {f"kernel{side}": replace(ARCH, kernel_max=side) for side in (3, 5)}
ADDRESS_BITS = Layouts(ARCH).weight_address_bits
LOG_ROWS = Layouts(ARCH).row_bits


def CORNERS(arch: Arch) -> Iterator[str]:  # noqa: N802  (as where it is a constant)
    for side in Layouts(arch).sides:
        yield f"every position of K = {side}"
        for stride in (1, 2):
            yield f"K = {side}, stride {stride}"


@cache  # of the same layout: to compare two costs more than a cycle
def layout(arch: Arch) -> data.StructLayout:
    """Of an entry of the match queue."""
    return Layouts(arch).matched


@dataclass(frozen=True)
class Layer:
    """The tile's height and width, powers of two."""

    log_height: int
    log_width: int

    def drive(self) -> dict[str, Any]:
        return {
            "log_tile_width": self.log_width,
            "log_tile": self.log_height + self.log_width,
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
        if not self.kernels:  # of a marker nothing else counts
            below = pack(matched, dict.fromkeys(fields, 1)).bit_length()
            return pack(matched, fields) | (bench.random.getrandbits(matched.size - below) << below)
        slots = [kernel.slot for kernel in self.kernels]
        return pack(
            matched,
            fields
            | {
                "kernel": self.side // 2,
                "log_stride": self.stride - 1,
                "pids": sum(k.pids << PAIR_OFFSET * n for n, k in enumerate(self.kernels)),
                "wsp": sum(k.wsp << PAIR_OFFSET * n for n, k in enumerate(self.kernels)),
                "base": self.base,
                "slots": [*slots, *[bench.random.getrandbits(6)] * (2 - len(slots))],
                "mask": self.mask,
                "y": self.y,
                "x": self.x,
            },
        )


def weights(entry: Entry, layer: Layer) -> list[tuple[int, int]]:
    """Address and accumulator row of each matched weight, in the order in which they issue."""
    side, stride = entry.side, entry.stride
    height, width = 1 << layer.log_height, 1 << layer.log_width
    address, found = entry.base, []
    for kernel in entry.kernels:
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
                row = (kernel.slot * height + y) * width + x
                found.append((address % (1 << ADDRESS_BITS), row))
            address += 1
    return found


@cache
def reaches(at: int, side: int, stride: int, length: int) -> tuple[int, ...]:
    """Kernel rows (or columns) that connect position `at` to one of the tile."""
    return tuple(
        n for n in range(side) if (at - n) % stride == 0 and 0 <= (at - n) // stride < length
    )


class Model:
    """The entry at the head of the queue, what is left of it, and the registers."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.layer = Layer(0, 0)
        self.sides = Layouts(bench.arch).sides
        self.seen: dict[int, set[int]] = {side: set() for side in self.sides}
        self.issued = 0
        self.entries = 0
        self.before: Entry | None = None  # taken in the cycle before
        self.clear()

    def clear(self) -> None:
        self.head: Entry | None = None
        self.fresh = False  # the head is in its first cycle
        self.left: list[tuple[int, int]] = []
        self.mask = 0
        self.counts = {"rounds": 0, "worked": 0, "finished": 0}

    def offer(self, entry: Entry) -> None:
        self.head = entry
        self.packed = entry.bits(self.bench)
        self.left = weights(entry, self.layer)
        self.fresh = True

    async def cycle(self) -> None:
        bench, head = self.bench, self.head
        payload = bench.random.getrandbits(layout(bench.arch).size) if head is None else self.packed
        out = await bench.cycle(
            matched__valid=head is not None, matched__payload=payload, **self.layer.drive()
        )
        expected: dict[str, Any] = {"mask": self.mask, "busy": int(bool(self.left)), **self.counts}
        if head is not None:
            expected["matched__ready"] = int(len(self.left) <= 1)
        if self.left:
            address, row = self.left[0]
            expected["weight_read"] = 1 | address << 1
            expected["row_read"] = 1 | row << 1
            self._weight_corners(row)
        else:
            assert not out["weight_read"] & 1, f"cycle {bench.now}: reads a weight"
            assert not out["row_read"] & 1, f"cycle {bench.now}: reads a row"
            if head is None:
                assert not out["weight_read"] | out["row_read"], f"cycle {bench.now}: an address"
        bench.check(out, expected)
        self._entry_corners()

        taken = None
        if head is not None and len(self.left) <= 1:
            taken, self.head = head, None
            self.entries += 1
            if not head.kernels:
                self._count(head)
        if self.left:
            assert head is not None
            self.left.pop(0)
            self.issued += 1
            self.mask = head.mask
        self.before = taken

    def _count(self, marker: Entry) -> None:
        ends, frees, cover = marker.ends_round, marker.frees, self.bench.cover
        cover("marker ends a round and gives up a half", ends and frees)
        cover("marker ends a round", ends and not frees)
        cover("marker gives up a half", frees and not ends)
        cover("marker does neither", not ends and not frees)
        for name, counts in (
            ("rounds", ends),
            ("worked", frees and not ends),
            ("finished", frees),
        ):
            cover("a counter wraps", counts and self.counts[name] == 3)
            self.counts[name] = (self.counts[name] + int(counts)) % 4

    def _weight_corners(self, row: int) -> None:
        assert self.head is not None
        cover, layer = self.bench.cover, self.layer
        cover(f"K = {self.head.side}, stride {self.head.stride}")
        cover("last row of the accumulators", row == (1 << LOG_ROWS) - 1)
        cover("tile of one neuron", layer.log_height + layer.log_width == 0)
        cover("tile of all accumulators", layer.log_height + layer.log_width == LOG_ROWS)
        cover("tile one column wide", layer.log_height and not layer.log_width)
        cover("tile one row high", layer.log_width and not layer.log_height)

    def _entry_corners(self) -> None:
        cover = self.bench.cover
        head, before = self.head, self.before
        if head is None:
            cover("queue runs empty")
            return
        weight, marker = bool(head.kernels), not head.kernels
        if before is not None:
            behind_weight = bool(before.kernels)
            cover("weight behind an entry's last, in the next cycle", behind_weight and weight)
            cover("marker behind a weight, in the next cycle", behind_weight and marker)
            cover("marker behind a marker", marker and not behind_weight)
            cover(
                "another kernel and stride in the next cycle",
                behind_weight
                and weight
                and head.side != before.side
                and head.stride != before.stride,
            )
        if weight and self.fresh:
            self._first_cycle(head)
        self.fresh = False

    def _first_cycle(self, head: Entry) -> None:
        cover = self.bench.cover
        side = head.side
        area = side * side
        pids = [kernel.pids for kernel in head.kernels]
        for pattern in pids:
            self.seen[side] |= {n for n in range(area) if pattern >> n & 1}
        first = head.kernels[0]
        cover(f"every position of K = {side}", len(self.seen[side]) == area)
        most = head.side == self.sides[-1]
        cover("all positions of the largest kernel match", most and pids[0] == (1 << area) - 1)
        cover("a single match", len(self.left) == 1)
        cover("both kernels match", len(pids) == 2 and all(pids))
        cover("only the second kernel matches", len(pids) == 2 and not pids[0])
        cover(
            "weights without a match before the first",
            first.pids and first.wsp & (first.pids & -first.pids) - 1,
        )
        cover("address of a weight wraps", any(at < head.base for at, _ in self.left))

    # Random layers and entries.

    def choose(self) -> None:
        random = self.bench.random
        log_tile = random.choice((LOG_ROWS, 0, 1, random.randint(0, LOG_ROWS)))
        log_width = random.choice((0, log_tile, random.randint(0, log_tile)))
        self.layer = Layer(
            log_tile - log_width,
            log_width,
        )

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
        kernels: list[Kernel] = []
        count = random.choice((1, 2)) if side <= 3 else 1
        slots = 1 << min(6, LOG_ROWS - layer.log_height - layer.log_width)
        while not any(kernel.pids for kernel in kernels):
            kernels = [
                self._kernel(
                    (n for n in range(side * side) if bench.chance(density)), slots, positions
                )
                for _ in range(count)
            ]
            density = max(density, 0.2)
        if count == 1 and side <= 3 and bench.chance(0.5):
            # The first header of the word is another channel's.
            kernels = [Kernel(random.randrange(64), 0, 0), *kernels]
        return Entry(
            side,
            stride,
            tuple(kernels),
            bench.bits(ADDRESS_BITS),
            bench.bits(ARCH.timesteps),
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

    async def settle(self) -> None:
        while self.head is not None:
            await self.cycle()


@test
async def latency(bench: Bench) -> None:
    """An entry issues in the cycle in which it is the head; its mask shows in the next, a marker's
    count, too.
    """
    layer = {"log_tile_width": 2, "log_tile": 4}
    entry: dict[str, Any] = {"kernel": 1, "log_stride": 0}
    entry |= {"pids": 0b101, "wsp": 0b111, "base": 8, "slots": [3, 0], "mask": 5, "y": 2, "x": 3}
    await bench.cycle(**layer)
    out = await bench.cycle(matched__valid=1, matched__payload=entry)
    expected = {"busy": 1, "weight_read": 1 | 8 << 1, "row_read": 1 | (48 + 8 + 3) << 1}
    bench.check(out, expected | {"matched__ready": 0, "mask": 0})
    out = await bench.cycle()
    expected = {"busy": 1, "weight_read": 1 | 10 << 1, "row_read": 1 | (48 + 8 + 1) << 1}
    bench.check(out, expected | {"matched__ready": 1, "mask": 5})
    marker = {"marker": 1, "ends_round": 1, "frees": 1}
    out = await bench.cycle(matched__payload=marker)
    bench.check(out, {"busy": 0, "matched__ready": 1, "mask": 5, "rounds": 0})
    out = await bench.cycle(matched__valid=0)
    bench.check(out, {"busy": 0, "rounds": 1, "worked": 0, "finished": 1})


@test
async def all_positions(bench: Bench) -> None:
    """Every kernel position alone, with all weights living, for each side and stride."""
    model = Model(bench)
    for side in model.sides:
        for stride in (1, 2):
            model.layer = Layer(3, 3)
            whole = (1 << side * side) - 1
            if side == model.sides[-1] and stride == 1:
                model.offer(Entry(side, stride, (Kernel(1, whole, whole),), 5, 15, 7, 7))
                await model.settle()
            for pid in range(side * side):
                y, x = pid // side + 2 * stride, pid % side + 5 * stride
                for second in range(2 if side <= 3 else 1):
                    dead = Kernel(2, whole if bench.chance(0.5) else 0, 0)
                    kernels = (dead,) * second + (Kernel(3, whole, 1 << pid),)
                    base, mask = bench.bits(11), bench.bits(4)
                    model.offer(Entry(side, stride, kernels, base, mask, y, x))
                    await model.settle()


@test
async def all_pairs(bench: Bench) -> None:
    """Every two positions of a fetch of the largest kernel, the weights between living or not."""
    model = Model(bench)
    model.layer = Layer(3, 3)
    side = model.sides[-1]
    area, count = side * side, 2 if side <= 3 else 1
    for low, high in combinations(range(count * area), 2):
        pids = 1 << low | 1 << high
        wsp = pids | bench.bits(count * area)
        whole = (1 << area) - 1
        kernels = tuple(
            Kernel(bench.bits(2), wsp >> area * n & whole, pids >> area * n & whole)
            for n in range(count)
        )
        model.offer(Entry(side, 1, kernels, bench.bits(11), bench.bits(4), 7, 7))
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
        markers = random.choice((0.02, 0.5))
        for _ in range(random.randrange(10, 120)):
            if model.head is None and bench.chance(supply):
                marks = bench.chance(markers)
                model.offer(model.marker() if marks else model.entry(density, matching))
            await model.cycle()
        await model.settle()


@test
async def reset(bench: Bench) -> None:
    """A reset forgets the matches that were left, the mask and the counts."""
    model = Model(bench)
    for _ in range(20):
        for _ in range(bench.random.randrange(1, 4)):
            model.offer(model.marker())
            await model.settle()
        model.layer = Layer(4, 4)
        side = model.sides[-1]
        whole = (1 << side * side) - 1
        kernels = (Kernel(0, whole, whole),) * (2 if side <= 3 else 1)
        model.offer(Entry(side, 1, kernels, 0, 15, 9, 9))
        for _ in range(bench.random.randrange(1, 20)):
            await model.cycle()
        bench.cover("reset between the weights of an entry")
        await bench.cycle(matched__valid=0)
        await bench.reset()
        model.clear()
        await model.cycle()
        for _ in range(3):
            model.offer(model.entry(0.5, 1.0))
            await model.settle()
