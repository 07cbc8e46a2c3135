"""Scratchpad: both banks against dictionaries of units, both outputs in every cycle."""

from __future__ import annotations

from dataclasses import dataclass, replace

from evenspike_core.arch import HEADER_UNITS, Arch
from evenspike_hw.rtl.layouts import Layouts
from evenspike_hw.rtl.pe.scratchpad import Scratchpad
from tests.helpers.driver import Bench, test

component = Scratchpad
ARCH = Arch(pes=4, scratchpad_words=256, header_words=27)  # neither bank is a power of two
VARIANTS = {f"kernel{side}": replace(ARCH, kernel_max=side) for side in (3, 5)}


@dataclass(frozen=True)
class Header:
    """A write of the header bank; a read has the number of a 32-bit word as `unit`."""

    half: int
    unit: int
    kernel: int = 0
    data: int = 0

    def inputs(self) -> dict[str, int]:
        return {"enable": 1, **vars(self)}

    def spread(self) -> dict[tuple[int, int], int]:
        """The units that it writes."""
        units = HEADER_UNITS[2 * self.kernel + 1]
        return {(self.half, self.unit + n): self.data >> 16 * n & 0xFFFF for n in range(units)}


class Model:
    """Units that were written, and what was read last; all of it as bits without sign."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.weight_words = 2 * bench.arch.weight_words
        self.sides = Layouts(bench.arch).sides
        self.line = line = max(2, HEADER_UNITS[self.sides[-1]])  # units of a line
        self.data_bits = 16 * HEADER_UNITS[self.sides[-1]]
        self.units = -(-bench.arch.header_words // line) * line
        self.weights = dict.fromkeys(range(self.weight_words), 0)
        self.headers = {(half, n): 0 for half in (0, 1) for n in range(self.units)}
        self.weight: int | None = 0
        self.header: int | None = 0
        self.weight_address: int | None = None
        self.word: tuple[int, int] | None = None
        self.seen: set[tuple[str | int, ...]] = set()
        half, last = self.weight_words // 2, self.units // line - 1
        places = {
            (code, n)
            for code, side in enumerate(self.sides)
            for n in range(0, line, HEADER_UNITS[side])
        }
        self.weight_ends = {("weight", n) for n in (0, half - 1, half, 2 * half - 1)}
        self.line_ends = {("line", h, line) for h in (0, 1) for line in (0, last)}
        self.places = {("place", *p) for p in places}

    async def cycle(
        self,
        write: tuple[int, int] | None = None,
        read: int | None = None,
        header: Header | None = None,
        fetch: Header | None = None,
    ) -> None:
        """A write (address, data) and a read of the weights, a write and a read of the headers."""
        bench = self.bench
        noise = bench.random.getrandbits  # addresses and data do not count without the enable
        wide = {name: bench.inputs[name].width for name in bench.inputs}
        found = await bench.cycle(
            weight_write=noise(wide["weight_write"]) & ~1
            if write is None
            else {"enable": 1, "address": write[0], "data": write[1]},
            weight_read=noise(wide["weight_read"]) & ~1
            if read is None
            else {"enable": 1, "address": read},
            header_write=noise(wide["header_write"]) & ~1 if header is None else header.inputs(),
            header_read=noise(wide["header_read"]) & ~1
            if fetch is None
            else {"enable": 1, "half": fetch.half, "word": fetch.unit},
        )
        known = {"weight": self.weight, "header": self.header}
        bench.check(found, {name: value for name, value in known.items() if value is not None})
        self._cover(write, read, header, fetch)
        # What is read in the cycle of its write is not defined.
        if read is not None:
            self.weight, self.weight_address = self.weights[read], read
            if write is not None and write[0] == read:
                self.weight = None
        if fetch is not None:
            self.word = fetch.half, 2 * fetch.unit
            low, high = (self.headers[fetch.half, 2 * fetch.unit + n] for n in (0, 1))
            self.header = low | high << 16
            if header is not None and any(
                half == fetch.half and unit // self.line == 2 * fetch.unit // self.line
                for half, unit in header.spread()
            ):
                self.header = None
        if write is not None:
            self.weights[write[0]] = write[1]
        if header is not None:
            self.headers |= header.spread()

    def _cover(
        self,
        write: tuple[int, int] | None,
        read: int | None,
        header: Header | None,
        fetch: Header | None,
    ) -> None:
        cover = self.bench.cover
        address = None if write is None else write[0]
        units = {} if header is None else header.spread()
        words = {(half, unit // 2 * 2) for half, unit in units}
        word = None if fetch is None else (fetch.half, 2 * fetch.unit)
        if header is not None:
            self.seen.add(("place", header.kernel, header.unit % self.line))
        if read is not None:
            self.seen.add(("weight", read))
        if word is not None:
            self.seen |= {("line", word[0], word[1] // self.line), ("word", word[1] % self.line)}
        cover("weight read in the cycle of its write", address is not None and address == read)
        cover(
            "weight held while it is overwritten",
            address is not None and read is None and address == self.weight_address,
        )
        cover("header read in the cycle of its write", word in words)
        cover("header held while it is overwritten", self.word in words and word is None)
        cover("a header beside another in its line", header is not None and self._beside(header))
        cover("all four ports at once", None not in (write, read, header, fetch))
        cover("first and last weight of each half", self.weight_ends <= self.seen)
        cover("first and last header line of each half", self.line_ends <= self.seen)
        cover("header of each kernel at each place of a line", self.places <= self.seen)
        cover("each word of a line", {("word", n) for n in range(0, self.line, 2)} <= self.seen)

    def _beside(self, header: Header) -> bool:
        """The header shares its line with units that are not 0."""
        first = header.unit // self.line * self.line
        line = {(header.half, first + n) for n in range(self.line)}
        return any(self.headers[place] for place in line - set(header.spread()))

    def random_header(self) -> Header:
        bench = self.bench
        kernel = bench.random.randrange(len(self.sides))
        units = HEADER_UNITS[2 * kernel + 1]
        # What is above the header's units does not count.
        unit = bench.random.randrange(self.units // units) * units
        return Header(bench.random.randrange(2), unit, kernel, bench.bits(self.data_bits))

    def random_fetch(self) -> Header:
        return Header(self.bench.random.randrange(2), self.bench.random.randrange(self.units // 2))


async def begin(bench: Bench) -> Model:
    """Both banks and outputs 0. The banks are read in the reset, since a RAM's output is undefined
    before its first read; what they hold is from the test before.
    """
    await bench.reset(weight_read=1, header_read=1)
    model = Model(bench)
    for address in model.weights:
        await bench.cycle(weight_write={"enable": 1, "address": address})
    for half, unit in model.headers:
        await bench.cycle(weight_write=0, header_write=Header(half, unit).inputs())
    await bench.cycle(header_write=0, weight_read={"enable": 1}, header_read={"enable": 1})
    return model


@test
async def every_address_takes_zeros_and_ones(bench: Bench) -> None:
    model = await begin(bench)
    for value in (0xFFFF, 0, 0x5555, 0xAAAA):
        for address in range(model.weight_words):
            await model.cycle(write=(address, value))
        for address in reversed(range(model.weight_words)):
            await model.cycle(read=address)
        bits = value * 0x0001000100010001 & (1 << model.data_bits) - 1
        for kernel in reversed(range(len(model.sides))):
            units = HEADER_UNITS[2 * kernel + 1]
            for half in (0, 1):
                for unit in range(0, model.units, units):
                    await model.cycle(header=Header(half, unit, kernel, bits ^ unit ^ half << 15))
            for half in (1, 0):
                for word in range(model.units // 2):
                    await model.cycle(fetch=Header(half, word))
    await model.cycle()


@test
async def every_address_has_a_cell_of_its_own(bench: Bench) -> None:
    model = await begin(bench)
    for address in range(model.weight_words):
        await model.cycle(write=(address, address * 321 % 65536))
    above = 0xAAAA_AAAA_AAAA_0000 & (1 << model.data_bits) - 1
    for half in (0, 1):
        for unit in range(model.units):
            await model.cycle(header=Header(half, unit, 0, above | 257 * unit))
    for address in range(model.weight_words):
        await model.cycle(read=address)
    for word in range(model.units // 2):
        for half in (0, 1):
            await model.cycle(fetch=Header(half, word))
    await model.cycle()


@test
async def reset_keeps_contents_and_outputs(bench: Bench) -> None:
    model = await begin(bench)
    whole = 0x0123_4567_89AB_CDEF & (1 << model.data_bits) - 1
    await model.cycle(write=(5, 0xFFFD), header=Header(1, 4, len(model.sides) - 1, whole))
    await model.cycle(read=5, fetch=Header(1, 3))
    await model.cycle()
    await bench.reset()
    await model.cycle()
    await model.cycle(read=5, fetch=Header(1, 2))
    await model.cycle()
    bench.cover("reset keeps contents and outputs")


@test
async def random_traffic(bench: Bench) -> None:
    model = await begin(bench)
    accesses = 0
    address = 0
    while accesses < bench.transactions:
        busy = bench.random.choice((0.2, 0.6, 1))
        for _ in range(100):
            write = read = header = fetch = None
            if bench.chance(busy):
                # Mostly near the last one, so that reads and writes meet.
                if bench.chance(0.1):
                    address = bench.random.randrange(model.weight_words)
                write = (address, bench.bits(16))
            if bench.chance(busy):
                near = address + bench.random.randrange(-2, 3)
                read = near % model.weight_words
            if bench.chance(busy):
                header = model.random_header()
            if bench.chance(busy):
                fetch = model.random_fetch()
                if header is not None and bench.chance(0.3):
                    fetch = Header(header.half, header.unit // 2)
            accesses += sum(item is not None for item in (write, read, header, fetch))
            await model.cycle(write, read, header, fetch)
    await model.cycle()
