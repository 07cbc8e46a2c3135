"""Arch: the presets, what is derived from the fields, the digest, and the limits."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from evenspike_core.arch import HEADER_UNITS, PID_BITS, PRESETS, SLOTS_MAX, TOKEN_BITS, Arch, preset
from evenspike_core.errors import EvenspikeError
from evenspike_core.program import KERNELS

INTEGERS = [field.name for field in fields(Arch) if field.name not in ("preset", "clock_mhz")]
OTHER: dict[str, int | float] = {
    "pes": 8,
    "timesteps": 5,
    "accumulators": 512,
    "scratchpad_words": 2048,
    "header_words": 223,
    "chunk_blocks": 7,
    "fifo_depth": 63,
    "match_depth": 5,
    "slots": 32,
    "memory_latency": 15,
    "stream_depth": 31,
    "spike_entries": 8191,
    "table_words": 2048,
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
    assert preset("paper") == replace(Arch(), preset="paper", slots=1)
    assert all(preset(name).preset == name for name in PRESETS)


def test_unknown_preset_lists_those_that_exist() -> None:
    with pytest.raises(EvenspikeError, match=r"^unknown Arch 'small'; there are: packed, paper$"):
        preset("small")


def test_derived_values() -> None:
    arch = Arch()
    assert arch.weight_words == 288  # 1024 / 2 - 224
    assert arch.chunk_channels == 128
    assert arch.port_words == 4
    assert arch.current_words == 6  # 16 * 24 bit of 64
    assert arch.logit_words == 8  # 16 * 32 bit of 64
    assert arch.drain_latency == 7  # read, four steps of LIF, pool, write


@pytest.mark.parametrize(
    ("pes", "currents", "logits", "channels"),
    [(1, 1, 1, 8), (2, 1, 1, 16), (4, 2, 2, 32), (8, 3, 4, 64), (64, 24, 32, 512)],
)
def test_words_of_a_block_of_lanes(pes: int, currents: int, logits: int, channels: int) -> None:
    arch = replace(Arch(), pes=pes)
    assert (arch.current_words, arch.logit_words, arch.chunk_channels) == (
        currents,
        logits,
        channels,
    )


@pytest.mark.parametrize("kernel", KERNELS)
def test_fields_of_a_token_and_a_header_suffice(kernel: int) -> None:
    assert kernel**2 < 1 << PID_BITS[kernel], "the all-ones PID must be free: it marks a skip"
    assert PID_BITS[kernel] < TOKEN_BITS
    assert 16 * HEADER_UNITS[kernel] >= kernel**2 + (SLOTS_MAX - 1).bit_length()


def test_digest_is_of_every_field_but_the_name() -> None:
    assert set(OTHER) == {field.name for field in fields(Arch)} - {"preset", "port_bits"}
    digests = [Arch().digest, *(changed(**{name: OTHER[name]}).digest for name in OTHER)]
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
    "slots": (1, 64),
    "port_bits": (64, 64),
    "memory_latency": (1, 1024),
    "stream_depth": (1, 4096),
    "spike_entries": (1, 16777216),
    "table_words": (64, 65536),
}


def test_every_integer_has_a_limit() -> None:
    assert sorted(LIMITS) == sorted(INTEGERS)


@pytest.mark.parametrize("name", INTEGERS)
def test_limits(name: str) -> None:
    low, high = LIMITS[name]
    headers = {"header_words": 8} if name == "scratchpad_words" else {}
    for value in (low, high):
        assert getattr(changed(**headers, **{name: value}), name) == value
    wrong: list[Any] = [low - 1, high + 1, -1, float(low), True]
    if name != "scratchpad_words":  # the range of header_words follows from it
        wrong += [None, "4"]
    for other in wrong:
        assert message(**headers, **{name: other}) == (
            f"Arch {name} is {other!r}, possible are {low} to {high}"
        )


@pytest.mark.parametrize("name", ["pes", "accumulators", "scratchpad_words", "slots"])
def test_powers_of_two(name: str) -> None:
    low, _ = LIMITS[name]
    value = 3 * max(low, 1)
    assert message(**{name: value}) == f"Arch {name} is {value}, not a power of two"


def test_header_words_leave_a_weight_bank() -> None:
    assert Arch(scratchpad_words=256, header_words=64).weight_words == 64
    assert message(scratchpad_words=256, header_words=65) == (
        "Arch header_words is 65, possible are 8 to 64"
    )


@pytest.mark.parametrize("value", [0, -1.0, 100001, float("nan"), float("inf")])
def test_clock(value: float) -> None:
    assert message(clock_mhz=value) == f"Arch clock_mhz is {value}, possible are above 0 to 100000"
