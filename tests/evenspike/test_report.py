"""Report: complete, adding up, and every view shows what the JSON says."""
# ruff: noqa: RUF001  (a report is typeset: it has multiplication signs)

from __future__ import annotations

import base64
import io
import json
import re
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from evenspike import report, report_html, report_markdown, report_plots
from evenspike import report_format as fmt
from evenspike.errors import EvenspikeError
from evenspike.events import Span, perfetto
from evenspike.report_schema import LAYER, SCHEMA, STATES, check, plain
from evenspike.report_svg import Scale
from evenspike.report_terminal import Summary
from tests.synthetic_report import PES, synthetic_pictures, synthetic_report

DOCS = Path(__file__).parents[2] / "docs" / "report.md"
Data = dict[str, Any]


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


def at(data: Data, path: tuple[str | int, ...]) -> Any:
    value: Any = data
    for key in path:
        value = value[key]
    return value


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
        other = f"{value} x"
    at(copy, path[:-1])[path[-1]] = other
    return copy


# ------------------------------------------------------------------------------------- the schema


def schema_paths(schema: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if isinstance(schema, dict):
        for key, part in schema.items():
            yield (*path, key)
            yield from schema_paths(part, (*path, key))
    elif isinstance(schema, list):
        yield from schema_paths(schema[0], (*path, 0))


@pytest.mark.parametrize("path", list(schema_paths(SCHEMA)), ids=lambda p: ".".join(map(str, p)))
def test_every_key_is_required_and_typed(path: tuple[str | int, ...]) -> None:
    data = synthetic_report()
    value = at(data, path)
    at(data, path[:-1])[path[-1]] = object()
    with pytest.raises(EvenspikeError, match=re.escape(str(path[-1]))):
        check(data)
    del at(data, path[:-1])[path[-1]]
    with pytest.raises(EvenspikeError, match=rf"\.{path[-1]} is missing"):
        check(data)
    at(data, path[:-1])[path[-1]] = value
    check(data)


def test_every_key_is_documented() -> None:
    text = DOCS.read_text(encoding="utf-8")
    names = {path[-1] for path in schema_paths(SCHEMA)} | set(LAYER)
    missing = sorted(str(name) for name in names if f"`{name}`" not in text)
    assert missing == []


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("mapping",), "random", "report.mapping is 'random'"),
        (("layers",), [], "at least one layer and one image"),
        (("images",), 0, "at least one layer and one image"),
        (("totals", "cycles"), -1, "report.totals.cycles is -1, not a number >= 0"),
        (("images",), True, "report.images is True, not a number"),
        (("layers", 2, "tile"), [4], r"layers\[2\] \(conv3\): tile \[4\] is not \[height, width\]"),
        (("energy", "by_action", "lif_step"), {"count": 1}, r"lif_step\.pj_each is missing"),
        (("predictions", 1, "logits"), ["1"], r"predictions\[1\]\.logits is \['1'\]"),
    ],
)
def test_bad_values(path: tuple[str | int, ...], value: object, message: str) -> None:
    data = synthetic_report()
    at(data, path[:-1])[path[-1]] = value
    with pytest.raises(EvenspikeError, match=message):
        check(data)


def test_numpy_is_taken_and_nan_is_not(tmp_path: Path) -> None:
    data = synthetic_report()
    data["layers"][0]["per_pe"] = {
        state: np.array(values) for state, values in data["layers"][0]["per_pe"].items()
    }
    data["totals"]["cycles"] = np.int64(data["totals"]["cycles"])
    data["predictions"] = tuple(data["predictions"])
    report.write(data, tmp_path)
    written = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(synthetic_report()))
    data["accuracy"] = float("nan")
    with pytest.raises(EvenspikeError, match=r"report\.accuracy is nan, not a finite number"):
        report.write(data, tmp_path)
    with pytest.raises(EvenspikeError, match=r"report\.x\[1\] is a set, which JSON cannot hold"):
        plain({"x": [1, {2}]})
    with pytest.raises(EvenspikeError, match="key 3 is not text"):
        plain({3: 1})


# -------------------------------------------------------------------------------- what must add up


