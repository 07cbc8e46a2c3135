"""Bench of Drain: reads, places and ends in every cycle against the walk of nested loops."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from evenspike_core.arch import Arch
from evenspike_hw.rtl.descriptor import LAYER
from evenspike_hw.rtl.drain import Drain
from tests.helpers.driver import Bench, pack, test
from tests.helpers.layers import ENTRIES, Layer, Round, batch, layer, rounds

component = Drain
ARCH = Arch(pes=4, timesteps=4, accumulators=1024)
VARIANTS = {
    "one-pe": Arch(pes=1, timesteps=1, accumulators=1024),
    "many-pes": Arch(pes=16, timesteps=8, accumulators=1024),
    "shared": replace(ARCH, lif_shared=1),  # with more timesteps than words of a block
    "shared-one-timestep": Arch(pes=4, timesteps=1, accumulators=1024, lif_shared=1),
    "clusters": replace(ARCH, clusters=2),  # a position of the last layer takes twice the cycles
}


PSUM = 1
"""The read-out without neurons."""


@dataclass(frozen=True)
class Step:
    """A drain cycle. bias: which half of the slot's biases is read. place: fields of `Drain.place`,
    None if it is no position's first cycle. carries: the row is kept, and carried to. timesteps: of
    the group.
    """

    slot: int
    bias: int | None = None
    row: int = 0
    place: dict[str, int] | None = None
    carries: bool = False
    timesteps: int = 0


def cycles(arch: Arch, *, last: bool, carries: bool) -> int:
    """Of a position."""
    each = arch.timesteps + carries if arch.lif_shared else 1
    return max(each, arch.clusters * arch.logit_words) if last else each


def latency(arch: Arch) -> int:
    """From the read to what leaves the LIF."""
    return arch.timesteps + 3 if arch.lif_shared else 2 * arch.timesteps + 1


def behind(arch: Arch) -> int:
    """Cycles behind a round that carries."""
    return 4 if arch.lif_shared else 2 * arch.timesteps + 3


def steps(arch: Arch, layer: Layer, turn: Round) -> Iterator[Step]:
    """The drain cycles of an image of a round."""
    side = 2 if layer["pool"] else 1
    area = 1 << layer["log_tile_height"] + layer["log_tile_width"]
    carries = not turn.last_group and layer["readout"] != PSUM
    beats = cycles(arch, last=bool(layer["last"]), carries=carries)
    timesteps = layer["timesteps"] if turn.last_group else arch.timesteps
    for slot in range(turn.slots):
        yield Step(slot, 0)
        yield Step(slot, 1)
        for window in range(turn.height // side * (turn.width // side)):
            y, x = divmod(window, turn.width // side)
            entry = turn.entry + slot * layer["block_stride"] + y * layer["row_stride"]
            entry += turn.offset
            for inner in range(side * side):
                row = (y * side + inner // side << layer["log_tile_width"]) + x * side
                place = {
                    "valid": 1,
                    "opens": int(inner == 0),
                    "closes": int(inner == side * side - 1),
                    "restarts": int(x == 0 and turn.left == 0),
                    "row_start": int(x == 0),
                    "entry": entry & ENTRIES,
                    "column": x + turn.left // side,
                }
                row += inner % side
                row += turn.first_row + slot * area
                yield Step(slot, None, row, place, carries, timesteps)
                for _ in range(beats - 1):
                    yield Step(slot)
    if carries and turn.last_image:
        for _ in range(behind(arch)):
            yield Step(turn.slots)


class Rig:
    """The drain, and beside it the list of the drain cycles that are to come in this round."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.arch = bench.arch
        self.reset()

    def reset(self) -> None:
        self.layer: Layer = {}
        self.full = 0.0  # share of the cycles without room
        self.turns: deque[list[Round]] = deque()
        self.left: deque[Step] = deque()  # of the round that is drained
        self.active = False
        self.before: Step | None = None
        leaves = latency(self.arch)
        self.flight: deque[Step | None] = deque([None] * leaves)
        self.last_layer: deque[bool] = deque([False] * leaves)
        carried = leaves + (1 if self.arch.lif_shared else 2)
        self.rows: deque[Step | None] = deque([None] * carried)
        self.entered: Step | None = None
        self.positions = 0

    async def cycle(self, start: bool = False, begin: bool = False) -> bool:
        """One cycle; whether it ended the round."""
        bench = self.bench
        half = bench.random.getrandbits(1)
        room = self.layer.get("last", 0) == 0 or not bench.chance(self.full)
        drive: dict[str, Any] = {"start": int(start), "begin": int(begin), "half": half}
        # In other layers than the last nobody looks at it.
        drive["room"] = int(room if self.layer.get("last") else bench.chance(0.5))
        if start:
            drive["layer"] = pack(LAYER, self.layer)
        out = await bench.cycle(**drive)
        drains = self.active
        waits = drains and self.left[0].place is not None and not room
        step = None if waits or not drains else self.left.popleft()
        ends = drains and not self.left
        bench.cover("a position waits for room", waits)
        bench.cover("the last position waits for room", waits and len(self.left) < 9)
        turn = self.turns[0][-1] if drains else None
        before, carried = self.before, self.rows[0]
        enters = before is not None and before.place is not None
        if enters or not self.arch.lif_shared:  # else the last one's stay
            self.entered = before if enters else None
        if self.entered is not None:
            group = {"timesteps": self.entered.timesteps, "carries": int(self.entered.carries)}
            bench.check(out, group)
        carry = bench.fields("carry", out["carry"])
        carries = carried is not None and carried.carries
        assert carry["enable"] == carries, f"cycle {bench.now - 1}: carry, expected {carried}"
        if carried is not None and carries:
            assert carry["row"] == carried.row, f"cycle {bench.now - 1}: {carry}, {carried}"
        bench.check(
            out,
            {
                "drains": int(drains),
                "claim": int(bool(step and step.place is not None and self.layer["last"])),
                "ends_round": int(ends),
                "ends_pass": int(bool(ends and turn and turn.last)),
                "ends_layer": int(bool(ends and turn and turn.ends_layer)),
                "valid": int(enters),
                "bias_low": int(before is not None and before.bias == 0),
                "bias_high": int(before is not None and before.bias == 1),
            },
        )
        self._check_read(bench.fields("read", out["read"]), step, half)
        self._check_place(out)
        self.before = step
        self.flight.append(step)
        self.last_layer.append(bool(self.layer.get("last")))
        self.flight.popleft()
        self.rows.append(step)
        self.rows.popleft()
        self.last_layer.popleft()
        if step is not None and step.place is not None:
            self.positions += 1
        if begin and self.active:
            bench.cover("begin in the round's last cycle" if ends else "begin while it drains")
        if begin and not self.active:
            self.active = True
            self.open()
        elif ends:
            self.active = False
        if ends:
            self.turns.popleft()
        return ends

    def open(self) -> None:
        """The round that is drained next."""
        images = self.turns[0]
        each = [steps(self.arch, self.layer, turn) for turn in images]
        self.left = deque(itertools.chain.from_iterable(each))
        self._corners(images[-1])
        self.bench.cover("images of a round that carries", not images[-1].last_group and images[1:])
        self.bench.cover("images of a last layer", self.layer["last"] and images[1:])

    def _check_read(self, read: dict[str, int], step: Step | None, half: int) -> None:
        found = f"cycle {self.bench.now - 1}: read is {read}, expected {step}"
        assert read["half"] == half, found
        biases = step is not None and step.bias is not None
        rows = step is not None and step.place is not None
        assert read["bias"] == biases, found
        assert read["read"] == rows, found
        if step is not None and biases:
            assert (read["slot"], read["high"]) == (step.slot, step.bias), found
        if step is not None and rows:
            assert read["keep"] == step.carries, found
        assert read["row"] == (step.row if step is not None and rows else 0), found

    def _check_place(self, out: dict[str, int]) -> None:
        step, last = self.flight[0], self.last_layer[0]
        item = step is not None and step.place is not None
        wanted = f"expected {step}"
        assert out["logits"] == (item and last), f"logits, {wanted}"
        if step is not None and step.place is not None and not last:
            self.bench.check(out, {"place": step.place})
        else:
            assert not out["place"] & 1, f"cycle {self.bench.now - 1}: a place, {wanted}"

    def _corners(self, turn: Round) -> None:
        cover = self.bench.cover
        layer, pool = self.layer, self.layer["pool"]
        entries = [step.place["entry"] for step in self.left if step.place is not None]
        cover("single position", len(entries) == 1)
        cover("pool window at the tile's edge", pool and turn.width < 1 << layer["log_tile_width"])
        cover("later window of a row of tiles", turn.left and turn.top)
        cover("tile of 256 columns", turn.width == 256)
        cover("tile of 256 rows", turn.height == 256)
        cover("column 255", pool and turn.left + turn.width == 510)
        cover("64 slots", turn.slots == 64)
        cover("last pass of fewer slots", turn.ends_layer and turn.slots < 1 << layer["log_slots"])
        cover("2048 passes", turn.last and layer["passes"] > 2048)
        last = layer["last"]
        cover("last layer of psums", last and layer["readout"] == PSUM and not turn.last_group)
        cover("last layer that carries", last and layer["readout"] != PSUM and not turn.last_group)
        cover("round that carries", not last and not turn.last_group)
        fewer = self.left[2].timesteps < self.arch.timesteps
        cover("last group of fewer timesteps", fewer or self.arch.timesteps == 1)
        cover("32 groups", turn.last_group and layer["groups"] == 32)
        cover("last layer of many positions", layer["last"] and len(entries) > 8)
        cover("entry wraps", min(entries) < layer["spike_base"])

    # What happens to a drain.

    async def run(self, fields: Layer, pause: float = 0.0, flush: bool = True) -> int:
        """A layer from its start to its last drain cycle; returns the drain cycles."""
        self.layer = fields
        self.turns = deque(rounds(fields))
        bench = self.bench
        drained = 0
        early = bench.chance(0.3)  # all PEs have worked off the round before it is drained
        first = bench.chance(0.3)
        bench.cover("begin with the layer's start", first)
        await self.cycle(start=True, begin=first)
        ended = False
        while self.turns:
            begin = (not self.active and not bench.chance(pause)) or (
                self.active and (early or bench.chance(0.1))
            )
            if self.active:
                drained += 1
            elif ended and begin:
                bench.cover("round right after a round")
            ended = await self.cycle(begin=begin)
        await self._flush(flush)
        return drained

    async def _flush(self, flush: bool) -> None:
        self.bench.cover("layer right after a layer", not flush)
        for _ in range(flush * (behind(self.arch) + self.arch.timesteps)):
            await self.cycle()


