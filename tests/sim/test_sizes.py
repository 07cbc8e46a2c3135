"""Sizes: the flip-flops and gates that energy is charged for are those of the RTL."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from evenspike_core.arch import PRESETS, preset
from evenspike_hw.synthesis.synthesize import Request, synthesize
from evenspike_sim.energy_table import TABLE
from evenspike_sim.sizes import quantities

BASELINES = Path(__file__).parents[1] / "baselines"


def baseline(part: str) -> dict[str, float]:
    found = json.loads((BASELINES / f"{part}-generic.json").read_text(encoding="utf-8"))
    return {name: metric["value"] for name, metric in found["metrics"].items()}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("packed,timesteps=3", marks=pytest.mark.long),
        pytest.param("packed,timesteps=8", marks=pytest.mark.long),
        "packed,timesteps=1,kernel_max=3",
        pytest.param("packed,issue=1,kernel_max=3,pes=4", marks=pytest.mark.long),
        pytest.param("packed,lif_shared=1", marks=pytest.mark.long),
        "packed,issue=1,kernel_max=3,lif_shared=1,timesteps=2",
        pytest.param("paper,lif_parallel=0", marks=pytest.mark.long),
        pytest.param("paper,lif_parallel=0,kernel_max=3", marks=pytest.mark.long),
    ],
)
def test_flip_flops_grow_with_timesteps_and_kernels(text: str, tmp_path: Path) -> None:
    arch = preset(text)
    found = synthesize(Request("pe", arch=arch), tmp_path)["blocks"]["resources"]["flip_flops"]
    assert quantities(arch)["pe_flip_flops"] == pytest.approx(found, rel=0.01)


def test_flip_flops_and_gates_are_the_synthesised_ones() -> None:
    arch = PRESETS["packed"]
    found, pe = quantities(arch), baseline("pe")["flip_flops"]
    assert found["pe_flip_flops"] == pytest.approx(pe, rel=0.01)
    shared = baseline("top")["flip_flops"] - arch.pes * pe
    assert found["shared_flip_flops"] == pytest.approx(shared, rel=0.02)
    actions = tomllib.loads(TABLE.read_text(encoding="utf-8"))["action"]
    blocks = {"match": "matcher", "select": "selector", "unpack": "unpacker"}
    blocks |= {"filter": "filter", "lane_pop": "lanes", "fifo_pop": "fifo", "queue_pop": "queue"}
    for action, block in blocks.items():
        b = baseline(block)
        gates = b["transistors"] - 8 * b["ram_bits"] - 16 * b["flip_flops"]
        gates /= arch.banks if block == "lanes" else 1
        times = actions[action]["terms"][-1]["times"]
        times = found[times] if isinstance(times, str) else times
        assert times == pytest.approx(gates, rel=0.02), action


@pytest.mark.parametrize("block", ["matcher", "selector", "queue"])
@pytest.mark.parametrize("text", ["packed,issue=1", "packed,issue=1,kernel_max=5"])
def test_gates_of_other_patterns(block: str, text: str, tmp_path: Path) -> None:
    arch = preset(text)
    found = synthesize(Request(block, arch=arch), tmp_path)["blocks"]["resources"]
    gates = found["transistors"] - 8 * found["ram_bits"] - 16 * found["flip_flops"]
    assert quantities(arch)[f"{block}_gates"] == pytest.approx(gates, rel=0.02)


def test_what_clusters_share_is_there_once() -> None:
    """Memories and flip-flops around the PEs, of four clusters beside one."""
    one, four = quantities(preset("packed")), quantities(preset("packed,clusters=4"))
    for name in ("pe_kilobytes", "pe_flip_flops"):
        assert four[name] == one[name]
    once = sum(
        baseline(part)["flip_flops"]
        for part in ("control", "input", "loader", "port", "registers", "watchdog")
    )
    assert four["shared_flip_flops"] == pytest.approx(
        once + 4 * (one["shared_flip_flops"] - once), rel=0.01
    )
    kept = 8 * 1024  # bits of a KiB
    once = baseline("port")["ram_bits"] + baseline("loader")["ram_bits"]
    once += baseline("table")["ram_bits"]
    # Results have 32 cycles a position instead of 8, so that a block fewer of 512 bits waits.
    once = 3 * once + 4 * 512
    assert four["shared_kilobytes"] * kept == 4 * one["shared_kilobytes"] * kept - once
