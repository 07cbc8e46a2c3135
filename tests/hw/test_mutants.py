"""The tool that measures the benches: what it calls caught, missed and without effect is that."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("amaranth")
pytest.importorskip("cocotb_tools")

from benchmarks import faults, mutants
from tests.helpers import bench, netlists, rtl

pytestmark = pytest.mark.skipif(
    bool(netlists.missing() or bench.missing("icarus")),
    reason=f"needs {netlists.missing() or bench.missing('icarus')}",
)


@pytest.fixture(scope="module")
def fifo(tmp_path_factory: pytest.TempPathFactory) -> netlists.Netlist:
    return netlists.Netlist("fifo", tmp_path_factory.mktemp("fifo"))


@pytest.mark.parametrize(
    "fault", faults.FAULTS, ids=lambda fault: f"{fault.component}: {fault.name}"
)
def test_every_fault_finds_its_place(fault: faults.Fault) -> None:
    text = fault.edited()
    assert text != rtl.FILES[fault.file].read_text()
    compile(text, fault.file, "exec")


def test_names_of_faults_are_keys() -> None:
    names = {(fault.component.partition(":")[0], fault.name) for fault in faults.FAULTS}
    assert len(names) == len(faults.FAULTS)


def test_an_edit_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"fifo.py has 0 times 'nowhere'"):
        faults.Fault("fifo", "none", "nowhere", "").edited()
    with pytest.raises(ValueError, match=r"fifo.py has \d+ times 'level'"):
        faults.Fault("fifo", "many", "level", "").edited()


def test_mutations_are_seeded_and_leave_the_clock_alone(fifo: netlists.Netlist) -> None:
    first = fifo.mutations(60, seed=1)
    assert first == fifo.mutations(60, seed=1)
    assert first != fifo.mutations(60, seed=2)
    assert len(first) == len({mutation.key for mutation in first}) > 30
    assert not [mutation for mutation in first if "CLK" in mutation.key]
    # Gates that Yosys adds for an enable have no line of their own.
    assert all(m.source or "make_patterns_logic" in m.key for m in first)
    assert sum(bool(mutation.source) for mutation in first) > 30


ADDER = "bank:one-psum"


@pytest.fixture(scope="module")
def adder(tmp_path_factory: pytest.TempPathFactory) -> netlists.Netlist:
    return netlists.Netlist(ADDER, tmp_path_factory.mktemp("adder"))


def find(netlist: netlists.Netlist, kind: str, signal: str) -> str:
    """The cell of this type that drives the signal, by whichever of its names Yosys kept."""
    lines = [line.split() for line in (netlist.place / "netlist.il").read_text().splitlines()]
    connections = [(words[1], words[2]) for words in lines if words[:1] == ["connect"]]
    names = {signal, *(source for target, source in connections if target == signal)}
    cell = ""
    for words in lines:
        if words[:1] == ["cell"]:
            cell = words[2] if words[1].startswith(kind) else ""
        elif cell and words[:1] == ["connect"] and words[1] in {"\\Q", "\\Y"} and words[2] in names:
            return cell
    raise AssertionError(f"no {kind} drives {signal}")


def tied(netlist: netlists.Netlist) -> str:
    """A multiplexer whose input A is 0."""
    cell = ""
    for line in (netlist.place / "netlist.il").read_text().splitlines():
        words = line.split()
        if words[:1] == ["cell"]:
            cell = words[2] if words[1] == "$mux" else ""
        elif cell and words[:2] == ["connect", "\\A"] and set(words[2].partition("'")[2]) == {"0"}:
            return cell
    raise AssertionError("no multiplexer of a 0")


def same(netlist: netlists.Netlist) -> netlists.Mutation:
    return netlists.Mutation(f"-mode const0 -cell {tied(netlist)} -port A -portbit 0", "", "")


def other(netlist: netlists.Netlist) -> netlists.Mutation:
    """No row is cleared that was drained."""
    register = find(netlist, "$sdff", "\\clears")
    return netlists.Mutation(f"-mode const0 -cell {register} -port D -portbit 0", "", "")


def test_an_effect_is_proved_or_found(adder: netlists.Netlist) -> None:
    # What a multiplexer gives where nothing is added is 0 already.
    assert adder.effect(same(adder), 60) == "none"
    assert adder.effect(other(adder), 60) == "some"


def test_the_bench_tells_them_apart(adder: netlists.Netlist) -> None:
    paths = adder.write([other(adder), same(adder)])
    simulations = mutants.Simulations(1, transactions=100)
    tasks = [mutants.Task(ADDER, f"test{n}", partial(Path, path)) for n, path in enumerate(paths)]
    states = {task.key: result["state"] for task, result in simulations.run(tasks)}
    assert states == {"test0": "caught", "test1": "survived"}


def test_a_bench_that_hangs_has_caught_it(tmp_path: Path) -> None:
    text = bench.verilog("fifo").replace(
        "endmodule",
        "reg turn = 0; always @(posedge r__valid) while (1) turn = ~turn;\nendmodule",
        1,
    )
    (tmp_path / "hangs.v").write_text(text)
    simulations = mutants.Simulations(1, transactions=100)
    simulations.limits["fifo"] = 10
    task = mutants.Task("fifo", "hangs", lambda: tmp_path / "hangs.v")
    [(_, result)] = simulations.run([task])
    assert result["state"] == "hangs"


def test_targets() -> None:
    report = {
        "injected": 21,
        "equivalent": 1,
        "caught": 19,
        "directed": {"injected": 2, "caught": 2},
        "coverage": {"line": 0.98},
    }
    assert mutants.missed_targets(report) == []
    report["caught"] = 18
    assert mutants.missed_targets(report) == ["mutants: 90.0% of at least 95%"]


def test_a_kept_result_depends_on_all_that_the_bench_imports() -> None:
    names = {path.relative_to(bench.ROOT).as_posix() for path in mutants.bench_sources("apu")}
    assert names > {"tests/helpers/driver.py", "tests/helpers/stepped/machine.py"}


@pytest.mark.parametrize(
    ("gone", "hint"), [("icarus", ""), ("verilator", "; --no-coverage goes without it")]
)
def test_a_campaign_without_its_simulator_does_not_begin(
    gone: str, hint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "missing", {gone: "it"}.get)
    assert mutants.main(["fifo", "--count=0"]) == 2
    assert capsys.readouterr().err == f"{gone} is not here: install it{hint}\n"
