"""The bench's problem is the published network, and its ratios are what they say."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch")

from benchmarks.training import __main__ as bench
from benchmarks.training import floor, problem
from evenspike_train import networks
from evenspike_train.networks import VGG16, NetworkConfig


def test_plan_is_our_vgg16() -> None:
    layers = VGG16(NetworkConfig()).blocks()
    ours = [(x.conv.in_channels, x.conv.out_channels, x.pool is not None) for x in layers]
    assert problem.plan() == ours
    assert problem.PIXEL_SCALE == networks.PIXEL_SCALE


def test_operations_of_a_step() -> None:
    # 311.4 M multiply-accumulates a timestep without the first layer, of 64 x 9 x 32 x 32.
    others = 311.4e6 * problem.TIMESTEPS * 3
    assert floor.operations(1) / 2 == pytest.approx(others + 2 * 64 * 9 * 32 * 32, rel=1e-3)


def test_ratios_are_of_the_faster_format_of_a_peer() -> None:
    def row(cpu: float, wall: float, memory: float) -> dict[str, Any]:
        return {"cpu": cpu, "wall": wall, "peak_rss_mb": memory}

    rows = {
        "evenspike fp32": row(1.0, 2.0, 50.0),
        "evenspike default": row(0.5, 1.0, 40.0),
        "spikingjelly fp32": row(2.0, 3.0, 100.0),
        "spikingjelly fp32, channels_last": row(1.5, 4.0, 80.0),
        "spikingjelly bf16, channels_last": row(0.75, 1.0, 70.0),
        "snntorch fp32": row(9.0, 9.0, 100.0),
        "snntorch fp32, channels_last": row(9.0, 9.0, 100.0),
        "snntorch bf16, channels_last": row(9.0, 9.0, 100.0),
    }
    found = bench.ratios(rows)
    assert (found["ratio_fp32"], found["ratio_default"]) == (1.5, 3.0)
    assert found["peak_rss_ratio"] == 0.5
    jelly = found["ratios"]["spikingjelly"]
    assert (jelly["fp32_wall"], jelly["both_bf16_cpu"]) == (1.5, 1.5)


def test_shares_of_a_round() -> None:
    measured = [
        {"u_ticket": u, "cycle_aware_probe": 6.0, "cycle_aware_balance": 3.0, "layers_active": 1.0}
        for u in (1.0, 3.0, 0.5)
    ]
    found = bench.balance_shares(measured, 0.04)  # 2,400 seconds a round
    assert (found["round"], found["u_ticket"]) == (2400.0, 1.0)
    assert found["u_ticket_share"] == pytest.approx(1 / 2400)
    assert found["cycle_aware_share"] == pytest.approx(9 / 2400)