def spoil(data: Data, where: str) -> None:
    layer, totals = data["layers"][1], data["totals"]
    if where == "layer":
        layer["busy"] += 1
    elif where == "moved":  # the sum holds, the PEs disagree
        layer["busy"] += 1
        layer["starved"] -= 1
    elif where == "pe":  # sums over the PEs hold, two PEs have impossible cycles
        layer["per_pe"]["busy"][0] += 1
        layer["per_pe"]["busy"][1] -= 1
    elif where == "narrow":
        layer["per_pe"]["waiting"].pop()
    elif where == "totals":
        totals["draining"] += PES
        totals["cycles"] += 1
        totals["utilization"] = totals["busy"] / (PES * totals["cycles"])
    elif where == "average":
        layer["cycles"] += 0.1
    else:
        at(data, tuple(where.split(".")))  # exists
        outer, _, key = where.rpartition(".")
        at(data, tuple(outer.split(".") if outer else ()))[key] *= 1.01


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("layer", r"\(conv2\): busy \+ starved .* = PEs x cycles: 3712001 is not 3712000"),
        ("moved", r"\(conv2\): utilization|\(conv2\): sum of per_pe.busy"),
        ("pe", r"\(conv2\): states of PE 0 = cycles: 232001 is not 232000"),
        ("narrow", r"\(conv2\): per_pe.waiting has 15 values for 16 PEs"),
        ("totals", "report.totals: cycles = sum over the layers"),
        ("average", r"\(conv2\): busy \+ starved .* is not 3712001.6"),
        ("totals.utilization", "utilization = busy"),
        ("totals.efficiency", "efficiency = accumulations"),
        ("totals.latency_ms", "latency_ms = cycles / clock"),
        ("totals.words_loaded", "words_loaded = sum over the layers"),
        ("totals.accumulations", "accumulations = sum over the layers"),
        ("totals.energy_pj", "energy_pj = energy.total_pj"),
        ("energy.total_pj", "total_pj = sum over the actions"),
        ("accuracy", "accuracy = right predictions / images"),
    ],
)
def test_sums_that_disagree_are_not_written(tmp_path: Path, where: str, message: str) -> None:
    data = synthetic_report()
    spoil(data, where)
    with pytest.raises(EvenspikeError, match=message):
        report.write(data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_layer_energy_that_disagrees() -> None:
    data = synthetic_report()
    data["layers"][0]["energy_pj"] *= 2
    with pytest.raises(EvenspikeError, match="energy_pj = sum over the layers"):
        report.summary(data)


def test_averages_over_images_add_up() -> None:
    data = synthetic_report()
    for row in [*data["layers"], data["totals"]]:
        for key in ("cycles", *STATES):
            row[key] /= 3
    for layer in data["layers"]:
        layer["per_pe"] = {s: [n / 3 for n in values] for s, values in layer["per_pe"].items()}
        layer["accumulations"] /= 3
    data["totals"]["accumulations"] /= 3
    data["totals"]["latency_ms"] /= 3
    check(data)
    assert fmt.count(data["layers"][2]["cycles"]) == "23,666.7"


# ----------------------------------------------------------------------- every view shows the JSON


NOT_SHOWN: dict[str, tuple[str, ...]] = {
    # Details that a view leaves to report.json.
    "html": ("index", "logits"),
    "markdown": ("per_pe", "pool", "note"),
    "terminal": (
        *("per_pe", "density", "pool", "provenance", "by_action", "predictions", "classes"),
        *("seconds", "machine", "engine", "accumulators", "scratchpad_words", "fifo_depth"),
        *("slots", "port_bits"),
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
    assert "Without labels." in text
    assert 'class="wrong"' not in text
    assert all(VIEWS[view](data) for view in VIEWS)


# --------------------------------------------------------------------------------------- the page


class Page(HTMLParser):
    """Checks that tags nest, and keeps what a browser might fetch."""

    VOID = ("meta", "img", "line", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [v or "" for k, v in attrs if k in {"src", "href", "srcset", "data"}]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [v or "" for k, v in attrs if k in {"src", "href", "srcset", "data"}]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_from_outside() -> None:
    data = synthetic_report()
    text = report_html.render(data, synthetic_pictures(data), trace=True)
    page = Page(text)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    outside = [name for name in page.fetched if not name.startswith("data:image/png;base64,")]
    assert outside == ["trace.json"]
    assert page.tags.count("svg") == 5
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text


def test_text_from_outside_is_escaped() -> None:
    data = synthetic_report()
    bad = "<script>alert(1)</script>&\"'"
    data["model"] = data["layers"][0]["name"] = data["machine"] = bad
    data["classes"] = [bad] * 10
    data["program"]["provenance"] = {bad: [bad, {"x": bad}]}
    data["energy"]["by_action"] = {bad: {**data["energy"]["by_action"]["lif_step"], "source": bad}}
    text = report_html.render(data, synthetic_pictures(data))
    assert "<script" not in text
    Page(text)


def test_markdown_tables_have_equal_rows() -> None:
    data = synthetic_report()
    data["layers"][0]["name"] = "a|b"
    for block in report_markdown.render(data).split("\n\n"):
        if block.startswith("|"):
            columns = {len(re.split(r"(?<!\\)\|", line)) for line in block.splitlines()}
            assert len(columns) == 1


def decode(text: str) -> list[tuple[int, int, bytes]]:
    """(width, height, unfiltered rows) of the PNGs in a page."""
    found = []
    for encoded in re.findall(r"data:image/png;base64,([^\"]+)", text):
        data = base64.b64decode(encoded)
        width, height = struct.unpack(">II", data[16:24])
        size = struct.unpack(">I", data[33:37])[0]
        rows = zlib.decompress(data[41 : 41 + size])
        stride = len(rows) // height
        assert all(rows[y * stride] == 0 for y in range(height))
        pixels = b"".join(rows[y * stride + 1 : (y + 1) * stride] for y in range(height))
        found.append((width, height, pixels))
    return found


@pytest.mark.parametrize("channels", [0, 1, 3])
def test_pictures_are_the_pixels(channels: int) -> None:
    data = synthetic_report()
    pictures = synthetic_pictures(data, channels)
    text = report_html.render(data, pictures)
    decoded = decode(text)
    assert len(decoded) == len(pictures)
    for (pixels, _, _), (width, height, found) in zip(pictures, decoded, strict=True):
        planes = pixels if channels else pixels[None]
        assert (height, width) == planes.shape[1:]
        assert found == planes.transpose(1, 2, 0).tobytes()
    assert text.count('<li class="wrong">') == 1
    assert text.count('<li class="right">') == 9
    assert "9 of 10 right." in text
    assert f"label: {data['classes'][data['predictions'][3]['label']]}" in text


def test_many_pictures_are_cut_and_it_is_said() -> None:
    data = synthetic_report()
    pictures = synthetic_pictures(data) * 11
    text = report_html.render(data, pictures)
    assert "The first 100 of 110 are shown." in text
    assert len(decode(text)) == 100


def test_pictures_that_are_none(tmp_path: Path) -> None:
    data = synthetic_report()
    pictures = synthetic_pictures(data)
    _, label, prediction = pictures[0]
    for pixels in (np.zeros((2, 4, 4), np.uint8), np.zeros((4, 4), np.float32)):
        with pytest.raises(EvenspikeError, match=r"picture: .* not uint8 \[H, W\]"):
            report.write(data, tmp_path / "out", [(pixels, label, prediction)])  # type: ignore[list-item]
    other = [(pictures[0][0], label, prediction + 1)]
    with pytest.raises(EvenspikeError, match="report: picture 0 has label"):
        report.write(data, tmp_path / "out", other)
    with pytest.raises(EvenspikeError, match="report: 11 pictures, but 10 predictions"):
        report.write(data, tmp_path / "out", [*pictures, pictures[0]])
    assert not (tmp_path / "out").exists()


# ----------------------------------------------------------------------------------- the pictures


def test_every_action_is_in_one_group_of_energies() -> None:
    data = synthetic_report()
    data["energy"]["by_action"]["new_action"] = {**data["energy"]["by_action"]["lif_step"], "pj": 7}
    groups = report_plots.energy_groups(data)
    assert groups["other"] == 7
    total = sum(action["pj"] for action in data["energy"]["by_action"].values())
    assert sum(groups.values()) == pytest.approx(total)


def test_stacked_bars_fill_their_row() -> None:
    data = synthetic_report()
    svg = report_plots.states(data)
    rects = re.findall(r'<rect class="(\w+) seam" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)"', svg)
    assert len(rects) == 5 * (len(data["layers"]) + 1)
    for start in range(0, len(rects), 5):
        row = rects[start : start + 5]
        assert tuple(state for state, *_ in row) == STATES
        end = float(row[-1][1]) + float(row[-1][3])
        assert end == pytest.approx(952, abs=0.2)
        shares = fmt.shares([*data["layers"], data["totals"]][start // 5])
        length = end - float(row[0][1])
        for state, _, _, width in row:
            assert float(width) / length == pytest.approx(shares[state], abs=1e-3)


def test_a_scale_keeps_zero_and_order() -> None:
    linear = Scale.over([10, 20, 30], 300)
    assert not linear.root
    assert (linear(0), linear(15), linear(30)) == (0, 150, 300)
    root = Scale.over([10, 10, 10, 1000], 300)
    assert root.root
    assert (root(0), root(250), root(1000)) == (0, 150, 300)
    for scale in (linear, root):
        ticks = scale.ticks()
        assert ticks == sorted(set(ticks))
        assert ticks[0] > 0
        assert ticks[-1] <= scale.largest
    assert Scale.over([0, 0], 100)(0) == 0


def test_layers_without_work_can_be_drawn() -> None:
    data = synthetic_report()
    for layer in data["layers"]:
        for key in ("cycles", "spikes_in", "spikes_out", *STATES):
            layer[key] = 0
        layer["per_pe"] = {state: [0] * PES for state in STATES}
    for action in data["energy"]["by_action"].values():
        action["pj"] = 0.0
    data["energy"]["total_pj"] = 0.0
    Page(report_html.render(data))


# -------------------------------------------------------------------------------------- the files


def test_the_files(tmp_path: Path) -> None:
    data = synthetic_report()
    trace = perfetto([Span("APU", "broadcast", 0, 9, {"layer": "conv2"})])
    folder = tmp_path / "a" / "b"
    files = report.write(data, folder, synthetic_pictures(data), trace)
    names = ["report.json", "report.md", "report.html", "trace.json"]
    assert [file.name for file in files] == names
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    assert json.loads(files[0].read_text(encoding="utf-8")) == data
    assert json.loads(files[3].read_text(encoding="utf-8")) == trace
    assert "[trace.json](trace.json)" in files[1].read_text(encoding="utf-8")
    assert 'href="trace.json"' in files[2].read_text(encoding="utf-8")
    assert {file.stat().st_mode & 0o777 for file in files} == {0o644}


def test_an_old_trace_does_not_stay(tmp_path: Path) -> None:
    data = synthetic_report()
    report.write(data, tmp_path, trace=perfetto([]))
    files = report.write(data, tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(files)
    assert "trace.json" not in files[1].read_text(encoding="utf-8")
    assert 'href="trace.json"' not in files[2].read_text(encoding="utf-8")


def test_a_file_in_the_way(tmp_path: Path) -> None:
    blocked = tmp_path / "out"
    blocked.write_text("mine", encoding="utf-8")
    for folder in (blocked, blocked / "deeper"):
        with pytest.raises(EvenspikeError, match=re.escape(f"{folder}: the report cannot")):
            report.check_folder(folder)
        with pytest.raises(EvenspikeError, match=re.escape(str(folder))):
            report.write(synthetic_report(), folder)
    assert blocked.read_text(encoding="utf-8") == "mine"


def test_a_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    report.check_folder(tmp_path)
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(EvenspikeError, match=r"cannot be written there: Permission denied"):
        report.check_folder(tmp_path)
    with pytest.raises(EvenspikeError, match=re.escape(str(tmp_path))):
        report.write(synthetic_report(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = report.write(synthetic_report(1), tmp_path)
    before = [file.read_bytes() for file in files]
    make, calls = tempfile.mkstemp, iter(range(9))

    def full(*args: Any, **kwargs: Any) -> tuple[int, str]:
        if next(calls) == 2:
            raise OSError(28, "No space left on device")
        return make(*args, **kwargs)

    monkeypatch.setattr(tempfile, "mkstemp", full)
    with pytest.raises(EvenspikeError, match="No space left on device"):
        report.write(synthetic_report(2), tmp_path)
    assert [file.read_bytes() for file in files] == before
    assert len(list(tmp_path.iterdir())) == 3


def test_the_summary_is_checked() -> None:
    console = Console(width=140, file=io.StringIO(), record=True)
    console.print(report.summary(synthetic_report()))
    assert "Bit-exact: all 11,223,344 spike bits" in console.export_text()
    data = synthetic_report()
    del data["totals"]["busy"]
    with pytest.raises(EvenspikeError, match=r"report\.totals\.busy is missing"):
        report.summary(data)
