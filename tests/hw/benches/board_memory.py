"""Bench of BoardMemory: every cycle against a dictionary and a queue of what is under way."""

from __future__ import annotations

from collections import deque

from amaranth.lib import wiring

from evenspike_core.arch import Arch
from evenspike_hw.board.memory import ADDRESS_BITS, BoardMemory
from evenspike_hw.rtl.layouts import WORD_BITS
from tests.helpers.driver import Bench, test

ARCH = Arch(table_words=100, memory_latency=3)
"""The words of the table stand for those of the memory."""

VARIANTS = {
    "next-cycle": Arch(table_words=64, memory_latency=1),
    "latency16": Arch(table_words=128, memory_latency=16),
}


def component(arch: Arch) -> wiring.Component:
    return BoardMemory(arch.table_words, arch.memory_latency)


class Model:
    """words: by address. due: cycles and addresses of the requests."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.size = bench.arch.table_words
        self.latency = bench.arch.memory_latency
        self.words: dict[int, int] = {}
        self.forget()

    def forget(self) -> None:
        self.now = 0
        self.due: deque[tuple[int, int]] = deque()
        self.word: int | None = 0  # that the RAM gives in this cycle; None: any
        self.answers = False
        self.asked = 0  # cycles in a row
        self.fresh = 0  # cycles since a host's read

    def look(self, address: int) -> int:
        return self.words.get(address, 0) if address < self.size else 0

    async def cycle(
        self,
        request: int | None = None,
        write: tuple[int, int] | None = None,
        access: tuple[int, int, int] | None = None,
    ) -> bool:
        """request: an address. write: address, word. access: of the host; whether it writes,
        address, word. Whether that was taken.
        """
        bench = self.bench
        width = (self.size - 1).bit_length() + 1
        fields = dict(zip(("write", "address", "data"), access or (0, 0, 0), strict=True))
        found = await bench.cycle(
            port__request__valid=request is not None,
            port__request__payload=bench.bits(ADDRESS_BITS) if request is None else request,
            port__write__valid=write is not None,
            port__write__address=bench.bits(ADDRESS_BITS) if write is None else write[0],
            port__write__data=bench.bits(WORD_BITS) if write is None else write[1],
            access__valid=access is not None,
            access__payload=fields if access else bench.bits(1 + width + WORD_BITS),
        )
        if request is not None:
            self.due.append((self.now + self.latency, request))
        reads = bool(self.due) and self.due[0][0] == self.now + 1
        hosts = access is not None and (write is None if access[0] else not reads)
        used = [request, write[0] if write else None, fields["address"] if hosts else None]
        expected = {
            "port__request__ready": 1,
            "port__write__ready": 1,
            "port__response__valid": int(self.answers),
            "beyond": int(any(address is not None and address >= self.size for address in used)),
        }
        if access is not None:
            expected["access__ready"] = int(hosts)
        if self.word is not None:
            expected["word"] = self.word
            if self.answers:
                expected["port__response__payload"] = self.word
        bench.check(found, expected)
        self._corners(request, write, access if hosts else None, access, reads)
        self.answers = reads
        if hosts and fields["write"]:
            write = fields["address"], fields["data"]
        read = None
        if reads:
            read = self.due.popleft()[1]
            self.fresh = 0
        elif hosts and not fields["write"]:
            read = fields["address"]
            self.fresh = 1
        else:
            self.fresh += self.fresh > 0
        if read is not None:
            self.word = self.look(read)
        if write is not None and write[0] < self.size:
            self.words[write[0]] = write[1]
            if write[0] == read:
                self.word = None
        self.now += 1
        return hosts

    def _corners(
        self,
        request: int | None,
        write: tuple[int, int] | None,
        taken: tuple[int, int, int] | None,
        access: tuple[int, int, int] | None,
        reads: bool,
    ) -> None:
        cover = self.bench.cover
        self.asked = self.asked + 1 if request is not None else 0
        host_read, host_write = (taken is not None and taken[0] == kind for kind in (0, 1))
        at = taken[1] if taken is not None else -1
        waits = access is not None and taken is None
        written = write[0] if write is not None else at if host_write else None
        read = self.due[0][1] if reads else at if host_read else None
        later = [address for when, address in self.due if when > self.now + 1]
        self.bench.cover(
            "a word is written while a request of it is under way (not at latency 1)",
            self.latency == 1,
        )
        cover("request in every cycle", self.asked > 2 * self.latency + 2)
        cover("the last word", self.size - 1 in (request, at) or read == self.size - 1)
        cover("request beyond", request is not None and request >= self.size)
        cover("request of address 2^32 - 1", request == (1 << ADDRESS_BITS) - 1)
        cover("write beyond", write is not None and write[0] >= self.size)
        cover("host reads beyond", host_read and at >= self.size)
        cover("host writes beyond", host_write and at >= self.size)
        cover("host reads, and waits", waits and access is not None and not access[0])
        cover("host writes, and waits", waits and access is not None and access[0])
        cover("host reads while the accelerator writes", host_read and write is not None)
        cover("host writes while the accelerator's word is read", host_write and reads)
        cover(
            "a word is read in the cycle in which it is written",
            read is not None and read == written and read < self.size,
        )
        cover(
            "a word is written while a request of it is under way (not at latency 1)",
            written in later,
        )
        cover("what the host has read stays", self.fresh > 2 and not self.answers)

    async def fill(self) -> None:
        """Whatever a test before this one has left there."""
        for n in range(self.size):
            await self.cycle(write=(n, self.bench.bits(WORD_BITS)))

    def address(self, width: int) -> int:
        """Mostly of a word, and often of few of them."""
        bench = self.bench
        kind = bench.random.randrange(8)
        if kind == 0:
            return bench.bits(width)
        if kind == 1:
            return self.size - 1 + bench.random.randrange(3)
        if kind == 2:
            return self.size + (1 << bench.random.randrange((self.size - 1).bit_length(), width))
        return bench.random.randrange(self.size if kind < 5 else 6)


@test
async def latency_and_throughput(bench: Bench) -> None:
    """Every word, written and read by host and accelerator in turn; the docstring's numbers."""
    model = Model(bench)
    size, latency = model.size, model.latency
    for n in range(size):
        await model.cycle(access=(1, n, bench.bits(WORD_BITS)))
    values = [model.words[n] for n in range(size)]
    answers = []
    for n in range(size + latency):
        out = await bench.cycle(
            port__request__valid=n < size, port__request__payload=n, access__valid=0
        )
        if out["port__response__valid"]:
            answers.append((n - latency, out["port__response__payload"]))
    assert answers == list(enumerate(values))
    model.forget()
    model.word = values[-1]
    for n in range(size):
        await model.cycle(write=(n, values[n] ^ (1 << WORD_BITS) - 1))
    for n in range(size):
        await model.cycle(access=(0, n, 0))
    await model.cycle()


