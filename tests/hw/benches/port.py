"""Bench of MemoryPort: requests, credits and the order of the stream, cycle by cycle."""

from __future__ import annotations

from collections import deque
from random import Random
from typing import Any

from evenspike_core.arch import Arch
from evenspike_hw.rtl.descriptor import PASS
from evenspike_hw.rtl.faults import Fault
from evenspike_hw.rtl.port import MemoryPort
from tests.helpers.driver import Bench, pack, test, unpack

component = MemoryPort
ARCH = Arch(pes=4, stream_depth=7, table_words=64)
VARIANTS = {
    "one-credit": Arch(pes=4, stream_depth=1, table_words=64),
    "port128": Arch(pes=4, stream_depth=7, table_words=64, port_bits=128),
}
WORD = (1 << 32) - 1
CORNERS = ("fault: REPEATS", "fault: PASSES")
STABLE = ("input", "weights", "pass_base", "fill_address", "fill_words")


class Model:
    """What the port does in each cycle, from the list of passes as Python knows it."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.reset()

    def reset(self) -> None:
        self.running = False
        self.plan: deque[tuple[int, int, int]] = deque()  # first address, words, repeats
        self.done = self.round = 0  # words of this repeat, repeats of this pass
        self.credits = self.depth
        self.fifo: deque[int] = deque()
        self.reads: int | None = None  # next entry of the list to be read, in a list
        self.age = 0  # cycles since prepare, up to the second
        self.prepared = False
        self.fault = Fault.NONE

    def prepare(self, passes: list[tuple[int, int]], first: int, weights: int) -> None:
        self.plan.clear()
        for number, (words, repeats) in enumerate(passes):
            self.plan.append((weights if number else first, words, repeats))
            if number:
                weights = weights + words & WORD
        self.done = self.round = 0

    def fill(self, address: int, words: int) -> None:
        self.plan = deque([(address, words, 1)])
        self.done = self.round = 0
        self.reads = None

    def outputs(self, drive: dict[str, int]) -> dict[str, Any]:
        """The outputs of this cycle; None where nothing is said."""
        self.asks = self.running and bool(self.plan) and self.credits > 0
        self.taken = self.asks and bool(drive["request__ready"])
        self.ends = False  # of a pass
        if self.asks:
            first, words, repeats = self.plan[0]
            last = self.done == words - 1 and self.round == repeats - 1
            self.ends = self.taken and last
        reads = drive["prepare"] or self.age == 1 or (self.ends and self.reads is not None)
        expected: dict[str, Any] = {
            "request__valid": int(self.asks),
            "word__valid": int(bool(self.fifo)),
            "prepared": int(self.prepared),
            "fault": int(self.fault),
        }
        if self.asks:
            expected["request__payload"] = first + self.done & WORD
        if self.fifo:
            expected["word__payload"] = self.fifo[0]
        address = drive["pass_base"] if drive["prepare"] else self.reads
        expected["table_read"] = (1, address) if reads else (0, None)
        return expected

    def step(self, drive: dict[str, int]) -> None:
        """From this cycle to the next, after `outputs`."""
        given = bool(self.fifo) and bool(drive["word__ready"])
        if given:
            self.fifo.popleft()
        if drive["response_valid"]:
            self.fifo.append(drive["response"])
        assert len(self.fifo) <= self.depth
        self.credits += given - self.taken
        if self.taken:
            self.done += 1
            if self.done == self.plan[0][1]:
                self.done = 0
                self.round += 1
                if self.ends:
                    self.round = 0
                    self.plan.popleft()
        if self.reads is not None and (self.age == 1 or self.ends):
            entry = unpack(PASS, drive["table"] & (1 << PASS.size) - 1)
            # What is on the table now was read before the word that is read next.
            if not self.fault and (self.reads - 1) % ARCH.table_words >= drive["filled"]:
                self.fault = Fault.PASSES
            elif not self.fault and entry["words"] and not entry["repeats"]:
                self.fault = Fault.REPEATS
            self.reads = (self.reads + 1) % ARCH.table_words
        if self.age == 1:
            self.prepared = True
        self.age = 0
        if drive["go"] or drive["fill"]:
            self.running, self.prepared = True, False
        if drive["prepare"]:
            self.running, self.prepared, self.age = False, False, 1
            self.reads = (drive["pass_base"] + 1) % ARCH.table_words


class Rig:
    """The port with a memory, a table, and somebody who takes the words.

    Chances of a stall in each cycle: memory_busy (no request is taken), memory_slow (no word comes
    although one could), taker_busy.
    """

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.random: Random = bench.random
        self.model = Model(bench.arch.stream_depth)
        self.table = [bench.bits(64) for _ in range(ARCH.table_words)]
        self.read = bench.bits(64)  # on the table's output
        self.under_way: deque[tuple[int, int]] = deque()  # cycle, address
        self.memory_busy = self.memory_slow = self.taker_busy = 0.0
        self.latency = 1
        self.words = 0  # taken
        self.cycles = 0
        self.quiet = dict.fromkeys(("prepare", "go", "fill", *STABLE), 0)
        self.quiet["filled"] = ARCH.table_words

    def styles(self) -> None:
        """Another mixture of stalls."""
        self.latency = self.random.choice((1, 2, 5, 16))
        self.memory_busy, self.memory_slow, self.taker_busy = (
            self.random.choice((0.0, 0.0, 0.2, 0.7)) for _ in range(3)
        )

    async def cycle(self, **pulses: int) -> None:
        bench, model = self.bench, self.model
        drive = self.quiet | pulses
        comes = (
            bool(self.under_way)
            and self.under_way[0][0] + self.latency <= self.cycles
            and not bench.chance(self.memory_slow)
        )
        drive["response_valid"] = int(comes)
        drive["response"] = bench.bits(bench.arch.port_bits)
        if comes:
            self.under_way.popleft()
        drive["request__ready"] = int(not bench.chance(self.memory_busy))
        drive["word__ready"] = int(not bench.chance(self.taker_busy))
        for name in STABLE:
            if name not in pulses and model.age == 0 and not pulses.get("fill"):
                drive[name] = bench.bits(bench.inputs[name].width)  # only looked at when due
            elif name not in pulses:
                drive[name] = self.quiet[name]
        drive["table"] = self.read
        expected = model.outputs(drive)
        found = await bench.cycle(**drive)
        read = expected.pop("table_read")
        bench.check(found, expected)
        enable, address = (found["table_read"] & 1, found["table_read"] >> 1)
        assert enable == read[0], f"cycle {bench.now}: table_read.enable is {enable}"
        if enable:
            assert address == read[1], f"cycle {bench.now}: reads {address}, not {read[1]}"
            self.read = self.table[address]
        self.words += expected["word__valid"] and drive["word__ready"]
        if model.taken:
            self.under_way.append((self.cycles, expected["request__payload"]))
        self._corners(drive, expected)
        model.step(drive)
        self.cycles += 1

    def _corners(self, drive: dict[str, int], expected: dict[str, Any]) -> None:
        cover, model = self.bench.cover, self.model
        cover("all credits used", model.running and model.plan and model.credits == 0)
        cover("request waits for the memory", model.asks and not model.taken)
        taken = bool(model.fifo) and drive["word__ready"]
        cover("word waits in the FIFO", model.fifo and not taken)
        cover("taken in the cycle after its response", taken and len(model.fifo) == 1)
        cover(
            "credit given and used in one cycle",
            (taken and model.taken) or self.bench.arch.stream_depth == 1,
        )
        if not model.taken:
            return
        _, words, repeats = model.plan[0]
        cover("address carries into bit 31", expected["request__payload"] == 1 << 31 and model.done)
        if words == 1 and repeats == 1:
            cover("pass of one word")
            cover(
                "pass after pass of one word", len(model.plan) > 1 and model.plan[1][1:] == (1, 1)
            )
        if model.round:
            cover("repeat of one word" if words == 1 else "repeat of several words")
        cover("list ends", model.ends and len(model.plan) == 1)

    # What happens to a port.

    async def prepare(self, passes: list[tuple[int, int]], base: int | None = None) -> None:
        """The list is in the table, `prepare` has come, and `prepared` is there."""
        bench = self.bench
        size = ARCH.table_words
        base = bench.random.randrange(size) if base is None else base
        bench.cover("list starts at the end of the table", base + len(passes) >= size)
        self.table = [bench.bits(64) for _ in range(size)]
        for number, (words, repeats) in enumerate([*passes, (0, bench.bits(16))]):
            entry = pack(PASS, {"words": words, "repeats": repeats})
            self.table[(base + number) % size] = entry | bench.bits(16) << PASS.size
        stable = {"input": self.address(), "weights": self.address(), "pass_base": base}
        self.quiet |= stable
        await self.cycle(prepare=1, **stable)
        self.model.prepare(passes, stable["input"], stable["weights"])
        await self.cycle(**stable)
        assert self.model.prepared
        if bench.chance(0.3):
            bench.cover("prepared long before go")
            for _ in range(bench.random.randrange(1, 20)):
                await self.cycle()

    def address(self) -> int:
        """Any address; many are such that a carry runs through the upper bits."""
        if self.bench.chance(0.6):
            return (1 << self.random.randrange(4, 33)) - self.random.randrange(1, 16) & WORD
        return self.bench.bits(32)

    async def settle(self) -> None:
        """Until the plan is done and every word was taken."""
        while self.model.plan or self.under_way or self.model.fifo:
            await self.cycle()
        for _ in range(3):
            await self.cycle()

    async def stop(self) -> None:
        """No more requests are taken; every word is."""
        self.memory_busy = 1.0
        while self.under_way or self.model.fifo:
            await self.cycle()

    async def network(self, passes: list[tuple[int, int]]) -> None:
        await self.prepare(passes)
        await self.cycle(go=1)
        await self.settle()

    async def fill(self, address: int, words: int) -> None:
        # The model moves with the pulse: `fill` is looked at together with the address.
        self.quiet |= {"fill_address": address, "fill_words": words}
        await self.cycle(fill=1, fill_address=address, fill_words=words)
        self.model.fill(address, words)


@test
async def idle(bench: Bench) -> None:
    """After the reset nothing is requested, read or handed on."""
    made = Rig(bench)
    for _ in range(20):
        made.styles()
        await made.cycle()


@test
async def latency_and_throughput(bench: Bench) -> None:
    """The docstring's numbers, as numbers."""
    depth = bench.arch.stream_depth
    table = [pack(PASS, {"words": 1, "repeats": 1})] * 2 + [pack(PASS, {"words": 2, "repeats": 3})]
    table += [pack(PASS, {"words": 1, "repeats": 4}), 0, 0]
    out = await bench.cycle(prepare=1, input=100, weights=1000, pass_base=0)
    assert out["table_read"] == 1
    out = await bench.cycle(prepare=0, table=table[0])
    assert not out["prepared"]
    entry = out["table_read"] >> 1
    out = await bench.cycle(table=table[entry], go=1, request__ready=1)
    assert out["prepared"], "two cycles after prepare"
    assert not out["request__valid"]
    due, asked, taken, answered = deque([0]), [], [], 0
    wanted = [100, 1000, *[1001, 1002] * 3, *[1003] * 4]
    for now in range(1, 4 * len(wanted)):
        # A memory with a latency of one cycle, and a word taken as soon as it is there.
        answer = due.popleft()
        out = await bench.cycle(
            go=0, table=table[entry], response_valid=answer, response=now, word__ready=1
        )
        if out["table_read"] & 1:
            entry = out["table_read"] >> 1
        due.append(out["request__valid"])
        if out["request__valid"]:
            asked.append((now, out["request__payload"]))
        if out["word__valid"]:
            taken.append((now, out["word__payload"]))
        answered += answer
    assert [address for _, address in asked] == wanted
    assert [now for now, _ in taken] == [now + 2 for now, _ in asked], "two registers on the way"
    assert [value for _, value in taken] == [now + 1 for now, _ in asked]
    # Out in r, back in r + 1, taken in r + 2: the credit is there in r + 3.
    period = 1 if depth >= 3 else 3
    assert [now for now, _ in asked] == [1 + period * n for n in range(len(wanted))]


