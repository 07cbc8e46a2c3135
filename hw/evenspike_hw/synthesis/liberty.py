"""Liberty files: the standard cells of a library, and why a synthesis cannot use one."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from evenspike.errors import EvenspikeError


def read(file: Path | None) -> bytes:
    """The content of a Liberty file; nothing for none.

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
    """Name of the copy that Yosys reads: its abc keeps what it reads in /tmp, by name and time."""
    return f"cells-{hashlib.sha256(read(file)).hexdigest()[:12]}.lib"


def explained(file: Path, error: EvenspikeError, log: str) -> EvenspikeError:
    """What a failed synthesis says about the library, where it is the library that fails."""
    syntax = re.search(r"^ERROR: Syntax error in liberty file on (line \d+)", log, re.MULTILINE)
    few = re.search(r"Library with only \d+ cell classes cannot be used", log)
    gates = re.search(r"library reader cannot detect the (.+) gate", log)
    if syntax:
        says = f"syntax error on {syntax[1]}"
    elif "D flip-flops are not supported" in log:
        says = "there is no D flip-flop in it"
    elif few:
        says = "abc cannot use a library of so few gates"
    elif gates:
        says = f"abc stops where it finds no such gate: {gates[1]}"
    else:
        return error
    return EvenspikeError(f"Liberty file {file}: {says}")


def check_mapped(file: Path, statistics: dict[str, Any]) -> None:
    """No cell of Yosys' own may be left: the library would not be what was measured."""
    cells = statistics["design"]["num_cells_by_type"]
    left = sorted({re.sub(r"^\\", "", name) for name in cells if name.startswith("$_")})
    if left:
        raise EvenspikeError(f"Liberty file {file}: it has no cell for {', '.join(left)}")