@test
async def no_word_has_two_addresses(bench: Bench) -> None:
    """Each bit of an address above the memory's, alone, in each of the ways to use it."""
    model = Model(bench)
    await model.fill()
    bits = (model.size - 1).bit_length()
    beyond = [1 << bit for bit in range(bits, ADDRESS_BITS)] + [model.size, (1 << bits) - 1]
    for address in (*beyond, (1 << ADDRESS_BITS) - 1):
        await model.cycle(request=address)
        await model.cycle(request=0)
        await model.cycle(write=(address, bench.bits(WORD_BITS)))
        if address < 2 << bits:
            await model.cycle(access=(1, address, bench.bits(WORD_BITS)))
            while not await model.cycle(access=(0, address, 0)):
                pass
    for n in (*range(model.size), *[0] * model.latency):
        await model.cycle(request=n)


@test
async def random_traffic(bench: Bench) -> None:
    model = Model(bench)
    await model.fill()
    width = (model.size - 1).bit_length() + 1
    access: tuple[int, int, int] | None = None
    for now in range(2 * bench.transactions):
        if now % 50 == 0:
            chances = [bench.random.choice((0, 0.2, 0.8, 1)) for _ in range(3)]
        request = model.address(ADDRESS_BITS) if bench.chance(chances[0]) else None
        write = None
        if bench.chance(chances[1]):
            write = model.address(ADDRESS_BITS), bench.bits(WORD_BITS)
        if access is None and bench.chance(chances[2]):
            address = model.address(width) % (1 << width)
            access = bench.random.getrandbits(1), address, bench.bits(WORD_BITS)
        if await model.cycle(request, write, access):
            access = None


@test
async def reset(bench: Bench) -> None:
    """Forgets what is under way, and no word."""
    model = Model(bench)
    await model.fill()
    for length in range(1, model.latency + 2):
        for n in range(length):
            await model.cycle(request=n)
        bench.cover(
            "reset with requests under way (not at latency 1)",
            len(model.due) > 1 or model.latency == 1,
        )
        await bench.cycle(port__request__valid=0, port__write__valid=0, access__valid=0)
        await bench.reset(model.latency)
        model.forget()
        for _ in range(model.latency + 1):
            await model.cycle()
    for n in (*range(model.size), *[0] * model.latency):
        await model.cycle(request=n)