@test
async def random_networks(bench: Bench) -> None:
    """Lists of short and long passes, all kinds of stalls, and tables filled in between."""
    made = Rig(bench)
    # With a single credit a word takes three cycles at least.
    while made.words < bench.transactions // (1 if bench.arch.stream_depth > 1 else 3):
        made.styles()
        if bench.chance(0.2):
            await made.fill(made.address(), bench.random.choice((1, 2, 3, 40)))
            await made.settle()
            bench.cover("fill")
            continue
        passes = [
            (bench.random.choice((1, 1, 2, 3, 17, 60)), bench.random.choice((1, 1, 1, 2, 5)))
            for _ in range(bench.random.randrange(1, 12))
        ]
        await made.network(passes)


@test
async def large_counts(bench: Bench) -> None:
    """Every bit of the counters: a pass, a repeat or a table too long to see its end."""
    made = Rig(bench)
    for bit in range(1, 32):
        made.styles()
        passes = [(1, 1), (1 << bit | 1, 3)] if bit % 2 else [(1 << bit | 1, 1), (4, 4)]
        await made.prepare(passes)
        await made.cycle(go=1)
        for _ in range(40):
            await made.cycle()
        await made.stop()
        bench.cover("broken off in the list")
    for bit in range(1, 16):
        made.styles()
        await made.prepare([(1, 1 << bit | 1), (3, 1)])
        await made.cycle(go=1)
        for _ in range(40):
            await made.cycle()
        await made.stop()
    for bit in range(1, 17):
        made.styles()
        await made.fill(made.address(), 1 << bit | 1)
        for _ in range(40):
            await made.cycle()
        await made.stop()
        # What ends it is a `prepare`, which no word follows.
        await made.prepare([(2, 1)])
        bench.cover("broken off while filling")
        made.memory_busy = 0.0
        await made.cycle(go=1)
        await made.settle()


