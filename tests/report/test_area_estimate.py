"""The estimated area is that of syntheses: `make synth PART=... ARCH=...` in generic gates."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evenspike.report.area.estimate import estimate
from evenspike_core.arch import preset

BASELINES = Path(__file__).parents[1] / "baselines"
TOLERANCE = 0.01

PES = {
    "packed": 565_910,
    "packed,timesteps=1": 339_854,
    "packed,timesteps=2": 413_498,
    "packed,timesteps=8": 886_966,
    "packed,kernel_max=3": 537_180,
    "packed,kernel_max=5": 545_894,
    "packed,accumulators=1024": 1_155_814,
    "packed,scratchpad_words=4096,header_words=896": 968_774,
    "packed,fifo_depth=16,match_depth=8": 550_262,
}
TOPS = {
    "packed,pes=2": 3_809_608,
    "packed,pes=4": 5_398_484,
    "packed,pes=8": 8_663_750,
    "packed": 15_541_940,
    "packed,pes=32": 30_667_626,
    "packed,pes=4,timesteps=8": 7_738_498,
}


@pytest.mark.parametrize(("text", "transistors"), PES.items())
def test_a_pe(text: str, transistors: int) -> None:
    assert estimate(preset(text)).pe == pytest.approx(transistors, rel=TOLERANCE)


@pytest.mark.parametrize(("text", "transistors"), TOPS.items())
def test_the_accelerator(text: str, transistors: int) -> None:
    assert estimate(preset(text)).transistors == pytest.approx(transistors, rel=TOLERANCE)


def test_the_baselines_say_the_same() -> None:
    kept = json.loads((BASELINES / "top-generic.json").read_text())["metrics"]
    found = estimate(preset("packed"))
    assert found.ram_bits == kept["ram_bits"]["value"]
    assert found.transistors == pytest.approx(kept["transistors"]["value"], rel=TOLERANCE)
