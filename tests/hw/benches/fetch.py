"""Bench of Fetch: its reads of a table and what it makes of them, in every cycle.

`Model` is of use to the sequencer's bench, too.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import cocotb
from amaranth.lib import wiring

from evenspike_core.arch import Arch
from evenspike_hw.rtl.descriptor import CHUNK, LAYER, LAYER_WORDS
from evenspike_hw.rtl.fetch import Fetch
from evenspike_hw.rtl.layouts import WORD_BITS
from tests.hw.benches.common import Bench, start

ARCH = Arch(pes=4, table_words=1 << 16)
VARIANTS = {"small-table": Arch(pes=4, table_words=100)}
CORNERS = (
    "chunk while no descriptor is fetched",
    "chunk goes before a word of the descriptor",
    "chunk read with the descriptor",
    "chunks in three cycles in a row",
    "read again while it fetches",
    "read in the cycle of a word's arrival",
    "read as soon as it is valid",
    "chunk arrives as the descriptor becomes valid",
    "reset while it fetches",
)
WORDS = -(-LAYER.size // WORD_BITS)
CHUNK_MASK = (1 << CHUNK.size) - 1


def component(arch: Arch) -> wiring.Component:
    return Fetch(arch)


class Model:
    """A list of words still to be read, and of those that have arrived.

    size: of the table's addresses.
    """

    def __init__(self, arch: Arch) -> None:
        self.mask = (1 << (arch.table_words - 1).bit_length()) - 1
        self.number = 0
        self.left = 0  # words of the descriptor that are not read
        self.words = [0] * WORDS
        self.chunk = 0
        self.asks: tuple[str, int] | None = None  # what is read in this cycle, and its address
        self.asked: str | None = None  # what was read in the cycle before

    @property
    def valid(self) -> bool:
        return len(self.words) == WORDS

    def layer(self) -> int:
        """The descriptor, while valid."""
        bits = sum(word << WORD_BITS * n for n, word in enumerate(self.words))
        return bits & (1 << LAYER.size) - 1

    def outputs(self, chunk_address: int | None) -> dict[str, Any]:
        """chunk_address: of the chunk that is to be read in this cycle, if any."""
        self.asks = None
        if chunk_address is not None:
            self.asks = "chunk", chunk_address & self.mask
        elif self.left:
            at = self.number * LAYER_WORDS + WORDS - self.left
            self.asks = "layer", at & self.mask
        expected = {"valid": int(self.valid), "chunk": self.chunk}
        if self.valid:
            expected["layer"] = self.layer()
        return expected

    def step(self, table: int, read: int | None) -> None:
        """From this cycle to the next. table: the data that have come. read: a new descriptor."""
        if self.asked == "layer":
            self.words.append(table)
        if self.asked == "chunk":
            self.chunk = table & CHUNK_MASK
        self.asked = self.asks[0] if self.asks is not None else None
        if self.asked == "layer":
            self.left -= 1
        if read is not None:
            self.number, self.left, self.words = read, WORDS, []
            if self.asked == "layer":
                self.asked = None


class Rig:
    """The fetch with a table of random words."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.table: dict[int, int] = defaultdict(lambda: bench.bits(64))
        self.reset()

    def reset(self) -> None:
        self.model = Model(self.bench.arch)
        self.data: int | None = None
        self.row = 0  # chunks in a row
        self.reads = 0

    async def cycle(self, read: int | None = None, chunk: int | None = None) -> None:
        bench, model = self.bench, self.model
        # A table that gives its data in the one cycle in which they count.
        table = bench.bits(64) if self.data is None else self.data
        address = {} if chunk is None else {"chunk_address": chunk}
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
        model = self.model
        self.row = self.row + 1 if chunk is not None else 0
        last = model.asked == "chunk" and model.valid and not model.left
        met = {
            "chunk while no descriptor is fetched": chunk is not None and model.valid,
            "chunk goes before a word of the descriptor": chunk is not None and model.left,
            "chunk read with the descriptor": chunk is not None and read is not None,
            "chunks in three cycles in a row": self.row == 3,
            "read again while it fetches": read is not None and model.left,
            "read in the cycle of a word's arrival": read is not None and model.asked == "layer",
            "read as soon as it is valid": read is not None and model.valid,
            "chunk arrives as the descriptor becomes valid": last,
        }
        for corner, hit in met.items():
            if hit:
                self.bench.cover(corner)


@cocotb.test()
async def latency(dut: Any) -> None:
    """The docstring's numbers, as numbers: WORDS + 2 cycles, one more a chunk, two of a chunk."""
    bench = await start(dut)
    for chunks in ([], [1], [2, 3, 4], [8], [0, 12], [9]):
        out = await bench.cycle(read=1, number=3, chunk_read=int(0 in chunks), chunk_address=5)
        came = None
        for now in range(1, 20):
            chunk = now in chunks
            out = await bench.cycle(read=0, chunk_read=int(chunk), table=now)
            if out["valid"] and came is None:
                came = now
            if now - 2 in chunks:
                assert out["chunk"] == now - 1, "what the table gave in the cycle before"
        late = sum(1 <= now <= WORDS for now in chunks)
        late += chunks == [9] and WORDS >= 9
        assert came == WORDS + 2 + late, (chunks, came)


@cocotb.test()
async def every_number(dut: Any) -> None:
    """Every layer and every bit of a chunk's address; nothing happens between."""
    made = Rig(await start(dut))
    assert (await made.bench.cycle())["table_read"] & 1 == 0, "after the reset"
    for number in range(256):
        await made.cycle(read=number)
        for _ in range(WORDS + 3):
            await made.cycle()
        await made.cycle(chunk=made.bench.bits(16))
    for value in (0, (1 << 64) - 1, 0x5555555555555555, 0xAAAAAAAAAAAAAAAA, 0):
        made.table.clear()
        for at in range(1 << 16):
            made.table[at] = value
        await made.cycle(read=7, chunk=9)
        for _ in range(WORDS + 5):
            await made.cycle()
    made.table.clear()


@cocotb.test()
async def random_traffic(dut: Any) -> None:
    """Reads at any time, and chunks as often as every cycle."""
    made = Rig(await start(dut))
    bench = made.bench
    while made.reads < bench.transactions:
        often, busy = bench.random.choice((0.01, 0.1, 0.3)), bench.random.choice((0.0, 0.2, 0.7))
        for _ in range(200):
            read = bench.bits(8) if bench.chance(often) else None
            if bench.chance(0.2) and made.model.valid:
                read = bench.bits(8)
            chunk = bench.bits(16) if bench.chance(busy) else None
            await made.cycle(read, chunk)


@cocotb.test()
async def reset(dut: Any) -> None:
    """A reset in the middle leaves nothing behind."""
    made = Rig(await start(dut))
    bench = made.bench
    for length in range(WORDS + 4):
        await made.cycle(read=bench.bits(8), chunk=bench.bits(16))
        for _ in range(length):
            await made.cycle(chunk=bench.bits(16) if bench.chance(0.1) else None)
        if made.model.left:
            bench.cover("reset while it fetches")
        await bench.cycle(read=0, chunk_read=0)
        await bench.reset()
        made.reset()
        for _ in range(WORDS + 4):
            await made.cycle()
