"""Every bench of the RTL's components passes in both simulators and meets all of its corners."""

from __future__ import annotations

import pytest

from tests.helpers import bench

pytest.importorskip("amaranth")
pytest.importorskip("cocotb_tools")


@pytest.mark.parametrize("simulator", bench.SIMULATORS)
@pytest.mark.parametrize("component", bench.names())
def test_bench(component: str, simulator: str) -> None:
    absent = bench.missing(simulator)
    if absent is not None:
        pytest.skip(f"needs {absent}")
    result = bench.run(component, simulator)
    for corner, hit in result.coverage.items():
        print(f"{'met   ' if hit else 'MISSED'}  {corner}")  # noqa: T201 (pytest shows it with -rP)
    assert result.passed, f"see {result.log}\n{result.log.read_text()[-3000:]}"
    assert not result.missed
    assert result.coverage
