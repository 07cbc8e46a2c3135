"""Apu: reads, broadcasts and waits in every cycle against the stepped model's, from decoder to B.

The model is `tests/helpers/stepped`'s, with this bench's memories, presence bits and PEs around it.
Coordinates and kernel rows are computed here, from the contract.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import cycle, product
from types import SimpleNamespace
from typing import Any, cast

from evenspike_core.arch import Arch
from evenspike_core.pack import SegmentDescriptor
from evenspike_hw.rtl.apu import Apu
from evenspike_hw.rtl.layouts import ENTRY_BITS, MAP_BITS, Layouts
from tests.helpers import stepped
from tests.helpers.driver import Bench, test

component = Apu
ARCH = Arch(pes=4, timesteps=3, chunk_blocks=256, spike_entries=1 << ENTRY_BITS)
VARIANTS = {
    "pes1": Arch(pes=1, timesteps=1, chunk_blocks=1, spike_entries=100),
    "pes16": Arch(pes=16, timesteps=4, chunk_blocks=8),
    "kernel3": Arch(pes=4, timesteps=3, chunk_blocks=8, spike_entries=1000, kernel_max=3),
}


@dataclass(frozen=True)
class Scene:
    """A broadcast, and what it finds.

    present: for each PE, a bit for each channel of the chunk. counts: of the rows, at random.
    entry: gives column and masks of the entry that is read. full: probability that PEs are full in
    a cycle, which ones at random.
    """

    work: stepped.Work
    entry_base: int
    block_stride: int
    present: tuple[int, ...]
    counts: tuple[int, ...]
    entry: Callable[[], tuple[int, tuple[int, ...]]]
    full: float = 0.0


class Reads:
    """A memory whose content is made when it is read. asked: address of this cycle's read."""

    def __init__(self, clock: stepped.Clock, out: Any) -> None:
        self.out = out
        self.asked: int | None = None
        self.content: Callable[[], Any] = lambda: out
        self._clock = clock

    def read(self, address: int) -> None:
        assert self.asked is None
        self.asked = address
        self._clock.driven.append(self)

    def commit(self) -> None:
        self.out = self.content()
        self.asked = None


@dataclass
class Pe:
    """full: in this cycle. given: what is broadcast to it in this cycle."""

    full: bool = False
    given: list[stepped.Activation] = field(default_factory=list)
    presence: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(q=0))

    def take(self, item: stepped.Activation) -> None:
        self.given.append(item)

    @property
    def filter(self) -> Pe:
        return self

    @property
    def unpacker(self) -> SimpleNamespace:
        return SimpleNamespace(presence=(self.presence, self.presence))


def reached(work: stepped.Work, axis: int, at: int, side: int) -> tuple[int, int]:
    """Distance from the tile's first row, and the kernel rows that lead to one of its rows."""
    segment, origin, length = work.segment, work.tile[axis], work.tile[axis + 2]
    behind = at - segment.offset[axis]
    rows = 0
    for r in range(side):
        quotient, rest = divmod(behind - r, segment.stride)
        rows |= (rest == 0 and origin <= quotient < origin + length) << r
    return behind - origin * segment.stride, rows


