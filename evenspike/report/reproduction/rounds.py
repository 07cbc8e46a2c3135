"""Figs. 4 and 14, Table VI: utilization over the rounds of pruning."""

from __future__ import annotations

import itertools

from evenspike.report.reproduction.parts import (
    Data,
    Row,
    claim,
    each,
    points,
    same_network,
    section,
)
from evenspike_core import published_uticket as paper


def _ladder(record: Data, network: str, method: str) -> list[Data]:
    found = [
        one
        for one in each(record, "drawn", network=network, method=method, pes=paper.PES)
        if one["pruned"] is not None
    ]
    return sorted(found, key=lambda one: one["pruned"])


def rounds(record: Data) -> Data:
    """The ladder of VGG-16, and that of ResNet-19 as far as event data sets are pruned."""
    rows: list[Row] = []
    vgg, resnet = (_ladder(record, network, "imp") for network in ("vgg16", "resnet19"))
    by_round = {one["pruned"]: one["paper_convention"]["layer_mean"] for one in vgg}
    stated = paper.CYCLES["vgg16", "cifar10", "imp"].utilization
    rows += [
        same_network(
            f"Fig. 4: utilization of LTH after {number} rounds, VGG-16, CIFAR10",
            stated,
            by_round[number],
            reason="the fit's masks at another round",
        )
        for number in (13, 14)
        if number in by_round
    ]
    for title, ladder in (("Fig. 4, VGG-16", vgg), ("Fig. 14, ResNet-19", resnet)):
        means = [one["paper_convention"]["layer_mean"]["mean"] for one in ladder]
        if len(means) > 1:
            falls = all(after <= before for before, after in itertools.pairwise(means))
            rows.append(
                claim(
                    f"{title}: utilization of LTH falls as sparsity rises",
                    "degrades",
                    f"{means[0]:.3f} to {means[-1]:.3f} in {len(means) - 1} rounds",
                    falls,
                    reason="not in every round",
                )
            )
    rows += [
        same_network(
            "Fig. 14 and Table VI: LTH, CIFAR10-DVS, 10 rounds (ours: the masks fitted to "
            "ResNet-19 on CIFAR10, as many rounds)",
            paper.EVENTS["cifar10-dvs", "imp"][2],
            one["paper_convention"]["layer_mean"],
            reason="another data set's network; its work and idle cycles are not stated",
        )
        for one in resnet
        if one["pruned"] == paper.EVENT_ROUNDS
    ]
    balanced = [one["paper_convention"]["layer_mean"]["mean"]
                for network in ("vgg16", "resnet19")
                for one in _ladder(record, network, "imp, balanced")]  # fmt: skip
    if balanced:
        rows.append(
            claim(
                "u-Ticket's utilization in every round",
                "100 %",
                f"at least {min(balanced):.4f} in {len(balanced)} rounds of both networks",
                min(balanced) > 0.995,
                reason="not balanced",
            )
        )
    series = [
        {"name": name, "points": points([(100 * one["sparsity"], one["paper_convention"][key])
                                         for one in ladder])}
        for name, ladder, key in (
            ("LTH, VGG-16, mean of layers", vgg, "layer_mean"),
            ("LTH, VGG-16, weighted by parameters", vgg, "parameter_weighted"),
            ("LTH, ResNet-19, mean of layers", resnet, "layer_mean"),
        )
    ]  # fmt: skip
    trained = [line for line in record["trained"]["rounds"] if line["method"] == "imp"]
    for recipe in dict.fromkeys(line["recipe"] for line in trained):
        pairs = [
            (100 * line["sparsity"]["mean"], line["utilization"])
            for line in trained
            if line["recipe"] == recipe and line["sparsity"] and line["utilization"]
        ]
        series.append({"name": f"trained: {recipe}, LTH", "points": points(pairs)})
    return section(
        "rounds",
        "Utilization over the rounds",
        "Figs. 4 and 14 and Table VI",
        "The fitted masks of the last round, behind a lower threshold in every round before: the "
        "weights of a filter are taken as normal, and a round takes the least 25 % of all that are "
        "alive. What was trained here, at a part of the width, stands beside them in the plot.",
        rows,
        [
            {
                "title": "Round by round, the paper's convention",
                "columns": [
                    {"name": "network", "format": "text"},
                    {"name": "rounds", "format": "count"},
                    {"name": "sparsity", "format": "share"},
                    {"name": "LTH, mean of layers", "format": "share"},
                    {"name": "weighted by parameters", "format": "share"},
                    {"name": "Eq. 2 of the totals", "format": "share"},
                ],
                "rows": [
                    [network, one["pruned"], one["sparsity"],
                     *(one["paper_convention"][key]
                       for key in ("layer_mean", "parameter_weighted", "pooled"))]
                    for network, ladder in (("VGG-16", vgg), ("ResNet-19", resnet))
                    for one in ladder
                ],
            }
        ],
        [
            {
                "x": {"label": "sparsity of the weights, %"},
                "y": {"label": "utilization, paper's convention"},
                "series": series,
            }
        ],
    )  # fmt: skip
