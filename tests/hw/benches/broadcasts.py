"""Bench of Broadcasts: starts, works and fetches in every cycle against unrolled lists of works."""

from __future__ import annotations

import itertools
from typing import Any

from evenspike_core.arch import Arch
from evenspike_hw.rtl.broadcasts import Broadcasts
from evenspike_hw.rtl.descriptor import CHUNK, LAYER
from evenspike_hw.rtl.faults import Fault
from tests.helpers.driver import Bench, pack, test
from tests.helpers.layers import ENTRIES, Layer, batch, good_chunk, layer
from tests.helpers.sequencing import ADDRESSES, BroadcastModel

component = Broadcasts
ARCH = Arch(pes=4)
VARIANTS = {"kernels-of-3": Arch(pes=8, chunk_blocks=2, kernel_max=3)}


BAD: tuple[tuple[Fault, dict[str, int]], ...] = (
    *((Fault.SLOTS, {"log_slots": 1 << bit}) for bit in range(3)),
    *((Fault.KERNEL, {"kernel": code}) for code in range(4)),
    *((Fault.LEAD, {"lead": lane}) for lane in (*range(9), 16, 32, 63)),
    *((Fault.BIASES, {"biases": bit}) for bit in range(2)),
    *((Fault.BLOCKS, {"blocks": n}) for n in (0, *(1 << bit for bit in range(9)))),
    *((Fault.BLOCKS, {"blocks": n}) for n in (2, 3, 31, 32, 33, 511)),
)
"""Fields of a chunk, and what their values are in one chunk or the other."""
CORNERS = tuple(f"fault: {fault.name}" for fault in sorted({fault for fault, _ in BAD}))


def chunks_of(bench: Bench, fields: Layer) -> list[dict[str, Any]]:
    return [good_chunk(bench, fields, number) for number in range(fields["chunks"])]


