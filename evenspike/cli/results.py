"""`evenspike results`: the comparison's figures out of the runs of sweeps.

With `--make RECIPE` the sweeps that `evenspike.report.comparison.plan` has for it are run first.
"""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from typing import Any

from evenspike.cli import terminal
from evenspike.report import pages as report
from evenspike.report.comparison import line_plot, page, rows
from evenspike.report.comparison.figures import FIGURES
from evenspike.report.comparison.plan import STUDIES
from evenspike_core.errors import EvenspikeError

RUNS = Path("runs/sweep")
PAGES = Path("docs/results")
OWN_PAGES = Path("build/results")


def results(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """The verb.  A run that fails leaves its row empty and is named in the index: no error.

    parser: of the whole command line, which reads the plan's sweeps.
    """
    arguments.runs = arguments.runs or [RUNS]
    arguments.out = arguments.out or (PAGES if arguments.make is not None else OWN_PAGES)
    names = list(arguments.figures or FIGURES)
    for name in names:
        if name not in FIGURES:
            raise EvenspikeError(f"results: {name!r} is no figure; there are {', '.join(FIGURES)}")
    if arguments.make is not None and arguments.make not in STUDIES:
        raise EvenspikeError(
            f"results: {arguments.make!r} has no plan; there are {', '.join(STUDIES)}"
        )
    if arguments.make is not None and len(arguments.runs) != 1:
        raise EvenspikeError(f"results: {len(arguments.runs)} folders of runs; --make takes one")
    report.check_folder(arguments.out)
    if arguments.make is not None:
        _make(arguments, parser)
    finished, others = rows.read(arguments.runs)
    finished = rows.merged(finished, arguments.out / rows.RUNS_FILE)
    if not finished:
        raise EvenspikeError(
            f"results: no run has finished in {', '.join(map(str, arguments.runs))}"
        )
    contents: dict[str, str] = {}
    for name in names:
        figure = FIGURES[name](finished)
        contents |= _files(name, figure)
    if not arguments.figures:
        figures = {name: FIGURES[name](finished) for name in FIGURES}
        contents[page.INDEX_FILE] = page.index(figures, others)
    listed = {"runs": [row.values for row in finished]}
    contents[rows.RUNS_FILE] = json.dumps(listed, separators=(",", ":")) + "\n"
    files = report.write_files(contents, arguments.out)
    _drop_old_plots(names, contents, arguments.out)
    console = terminal.console()
    console.print(f"{len(finished)} finished runs, {len(others)} others")
    console.print("written: " + ", ".join(map(str, files)), soft_wrap=True)
    return 0


def _files(name: str, figure: dict[str, Any]) -> dict[str, str]:
    drawn = map(line_plot.render, figure["plots"])
    return {
        f"{name}.json": report.dump(figure),
        f"{name}.md": page.render(name, figure),
        **dict(zip(page.plots(name, figure), drawn, strict=True)),
    }


def _drop_old_plots(names: list[str], contents: dict[str, str], folder: Path) -> None:
    """A plot that a figure no longer has does not stay beside it."""
    for name in names:
        for path in folder.glob(page.PLOT_FILE.format(name=name, number="[0-9]")):
            if path.name not in contents:
                path.unlink()


def _make(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Run the plan's sweeps."""
    common = ["--out", str(arguments.runs[0]), "--jobs", str(arguments.jobs)]
    for key in ("data", "device"):
        if getattr(arguments, key) is not None:
            common += [f"--{key}", str(getattr(arguments, key))]
    for command in STUDIES[arguments.make].commands:
        given = parser.parse_args([*shlex.split(command)[1:], *common])
        given.run(given)
