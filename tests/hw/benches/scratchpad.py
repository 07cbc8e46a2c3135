"""Scratchpad: its banks against dictionaries of units, all outputs in every cycle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from evenspike_core.arch import HEADER_UNITS, IMPLIED, WEIGHTS, Arch
from evenspike_hw.rtl.layouts import Layouts
from evenspike_hw.rtl.pe.scratchpad import Scratchpad
from tests.helpers.driver import Bench, test

component = Scratchpad
ARCH = Arch(pes=4, scratchpad_words=256, header_words=27)  # no bank is a power of two
ONE = replace(ARCH, issue=1)
VARIANTS = {
    **{f"kernel{side}": replace(ARCH, kernel_max=side) for side in (3, 5)},
    "issue1": ONE,
    "issue1-kernel3": replace(ONE, kernel_max=3),
    "weights": replace(ARCH, gates=WEIGHTS, header_words=28, **IMPLIED),
}


def ways(arch: Arch) -> int:
    """Weights that are read in a cycle, each from a bank of its own."""
    return 4 if arch.gates == WEIGHTS else arch.issue


def CORNERS(arch: Arch) -> Iterator[str]:  # noqa: N802  (as where it is a constant)
    if ways(arch) > 1:
        yield "one way reads, and the other stays"
        yield "bias held while the other bank is read"


@dataclass(frozen=True)
class Header:
    """A write of the header bank; a read has the number of what a fetch brings as `unit`."""

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
        self.ways = ways(bench.arch)
        self.fetched = 2 * bench.arch.issue  # units of a fetch
        self.line = line = max(self.fetched, HEADER_UNITS[self.sides[-1]])  # units of a line
        self.data_bits = 16 * HEADER_UNITS[self.sides[-1]]
        self.units = -(-bench.arch.header_words // line) * line
        self.weights = dict.fromkeys(range(self.weight_words), 0)
        self.headers = {(half, n): 0 for half in (0, 1) for n in range(self.units)}
        # What the outputs show; None: not known.
        self.shown: list[int | None] = [None] * self.ways
        self.bias: int | None = 0
        self.header: int | None = 0
        self.weight_address: dict[int, int] = {}  # what each bank has read last
        self.word: tuple[int, int] | None = None
        self.seen: set[tuple[str | int, ...]] = set()
        half, last = self.weight_words // 2, self.units // line - 1
        places = {
            (code, n)
            for code, side in enumerate(self.sides)
            for n in range(0, line, HEADER_UNITS[side])
        }
        self.weight_ends = {("weight", n) for n in (0, half - 1, half, 2 * half - 1)}
        self.bias_ends = {("bias", n) for n in (0, half - 1, half, 2 * half - 1)}
        self.line_ends = {("line", h, line) for h in (0, 1) for line in (0, last)}
        self.places = {("place", *p) for p in places}

    async def cycle(
        self,
        write: tuple[int, int] | None = None,
        reads: Mapping[int, int] | None = None,
        header: Header | None = None,
        fetch: Header | None = None,
        bias: int | None = None,
    ) -> None:
        """A write (address, data), reads of weights by ways or of a bias, a write and a read of the
        headers.
        """
        bench, reads = self.bench, reads or {}
        assert all(address % self.ways == way for way, address in reads.items())
        assert bias is None or not reads
        noise = bench.random.getrandbits  # addresses and data do not count without the enable
        wide = {name: bench.inputs[name].width for name in bench.inputs}
        found = await bench.cycle(
            weight_write=noise(wide["weight_write"]) & ~1
            if write is None
            else {"enable": 1, "address": write[0], "data": write[1]},
            weight_read=[self._read(reads.get(way)) for way in range(self.ways)],
            bias_read=self._read(bias),
            header_write=noise(wide["header_write"]) & ~1 if header is None else header.inputs(),
            header_read=noise(wide["header_read"]) & ~1
            if fetch is None
            else {"enable": 1, "half": fetch.half, "word": fetch.unit},
        )
        known = {"bias_unit": self.bias, "header": self.header}
        bench.check(found, {name: value for name, value in known.items() if value is not None})
        shown = [-1 if value is None else value for value in self.shown]
        for way, wanted in enumerate(shown):
            at = found["weights"] >> 16 * way & 0xFFFF
            assert wanted in {-1, at}, f"cycle {bench.now - 1}: weight {way} is {at}, not {wanted}"
        self._cover(write, reads, header, fetch, bias)
        # What is read in the cycle of its write is not defined.
        for address in [*reads.values(), *([] if bias is None else [bias])]:
            bank = address % self.ways
            undefined = write is not None and write[0] == address
            value = None if undefined else self.weights[address]
            last = self.weight_address.get(-1)
            self.weight_address[bank] = address
            if bias is not None:
                self.shown[bank], self.bias = None, value
                self.weight_address[-1] = address
            else:
                self.shown[bank] = value
                if last is not None and last % self.ways == bank:
                    self.bias = None
        if fetch is not None:
            first = self.fetched * fetch.unit
            self.word = fetch.half, first
            self.header = sum(
                self.headers[fetch.half, first + n] << 16 * n for n in range(self.fetched)
            )
            if header is not None and any(
                half == fetch.half and unit // self.line == first // self.line
                for half, unit in header.spread()
            ):
                self.header = None
        if write is not None:
            self.weights[write[0]] = write[1]
        if header is not None:
            self.headers |= header.spread()

    def _read(self, address: int | None) -> dict[str, int]:
        bits = Layouts(self.bench.arch).weight_address_bits
        if address is None:
            return {"address": self.bench.random.getrandbits(bits)}
        return {"enable": 1, "address": address}

    def _cover(
        self,
        write: tuple[int, int] | None,
        reads: Mapping[int, int],
        header: Header | None,
        fetch: Header | None,
        bias: int | None,
    ) -> None:
        cover = self.bench.cover
        address = None if write is None else write[0]
        units = {} if header is None else header.spread()
        words = {(half, unit // self.fetched * self.fetched) for half, unit in units}
        word = None if fetch is None else (fetch.half, self.fetched * fetch.unit)
        if header is not None:
            self.seen.add(("place", header.kernel, header.unit % self.line))
        self.seen |= {("weight", read) for read in reads.values()}
        if bias is not None:
            self.seen.add(("bias", bias))
        if word is not None:
            self.seen |= {("line", word[0], word[1] // self.line), ("word", word[1] % self.line)}
        cover("weight read in the cycle of its write", address in reads.values())
        cover("bias read in the cycle of its write", bias is not None and address == bias)
        quiet = bias is None and not reads and address is not None
        cover(
            "weight held while it is overwritten", quiet and address in self.weight_address.values()
        )
        cover("bias held while a weight is written", quiet and self.bias is not None)
        cover("header read in the cycle of its write", word in words)
        cover("header held while it is overwritten", self.word in words and word is None)
        cover("a header beside another in its line", header is not None and self._beside(header))
        every = len(reads) == self.ways and None not in (write, header, fetch)
        cover("all ports at once", every)
        cover("a bias is read while all else is", None not in (write, header, fetch, bias))
        cover("first and last weight of each half", self.weight_ends <= self.seen)
        cover("first and last bias of each half", self.bias_ends <= self.seen)
        cover("first and last header line of each half", self.line_ends <= self.seen)
        cover("header of each kernel at each place of a line", self.places <= self.seen)
        each = {("word", n) for n in range(0, self.line, self.fetched)}
        cover("each word of a line", each <= self.seen)
        if self.ways > 1:
            self._several("one way reads, and the other stays", len(reads) == 1)
            self._several("bias held while the other bank is read", self._other(reads))

    def _several(self, corner: str, met: object) -> None:
        """A corner of CORNERS, where two weights are read."""
        self.bench.cover(corner, met)

    def _other(self, reads: Mapping[int, int]) -> bool:
        last = self.weight_address.get(-1)
        return (
            last is not None
            and self.bias is not None
            and len(reads) == 1
            and last % self.ways not in reads
        )

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
        words = self.units // self.fetched
        return Header(self.bench.random.randrange(2), self.bench.random.randrange(words))

    def random_reads(self, near: int) -> dict[int, int]:
        """A weight for some of the ways, near an address."""
        random, found = self.bench.random, {}
        for way in range(self.ways):
            if self.ways == 1 or self.bench.chance(0.7):
                address = (near + random.randrange(-2, 3)) % self.weight_words
                found[way] = address - address % self.ways + way
        return found


async def begin(bench: Bench) -> Model:
    """All banks 0, and bias and header, too. The banks are read in the reset, since a RAM's output
    is undefined before its first read; what they hold is from the test before.
    """
    both = bench.bits_of(
        "weight_read", [{"enable": 1, "address": n} for n in range(ways(bench.arch))]
    )
    await bench.reset(weight_read=both, header_read=1)
    model = Model(bench)
    for address in model.weights:
        await bench.cycle(weight_write={"enable": 1, "address": address})
    for half, unit in model.headers:
        await bench.cycle(weight_write=0, header_write=Header(half, unit).inputs())
    await bench.cycle(header_write=0, bias_read={"enable": 1}, header_read={"enable": 1})
    await bench.cycle(bias_read=0, header_read=0)
    model.weight_address[-1] = 0
    return model


@test
async def every_address_takes_zeros_and_ones(bench: Bench) -> None:
    model = await begin(bench)
    for value in (0xFFFF, 0, 0x5555, 0xAAAA):
        for address in range(model.weight_words):
            await model.cycle(write=(address, value))
        for address in reversed(range(model.weight_words)):
            await model.cycle(reads={address % model.ways: address})
        for address in reversed(range(model.weight_words)):
            await model.cycle(bias=address)
        bits = value * 0x0001000100010001 & (1 << model.data_bits) - 1
        for kernel in reversed(range(len(model.sides))):
            units = HEADER_UNITS[2 * kernel + 1]
            for half in (0, 1):
                for unit in range(0, model.units, units):
                    await model.cycle(header=Header(half, unit, kernel, bits ^ unit ^ half << 15))
            for half in (1, 0):
                for word in range(model.units // model.fetched):
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
    for address in range(0, model.weight_words, model.ways):
        await model.cycle(reads={way: address + way for way in range(model.ways)})
    for address in range(model.weight_words):
        await model.cycle(bias=address)
    for word in range(model.units // model.fetched):
        for half in (0, 1):
            await model.cycle(fetch=Header(half, word))
    await model.cycle()


@test
async def reset_keeps_contents_and_outputs(bench: Bench) -> None:
    model = await begin(bench)
    whole = 0x0123_4567_89AB_CDEF & (1 << model.data_bits) - 1
    await model.cycle(write=(5, 0xFFFD), header=Header(1, 4, len(model.sides) - 1, whole))
    words = 4 // model.fetched
    for odd in (5, 4):
        await model.cycle(bias=odd, fetch=Header(1, words))
        await model.cycle()
        await bench.reset()
        await model.cycle()
        await model.cycle(reads={5 % model.ways: 5}, fetch=Header(1, words))
        await model.cycle()
        await bench.reset()
        await model.cycle()
    bench.cover("reset keeps contents and outputs")


@test
async def random_traffic(bench: Bench) -> None:
    model = await begin(bench)
    accesses = 0
    address = 0
    while accesses < bench.transactions:
        busy, biases = bench.random.choice((0.2, 0.6, 1)), bench.random.choice((0.1, 0.5))
        for _ in range(100):
            write = header = fetch = bias = None
            reads: dict[int, int] = {}
            if bench.chance(busy):
                # Mostly near the last one, so that reads and writes meet.
                if bench.chance(0.1):
                    address = bench.random.randrange(model.weight_words)
                write = (address, bench.bits(16))
            if bench.chance(busy):
                if bench.chance(biases):
                    bias = (address + bench.random.randrange(-2, 3)) % model.weight_words
                else:
                    reads = model.random_reads(address)
            if bench.chance(busy):
                header = model.random_header()
            if bench.chance(busy):
                fetch = model.random_fetch()
                if header is not None and bench.chance(0.3):
                    fetch = Header(header.half, header.unit // model.fetched)
            accesses += len(reads) + sum(item is not None for item in (write, header, fetch, bias))
            await model.cycle(write, reads, header, fetch, bias)
    await model.cycle()
