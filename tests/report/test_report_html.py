"""The page of a report: it needs nothing from outside, and its pictures are true."""

from __future__ import annotations

import base64
import re
import struct
import zlib
from collections.abc import Callable
from html.parser import HTMLParser

import numpy as np
import pytest

from evenspike.report import format as fmt
from evenspike.report import html as report_html
from evenspike.report import plots as report_plots
from evenspike.report.svg import WIDTH, Bar, Scale, bar_chart
from evenspike.report.ticks import COUNTS, ENERGIES, SHARES
from evenspike_core.counters import STATES
from tests.helpers.synthetic_report import PES, Data, synthetic_pictures, synthetic_report


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
    assert page.tags.count("svg") == 9
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


def decode(text: str) -> list[tuple[int, int, bytes]]:
    """(width, height, unfiltered rows) of the PNGs in a page."""
    found = []
    for encoded in re.findall(r"data:image/png;base64,([^\"]+)", text):
        data = base64.b64decode(encoded)
        width, height = struct.unpack(">II", data[16:24])
        size = struct.unpack(">I", data[33:37])[0]
        rows = zlib.decompress(data[41 : 41 + size])
        for start, length in ((8, 13), (33, size), (45 + size, 0)):  # IHDR, IDAT, IEND
            end = start + 8 + length
            assert zlib.crc32(data[start + 4 : end]) == struct.unpack(">I", data[end : end + 4])[0]
        assert len(data) == 57 + size
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
        assert end == pytest.approx(WIDTH - 8, abs=0.2)
        shares = fmt.shares([*data["layers"], data["totals"]][start // 5])
        length = end - float(row[0][1])
        for state, _, _, width in row:
            assert float(width) / length == pytest.approx(shares[state], abs=1e-3)


@pytest.mark.parametrize("plot", [report_plots.cycles, report_plots.spikes, report_plots.energy])
def test_bars_are_as_long_as_their_values(plot: Callable[[Data], list[str]]) -> None:
    data = synthetic_report()
    layers, timesteps = data["layers"], data["arch"]["timesteps"]
    energies = sorted((a["pj"] for a in data["energy"]["by_action"].values()), reverse=True)
    wanted: dict[str, list[list[float]]] = {
        "cycles": [[n["cycles"] for n in layers], [n["utilization"] for n in layers]],
        "spikes": [
            [n[key] for n in layers for key in ("spikes_in", "spikes_out")],
            [fmt.firing_rate(layer, timesteps) or 0.0 for layer in layers],
        ],
        "energy": [list(report_plots.energy_groups(data).values()), energies],
    }
    for svg, values in zip(plot(data), wanted[plot.__name__], strict=True):
        found = [float(width) for width in re.findall(r'<rect class="[^>]* width="([\d.]+)"', svg)]
        expected = np.array(values) / max(values) * max(found)
        assert np.allclose(found, expected, atol=0.15)


def test_the_darkest_part_of_the_energy_is_the_largest() -> None:
    data = synthetic_report()
    groups, _ = report_plots.energy(data)
    widths = re.findall(r'<rect class="shade(\d)"[^>]* width="([\d.]+)"', groups)
    assert [int(shade) for shade, _ in widths] == list(range(len(widths)))
    lengths = [float(width) for _, width in widths]
    assert lengths == sorted(lengths, reverse=True)


def test_an_axis_has_one_unit_and_even_decimals() -> None:
    for values, units, title, texts in (
        ([16_658.6, 135.2], COUNTS, "X", ["0", "5,000", "10,000", "15,000"]),
        (
            [2.4e6, 1e5, 1e5],
            COUNTS,
            "X (millions, square-root scale)",
            ["0.0", "0.5", "1.0", "1.5", "2.0"],
        ),
        ([1234.0, 999.0], ENERGIES, "X (nJ)", ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0", "1.2"]),
        ([0.031, 0.02], SHARES, "X (%)", ["0", "1", "2", "3"]),
        ([10**6 * 1.1, 10**6], COUNTS, "X (millions)", ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
    ):
        svg = bar_chart("X", [Bar("a", value, "", "") for value in values], units)
        assert re.findall(r'class="tick"[^>]*>([^<]+)<', svg) == texts
        assert f">{title}<" in svg


def test_the_spread_shows_every_pe() -> None:
    data = synthetic_report()
    layer = data["layers"][1]
    layer["per_pe"]["busy"][5] = 0
    svg = report_plots.spread(data)
    tips = re.findall(r'<rect class="pe" x="([\d.]+)"[^>]*><title>([^<]+)</title>', svg)
    assert len(tips) == PES * len(data["layers"])
    mine = [(float(x), tip) for x, tip in tips if tip.startswith("conv2, ")]
    assert mine[5][1] == "conv2, PE 5: \N{MINUS SIGN}100.0 % of the mean busy cycles"
    order = np.argsort(layer["per_pe"]["busy"])
    assert np.all(np.diff([mine[pe][0] for pe in order]) >= 0)
    deviations = report_plots.deviations(layer)
    assert f">\N{MINUS SIGN}100.0 … {fmt.signed(max(deviations))}<" in svg


def test_the_heat_map_is_the_busy_share() -> None:
    data = synthetic_report()
    svg = report_plots.heat(data)
    cells = re.findall(r'fill-opacity="([\d.]+)"><title>([^<]+)</title>', svg)
    busy = [(layer, n) for layer in data["layers"] for n in layer["per_pe"]["busy"]]
    assert len(cells) == len(busy) == PES * len(data["layers"])
    for index, ((opacity, title), (layer, cycles)) in enumerate(zip(cells, busy, strict=True)):
        assert float(opacity) == pytest.approx(cycles / layer["cycles"], abs=6e-4)
        start = f"{layer['name']}, PE {index % PES}, cycles: busy {cycles:,}, starved "
        assert title.startswith(start)


def test_a_scale_keeps_zero_and_order() -> None:
    linear = Scale.over([10, 20, 30], 300)
    assert not linear.root
    assert (linear(0), linear(15), linear(30)) == (0, 150, 300)
    root = Scale.over([10, 10, 10, 1000], 300)
    assert root.root
    assert (root(0), root(250), root(1000)) == (0, 150, 300)
    assert Scale.over([0, 0], 100)(0) == 0


def test_layers_without_work_can_be_drawn() -> None:
    data = synthetic_report()
    for layer in data["layers"]:
        for key in ("cycles", "spikes_in", "spikes_out", *STATES):
            layer[key] = 0
        layer["per_pe"] = {state: [0] * PES for state in STATES}
        layer["matched"] = layer["bound_cycles"] = layer["dense_cycles"] = 0
    for action in data["energy"]["by_action"].values():
        action["pj"] = 0.0
    data["energy"]["total_pj"] = 0.0
    Page(report_html.render(data))


def test_the_ticket_is_read_and_not_dumped() -> None:
    text = report_html.render(synthetic_report())
    assert "<dt>float test accuracy</dt><dd>91.50 %</dd>" in text
    assert "<dt>seconds</dt><dd>5,285 s (1.5 h)</dd>" in text
    assert "<dt>shipped predictions</dt><dd>100 values</dd>" in text
    assert '<td data-label="round">2</td><td data-label="sparsity">40.00 %</td>' in text
    assert "<summary>text</summary><pre>name = 1\nseed = 2</pre>" in text
    assert not re.search(r"<dd>[\[{]", text)


def test_a_notebook_gets_a_part_with_a_style_of_its_own() -> None:
    data = synthetic_report()
    data["model"] = "<script>"
    text = report_html.fragment(data)
    Page(text)
    assert not {"html", "head", "body", "script"} & set(re.findall(r"<(\w+)", text))
    rules = text[text.index("<style>") + 7 : text.index("</style>")].split("}")
    selectors = [one for rule in rules[:-1] for one in rule.partition("{")[0].split(",")]
    assert all(one.strip().startswith(".evenspike-report ") for one in selectors)
    assert all(value in text for _, value, _ in fmt.headline(data))
    assert all(f">{layer['name']}<" in text for layer in data["layers"])
