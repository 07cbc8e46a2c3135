"""LogitWriter: every word in every cycle against a list of what is still to be written."""

from __future__ import annotations

from collections import deque

from evenspike_core.arch import Arch
from evenspike_hw.rtl.layouts import LOGIT_BITS
from evenspike_hw.rtl.logits import LogitWriter
from tests.helpers.driver import Bench, test

component = LogitWriter
ARCH = Arch(pes=4)
ADDRESS_BITS = ARCH.address_bits
VARIANTS = {f"pes{n}": Arch(pes=n) for n in (1, 16)}
VARIANTS |= {"shared-lif": Arch(pes=4, lif_shared=1)}  # fewer words than timesteps
VARIANTS |= {"clusters": Arch(pes=4, clusters=4)}  # each has a turn in four
VARIANTS |= {"port128": Arch(pes=16, port_bits=128), "port256": Arch(pes=4, port_bits=256)}

LANE = (1 << LOGIT_BITS) - 1


def latency(arch: Arch) -> int:
    """From a claim to its block."""
    return arch.timesteps + 3 if arch.lif_shared else 2 * arch.timesteps + 1


def position(arch: Arch) -> int:
    """Cycles from a claim to the next, at least."""
    return max(arch.clusters * arch.logit_words, arch.timesteps if arch.lif_shared else 1)


class Model:
    """Words that are still to be written, and the address of the next."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.words: deque[int] = deque()
        self.coming = 0  # of these words, those of the block that leave its register, one a cycle
        self.claimed = 0  # blocks
        self.claims: deque[int] = deque()  # cycles of those whose block has not come
        arch = bench.arch
        # Until the first is given back: a claim with each position.
        self.most = 1 + -(-(latency(arch) + 1) // position(arch))
        self.address = 0
        self.blocks = 0
        self.written = 0

    def block(self) -> list[int]:
        return [self.bench.bits(LOGIT_BITS) for _ in range(self.bench.arch.pes)]

    async def cycle(
        self,
        block: list[int] | None = None,
        base: int | None = None,
        *,
        claim: bool | None = None,
        ready: bool = True,
    ) -> dict[str, int]:
        """block: its logits are valid. base: start. claim: none is given with each block."""
        bench = self.bench
        claim = block is not None if claim is None else claim
        lanes = self.block() if block is None else block
        found = await bench.cycle(
            valid=block is not None,
            logits=sum(value << LOGIT_BITS * n for n, value in enumerate(lanes)),
            start=base is not None,
            base=bench.bits(ADDRESS_BITS) if base is None else base,
            claim=claim,
            ready=ready,
        )
        bench.check(found, {"room": int(self.claimed < self.most), "over": int(not self.claimed)})
        bench.cover("no room", self.claimed == self.most)
        write: dict[str, int] = bench.fields("write", found["write"])
        expected = {"enable": int(bool(self.words))}
        if self.words:
            expected |= {"address": self.address, "data": self.words[0]}
        got = {name: write[name] for name in expected}
        assert got == expected, f"cycle {bench.now - 1}: write is {got}, expected {expected}"
        if block is not None:
            assert self.coming <= 1, "a block too early"
            bench.cover(
                "a block in the cycle of the last word" if self.coming else "a block after a pause"
            )
        waits = len(self.words) > max(1, self.coming)
        bench.cover("words wait", waits)
        bench.cover("words of several blocks wait", len(self.words) > 2 * bench.arch.logit_words)
        bench.cover("the last word that waits is taken", self.words and ready and not self.coming)
        self.coming = max(0, self.coming - 1)
        self.claimed += claim
        if self.words and ready:
            self.words.popleft()
            self.written += 1
            self.claimed -= self.written % bench.arch.logit_words == 0
            bench.cover(
                "the address wraps", self.address >= (1 << ADDRESS_BITS) - bench.arch.clusters
            )
            self.address = (self.address + bench.arch.clusters) % (1 << ADDRESS_BITS)
        if base is not None:
            bench.cover("start behind blocks" if self.blocks else "start without a block")
            self.address = base
        if block is not None:
            self.blocks += 1
            each = bench.arch.port_bits // LOGIT_BITS
            for at in range(0, len(lanes), each):
                part = lanes[at : at + each]
                self.words.append(sum(one << LOGIT_BITS * n for n, one in enumerate(part)))
            self.coming = bench.arch.logit_words
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
    assert model.address == 1000 + 4 * count * bench.arch.clusters


@test
async def a_block_every_few_cycles(bench: Bench) -> None:
    model = Model(bench)
    count = bench.arch.logit_words
    await model.cycle(base=(1 << ADDRESS_BITS) - 5 * count * bench.arch.clusters)
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
            await model.cycle(ready=words % 2 == 0)
        assert model.words
        bench.cover("reset between words")
        await bench.cycle(valid=0, start=0, claim=0)
        await bench.reset()
        model = Model(bench)
        for _ in range(bench.arch.logit_words + 1):
            await model.cycle()
        await model.cycle(block=model.block())  # from address 0 on
        while model.words:
            await model.cycle()


@test
async def a_memory_that_is_always_ready_never_makes_it_wait(bench: Bench) -> None:
    """Claims as the drain gives them, one every few cycles: there is room for each, whenever the
    cluster's turns are.
    """
    for turn in range(bench.arch.clusters):
        await _claims(bench, turn)


async def _claims(bench: Bench, turn: int) -> None:
    model = Model(bench)
    count, clusters = position(bench.arch), bench.arch.clusters
    await model.cycle(base=0)
    blocks: deque[bool] = deque([False] * latency(bench.arch))
    for number in range(30 * count + latency(bench.arch) + 2 * count):
        claim = number % count == 0 and number < 30 * count
        assert not claim or model.claimed < model.most
        blocks.append(claim)
        block = model.block() if blocks.popleft() else None
        await model.cycle(block=block, claim=claim, ready=number % clusters == turn)
    assert model.written == 30 * bench.arch.logit_words
    assert not model.claimed


@test
async def a_memory_that_is_not_always_ready(bench: Bench) -> None:
    """A drain that waits for room; the memory takes some words, or none for long."""
    model = Model(bench)
    count = position(bench.arch)
    while model.blocks < bench.transactions // 3:
        await model.cycle(base=bench.bits(ADDRESS_BITS))
        share = bench.random.choice((0.0, 0.3, 0.9, 0.99))
        blocks: deque[bool] = deque([False] * latency(bench.arch))
        beat, left = 0, bench.random.randrange(1, 40)
        while left or model.claimed:
            claim = bool(left) and not beat and model.claimed < model.most
            left -= claim
            beat = (beat + 1) % count if claim or beat else 0
            blocks.append(claim)
            block = model.block() if blocks.popleft() else None
            await model.cycle(block=block, claim=claim, ready=not bench.chance(share))
        assert not model.words


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
            room = model.coming <= 1 and model.claimed < model.most
            await model.cycle(block=model.block() if room and not bench.chance(pause) else None)
