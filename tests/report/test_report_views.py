"""The views of a report: each shows what the JSON says, and a change of it changes them."""
# ruff: noqa: RUF001  (a report is typeset: it has multiplication signs)

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from rich.console import Console

from evenspike.report import format as fmt
from evenspike.report import html as report_html
from evenspike.report import markdown as report_markdown
from evenspike.report.schema import check
from evenspike.report.terminal import Summary
from tests.helpers.synthetic_report import Data, at, synthetic_pictures, synthetic_report


def terminal(data: Data, width: int = 160) -> str:
    """What a terminal of that width shows of a report that may not add up."""
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(Summary(data))
    return console.export_text()


VIEWS: dict[str, Callable[[Data], str]] = {
    "html": report_html.render,
    "markdown": report_markdown.render,
    "terminal": terminal,
}


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Path of every number, text and truth value in a JSON value."""
    if isinstance(value, dict | list) and value:
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from leaves(value[key], (*path, key))
    else:
        yield path


def changed(data: Data, path: tuple[str | int, ...]) -> Data:
    """A deep copy in which one leaf has another value."""
    copy: Data = json.loads(json.dumps(data))
    value = at(data, path)
    if isinstance(value, bool):
        other: Any = not value
    elif isinstance(value, int | float):
        other = value * 1.5 + (3 if isinstance(value, int) else 0.3)
        other = int(other) if isinstance(value, int) else other
    else:
        other = f"x {value}"
    at(copy, path[:-1])[path[-1]] = other
    return copy


NOT_SHOWN: dict[str, tuple[str, ...]] = {
    # Details that a view leaves to report.json.
    "html": ("index", "logits", "shipped_predictions", "pj_range"),
    "markdown": ("per_pe", "pool", "note", "rounds", "text", "shipped_predictions", "pj_range"),
    "terminal": (
        *("per_pe", "density", "pool", "provenance", "by_action", "predictions", "classes"),
        *("seconds", "machine", "engine", "accumulators", "scratchpad_words", "fifo_depth"),
        *("slots", "issue", "port_bits", "matched", "bound_cycles", "dense_cycles"),
    ),
}
DERIVED: dict[str, tuple[str, ...]] = {
    # Shown through what defines them (`check` holds the two together), or with the pictures.
    "html": ("label", "prediction", "classes"),
    "markdown": ("utilization",),
    "terminal": ("utilization", "energy_pj", "total_pj", "accumulations"),
}


@pytest.mark.parametrize("view", VIEWS)
def test_every_leaf_reaches_the_views(view: str) -> None:
    data = synthetic_report()
    data["layers"], data["predictions"] = data["layers"][1:3], data["predictions"][:2]
    shown = {p[key] for p in data["predictions"] for key in ("label", "prediction")}
    data["classes"] = [name if n in shown else "" for n, name in enumerate(data["classes"])]
    before = VIEWS[view](data)
    hidden = set(NOT_SHOWN[view]) | set(DERIVED[view])
    unseen = [
        path
        for path in leaves(data)
        if at(data, path) != ""
        and not hidden & {str(key) for key in path}
        and VIEWS[view](changed(data, path)) == before
    ]
    assert unseen == []


def test_figures_that_are_shown_beside_what_defines_them() -> None:
    data = synthetic_report()
    pictures = synthetic_pictures(data)
    before = report_html.render(data, pictures)
    assert report_html.render(changed(data, ("classes", pictures[0][2])), pictures) != before
    for key in ("utilization", "accumulations", "energy_pj"):
        path = ("totals", key)
        for view, render in VIEWS.items():
            assert render(changed(data, path)) != render(data), (view, key)


@pytest.mark.parametrize("view", VIEWS)
def test_values_stand_in_the_views(view: str) -> None:
    data = synthetic_report()
    text = VIEWS[view](data)
    for layer in data["layers"]:
        for value in (layer["name"], f"{layer['cycles']:,}", f"{layer['words_loaded']:,}"):
            assert value in text
        for share in fmt.shares(layer).values():
            assert fmt.percent(share) in text
    assert "11,223,344 spike bits in 9 layers × 4 timesteps" in text
    assert f"{data['totals']['latency_ms']:.4g} ms" in text
    assert "41,000,000" in text


@pytest.mark.parametrize("view", VIEWS)
def test_a_run_that_is_not_exact_says_so(view: str) -> None:
    data = synthetic_report()
    assert "NOT bit-exact" not in VIEWS[view](data)
    data["bit_exact"] = False
    data["divergence"] = "layer conv2, filter 2"
    text = VIEWS[view](data)
    assert "NOT bit-exact" in text
    assert "layer conv2, filter 2" in text


@pytest.mark.parametrize("width", [80, 100, 131, 132, 200])
def test_the_terminal_shows_all_at_any_width(width: int) -> None:
    data = synthetic_report()
    text = terminal(data, width)
    for layer in data["layers"]:
        row = [f"{layer[key]:,}" for key in ("cycles", "words_loaded", "spikes_in", "spikes_out")]
        assert all(value in text for value in row)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width


def test_the_bars_of_the_terminal() -> None:
    data = synthetic_report()
    rows = [*data["layers"], data["totals"]]
    bars = re.findall("[█·░▒▓]{3,}", terminal(data, 100))
    assert len(bars) == len(rows)
    for bar, row in zip(bars, rows, strict=True):
        assert len(bar) == 20
        assert list(bar) == sorted(bar, key="█·░▒▓".index)
        for glyph, share in zip("█·░▒▓", fmt.shares(row).values(), strict=True):
            assert abs(bar.count(glyph) - 20 * share) <= 1


def test_accuracy_and_labels_may_be_unknown() -> None:
    data = synthetic_report()
    data["accuracy"] = None
    for prediction in data["predictions"]:
        prediction["label"] = None
    del data["classes"]
    data["machine"] = "a host"
    check(data)
    pictures = synthetic_pictures(data)
    text = report_html.render(data, pictures)
    assert "The predicted class is under each." in text
    data["predictions"] = []
    assert 'class="wrong"' not in text
    assert all(VIEWS[view](data) for view in VIEWS)


def test_markdown_tables_have_equal_rows() -> None:
    data = synthetic_report()
    data["layers"][0]["name"] = "a|b"
    for block in report_markdown.render(data).split("\n\n"):
        if block.startswith("|"):
            columns = {len(re.split(r"(?<!\\)\|", line)) for line in block.splitlines()}
            assert len(columns) == 1
