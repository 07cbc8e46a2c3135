"""Table III: what was trained here, beside what the paper states."""

from __future__ import annotations

from evenspike.report.reproduction.parts import SETS, TITLES, Data, Row, row, section
from evenspike_core import published
from evenspike_core import published_uticket as paper
from evenspike_core.wilson import wilson


def table3(record: Data) -> Data:
    """Accuracy and sparsities of the shipped tickets."""
    rows: list[Row] = []
    for one in record["tickets"]:
        key = one["network"], one["data"], one["method"]
        stated = paper.TICKETS.get(key)
        if stated is None:
            continue
        full = one["width"] == published.FULL_WIDTH
        width = "the full width" if full else f"width {one['width']} of {published.FULL_WIDTH}"
        name = f"`{one['name']}` ({TITLES[one['network']]}, {SETS[one['data']]}, {width})"
        why = (
            "trained for the images that its card says, where the paper has 150 epochs a round"
            if full
            else "a part of the filters, trained for the images that its card says"
        )
        right = round(one["accuracy"] / 100 * one["tested"])
        low, high = wilson(right, one["tested"])
        rows += [
            row(
                f"{name}: test accuracy, %",
                stated.accuracy,
                one["accuracy"],
                "interval",
                100 * low <= stated.accuracy <= 100 * high,
                form="number",
                reason=why,
            ),
            row(
                f"{name}: sparsity of the weights, %",
                stated.sparsity,
                100 * one["sparsity"],
                "point",
                abs(100 * one["sparsity"] - stated.sparsity) <= 1,
                form="number",
                reason="a narrow network has fewer weights to give away",
            ),
            row(
                f"{name}: sparsity of the spikes, %",
                stated.spike_sparsity,
                100 * one["spike_sparsity"],
                "point",
                abs(100 * one["spike_sparsity"] - stated.spike_sparsity) <= 1,
                form="number",
                reason="another training; the paper's is not stated by layer",
            ),
        ]
    return section(
        "table3",
        "What was trained",
        "Table III",
        "The shipped tickets by their cards, on the test set. Methods beside each other, with "
        "seeds, are on the [other pages](README.md). Nothing was trained here at the paper's "
        "length.",
        rows,
    )
