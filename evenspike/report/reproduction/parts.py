"""What a figure is made of: rows with a verdict by a written rule, and a look into the record.

A row says what is compared, the paper's value, ours, the rule and its verdict. The rule is applied
here and nowhere else; what a row gives beside it is the reason that is shown where the two differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Data = dict[str, Any]
Row = dict[str, Any]

AGREES, DIFFERS, UNSTATED = "agrees", "differs", "not stated"

TENTH = 0.10
SAME_NETWORK = 0.07
DEVIATIONS = 2

RULES = {
    "printed": "within half of the last digit that the paper prints, and two standard deviations "
    "of the drawn masks",
    "tenth": "within 10 %: Table IV prints u-Ticket's latencies as 0.05 to 0.07, half of whose "
    "last digit is 7 to 10 %",
    "same network": "within 0.07: so far apart are the two utilizations that the paper states of "
    "one network (LTH, VGG-16, CIFAR10: 0.59 in Table IV, 0.66 in Table V)",
    "rounding": "the paper's value is one that its printed digits leave possible",
    "interval": "the paper's value is within the 95 % interval of ours (Wilson, of the images "
    "tested)",
    "point": "within one percent point, the loss that the paper calls small (section V-B-1)",
    "claim": "what the paper says in words, put as an inequality that ours meet or not",
    "none": "the paper prints a picture, and no number",
}
"""By which a row's verdict is found, and why that."""


def value_of(ours: Any) -> Any:
    """The mean of a value over draws, or the value."""
    return ours["mean"] if isinstance(ours, Mapping) else ours


def row(
    what: str,
    paper: Any,
    ours: Any,
    rule: str,
    agrees: bool | None,
    *,
    form: str = "share",
    reason: str = "",
) -> Row:
    """A row whose verdict the caller has found; None of `agrees`: there is nothing to compare."""
    mine = value_of(ours)
    numbers = all(type(one) in (int, float) for one in (paper, mine))
    return {
        "what": what,
        "paper": paper,
        "ours": ours,
        "form": form,
        "rule": rule,
        "verdict": UNSTATED if agrees is None else AGREES if agrees else DIFFERS,
        "by": mine / paper - 1 if numbers and paper else None,
        "reason": "" if agrees or agrees is None else reason,
    }


def printed(
    what: str, paper: float, ours: Any, half: float, *, form: str = "share", reason: str
) -> Row:
    """By the paper's last digit. half: of it, in the unit of the value."""
    deviation = (ours.get("std") or 0.0) if isinstance(ours, Mapping) else 0.0
    near = abs(value_of(ours) - paper) <= half * (1 + 1e-9) + DEVIATIONS * deviation
    return row(what, paper, ours, "printed", near, form=form, reason=reason)


def tenth(what: str, paper: float, ours: Any, *, form: str = "share", reason: str) -> Row:
    near = abs(value_of(ours) / paper - 1) <= TENTH + 1e-9
    return row(what, paper, ours, "tenth", near, form=form, reason=reason)


def same_network(what: str, paper: float, ours: Any, *, reason: str) -> Row:
    near = abs(value_of(ours) - paper) <= SAME_NETWORK + 1e-9
    return row(what, paper, ours, "same network", near, reason=reason)


def claim(what: str, paper: str, ours: str, holds: bool, *, reason: str = "") -> Row:
    return row(what, paper, ours, "claim", holds, form="text", reason=reason)


def picture(what: str, ours: Any, *, form: str = "share") -> Row:
    return row(what, None, ours, "none", None, form=form)


def section(
    name: str,
    title: str,
    after: str,
    text: str,
    rows: Sequence[Row],
    tables: Sequence[Data] = (),
    plots: Sequence[Data] = (),
) -> Data:
    """One figure or table of the paper."""
    return {
        "name": name,
        "title": title,
        "after": after,
        "text": text,
        "rows": list(rows),
        "tables": [table for table in tables if table["rows"]],
        "plots": [plot for plot in plots if any(one["points"] for one in plot["series"])],
    }


def find(record: Data, key: str, **wanted: Any) -> Data | None:
    """The one entry of a list of the record with these values; None if it was not measured."""
    found = [
        one
        for one in record[key]
        if all(one.get(name) == value for name, value in wanted.items()) and not one.get("error")
    ]
    return found[0] if found else None


def each(record: Data, key: str, **wanted: Any) -> list[Data]:
    """All such entries, in order."""
    return [
        one
        for one in record[key]
        if all(one.get(name) == value for name, value in wanted.items()) and not one.get("error")
    ]


def points(pairs: Sequence[tuple[float, Any]]) -> list[Data]:
    """Points of a plot, of a number or of a mean over draws each."""
    return [
        {"x": x, **y} if isinstance(y, Mapping) else {"x": x, "mean": y, "std": None}
        for x, y in pairs
        if y is not None
    ]


TITLES = {"vgg16": "VGG-16", "resnet19": "ResNet-19"}
SETS = {"cifar10": "CIFAR10", "fmnist": "FMNIST", "svhn": "SVHN", "cifar100": "CIFAR100"}
METHODS = {"imp": "LTH", "imp, balanced": "LTH, balanced", "u-ticket": "u-Ticket"}


def label(one: Mapping[str, Any]) -> str:
    """`VGG-16, CIFAR10, LTH`."""
    return f"{TITLES[one['network']]}, {SETS[one['data']]}, {METHODS[one['method']]}"


SINGLE = "packed,slots=1"
"""One filter a PE and pass, as in the paper, with our gates."""

BROADCAST = (
    "the counters see spikes, loads and drains; all PEs take the same broadcast, one activation a "
    "cycle, so that they keep step by activation and not by weights"
)
"""Why the hardware's figures are not the paper's convention's."""
