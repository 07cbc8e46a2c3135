"""Arch: the presets, what is derived from the fields, the digest, and the limits."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from evenspike_core.arch import (
    CLOCK_MAX,
    HEADER_UNITS,
    IMPLIED,
    PID_BITS,
    PRESETS,
    SLOTS_MAX,
    TOKEN_BITS,
    WEIGHTS_MIN,
    Arch,
    preset,
)
from evenspike_core.errors import EvenspikeError
from evenspike_core.program import KERNELS

NO_INTEGERS = ("preset", "gates", "clock_mhz")
INTEGERS = [field.name for field in fields(Arch) if field.name not in NO_INTEGERS]
OTHER: dict[str, int | float] = {
    "pes": 8,
    "timesteps": 5,
    "accumulators": 512,
    "scratchpad_words": 2048,
    "header_words": 223,
    "chunk_blocks": 7,
    "fifo_depth": 63,
    "match_depth": 5,
    "issue": 1,
    "lane_depth": 16,
    "slots": 32,
    "port_bits": 128,
    "address_bits": 31,
    "memory_latency": 15,
    "stream_depth": 31,
    "spike_entries": 8191,
    "row_entries": 16,
    "table_words": 2048,
    "kernel_max": 5,
    "lif_shared": 1,
    "lif_parallel": 1,
    "clock_mhz": 400.5,
}
"""Another valid value of each field that has more than one."""


def changed(**fields: Any) -> Arch:
    return replace(Arch(), **fields)


def message(**fields: Any) -> str:
    with pytest.raises(EvenspikeError) as caught:
        changed(**fields)
    return str(caught.value)


def test_default_is_the_accelerator_of_the_paper_with_packed_passes() -> None:
    arch = Arch()
    assert (arch.pes, arch.timesteps, arch.accumulators, arch.scratchpad_words) == (
        16,
        4,
        256,
        1024,
    )
    assert (arch.port_bits, arch.slots, arch.clock_mhz) == (64, 64, 400.0)


def test_presets() -> None:
    assert sorted(PRESETS) == ["packed", "paper"]
    assert preset("packed") == Arch()
    paper: dict[str, Any] = {
        "gates": "weights",
        "timesteps": 1,
        "issue": 1,
        "slots": 1,
        "spike_entries": 32768,
        "lif_parallel": 1,
    }
    assert preset("paper") == replace(Arch(), preset="paper", **paper)
    assert all(preset(name).preset == name for name in PRESETS)


def test_unknown_preset_lists_those_that_exist() -> None:
    with pytest.raises(EvenspikeError, match=r"^unknown Arch 'small'; there are: packed, paper$"):
        preset("small")


def test_derived_values() -> None:
    arch = Arch()
    assert arch.weight_words == 288  # 1024 / 2 - 224
    assert arch.chunk_channels == 128
    assert arch.input_words == 1  # 16 * 4 bit of 64
    assert arch.logit_words == 8  # 16 * 32 bit of 64
    assert arch.drain_latency == 10  # read, drives, seven stages of LIF, pool and write
    assert arch.carry_latency == 11  # the same up to LIF, a leak, a register
    assert changed(timesteps=1).drain_latency == 4
    assert (arch.lif_latency, arch.carry_cycles, arch.result_blocks) == (9, 11, 3)


@pytest.mark.parametrize(
    ("pes", "timesteps", "cycles", "latencies", "blocks"),
    [
        (16, 4, (4, 5, 8, 8), (7, 8), 2),
        (1, 4, (4, 5, 4, 5), (7, 8), 3),  # a block of logits is a word
        (16, 8, (8, 9, 8, 9), (11, 12), 3),
        (1, 1, (1, 2, 1, 2), (4, 5), 6),
    ],
)
def test_shared_lif(
    pes: int,
    timesteps: int,
    cycles: tuple[int, ...],
    latencies: tuple[int, int],
    blocks: int,
) -> None:
    """Cycles of a position, in the last layer too, each without and with a carry."""
    arch = changed(pes=pes, timesteps=timesteps, lif_shared=1)
    assert cycles == tuple(
        arch.position_cycles(last=last, carries=carries)
        for last in (False, True)
        for carries in (False, True)
    )
    assert (arch.lif_latency, arch.carry_latency) == latencies
    assert (arch.drain_latency, arch.carry_cycles, arch.result_blocks) == (5, 4, blocks)


@pytest.mark.parametrize(
    ("pes", "logits", "channels"),
    [(1, 1, 8), (2, 1, 16), (4, 2, 32), (8, 4, 64), (64, 32, 512)],
)
def test_words_of_a_block_of_lanes(pes: int, logits: int, channels: int) -> None:
    arch = replace(Arch(), pes=pes)
    assert (arch.logit_words, arch.chunk_channels) == (logits, channels)


@pytest.mark.parametrize(
    ("pes", "timesteps", "words"),
    [(1, 1, 1), (1, 8, 1), (8, 8, 1), (16, 4, 1), (16, 5, 2), (32, 8, 4), (64, 3, 3), (64, 8, 8)],
)
def test_words_of_a_position_of_the_input(pes: int, timesteps: int, words: int) -> None:
    assert changed(pes=pes, timesteps=timesteps).input_words == words


@pytest.mark.parametrize(
    ("timesteps", "banks"), [(1, 1), (2, 2), (3, 4), (4, 4), (5, 8), (7, 8), (8, 8)]
)
def test_banks_of_the_accumulators(timesteps: int, banks: int) -> None:
    assert changed(timesteps=timesteps).banks == banks


def test_gates_that_are_weights() -> None:
    """Four 16-bit AND gates and 256 accumulators, of which a window of 4 x 4 has 16 banks."""
    arch = preset("packed,gates=weights")
    assert (arch.gates, arch.timesteps, arch.issue, arch.slots) == ("weights", 1, 1, 1)
    assert (arch.ways, arch.adders, arch.window_banks, arch.fetch_units) == (4, 4, 16, 2)
    assert arch.groups(4) == 4
    assert [(one.gates, one.ways, one.adders) for one in (Arch(), changed(issue=1))] == [
        ("timesteps", 2, 4),
        ("timesteps", 1, 4),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("packed,gates=spikes", "Arch gates is 'spikes', possible are timesteps, weights"),
        ("packed,gates=", "Arch gates is '', possible are timesteps, weights"),
        (
            "paper,timesteps=4",
            "Arch gates=weights needs timesteps=1, and timesteps is 4",
        ),
        ("packed,gates=weights,issue=2", "Arch gates=weights needs issue=1, and issue is 2"),
        ("packed,gates=weights,slots=64", "Arch gates=weights needs slots=1, and slots is 64"),
        (
            "packed,lif_parallel=1",
            (
                "Arch lif_parallel=1 needs gates=weights and lif_shared=0, and gates is timesteps, "
                "lif_shared 0"
            ),
        ),
        (
            "paper,lif_shared=1",
            (
                "Arch lif_parallel=1 needs gates=weights and lif_shared=0, and gates is weights, "
                "lif_shared 1"
            ),
        ),
        (
            "paper,accumulators=32",
            (
                "Arch gates=weights needs 64 accumulators, 4 in each of 16 banks, "
                "and accumulators is 32"
            ),
        ),
    ],
)
def test_gates_that_cannot_be(text: str, says: str) -> None:
    with pytest.raises(EvenspikeError) as caught:
        preset(text)
    assert str(caught.value) == says


def test_parallel_lif() -> None:
    arch = preset("paper")
    assert (arch.lif_units, arch.step_cycles, arch.lif_latency) == (256, 2, 1)
    assert (arch.drain_latency, arch.carry_cycles, arch.result_blocks) == (2, 0, 2)
    assert arch.position_cycles(last=False, carries=True) == 1
    assert (Arch().lif_units, Arch().step_cycles) == (1, 0)


def test_an_arch_without_the_field_has_its_digest() -> None:
    """What was built for it stays its own."""
    assert Arch().digest == "2285b5929fba"
    assert preset("packed,slots=1").digest == "de25351c3275"
    assert preset("packed,gates=timesteps").digest == Arch().digest


@pytest.mark.parametrize(("issue", "units"), [(1, 2), (2, 4)])
def test_units_of_a_fetch(issue: int, units: int) -> None:
    assert changed(issue=issue).fetch_units == units


@pytest.mark.parametrize(
    ("own", "timesteps", "groups"),
    [(4, 1, 1), (4, 4, 1), (4, 5, 2), (4, 32, 8), (1, 32, 32), (5, 32, 7)],
)
def test_groups_of_timesteps(own: int, timesteps: int, groups: int) -> None:
    assert changed(timesteps=own).groups(timesteps) == groups


@pytest.mark.parametrize("kernel", KERNELS)
def test_fields_of_a_token_and_a_header_suffice(kernel: int) -> None:
    assert kernel**2 < 1 << PID_BITS[kernel], "the all-ones PID must be free: it marks a skip"
    assert PID_BITS[kernel] < TOKEN_BITS
    assert 16 * HEADER_UNITS[kernel] >= kernel**2 + (SLOTS_MAX - 1).bit_length()


def test_digest_is_of_every_field_but_the_name() -> None:
    assert set(OTHER) == {field.name for field in fields(Arch)} - {"preset", "gates"}
    alone = [name for name in OTHER if name != "lif_parallel"]
    digests = [Arch().digest, *(changed(**{name: OTHER[name]}).digest for name in alone)]
    digests += [changed(gates="weights", lif_parallel=1, **IMPLIED).digest]
    digests += [changed(gates=gates, **IMPLIED).digest for gates in ("timesteps", "weights")]
    assert len(set(digests)) == len(digests)
    assert all(len(digest) == 12 and int(digest, 16) >= 0 for digest in digests)
    assert replace(Arch(), preset="mine").digest == Arch().digest
    assert replace(Arch(), clock_mhz=400).digest == Arch().digest  # an int, the same clock


LIMITS = {
    "pes": (1, 64),
    "timesteps": (1, 8),
    "accumulators": (4, 4096),
    "scratchpad_words": (256, 65536),
    "header_words": (8, 448),
    "chunk_blocks": (1, 256),
    "fifo_depth": (1, 4096),
    "match_depth": (1, 64),
    "issue": (1, 2),
    "lane_depth": (8, 64),
    "slots": (1, 64),
    "port_bits": (64, 256),
    "address_bits": (8, 32),
    "memory_latency": (1, 1024),
    "stream_depth": (1, 4096),
    "spike_entries": (1, 16777216),
    "row_entries": (1, 64),
    "table_words": (64, 65536),
    "kernel_max": (3, 7),
    "lif_shared": (0, 1),
    "lif_parallel": (0, 1),
}


def test_every_integer_has_a_limit() -> None:
    assert sorted(LIMITS) == sorted(INTEGERS)


@pytest.mark.parametrize("name", INTEGERS)
def test_limits(name: str) -> None:
    low, high = LIMITS[name]
    headers: dict[str, Any] = {"header_words": 8} if name == "scratchpad_words" else {}
    if name == "lif_parallel":
        headers = {"gates": "weights", **IMPLIED}
    for value in (low, high):
        assert getattr(changed(**headers, **{name: value}), name) == value
    wrong: list[Any] = [low - 1, high + 1, -1, float(low), True, None, "4"]
    for other in wrong:
        assert message(**headers, **{name: other}) == (
            f"Arch {name} is {other!r}, possible are {low} to {high}"
        )


@pytest.mark.parametrize(
    "name",
    ["pes", "accumulators", "scratchpad_words", "slots", "lane_depth", "port_bits", "row_entries"],
)
def test_powers_of_two(name: str) -> None:
    low, high = LIMITS[name]
    value = 3 * max(low, 1)
    powers = ", ".join(str(1 << n) for n in range(24) if low <= 1 << n <= high)
    assert message(**{name: value}) == (
        f"Arch {name} is {value}, not a power of two; possible are {powers}"
    )


@pytest.mark.parametrize(("pes", "bits"), [(1, 128), (2, 256)])
def test_a_port_is_no_wider_than_the_words_of_all_pes(pes: int, bits: int) -> None:
    assert changed(pes=2 * pes, port_bits=bits).port_lanes == bits // 64
    assert message(pes=pes, port_bits=bits) == (
        f"Arch port_bits is {bits}, a word for each of {bits // 64} PEs, and pes is {pes}"
    )


@pytest.mark.parametrize(
    ("bits", "lanes", "counts", "inputs", "logits"),
    [(64, 1, 2, 2, 8), (128, 2, 1, 1, 4), (256, 4, 1, 1, 2)],
)
def test_words_of_a_port(bits: int, lanes: int, counts: int, inputs: int, logits: int) -> None:
    """16 PEs of 5 timesteps: counts of 128 bits, masks of 80, logits of 512."""
    arch = changed(port_bits=bits, timesteps=5)
    found = arch.port_lanes, arch.count_words, arch.input_words, arch.logit_words
    assert found == (lanes, counts, inputs, logits)


@pytest.mark.parametrize("value", [4, 6])
def test_kernels_are_odd(value: int) -> None:
    assert message(kernel_max=value) == (
        f"Arch kernel_max is {value}, not odd; possible are 3, 5, 7"
    )


def test_header_words_leave_a_weight_bank() -> None:
    assert Arch(scratchpad_words=256, header_words=64).weight_words == 64
    assert message(scratchpad_words=256, header_words=65) == (
        "Arch header_words is 65, possible are 8 to 64"
    )


def test_a_field_that_is_given_twice_is_refused() -> None:
    for text in ("packed,pes=8,pes=4", "packed,pes=8,slots=1,pes=8"):
        with pytest.raises(EvenspikeError, match=r"^Arch pes is given twice: 8 and [48]$"):
            preset(text)


def test_presets_have_no_warnings() -> None:
    assert [one.warnings() for one in PRESETS.values()] == [(), ()]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"memory_latency": 31}, "stream_depth 32 is below memory_latency + 2 = 33: the port "),
        ({"stream_depth": 17}, "stream_depth 17 is below memory_latency + 2 = 18: the port "),
        ({"scratchpad_words": 2048}, "header_words 224 fill before the 800 weight words"),
        ({"header_words": 170}, "header_words 170 fill before the 342 weight words"),
        ({"header_words": 257}, "header_words 257 exceed the 255 weight words"),
        ({"fifo_depth": 1}, "fifo_depth 1: the broadcast waits"),
        ({"match_depth": 1}, "match_depth 1: the matcher waits"),
        ({"lane_depth": 8}, "lane_depth 8 has no place beside what is under way"),
    ],
)
def test_warnings(fields: dict[str, int], says: str) -> None:
    (found,) = changed(**fields).warnings()
    assert found.startswith(says)
    ((name, value),) = fields.items()
    less = value - 1 if name in ("memory_latency", "scratchpad_words") else value + 1
    less = {"scratchpad_words": 1024, "header_words": 200, "lane_depth": 16}.get(name, less)
    assert changed(**{name: less}).warnings() == ()


def test_every_field_is_on_its_page_with_its_range_and_default() -> None:
    page = (Path(__file__).parents[2] / "docs" / "arch.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| `")]
    found = {row[0].strip("| `"): row[2:4] for row in rows if len(row) == 5}
    expected = {}
    for one in fields(Arch):
        if one.name in INTEGERS:
            low, high = one.metadata["low"], one.metadata["high"]
            top = "`scratchpad_words` / 2 - 64" if high is None else high
            text = f"{low} to {top}" + (", a power of two" if one.metadata["power"] else "")
            text += ", odd" if one.metadata["odd"] else ""
            expected[one.name] = [text, f"{one.default}"]
    expected["gates"] = ["timesteps or weights", "timesteps"]
    expected["clock_mhz"] = [f"above 0 to {CLOCK_MAX}", f"{Arch().clock_mhz:g}"]
    assert found == expected
    assert WEIGHTS_MIN == 64
    for name in expected:
        assert f"    {name}: " in str(Arch.__doc__)


@pytest.mark.parametrize("value", [0, -1.0, 100001, "400", None, True, float("nan"), float("inf")])
def test_clock(value: Any) -> None:
    assert (
        message(clock_mhz=value) == f"Arch clock_mhz is {value!r}, possible are above 0 to 100000"
    )
