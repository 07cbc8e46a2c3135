"""Bench of Halves: the joined pulse in every cycle against lists of what each cluster gave up."""

from __future__ import annotations

from evenspike_core.arch import Arch
from evenspike_hw.rtl.halves import Halves
from tests.helpers.driver import Bench, test

component = Halves
ARCH = Arch(pes=4, clusters=4)
VARIANTS = {f"clusters{n}": Arch(pes=4, clusters=n) for n in (2, 8)}


class Rig:
    """Halves that each cluster has given up, and those that are free in all of them. Two are
    loaded at most that are not.
    """

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.given = [0] * bench.arch.clusters
        self.joined = 0
        self.before = False  # joined in the cycle before

    def may(self, cluster: int) -> bool:
        """The cluster has a half to give up."""
        return self.given[cluster] < self.joined + 2

    async def cycle(self, frees: set[int]) -> None:
        bench = self.bench
        assert all(map(self.may, frees))
        after = [count + (n in frees) for n, count in enumerate(self.given)]
        free = min(after) > self.joined
        out = await bench.cycle(frees=sum(1 << n for n in frees))
        bench.check(out, {"free": int(free)})
        ahead = [count - self.joined for count in self.given]
        bench.cover("all at once", free and not any(ahead))
        bench.cover("the last of all", free and ahead.count(0) == 1)
        bench.cover("one is two halves ahead", max(ahead) == 2)
        bench.cover("joined while one is two ahead", free and max(ahead) == 2)
        bench.cover("joined in two cycles in a row", free and self.before)
        self.given, self.before = after, free
        self.joined += free


@test
async def one_after_the_other(bench: Bench) -> None:
    """The last one counts, whichever it is, in its cycle."""
    made = Rig(bench)
    clusters = bench.arch.clusters
    for last in range(clusters):
        for cluster in range(clusters):
            await made.cycle({(last + 1 + cluster) % clusters})
            await made.cycle(set())
    await made.cycle(set(range(clusters)))


@test
async def two_ahead(bench: Bench) -> None:
    """All but one give up both halves; it then does so in two cycles in a row."""
    made = Rig(bench)
    for slow in range(bench.arch.clusters):
        others = set(range(bench.arch.clusters)) - {slow}
        for frees in (others, others, set(), {slow}, {slow}, set()):
            await made.cycle(frees)


@test
async def random_pulses(bench: Bench) -> None:
    made = Rig(bench)
    for n in range(bench.transactions // 4):
        if n % 100 == 0:
            shares = [bench.random.choice((0.05, 0.3, 1.0)) for _ in made.given]
        await made.cycle(
            {c for c, share in enumerate(shares) if made.may(c) and bench.chance(share)}
        )


@test
async def reset(bench: Bench) -> None:
    """Forgets what was given up."""
    for slow in range(bench.arch.clusters):
        made = Rig(bench)
        others = set(range(bench.arch.clusters)) - {slow}
        for _ in range(1 + slow % 2):
            await made.cycle(others)
        await bench.cycle(frees=0)
        await bench.reset()
        made = Rig(bench)
        await made.cycle({slow})
        await made.cycle(others)
        bench.cover("reset between the clusters")
