"""Names of shipped tickets to files, and files to Programs."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from evenspike_core.errors import EvenspikeError
from evenspike_core.program import Program

SUFFIX = ".safetensors"


def checkpoints() -> Path:
    """Folder of the shipped tickets; found without importing the training package (torch)."""
    spec = importlib.util.find_spec("evenspike_train")
    if spec is None or spec.origin is None:
        raise EvenspikeError(
            "the package evenspike_train with the shipped tickets is not installed"
        )
    return Path(spec.origin).parent / "checkpoints"


def load(name: str) -> Program:
    """The Program of a shipped ticket, or of a file with the suffix .safetensors.

    Raises EvenspikeError that lists the tickets for a name that is neither.
    """
    if name.endswith(SUFFIX):
        return Program.load(Path(name))
    folder = checkpoints()
    names = sorted(path.name.removesuffix(SUFFIX) for path in folder.glob(f"*{SUFFIX}"))
    if name not in names:
        raise EvenspikeError(
            f"unknown model {name!r}; there are: {', '.join(names) or 'none'}; "
            f"or give a {SUFFIX} file"
        )
    return Program.load(folder / f"{name}{SUFFIX}")


def check_name(program: Program) -> None:
    """Raises EvenspikeError for a Program whose results would land outside their folder."""
    if Path(program.name).name != program.name or program.name == "..":
        raise EvenspikeError(f"the Program's name {program.name!r} is no name for a folder")