class Rig:
    """What is around: chunks are loaded, markers broadcast, rounds drained, each when it may.

    Chances in each cycle: of a load, a marker, the end of a round, and that nothing is enabled.
    """

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.reset()
        self.load, self.mark, self.drain, self.disable = 1.0, 1.0, 1.0, 0.0

    def reset(self) -> None:
        self.model = BroadcastModel(self.bench.arch)
        self.loaded = self.drained = 0
        self.marked = 0  # rounds that have their last marker
        self.started = 0
        self.before = -10  # cycle of the last start
        self.ends = False  # the broadcast under way ends its round

    def styles(self) -> None:
        """Another mixture of delays."""
        choose = self.bench.random.choice
        self.load, self.mark, self.drain = (choose((0.05, 0.3, 1.0)) for _ in range(3))
        self.disable = choose((0.0, 0.0, 0.2))

    async def cycle(self, enable: bool = False, switched: bool = False) -> bool:
        """One cycle; whether a broadcast starts in the next."""
        bench, model = self.bench, self.model
        marker = model.broadcasting and bench.chance(self.mark)
        # A round ends when its last marker was broadcast.
        ends = bench.chance(self.drain) and self.drained < self.marked
        chunk = bench.random.getrandbits(CHUNK.size)
        if model.next is not None and model.fetched:
            chunk = pack(CHUNK, model.chunks[model.next.chunk])
        drive: dict[str, Any] = {
            "switched": int(switched),
            "enable": int(enable),
            "loaded": self.loaded % 4,
            "drained": self.drained % 4,
            "ends_round": int(ends),
            "marker": int(marker),
            "chunk": chunk,
        }
        if switched:
            drive["layer"] = pack(LAYER, model.layer)
        waits = ["end"]
        if model.next is not None:
            waits = model.blocked(self.loaded, self.drained, ends, marker)
        starts = enable and not waits
        expected = model.outputs() | {"start": int(starts)}
        bench.check(await bench.cycle(**drive), expected)
        if model.fault:
            bench.cover(f"fault: {model.fault.name}")
        self._corners(enable, waits, marker, ends)
        if marker and self.ends:
            self.marked += 1
        if starts and model.next is not None:
            self.ends = model.next.ends_round
            self.started += 1
            self.before = model.now
        if bench.chance(self.load) and self.loaded < model.loads + 2:
            self.loaded += 1
        if ends:
            self.drained += 1
        model.step(starts, marker, switched)
        return starts

    def _corners(self, enable: bool, waits: list[str], marker: bool, ends: bool) -> None:
        cover = self.bench.cover
        model, work = self.model, self.model.next
        cover("host layer", model.layer.get("host"))
        cover("layer ends, more is loaded", work is None and enable and self.loaded > model.loads)
        cover("held back by enable", not enable and not waits)
        cover("two chunks loaded", self.loaded == model.loads + 2)
        if enable:
            cover("waits for the chunk's fetch", waits == ["fetch"])
            cover("waits for loaded", waits == ["loaded"])
            cover("waits for the marker", waits == ["marker"])
            cover("waits for a drain", waits == ["drain"])
        if enable and not waits and work is not None:
            several = model.layer["chunks"] > 1
            ahead = model.rounds - self.drained
            cover("starts in the cycle of the marker", marker)
            cover("starts in the cycle in which a round ends", ends and ahead == 2)
            cover("starts four cycles after a start", self.before == model.now - 4)
            cover("another image starts a cycle after", self.before == model.now - 1)
            cover("two rounds ahead", ahead == 1 and work.ends_round)
            cover("single chunk stays for a round", not several and not work.frees)
            cover("single chunk is given up", not several and work.frees)
            cover("several chunks, several tiles", several and not work.turn.first_tile)
            cover("several chunks, several groups", several and work.turn.offset)
            cover("entry wraps", model.chunks[work.chunk]["entry"] + work.turn.offset > ENTRIES)
            cover("another image of the chunk", work.turn.first_row)
            cover("half 1", (model.layer_loads + work.load) % 2)
            cover("more than 2048 chunks", work.chunk > 2048)
            cover("chunk addresses wrap", model.layer["chunk_base"] + 2 * work.chunk > ADDRESSES)

    async def run(
        self, fields: Layer, gap: int = 3, chunks: list[dict[str, Any]] | None = None
    ) -> None:
        """A layer from the cycle in which it is switched to its last drain."""
        bench, model = self.bench, self.model
        model.begin(fields, chunks_of(bench, fields) if chunks is None else chunks)
        await self.cycle(switched=True)
        for _ in range(gap):
            await self.cycle()
        if fields["host"]:
            return
        while model.next is not None or self.drained < model.rounds:
            await self.cycle(enable=not bench.chance(self.disable))
        for _ in range(bench.random.randrange(8)):
            await self.cycle(enable=True)

    def layer(self, **given: Any) -> Layer:
        """A layer of few rounds."""
        bench = self.bench
        chunks = bench.random.choice((1, 1, 2, 3, 7))
        base = bench.random.choice((ADDRESSES - 1, bench.bits(16)))
        given = {"chunks": chunks, "chunk_base": base, **batch(bench)} | given
        fields = layer(bench, 6, bench.random.choice((1, 6, 14)), **given)
        fields["log_tile_height"] += 1  # fewer tiles; the number of neurons does not count here
        return fields


@test
async def idle(bench: Bench) -> None:
    """After the reset nothing is read or started."""
    made = Rig(bench)
    made.load = 0.1
    for _ in range(20):
        await made.cycle(enable=True)


@test
async def latency(bench: Bench) -> None:
    """A start in the cycle in which the last of its conditions is met, a read in the one after."""
    shape = {"height": 4, "width": 4, "pool": 0, "groups": 1}
    fields = layer(bench, 4, 1, chunks=2, chunk_base=77, passes=1, **shape)
    fields |= {"log_tile_height": 0, "log_tile_width": 2}
    bits = pack(LAYER, fields)
    out = await bench.cycle(layer=bits, switched=1, enable=1, loaded=2, chunk=0)
    assert not out["chunk_read"]
    log = []
    for now in range(1, 60):
        drive = {"marker": int(now in {20, 30, 45}), "ends_round": int(now == 50)}
        loaded = 3 if now >= 25 else 2 if now < 40 else 0
        loaded = loaded if now < 40 else 0
        out = await bench.cycle(switched=0, loaded=loaded, **drive)
        if out["chunk_read"]:
            log.append(("read", now, out["chunk_address"]))
        if out["start"]:
            log.append(("start", now, 0))
    assert log == [
        ("read", 1, 77),
        ("start", 4, 0),
        ("read", 5, 79),
        ("start", 20, 0),
        ("read", 21, 77),
        ("start", 30, 0),
        ("read", 31, 79),
        ("start", 45, 0),
        ("read", 46, 77),
    ], log
    # The third round waits for the first, loaded and marked as it is.
    out = await bench.cycle(drained=0, marker=1, loaded=1)
    assert not out["start"]
    assert not (await bench.cycle(marker=0))["start"]
    assert (await bench.cycle(ends_round=1))["start"]


