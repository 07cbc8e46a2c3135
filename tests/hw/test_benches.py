"""Every bench of the RTL's components passes and meets all of its corners, some of their forms
pass; `make test ALL=1` runs all in both simulators and to the end.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import bench

pytest.importorskip("amaranth")
pytest.importorskip("cocotb_tools")


VERILATOR = ("accelerator", "array", "pe")
"""Those that Icarus takes longer to run than Verilator to build."""

FEW = 1000
"""Transactions where not every corner has to be met."""

LARGE = ("accelerator", "array")
"""Whole machines: all their corners take minutes, as do all forms' benches together."""

FORMS = [name for name in bench.names() if ":" in name]
SHORT_FORMS = (
    "apu:pes1",
    "bank:one-psum",
    "filter:kernel5",
    "input:one-pe",
    "logit_writer:clusters",
    "matcher:issue1",
    "selector:issue1",
    "window_selector:kernel3",
)
"""One of each component that has a quick one; the others, and all to the end, with all."""


def is_long(component: str, simulator: str) -> bool:
    """A component runs in one simulator, the faster one for it; its forms, whole machines and the
    other simulator, if there is time.
    """
    other = (simulator == "verilator") != (component in VERILATOR)
    return other or component in FORMS or component in LARGE


CASES = [
    pytest.param(name, simulator, marks=[pytest.mark.long] if is_long(name, simulator) else [])
    for name in bench.names()
    for simulator in bench.SIMULATORS
]


def run(component: str, simulator: str, transactions: int | None = None) -> bench.Result:
    """A bench that has passed."""
    absent = bench.missing(simulator)
    if absent is not None:
        pytest.skip(f"needs {absent}")
    result = bench.run(component, simulator, transactions=transactions)
    for corner, hit in result.coverage.items():
        print(f"{'met   ' if hit else 'MISSED'}  {corner}")  # noqa: T201 (pytest shows it with -rP)
    assert result.passed, f"see {result.log}\n{result.log.read_text()[-3000:]}"
    assert result.coverage
    return result


@pytest.mark.parametrize(("component", "simulator"), CASES)
def test_bench(component: str, simulator: str) -> None:
    assert not run(component, simulator).missed


@pytest.mark.parametrize("component", [*LARGE, *SHORT_FORMS])
def test_a_few_transactions(component: str) -> None:
    """They need not meet every corner."""
    run(component, "verilator" if component in VERILATOR else "icarus", FEW)


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

    def passes(_: str, simulator: str, **__: object) -> bench.Result:
        ran.append(simulator)
        return GOOD

    monkeypatch.setattr(bench, "missing", dict.fromkeys(gone, "it").get)
    monkeypatch.setattr(bench, "run", passes)
    assert bench.main(["fifo", *arguments]) == (0 if runs else 2)
    assert capsys.readouterr().err.endswith(f"{says}\n")
    assert ran == runs
