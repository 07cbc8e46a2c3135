"""Measure the benches: which share of the RTL's faults they find.

    python -m benchmarks.mutants [COMPONENT ...] [--count N] [--seed S] [--transactions N]
                                 [--jobs N] [--out build/mutants.json] [--directed | --no-coverage]

As MCY does: single-signal mutations of each component's netlist (`tests/helpers/netlists.py`),
shared out by the sizes of the netlists, are simulated with the component's own bench in Icarus. A
bench that fails, or does not end, has caught its mutant. Of those that it misses, the ones that
cannot change an output are set aside by proof; what cannot be decided counts as missed. Beside them
the faults of `benchmarks/faults.py`, which a designer would make, and coverage by lines and toggles
(Verilator, with all transactions of the bench).

Results are kept in build/mutants, so a run that was killed goes on, and what has not changed, in
netlist, bench and mutation, is not run again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import os
import re
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import faults
from evenspike.cli.parser import Parser
from evenspike_core import files
from tests.helpers import bench, coverage
from tests.helpers.netlists import Mutation, Netlist

BUILD = bench.ROOT / "build" / "mutants"
COUNT = 400
LEAST = 8
"""Mutants of the smallest component."""
TRANSACTIONS = 1500
PROOF_SECONDS = 40
TARGETS = {"mutants": 0.95, "directed": 1.0, "line": 0.98, "toggle": 0.90}


@dataclass(frozen=True)
class Task:
    """A netlist to simulate: a file, or a function that makes it. key: of the kept result."""

    component: str
    key: str
    netlist: Callable[[], Path]


@dataclass
class Score:
    """What is known of one component. results, directed: by key, by name of the fault."""

    component: str
    ports: int = 0
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    directed: dict[str, dict[str, Any]] = field(default_factory=dict)
    coverage: dict[str, tuple[int, int]] = field(default_factory=dict)

    def number(self, *states: str) -> int:
        return sum(result["state"] in states for result in self.results.values())

    @property
    def relevant(self) -> int:
        return len(self.results) - self.number("equivalent")

    @property
    def found(self) -> int:
        """Of the directed faults."""
        return sum(result["state"] in CAUGHT for result in self.directed.values())

    def counts(self) -> dict[str, Any]:
        seconds = [result["seconds"] for result in self.results.values()]
        return {
            "ports": self.ports,
            "injected": len(self.results),
            "equivalent": self.number("equivalent"),
            "caught": self.number(*CAUGHT),
            "survived": self.number("survived"),
            "undecided": self.number("undecided"),
            "directed": {"injected": len(self.directed), "caught": self.found},
            "coverage": {name: ratio(*pair) for name, pair in self.coverage.items()},
            "seconds": round(sum(seconds) / len(seconds), 2) if seconds else None,
        }


CAUGHT = ("caught", "hangs")


def ratio(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


# --- simulation ------------------------------------------------------------------------------


def _simulate(component: str, netlist: Path, transactions: int, place: Path, limit: int) -> None:
    """A process of its own: exit code 0 if the bench passes, 1 if not, 2 if it does not build."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))  # of every process that it starts
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    place.mkdir(parents=True, exist_ok=True)
    with (place / "output.txt").open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        try:
            result = bench.run(
                component,
                "icarus",
                transactions=transactions,
                netlist=netlist,
                build_dir=place,
            )
        except RuntimeError as error:
            print(error, flush=True)
            os._exit(2)
    os._exit(0 if result.passed else 1)


@dataclass
class Running:
    """A simulation under way."""

    task: Task
    process: Any
    place: Path
    started: float
    log: Path | None = None

    def failed(self) -> bool:
        """Whether a test has failed: the others need not be waited for."""
        if self.log is None:
            with contextlib.suppress(FileNotFoundError):  # the build's folder is being renamed
                self.log = next(iter(self.place.glob("icarus/*/*/seed*/log.txt")), None)
        return self.log is not None and " failed\n" in self.log.read_text(errors="replace")

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.join()


