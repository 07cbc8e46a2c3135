"""Bench of Turns: the word on the port in every cycle against whose turn it is."""

from __future__ import annotations

from typing import Any

from evenspike_core.arch import Arch
from evenspike_hw.rtl.turns import Turns
from tests.helpers.driver import Bench, test

component = Turns
ARCH = Arch(pes=4, clusters=4)
VARIANTS = {
    "clusters2": Arch(pes=4, clusters=2, port_bits=128),
    "clusters8": Arch(pes=4, clusters=8, address_bits=20),
}


class Rig:
    """Words that clusters offer; a cluster keeps its own until it is taken."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.turn = 0
        self.offers: list[dict[str, int] | None] = [None] * bench.arch.clusters
        self.waited = [0] * bench.arch.clusters  # cycles of a memory that took what it could

    def word(self) -> dict[str, int]:
        arch = self.bench.arch
        return {
            "enable": 1,
            "address": self.bench.bits(arch.address_bits),
            "data": self.bench.bits(arch.port_bits),
        }

    async def cycle(self, offers: set[int], ready: bool = True) -> None:
        """offers: clusters that have a word, unless they have one."""
        bench, clusters = self.bench, self.bench.arch.clusters
        for cluster in offers:
            self.offers[cluster] = self.offers[cluster] or self.word()
        noise = {"address": bench.bits(16), "data": bench.bits(64)}
        drive = [one or {"enable": 0, **noise} for one in self.offers]
        out = await bench.cycle(writes=drive, ready=int(ready))
        own = self.offers[self.turn]
        taken = own is not None and ready
        expected: dict[str, Any] = {"taken": taken << self.turn}
        if own is not None:
            expected["write"] = own
        else:
            assert not out["write"] & 1, f"cycle {bench.now - 1}: a word of nobody"
        bench.check(out, expected)
        others = sum(one is not None for one in self.offers) - (own is not None)
        bench.cover("all clusters offer", others == clusters - 1 and own is not None)
        bench.cover("the memory makes all wait", others and own is not None and not ready)
        bench.cover("a turn of nobody", own is None and others)
        bench.cover("the memory is not ready, and nobody offers", own is None and not ready)
        for cluster, one in enumerate(self.offers):
            self.waited[cluster] += one is not None and ready
            assert self.waited[cluster] <= clusters, "a turn comes too late"
        if taken:
            self.offers[self.turn], self.waited[self.turn] = None, 0
        if own is None or ready:
            self.turn = (self.turn + 1) % clusters
            bench.cover("the first again", self.turn == 0)


@test
async def every_cluster_has_its_cycle(bench: Bench) -> None:
    """A memory that takes each word at once takes one of each in as many cycles as clusters."""
    made = Rig(bench)
    everybody = set(range(bench.arch.clusters))
    for _ in range(5 * bench.arch.clusters):
        await made.cycle(everybody)
    for cluster in everybody:
        for _ in range(2 * bench.arch.clusters):
            await made.cycle({cluster})
    while any(made.offers):
        await made.cycle(set())
    for _ in range(bench.arch.clusters):
        await made.cycle(set(), ready=False)


@test
async def random_words(bench: Bench) -> None:
    made = Rig(bench)
    for n in range(bench.transactions // 4):
        if n % 100 == 0:
            share, stall = (bench.random.choice((0.0, 0.2, 0.7)) for _ in range(2))
        offers = {c for c in range(bench.arch.clusters) if not bench.chance(share)}
        await made.cycle(offers if bench.chance(0.8) else set(), ready=not bench.chance(stall))


@test
async def reset(bench: Bench) -> None:
    """The first cluster's turn comes again."""
    for turns in range(1, bench.arch.clusters):
        made = Rig(bench)
        for _ in range(turns):
            await made.cycle(set())
        await bench.cycle(writes=0, ready=0)
        await bench.reset()
        bench.cover("reset in a later turn")
        made = Rig(bench)
        await made.cycle({0}, ready=False)
        await made.cycle(set())
