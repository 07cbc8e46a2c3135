"""Bench of Drain: reads, places and ends in every cycle against the walk of nested loops."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from evenspike_core.arch import Arch
from evenspike_hw.rtl.descriptor import LAYER
from evenspike_hw.rtl.drain import Drain
from tests.helpers.driver import Bench, pack, test
from tests.helpers.layers import ENTRIES, Layer, Round, layer, rounds

component = Drain
ARCH = Arch(pes=4, timesteps=4, accumulators=1024)
VARIANTS = {
    "one-pe": Arch(pes=1, timesteps=1, accumulators=1024),
    "many-pes": Arch(pes=16, timesteps=8, accumulators=1024),
}


@dataclass(frozen=True)
class Step:
    """A drain cycle. bias: which half of the slot's biases is read. place: fields of `Drain.place`,
    None if it is no position's first cycle.
    """

    slot: int
    bias: int | None = None
    row: int = 0
    place: dict[str, int] | None = None


def steps(arch: Arch, layer: Layer, turn: Round) -> Iterator[Step]:
    """The drain cycles of a round; of the host layer without biases."""
    side = 2 if layer["pool"] else 1
    area = 1 << layer["log_tile_height"] + layer["log_tile_width"]
    beats = arch.logit_words if layer["last"] else 1
    for slot in range(turn.slots):
        if not layer["host"]:
            yield Step(slot, 0)
            yield Step(slot, 1)
        for window in range(turn.height // side * (turn.width // side)):
            y, x = divmod(window, turn.width // side)
            entry = turn.entry + slot * layer["block_stride"] + y * layer["row_stride"]
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
                yield Step(slot, None, slot * area + row + inner % side, place)
                for _ in range(beats - 1):
                    yield Step(slot)


class Rig:
    """The drain, and beside it the list of the drain cycles that are to come in this round."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.arch = bench.arch
        self.reset()

    def reset(self) -> None:
        self.layer: Layer = {}
        self.turns: deque[Round] = deque()
        self.left: deque[Step] = deque()  # of the round that is drained, or of the host layer's
        self.active = False
        self.before: Step | None = None
        self.flight: deque[Step | None] = deque([None] * (self.arch.timesteps + 2))
        self.last_layer: deque[bool] = deque([False] * (self.arch.timesteps + 2))
        self.positions = 0

    async def cycle(self, start: bool = False, begin: bool = False, block: bool = False) -> bool:
        """One cycle; whether it ended the round."""
        bench = self.bench
        half = bench.random.getrandbits(1)
        drive: dict[str, Any] = {"start": int(start), "begin": int(begin), "half": half}
        drive["block"] = int(block)
        if start:
            drive["layer"] = pack(LAYER, self.layer)
        out = await bench.cycle(**drive)
        drains = self.active or block
        step = self.left.popleft() if drains else None
        ends = drains and not self.left
        turn = self.turns[0] if drains else None
        bench.check(
            out,
            {
                "drains": int(drains),
                "ends_round": int(ends),
                "ends_pass": int(bool(ends and turn and turn.last)),
                "ends_layer": int(bool(ends and turn and turn.ends_layer)),
                "valid": int(self.before is not None and self.before.place is not None),
                "bias_low": int(self.before is not None and self.before.bias == 0),
                "bias_high": int(self.before is not None and self.before.bias == 1),
            },
        )
        self._check_read(bench.fields("read", out["read"]), step, half, block)
        self._check_place(out)
        self.before = step
        self.flight.append(step)
        self.last_layer.append(bool(self.layer.get("last")))
        self.flight.popleft()
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
            if block and self.turns:
                self.open()
        return ends

    def open(self) -> None:
        """The round that is drained next."""
        self.left = deque(steps(self.arch, self.layer, self.turns[0]))
        self._corners(self.turns[0])

    def _check_read(self, read: dict[str, int], step: Step | None, half: int, block: bool) -> None:
        found = f"cycle {self.bench.now - 1}: read is {read}, expected {step}"
        assert read["half"] == half, found
        biases = step is not None and step.bias is not None
        rows = step is not None and step.place is not None and not block
        assert read["bias"] == biases, found
        assert read["read"] == rows, found
        if step is not None and biases:
            assert (read["slot"], read["high"]) == (step.slot, step.bias), found
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
        cover("host layer", layer["host"])
        cover("host layer with a pool", layer["host"] and pool)
        cover("last layer", layer["last"])
        cover("last layer of many positions", layer["last"] and len(entries) > 8)
        cover("entry wraps", min(entries) < layer["spike_base"])

    # What happens to a drain.

    async def run(self, fields: Layer, pause: float = 0.0, flush: bool = True) -> int:
        """A layer from its start to its last drain cycle; returns the drain cycles."""
        self.layer = fields
        self.turns = deque(rounds(fields))
        return await (self._host(pause, flush) if fields["host"] else self._rounds(pause, flush))

    async def _rounds(self, pause: float, flush: bool) -> int:
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

    async def _host(self, pause: float, flush: bool) -> int:
        bench = self.bench
        await self.cycle(start=True)
        self.open()
        drained, before = 0, False
        while self.turns:
            block = not bench.chance(pause)
            bench.cover("host blocks in two cycles in a row", block and before)
            before = block
            drained += block
            await self.cycle(block=block)
        await self._flush(flush)
        return drained

    async def _flush(self, flush: bool) -> None:
        self.bench.cover("layer right after a layer", not flush)
        for _ in range(flush * (self.arch.timesteps + 4)):
            await self.cycle()


