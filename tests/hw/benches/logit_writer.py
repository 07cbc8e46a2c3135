"""LogitWriter: every word in every cycle against a list of what is still to be written."""

from __future__ import annotations

from collections import deque

from evenspike_core.arch import Arch
from evenspike_hw.rtl.layouts import ADDRESS_BITS, LOGIT_BITS
from evenspike_hw.rtl.logits import LogitWriter
from tests.helpers.driver import Bench, test

component = LogitWriter
ARCH = Arch(pes=4)
VARIANTS = {f"pes{n}": Arch(pes=n) for n in (1, 16)}
VARIANTS |= {"port128": Arch(pes=16, port_bits=128), "port256": Arch(pes=4, port_bits=256)}

LANE = (1 << LOGIT_BITS) - 1


class Model:
    """Words that are still to be written, and the address of the next."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.words: deque[int] = deque()
        self.address = 0
        self.blocks = 0
        self.written = 0

    def block(self) -> list[int]:
        return [self.bench.bits(LOGIT_BITS) for _ in range(self.bench.arch.pes)]

    async def cycle(
        self, block: list[int] | None = None, base: int | None = None
    ) -> dict[str, int]:
        """block: its logits are valid. base: start."""
        bench = self.bench
        lanes = self.block() if block is None else block
        found = await bench.cycle(
            valid=block is not None,
            logits=sum(value << LOGIT_BITS * n for n, value in enumerate(lanes)),
            start=base is not None,
            base=bench.bits(ADDRESS_BITS) if base is None else base,
        )
        write: dict[str, int] = bench.fields("write", found["write"])
        expected = {"enable": int(bool(self.words))}
        if self.words:
            expected |= {"address": self.address, "data": self.words[0]}
        got = {name: write[name] for name in expected}
        assert got == expected, f"cycle {bench.now - 1}: write is {got}, expected {expected}"
        if block is not None:
            assert len(self.words) <= 1, "a block too early"
            bench.cover(
                "a block in the cycle of the last word" if self.words else "a block after a pause"
            )
        if self.words:
            self.words.popleft()
            self.written += 1
            bench.cover("the address wraps", self.address == (1 << ADDRESS_BITS) - 1)
            self.address = (self.address + 1) % (1 << ADDRESS_BITS)
        if base is not None:
            bench.cover("start behind blocks" if self.blocks else "start without a block")
            self.address = base
        if block is not None:
            self.blocks += 1
            each = bench.arch.port_bits // LOGIT_BITS
            for at in range(0, len(lanes), each):
                part = lanes[at : at + each]
                self.words.append(sum(one << LOGIT_BITS * n for n, one in enumerate(part)))
        return found


@test
async def words_follow_in_the_next_cycles(bench: Bench) -> None:
    model = Model(bench)
    count = bench.arch.logit_words
    await model.cycle(base=1000)
    for value in (0, LANE, LANE // 3, 1 << LOGIT_BITS - 1):
        await model.cycle(block=[value ^ (n % 2 * LANE) for n in range(bench.arch.pes)])
        before = model.written
        for _ in range(count):
            await model.cycle()
        assert model.written == before + count
        await model.cycle()
        assert model.written == before + count
    assert model.address == 1000 + 4 * count


@test
async def a_block_every_few_cycles(bench: Bench) -> None:
    model = Model(bench)
    count = bench.arch.logit_words
    await model.cycle(base=(1 << ADDRESS_BITS) - 5 * count)
    for number in range(40 * count + 1):
        await model.cycle(block=model.block() if number % count == 0 else None)
    assert model.written == 40 * count


@test
async def every_carry_of_the_address(bench: Bench) -> None:
    model = Model(bench)
    for bit in range(ADDRESS_BITS):
        for base in ((1 << bit) - 1, 1 << bit):
            await model.cycle(base=base)
            await model.cycle(block=model.block())
            while model.words:
                await model.cycle()


@test
async def reset_drops_the_rest(bench: Bench) -> None:
    for words in range(bench.arch.logit_words):
        model = Model(bench)
        await model.cycle(base=bench.bits(ADDRESS_BITS))
        await model.cycle(block=model.block())
        for _ in range(words):
            await model.cycle()
        assert model.words
        bench.cover("reset between words")
        await bench.cycle(valid=0, start=0)
        await bench.reset()
        model = Model(bench)
        for _ in range(bench.arch.logit_words + 1):
            await model.cycle()
        await model.cycle(block=model.block())  # from address 0 on
        while model.words:
            await model.cycle()


@test
async def random_blocks(bench: Bench) -> None:
    model = Model(bench)
    while model.blocks < bench.transactions:
        if bench.chance(0.2):
            while model.words:
                await model.cycle()
            await model.cycle(base=bench.bits(ADDRESS_BITS))
        pause = bench.random.choice((0, 0.5, 0.9))
        for _ in range(20):
            room = len(model.words) <= 1
            await model.cycle(block=model.block() if room and not bench.chance(pause) else None)