@test
async def long_counts(bench: Bench) -> None:
    """Every bit of the number of chunks, of passes and of a map's sides."""
    made = Rig(bench)
    one = {"height": 1, "width": 1, "log_tile_height": 0, "log_tile_width": 0, "pool": 0}
    for chunks, base in ((0xAAB, 0xFC00), (0x556, 0x5555), (0x1, 0xAAAA)):
        fields = layer(bench, 4, 1, **one, chunks=chunks, chunk_base=base, passes=1, groups=1)
        await made.run(fields)
    for passes in (0xAAB, 0x555):
        fields = layer(bench, 4, 1, **one, chunks=1, chunk_base=1, passes=passes, groups=1)
        await made.run(fields)
    for groups in (32, 21):
        fields = layer(bench, 4, 1, **one, chunks=2, chunk_base=1, passes=2, groups=groups)
        await made.run(fields)
    for side in ("height", "width"):
        for log in (8, 5):
            fields = layer(bench, 4, 1, passes=1, chunks=1, chunk_base=1, pool=0, groups=1)
            fields |= {"height": 1, "width": 1, side: 511, f"log_tile_{side}": log}
            await made.run(fields)


@test
async def random_layers(bench: Bench) -> None:
    """Layers one after another; what is loaded ahead and the parities go on through all of them."""
    made = Rig(bench)
    while made.started < bench.transactions:
        made.styles()
        if bench.chance(0.15):
            await made.run(made.layer(host=1, chunks=bench.random.randrange(3)), 12)
        else:
            await made.run(made.layer(), bench.random.randrange(6))


@test
async def faulty_chunks(bench: Bench) -> None:
    """Each bit of each fault, alone, and in a chunk with several; and what is just none."""
    made = Rig(bench)
    for _, change in BAD:
        for number in range(2):
            fields = made.layer(chunks=2, passes=1, host=0)
            chunks = chunks_of(bench, fields)
            chunks[number] |= change
            await made.run(fields, 8, chunks)
    # Of two the first counts, whichever they are.
    wrong: dict[Fault, tuple[str, int]] = {
        Fault.SLOTS: ("log_slots", -1),
        Fault.KERNEL: ("kernel", 1),
        Fault.LEAD: ("lead", bench.arch.pes),
        Fault.BIASES: ("biases", -1),
        Fault.BLOCKS: ("blocks", 0),
    }
    for both in itertools.combinations(wrong, 2):
        fields = made.layer(chunks=2, passes=1, host=0, kernels=1)
        chunks = chunks_of(bench, fields)
        for name, value in map(wrong.__getitem__, both):
            chunks[0][name] = value if value >= 0 else chunks[0][name] ^ 1
        await made.run(fields, 8, chunks)
    while made.started < bench.transactions // 10:
        fields = made.layer(host=0)
        chunks = chunks_of(bench, fields)
        bench.random.choice(chunks).update(bench.random.choice(BAD)[1])
        bench.random.choice(chunks).update(bench.random.choice(BAD)[1])
        await made.run(fields, bench.random.randrange(6), chunks)


@test
async def reset(bench: Bench) -> None:
    """A reset in the middle leaves nothing behind."""
    made = Rig(bench)
    for length in range(1, 30):
        made.styles()
        made.load = 1.0
        fields = made.layer(chunks=1 + length % 3, passes=3, host=0)
        made.model.begin(fields, chunks_of(bench, fields))
        await made.cycle(switched=True)
        for _ in range(length):
            await made.cycle(enable=True)
        bench.cover("reset in a broadcast", made.model.broadcasting)
        await bench.cycle(switched=0, marker=0, ends_round=0, enable=0, loaded=0, drained=0)
        await bench.reset()
        made.reset()
        for _ in range(4):
            await made.cycle(enable=True)
        await made.run(made.layer())
