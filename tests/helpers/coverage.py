"""Coverage of a simulation by lines and toggles, out of Verilator's coverage.dat."""

from __future__ import annotations

import re
from pathlib import Path

ARTEFACT = "dump_module"
"""Part of the name of a signal that Yosys adds to wake up processes: it is never set."""

KINDS = {"v_line": "line", "v_branch": "line", "v_toggle": "toggle"}


def points(directory: Path, top: str) -> dict[tuple[str, str], int]:
    """Kind and name of each point of module `top` -> how often it was reached.

    directory: of the run; the simulator's, with the Verilog, is its parent.
    """
    found: dict[tuple[str, str], int] = {}
    lines = directory.parent.joinpath(f"{top}.v").read_text().splitlines()
    added = {str(n) for n, line in enumerate(lines, 1) if ARTEFACT in line}
    for line in (directory / "coverage.dat").read_text(errors="replace").splitlines():
        match = re.fullmatch(r"C '(.*)' (\d+)", line)
        if match is None:
            continue
        fields = dict(part.split("\2", 1) for part in match.group(1).split("\1") if "\2" in part)
        kind = KINDS.get(fields.get("page", "").partition("/")[0])
        if kind is not None and fields["l"] not in added:
            name = " ".join(fields.get(key, "") for key in ("l", "n", "o", "h", "S"))
            found[kind, name] = found.get((kind, name), 0) + int(match.group(2))
    return found


def read(directory: Path, top: str) -> dict[str, tuple[int, int]]:
    """How many of the points of each kind were reached, and how many there are."""
    counts = {"line": (0, 0), "toggle": (0, 0)}
    for (kind, _), count in points(directory, top).items():
        reached, all_of = counts[kind]
        counts[kind] = (reached + (count > 0), all_of + 1)
    return counts
