"""Sweep: a recipe with many methods, seeds and sizes, and one JSON about all of them.

`sweep.json` in the sweep's folder holds a row for each run that was ever asked for there. It is
replaced as a whole whenever a run has ended, and again made from the runs' folders by the same
call.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evenspike import __version__
from evenspike.flows.frame import frame
from evenspike.flows.measure import measure
from evenspike.report.comparison import rows
from evenspike.report.contents import machine
from evenspike_core.errors import EvenspikeError
from evenspike_core.files import check_folder, write_json
from evenspike_core.progress import Progress, silent
from evenspike_train.runs import sweep as sweeping

JSON_FILE = "sweep.json"

Row = dict[str, Any]


@dataclass(frozen=True)
class Swept:
    """What a sweep came to.

    folder: of the runs and their list. rows: one for each run, as `sweep.json` has them. trained:
    names of the runs that were trained now. failed: what ended each run that has no ticket.
    """

    folder: Path
    rows: tuple[Row, ...]
    trained: tuple[str, ...]
    failed: dict[str, str]

    @property
    def file(self) -> Path:
        return self.folder / JSON_FILE

    def to_dict(self) -> dict[str, Any]:
        """All rows, as the JSON has them."""
        return {"runs": list(self.rows)}

    def to_frame(self) -> Any:
        """A pandas DataFrame with a row for each run; raises EvenspikeError without pandas."""
        return frame(self.rows, index="name")


def sweep(
    recipe: str,
    methods: Sequence[str],
    *,
    seeds: Sequence[int] = (1,),
    rounds: Sequence[int] = (),
    sparsities: Sequence[float] = (),
    pes: Sequence[int] = (),
    folder: Path | str = "runs/sweep",
    jobs: int = 1,
    backend: str = "loky",
    data: Path | str | None = None,
    device: str | None = None,
    progress: Progress = silent,
    done: Callable[[Row], None] = lambda _: None,
) -> Swept:
    """Train every combination that is not finished in the folder.

    Parameters
    ----------
    recipe : name of a shipped recipe, or a .toml file.
    methods, seeds, rounds, sparsities, pes : what is varied; an empty one keeps the recipe's.
    jobs, backend : runs at a time, and where: "loky", "threading", "dask", "ray".
    done : called with the row of each run when it has ended.

    Raises EvenspikeError for what would end a run before its first step. A run that fails later is
    in `failed`, and takes no other run with it.
    """
    if jobs < 1:
        raise EvenspikeError(f"sweep: jobs must be at least 1, not {jobs}")
    axes = sweeping.Axes(tuple(methods), tuple(seeds), tuple(rounds), tuple(sparsities), tuple(pes))
    place, files = Path(folder), None if data is None else Path(data)
    sweeping.check_backend(backend, jobs)
    runs = sweeping.plan(recipe, axes)
    check_folder(place)
    sweeping.check(runs, place, files, device, progress)
    path = place / JSON_FILE
    content = read(path)
    known = {row["name"]: row for row in content["runs"]}
    own: dict[str, Row] = {}
    ended: list[str] = []
    asked_now = command(recipe, axes)
    made_on = {
        "machine": ", ".join(filter(None, (sweeping.accelerator(device), machine()))),
        "jobs": jobs,
        "threads": sweeping.threads(jobs),
    }

    def keep(run: sweeping.Run, row: Row, made: Row | None) -> None:
        asked = known.get(run.name, {}).get("sweep", asked_now)
        named = {"name": run.name, "command": run.command, "sweep": asked, **asdict(run.changes)}
        own[run.name] = {**named, "made_on": made, **row}

    def write() -> None:
        # Read again: another sweep may have written its rows meanwhile.
        listed = {row["name"]: row for row in read(path)["runs"]} | own
        # In the order they were asked for, whichever ends first; another sweep's go before them.
        asked = [*known, *(run.name for run in runs if run.name not in known)]
        order = sorted(listed, key=lambda name: asked.index(name) if name in asked else -1)
        write_json(content | {"runs": [listed[name] for name in order]}, path)

    def end(run: sweeping.Run, row: Row) -> None:
        ended.append(run.name)
        keep(run, row, {**made_on, "load": _load()})
        write()
        done(own[run.name])

    made = sweeping.sweep(
        runs,
        place,
        jobs=jobs,
        backend=backend,
        data=files,
        device=device,
        measure=measure,
        done=end,
        progress=progress,
    )
    for run in runs:
        keep(run, made[run.name], (own.get(run.name) or known.get(run.name, {})).get("made_on"))
    write()
    failed = {name: row["error"] for name, row in made.items() if row["error"]}
    return Swept(place, tuple(own[run.name] for run in runs), tuple(ended), failed)


def read(path: Path) -> dict[str, Any]:
    """A sweep's JSON, or that of none.  Raises EvenspikeError for a file that is not one."""
    runs = rows.listed(path) if path.exists() else []
    return {"version": __version__, "runs": runs}


def command(recipe: str, axes: sweeping.Axes) -> str:
    """The command line of a sweep, without what does not change its results."""
    words = ["evenspike", "sweep", "--recipe", recipe]
    for key, values in vars(axes).items():
        if values:
            words += [f"--{key}", ",".join(map(str, values))]
    return shlex.join(words)


def _load() -> float | None:
    """Processes that want a core, per core of this machine: above 1 they slow each other down."""
    try:
        return round(max(os.getloadavg()[:2]) / (os.cpu_count() or 1), 2)
    except OSError:  # not known on every system
        return None
