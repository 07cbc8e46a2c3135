"""Reproduce: every table and figure of the u-Ticket paper that hardware can answer, beside ours.

Networks are drawn whose masks are fitted to the paper's sparsity, work and idle cycles
(`evenspike_core.fitted`), counted in the paper's convention, and run on the cycle model. What was
trained stands beside them. The page says of every figure of the paper whether ours agrees.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import evenspike_core
import evenspike_sim
from evenspike import __version__
from evenspike.flows import explore, mappings
from evenspike.flows.images import images
from evenspike.flows.models import load, shipped
from evenspike.flows.prepare import pack
from evenspike.flows.simulate import jobs_of, simulate
from evenspike.report import contents
from evenspike.report.area import estimate as area
from evenspike.report.comparison import line_plot
from evenspike.report.comparison.rows import spread
from evenspike.report.contents import machine, now
from evenspike.report.reproduction import figures, page
from evenspike.report.reproduction.parts import SINGLE
from evenspike_core import backends, fitted, published_uticket, workload
from evenspike_core.arch import Arch, preset
from evenspike_core.counters import STATES
from evenspike_core.documents import read_json
from evenspike_core.errors import EvenspikeError
from evenspike_core.files import check_folder, dump, write_files, write_json
from evenspike_core.metrics import DYNAMIC_TO_LEAKAGE, paper_metrics
from evenspike_core.progress import Progress, silent
from evenspike_core.topology import LayerShape, Topology
from evenspike_core.workload import Workload

Data = dict[str, Any]

NAME = "paper"
"""Of the page and its plots."""
RECORD = "reproduce.json"
RUNS = "reproduce"
"""Folder of finished runs, beside the record: an interrupted call goes on."""
RUN = 1
"""Changes with what a run holds."""

NETWORKS = {"vgg16": workload.VGG16, "resnet19": workload.RESNET19}
LTH, BALANCED, TICKET = "imp", "imp, balanced", "u-ticket"
"""Networks of a row: LTH's, the same with its filters' weights balanced and nothing else changed,
and u-Ticket's, at its own sparsity and work."""

FIRING = {"vgg16": (17.7, 25.9), "resnet19": (31.3, 40.4)}
"""Percent of timesteps in which a neuron fires, and of neurons that fire at all: what LoAS (MICRO
2024), of the same authors and networks, states of its CIFAR-10 tickets (artifact, Table-II). Their
ratio is taken; the rate is each row's own."""


@dataclass(frozen=True)
class Plan:
    """What is drawn and run.

    divisor: of the networks' widths; the papers' with 1. draws: of masks, for what the paper's
    convention counts. data: data sets of Table IV, by network. fifos: depths. pes: numbers of PEs.
    rounds: prunings by 25 % whose masks run on the cycle model. tickets: shipped ones, and images.
    """

    divisor: int = 1
    draws: int = 20
    data: tuple[tuple[str, tuple[str, ...]], ...] = (
        ("vgg16", ("cifar10", "fmnist", "svhn")),
        ("resnet19", ("cifar10", "fmnist", "svhn")),
    )
    fifos: Sequence[int] = (4, 16, 64, 256)
    pes: Sequence[int] = (2, 4, 8, 16, 32, 64)
    rounds: Sequence[int] = (0, 5, 8, 11, 14)
    tickets: int = 2


FULL = Plan()
QUICK = Plan(
    divisor=4,
    draws=2,
    data=(("vgg16", ("cifar10",)), ("resnet19", ("cifar10",))),
    fifos=(4, 64),
    pes=(4, 16),
    rounds=(0, 14),
    tickets=0,
)
"""A quarter of the widths, and few runs: that everything is there, in a minute."""


@dataclass(frozen=True)
class Case:
    """A drawn network. pes: of its groups of filters. pruned: rounds of pruning by 25 %, where its
    sparsity is not the table's. divisor: of the width.
    """

    network: str
    data: str
    method: str
    pes: int = published_uticket.PES
    pruned: int | None = None
    divisor: int = 1


@dataclass(frozen=True)
class Reproduction:
    """record: all numbers, and the verdicts. files: what was written. seconds: it took."""

    record: Data
    files: tuple[Path, ...]
    seconds: float

    @property
    def verdicts(self) -> dict[str, int]:
        """How many rows have each verdict."""
        found: dict[str, int] = {}
        for section in self.record["figures"]:
            for row in section["rows"]:
                found[row["verdict"]] = found.get(row["verdict"], 0) + 1
        return found


