"""Bench of Control: commands, waits and fills, every output in every cycle."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from evenspike_core.arch import Arch
from evenspike_hw.rtl.control import Control
from evenspike_hw.rtl.layouts import FILL_BITS
from tests.helpers.driver import Bench, test

component = Control
ARCH = Arch(pes=4, table_words=1 << 16, accumulators=64, memory_latency=20)
VARIANTS = {
    "small-table": Arch(pes=4, table_words=100, accumulators=16, memory_latency=1),
    "port256": Arch(pes=4, table_words=100, port_bits=256, accumulators=16, memory_latency=1),
}
"""In the first the memory's latency says how long it is quiet, in the second the accumulators."""
QUIET = ("watches", "reset", "clear", "prepare", "go", "begin_fill", "filling", "done", "stopped")
INPUTS = (
    "start",
    "fill",
    "abort",
    "word_valid",
    "pending",
    "answers",
    "prepared",
    "running",
    "written",
    "fault",
    "barks",
)
TABLE, WATCHDOG = 1, 23
"""Codes of the faults that it finds by itself."""

Drive = dict[str, int]
Story = Generator[Any, Drive, Drive]


class Model:
    """What follows a command, told as a story; `filled` stays from one fill to the next."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.cover = bench, bench.cover
        self.addresses = (1 << bench.outputs["fill_address"].width) - 1
        self.filled = 0
        self.lanes = bench.arch.port_lanes
        self.tells(self.clean())

    @property
    def quiet(self) -> int:
        """Cycles without an answer before the next command; a power of two."""
        arch, cycles = self.bench.arch, 1
        while cycles < max(arch.accumulators, 4 * arch.memory_latency):
            cycles *= 2
        return cycles

    def tells(self, first: Story) -> None:
        self.reads_words = self.fills = False
        self.story = self.tell(first)
        next(self.story)

    def step(self, drive: Drive) -> dict[str, Any]:
        """The outputs of a cycle with these inputs."""
        shown = {"filled": self.filled, "fill_address": self.filled & self.addresses}
        high = dict.fromkeys(QUIET, 0) | {"busy": 1} | self.story.send(drive)
        waits = high["watches"]
        if drive["abort"]:
            self.cover("abort while idle", not high["busy"])
            self.cover("abort while answers are owed", high["reset"])
            self.cover("abort while it clears", bool(high["clear"]))
            self.cover("abort at the end", high["done"])
            self.cover("abort instead of a fault", high["stopped"])
            high["stopped"] = 0
        elif waits and drive["barks"]:
            self.cover("barks beside a fault", high["stopped"])
            self.cover("barks while it waits for answers", high["reset"])
            self.cover("barks while it fills", high["filling"])
            high["stopped"] = high["stopped"] or WATCHDOG
        if drive["abort"] or high["stopped"]:
            high |= dict.fromkeys(("go", "done", "begin_fill"), 0)
            if self.fills:
                self.filled = 0
                self.cover("a fill is broken off")
            self.tells(self.stop())
        else:
            next(self.story)
        return high | shown

    # Each story is sent the inputs of a cycle and gives the outputs that are high in it; then it
    # goes on to the next cycle, which its second `yield` waits for.

    def tell(self, first: Story) -> Generator[Any, Drive, None]:
        drive = yield from first
        while True:
            yield {"busy": 0}
            if drive["start"]:
                self.cover("start goes before fill", drive["fill"])
                drive = yield from self.infer()
            elif drive["fill"]:
                drive = yield from self.table()
            else:
                drive = yield None
                continue
            self.cover("commands right after the end", drive["start"] or drive["fill"])

    def stop(self) -> Story:
        drive = {"pending": 1}
        while drive["pending"]:
            drive = yield None
            yield {"reset": 1}
            self.cover("cleaning up waits for answers", drive["pending"])
        return (yield from self.clean())

    def clean(self) -> Story:
        """Row after row, then until it has been quiet for long enough."""
        row, rows = 0, self.bench.arch.accumulators
        while row < self.quiet:
            drive = yield None
            clears = row < rows and not drive["answers"]
            yield {"clear": {"enable": 1, "row": row} if clears else 0}
            self.cover("an answer of before the reset", drive["answers"])
            self.cover("an answer behind the last row", drive["answers"] and row >= rows - 1)
            row = 0 if drive["answers"] else row + 1
        return (yield None)

    def infer(self) -> Story:
        drive = {"pending": 1}
        while drive["pending"]:
            drive = yield None
            yield {"reset": 1, "watches": 1}
            self.cover("inference waits for answers", drive["pending"])
        drive = yield None
        yield {"prepare": 1, "watches": 1}
        waited = 0
        while True:
            drive = yield None
            go = int(drive["prepared"] and not drive["fault"])
            if drive["fault"]:
                self.cover("fault and prepared at once", drive["prepared"])
                self.cover("fault instead of prepared")
            yield {"go": go, "watches": 1, "stopped": drive["fault"]}
            if go:
                self.cover("waits for prepared" if waited else "prepared at once")
                break
            waited += 1
        ran = 0
        while True:
            drive = yield None
            over = not drive["running"] and drive["written"]
            self.cover("waits for its results", not drive["running"] and not drive["written"])
            done = int(over and not drive["fault"])
            self.cover("fault while it runs", drive["fault"] and not over)
            self.cover("fault that has ended it", drive["fault"] and over)
            yield {"done": done, "watches": 1, "stopped": drive["fault"]}
            if over:
                self.cover("runs a single cycle", ran == 1)
                return (yield None)
            ran += 1

    def table(self) -> Story:
        drive = {"pending": 1}
        self.reads_words = True
        while drive["pending"]:
            drive = yield None
            self.filled = 0  # whatever becomes of it
            yield {"reset": 1, "watches": 1}
            self.cover("fill waits for answers", drive["pending"])
        drive = yield None
        left = drive["table_words"]
        self.cover("table of no words", left == 0)
        self.cover("table of one word", left == 1)
        self.cover("table of all words", left == self.bench.arch.table_words)
        self.fills = True
        large = left > self.bench.arch.table_words
        self.cover("table of more words than there are", large)
        yield {"begin_fill": int(left > 0), "watches": 1, "stopped": TABLE if large else 0}
        row = 0
        while True:
            drive = yield None
            done = left == 1 or self.filled % self.lanes == self.lanes - 1
            yield {"filling": 1, "watches": 1, "word_done": int(done)}
            if not left:
                self.reads_words = self.fills = False
                return (yield None)
            row = row + 1 if drive["word_valid"] else 0
            self.cover("words in two cycles in a row", row == 2)
            if drive["word_valid"]:
                self.cover("table ends inside a port word", self._inside(left))
                left -= 1
                self.filled += 1
            elif self.filled:
                self.cover("gap between words of the table")

    def _inside(self, left: int) -> bool:
        return self.lanes == 1 or (left == 1 and self.filled % self.lanes != self.lanes - 1)


class Rig:
    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.model = Model(bench)
        self.ends = 0  # commands that are over
        self.busy = True
        self.words = 0

    async def cycle(self, **drive: int) -> dict[str, int]:
        """A cycle. table_words: stays from the fill's command on, and counts up to its first word;
        anything where no fill is under way.
        """
        bench, model = self.bench, self.model
        if "table_words" in drive and not model.fills:
            self.words = drive["table_words"]
        elif not model.reads_words:
            self.words = bench.bits(FILL_BITS)
        given: Drive = dict.fromkeys(INPUTS, 0) | {"written": 1} | drive
        given["table_words"] = self.words
        expected = model.step(given)
        out = await bench.cycle(**given)
        bench.check(out, expected)
        self.ends += self.busy and not out["busy"]
        self.busy = bool(out["busy"])
        return out

    async def noise(self, cycles: int, **chances: float) -> None:
        """Cycles in which each input is high with its chance; the others are low."""
        bench = self.bench
        for _ in range(cycles):
            await self.cycle(**{name: int(bench.chance(p)) for name, p in chances.items()})

    async def table(self, words: int, gap: float) -> None:
        bench = self.bench
        await self.cycle(fill=1)
        await self.cycle(table_words=words)
        while self.busy:
            await self.cycle(word_valid=int(not bench.chance(gap)))

    async def settle(self, answers: float = 0.0) -> None:
        """To the end of whatever it is at."""
        while self.busy:
            await self.cycle(answers=int(self.bench.chance(answers)))


@test
async def clears_behind_a_reset(bench: Bench) -> None:
    """All rows, as late as the last answer of before the reset demands."""
    made = Rig(bench)
    for answered in (0, 1, 2, bench.arch.accumulators - 1, made.model.quiet - 1):
        for _ in range(answered):
            await made.cycle(start=1, fill=1)
        await made.cycle(answers=1)
        for _ in range(made.model.quiet):
            assert made.busy
            await made.cycle(start=1, fill=1, prepared=1, running=1, fault=3, barks=1)
        await made.cycle()
        assert not made.busy
        await bench.idle()
        await bench.reset()
        made = Rig(bench)


@test
async def idle(bench: Bench) -> None:
    """Whatever the other blocks say, nothing happens without a command."""
    made = Rig(bench)
    await made.settle()
    noise = dict.fromkeys(("word_valid", "prepared", "running", "fault", "barks", "answers"), 0.5)
    await made.noise(60, **noise)


@test
async def inferences(bench: Bench) -> None:
    """Each order of prepared, running and fault; commands meanwhile change nothing."""
    made = Rig(bench)
    await made.settle()
    for waits in (0, 1, 5):
        for runs in (0, 1, 2, 7):
            for end in ("good", "fault", "early", "both", "barks"):
                for noise in (0, 1):
                    more = {"start": noise, "fill": noise, "word_valid": noise, "answers": noise}
                    await made.cycle(start=1, fill=noise)
                    await made.cycle(**more, prepared=1, running=1)  # reset
                    await made.cycle(**more, prepared=1, fault=noise)  # prepare
                    for _ in range(waits):
                        await made.cycle(**more, running=noise)
                    if end in {"early", "both"}:
                        await made.cycle(**more, fault=7, prepared=int(end == "both"))
                    else:
                        await made.cycle(**more, prepared=1)
                        for _ in range(runs):
                            await made.cycle(**more, running=1, prepared=noise)
                        code = 22 if end == "fault" else 0
                        barks = int(end == "barks" or (code > 0 and noise))
                        await made.cycle(**more, running=noise, fault=code, barks=barks)
                        if end == "good" and noise:
                            await made.cycle()
                    if end != "good":
                        assert (await made.cycle())["busy"]
                    await made.settle()


@test
async def tables(bench: Bench) -> None:
    """Every bit of the number of words; a table of the largest size, and ones beyond."""
    made = Rig(bench)
    await made.settle()
    for words in (0, 1, 2, 3, 0, 17):
        for gap in (0.0, 0.5):
            await made.table(words, gap)
    for command in ("start", "fill"):
        await made.cycle(**{command: 1})
        for n in range(3):
            await made.cycle(pending=1, barks=int(n == 2))
        await made.settle()
    await made.cycle(fill=1)
    for n in range(5):
        await made.cycle(table_words=9, barks=int(n == 4))
    await made.settle()
    largest = bench.arch.table_words
    await made.table(largest, 0.001)
    for words in (largest + 1, (1 << FILL_BITS) - 1, 1 << FILL_BITS - 1):
        if words > largest:
            await made.cycle(fill=1)
            await made.cycle(table_words=words)
            assert (await made.cycle())["stopped"] == TABLE
            await made.settle()
    # Numbers that take too long to be counted down to their end do not end early.
    for bit in range(FILL_BITS):
        if 1 << bit <= largest:
            await made.cycle(fill=1)
            await made.cycle(table_words=1 << bit)
            await made.noise(10, word_valid=0.7)
            await made.cycle(abort=1)
            await made.settle()


@test
async def aborts(bench: Bench) -> None:
    """In every cycle of an inference, a fill, and of the abort of either."""
    made = Rig(bench)
    await made.settle()
    for command in ("start", "fill"):
        for length in range(25):
            await made.cycle(**{command: 1}, table_words=9)
            for n in range(length):
                given = {"prepared": 1, "running": int(n < 9), "word_valid": 1, "table_words": 9}
                await made.cycle(**given, pending=int(n < 3), answers=int(n < 3))
            for _ in range(1 + length % 2):  # twice: it begins anew
                await made.cycle(abort=1, pending=1, start=1, fill=1, running=0)
                await made.cycle(pending=1, answers=1)
            await made.settle(0.02)
    await made.cycle(start=1)
    for given in ({}, {}, {"prepared": 1}):
        await made.cycle(**given)
    await made.cycle(abort=1, fault=3, running=1)
    await made.settle()


@test
async def random_commands(bench: Bench) -> None:
    """Commands at any time, answers at any time."""
    made = Rig(bench)
    cycles = 0
    while made.ends < bench.transactions // 50 or cycles < bench.transactions:
        chances = {name: bench.random.choice((0.1, 0.5, 0.9)) for name in INPUTS}
        for name, some in (("fault", 0.5), ("pending", 0.5), ("answers", 0.05), ("abort", 0.05)):
            chances[name] = bench.random.choice((0.0, some / 10, some))
        chances["barks"] = bench.random.choice((0.0, 0.02, 0.5))
        for _ in range(3 * made.model.quiet):
            drive = {name: int(bench.chance(p)) for name, p in chances.items()}
            drive["fault"] *= bench.random.randrange(1, 24)
            # Short tables, so that they come to their end.
            drive["table_words"] = bench.random.choice((0, 1, 2, 9))
            await made.cycle(**drive)
            cycles += 1


@test
async def reset(bench: Bench) -> None:
    """A reset in the middle of each command."""
    made = Rig(bench)
    for length in range(12):
        for command in ("start", "fill"):
            await made.settle()
            await made.cycle(**{command: 1})
            for _ in range(length):
                await made.cycle(prepared=1, running=1, word_valid=1, table_words=20)
            bench.cover("reset while it runs" if command == "start" else "reset while it fills")
            await bench.idle()
            await bench.reset()
            made = Rig(bench)
            await made.noise(3, prepared=0.5, running=0.5)
