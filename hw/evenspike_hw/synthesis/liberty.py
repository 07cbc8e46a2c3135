"""Liberty files: the standard cells of a library, and why a synthesis cannot use one."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from evenspike_core.errors import EvenspikeError


def read(file: Path | None) -> bytes:
    """Reads the content of a Liberty file; there is none without a path.

    Raises EvenspikeError for a file that cannot be read or has no library in it.
    """
    if file is None:
        return b""
    try:
        text = file.read_bytes()
    except OSError as error:
        raise EvenspikeError(f"Liberty file {file}: {error.strerror}") from error
    if not re.search(rb"\blibrary\s*\(", text):
        raise EvenspikeError(f"Liberty file {file}: there is no library in it")
    return text


def copied(file: Path) -> str:
    """Returns the name of Yosys' copy: its abc keeps what it reads in /tmp, by name and time."""
    return f"cells-{hashlib.sha256(read(file)).hexdigest()[:12]}.lib"


def explained(file: Path, error: EvenspikeError, log: str) -> EvenspikeError:
    """Returns what a failed synthesis says about the library, where that is what fails."""
    syntax = re.search(r"^ERROR: Syntax error in liberty file on (line \d+)", log, re.MULTILINE)
    few = re.search(r"Library with only \d+ cell classes cannot be used", log)
    table = re.search(r"^(?:ABC: )?(.*[Tt]able cannot be found.*?)\s*$", log, re.MULTILINE)
    gates = re.search(r"library reader cannot detect the (.+) gate", log)
    if syntax:
        says = f"syntax error on {syntax[1]}"
    elif "D flip-flops are not supported" in log:
        says = "there is no D flip-flop in it"
    elif few:
        says = "abc cannot use a library of so few gates"
    elif gates:
        says = f"abc stops where it finds no such gate: {gates[1]}"
    elif "libparse.cc" in str(error):
        says = f"it cannot be parsed, as a file that ends early: {error}"
    elif table:
        says = f"abc: {table[1]}"
    else:
        says = f"the synthesis with it fails: {error}"
    return EvenspikeError(f"Liberty file {file}: {says}")


def check_mapped(file: Path, areas: Mapping[str, float]) -> None:
    """No cell of Yosys' own may be left, and each has an area: else the library would not be what
    was measured.

    areas: of each type of cell in use, as `cell_areas` tells.
    """
    left = sorted(name for name in areas if name.startswith("$_"))
    if left:
        raise EvenspikeError(f"Liberty file {file}: it has no cell for {', '.join(left)}")
    odd = sorted(name for name, area in areas.items() if not area > 0)
    if odd:
        raise EvenspikeError(
            f"Liberty file {file}: no area above 0 is given for {', '.join(odd)}, in use here"
        )