@test
async def long_pass(bench: Bench) -> None:
    """A pass of some thousand words, the next starts behind it; some hundred repeats."""
    made = Rig(bench)
    made.latency = 2
    await made.network([(3, 1), (0x0AA7 if bench.transactions > 1000 else 5, 1), (0x0558, 1)])
    await made.network([(1, 300), (2, 77), (1, 40)])


@test
async def faulty_lists(bench: Bench) -> None:
    """A pass without repeats, and a list that goes on behind the table's last word: each pass."""
    passes = [(2, 1), (1, 2), (3, 1), (1, 1)]
    for fault in (Fault.REPEATS, Fault.PASSES):
        for number in range(len(passes) + 1):
            made = Rig(bench)
            made.styles()
            bad = list(passes)
            base = bench.random.randrange(40)
            if fault is Fault.PASSES:
                made.quiet["filled"] = base + number  # the end of the list has to be there, too
            elif number < len(passes):
                bad[number] = (bad[number][0], 0)
            await made.prepare(bad, base)
            assert (made.model.fault is fault) == (number == 0)
            await made.cycle(go=1)
            for _ in range(1000):
                if made.model.fault or not made.model.plan:
                    break
                await made.cycle()
            good = fault is Fault.REPEATS and number == len(passes)
            assert made.model.fault is (Fault.NONE if good else fault)
            bench.cover(f"fault: {fault.name}", number)
            bench.cover("a list without a fault ends", good)
            await made.stop()
            await bench.cycle(prepare=0, go=0, fill=0, response_valid=0)
            await bench.reset()


@test
async def reset(bench: Bench) -> None:
    """A reset in the middle leaves nothing behind."""
    made = Rig(bench)
    for length in range(12):
        made.memory_busy = made.memory_slow = 0.0
        made.taker_busy = 0.5
        await made.prepare([(5, 3), (4, 2)])
        await made.cycle(go=1)
        for _ in range(length):
            await made.cycle()
        bench.cover("reset with words under way", made.under_way or made.model.fifo)
        for name in ("prepare", "go", "fill", "response_valid"):
            assert await bench.cycle(**{name: 0})
        await bench.reset()
        made.model.reset()
        made.under_way.clear()
        for _ in range(4):
            await made.cycle()
        await made.network([(2, 2), (3, 1)])
