"""Bench of Fetch: its reads of a table and what it makes of them, in every cycle."""

from __future__ import annotations

from collections import defaultdict

from evenspike_core.arch import Arch
from evenspike_hw.rtl.fetch import Fetch
from tests.helpers.driver import Bench, test
from tests.helpers.sequencing import CHUNK_MASK, WORDS, FetchModel

component = Fetch
ARCH = Arch(pes=4, table_words=1 << 16)
VARIANTS = {"small-table": Arch(pes=4, table_words=100)}


class Rig:
    """The fetch with a table of random words."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.table: dict[int, int] = defaultdict(lambda: bench.bits(64))
        self.reset()

    def reset(self) -> None:
        self.model = FetchModel(self.bench.arch)
        self.data: int | None = None
        self.row = 0  # chunks in a row
        self.reads = 0

    async def cycle(self, read: int | None = None, chunk: int | None = None) -> None:
        bench, model = self.bench, self.model
        # A table that gives its data in the one cycle in which they count.
        table = bench.bits(64) if self.data is None else self.data
        address = {}
        if chunk is not None:
            address["chunk_address"] = chunk
        elif model.second is None:  # (else it stays)
            address["chunk_address"] = bench.bits(16)
        number = bench.bits(8) if read is None else read
        expected = model.outputs(chunk)
        out = await bench.cycle(
            read=int(read is not None),
            number=number,
            chunk_read=int(chunk is not None),
            table=table,
            **address,
        )
        enable, at = out["table_read"] & 1, out["table_read"] >> 1
        found = f"cycle {bench.now - 1}: reads {at} ({enable}), expected {model.asks}"
        assert enable == (model.asks is not None), found
        self.data = None
        if model.asks is not None:
            assert at == model.asks[1], found
            self.data = self.table[at]
            self.reads += 1
        bench.check(out, expected)
        self._corners(read, chunk)
        model.step(table, read)

    def _corners(self, read: int | None, chunk: int | None) -> None:
        cover = self.bench.cover
        model = self.model
        reads = model.asks is not None and model.asks[0] == "chunk"
        self.row = self.row + 1 if reads else 0
        last = model.asked == "chunk" and model.valid and not model.left
        cover("chunk while no descriptor is fetched", chunk is not None and model.valid)
        cover("chunk goes before a word of the descriptor", chunk is not None and model.left)
        cover("chunk read with the descriptor", chunk is not None and read is not None)
        cover("read between the words of a chunk", model.second is not None and read is not None)
        cover("chunks in five cycles in a row", self.row == 5)
        cover(
            "second word has another address bit",
            model.asks and chunk is not None and chunk % 4 == 3,
        )
        cover("read again while it fetches", read is not None and model.left)
        cover("read in the cycle of a word's arrival", read is not None and model.asked == "layer")
        cover("read as soon as it is valid", read is not None and model.valid)
        cover("chunk arrives as the descriptor becomes valid", last)


@test
async def latency(bench: Bench) -> None:
    """The docstring's numbers, as numbers: WORDS + 2 cycles, two more a chunk, three of a chunk."""
    for chunks in ([], [1], [2, 4], [8], [0, 12], [5]):
        out = await bench.cycle(read=1, number=3, chunk_read=int(0 in chunks), chunk_address=5)
        came = None
        for now in range(1, 20):
            chunk = now in chunks
            out = await bench.cycle(read=0, chunk_read=int(chunk), table=now)
            if out["valid"] and came is None:
                came = now
            if now - 3 in chunks:
                # What the table gave in the two cycles before.
                assert out["chunk"] == ((now - 2) | (now - 1) << 64) & CHUNK_MASK
        # Of a chunk with the descriptor only the second word comes in between.
        late = 2 * sum(1 <= now <= WORDS for now in chunks) + (0 in chunks)
        assert came == WORDS + 2 + late, (chunks, came)


@test
async def every_number(bench: Bench) -> None:
    """Every layer and every bit of a chunk's address; nothing happens between."""
    made = Rig(bench)
    assert (await bench.cycle())["table_read"] & 1 == 0, "after the reset"
    for number in range(256):
        await made.cycle(read=number)
        for _ in range(WORDS + 3):
            await made.cycle()
        await made.cycle(chunk=bench.bits(16))
        await made.cycle()
    for value in (0, (1 << 64) - 1, 0x5555555555555555, 0xAAAAAAAAAAAAAAAA, 0):
        made.table.clear()
        for at in range(1 << 16):
            made.table[at] = value
        await made.cycle(read=7, chunk=9)
        for _ in range(WORDS + 5):
            await made.cycle()
    made.table.clear()


@test
async def random_traffic(bench: Bench) -> None:
    """Reads at any time, and chunks as often as every other cycle."""
    made = Rig(bench)
    while made.reads < bench.transactions:
        often, busy = bench.random.choice((0.01, 0.1, 0.3)), bench.random.choice((0.0, 0.2, 0.7))
        for _ in range(200):
            read = bench.bits(8) if bench.chance(often) else None
            if bench.chance(0.2) and made.model.valid:
                read = bench.bits(8)
            chunk = bench.bits(16) if bench.chance(busy) else None
            await made.cycle(read, chunk if made.model.second is None else None)


@test
async def reset(bench: Bench) -> None:
    """A reset in the middle leaves nothing behind."""
    made = Rig(bench)
    for length in range(WORDS + 4):
        await made.cycle(read=bench.bits(8), chunk=bench.bits(16))
        for _ in range(length):
            reads = bench.chance(0.1) and made.model.second is None
            await made.cycle(chunk=bench.bits(16) if reads else None)
        bench.cover("reset while it fetches", made.model.left)
        await bench.cycle(read=0, chunk_read=0)
        await bench.reset()
        made.reset()
        for _ in range(WORDS + 4):
            await made.cycle()
