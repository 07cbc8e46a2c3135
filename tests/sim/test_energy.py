"""Energy: the shipped table follows from its anchors, and no bad entry or count gets through."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from evenspike.report.plots import ENERGY_GROUPS
from evenspike_core.errors import EvenspikeError
from evenspike_sim.energy import ACTIONS, TABLE, energy, load, total_pj

ENTRY = 'value = {value}\nunit = "{unit}"\nnode = "{node}"\nsource = "{source}"\nnote = "{note}"\n'
GOOD: dict[str, object] = {"value": 1.0, "unit": "pJ", "node": "32 nm", "source": "s", "note": "n"}


def table_file(folder: Path, changes: Mapping[str, object] | None = None) -> Path:
    """A valid table but for the entry `accumulate`; a change to None drops the line."""
    parts = []
    for name in ACTIONS:
        entry = GOOD | dict(changes or {}) if name == "accumulate" else GOOD
        lines = ENTRY.format(**entry).splitlines()
        kept = [line for line in lines if entry[line.split(" ")[0]] is not None]
        parts.append("\n".join([f"[action.{name}]", *kept]))
    path = folder / "energy.toml"
    path.write_text("\n".join(parts), encoding="utf-8")
    return path


def raw() -> dict[str, Any]:
    return tomllib.loads(TABLE.read_text(encoding="utf-8"))


def test_shipped_table_has_every_action_and_source() -> None:
    table = load()
    assert tuple(table) == ACTIONS
    for entry in table.values():
        assert entry.value > 0
        assert entry.unit == "pJ"
        assert entry.node.endswith("nm")
        assert "SATA_Sim" in entry.source


@pytest.mark.parametrize("name", ACTIONS)
def test_values_follow_from_the_anchors(name: str) -> None:
    content = raw()
    anchors, entry = content["anchor"], content["action"][name]
    if name == "lif_step":
        parts = ("add16", "add16", "cmp16", "reg16")
        expected = 1.5 * sum(anchors[part]["value"] for part in parts)
    elif name == "leakage_cycle":
        logic_uw = 4 * 0.00962 + 4 * 0.0525 + 4 * (2 * 0.0525 + 0.0273 + 0.0603) + 8 * 0.616
        expected = (6 * anchors["sram_leakage"]["value"] + logic_uw / 1000) * 2.5
    elif "bytes" in entry:
        scale = math.sqrt(entry["bytes"] / 32768 * entry["bits"] / 256)
        expected = anchors[entry["anchor"]]["value"] * scale
    else:
        expected = anchors[entry["anchor"]]["value"] * entry["factor"]
    assert entry["value"] == pytest.approx(expected, rel=1e-4)


def test_energy_is_count_times_value() -> None:
    table = load()
    counts = {name: 10 * index for index, name in enumerate(ACTIONS)}
    by_action = energy(counts, table)
    for name, count in counts.items():
        assert by_action[name]["count"] == count
        assert by_action[name]["pj"] == pytest.approx(count * table[name].value)
    assert set(by_action["accumulate"]) == {
        "count", "pj_each", "pj", "unit", "node", "source", "note",
    }  # fmt: skip
    assert total_pj(by_action) == pytest.approx(sum(e["pj"] for e in by_action.values()))


def test_only_leakage_follows_the_clock() -> None:
    fast, slow = load(), load(clock_mhz=100.0)
    for name in ACTIONS:
        assert slow[name].value == fast[name].value * (4 if name == "leakage_cycle" else 1)


def test_the_report_knows_a_group_for_every_action() -> None:
    grouped = [name for names in ENERGY_GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(ACTIONS)


def counts(**changes: float) -> dict[str, float]:
    return dict.fromkeys(ACTIONS, 1.0) | changes


def test_unknown_missing_and_impossible_counts() -> None:
    table = load()
    with pytest.raises(EvenspikeError, match="energy: multiply is not an action"):
        energy(counts(multiply=1), table)
    forgotten = counts()
    del forgotten["fifo_pop"]
    with pytest.raises(EvenspikeError, match="energy: fifo_pop has no count"):
        energy(forgotten, table)
    with pytest.raises(EvenspikeError, match="count of lif_step is -1"):
        energy(counts(lif_step=-1), table)
    with pytest.raises(EvenspikeError, match="count of lif_step is nan"):
        energy(counts(lif_step=math.nan), table)
    del table["spike_read"]
    with pytest.raises(EvenspikeError, match="the table has no entry spike_read"):
        energy(counts(), table)


@pytest.mark.parametrize("key", ["value", "unit", "node", "source", "note"])
def test_an_entry_without_a_field(tmp_path: Path, key: str) -> None:
    load(table_file(tmp_path))
    with pytest.raises(EvenspikeError, match=f"entry accumulate: {key} is"):
        load(table_file(tmp_path, {key: None}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"value": -0.1}, "value is -0.1, the limit is 0 and above"),
        ({"value": "nan"}, "value is nan"),
        ({"value": "true"}, "value is True, not a number"),
        ({"value": '"1"'}, "value is '1', not a number"),
        ({"unit": "nJ"}, "unit 'nJ', only pJ"),
        ({"source": "  "}, "source is missing"),
    ],
)
def test_a_bad_field(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(EvenspikeError, match=message):
        load(table_file(tmp_path, changes))


def test_missing_and_unknown_entries(tmp_path: Path) -> None:
    path = table_file(tmp_path)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("[action.fifo_pop]", "[action.fifo_peek]"), encoding="utf-8")
    with pytest.raises(EvenspikeError, match="entry fifo_peek is not an action"):
        load(path)
    path.write_text(text.split("[action.leakage_cycle]")[0], encoding="utf-8")
    with pytest.raises(EvenspikeError, match="entry leakage_cycle is missing"):
        load(path)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(EvenspikeError, match=r"none\.toml: not a readable energy table"):
        load(tmp_path / "none.toml")
    path = tmp_path / "broken.toml"
    path.write_bytes(b"[action\n")
    with pytest.raises(EvenspikeError, match="not a readable energy table"):
        load(path)
    path.write_text("action = 3", encoding="utf-8")
    with pytest.raises(EvenspikeError, match="is not a table"):
        load(path)
    with pytest.raises(EvenspikeError, match="clock 0 MHz"):
        load(clock_mhz=0)