@test
async def idle(bench: Bench) -> None:
    """After the reset nothing drains; what comes out is no place."""
    for _ in range(20):
        bench.inputs["layer"].handle.value = pack(LAYER, layer(bench, 8, 511))
        out = await bench.cycle(half=0)
        place, read = out.pop("place"), bench.fields("read", out.pop("read"))
        del out["timesteps"], out["carries"]  # of whoever enters, which nobody does
        assert not any(out.values()), out
        assert not place & 1
        assert not read["bias"]
        assert not read["read"]
        assert not read["row"]


@test
async def latency_and_throughput(bench: Bench) -> None:
    """The docstring's numbers, as numbers."""
    made = Rig(bench)
    arch = made.arch
    shape = {"height": 6, "width": 10, "log_tile_height": 2, "log_tile_width": 3, "log_slots": 2}
    shape |= {"slots_last": 3, "passes": 2, "timesteps": 1}
    positions, slots, rounds_ = 60 * (4 + 3), 4 * (4 + 3), 2 * 2 * 2
    for pool in (0, 1):
        for groups in (1, 3):
            for readout, last, images in (
                *((0, 0, 1), (0, 0, 2)),
                *((readout, 1, 1) for readout in (PSUM, 2, 3)),
            ):
                shape |= {"pool": pool, "groups": groups, "log_images": images - 1}
                fields = layer(bench, 8, 1, **shape, last=last, readout=readout)
                expected = 0
                for group in range(groups):
                    carries = group < groups - 1 and readout != PSUM
                    each = cycles(arch, last=bool(last), carries=carries)
                    expected += images * (positions * each + 2 * slots)
                    expected += rounds_ * behind(arch) * carries
                assert await made.run(fields) == expected
    # From the first row that is read, in cycle 3: the bias is read in cycles 1 and 2.
    fields = layer(bench, 8, 1, **shape, last=0, readout=0)
    await bench.reset()
    made.reset()
    await bench.cycle(layer=pack(LAYER, fields), start=1, begin=0)
    bench.check(await bench.cycle(start=0, begin=1), {"drains": 0, "valid": 0})
    carries = fields["groups"] > 1
    each = cycles(arch, last=False, carries=carries)
    carried = latency(arch) + (1 if arch.lif_shared else 2)
    for now in range(1, 2 * arch.timesteps + 8):
        out = await bench.cycle(begin=0)
        assert (out["bias_low"], out["bias_high"]) == (now == 2, now == 3)
        assert out["valid"] == (now >= 4 and (now - 4) % each == 0)
        since = now - 3 - latency(arch)
        assert out["place"] & 1 == (since >= 0 and since % each == 0)
        since = now - 3 - carried
        assert out["carry"] & 1 == (since >= 0 and since % each == 0)


