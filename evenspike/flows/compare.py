"""Compare machines: networks on a grid of Archs, with cycles, utilization, energy and area."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evenspike import __version__
from evenspike.flows.frame import frame
from evenspike.flows.images import Images, Pixels
from evenspike.flows.images import images as shipped_images
from evenspike.flows.models import load
from evenspike.flows.prepare import pack
from evenspike.flows.simulate import jobs_of, simulate
from evenspike.report import machines as views
from evenspike.report.area.estimate import estimate
from evenspike.report.contents import now
from evenspike_core import backends
from evenspike_core.arch import Arch, as_arch, preset
from evenspike_core.errors import EvenspikeError
from evenspike_core.files import dump, write_files
from evenspike_core.mapping import KINDS
from evenspike_core.program import Program
from evenspike_core.progress import Progress, silent

IMAGES = 5
"""Images that each network runs, if nobody says how many."""

POINTS_MAX = 4096
"""Machines times networks of one grid."""


@dataclass(frozen=True)
class Point:
    """One network on one machine; figures are per image, on average, but for the latency, which is
    that of an inference: of clusters it brings an image for each.

    model, program: name and digest of the network. arch: as `preset` takes it; fields: what differs
    from the grid's other machines.
    cycles to area_transistors: None where the machine cannot run the network, and `error` says why.
    speed_up: over the network's first machine that runs it. warnings: of `Arch.warnings`.
    """

    model: str
    program: str
    arch: str
    digest: str
    fields: dict[str, int | float | str]
    images: int
    cycles: float | None = None
    utilization: float | None = None
    latency_ms: float | None = None
    energy_pj: float | None = None
    words_loaded: float | None = None
    area_transistors: int | None = None
    bit_exact: bool | None = None
    error: str = ""
    warnings: tuple[str, ...] = ()
    speed_up: float | None = None


@dataclass(frozen=True, repr=False)
class Comparison:
    """The points of a grid, network by network, in the grid's order. date: UTC."""

    points: tuple[Point, ...]
    date: str = field(default_factory=now)

    def __repr__(self) -> str:
        models, archs = ({getattr(p, key) for p in self.points} for key in ("model", "digest"))
        return f"<Comparison of {len(models)} networks on {len(archs)} machines>"

    @property
    def bit_exact(self) -> bool:
        """Whether every network that was run equals the integer reference."""
        return all(point.bit_exact is not False for point in self.points)

    def to_dict(self) -> dict[str, Any]:
        """All points, as the JSON has them."""
        return {
            "version": __version__,
            "date": self.date,
            "points": [dataclasses.asdict(point) for point in self.points],
        }

    def to_frame(self) -> Any:
        """A pandas DataFrame with a row for each point; raises EvenspikeError without pandas."""
        return frame(
            [
                {**point.fields, **{k: v for k, v in vars(point).items() if k != "fields"}}
                for point in self.points
            ]
        )

    def save(self, folder: Path | str) -> list[Path]:
        """Write compare.json, compare.md and compare.html, a page with plots; returns the files."""
        content = self.to_dict()
        files = {
            "compare.json": dump(content),
            "compare.md": views.markdown(content),
            "compare.html": views.html(content),
        }
        return write_files(files, Path(folder))

    def _repr_html_(self) -> str:
        return views.fragment(self.to_dict())


def grid(arch: str = "packed", fields: Mapping[str, Sequence[Any]] | None = None) -> list[Arch]:
    """The machines of a grid.

    Parameters
    ----------
    arch : presets and fields, each with one value or several: "packed|paper,pes=4|8|16".
    fields : more fields with their values: {"fifo_depth": (16, 64)}.

    Every value is combined with every other, the last field changing fastest. Raises EvenspikeError
    for a preset or a field that there is not, and for a field that is given twice.
    """
    name, *changes = arch.split(",")
    axes = [name.split("|")]
    names: list[str] = []
    for change in changes:
        field, sign, values = change.partition("=")
        if not sign:
            raise EvenspikeError(f"--arch {arch!r}: {change!r} is no field=value")
        names.append(field)
        axes.append([f"{field}={value}" for value in values.split("|")])
    for field, given in (fields or {}).items():
        if field in names:
            raise EvenspikeError(f"Arch {field} is given twice")
        if isinstance(given, str) or not isinstance(given, Sequence) or not given:
            raise EvenspikeError(f"Arch {field}: {given!r} is no list of values")
        names.append(field)
        axes.append([f"{field}={value}" for value in given])
    return [preset(",".join(parts)) for parts in itertools.product(*axes)]


