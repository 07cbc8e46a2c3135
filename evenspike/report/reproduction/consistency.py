"""The paper's own numbers, held against each other: what they count, and what cannot be."""

from __future__ import annotations

from evenspike.report.reproduction.parts import (
    SETS,
    TENTH,
    TITLES,
    Data,
    Row,
    claim,
    printed,
    row,
    section,
)
from evenspike_core import published_uticket as paper
from evenspike_core.metrics import ConvolutionCycles, PaperMetrics

PAIR = ("vgg16", "cifar10")


def consistency(record: Data) -> Data:
    """What the tables say when they are put together."""
    rows = [*_invariant(), *_counted(record), *_gain(), *_contradictions()]
    return section(
        "consistency",
        "The paper's own numbers",
        "Tables III to VI and section V",
        "What Table IV counts is not written in the paper; its numbers and the authors' code, "
        "which counts weights, say it: one weight at one output position in one timestep takes one "
        "PE one cycle, whether a neuron fires or not. Where two numbers of the paper exclude each "
        "other, both stand here.",
        rows,
    )


def _invariant() -> list[Row]:
    slack = paper.HALF_DIGIT * (1 + 2 / paper.PES)
    kept = [
        abs((one.work + one.idle) / paper.PES - one.latency) <= slack + 1e-9
        for one in paper.CYCLES.values()
    ]
    return [
        claim(
            "Table IV: (work + idle) / 16 PEs = latency",
            "16 rows",
            f"{sum(kept)} of {len(kept)} rows, to their last digit",
            all(kept),
            reason="a row does not hold it",
        )
    ]


def _counted(record: Data) -> list[Row]:
    """That timesteps are counted, and spikes are not."""
    found = []
    for one in record["bounds"]:
        key = one["network"], one["data"], "imp"
        work = paper.CYCLES[key].work * paper.UNIT
        rate = 1 - paper.TICKETS[key].spike_sparsity / 100
        name = f"{TITLES[one['network']]}, {SETS[one['data']]}"
        once, gated = one["most"], one["most"] * paper.TIMESTEPS * rate
        for what, most in (
            ("counting a weight once a position, not once a timestep", once),
            ("counting spikes only", gated),
        ):
            found.append(
                row(
                    f"{name}, LTH: most work possible {what}",
                    work,
                    most,
                    "claim",
                    most >= work,
                    form="count",
                    reason="so Table IV does not count this way: no placement of the weights that "
                    "Table III leaves gives so much work",
                )
            )
    return found


def _gain() -> list[Row]:
    before, after = (paper.CYCLES[*PAIR, method] for method in ("imp", "u-ticket"))
    whole = (before.work + before.idle) / (after.work + after.idle)
    fewer = before.work / after.work
    drops = [
        1 - paper.CYCLES[network, data, "u-ticket"].work / one.work
        for (network, data, method), one in paper.CYCLES.items()
        if method == "imp" and data != "cifar100"
    ]
    cuts = [
        1 - (paper.CYCLES[network, data, "u-ticket"].work / (one.work + one.idle))
        for (network, data, method), one in paper.CYCLES.items()
        if method == "imp" and data != "cifar100"
    ]
    utilization = before.utilization
    pooled = PaperMetrics(
        paper.PES,
        (ConvolutionCycles("all", 0, 1, 1, 1, round(100 * before.work), round(100 * before.idle),
                           round(100 * (before.work + before.idle) / paper.PES), None),),
    ).pooled  # fmt: skip
    assert pooled is not None  # noqa: S101 - it has work
    return [
        claim(
            "Section V-B-2: the number of work cycles stays similar",
            "similar",
            f"falls by {100 * min(drops):.0f} to {100 * max(drops):.0f} %",
            max(drops) <= TENTH,
            reason="u-Ticket's networks have fewer weights left than LTH's beside them",
        ),
        claim(
            "VGG-16, CIFAR10: the latency's gain comes of balance",
            "elimination of idle cycles",
            f"× {whole:.2f}, of which × {fewer:.2f} is fewer weights and × {whole / fewer:.2f} "  # noqa: RUF001
            "balance",
            whole / fewer > fewer,
            reason="the larger part of it is that fewer weights are left",
        ),
        printed(
            "Most latency that u-Ticket takes off (abstract), from work and idle cycles",
            paper.ABSTRACT["latency"] / 100,
            max(cuts),
            0.003,
            reason="not what Table IV's digits give",
        ),
        row(
            "VGG-16, CIFAR10, LTH: utilization is Eq. 2 of the table's totals",
            utilization,
            pooled,
            "same network",
            abs(pooled - utilization) <= 0.07,
            reason="the table has a mean over layers, in which the small ones count as much",
        ),
    ]


def _contradictions() -> list[Row]:
    same = [
        network
        for network in TITLES
        if all(
            paper.CYCLES[network, "cifar100", method] == paper.CYCLES["vgg16", "svhn", method]
            for method in ("imp", "u-ticket")
        )
    ]
    in_five = paper.EARLY_TICKETS["imp"][2]
    in_four = paper.CYCLES[*PAIR, "imp"].utilization
    stated = paper.EVENTS["n-caltech101", "imp"][1]
    possible = 100 * (1 - (1 - paper.ROUND_RATE) ** paper.EVENT_ROUNDS)
    last = 100 * (1 - (1 - paper.ROUND_RATE) ** 13)
    final = paper.TICKETS[*PAIR, "imp"].sparsity
    return [
        claim(
            "Table IV: the rows of CIFAR100 are measured",
            "four rows",
            f"{2 * len(same)} of 4 rows repeat the digits of VGG-16's SVHN rows",
            not same,
            reason="they are used for nothing here",
        ),
        claim(
            "Tables IV and V: utilization of LTH, VGG-16, CIFAR10",
            f"{in_four:.2f}",
            f"{in_five:.2f}",
            in_four == in_five,
            reason="two values of one network; in Table V 0.59 is of the search with fewer "
            "timesteps",
        ),
        printed(
            "Table VI: sparsity of N-Caltech101 after 10 rounds of 25 %",
            stated,
            possible,
            0.05,
            form="number",
            reason="ten rounds leave more weights than the table says",
        ),
        printed(
            "Fig. 4: sparsity after 13 rounds, VGG-16, CIFAR10",
            final,
            last,
            0.05,
            form="number",
            reason="98.2 % are 14 rounds of 25 %",
        ),
    ]
