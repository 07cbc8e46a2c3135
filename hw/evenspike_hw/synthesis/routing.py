"""Routing: placement and routing by nextpnr, its clock, what it uses, and why it failed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evenspike_core.documents import read_json
from evenspike_core.errors import EvenspikeError
from evenspike_hw.synthesis import yosys


@dataclass(frozen=True)
class Device:
    """name: for people. nextpnr: the program, `yowasp-` before it or not. options: of it."""

    name: str
    nextpnr: str
    options: tuple[str, ...]


OUT_OF_CONTEXT = Device(
    "LFE5U-85F-6",
    "nextpnr-ecp5",
    ("--85k", "--package", "CABGA381", "--speed", "6", "--out-of-context", "--freq", "75"),
)
"""A part without pins, alone on the FPGA of the ULX3S."""


@dataclass(frozen=True)
class Routed:
    """fmax_mhz: the lowest of all clocks; None where no path goes from register to register.
    utilization: resource -> used and available.
    critical_path: of the slowest clock; signals and nanoseconds from register to register.
    """

    fmax_mhz: float | None
    utilization: dict[str, dict[str, int]]
    critical_path: list[dict[str, Any]]


def route(
    device: Device,
    place: Path,
    name: str,
    seed: int,
    progress: yosys.Progress | None = None,
    options: tuple[str, ...] = (),
) -> Routed:
    """Places and routes NAME.json in `place`, where the log and the report stay.

    Raises EvenspikeError that says which resource does not suffice and by how much, or else what
    nextpnr said.
    """
    run = f"{name}-seed{seed}"
    command = [
        yosys.tool(device.nextpnr),
        *device.options,
        *("--json", f"{name}.json", "--seed", str(seed), "--report", f"{run}-report.json"),
        *("--timing-allow-fail", *options),
    ]
    if progress is not None:
        progress(f"placing and routing, seed {seed}")
    code, text = yosys.execute(command, place, place / f"{run}.log")
    if code:
        raise EvenspikeError(f"{device.name}: {_failure(text)} (log: {place / f'{run}.log'})")
    return read(place / f"{run}-report.json")


def read(file: Path) -> Routed:
    """Returns what a report of nextpnr says; raises EvenspikeError, naming the file, for none."""
    report = read_json(file, "report of nextpnr", dict)
    try:
        return _parse(report)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise EvenspikeError(f"{file}: not a readable report of nextpnr: {error!r}") from error


def _parse(report: dict[str, Any]) -> Routed:
    clocks = {name: clock["achieved"] for name, clock in report["fmax"].items()}
    slowest = min(clocks, key=lambda name: clocks[name], default=None)
    steps = [
        {
            "kind": step["type"],
            "ns": round(step["delay"], 3),
            "to": step["to"].get("cell", ""),
            "net": step.get("net", ""),
        }
        for path in report["critical_paths"]
        if path["from"].split()[-1] == slowest and path["to"].split()[-1] == slowest
        for step in path["path"]
    ]
    used = {
        name: {"used": counts["used"], "available": counts["available"]}
        for name, counts in report["utilization"].items()
        if counts["used"]
    }
    return Routed(None if slowest is None else round(clocks[slowest], 2), used, steps)


def _failure(log: str) -> str:
    """Returns what does not fit, or nextpnr's own reason."""
    lines = re.findall(r"^Info:\s+(\w+):\s+(\d+)/\s*(\d+)\s+(\d+)%", log, re.MULTILINE)
    over = {name: (int(u), int(a)) for name, u, a, _ in lines if int(u) > int(a)}
    if over:
        return "it does not fit: " + ", ".join(
            f"{name} {used:,} of {available:,} ({used - available:,} too many)"
            for name, (used, available) in over.items()
        )
    return f"nextpnr: {yosys.reason(log)}"