class Simulations:
    """Runs benches on netlists, some at a time, each until it fails."""

    def __init__(self, jobs: int, transactions: int) -> None:
        self.jobs = jobs
        self.transactions = transactions
        self.limits: dict[str, int] = {}
        self._context = multiprocessing.get_context("fork")

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, dict[str, Any]]]:
        """The tasks with their results, as they end."""
        waiting = list(tasks)
        running: list[Running] = []
        try:
            while waiting or running:
                while waiting and len(running) < self.jobs:
                    running.append(self._start(waiting.pop(0)))
                time.sleep(0.02)
                for item in list(running):
                    ended = not item.process.is_alive()
                    failed = not ended and item.failed()
                    if ended or failed:
                        running.remove(item)
                        item.kill()
                        yield item.task, self._result(item, failed)
        finally:
            for item in running:
                item.kill()

    def _start(self, task: Task) -> Running:
        place = BUILD / "simulations" / f"{task.component.replace(':', '-')}-{task.key}"
        shutil.rmtree(place, ignore_errors=True)
        limit = self.limits.get(task.component, 600)
        process = self._context.Process(
            target=_simulate,
            args=(task.component, task.netlist(), self.transactions, place, limit),
        )
        process.start()
        return Running(task, process, place, time.perf_counter())

    def _result(self, item: Running, failed: bool) -> dict[str, Any]:
        code = item.process.exitcode
        if not failed and code not in (0, 1):
            text = (item.place / "output.txt").read_text()
            raise RuntimeError(f"{item.task.key} ended with {code}\n{text}")
        failed = failed or item.failed()
        state = "survived" if code == 0 else "caught" if failed else "hangs"
        if state != "hangs":  # its log is worth a look
            shutil.rmtree(item.place, ignore_errors=True)
        return {"state": state, "seconds": round(time.perf_counter() - item.started, 2)}


# --- results that are kept -------------------------------------------------------------------


def digest(*parts: object) -> str:
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:16]


def bench_sources(component: str) -> list[Path]:
    """The bench and what it imports from `tests`."""
    found = [bench.ROOT / "tests" / "hw" / "benches" / f"{component.partition(':')[0]}.py"]
    for path in found:  # (which grows)
        imports = re.findall(
            r"^ *(?:from|import) (tests[\w.]*)(?: import (.*))?", path.read_text(), re.MULTILINE
        )
        for module, names in imports:
            place = bench.ROOT / module.replace(".", "/")
            for name in ("", *re.findall(r"\w+", names)):
                files = ((place / name).with_suffix(".py"), place / name / "__init__.py")
                found += [file for file in files if file.exists() and file not in found]
    return sorted(found)


def bench_digest(component: str) -> str:
    return digest(component, *(path.read_text() for path in bench_sources(component)))


class Kept:
    """Results on disk, by key."""

    def __init__(self, component: str) -> None:
        self.place = BUILD / "results" / component.replace(":", "-")
        self.place.mkdir(parents=True, exist_ok=True)

    def get(self, key: str) -> dict[str, Any] | None:
        path = self.place / f"{key}.json"
        return json.loads(path.read_text()) if path.exists() else None

    def put(self, key: str, result: dict[str, Any]) -> None:
        path = self.place / f"{key}.json"
        files.write(path, json.dumps(result))


# --- campaign --------------------------------------------------------------------------------


