"""On one trained network and the same spikes: cycle-aware > u-Ticket > LTH, by the counters."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from benchmarks.balances import Network


@pytest.fixture(scope="module")
def network() -> Network:
    return Network()


@pytest.mark.parametrize("natural", [False, True])
@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
def test_the_pes_are_busier_and_sooner_done(network: Network, seed: int, natural: bool) -> None:
    found = network.compare(seed, natural=natural)
    busy = {name: utilization for name, (utilization, _) in found.items()}
    cycles = {name: cycles for name, (_, cycles) in found.items()}
    assert busy["cycle-aware"] > busy["u-ticket"] > busy["imp"]
    assert cycles["cycle-aware"] < cycles["imp"]
    assert cycles["cycle-aware"] < 1.01 * cycles["u-ticket"]