def compare(
    models: Sequence[Program | str] | Program | str,
    archs: Sequence[Arch | str] | Arch | str,
    images: Images | Pixels | int | None = None,
    *,
    mapping: str = "cost",
    jobs: int = 1,
    backend: str = "loky",
    folder: Path | str | None = None,
    progress: Progress = silent,
) -> Comparison:
    """Run every network on every machine.

    Parameters
    ----------
    models : Programs, or what `load` takes.
    archs : machines, or what `preset` takes; see `grid`.
    images : what each network runs, or how many of the images of its data set; the first five, or
        all there are, without one.
    folder : with the files of the networks' data sets, or a .npy file of inputs, where `images` is
        no images.
    mapping : "cost" or "natural".
    jobs, backend : points at a time and where, as in `simulate`.

    A machine that cannot run a network is a point with an error. Raises EvenspikeError for what no
    point could do without, and where no machine runs any of the networks.
    """
    models = [models] if isinstance(models, Program | str) else models
    archs = [archs] if isinstance(archs, Arch | str) else archs
    programs = [load(model) if isinstance(model, str) else model for model in models]
    machines = [as_arch(arch) for arch in archs]
    if mapping not in KINDS:
        raise EvenspikeError(f"unknown mapping {mapping!r}; there are: {', '.join(KINDS)}")
    for what, listed in (("network", programs), ("Arch", [arch.digest for arch in machines])):
        if len(set(listed)) < len(listed):
            raise EvenspikeError(f"compare: the same {what} is given twice")
    if not programs or not machines:
        raise EvenspikeError("compare: at least one network and one Arch are needed")
    if len(programs) * len(machines) > POINTS_MAX:
        raise EvenspikeError(
            f"compare: {len(programs)} x {len(machines)} points, the limit is {POINTS_MAX}"
        )
    backends.check(backend)
    varied = _varied(machines)
    tasks = []
    for program in programs:
        given = _given(images, program, folder)
        tasks += [(program, machine, given, mapping, varied) for machine in machines]
    points: list[Point] = []
    progress("comparing machines", 0, len(tasks))
    for point in backends.ordered(backend, jobs_of(jobs), _point, tasks):
        points.append(point)
        progress("comparing machines", len(points), len(tasks))
    if all(point.error for point in points):
        raise EvenspikeError(f"compare: no machine runs a network; the first: {points[0].error}")
    return Comparison(tuple(_speed_ups(points)))


def _given(
    images: Images | Pixels | int | None, program: Program, folder: Path | str | None
) -> Images | Pixels:
    if images is None:
        return shipped_images(None, program, folder)[:IMAGES]
    return shipped_images(images, program, folder) if isinstance(images, int) else images


def _varied(machines: Sequence[Arch]) -> tuple[str, ...]:
    """Names of the fields of which the machines have more than one value."""
    names = [field.name for field in dataclasses.fields(Arch) if field.name != "preset"]
    return tuple(n for n in names if len({getattr(machine, n) for machine in machines}) > 1)


def _point(
    program: Program, arch: Arch, images: Images | Pixels, mapping: str, varied: Sequence[str]
) -> Point:
    fields = {name: getattr(arch, name) for name in varied}
    warnings = arch.warnings()
    named = (program.name, program.digest(), arch.preset, arch.digest)
    try:
        run = simulate(pack(program, arch, mapping=mapping), images, jobs=1)
    except EvenspikeError as error:
        count = len(images)
        return Point(*named, fields, count, error=str(error), warnings=warnings)
    return Point(
        *named,
        fields,
        len(run.outcomes),
        cycles=run.cycles,
        utilization=run.utilization,
        latency_ms=run.latency / (arch.clock_mhz * 1e3),
        energy_pj=run.energy_pj,
        words_loaded=sum(layer.words_loaded for layer in run.layers),
        area_transistors=estimate(arch).transistors,
        bit_exact=run.bit_exact,
        warnings=warnings,
    )


def _speed_ups(points: Sequence[Point]) -> list[Point]:
    """The points, each with its speed-up over the first machine that runs its network."""
    first: dict[str, float] = {}
    found = []
    for point in points:
        if point.cycles is not None:
            base = first.setdefault(point.program, point.cycles)
            point = dataclasses.replace(point, speed_up=base / point.cycles)
        found.append(point)
    return found
