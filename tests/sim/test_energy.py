"""Energy: it follows from the Arch by the table's rules, and no bad table or count gets through."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path

import pytest

from evenspike.report.plots import ENERGY_GROUPS
from evenspike_core.arch import PRESETS, preset
from evenspike_core.errors import EvenspikeError
from evenspike_sim.energy import energy, total_pj, total_range
from evenspike_sim.energy_table import ACTIONS, TABLE, load

PACKED = PRESETS["packed"]
SHIPPED = TABLE.read_text(encoding="utf-8")


def table(folder: Path, old: str = "", new: str = "") -> Path:
    """The shipped table with one piece of text changed; the empty one is at its beginning."""
    assert old in SHIPPED
    path = folder / "energy.toml"
    path.write_text(SHIPPED.replace(old, new, 1), encoding="utf-8")
    return path


def test_shipped_table_has_every_action_and_source() -> None:
    entries = load(PACKED)
    assert tuple(entries) == ACTIONS
    for name, entry in entries.items():
        assert entry.value > 0
        assert entry.node.endswith("nm")
        assert "SATA_Sim" in entry.source
        assert (entry.other != entry.value) == (name == "memory_word")


@pytest.mark.parametrize(
    ("change", "factor", "moved"),
    [
        ("accumulators=1024", 2.0, {"accumulator_read", "accumulator_write"}),
        ("scratchpad_words=4096,header_words=896", 2.0, {"scratchpad_read", "header_read"}),
        ("header_words=448", math.sqrt(2), {"header_read"}),
        ("fifo_depth=256", 2.0, {"fifo_push"}),
        ("match_depth=32", 2.0, {"queue_push"}),
        ("lane_depth=64", math.sqrt(2), {"lane_push"}),
        ("chunk_blocks=32", 2.0, {"table_read", "table_write"}),
        ("spike_entries=32768", 2.0, {"spike_read", "spike_write"}),
        ("pes=32", 137 / 73, {"spike_read", "spike_write"}),
        ("clock_mhz=100", 4.0, {"leakage_cycle", "shared_leakage_cycle"}),
    ],
)
def test_a_larger_machine_takes_more(change: str, factor: float, moved: set[str]) -> None:
    """By the rule, where only words or bits of one memory move; address bits widen some entries."""
    before, after = load(PACKED), load(preset(f"packed,{change}"))
    found = {name: after[name].value / before[name].value for name in ACTIONS}
    for name in moved:
        widened = 1.1 if name.startswith(("fifo", "queue", "table")) else 1.0
        assert factor * (1 - 1e-9) <= found[name] <= factor * widened * (1 + 1e-9), name
    if "header_words=448" not in change:  # which takes its words from the weight bank
        assert min(found.values()) > 1 - 1e-9


@pytest.mark.parametrize(("issue", "factor"), [(1, 2.0), (2, 1.0)])
def test_a_row_has_all_timesteps_and_a_bank_has_one(issue: int, factor: float) -> None:
    before, after = (load(preset(f"packed,issue={issue},timesteps={t}")) for t in (4, 8))
    for name in ("accumulator_read", "accumulator_write"):
        assert after[name].value == pytest.approx(factor * before[name].value)


@pytest.mark.parametrize(
    ("change", "moved"),
    [
        ("chunk_blocks=16", {"filter"}),
        ("lane_depth=64", {"lane_pop", "leakage_cycle"}),
        ("scratchpad_words=2048", {"leakage_cycle"}),
        ("pes=64", {"shared_leakage_cycle", "shared_clock_cycle", "table_read"}),
        ("timesteps=8", {"leakage_cycle", "clock_cycle", "shared_clock_cycle", "fifo_push"}),
        ("spike_entries=16384", {"shared_leakage_cycle"}),
        ("stream_depth=64", {"shared_leakage_cycle"}),
        ("table_words=2048", {"shared_leakage_cycle"}),
    ],
)
def test_what_a_field_moves_beside(change: str, moved: set[str]) -> None:
    before, after = load(PACKED), load(preset(f"packed,{change}"))
    assert all(after[name].value > before[name].value * (1 + 1e-9) for name in moved)


def test_the_note_is_the_arithmetic() -> None:
    for entry in load(preset("packed,pes=4,timesteps=2,clock_mhz=250")).values():
        _, _, sum_ = entry.note.rpartition(": " if "reading" not in entry.note else "pins: ")
        text = sum_.partition(" (other")[0]
        for word, meaning in (
            ("bytes", ""),
            ("bit", ""),
            ("mW", "* 1e3"),
            ("MHz", ""),
            (" x ", "*"),
        ):
            text = text.replace(word, meaning)
        assert eval(text, {"sqrt": math.sqrt}) == pytest.approx(entry.value, rel=1e-4)  # noqa: S307 (own text)


def test_energy_is_count_times_value() -> None:
    entries = load(PACKED)
    by_action = energy({name: 10 * index for index, name in enumerate(ACTIONS)}, entries)
    for index, (name, found) in enumerate(by_action.items()):
        assert found["count"] == 10 * index
        assert found["pj"] == pytest.approx(10 * index * entries[name].value)
        assert found["pj_range"][1] == found["pj"]
    word = by_action["memory_word"]
    assert word["pj_range"] == [word["pj"] / 2, word["pj"]]
    low, high = total_range(by_action)
    assert high == total_pj(by_action) == pytest.approx(sum(e["pj"] for e in by_action.values()))
    assert high - low == pytest.approx(word["pj"] / 2)


def test_the_report_knows_a_group_for_every_action() -> None:
    grouped = [name for names in ENERGY_GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(ACTIONS)


def counts(**changes: float) -> dict[str, float]:
    return dict.fromkeys(ACTIONS, 1.0) | changes


def test_unknown_missing_and_impossible_counts() -> None:
    entries = load(PACKED)
    with pytest.raises(EvenspikeError, match="energy: multiply is not an action"):
        energy(counts(multiply=1), entries)
    forgotten = counts()
    del forgotten["fifo_pop"]
    with pytest.raises(EvenspikeError, match="energy: fifo_pop has no count"):
        energy(forgotten, entries)
    with pytest.raises(EvenspikeError, match="count of lif_step is -1"):
        energy(counts(lif_step=-1), entries)
    with pytest.raises(EvenspikeError, match="count of lif_step is nan"):
        energy(counts(lif_step=math.nan), entries)
    del entries["spike_read"]
    with pytest.raises(EvenspikeError, match="the table has no entry spike_read"):
        energy(counts(), entries)


FIRST = "value = 0.01185"
ENTRY = '[action.accumulate]\nterms = [{ anchor = "add16", bits = "accumulator_bits" }]'


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (FIRST, "", "anchor 'and16': value is missing, not a number"),
        (FIRST, "value = -0.1", "anchor 'and16': value is -0.1, possible are 0 to"),
        (FIRST, "value = nan", "value is nan, possible"),
        (FIRST, "value = true", "value is True, not a number"),
        (FIRST, 'value = "1\\n"', r"value is '1\\n', not a number"),
        (FIRST, f"value = 0x{'f' * 5000}", "value is an integer beyond 64 bits"),
        (FIRST, f"value = {'9' * 5000}", "not valid TOML: "),
        (FIRST, f"value = {'[' * 40}{']' * 40}", "value is a list, not a number"),
        (FIRST, f"value = {'[' * 9000}", "not valid TOML: it is nested deeper"),
        (FIRST, FIRST + "\nwidth = 3", "anchor 'and16': unknown key 'width', possible are bits"),
        ('unit = "pJ"', 'unit = "nJ"', "unit 'nJ', only pJ and mW/KB are understood"),
        ('unit = "pJ"', "unit = 3", "anchor 'and16': unit is missing, or no text"),
        ('node = "32 nm"', 'node = " "', "anchor 'and16': node is missing, or no text"),
        ("bits = 16", "bits = 0", "anchor 'and16': bits is 0, possible are 1"),
        ('note = "one addition', 'text = "one addition', "'accumulate': unknown key 'text'"),
        (ENTRY, "[action.accumulate]\nterms = 3", "'accumulate': terms is not a list"),
        (ENTRY, "[action.accumulate]\nterms = []", "'accumulate': terms is not a list of at least"),
        (ENTRY, "[action.accumulate]\nterms = [3]", "'accumulate': term 0: not a table"),
        ('anchor = "add16", bits', 'anchor = "add17", bits', "term 0: anchor is 'add17', possible"),
        ('anchor = "add16", bits', 'anchor = [["add16"]], bits', "term 0: anchor is a list, poss"),
        (
            'bits = "accumulator_bits" }]',
            'bits = "psum" }]',
            "term 0: bits is 'psum', possible are",
        ),
        ('bits = "accumulator_bits" }]', "bits = -1 }]", "term 0: bits is -1, possible are 0"),
        ('memory = "headers"', 'memory = "head"', "term 0: memory is 'head', possible are acc"),
        ('memory = "headers"', 'memory = "headers", bits = 3', "memory needs an anchor of bytes"),
        ("times = 10862", "bits = 3", "term 0: bits needs an anchor of bits"),
        ("[action.fifo_pop]", "[action.fifo_peek]", "entry 'fifo_peek' is not an action"),
        ("[action.spike_write]", "[anchor.spike_write]", "anchor 'spike_write'"),
        ("", "surplus = 1\n", "unknown key 'surplus'"),
        ("", "\ufeff", "begins with a byte order mark"),
        ("", "[anchor\n", "not valid TOML: "),
        ("", "\0", "not valid TOML: "),
    ],
)
def test_a_malformed_table_is_one_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    load(PACKED, table(tmp_path))
    with pytest.raises(EvenspikeError, match=message) as caught:
        load(PACKED, table(tmp_path, old, new))
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"action = 3\n[anchor]\n", r"\[action\] is not a table"),
        (b"anchor = 3\n[action]\n", r"\[anchor\] is not a table"),
        (b"", "is empty"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"[anchor]\n[action]\n", "entry 'accumulate' is missing"),
    ],
)
def test_files_that_are_no_table(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "energy.toml"
    path.write_bytes(content)
    with pytest.raises(EvenspikeError, match=message):
        load(PACKED, path)
    with pytest.raises(EvenspikeError, match="cannot be read"):
        load(PACKED, tmp_path)


def test_every_anchor_is_used() -> None:
    used = {
        term["anchor"] for e in tomllib.loads(SHIPPED)["action"].values() for term in e["terms"]
    }
    assert used == set(tomllib.loads(SHIPPED)["anchor"])
