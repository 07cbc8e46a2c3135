"""Bench of Control: commands, waits and fills, every output in every cycle."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from cocotb.triggers import ClockCycles

from evenspike_core.arch import Arch
from evenspike_hw.rtl.control import Control
from evenspike_hw.rtl.layouts import FILL_BITS
from tests.helpers.driver import Bench, test

component = Control
ARCH = Arch(pes=4, table_words=1 << 16)
VARIANTS = {
    "small-table": Arch(pes=4, table_words=100),
    "port256": Arch(pes=4, table_words=100, port_bits=256),
}
QUIET = ("reset", "prepare", "go", "begin_fill", "filling", "busy", "done")
INPUTS = ("start", "fill", "word_valid", "pending", "prepared", "running", "error")

Drive = dict[str, int]


class Model:
    """What follows a command, told as a story; `address` stays from one fill to the next."""

    def __init__(self, bench: Bench) -> None:
        self.cover = bench.cover
        self.addresses = (1 << bench.outputs["fill_address"].width) - 1
        self.address = 0
        self.lanes = bench.arch.port_lanes
        self.story = self.tell()
        next(self.story)

    def step(self, drive: Drive) -> Drive:
        """The outputs of a cycle with these inputs."""
        high = self.story.send(drive)
        next(self.story)
        return dict.fromkeys(QUIET, 0) | high

    # Each story is sent the inputs of a cycle and gives the outputs that are high in it; then it
    # goes on to the next cycle, which its second `yield` waits for.

    def tell(self) -> Generator[Any, Drive, None]:
        drive = yield None
        while True:
            yield {"fill_address": self.address}
            if drive["start"]:
                self.cover("start goes before fill", drive["fill"])
                drive = yield from self.infer()
            elif drive["fill"]:
                drive = yield from self.table()
            else:
                drive = yield None
                continue
            self.cover("commands right after the end", drive["start"] or drive["fill"])

    def infer(self) -> Generator[Any, Drive, Drive]:
        here = {"busy": 1, "fill_address": self.address}
        drive = {"pending": 1}
        while drive["pending"]:
            drive = yield None
            yield here | {"reset": 1}
            self.cover("inference waits for answers", drive["pending"])
        drive = yield None
        yield here | {"prepare": 1}
        waited = 0
        while True:
            drive = yield None
            go = drive["prepared"] and not drive["error"]
            yield here | {"go": go}
            if drive["error"]:
                self.cover("error and prepared at once", drive["prepared"])
                self.cover("error instead of prepared")
                return (yield None)
            if go:
                self.cover("waits for prepared" if waited else "prepared at once")
                break
            waited += 1
        ran = 0
        while True:
            drive = yield None
            over = not drive["running"]
            yield here | {"done": int(over and not drive["error"])}
            if over:
                if drive["error"]:
                    self.cover("error while it runs")
                elif ran == 1:
                    self.cover("runs a single cycle")
                return (yield None)
            ran += 1

    def table(self) -> Generator[Any, Drive, Drive]:
        drive, left = {"pending": 1}, 0
        while drive["pending"]:
            drive = yield None
            yield {"busy": 1, "reset": 1, "fill_address": self.address}
            left, self.address = drive["table_words"], 0
            self.cover("fill waits for answers", drive["pending"])
        self.cover("table of no words", left == 0)
        self.cover("table of one word", left == 1)
        self.cover("table of 65536 words", left == 1 << 16)
        drive = yield None
        yield {"busy": 1, "begin_fill": int(left > 0), "fill_address": 0}
        row = 0
        while True:
            drive = yield None
            done = left <= 1 or self.address % self.lanes == self.lanes - 1
            yield {"busy": 1, "filling": 1, "fill_address": self.address, "word_done": int(done)}
            if not left:
                return (yield None)
            row = row + 1 if drive["word_valid"] else 0
            self.cover("words in two cycles in a row", row == 2)
            if drive["word_valid"]:
                self.cover("table ends inside a port word", self._inside(left))
                left -= 1
                self.address = self.address + 1 & self.addresses
            elif self.address:
                self.cover("gap between words of the table")

    def _inside(self, left: int) -> bool:
        return self.lanes == 1 or (left == 1 and self.address % self.lanes != self.lanes - 1)


class Rig:
    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.model = Model(bench)
        self.ends = 0  # commands that are over
        self.busy = False

    async def cycle(self, **drive: int) -> dict[str, int]:
        bench = self.bench
        given: Drive = dict.fromkeys(INPUTS, 0) | {"table_words": bench.bits(FILL_BITS)} | drive
        expected = self.model.step(given)
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


@test
async def idle(bench: Bench) -> None:
    """After the reset, and whatever the other blocks say, nothing happens without a command."""
    made = Rig(bench)
    await made.noise(60, word_valid=0.5, prepared=0.5, running=0.5, error=0.5)


@test
async def inferences(bench: Bench) -> None:
    """Each order of prepared, running and error; commands meanwhile change nothing."""
    made = Rig(bench)
    for waits in (0, 1, 5):
        for runs in (0, 1, 2, 7):
            for end in ("good", "error", "early", "both"):
                for noise in (0, 1):
                    more = {"start": noise, "fill": noise, "word_valid": noise}
                    await made.cycle(start=1, fill=noise)
                    await made.cycle(**more, prepared=1, running=1)  # reset
                    await made.cycle(**more, prepared=1, error=noise)  # prepare
                    for _ in range(waits):
                        await made.cycle(**more, running=noise)
                    if end in {"early", "both"}:
                        await made.cycle(**more, error=1, prepared=int(end == "both"))
                    else:
                        await made.cycle(**more, prepared=1)
                        for _ in range(runs):
                            await made.cycle(**more, running=1, prepared=noise, error=noise)
                        await made.cycle(**more, error=int(end == "error"))
                    assert not (await made.cycle())["busy"]


@test
async def tables(bench: Bench) -> None:
    """Every bit of the number of words; a table of the largest size."""
    made = Rig(bench)
    for words in (0, 1, 2, 3, 0, 17):
        for gap in (0.0, 0.5):
            await made.table(words, gap)
    largest = 1 << 16
    if bench.transactions > 1000:
        await made.table(0xAAA, 0.1)
        await made.table(0x555, 0.1)
    # All but its first and last words without a look at them: they only cost time.
    await made.cycle(fill=1)
    await made.cycle(table_words=largest)
    await made.noise(5, word_valid=1.0)
    drive = dict.fromkeys(INPUTS, 0) | {"word_valid": 1, "table_words": 0}
    at = 4  # words that have come
    for stop in (*(1 << bit for bit in range(3, 16)), largest - 3):
        quiet = stop - 2 - at
        if quiet > 0:
            await ClockCycles(bench.clock, quiet)
            for _ in range(quiet):
                made.model.step(drive)
            at += quiet
        for _ in range(4):
            await made.cycle(**drive)
        at += 4
    while made.busy:
        await made.cycle(word_valid=1)
    # Numbers that take too long to be counted down to their end do not end early.
    for bit in range(FILL_BITS):
        await made.cycle(fill=1)
        await made.cycle(table_words=1 << bit | 1 << 16)
        await made.noise(10, word_valid=0.7)
        await bench.cycle(start=0, fill=0, word_valid=0)
        await bench.reset()
        made = Rig(bench)


@test
async def random_commands(bench: Bench) -> None:
    """Commands at any time, answers at any time."""
    made = Rig(bench)
    cycles = 0
    while made.ends < bench.transactions // 10 or cycles < bench.transactions:
        chances = {name: bench.random.choice((0.1, 0.5, 0.9)) for name in INPUTS}
        chances["error"] = bench.random.choice((0.0, 0.05, 0.5))
        chances["pending"] = bench.random.choice((0.0, 0.1, 0.5))
        for _ in range(100):
            drive = {name: int(bench.chance(p)) for name, p in chances.items()}
            # Short tables, so that they come to their end.
            drive["table_words"] = bench.random.choice((0, 1, 2, 9))
            await made.cycle(**drive)
        cycles += 100


@test
async def reset(bench: Bench) -> None:
    """A reset in the middle of each command."""
    made = Rig(bench)
    for length in range(12):
        for command in ("start", "fill"):
            await made.cycle(**{command: 1})
            for _ in range(length):
                await made.cycle(prepared=1, running=1, word_valid=1, table_words=20)
            bench.cover("reset while it runs" if command == "start" else "reset while it fills")
            await bench.idle()
            await bench.reset()
            made = Rig(bench)
            await made.noise(3, prepared=0.5, running=0.5)