def reproduce(
    out: Path | str = "build",
    docs: Path | str = "docs/results",
    *,
    quick: bool = False,
    ratio: float | None = None,
    power: Path | str | None = None,
    jobs: int = 0,
    backend: str = "loky",
    progress: Progress = silent,
) -> Reproduction:
    """Measure everything and write reproduce.json, and the page with its plots.

    Parameters
    ----------
    out : folder of reproduce.json. docs : of paper.md and its plots; methods' results that lie
        there are set beside the paper's, too.
    quick : networks of a quarter of the width, and few runs of them; no figure of it says anything
        of the paper.
    ratio : E_d / E_l of Eq. 3; without, that of `power`, and without that the fitted one.
    power : JSON with `dynamic_to_leakage`, or with `dynamic` and `leakage` in one unit.
    jobs, backend : runs at a time and where, as in `simulate`.

    Raises EvenspikeError for a folder that cannot be written to, a ratio that is none, and a file
    that has none.
    """
    began, cpu = time.perf_counter(), time.process_time()
    target, pages = Path(out), Path(docs)
    energy = _ratio(ratio, None if power is None else Path(power))
    backends.check(backend)
    count = jobs_of(jobs)
    check_folder(target)
    check_folder(pages)
    plan = QUICK if quick else FULL
    record: Data = {
        "version": __version__,
        "date": now(),
        "machine": machine(),
        "quick": quick,
        "divisor": plan.divisor,
        "ratio": energy,
        "pes": published_uticket.PES,
        "timesteps": published_uticket.TIMESTEPS,
        "firing": {name: list(values) for name, values in FIRING.items()},
        "bounds": _bounds(plan),
        "fits": _fits(plan),
        "drawn": _drawn(plan, progress),
        "runs": _runs(plan, target / RUNS, count, backend, progress),
        "tickets": _tickets(plan, progress),
        "areas": _areas(plan),
        "trained": _trained(pages),
    }
    record["figures"] = figures.made(record)
    record["rules"] = figures.RULES
    seconds = time.perf_counter() - began
    record["seconds"] = round(seconds, 1)
    # What ran in this process now is in its own time already.
    here = backend == "threading" or count == 1
    cpu = time.process_time() - cpu
    cpu += sum(one["cpu_seconds"] for one in record["runs"] if one["kept"] or not here)
    record["cpu_seconds"] = round(cpu, 1)
    made: dict[str, str | bytes] = {f"{NAME}.md": page.render(record)}
    for name, plot in page.plots(record).items():
        made[name] = line_plot.render(plot)
    written = write_files({RECORD: dump(record)}, target)
    written += write_files(made, pages)
    for path in pages.glob(f"{NAME}-*.svg"):
        if path.name not in made:
            path.unlink()
    return Reproduction(record, tuple(written), seconds)


def _ratio(given: Any, power: Path | None) -> Data:
    """E_d / E_l, and where it is from."""
    if given is None and power is None:
        return {"value": DYNAMIC_TO_LEAKAGE, "source": "fitted to the paper's six reductions"}
    if given is not None and power is not None:
        raise EvenspikeError("a ratio and a measured power exclude each other")
    source = "given"
    if power is not None:
        eq3 = read_json(power, "measured power", dict).get("eq3")
        if not isinstance(eq3, dict) or "ratio" not in eq3:
            raise EvenspikeError(
                f"{power}: has no eq3.ratio; it is of a PE that is busy and waits in the layer"
            )
        given, source = eq3["ratio"], f"measured: {power.name}"
    if type(given) not in (int, float) or not 0 < given < 1e6:
        raise EvenspikeError(f"E_d / E_l is {given!r:.40}, possible are above 0 to 1e6")
    return {"value": float(given), "source": source}


# --- what is drawn ---------------------------------------------------------------------------


