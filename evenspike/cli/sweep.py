"""`evenspike sweep`: train a recipe with many methods, seeds and sizes."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from evenspike.cli import terminal
from evenspike.cli.bar import Bar
from evenspike.cli.parser import DATA_HELP
from evenspike_core.errors import EvenspikeError

SPAN_MAX = 10_000
"""Numbers in a range such as 1-5."""

Number = TypeVar("Number", int, float)


def options(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument("--recipe", required=True, help="a shipped recipe, or a .toml file")
    parser.add_argument("--methods", required=True, help="imp,u-ticket+early-time,...")
    parser.add_argument("--seeds", default="1", help="1-5, or 1,4,7 (default: 1)")
    parser.add_argument("--rounds", help="of the ladder: 4,8,13 (default: the recipe's)")
    parser.add_argument("--sparsities", help="to reach: 0.9,0.95 (default: the recipe's)")
    parser.add_argument("--pes", help="filters balanced together: 8,16 (default: the recipe's)")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/sweep"),
        help="folder of the runs (default: runs/sweep)",
    )
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time (default: 1)")
    parser.add_argument("--backend", default="loky", help="loky, threading, dask, ray")
    parser.add_argument("--data", type=Path, help=DATA_HELP)
    parser.add_argument("--device", help="torch device; default: a GPU if there is one")
    parser.set_defaults(extras="train", again="the same command goes on where it stopped")


def run(arguments: argparse.Namespace) -> int:
    """Train them; 1 if a run has failed, after all the others have ended."""
    from evenspike.flows.sweep import sweep

    console = terminal.console()
    ended = 0

    def done(row: dict[str, Any]) -> None:
        nonlocal ended
        ended += 1
        console.print(f"{ended}: {row['name']}: {_outcome(row)}", soft_wrap=True)

    with Bar() as bar:
        found = sweep(
            arguments.recipe,
            _names(arguments.methods),
            seeds=integers("seeds", arguments.seeds),
            rounds=integers("rounds", arguments.rounds),
            sparsities=_numbers("sparsities", arguments.sparsities, float),
            pes=integers("pes", arguments.pes),
            folder=arguments.out,
            jobs=arguments.jobs,
            backend=arguments.backend,
            data=arguments.data,
            device=arguments.device,
            done=done,
            progress=bar,
        )
    there = len(found.rows) - len(found.trained)
    console.print(
        f"{len(found.rows)} runs: {len(found.trained)} trained now, {there} were there; "
        f"written: {found.file}",
        soft_wrap=True,
    )
    for name, error in found.failed.items():
        print(f"evenspike: {name}: {error}", file=sys.stderr)
    if found.failed:
        print("evenspike: the same command tries again what has failed", file=sys.stderr)
    return 1 if found.failed else 0


def _outcome(row: dict[str, Any]) -> str:
    if row["error"]:
        return f"failed: {row['error']}"
    (line,) = row["finished"]
    return (
        f"{line['validation_accuracy']:.2f} % at a sparsity of {100 * line['sparsity']:.2f} %, "
        f"{line['seconds']:.0f} s"
    )


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise EvenspikeError(f"sweep: methods: {text!r} has an empty name")
    return names


def integers(name: str, text: str | None) -> tuple[int, ...]:
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
