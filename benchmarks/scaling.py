"""Scaling: cycles of an image on 2 to 128 PEs, and what stops more of them.

    python -m benchmarks.scaling [--model NAME] [--images N] [--ports 64,128] [--out FOLDER]

One array of 2 to 64 PEs, and 2, 4 and 8 clusters of 16. Each machine runs the same images on the
cycle model and is compared with the integer reference; clusters take a batch of one image each, the
single arrays one image after the other. A machine of fewer PEs has as many more entries of the
spike memory, which are smaller by as much. Writes scaling.json and scaling.md.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evenspike.cli.parser import Parser
from evenspike.flows import models
from evenspike.flows.images import Images, images
from evenspike.flows.prepare import pack
from evenspike.flows.simulate import simulate
from evenspike.report.area.estimate import estimate
from evenspike_core.arch import Arch, preset
from evenspike_core.counters import STATES
from evenspike_core.errors import EvenspikeError
from evenspike_core.files import check_folder, dump, write_files
from evenspike_core.program import Program

SINGLE = (2, 4, 8, 16, 32, 64)
"""PEs of one array."""
CLUSTERS = (2, 4, 8)
"""Of `PES` PEs each."""
PES = 16
IMAGES = 8
PORTS = (64, 128)


@dataclass(frozen=True)
class Point:
    """A machine. pes: of all clusters. cycles: of an image, on average; latency: of an inference,
    which brings an image for each cluster. states: share of all PE-cycles. port: words of the port
    for each cycle. transistors: the estimate of docs/area.md.
    """

    arch: str
    pes: int
    clusters: int
    port_bits: int
    cycles: float
    latency: float
    utilization: float
    states: Mapping[str, float]
    port: float
    words_loaded: float
    energy_pj: float
    transistors: int
    bit_exact: bool


def machines(port_bits: int) -> Iterator[Arch]:
    """Single arrays, then clusters."""
    for pes in SINGLE:
        fields = [f"pes={pes}"]
        if pes < PES:
            fields.append(f"spike_entries={Arch().spike_entries * PES // pes}")
            fields.append("table_words=4096")
        yield preset(",".join(["packed", *fields, f"port_bits={port_bits}"]))
    for clusters in CLUSTERS:
        yield preset(f"packed,pes={PES},clusters={clusters},port_bits={port_bits}")


def measure(program: Program, arch: Arch, given: Images) -> Point:
    """A machine on the images."""
    run = simulate(pack(program, arch), given)
    states = {state: float(cycles.sum()) for state, cycles in run.pes.items()}
    total = sum(states.values())
    return Point(
        arch.preset,
        arch.all_pes,
        arch.clusters,
        arch.port_bits,
        run.cycles,
        run.latency,
        run.utilization,
        {state: states[state] / total for state in STATES},
        run.words_loaded / run.cycles,
        run.words_loaded,
        run.energy_pj,
        estimate(arch).transistors,
        run.bit_exact,
    )


def markdown(content: Mapping[str, Any]) -> str:
    """The page: a table for each width of the port."""
    lines = [
        "# Scaling: 2 to 128 PEs",
        "",
        (
            f"`{content['command']}`: the shipped `{content['model']}`, "
            f"{content['images']} images, "
            "preset `packed` but for what is named, on the cycle model, bit-exact. Cycles are "
            "those of an image on average, latency those of an inference, which of clusters brings "
            "an image for each. Speed-up: in cycles of an image, over 2 PEs on the same port. The "
            "shares are of the cycles of all PEs; port: words for each cycle. Transistors are the "
            "estimate of [area.md](../area.md). What follows from it is in "
            "[choices.md](../choices.md#clusters-on-one-weight-stream)."
        ),
    ]
    head = ["machine", "PEs", "cycles", "latency", "speed-up", *STATES, "port", "transistors"]
    for port in content["ports"]:
        points = [one for one in content["points"] if one["port_bits"] == port]
        lines += ["", f"## Port of {port} bits", "", f"| {' | '.join(head)} |"]
        lines.append("|---" * len(head) + "|")
        lines += [f"| {' | '.join(_cells(one, points[0]))} |" for one in points]
    return "\n".join(lines) + "\n"


def _cells(one: Mapping[str, Any], least: Mapping[str, Any]) -> list[str]:
    pes, clusters = one["pes"], one["clusters"]
    return [
        f"{clusters} × {pes // clusters}" if clusters > 1 else f"1 × {pes}",  # noqa: RUF001
        str(pes),
        f"{one['cycles']:,.0f}",
        f"{one['latency']:,.0f}",
        f"{least['cycles'] / one['cycles']:.2f}",
        *(f"{100 * one['states'][state]:.1f} %" for state in STATES),
        f"{one['port']:.2f}",
        f"{one['transistors'] / 1e6:.1f} M",
    ]


def _ports(text: str) -> Sequence[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise EvenspikeError(f"--ports {text!r} is not numbers separated by commas") from error


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--model", default="vgg16")
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--ports", default=",".join(map(str, PORTS)))
    parser.add_argument("--out", type=Path, default=Path("build/scaling"))
    given = parser.parse_args(arguments)
    try:
        ports = _ports(given.ports)
        program = models.load(given.model)
        shown = images(given.images, program)
        check_folder(given.out)
        points = []
        for port in ports:
            for arch in machines(port):
                point = measure(program, arch, shown)
                print(f"{arch.preset}: {point.cycles:,.0f} cycles an image", flush=True)
                points.append(asdict(point))
    except EvenspikeError as error:
        print(f"scaling: {error}", file=sys.stderr)
        return 1
    command = f"python -m benchmarks.scaling --model {given.model} --images {given.images}"
    content = {
        "command": f"{command} --ports {given.ports}",
        "model": program.name,
        "images": given.images,
        "ports": list(ports),
        "points": points,
    }
    write_files({"scaling.json": dump(content), "scaling.md": markdown(content)}, given.out)
    return 0 if all(point["bit_exact"] for point in points) else 1


if __name__ == "__main__":
    sys.exit(main())
