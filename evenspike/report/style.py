"""The look of pages and pictures: one palette, light and dark, and a style sheet made of it.

Nothing is loaded from outside. Colour has one meaning on a page: the five states of a PE (chosen to
stay apart for colour-blind readers, and always in the same order), and right or wrong. Every other
quantity is drawn in a neutral ink. A plot of several series (`SERIES`) uses colours of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

SHADES = (1.0, 0.74, 0.54, 0.38, 0.25, 0.14)
"""Opacities of the neutral ink for the parts of one bar, the largest part first."""

LIGHT = {
    "paper": "#fafaf8",
    "card": "#ffffff",
    "text": "#1c2230",
    "muted": "#5c6573",
    "rule": "#e1e3e8",
    "bar": "#57647c",
    "busy": "#2463c4",
    "starved": "#eeb02e",
    "waiting": "#c3c8d1",
    "loading": "#a5508d",
    "draining": "#1f8262",
    "on-busy": "#ffffff",
    "on-starved": "#2a1c00",
    "on-waiting": "#1c2230",
    "on-loading": "#ffffff",
    "on-draining": "#ffffff",
    "good": "#18794a",
    "bad": "#b92c25",
    "good-tint": "#e8f5ed",
    "bad-tint": "#fcebea",
    "rust": "#c4561f",
    "olive": "#b08a00",
    "teal": "#4b8fa8",
    "brown": "#7a5c3a",
}

DARK = {
    "paper": "#11141a",
    "card": "#181c24",
    "text": "#e5e8ee",
    "muted": "#9ba5b5",
    "rule": "#2c323d",
    "bar": "#8a98b2",
    "busy": "#6aa3f2",
    "starved": "#e5b54a",
    "waiting": "#4b5464",
    "loading": "#d58fc2",
    "draining": "#52bf9a",
    "on-busy": "#07142a",
    "on-starved": "#241800",
    "on-waiting": "#e5e8ee",
    "on-loading": "#260d1f",
    "on-draining": "#04211a",
    "good": "#56c990",
    "bad": "#ff8279",
    "good-tint": "#14291f",
    "bad-tint": "#341a19",
    "rust": "#ef9465",
    "olive": "#e5c34a",
    "teal": "#86c5da",
    "brown": "#c9a882",
}

SERIES = ("busy", "rust", "draining", "loading", "olive", "teal", "brown", "muted")
"""Colours of the series of a plot, in their order."""

RULES = """
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--text); line-height: 1.5;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  font-variant-numeric: tabular-nums; -webkit-text-size-adjust: 100%; }
main { max-width: 1180px; margin: 0 auto; padding: 40px 24px 64px; }
h1 { font-size: 2.1rem; line-height: 1.15; letter-spacing: -0.02em; margin: 0 0 6px; }
h2 { font-size: 1.25rem; letter-spacing: -0.01em; margin: 52px 0 4px; }
h2 + p, .lead { color: var(--muted); margin: 0 0 14px; max-width: 76ch; }
.kicker { color: var(--muted); font-size: .8rem; letter-spacing: .09em; text-transform: uppercase;
  margin: 0 0 10px; }
code { font: .88em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
  overflow-wrap: anywhere; }
.verdict { display: flex; gap: 12px; align-items: baseline; margin: 22px 0; padding: 12px 16px;
  border-radius: 8px; border-left: 4px solid; }
.verdict b { white-space: nowrap; }
.verdict.good { background: var(--good-tint); border-color: var(--good); }
.verdict.bad { background: var(--bad-tint); border-color: var(--bad); }
.verdict.good b { color: var(--good); } .verdict.bad b { color: var(--bad); }
.tiles { display: grid; grid-template-columns: repeat(5, 1fr); gap: 1px; background: var(--rule);
  border: 1px solid var(--rule); border-radius: 10px; overflow: hidden; }
.tile { background: var(--card); padding: 14px 16px; }
.tile span { display: block; color: var(--muted); font-size: .8rem; }
.tile strong { display: block; font-size: 1.55rem; line-height: 1.25; letter-spacing: -0.02em;
  font-weight: 620; white-space: nowrap; }
figure { margin: 18px 0 0; padding: 18px 18px 14px; background: var(--card);
  border: 1px solid var(--rule); border-radius: 10px; }
figcaption { color: var(--muted); font-size: .88rem; margin-top: 12px; max-width: 92ch; }
figcaption b { color: var(--text); }
.scroll { overflow-x: auto; }
.panels { display: flex; flex-wrap: wrap; gap: 14px 28px; align-items: flex-start; }
.panels > * { flex: 1 1 400px; min-width: 0; }
svg { display: block; width: 100%; max-width: 760px; height: auto; }
svg text { fill: var(--muted); font-size: 12px; }
svg .name { fill: var(--text); font-size: 13px; } svg .value { fill: var(--text); }
svg .panel { fill: var(--text); font-size: 13px; font-weight: 600; }
svg .grid { stroke: var(--rule); } svg .axis { stroke: var(--muted); }
svg .seam { stroke: var(--card); stroke-width: 1.5; } svg .cell { fill: var(--rule); }
svg .mean { stroke: var(--text); } svg .pe { fill: var(--busy); opacity: .55; }
svg .ink { fill: var(--bar); } svg .hollow { fill: none; stroke: var(--bar); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 0 0 12px; padding: 0;
  list-style: none; font-size: .85rem; }