@test
async def idle(bench: Bench) -> None:
    """After the reset nothing drains; what comes out is no place."""
    for _ in range(20):
        bench.inputs["layer"].handle.value = pack(LAYER, layer(bench, 8, 511))
        out = await bench.cycle(half=0)
        place, read = out.pop("place"), bench.fields("read", out.pop("read"))
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
    positions, slots = 60 * (4 + 3), 4 * (4 + 3)
    for pool in (0, 1):
        plain = layer(bench, 8, 1, **shape, pool=pool)
        assert await made.run(plain) == positions + 2 * slots
        last = layer(bench, 8, 1, **shape, pool=pool, last=1)
        assert await made.run(last) == positions * arch.logit_words + 2 * slots
        host = layer(bench, 8, 1, **shape, pool=pool, host=1)
        assert await made.run(host) == positions
    # From a host's block in cycle 0 and from the first row that is read.
    for fields in (host, last):
        await bench.reset()
        made.reset()
        await bench.cycle(layer=pack(LAYER, fields), start=1, block=0, begin=0)
        drive = {"block": 1} if fields["host"] else {"begin": 1}
        out = await bench.cycle(start=0, **drive)
        bench.check(out, {"drains": fields["host"], "valid": 0})
        for now in range(1, arch.timesteps + 5):
            out = await bench.cycle(block=0, begin=0)
            if fields["host"]:
                assert out["valid"] == (now == 1)
                assert out["place"] & 1 == (now == arch.timesteps + 2)
            else:
                # Bias reads in cycles 1 and 2, the first row in cycle 3.
                assert (out["bias_low"], out["bias_high"]) == (now == 2, now == 3)
                assert bool(out["valid"]) == (now >= 4 and (now - 4) % arch.logit_words == 0)


@test
async def long_counts(bench: Bench) -> None:
    """Every bit of the counters: passes, sides, slots, rows."""
    made = Rig(bench)
    one = {"height": 1, "width": 1, "log_tile_height": 0, "log_tile_width": 0, "pool": 0}
    passes = 0xFFF if bench.transactions > 1000 else 0x801
    host = layer(bench, 6, 1, **one, passes=passes, host=1, log_slots=0, slots_last=1)
    assert await made.run(host) == passes
    for slots_last in (64, 21):
        await made.run(layer(bench, 8, 1, **one, passes=2, log_slots=6, slots_last=slots_last))
    thin = {"passes": 1, "log_slots": 0, "slots_last": 1}
    for pool in (0, 1):
        shape = thin | {"pool": pool, "log_tile_width": 8, "log_tile_height": pool}
        await made.run(layer(bench, 10, 1, **shape, height=1, width=511 - pool))
        shape = thin | {"pool": pool, "log_tile_height": 8, "log_tile_width": pool}
        await made.run(layer(bench, 10, 1, **shape, width=1, height=511 - pool))
    full = {"log_tile_height": 2, "log_tile_width": 2, "log_slots": 6, "slots_last": 64}
    await made.run(layer(bench, 10, 1, **full, height=4, width=4, passes=1, pool=0))
    await made.run(layer(bench, 10, 1, **full, height=4, width=4, passes=1, pool=1))


@test
async def random_layers(bench: Bench) -> None:
    """Layers of all kinds and shapes, with and without pauses between rounds, and layers."""
    made = Rig(bench)
    while made.positions < bench.transactions:
        kind = bench.random.choice(("plain", "plain", "plain", "host", "last"))
        given = {} if kind == "plain" else {kind: 1}
        log = bench.random.randrange(2, 7)
        fields = layer(bench, log, bench.random.choice((2, 9, 17)), **given)
        await made.run(fields, bench.random.choice((0.0, 0.1, 0.6)), bench.chance(0.5))


@test
async def reset(bench: Bench) -> None:
    """A reset in the middle leaves nothing behind."""
    made = Rig(bench)
    shape = {"height": 4, "width": 6, "log_tile_height": 1, "log_tile_width": 2, "log_slots": 1}
    shape |= {"slots_last": 2, "passes": 2, "timesteps": 1, "pool": 1}
    for length in range(1, 60):
        made.layer = layer(bench, 8, 1, **shape, last=length % 2)
        made.turns = deque(rounds(made.layer))
        await made.cycle(start=True)
        for _ in range(length):
            await made.cycle(begin=True)
        bench.cover("reset while it drains", made.active)
        await bench.cycle(begin=0)
        await bench.reset()
        made.reset()
        for _ in range(made.arch.timesteps + 4):
            await made.cycle()
        await made.run(layer(bench, 4, 5, passes=1))