@lru_cache(maxsize=4)
def narrowed(network: str, divisor: int) -> Topology:
    """A network's topology with a part of its filters."""
    full = NETWORKS[network]
    channels, height, width = full.input
    layers = tuple(
        LayerShape(one.name, one.filters // divisor, one.convolutions, one.pool)
        for one in full.layers
    )
    return Topology((channels // divisor, height, width), layers, full.described)


def fit(case: Case) -> fitted.Fit:
    """The fit behind a case: of its own totals where it is a u-Ticket, else of LTH's."""
    return _fit(case.network, case.data, TICKET if case.method == TICKET else LTH, case.divisor)


@lru_cache(maxsize=16)
def _fit(network: str, data: str, method: str, divisor: int) -> fitted.Fit:
    ticket = published_uticket.TICKETS[network, data, method]
    cycles = published_uticket.CYCLES[network, data, method]
    scale = published_uticket.UNIT / divisor**2
    wide, idle = 0.0, None
    if method == TICKET:
        wide = _fit(network, data, LTH, divisor).spread
    else:
        idle = cycles.idle * scale
    totals = fitted.Totals(ticket.sparsity / 100, cycles.work * scale, idle)
    return fitted.fit(narrowed(network, divisor), totals, spread=wide)


def drawn(case: Case, seed: int = 0) -> Workload:
    """The network of a case, with spikes at Table III's rate."""
    key = (case.network, case.data, TICKET if case.method == TICKET else LTH)
    rate = 100 - published_uticket.TICKETS[key].spike_sparsity
    fires, neurons = FIRING[case.network]
    active = min(100.0, rate * neurons / fires)
    timesteps, topology = published_uticket.TIMESTEPS, fit(case).topology
    spikes = workload.draw_spikes(topology, timesteps, rate, seed, active)
    shares = fit(case).shares(_sparsity(case))
    return workload.draw(spikes, shares, balanced=0 if case.method == LTH else case.pes, seed=seed)


def _sparsity(case: Case) -> float | None:
    return None if case.pruned is None else kept_sparsity(case.pruned)


def kept_sparsity(rounds: int) -> float:
    """Sparsity after so many rounds."""
    return float(1 - (1 - published_uticket.ROUND_RATE) ** rounds)


def _bounds(plan: Plan) -> list[Data]:
    """The most work that a network of Table III's sparsity can have on one timestep: its weights
    where the maps are largest.
    """
    found = []
    for network, names in plan.data:
        for data in names:
            ticket = published_uticket.TICKETS[network, data, LTH]
            most = fitted.most_work(NETWORKS[network], ticket.sparsity / 100)
            found.append({"network": network, "data": data, "most": most})
    return found


def _fits(plan: Plan) -> list[Data]:
    found = []
    for network, names in plan.data:
        for data in names:
            for method in (LTH, TICKET):
                one = fit(Case(network, data, method, divisor=plan.divisor))
                found.append(
                    {
                        "network": network,
                        "data": data,
                        "method": method,
                        "decay": one.decay,
                        "spread": one.spread,
                        "densities": fitted.mean_densities(one.shares()),
                        "layers": [layer.name for layer in one.topology.layers],
                    }
                )
    return found


def _cases(plan: Plan) -> Iterator[Case]:
    """All that the paper's convention counts: Table IV's, the numbers of PEs, and every round."""
    for network, names in plan.data:
        for data in names:
            for method in (LTH, BALANCED, TICKET):
                yield Case(network, data, method, divisor=plan.divisor)
        for method in (LTH, BALANCED):
            for pruned in range(max(plan.rounds) + 1):
                yield Case(network, "cifar10", method, pruned=pruned, divisor=plan.divisor)
    for pes in plan.pes:
        for method in (LTH, TICKET):
            if pes != published_uticket.PES:
                yield Case("vgg16", "cifar10", method, pes, divisor=plan.divisor)


def _drawn(plan: Plan, progress: Progress) -> list[Data]:
    """Every case in the paper's convention, over some draws; layer by layer of the first."""
    found: list[Data] = []
    cases = list(_cases(plan))
    for case in cases:
        progress("counting weights", len(found), len(cases))
        found.append(_counted(case, plan.draws))
    return found


def _counted(case: Case, draws: int) -> Data:
    one = fit(case)
    metrics = [
        fitted.counted(
            one.topology,
            one.shares(_sparsity(case)),
            timesteps=published_uticket.TIMESTEPS,
            pes=case.pes,
            balanced=case.method != LTH,
            seed=seed,
        )
        for seed in range(draws)
    ]
    first = metrics[0]
    keys = ("work", "idle", "latency", "layer_mean", "parameter_weighted", "pooled")
    return {
        "network": case.network,
        "data": case.data,
        "method": case.method,
        "pes": case.pes,
        "pruned": case.pruned,
        "sparsity": 1 - _living(first) / sum(one.parameters for one in first.convolutions),
        "paper_convention": {
            key: spread([getattr(one, key) for one in metrics]) for key in keys
        },
        "layers": [
            {
                "name": f"{one.layer}{' shortcut' if one.segment else ''}",
                "work": one.work,
                "idle": one.idle,
                "latency": one.latency,
                "utilization": one.utilization,
            }
            for one in first.convolutions
        ],
    }  # fmt: skip


def _living(metrics: Any) -> int:
    return sum(one.nnz for one in metrics.convolutions)


# --- what is run -----------------------------------------------------------------------------


def _tasks(plan: Plan) -> list[tuple[Case, str, str]]:
    """(case, arch, mapping) of every run, each once."""
    found: dict[tuple[Case, str, str], None] = {}

    def add(case: Case, arch: str, mapping: str) -> None:
        found[case, arch, mapping] = None

    for network, names in plan.data:
        for data in names:
            for method in (LTH, TICKET):
                case = Case(network, data, method, divisor=plan.divisor)
                add(case, SINGLE, "natural")
                add(case, "packed", "cost")
    for method in (LTH, BALANCED):
        case = Case("vgg16", "cifar10", method, divisor=plan.divisor)
        for depth in plan.fifos:
            add(case, with_field(SINGLE, "fifo_depth", depth), "natural")
        add(case, "packed", "natural")
        add(case, "packed", "cost")
    for pes in plan.pes:
        for method in (LTH, TICKET):
            groups = pes if method == TICKET else published_uticket.PES
            add(
                Case("vgg16", "cifar10", method, groups, divisor=plan.divisor),
                with_pes(pes),
                "cost",
            )
    for pruned in plan.rounds:
        for method in (LTH, BALANCED):
            case = Case("vgg16", "cifar10", method, pruned=pruned, divisor=plan.divisor)
            add(case, figures.LADDER_ARCH, "natural")
    return list(found)


def with_field(name: str, field: str, value: int) -> str:
    """A preset with another value; its own value is no change."""
    return name if getattr(preset(name), field) == value else f"{name},{field}={value}"


def with_pes(pes: int) -> str:
    """`packed` with so many PEs, and a spike memory for as many neurons."""
    machine = preset("packed")
    if pes == machine.pes:
        return "packed"
    return f"packed,pes={pes},spike_entries={machine.spike_entries * machine.pes // pes}"


def _runs(plan: Plan, folder: Path, jobs: int, backend: str, progress: Progress) -> list[Data]:
    """Every run; those that an earlier call has left in the folder are taken from there."""
    tasks = _tasks(plan)
    files = [folder / f"{_key(*task)}.json" for task in tasks]
    known = [read_json(file, "run", dict) if file.is_file() else None for file in files]
    missing = [n for n, one in enumerate(known) if one is None]
    title, kept = "running networks", len(tasks) - len(missing)
    found = backends.ordered(backend, jobs, _run, [tasks[n] for n in missing])
    for done, number in enumerate(missing, start=kept):
        progress(title, done, len(tasks))
        one = next(found)
        write_json(one, files[number])
        known[number] = one
    return [
        one | {"kept": number not in missing} for number, one in enumerate(known) if one is not None
    ]


def _key(case: Case, arch: str, mapping: str) -> str:
    """Of a run: all that it depends on."""
    text = f"{case} {preset(arch).digest} {mapping} {_sources()}"
    return hashlib.sha256(text.encode()).hexdigest()[:24]


@cache
def _sources() -> str:
    """Digest of the code that makes a run."""
    folders = [Path(str(one.__file__)).parent for one in (evenspike_core, evenspike_sim)]
    paths = [path for folder in folders for path in sorted(folder.glob("*.*")) if path.is_file()]
    paths += [Path(str(one.__file__)) for one in (explore, mappings, contents, area)]
    paths.append(Path(__file__))
    sha = hashlib.sha256(f"{FIRING} {RUN}".encode())
    for path in paths:
        sha.update(path.read_bytes() + b"\0")
    return sha.hexdigest()


def _run(case: Case, arch: str, mapping: str) -> Data:
    """A drawn network by the hardware's counters; a machine that cannot run it says why."""
    machine = preset(arch)
    known = {
        "network": case.network,
        "data": case.data,
        "method": case.method,
        "pes": machine.pes,
        "pruned": case.pruned,
        "arch": arch,
        "digest": machine.digest,
        "mapping": mapping,
    }
    began = time.process_time()
    try:
        found = explore.explore(drawn(case), machine, mapping=mapping)
    except EvenspikeError as error:
        return known | {"error": str(error), "cpu_seconds": time.process_time() - began}
    counted = _figures(found.to_dict(), machine)
    return known | counted | {"cpu_seconds": time.process_time() - began}


def _figures(report: Data, machine: Arch) -> Data:
    """What a report says of a run, in PE-cycles, cycles and pJ of one image."""
    totals = report["totals"]
    return {
        "error": "",
        "cycles": totals["cycles"],
        "utilization": totals["utilization"],
        "bound_cycles": totals["bound_cycles"],
        "accumulations": totals["accumulations"],
        **{state: totals[state] for state in STATES},
        "energy_pj": totals["energy_pj"],
        "by_action": {
            name: {"count": one["count"], "pj": one["pj"]}
            for name, one in report["energy"]["by_action"].items()
        },
        "words_loaded": totals["words_loaded"],
        "transistors": area.estimate(machine).transistors,
        "bit_exact": report["bit_exact"],
        "layers": [
            {
                "name": one["name"],
                "cycles": one["cycles"],
                **{state: one[state] for state in STATES},
            }
            for one in report["layers"]
        ],
    }


def _tickets(plan: Plan, progress: Progress) -> list[Data]:
    """The shipped tickets: what they score, the paper's convention, and the counters."""
    found: list[Data] = []
    names = shipped() if plan.tickets else []
    for number, name in enumerate(names):
        progress("running shipped tickets", number, len(names))
        program = load(name)
        known = program.provenance
        metrics = paper_metrics(program, published_uticket.PES)
        one: Data = {
            "name": name,
            "network": known["network"],
            "data": known["dataset"],
            "method": known["method"],
            "width": known["width"],
            "timesteps": program.timesteps,
            "sparsity": known["sparsity"],
            "accuracy": known["integer_test_accuracy"],
            "tested": known["test_images"],
            "spike_sparsity": 1 - known["firing_rate"],
            "work": metrics.work,
            "idle": metrics.idle,
            "latency": metrics.latency,
            "layer_mean": metrics.layer_mean,
            "parameter_weighted": metrics.parameter_weighted,
            "pooled": metrics.pooled,
            "images": plan.tickets,
            "runs": [],
        }
        for arch, mapping in ((SINGLE, "natural"), ("packed", "cost")):
            packed = pack(program, arch, mapping=mapping)
            run = simulate(packed, images(plan.tickets, program))
            one["runs"].append({"arch": arch, "mapping": mapping}
                               | _figures(run.to_dict(), preset(arch)))  # fmt: skip
        found.append(one)
    return found


def _areas(plan: Plan) -> list[Data]:
    """Transistors of the machines by FIFO depth and number of PEs, by the estimate."""
    names = [with_field(name, "fifo_depth", n) for name in (SINGLE, "packed")
             for n in dict.fromkeys((1, *plan.fifos))]  # fmt: skip
    names += [with_pes(n) for n in plan.pes]
    found = []
    for name in dict.fromkeys(names):
        machine = preset(name)
        size = area.estimate(machine)
        found.append(
            {
                "arch": name,
                "fifo_depth": machine.fifo_depth,
                "pes": machine.pes,
                "transistors": size.transistors,
                "pe": size.pe,
                "ram_bits": size.ram_bits,
            }
        )
    return found


def _trained(folder: Path) -> Data:
    """Rounds of what was trained here, where the pages of methods lie beside this one."""
    path = folder / "rounds.json"
    if not path.is_file():
        return {"rounds": []}
    content = read_json(path, "figure", dict)
    found = []
    for one in content.get("tables", []):
        names = [column["name"] for column in one["columns"]]
        if "prunings" in names:
            found = [dict(zip(names, row, strict=True)) for row in one["rows"]]
    return {"rounds": found}


def _ordered(
    title: str, function: Any, tasks: Sequence[Any], jobs: int, backend: str, progress: Progress
) -> list[Data]:
    found: list[Data] = []
    progress(title, 0, len(tasks))
    for one in backends.ordered(backend, jobs, function, tasks):
        found.append(one)
        progress(title, len(found), len(tasks))
    return found
