"""Bench of TableMemory: one write and three reads a cycle against a list of words."""

from __future__ import annotations

from typing import Any

from evenspike_core.arch import Arch
from evenspike_hw.rtl.table import TableMemory, readers
from tests.helpers.driver import Bench, test

component = TableMemory
ARCH = Arch(pes=4, table_words=100)  # no power of two
VARIANTS = {
    "power-of-two": Arch(pes=4, table_words=64),
    "clusters": Arch(pes=4, table_words=64, clusters=4),
}


class Model:
    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.size = bench.arch.table_words
        self.words = [0] * self.size
        self.readers = readers(bench.arch)
        self.out: dict[str, int | None] = dict.fromkeys(self.readers, 0)
        self.held: dict[str, int] = {}  # address of what is on the output
        self.written: int | None = None  # in the cycle before
        self.seen: set[tuple[str, int]] = set()

    async def cycle(self, write: tuple[int, int] | None = None, **reads: int) -> None:
        """write: address and data. reads: an address for each reader that reads."""
        bench = self.bench
        noise = bench.random.getrandbits  # what counts with its enable only
        width = bench.inputs["write"].width
        drive: dict[str, Any] = {"write": noise(width) & ~1}
        if write is not None:
            drive["write"] = {"enable": 1, "address": write[0], "data": write[1]}
        for reader in self.readers:
            name = f"{reader}_read"
            drive[name] = noise(bench.inputs[name].width) & ~1
            if reader in reads:
                drive[name] = {"enable": 1, "address": reads[reader]}
        found = await bench.cycle(**drive)
        bench.check(found, {name: word for name, word in self.out.items() if word is not None})
        self._corners(write, reads)
        # What is read in the cycle of its write is not defined.
        for reader, address in reads.items():
            self.out[reader] = self.words[address]
            if write is not None and write[0] == address:
                self.out[reader] = None
            self.held[reader] = address
            self.seen.add((reader, address))
        self.written = None
        if write is not None:
            self.words[write[0]] = write[1]
            self.written = write[0]
            self.seen.add(("write", write[0]))

    def _corners(self, write: tuple[int, int] | None, reads: dict[str, int]) -> None:
        cover = self.bench.cover
        at = None if write is None else write[0]
        held = [address for reader, address in self.held.items() if reader not in reads]
        ends = {(name, end) for name in (*self.readers, "write") for end in (0, self.size - 1)}
        cover("first and last word", ends <= self.seen)
        cover("read in the cycle of its write", at in reads.values())
        cover("read in the cycle after its write", self.written in reads.values())
        cover("held while it is overwritten", at is not None and at in held)
        every = len(reads) == len(self.readers)
        cover("all read, and a write at once", at is not None and every)
        cover("all read the same word", every and len(set(reads.values())) == 1)
        cover("no read, no write", at is None and not reads)

    async def all_read(self, address: int) -> None:
        """Each reader reads a word of its own."""
        await self.cycle(
            None,
            **{reader: (address + 33 * n) % self.size for n, reader in enumerate(self.readers)},
        )


async def begin(bench: Bench) -> Model:
    """All words and outputs 0. The memory is read in the reset, since its output is undefined
    before the first read; what it holds is from the test before.
    """
    await bench.reset(**dict.fromkeys((f"{reader}_read" for reader in readers(bench.arch)), 1))
    model = Model(bench)
    for address in range(model.size):
        await bench.cycle(write={"enable": 1, "address": address})
    await bench.cycle(
        write=0, **{f"{reader}_read": {"enable": 1} for reader in readers(bench.arch)}
    )
    return model


@test
async def every_word(bench: Bench) -> None:
    """Every word takes ones and zeros, and has a cell of its own; the data come a cycle later."""
    model = await begin(bench)
    ones = (1 << 64) - 1
    for value in (ones, 0, ones // 3, ones // 3 * 2):
        for address in range(model.size):
            await model.cycle((address, value))
        for address in range(model.size):
            await model.all_read(address)
    for address in range(model.size):
        await model.cycle((address, address * 0x9E3779B97F4A7C15 & ones))
    for address in range(model.size):
        await model.all_read(address)
    await model.cycle()


@test
async def random_traffic(bench: Bench) -> None:
    model = await begin(bench)
    accesses = address = 0
    while accesses < bench.transactions:
        busy = bench.random.choice((0.2, 0.6, 1.0))
        for _ in range(100):
            # Mostly near the last one, so that reads and writes meet.
            if bench.chance(0.1):
                address = bench.random.randrange(model.size)
            write = (address, bench.bits(64)) if bench.chance(busy) else None
            reads = {
                reader: (address + bench.random.randrange(-1, 2)) % model.size
                for reader in readers(bench.arch)
                if bench.chance(busy)
            }
            accesses += len(reads) + (write is not None)
            await model.cycle(write, **reads)
    await model.cycle()


@test
async def reset_keeps_contents_and_outputs(bench: Bench) -> None:
    model = await begin(bench)
    await model.cycle((5, 0xFEDC_BA98_7654_3210))
    await model.all_read(5)
    await model.cycle()
    await bench.cycle(write=0, **{f"{reader}_read": 0 for reader in readers(bench.arch)})
    await bench.reset()
    await model.cycle()
    await model.all_read(5)
    await model.cycle()
    bench.cover("reset keeps contents and outputs")
