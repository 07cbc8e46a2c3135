"""Results: the comparison's figures out of the runs of sweeps, as JSON, Markdown and plots."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evenspike.report.comparison import line_plot, page, rows
from evenspike.report.comparison.figures import FIGURES
from evenspike_core.errors import EvenspikeError
from evenspike_core.files import dump, write_files


@dataclass(frozen=True)
class Compared:
    """figures: JSON of each, by name. finished, others: how many runs. files: what was written."""

    figures: dict[str, dict[str, Any]]
    finished: int
    others: int
    files: tuple[Path, ...]


def check_figures(names: Sequence[str]) -> None:
    """Raise EvenspikeError for the name of a figure that there is not."""
    for name in names:
        if name not in FIGURES:
            raise EvenspikeError(f"results: {name!r} is no figure; there are {', '.join(FIGURES)}")


def results(runs: Sequence[Path], out: Path, figures: Sequence[str] = ()) -> Compared:
    """Draw figures from the finished runs of sweeps, and of earlier pages in the same folder.

    Parameters
    ----------
    runs : folders of sweeps.
    out : folder of the pages.
    figures : names; all that have runs, and an index, if there is none.

    Raises EvenspikeError where no run has finished. A run that fails leaves its row empty and is
    named in the index.
    """
    check_figures(figures)
    finished, others = rows.read(runs)
    finished = rows.merged(finished, out / rows.RUNS_FILE)
    if not finished:
        raise EvenspikeError(f"results: no run has finished in {', '.join(map(str, runs))}")
    contents: dict[str, str | bytes] = {}
    try:
        made = {name: FIGURES[name](finished) for name in figures or FIGURES}
        if not figures:
            made = {name: figure for name, figure in made.items() if figure["made"]}
        for name, figure in made.items():
            drawn = map(line_plot.render, figure["plots"])
            contents |= {f"{name}.json": dump(figure), f"{name}.md": page.render(name, figure)}
            contents |= dict(zip(page.plots(name, figure), drawn, strict=True))
        if not figures:
            beside = [name for name in page.BESIDE if (out / name).is_file()]
            contents[page.INDEX_FILE] = page.index(made, others, beside)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        # Numbers that no run gives, of the right types: there is nothing to draw with them.
        raise EvenspikeError(f"results: not readable runs: {error!r}") from error
    listed = {"runs": [row.values for row in finished]}
    contents[rows.RUNS_FILE] = json.dumps(listed, separators=(",", ":")) + "\n"
    files = write_files(contents, out)
    for name in made:  # a plot that a figure no longer has does not stay beside it
        for path in out.glob(page.PLOT_FILE.format(name=name, number="[0-9]")):
            if path.name not in contents:
                path.unlink()
    return Compared(made, len(finished), len(others), tuple(files))