@test
async def long_counts(bench: Bench) -> None:
    """Every bit of the counters: passes, sides, slots, rows."""
    made = Rig(bench)
    one = {"height": 1, "width": 1, "log_tile_height": 0, "log_tile_width": 0, "pool": 0}
    one |= {"groups": 1}
    passes = 0xFFF if bench.transactions > 1000 else 0x801
    many = layer(bench, 6, 1, **one, passes=passes, log_slots=0, slots_last=1)
    assert await made.run(many) == (2 + cycles(made.arch, last=False, carries=False)) * passes
    for groups in (32, 21):
        await made.run(layer(bench, 6, 1, **one | {"groups": groups}, passes=2, log_slots=0))
    for slots_last in (64, 21):
        await made.run(layer(bench, 8, 1, **one, passes=2, log_slots=6, slots_last=slots_last))
    thin = {"passes": 1, "log_slots": 0, "slots_last": 1, "groups": 1}
    for pool in (0, 1):
        shape = thin | {"pool": pool, "log_tile_width": 8, "log_tile_height": pool}
        await made.run(layer(bench, 10, 1, **shape, height=1, width=511 - pool))
        shape = thin | {"pool": pool, "log_tile_height": 8, "log_tile_width": pool}
        await made.run(layer(bench, 10, 1, **shape, width=1, height=511 - pool))
    full = {"log_tile_height": 2, "log_tile_width": 2, "log_slots": 6, "slots_last": 64}
    full |= {"groups": 1}
    await made.run(layer(bench, 10, 1, **full, height=4, width=4, passes=1, pool=0))
    await made.run(layer(bench, 10, 1, **full, height=4, width=4, passes=1, pool=1))