.legend i { display: inline-block; width: 11px; height: 11px; border-radius: 2px;
  margin-right: 7px; }
.legend .ramp { width: 120px; margin: 0 8px;
  background: linear-gradient(90deg, var(--rule), var(--busy)); }
a { color: var(--busy); }
table { border-collapse: collapse; width: 100%; font-size: .82rem; }
th, td { padding: 5px 8px; border-bottom: 1px solid var(--rule); text-align: right; }
td { white-space: nowrap; }
th { color: var(--muted); font-weight: 600; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; }
th.text, td.text { text-align: left; }
td.text { white-space: normal; min-width: 260px; color: var(--muted); }
tr.sum td { font-weight: 650; border-top: 2px solid var(--muted); border-bottom: 0; }
h2 + p + .tiles { grid-template-columns: repeat(3, 1fr); }
td:nth-child(2), th:nth-child(2) { padding-left: 16px; }
.gap { height: 26px; }
.hint { margin: 14px 0 0; }
.cards { display: grid; grid-template-columns: 1fr 1fr; gap: 18px; margin-top: 18px;
  align-items: start; }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 10px;
  padding: 16px 18px; min-width: 0; }
.card h3 { margin: 0 0 8px; font-size: 1rem; } .card dl + h3 { margin-top: 18px; }
details { margin-top: 12px; font-size: .86rem; } summary { color: var(--muted); cursor: pointer; }
pre { margin: 8px 0 0; font-size: .76rem; white-space: pre-wrap; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: auto 1fr; gap: 3px 16px; margin: 0; font-size: .86rem; }
dt { color: var(--muted); } dd { margin: 0; overflow-wrap: anywhere; }
.images { display: grid; grid-template-columns: repeat(auto-fill, minmax(86px, 1fr)); gap: 12px;
  margin: 0; padding: 0; list-style: none; font-size: .74rem; line-height: 1.3; }
.images img { display: block; width: 100%; aspect-ratio: 1; image-rendering: pixelated;
  border-radius: 6px; border: 2px solid; margin-bottom: 4px; background: #000; }
.images .right img { border-color: var(--good); } .images .wrong img { border-color: var(--bad); }
.images .open img { border-color: var(--rule); }
.images .right b { color: var(--good); } .images .wrong b { color: var(--bad); }
.images span { color: var(--muted); display: block; overflow-wrap: anywhere; }
footer { margin-top: 52px; padding-top: 14px; overflow-wrap: anywhere;
  border-top: 1px solid var(--rule);
  color: var(--muted); font-size: .84rem; }
@media (max-width: 1060px) {
  /* A row becomes a box with its name on top and each number below the title of its column. */
  tr { display: grid; grid-template-columns: repeat(auto-fill, minmax(115px, 1fr));
    gap: 4px 12px; padding: 8px 0;
    border-bottom: 1px solid var(--rule); }
  tr.head { display: none; }
  td, th:first-child, td:first-child { display: block; padding: 0; border: 0; text-align: left; }
  td, td.text { min-width: 0; white-space: normal; overflow-wrap: anywhere; }
  td:nth-child(2) { padding-left: 0; }
  td:first-child, td.text { grid-column: 1 / -1; } td:first-child { font-weight: 600; }
  td:empty { display: none; }
  td + td::before { content: attr(data-label); display: block; color: var(--muted);
    font-size: .72rem; }
  tr.sum td { border: 0; }
}
@media (max-width: 760px) {
  main { padding: 24px 14px 48px; } h1 { font-size: 1.6rem; }
  .tiles, h2 + p + .tiles { grid-template-columns: 1fr 1fr; } .cards { grid-template-columns: 1fr; }
  .tile strong { font-size: 1.25rem; } .verdict { display: block; } figure { padding: 12px; }
  dl { grid-template-columns: minmax(0, 1fr); gap: 0; } dd { margin-bottom: 6px; }
}
@media print { figure, .card { break-inside: avoid; } }
"""


def variables(palette: Mapping[str, str]) -> str:
    """The palette as custom properties of CSS."""
    return "".join(f"--{name}: {colour}; " for name, colour in palette.items())


def stylesheet(states: tuple[str, ...]) -> str:
    """The whole sheet; every state gets its fill, its swatch and a readable text on it."""
    fills = "".join(
        f"svg .{state} {{ fill: var(--{state}); }} "
        f".legend .{state} {{ background: var(--{state}); }} "
        f"svg .on-{state} {{ fill: var(--on-{state}); }}\n"
        for state in states
    )
    fills += "".join(
        f"svg .shade{n}, .legend .shade{n} {{ fill: var(--bar); background: var(--bar); "
        f"opacity: {opacity}; }}\n"
        for n, opacity in enumerate(SHADES)
    )
    return (
        f":root {{ color-scheme: light; {variables(LIGHT)}}}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ color-scheme: dark; "
        f"{variables(DARK)}}} }}\n{RULES}{fills}"
    )
