"""Every bench of the RTL's components passes in both simulators and meets all of its corners."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import bench

pytest.importorskip("amaranth")
pytest.importorskip("cocotb_tools")


SLOW = (
    "accelerator:shared-lif",
    "accumulators:five-timesteps",
    "apu:pes1",
    "array:port128",
    "array:shared-lif",
    "logit_writer:pes16",
    "pe:shared-lif",
)
"""Forms that take Icarus the longest."""


def is_long(component: str, simulator: str) -> bool:
    """Verilator takes longer to build a form than Icarus to run it; not so the accelerator."""
    if component == "accelerator":
        return simulator == "icarus"
    return component in SLOW or (":" in component and simulator != "icarus")


CASES = [
    pytest.param(name, simulator, marks=[pytest.mark.long] if is_long(name, simulator) else [])
    for name in bench.names()
    for simulator in bench.SIMULATORS
]


@pytest.mark.parametrize(("component", "simulator"), CASES)
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


GOOD = bench.Result("fifo", "any", True, 0.0, 0.0, Path("log.txt"), {"corner": True})


@pytest.mark.parametrize(
    ("arguments", "gone", "says", "runs"),
    [
        ([], {"icarus"}, "icarus is not here: install it; only verilator runs", ["verilator"]),
        (["--simulator=icarus"], {"icarus"}, "icarus is not here: install it", []),
        ([], {"icarus", "verilator"}, "install it; verilator is not here: install it", []),
    ],
)
def test_a_simulator_that_is_not_there_is_one_line(
    arguments: list[str],
    gone: set[str],
    says: str,
    runs: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ran: list[str] = []

    def run(_: str, simulator: str, **__: object) -> bench.Result:
        ran.append(simulator)
        return GOOD

    monkeypatch.setattr(bench, "missing", dict.fromkeys(gone, "it").get)
    monkeypatch.setattr(bench, "run", run)
    assert bench.main(["fifo", *arguments]) == (0 if runs else 2)
    assert capsys.readouterr().err.endswith(f"{says}\n")
    assert ran == runs
