"""SpikeMemory: entries and counts against dictionaries, all outputs in every cycle."""

from __future__ import annotations

from typing import Any

from evenspike_core.arch import Arch
from evenspike_hw.rtl.spikes import SpikeMemory
from tests.helpers.driver import Bench, test

component = SpikeMemory
# Neither the entries nor their counts are a power of two, and the last count is of fewer entries.
ARCH = Arch(pes=4, timesteps=3, spike_entries=100, row_entries=8)

CORNERS = (
    *(f"first and last {what}" for what in ("entry", "count", "resume")),
    *(f"{what} read in the cycle of its write" for what in ("entry", "count", "resume")),
    *(f"{what} held while it is overwritten" for what in ("entry", "count", "resume")),
)
READS = ("entry", "count", "resume")


class Model:
    """Two memories; each output holds what its last read has brought. An address of either is that
    of an entry, and `Arch.row_entries` of them have one count.
    """

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.depth = bench.arch.spike_entries
        self.width = bench.outputs["entry"].width
        self.cells = {"entry": [0] * self.depth, "count": [0] * bench.arch.row_counts}
        self.out: dict[str, int | None] = dict.fromkeys(READS, 0)
        self.place: dict[str, int | None] = dict.fromkeys(READS)
        self.seen: set[tuple[str, int]] = set()
        self.accesses = 0

    async def cycle(
        self, writes: dict[str, tuple[int, int]] | None = None, /, **reads: int
    ) -> dict[str, int]:
        """writes: address and data of `entry` and `count`; reads: addresses."""
        bench, writes = self.bench, writes or {}
        inputs: dict[str, Any] = {}
        for name in READS:
            # An address without its enable does not count.
            address = reads.get(name, bench.random.randrange(self.depth))
            inputs[f"{name}_read"] = {"enable": name in reads, "address": address}
        for name, width in (("entry", self.width), ("count", 9)):
            idle = bench.random.randrange(self.depth), bench.random.getrandbits(width)
            address, value = writes.get(name, idle)
            port = f"{name}_write"
            known = {"enable": name in writes, "address": address}
            inputs[port] = bench.bits_of(port, known) | value << bench.inputs[port].width - width
        found = await bench.cycle(**inputs)
        bench.check(found, {name: v for name, v in self.out.items() if v is not None})
        self._cover(writes, reads)
        # What is read in the cycle of its write is not defined.
        for name, address in reads.items():
            cell = self._cell(name, address)
            written = self._written(name, writes)
            self.out[name] = None if written == cell else self._memory(name)[cell]
            self.place[name] = cell
        for name, (address, value) in writes.items():
            self.cells[name][self._cell(name, address)] = value
        self.accesses += len(reads) + len(writes)
        return found

    def _memory(self, name: str) -> list[int]:
        return self.cells["entry" if name == "entry" else "count"]

    def _cell(self, name: str, address: int) -> int:
        return address if name == "entry" else address // self.bench.arch.row_entries

    def _written(self, name: str, writes: dict[str, tuple[int, int]]) -> int | None:
        memory = "entry" if name == "entry" else "count"
        return self._cell(memory, writes[memory][0]) if memory in writes else None

    def _cover(self, writes: dict[str, tuple[int, int]], reads: dict[str, int]) -> None:
        cover = self.bench.cover
        for name in READS:
            written = self._written(name, writes)
            if name in reads:
                cell = self._cell(name, reads[name])
                self.seen.add((name, cell))
                cover(f"{name} read in the cycle of its write", written == cell)
            elif written is not None and written == self.place[name]:
                cover(f"{name} held while it is overwritten")
            last = len(self._memory(name)) - 1
            cover(f"first and last {name}", {(name, 0), (name, last)} <= self.seen)
        cover("all ports at once", len(writes) + len(reads) == 5)
        if "count" in reads and "resume" in reads:
            one = self._cell("count", reads["count"]) == self._cell("resume", reads["resume"])
            cover(
                "count and resume of one row at once"
                if one
                else "count and resume of two rows at once"
            )

    def value(self, name: str) -> int:
        return self.bench.bits(self.width if name == "entry" else 9)


async def begin(bench: Bench) -> Model:
    """All cells and outputs 0. The memories are read in the reset, since a RAM's output is
    undefined before its first read; what they hold is from the test before.
    """
    await bench.reset(**dict.fromkeys((f"{name}_read" for name in READS), 1))
    for address in range(bench.arch.spike_entries):
        write = {"enable": 1, "address": address}
        await bench.cycle(entry_write=write, count_write=write)
    idle: dict[str, Any] = {"entry_write": 0, "count_write": 0}
    await bench.cycle(**idle, **{f"{name}_read": {"enable": 1} for name in READS})
    return Model(bench)


@test
async def every_cell_keeps_what_it_was_given(bench: Bench) -> None:
    model = await begin(bench)
    for address in range(model.depth):
        await model.cycle({n: (address, model.value(n)) for n in model.cells})
    for address in range(model.depth):
        await model.cycle(entry=address, count=address, resume=model.depth - 1 - address)
    await model.cycle()


@test
async def a_read_takes_a_cycle_and_holds(bench: Bench) -> None:
    model = await begin(bench)
    for name in READS:
        memory = "entry" if name == "entry" else "count"
        ones = (1 << (model.width if memory == "entry" else 9)) - 1
        for value in (ones, 0, ones // 3):
            await model.cycle({memory: (7, value)})
            await model.cycle(**{name: 7})
            assert (await model.cycle({memory: (7, ~value & ones)}))[name] == value
            for _ in range(3):
                assert (await model.cycle())[name] == value


@test
async def reset_forgets_nothing(bench: Bench) -> None:
    model = await begin(bench)
    for address in range(10):
        await model.cycle({"entry": (address, address + 1), "count": (address, address + 2)})
    await model.cycle()
    await bench.reset()
    for address in range(10):
        await model.cycle(entry=address, count=address, resume=address)
    await model.cycle()
    assert model.out["entry"] == 10
    bench.cover("reset keeps what was written")


@test
async def random_accesses(bench: Bench) -> None:
    model = await begin(bench)
    while model.accesses < bench.transactions:
        near = bench.random.randrange(model.depth)
        share = bench.random.choice((0.1, 0.5, 0.9))
        for _ in range(20):
            # Mostly a few neighbours, so that accesses meet.
            places = [
                min(near + bench.random.randrange(3), model.depth - 1)
                if bench.chance(0.8)
                else bench.random.randrange(model.depth)
                for _ in range(5)
            ]
            reads = {n: p for n, p in zip(READS, places, strict=False) if bench.chance(share)}
            writes = {
                n: (p, model.value(n))
                for n, p in zip(model.cells, places[3:], strict=True)
                if bench.chance(share)
            }
            await model.cycle(writes, **reads)
