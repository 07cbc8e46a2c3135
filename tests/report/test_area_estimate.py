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
    "packed": 659_484,
    "packed,timesteps=1": 399_982,
    "packed,timesteps=2": 485_128,
    "packed,timesteps=3": 633_716,
    "packed,timesteps=8": 1_028_484,
    "packed,kernel_max=3": 628_788,
    "packed,kernel_max=5": 646_900,
    "packed,issue=1": 597_046,
    "packed,issue=1,timesteps=1": 368_484,
    "packed,issue=1,timesteps=8": 924_394,
    "packed,issue=1,kernel_max=3": 569_480,
    "packed,issue=1,kernel_max=5": 580_102,
    "packed,issue=1,kernel_max=3,lif_shared=1": 502_126,
    "packed,issue=1,kernel_max=3,lif_shared=1,timesteps=2": 395_498,
    "packed,accumulators=1024": 1_253_064,
    "packed,scratchpad_words=4096,header_words=896": 1_061_956,
    "packed,fifo_depth=16,match_depth=8": 639_136,
}
TOPS = {
    "packed,pes=2": 3_980_794,
    "packed,pes=4": 5_736_306,
    "packed,pes=8": 9_364_728,
    "packed": 17_080_738,
    "packed,pes=32": 34_337_718,
    "packed,pes=4,timesteps=8": 8_273_462,
    "packed,pes=4,issue=1": 5_484_130,
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
