"""Names of shipped tickets and of finished runs to files, and files to Programs."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from evenspike_core.errors import EvenspikeError
from evenspike_core.program import Program

SUFFIX = ".safetensors"

RUNS = Path("runs")
"""Where runs of training are, if nobody says another folder."""


def checkpoints() -> Path:
    """Folder of the shipped tickets; found without importing the training package (torch)."""
    spec = importlib.util.find_spec("evenspike_train")
    if spec is None or spec.origin is None:
        raise EvenspikeError(
            "the package evenspike_train with the shipped tickets is not installed"
        )
    return Path(spec.origin).parent / "checkpoints"


def load(name: str | Path) -> Program:
    """The Program that a name stands for.

    Parameters
    ----------
    name : of a shipped ticket (which wins: what a command in the documents runs does not depend on
        what has been trained here); of a finished run in `runs/`; the folder of one; or a file with
        the suffix .safetensors.

    Raises EvenspikeError that lists the tickets and runs for a name that is none of these, and that
    says what to do for a run that has not finished or was not exported.
    """
    name = str(name)
    if name.endswith(SUFFIX):
        return Program.load(Path(name))
    tickets = _programs(checkpoints())
    if name in tickets:
        return Program.load(tickets[name])
    for folder in (RUNS / name, Path(name)):
        if (folder / "recipe.toml").is_file():
            return Program.load(_program_of(folder))
    runs = sorted(path.parent.name for path in RUNS.glob("*/ticket.pt"))
    raise EvenspikeError(
        f"unknown model {name!r}; there are: {', '.join(tickets) or 'none'}"
        + (f", and the runs {', '.join(runs)}" if runs else "")
        + f"; or give a {SUFFIX} file"
    )


def shipped() -> list[str]:
    """Names of the tickets that come with the package."""
    return list(_programs(checkpoints()))


def _programs(folder: Path) -> dict[str, Path]:
    """The Program files in a folder, by name."""
    return {path.name.removesuffix(SUFFIX): path for path in sorted(folder.glob(f"*{SUFFIX}"))}


def _program_of(folder: Path) -> Path:
    """The one Program file in the folder of a run."""
    found = _programs(folder)
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        raise EvenspikeError(f"{folder}: holds {', '.join(found)}; give one of the {SUFFIX} files")
    if (folder / "ticket.pt").is_file():
        raise EvenspikeError(
            f"{folder}: this run has no Program yet; evenspike export --run {folder} writes it"
        )
    raise EvenspikeError(
        f"{folder}: this run has not finished; give the command that began it again"
    )


def check_name(program: Program) -> None:
    """Raises EvenspikeError for a Program whose results would land outside their folder."""
    if Path(program.name).name != program.name or program.name == "..":
        raise EvenspikeError(f"the Program's name {program.name!r} is no name for a folder")