class Campaign:
    """All components' scores; `seed` chooses the mutations."""

    def __init__(self, components: Sequence[str], jobs: int, transactions: int, seed: int) -> None:
        self.seed = seed
        self.transactions = transactions
        self.simulations = Simulations(jobs, transactions)
        self.scores = {name: Score(name) for name in components}
        self.netlists: dict[str, Netlist] = {}
        self.errors: list[str] = []

    def run(self, count: int, mutants: bool, lines: bool) -> Iterator[str]:
        """Component by component, whose names it gives. What is wrong with one, such as a bench
        that fails without a fault, is in `errors`, and the others go on.
        """
        shares = self._shares(count) if mutants else {}
        for name, score in self.scores.items():
            steps: list[Callable[[], None]] = [partial(self._directed, score)]
            if name in shares:
                steps.append(partial(self._mutate, score, self.netlists[name], shares[name]))
            if lines:
                steps.append(partial(self._coverage, score))
            for step in steps:
                try:
                    step()
                except (RuntimeError, ValueError) as error:
                    self.errors.append(f"{name}: {error}")
                    print(self.errors[-1], flush=True)
            yield name

    def _shares(self, count: int) -> dict[str, int]:
        """How many mutants each component gets."""
        for name, score in self.scores.items():
            try:
                self.netlists[name] = Netlist(name, BUILD / "netlists" / name.replace(":", "-"))
            except Exception as error:  # noqa: BLE001 (a component that is being written)
                self.errors.append(f"{name}: {error!r}")
                print(self.errors[-1], flush=True)
            else:
                score.ports = self.netlists[name].ports
        whole = sum(netlist.ports for netlist in self.netlists.values())
        spare = max(0, count - LEAST * len(self.netlists))
        return {
            name: LEAST + -(-spare * netlist.ports // whole)
            for name, netlist in self.netlists.items()
        }

    def _mutate(self, score: Score, netlist: Netlist, count: int) -> None:
        kept = Kept(score.component)
        settings = (netlist.digest, bench_digest(score.component), self.transactions)
        self._unharmed(score.component, netlist, digest(*settings), kept)
        mutations = {
            digest(*settings, mutation.key): mutation
            for mutation in netlist.mutations(count, self.seed)
        }
        results = {key: kept.get(key) for key in mutations}
        missing = [key for key, result in results.items() if result is None]
        paths = dict(zip(missing, netlist.write([mutations[key] for key in missing]), strict=True))
        tasks = [Task(score.component, key, partial(Path, path)) for key, path in paths.items()]
        started = time.perf_counter()
        for n, (task, result) in enumerate(self.simulations.run(tasks), 1):
            mutation = mutations[task.key]
            if result["state"] == "survived":
                result |= self._proof(netlist, mutation)
            result |= {"mutation": mutation.key}
            results[task.key] = result
            kept.put(task.key, result)
            if result["state"] not in CAUGHT or not n % 20:
                text = f"{result['state']}: {_describe(mutation)}" if n % 20 else ""
                rate = (time.perf_counter() - started) / n
                print(f"{score.component} {n} of {len(tasks)}, {rate:.1f} s each  {text}")
                sys.stdout.flush()
        for path in paths.values():
            path.unlink()
        for key, mutation in mutations.items():
            found = results[key]
            assert found is not None
            score.results[key] = found | {"signal": mutation.signal, "source": mutation.source}

    def _unharmed(self, component: str, netlist: Netlist, key: str, kept: Kept) -> None:
        """The bench passes with the netlist; how long a mutant may take."""
        result = kept.get(key)
        if result is None:
            self.simulations.limits.pop(component, None)
            [(_, result)] = self.simulations.run([Task(component, key, lambda: netlist.verilog)])
            if result["state"] != "survived":
                raise RuntimeError("its bench fails without a mutation")
            kept.put(key, result)
        self.simulations.limits[component] = 20 + 4 * int(result["seconds"])

    def _proof(self, netlist: Netlist, mutation: Mutation) -> dict[str, Any]:
        started = time.perf_counter()
        effect = netlist.effect(mutation, PROOF_SECONDS)
        return {
            "state": {"none": "equivalent", "some": "survived", "unknown": "undecided"}[effect],
            "proof_seconds": round(time.perf_counter() - started, 2),
        }

    def _directed(self, score: Score) -> None:
        """The list, with those of variants. A fault whose old text is gone raises ValueError, after
        the others.
        """
        tasks, chosen, wrong = [], {}, []
        for fault in faults.FAULTS:
            if score.component not in {fault.component, fault.component.partition(":")[0]}:
                continue
            try:
                text = faults.verilog(fault)
            except ValueError as error:
                wrong.append(str(error))
                continue
            if text == bench.verilog(fault.component):
                wrong.append(f"{fault.name!r} changes nothing")
                continue
            key = digest(text, bench_digest(fault.component), self.transactions)
            kept = Kept(fault.component).get(key)
            if kept is not None:
                score.directed[fault.name] = kept
                continue
            chosen[key] = fault
            path = BUILD / "netlists" / f"{fault.component.replace(':', '-')}-{key}.v"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            self.simulations.limits.setdefault(fault.component, 120)
            tasks.append(Task(fault.component, key, partial(Path, path)))
        for task, result in self.simulations.run(tasks):
            fault = chosen[task.key]
            task.netlist().unlink()
            Kept(task.component).put(task.key, result)
            score.directed[fault.name] = result
            state = result["state"]
            print(f"{task.component}: {fault.name}: {state}, {result['seconds']} s", flush=True)

        if wrong:
            raise ValueError("; ".join(wrong))

    def _coverage(self, score: Score) -> None:
        """Lines and toggles of the component's Verilog, with all transactions."""
        name = score.component
        key = digest(bench.verilog(name), bench_digest(name), "coverage")
        result = Kept(name).get(key)
        if result is None:
            print(f"{name}: coverage", flush=True)
            run = bench.run(name, "verilator", coverage=True)
            if not run.passed:
                raise RuntimeError(f"its bench fails in Verilator; see {run.log}")
            result = dict(coverage.read(run.directory, name.partition(":")[0]))
            Kept(name).put(key, result)
        score.coverage = {kind: tuple(pair) for kind, pair in result.items()}

    def report(self) -> dict[str, Any]:
        scores = self.scores.values()
        whole = Score("whole", sum(score.ports for score in scores))
        survivors = []
        for score in scores:
            for store in ("results", "directed"):
                getattr(whole, store).update(
                    {(score.component, key): r for key, r in getattr(score, store).items()}
                )
            for kind, (part, all_of) in score.coverage.items():
                before = whole.coverage.get(kind, (0, 0))
                whole.coverage[kind] = (before[0] + part, before[1] + all_of)
            survivors += [
                {
                    "component": score.component,
                    **{name: result[name] for name in ("mutation", "signal", "source", "state")},
                }
                for result in score.results.values()
                if result["state"] in ("survived", "undecided")
            ]
            survivors += [
                {"component": score.component, "mutation": name, "state": "survived"}
                for name, result in score.directed.items()
                if result["state"] not in CAUGHT
            ]
        return whole.counts() | {
            "seed": self.seed,
            "transactions": self.transactions,
            "errors": self.errors,
            "components": {score.component: score.counts() for score in scores},
            "survivors": survivors,
        }


def _describe(mutation: Mutation) -> str:
    return f"{mutation.key}  {mutation.signal}  {mutation.source}"


def missed_targets(report: dict[str, Any]) -> list[str]:
    relevant = report["injected"] - report["equivalent"]
    values = {
        "mutants": ratio(report["caught"], relevant),
        "directed": ratio(report["directed"]["caught"], report["directed"]["injected"]),
        "line": report["coverage"].get("line"),
        "toggle": report["coverage"].get("toggle"),
    }
    return [
        f"{name}: {values[name]:.1%} of at least {target:.0%}"
        for name, target in TARGETS.items()
        if (value := values[name]) is not None and value < target
    ]


def print_table(report: dict[str, Any]) -> None:
    heads = ("ports", "injected", "equivalent", "caught", "survived", "undecided")
    print(
        f"\n{'component':16}" + "".join(f"{head:>11}" for head in heads),
        f"{'score':>7} {'directed':>9} {'line':>7} {'toggle':>7} {'s each':>7}",
    )
    rows = {**report["components"], "whole": report}
    for name, row in rows.items():
        relevant = row["injected"] - row["equivalent"]
        shares = [ratio(row["caught"], relevant), *map(row["coverage"].get, ("line", "toggle"))]
        score, line, toggle = ("-" if x is None else f"{x:.1%}" for x in shares)
        directed = "{caught} of {injected}".format(**row["directed"])
        print(
            f"{name:16}" + "".join(f"{row[head]:11}" for head in heads),
            f"{score:>7} {directed:>9} {line:>7} {toggle:>7} {row['seconds'] or '-':>7}",
        )
    for survivor in report["survivors"]:
        print(
            f"{survivor['component']}: {survivor['state']}: {survivor['mutation']}"
            f"  {survivor.get('signal', '')}  {survivor.get('source', '')}"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    known = bench.names()
    parser = Parser(
        prog="python -m benchmarks.mutants", description="Measure the benches with faults."
    )
    parser.add_argument("components", nargs="*", metavar="COMPONENT", help=", ".join(known))
    parser.add_argument("--count", type=int, default=COUNT, help="mutants of all components")
    parser.add_argument("--seed", type=int, default=0, help="chooses the mutations")
    parser.add_argument("--transactions", type=int, default=TRANSACTIONS)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=bench.ROOT / "build" / "mutants.json")
    parser.add_argument("--directed", action="store_true", help="only the directed faults")
    parser.add_argument("--no-coverage", action="store_true", help="leave out Verilator")
    given = parser.parse_args(arguments)
    if says := bench.unknown(given.components):
        print(says, file=sys.stderr)
        return 2
    lines = not given.directed and not given.no_coverage
    if says := bench.absent(["icarus", "verilator"] if lines else ["icarus"]):
        hint = "; --no-coverage goes without it" * ("icarus" not in says)
        print(says + hint, file=sys.stderr)
        return 2
    components = given.components or [name for name in known if ":" not in name]
    campaign = Campaign(components, given.jobs, given.transactions, given.seed)
    for _ in campaign.run(given.count, not given.directed, lines):
        report = campaign.report()
        files.write_json(report, given.out)
    print_table(report)
    missed = missed_targets(report)
    for line in missed:
        print(f"missed: {line}")
    for line in campaign.errors:
        print(f"error: {line}")
    return 1 if missed or campaign.errors else 0


if __name__ == "__main__":
    sys.exit(main())
