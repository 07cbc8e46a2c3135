"""Fifo: every output in every cycle against a queue, at several depths."""

from __future__ import annotations

from collections import deque

from amaranth.hdl import unsigned
from amaranth.lib import wiring

from evenspike_core.arch import Arch
from evenspike_hw.rtl.fifo import Fifo
from tests.helpers.driver import Bench, test

WIDTH = 16

ARCH = Arch(fifo_depth=7)
VARIANTS = {f"depth{n}": Arch(fifo_depth=n) for n in (1, 2, 64)}


def component(arch: Arch) -> wiring.Component:
    return Fifo(unsigned(WIDTH), arch.fifo_depth)


class Model:
    """A queue whose flags are those before what happens in the cycle."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.depth = bench.arch.fifo_depth
        self.items: deque[int] = deque()
        self.pushed = 0
        self.popped = 0
        self.waited = 0  # cycles in which the head was not popped
        for limit, what in ((2, "one"), (3, "more")):
            if self.depth < limit:
                depth = "at depth 1" if limit == 2 else "below depth 3"
                bench.cover(f"push and pop at once with {what} inside (never {depth})")

    async def cycle(self, push: bool, pop: bool) -> None:
        bench, items = self.bench, self.items
        payload = bench.bits(WIDTH)
        found = await bench.cycle(w__valid=push, w__payload=payload, r__ready=pop)
        room, there = len(items) < self.depth, bool(items)
        expected = {"w__ready": int(room), "r__valid": int(there)}
        if there:
            expected["r__payload"] = items[0]
        bench.check(found, expected)
        self._cover(push, pop, room, there)
        if there and pop:
            items.popleft()
            self.popped += 1
        self.waited = self.waited + 1 if there and not pop else 0
        if push and room:
            items.append(payload)
            self.pushed += 1

    def _cover(self, push: bool, pop: bool, room: bool, there: bool) -> None:
        cover = self.bench.cover
        level = len(self.items)
        cover("full", not room)
        cover("push refused", push and not room)
        cover("pop from a full FIFO while a push is refused", push and pop and not room)
        cover("empty, and the consumer waits", pop and not there)
        cover("push into an empty FIFO", push and not there)
        cover("head waits in the register, then in the memory", self.waited >= 2)
        cover(
            "push and pop at once with one inside (never at depth 1)",
            push and pop and room and level == 1,
        )
        cover(
            "push and pop at once with more inside (never below depth 3)",
            push and pop and room and level > 1,
        )
        cover("pop the last", pop and level == 1)


@test
async def fill_and_empty(bench: Bench) -> None:
    model = Model(bench)
    for _ in range(3):
        for _ in range(model.depth + 2):
            await model.cycle(True, False)
        for _ in range(model.depth + 2):
            await model.cycle(False, True)


@test
async def latency_is_one_cycle(bench: Bench) -> None:
    for payload in (0, (1 << WIDTH) - 1, 0x5555, 0xAAAA):
        bench.check(
            await bench.cycle(w__valid=1, w__payload=payload, r__ready=1),
            {"w__ready": 1, "r__valid": 0},
        )
        bench.check(
            await bench.cycle(w__valid=0, w__payload=0), {"r__valid": 1, "r__payload": payload}
        )
        bench.check(await bench.cycle(), {"r__valid": 0})


@test
async def one_push_and_one_pop_a_cycle(bench: Bench) -> None:
    model = Model(bench)
    levels = range(1, model.depth) if model.depth > 1 else (1,)
    for level in levels:
        while len(model.items) < level:
            await model.cycle(True, False)
        before = model.popped
        for _ in range(2 * model.depth + 3):
            await model.cycle(True, True)
        if model.depth > 1:
            assert model.popped - before == 2 * model.depth + 3
        else:  # a cycle for the push, one for the pop
            assert model.popped - before == 3


@test
async def full_takes_nothing_in_the_cycle_of_a_pop(bench: Bench) -> None:
    model = Model(bench)
    for _ in range(model.depth):
        await model.cycle(True, False)
    for _ in range(3 * model.depth):
        await model.cycle(True, True)


@test
async def reset_empties(bench: Bench) -> None:
    for pushes in range(1, min(bench.arch.fifo_depth, 8) + 1):
        model = Model(bench)
        for _ in range(pushes if pushes < 8 else bench.arch.fifo_depth):
            await model.cycle(True, False)
        bench.cover("reset while full", len(model.items) == model.depth)
        await bench.cycle(w__valid=0, r__ready=0)
        await bench.reset()
        model = Model(bench)
        await model.cycle(False, True)
        for _ in range(model.depth + 1):
            await model.cycle(True, False)
        for _ in range(model.depth + 1):
            await model.cycle(False, True)


@test
async def random_traffic(bench: Bench) -> None:
    model = Model(bench)
    while model.pushed < bench.transactions:
        push, pop = bench.random.choice(((0.9, 0.9), (1, 0.5), (0.5, 1), (0.3, 0.3), (1, 1)))
        for _ in range(bench.random.randrange(4 * model.depth + 8)):
            await model.cycle(bench.chance(push), bench.chance(pop))
    while model.items:
        await model.cycle(False, bench.chance(0.5))
    assert model.popped == model.pushed