class Model:
    """The stepped model's APU and its surroundings."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.pes, self.timesteps = bench.arch.pes, bench.arch.timesteps
        self.addresses = 1 << (bench.arch.spike_entries - 1).bit_length()
        activation, self.sides = Layouts(bench.arch).activation, Layouts(bench.arch).sides
        self.fields = {name: (at.offset, (1 << at.width) - 1) for name, at in activation}
        self.one = self.pes == 1
        clock = self.clock = stepped.Clock()
        self.entries, self.counts = Reads(clock, (0, (0,) * self.pes)), Reads(clock, 0)
        self.receivers = [Pe() for _ in range(self.pes)]
        self.presence = [pe.presence for pe in self.receivers]
        self.lanes = 0  # presence bits of the block that was read: the input
        self.timer = stepped.Reg(clock, 0)
        self.scene: Scene | None = None
        self.begun: stepped.Work | None = None
        self.fresh = False  # this cycle is S
        self.broadcasting = False
        self.sent = 0
        self.quiet = 0  # cycles since the last marker
        machine = SimpleNamespace(
            clock=clock,
            arch=bench.arch,
            memory=SimpleNamespace(entries=self.entries, counts=self.counts, row=self.row),
            pes=self.receivers,
            sequencer=SimpleNamespace(
                starts=lambda: self.begun is not None, work=lambda: self.begun, timer=self.timer
            ),
        )
        self.apu = stepped.Apu(cast(stepped.Machine, machine))

    def row(self, _: SegmentDescriptor, block: int, row: int) -> int:
        scene = self.scene
        assert scene is not None
        block -= scene.work.start // self.pes
        pitch = max(scene.work.segment.width, self.bench.arch.row_entries)
        address = scene.entry_base + block * scene.block_stride + row * pitch
        return address % self.addresses

    async def cycle(self, offer: Scene | None = None, full: int | None = None) -> bool:
        """offer: starts if it may. full: of each PE. Whether it has started."""
        bench, apu = self.bench, self.apu
        if full is None:
            stalls = self.scene is not None and bench.chance(self.scene.full)
            full = bench.bits(self.pes) & bench.bits(self.pes) if stalls else 0
        for n, pe in enumerate(self.receivers):
            pe.full = bool(full >> n & 1)
            pe.given.clear()
        marker = apu.fires_marker()
        inputs: dict[str, Any] = {}
        if self.fresh:
            inputs["work"] = self.work()
            self.fresh = False
        starts = offer is not None and (marker or not self.broadcasting)
        self.begun = offer.work if starts and offer is not None else None
        self._cover(full, marker)
        visit = apu.visit.q
        apu.step()
        self._time(starts)

        column, masks = self.entries.out
        bits = sum(mask << self.timesteps * n for n, mask in enumerate(masks))
        found = await bench.cycle(
            start=starts,
            count=self.counts.out,
            entry=column | bits << MAP_BITS,
            presence=self.lanes,
            full=full,
            **inputs,
        )
        self._check(found, marker, visit)
        lanes = self.lanes if self.entries.asked is None else self._lanes(visit)
        self.clock.tick()
        self.lanes = lanes
        self.quiet = 0 if marker else self.quiet + 1
        if marker:
            self.broadcasting = False
        if starts and offer is not None:
            self._begin(offer)
        return starts

    def _time(self, starts: bool) -> None:
        if starts:
            self.timer.set(3)
        elif self.timer.q:
            self.timer.set(self.timer.q - 1)

    def _begin(self, scene: Scene) -> None:
        """The next cycle is S: what the model sees of the memories is the new scene's."""
        self.bench.cover("start later", self.quiet)
        self.bench.cover("start in the cycle of the marker before", not self.quiet)
        self.scene, self.fresh, self.broadcasting = scene, True, True
        self.counts.content = lambda: self.bench.random.choice(scene.counts)
        self.entries.content = scene.entry
        for bits, present in zip(self.presence, scene.present, strict=True):
            bits.q = present

    def _lanes(self, visit: stepped.Visit | None) -> int:
        """The presence bits of the block whose entry is read, of all PEs."""
        scene = self.scene
        assert scene is not None
        assert visit is not None
        shift = visit.block * self.pes - scene.work.start
        found = 0
        for n, present in enumerate(scene.present):
            lanes = present >> shift if shift >= 0 else present << -shift
            found |= (lanes & (1 << self.pes) - 1) << n * self.pes
        return found

    # Bits of the ports.

    def work(self) -> dict[str, Any]:
        scene = self.scene
        assert scene is not None
        work, segment = scene.work, scene.work.segment
        return {
            "kernel": segment.kernel // 2,
            "segment": {
                "log_stride": segment.stride - 1,
                "offset_y": segment.offset[0],
                "offset_x": segment.offset[1],
                "log_average": segment.average.bit_length() - 1,
                "height": segment.height,
                "width": segment.width,
                "block_stride": scene.block_stride,
            },
            "half": work.half,
            "ends_round": int(work.ends_round),
            "frees": int(work.frees),
            "blocks": -(-work.end // self.pes) - work.start // self.pes,
            "entry": scene.entry_base,
            **dict(zip(("top", "left", "height", "width"), work.tile, strict=True)),
        }

    def activation(self, item: stepped.Activation) -> dict[str, int]:
        """The fields that count."""
        work = item.work
        if item.marker:
            ends = {"ends_round": int(work.ends_round), "frees": int(work.frees)}
            return {"marker": 1, **ends}
        side = self.bench.arch.kernel_max
        y, rows = reached(work, 0, item.y, side)
        x, columns = reached(work, 1, item.x, side)
        return {
            "marker": 0,
            "half": work.half,
            "kernel": work.segment.kernel // 2,
            "log_stride": work.segment.stride - 1,
            "line": item.channel + work.start % self.pes,
            "mask": item.mask,
            "rows": rows,
            "columns": columns,
            "y": y,
            "x": x,
        }

    def _check(self, found: dict[str, int], marker: bool, visit: stepped.Visit | None) -> None:
        send = sum(bool(pe.given) << n for n, pe in enumerate(self.receivers))
        expected = {"send": send, "marker": int(marker)}
        got = {name: found[name] for name in expected}
        for name, asked in (
            ("count_read", self.counts.asked),
            ("entry_read", self.entries.asked),
        ):
            expected[name] = 0 if asked is None else 1 | asked % self.addresses << 1
            got[name] = found[name] if asked is not None else found[name] & 1
        if self.entries.asked is None:
            expected["presence"], got["presence"] = 0, found["presence_read"] & 1
        else:
            assert visit is not None
            block = visit.block - visit.work.start // self.pes
            expected["presence"] = 1 | visit.work.half << 1 | block << 2
            got["presence"] = found["presence_read"]
        if send:
            item = next(pe.given[0] for pe in self.receivers if pe.given)
            bits = found["activation"]
            for name, value in self.activation(item).items():
                offset, mask = self.fields[name]
                expected[name], got[name] = value, bits >> offset & mask
            self.sent += 1
        assert got == expected, f"cycle {self.bench.now - 1}: {got}, expected {expected}"

    # Corners.

    def _cover(self, full: int, marker: bool) -> None:
        cover, apu = self.bench.cover, self.apu
        arriving, held, visit = apu.arriving.q, apu.held.q, apu.visit.q
        entry = visit is not None and visit.done < visit.count
        no_room = (arriving is not None) + len(held) == stepped.PLACES
        cover("entry waits for a place in D", entry and no_room)
        cover("entry decoded while D gives one up", entry and not no_room and apu.gives_up())
        cover("entry behind an empty D", entry and arriving is None and not held)
        if visit is not None and visit.row >= 0 and not entry:
            ends = apu._next_row(visit) is None
            cover("row visit while D has no room", not ends and no_room)
            cover("marker waits for a place in D", ends and no_room)
        if arriving is not None:
            self._arriving(arriving)
        if held:
            self._held(held)
        if apu.ready.q is not None:
            self._sent(apu.ready.q, full)
        if marker:
            assert apu.ready.q is not None
            work = apu.ready.q.work
            cover("marker ends a round", work.ends_round)
            cover("marker gives up a half", work.frees)
            cover("marker without any row", stepped.reach(work, 0)[0] >= stepped.reach(work, 0)[1])

    def _held(self, held: tuple[tuple[stepped.Activation, ...], ...]) -> None:
        cover, apu = self.bench.cover, self.apu
        wanted, waits = held[0], not apu.gives_up()
        last = len(apu.lanes.q) == 1 and apu.picks()
        marker = bool(wanted) and wanted[0].marker
        cover("marker waits in D", marker and waits)
        cover("marker taken with the last lane of the entry before", marker and last)
        cover("entry waits in D", bool(wanted) and not marker and waits)
        cover("entry taken with the last lane of the one before", wanted and not marker and last)
        cover("entry dropped while the lane stage is not done", not wanted and apu.lanes.q)
        cover("entry dropped behind the one that the lane stage takes", not all(held) and last)

    def _arriving(self, entry: stepped.Entry) -> None:
        cover, apu = self.bench.cover, self.apu
        if entry.marker:
            return
        column, masks = self.entries.out
        first, end = stepped.reach(entry.work, 1)
        wanted, spikes = [item.channel for item in apu.wanted()], any(masks)
        of_use = spikes and self.lanes > 0
        cover("entry dropped: no spike", not spikes and self.lanes > 0 and first <= column < end)
        cover("entry dropped: left of the columns that reach the tile", of_use and column < first)
        cover(
            "entry dropped: right of the columns that reach the tile",
            of_use and first < end <= column,
        )
        cover(
            "entry dropped: no PE has a weight",
            not wanted and spikes and not self.lanes and first <= column < end,
        )
        self._between(entry, column, of_use and first <= column < end)
        cover(
            "lane left out between two (never with 1 PE)",
            self.one or (len(wanted) > 1 and wanted[-1] - wanted[0] >= len(wanted)),
        )

    def _between(self, held: stepped.Entry, column: int, of_use: bool) -> None:
        """Rows and columns that reach the tile, but lie between its positions."""
        cover, work = self.bench.cover, held.work
        segment = work.segment
        if not of_use or segment.kernel != 1 or segment.stride != 2:
            return
        behind = [
            at // segment.average - segment.offset[axis]
            for axis, at in enumerate((held.row, column))
        ]
        odd = [distance % 2 for distance in behind]
        cover("entry dropped: between rows alone, K = 1 at stride 2", odd == [1, 0])
        cover("entry dropped: between columns alone, K = 1 at stride 2", odd == [0, 1])
        cover("entry kept: K = 1 at stride 2", odd == [0, 0])
        cover("entry kept: K = 1 at stride 2, odd offsets", odd == [0, 0] and segment.offset[0] % 2)

    def _sent(self, item: stepped.Activation, full: int) -> None:
        cover, fires = self.bench.cover, self.apu.fires()
        bit = 1 << item.channel
        to = sum(bool(item.marker or p.q & bit) << n for n, p in enumerate(self.presence))
        if item.marker:
            cover("marker waits for one PE", full.bit_count() == 1)
            return
        cover("lane to one PE", to.bit_count() == 1)
        cover("lane to all PEs", to.bit_count() == self.pes)
        cover("lane waits for a PE", not fires)
        cover(
            "lane waits for one of several PEs (never with 1 PE)",
            self.one or (to.bit_count() > 1 and (to & full).bit_count() == 1),
        )
        cover(
            "lane does not wait for a PE that does not get it (never with 1 PE)",
            self.one or (full > 0 and fires),
        )
        cover(
            "last line of the channel table",
            item.channel + item.work.start % self.pes == self.bench.arch.chunk_channels - 1,
        )

    # Scenes.

    async def run(self, scene: Scene, delay: float = 0.0) -> None:
        """Up to its start; what it broadcasts goes on."""
        self._describe(scene)
        while not await self.cycle(None if self.bench.chance(delay) else scene):
            pass

    async def finish(self) -> None:
        while self.broadcasting:
            await self.cycle()
        for _ in range(3):
            await self.cycle()

    def _describe(self, scene: Scene) -> None:
        cover = self.bench.cover
        work, segment = scene.work, scene.work.segment
        first, end = stepped.reach(work, 0)
        top, _, height, _ = work.tile
        before = top * segment.stride + segment.offset[0]
        behind = (top + height - 1) * segment.stride + segment.offset[0] + segment.kernel
        cover("stride of 2", segment.stride == 2)
        cover("average of 8", segment.average == 8 and first < end)
        cover("first rows above the map", before < 0 and first < end)
        cover("last rows below the map", behind * segment.average > segment.height and first < end)
        cover("first row of the map is not read", segment.offset[0] > 0 and first < end)
        cover("offset of 255", 255 in segment.offset and first < end)
        cover("offset of -255", -255 in segment.offset and first < end)
        cover("axes with other offsets", segment.offset[0] * segment.offset[1] < 0 and first < end)
        cover("map of 256 rows and columns", segment.height == segment.width == 256)
        cover("tile of 256 rows and columns", work.tile[2:] == (256, 256))
        cover(
            "chunk begins inside a block (never with 1 PE)", self.one or work.start % self.pes > 0
        )
        cover("chunk ends inside a block (never with 1 PE)", self.one or work.end % self.pes > 0)

    def entry(self, work: stepped.Work, share: float) -> tuple[int, tuple[int, ...]]:
        """Columns in and around the tile; masks with a share of spikes."""
        bench, random = self.bench, self.bench.random
        first, end = stepped.reach(work, 1)
        column = random.randrange(first - 2, max(first, end) + 3)
        if not 0 <= column < 1 << MAP_BITS or bench.chance(0.1):
            column = bench.bits(MAP_BITS)
        masks = (bench.bits(self.timesteps) if bench.chance(share) else 0 for _ in range(self.pes))
        return column, tuple(masks)

    def random(self) -> Scene:
        bench, random = self.bench, self.bench.random
        kernel, stride, average = (random.choice(n) for n in (self.sides, (1, 2), (1, 2, 4, 8)))
        padding = random.choice((0, kernel // 2, random.randrange(8)))
        offset = -padding, -padding
        if bench.chance(0.4):
            choices = (-255, 255, random.randrange(-255, 256), random.randrange(-9, 10))
            offset = random.choice(choices), random.choice(choices)
        sides = [random.choice((1, 8, 256, 511, random.randrange(1, 257))) for _ in range(2)]
        tile = [0] * 4
        for axis, side in enumerate(sides):
            reached = side // average - offset[axis] + padding - kernel
            out = max(1, min(reached // stride + 1, 256))
            origin = random.randrange(min(out, 256)) if bench.chance(0.95) else bench.bits(8)
            length = random.choice((1, 4, 8, 256)) if axis or bench.chance(0.05) else 1
            tile[axis], tile[axis + 2] = origin, max(1, min(length, max(out, 1), 256) - origin)
            if axis == 0 and length == 1:
                tile[axis + 2] = random.choice((1, 1, 2, 3))
        segment = SegmentDescriptor(0, kernel, stride, offset, average, 0, sides[0], sides[1], 0)
        most = bench.arch.chunk_channels
        lead = random.choice((0, random.randrange(self.pes)))
        many = random.choice((1, self.pes, 2 * self.pes, random.randrange(1, most + 1)))
        work = stepped.Work(
            0,
            random.randrange(4),
            segment,
            random.randrange(50) * self.pes + lead,
            0,
            cast(tuple[int, int, int, int], tuple(tile)),
            random.randrange(4),
            0,
            random.randrange(2),
            bench.chance(0.5),
            bench.chance(0.5),
        )
        first, end = stepped.reach(work, 0)
        room = max(1, 20 // max(1, end - first)) * self.pes if bench.chance(0.97) else most
        channels = max(1, min(many, room, most - lead))
        work = replace(work, end=work.start + channels)
        share = random.choice((0.1, 0.5, 1.0))
        present = random.choice((0.02, 0.2, 0.5, 1.0))
        entries = random.choice(((0, 0, 1), (1, 2), (2, 4), (8, 16)))
        return Scene(
            work,
            bench.bits(ENTRY_BITS),
            bench.bits(ENTRY_BITS),
            tuple(
                sum(bench.chance(present) << n for n in range(channels)) for _ in range(self.pes)
            ),
            entries if channels < 100 else (0, 0, 1),
            lambda: self.entry(work, share),
            random.choice((0.0, 0.0, 0.2, 0.6)),
        )

    def simple(self, counts: tuple[int, ...], rows: int, full_masks: bool = True) -> Scene:
        """A block of an 8 x 8 map whose every entry is wanted by all PEs, or by none."""
        segment = SegmentDescriptor(0, 1, 1, (0, 0), 1, 1, 8, 8, 0)
        work = stepped.Work(
            1, 0, segment, 0, self.pes, (0, 0, max(rows, 1), 8), 1, 0, 1, True, True
        )
        if not rows:
            work = replace(work, tile=(8, 0, 1, 8))
        mask = (1 << self.timesteps) - 1 if full_masks else 0
        every = ((1 << self.pes) - 1,) * self.pes
        return Scene(work, 40, 64, every, counts, lambda: (3, (mask,) * self.pes))


@test
async def latency_of_a_broadcast(bench: Bench) -> None:
    model = Model(bench)
    none = (1 << bench.arch.pes) - 1
    for rows in (0, 1):
        assert await model.cycle(model.simple((1,), rows))
        # S to S + 2; with a row its visit in S + 3; then the entry or the marker, in the memory's
        # output in the next cycle, then in D, in the lane stage and in B.
        quiet = 3 + (rows > 0) + 4
        for _ in range(quiet):
            before = model.sent
            await model.cycle(full=0)
            assert model.sent == before
        for _ in range(rows * bench.arch.pes + 1):
            for full in (1, 1 << bench.arch.pes - 1, none):
                await model.cycle(full=full)
                assert model.sent == before
            await model.cycle(full=0)
            before += 1
            assert model.sent == before
        assert not model.broadcasting
        await model.cycle()


@test
async def a_lane_a_cycle(bench: Bench) -> None:
    model = Model(bench)
    count = bench.arch.pes
    await model.run(model.simple((8,), 8))
    lanes = 8 * 8 * count
    for _ in range(8):
        await model.cycle(full=0)
    for number in range(lanes):
        if count == 1 and number % 8 == 0 and number:
            await model.cycle(full=0)  # the row visit shows with one lane an entry only
        assert model.sent == number
        await model.cycle(full=0)
    assert model.sent == lanes


@test
async def an_entry_of_no_use_takes_a_cycle(bench: Bench) -> None:
    model = Model(bench)
    await model.run(model.simple((8,), 8, full_masks=False))
    for _ in range(3 + 8 * (1 + 8) + 4):
        assert model.sent == 0
        await model.cycle(full=0)
    await model.cycle(full=0)
    assert not model.broadcasting


@test
async def large_maps_and_chunks(bench: Bench) -> None:
    model = Model(bench)
    most = bench.arch.chunk_channels
    side = bench.arch.kernel_max
    segment = SegmentDescriptor(0, side, 1, (-(side // 2), -(side // 2)), 1, 1, 256, 256, 0)
    work = stepped.Work(0, 0, segment, 0, bench.arch.pes, (0, 0, 256, 256), 0, 0, 0, False, True)
    every = (1 << most) - 1
    ones = (1 << bench.arch.timesteps) - 1

    def entry() -> tuple[int, tuple[int, ...]]:
        return bench.random.randrange(250, 256), (ones,) * bench.arch.pes

    await model.run(Scene(work, 0, 65536, (every,) * bench.arch.pes, (0, 0, 0, 1), entry))
    one_row = replace(work, end=most, tile=(255, 0, 1, 256))
    flat = replace(segment, height=1, offset=(0, 0))
    for base in range(2):
        tall = replace(one_row, segment=flat, tile=(0, 0, 1, 256), half=base)
        scene = Scene(tall, 1 << 23, 255, (every,) * bench.arch.pes, (1,), entry)
        await model.run(scene)
    wide = replace(segment, kernel=1, offset=(0, 0), height=1)
    long = replace(work, segment=wide, tile=(0, 0, 1, 256))
    await model.run(Scene(long, 7, 1, (every,) * bench.arch.pes, (256,), entry))
    await model.finish()


@test
async def first_and_last_columns(bench: Bench) -> None:
    """Entries on both sides of both edges, for windows all over the largest map."""
    model = Model(bench)
    for number in range(256):
        stride, average, kernel = (
            1 + number % 2,
            1 << number // 2 % 4,
            bench.random.choice(model.sides),
        )
        offset = -(kernel // 2) if number % 3 else bench.random.randrange(-255, 256)
        segment = SegmentDescriptor(0, kernel, stride, (0, offset), average, 1, 1, 256, 0)
        most = min(255, 256 // (stride * average))
        left = min(most, bench.bits(8)) if bench.chance(0.6) else bench.random.randrange(256)
        tile = (0, left, 1, min(bench.random.choice((1, 2, 16)), 256 - left))
        work = stepped.Work(0, 0, segment, 0, bench.arch.pes, tile, 0, 0, 0, True, True)
        first, end = stepped.reach(work, 1)
        # A first column behind the map is not one of its lower bits.
        edges = [first - 1, first, end - 1, end, first & 511, first & 255, 255, 0]
        edges = [column for column in edges if 0 <= column < 1 << MAP_BITS]
        columns = cycle(edges)
        every = ((1 << bench.arch.pes) - 1,) * bench.arch.pes
        masks = (1,) + (0,) * (bench.arch.pes - 1)

        def entry(
            columns: Iterator[int] = columns, masks: tuple[int, ...] = masks
        ) -> tuple[int, tuple[int, ...]]:
            return next(columns), masks

        await model.run(Scene(work, 0, 256, every, (len(edges),), entry))
    await model.finish()


@test
async def between_positions(bench: Bench) -> None:
    """K = 1 at stride 2, every column of some rows: of four positions one is connected."""
    model = Model(bench)
    for above, left, average in product((0, -1, 1), (0, -1, 1), (1, 2)):
        segment = SegmentDescriptor(0, 1, 2, (above, left), average, 1, 8 * average, 8 * average, 0)
        tile = (1, 1, 2, 3)
        work = stepped.Work(0, 0, segment, 0, bench.arch.pes, tile, 0, 0, 0, True, True)
        first, _ = stepped.reach(work, 1)
        columns = cycle(range(first, first + 5 * average))
        every = ((1 << bench.arch.pes) - 1,) * bench.arch.pes
        masks = (1,) + (0,) * (bench.arch.pes - 1)

        def entry(
            columns: Iterator[int] = columns, masks: tuple[int, ...] = masks
        ) -> tuple[int, tuple[int, ...]]:
            return next(columns), masks

        await model.run(Scene(work, 0, 64, every, (5 * average,), entry))
        await model.finish()


@test
async def reset_empties_every_stage(bench: Bench) -> None:
    for cycles in range(16):
        model = Model(bench)
        none = (1 << bench.arch.pes) - 1
        await model.cycle(model.simple((8,), 8))
        for _ in range(cycles):
            await model.cycle(full=none)
        apu = model.apu
        full = len(apu.held.q) == stepped.PLACES and apu.lanes.q and apu.ready.q is not None
        bench.cover("reset with all stages full", full)
        await bench.cycle(start=0, full=none)
        await bench.reset()
        model = Model(bench)
        model.counts.out = (1 << MAP_BITS) - 1
        for _ in range(4):
            await model.cycle()
        await model.run(model.random())
        await model.finish()


@test
async def random_broadcasts(bench: Bench) -> None:
    model = Model(bench)
    while model.sent < bench.transactions:
        await model.run(model.random(), bench.random.choice((0, 0, 0, 0.7)))
    await model.finish()
