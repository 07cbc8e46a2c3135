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
    "packed": 660_786,
    "packed,timesteps=1": 401_900,
    "packed,timesteps=2": 486_912,
    "packed,timesteps=3": 635_232,
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
    "paper,lif_parallel=0": 464_664,
    "paper,lif_parallel=0,kernel_max=3": 424_066,
    "paper,lif_parallel=0,kernel_max=5": 438_778,
    "packed,accumulators=1024": 1_253_064,
    "packed,scratchpad_words=4096,header_words=896": 1_061_956,
    "packed,fifo_depth=16,match_depth=8": 639_136,
}
TOPS = {
    "packed,pes=2": 3_351_416,
    "packed,pes=4": 5_111_498,
    "packed,pes=8": 8_750_270,
    "packed": 16_509_490,
    "packed,pes=4,timesteps=8": 7_648_916,
    "packed,pes=4,issue=1": 4_860_234,
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