@test
async def little_room(bench: Bench) -> None:
    """A last layer of two images waits wherever the accelerator's output is full."""
    made = Rig(bench)
    made.full = 0.7
    for pool in (0, 1):
        fields = layer(bench, 4, 3, passes=1, pool=pool, last=1, log_images=1, groups=1)
        await made.run(fields, flush=bool(pool))


@test
async def random_layers(bench: Bench) -> None:
    """Layers of all kinds and shapes, with and without pauses between rounds, and layers."""
    made = Rig(bench)
    while made.positions < bench.transactions:
        given = {"last": int(bench.chance(0.25))}
        given["timesteps"] = bench.random.randrange(1, made.arch.timesteps + 1)
        log = bench.random.randrange(2, 7)
        fields = layer(bench, log, bench.random.choice((2, 9, 17)), **given, **batch(bench))
        made.full = bench.random.choice((0.0, 0.0, 0.5, 0.9))
        await made.run(fields, bench.random.choice((0.0, 0.1, 0.6)), bench.chance(0.5))


@test
async def reset(bench: Bench) -> None:
    """A reset in the middle leaves nothing behind."""
    made = Rig(bench)
    shape = {"height": 4, "width": 6, "log_tile_height": 1, "log_tile_width": 2, "log_slots": 1}
    shape |= {"slots_last": 2, "passes": 2, "timesteps": 1, "pool": 1}
    for length in range(1, 60):
        made.layer = layer(bench, 8, 1, **shape, last=length % 2, groups=1 + length % 3)
        made.turns = deque(rounds(made.layer))
        await made.cycle(start=True)
        for _ in range(length):
            await made.cycle(begin=True)
        bench.cover("reset while it drains", made.active)
        await bench.cycle(begin=0)
        await bench.reset()
        made.reset()
        for _ in range(behind(made.arch) + made.arch.timesteps):
            await made.cycle()
        await made.run(layer(bench, 4, 5, passes=1))
