"""`evenspike sweep`: a recipe with many methods, seeds and sizes, and one JSON about all of them.

`sweep.json` in the sweep's folder holds a row for each run that was ever asked for there. It is
replaced as a whole whenever a run has ended, and again made from the runs' folders by the same
command.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from evenspike import __version__
from evenspike.cli import terminal
from evenspike.cli.measure import measure
from evenspike.report import contents
from evenspike.report import pages as report
from evenspike_core import backends
from evenspike_core.errors import EvenspikeError
from evenspike_train.runs import sweep as sweeping

JSON_FILE = "sweep.json"
SPAN_MAX = 10_000
"""Numbers in a range such as 1-5."""

Number = TypeVar("Number", int, float)


def sweep(arguments: argparse.Namespace) -> int:
    """The verb; 1 if a run has failed, after all the others have ended."""
    if arguments.jobs < 1:
        raise EvenspikeError(f"sweep: jobs must be at least 1, not {arguments.jobs}")
    axes = sweeping.Axes(
        methods=_names(arguments.methods),
        seeds=_integers("seeds", arguments.seeds),
        rounds=_integers("rounds", arguments.rounds),
        sparsities=_numbers("sparsities", arguments.sparsities, float),
        pes=_integers("pes", arguments.pes),
    )
    backends.check(arguments.backend, arguments.jobs)
    runs = sweeping.plan(arguments.recipe, axes)
    report.check_folder(arguments.out)
    sweeping.check(runs, arguments.out, arguments.data, arguments.device)
    return _run(runs, arguments)


def _run(runs: list[sweeping.Run], arguments: argparse.Namespace) -> int:
    console = terminal.console()
    path = arguments.out / JSON_FILE
    content = read(path)
    known = {row["name"]: row for row in content["runs"]}
    own: dict[str, dict[str, Any]] = {}
    text = _text(arguments)
    machine = ", ".join(filter(None, (sweeping.accelerator(arguments.device), contents.machine())))
    threads = sweeping.threads(arguments.jobs)
    made_on = {"machine": machine, "jobs": arguments.jobs, "threads": threads}
    ended = 0

    def keep(run: sweeping.Run, row: dict[str, Any], made: dict[str, Any] | None) -> None:
        asked = known.get(run.name, {}).get("sweep", text)
        named = {"name": run.name, "command": run.command, "sweep": asked, **asdict(run.changes)}
        own[run.name] = {**named, "made_on": made, **row}

    def write() -> None:
        # Read again: another sweep may have written its rows meanwhile.
        listed = {row["name"]: row for row in read(path)["runs"]} | own
        report.write_json(content | {"runs": list(listed.values())}, path)

    def done(run: sweeping.Run, row: dict[str, Any]) -> None:
        nonlocal ended
        ended += 1
        keep(run, row, {**made_on, "load": _load()})
        write()
        console.print(f"{ended}: {run.name}: {_outcome(row)}", soft_wrap=True)

    rows = sweeping.sweep(
        runs,
        arguments.out,
        jobs=arguments.jobs,
        backend=arguments.backend,
        data=arguments.data,
        device=arguments.device,
        measure=measure,
        done=done,
    )
    for run in runs:
        keep(run, rows[run.name], (own.get(run.name) or known.get(run.name, {})).get("made_on"))
    write()
    failed = {name: row["error"] for name, row in rows.items() if row["error"]}
    console.print(
        f"{len(runs)} runs: {ended} trained now, {len(runs) - ended} were there; written: {path}",
        soft_wrap=True,
    )
    for name, error in failed.items():
        print(f"evenspike: {name}: {error}", file=sys.stderr)
    return 1 if failed else 0


def _load() -> float | None:
    """Processes that want a core, per core of this machine: above 1 they slow each other down."""
    try:
        return round(max(os.getloadavg()[:2]) / (os.cpu_count() or 1), 2)
    except OSError:  # not known on every system
        return None


def _outcome(row: dict[str, Any]) -> str:
    if row["error"]:
        return f"failed: {row['error']}"
    (line,) = row["finished"]
    return (
        f"{line['validation_accuracy']:.2f} % at a sparsity of {100 * line['sparsity']:.2f} %, "
        f"{line['seconds']:.0f} s"
    )


def read(path: Path) -> dict[str, Any]:
    """A sweep's JSON, or that of none.  Raises EvenspikeError for a file that is not one."""
    if not path.exists():
        return {"version": __version__, "runs": []}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rows = {row["name"] for row in content["runs"]}
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise EvenspikeError(f"{path}: is no list of runs: {error!r}") from error
    if len(rows) != len(content["runs"]):
        raise EvenspikeError(f"{path}: is no list of runs: a name stands in it twice")
    return {"version": __version__, "runs": content["runs"]}


def _text(arguments: argparse.Namespace) -> str:
    """The command that was given, without what does not change its results."""
    words = ["evenspike", "sweep", "--recipe", arguments.recipe]
    for key in ("methods", "seeds", "rounds", "sparsities", "pes"):
        value = getattr(arguments, key)
        if value is not None:
            words += [f"--{key}", value]
    return shlex.join(words)


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise EvenspikeError(f"sweep: methods: {text!r} has an empty name")
    return names


def _integers(name: str, text: str | None) -> tuple[int, ...]:
    """A list of numbers and ranges: 1-3,7 is 1, 2, 3, 7."""
    found: list[int] = []
    for part in () if text is None else text.split(","):
        span = re.fullmatch(r"\s*(\d{1,9})\s*-\s*(\d{1,9})\s*", part)
        if span is None:
            found += _numbers(name, part, int)
            continue
        first, last = int(span[1]), int(span[2])
        if not 0 <= last - first < SPAN_MAX:
            raise EvenspikeError(f"sweep: {name}: {part.strip()!r} is no range upwards")
        found += range(first, last + 1)
    return tuple(found)


def _numbers(name: str, text: str | None, kind: Callable[[str], Number]) -> tuple[Number, ...]:
    if text is None:
        return ()
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError as error:
        raise EvenspikeError(f"sweep: {name}: {text!r} is no list of numbers") from error
