"""The terminal: results on stdout, progress and errors on stderr, whatever either can show."""

from __future__ import annotations

import codecs
import json
import os
import shlex
import sys
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from evenspike.flows.figures import Figures

ASCII = {"×": "x", "–": "-", "—": "-", "µ": "u", "…": "...", "±": "+/-", "≤": "<=", "≥": ">="}  # noqa: RUF001
BLOCKS = dict(zip("█▓▒░·", "#*+=-", strict=True))


def prepare() -> None:
    """Let stdout take any text: what its encoding lacks is written in ASCII."""
    codecs.register_error("evenspike", _ascii)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed: nobody wants to read it
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="evenspike")


def _ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(map(_plain, text)), error.end


def _plain(sign: str) -> str:
    known = ASCII.get(sign) or BLOCKS.get(sign)
    if known:
        return known
    bare = unicodedata.normalize("NFKD", sign).encode("ascii", "ignore").decode()
    return bare or "?"


class _Console(Console):
    """A reader who has seen enough (`| head -1`) is no failure of what was done."""

    def on_broken_pipe(self) -> None:
        discard_stdout()


def discard_stdout() -> None:
    """Send what is still to be printed nowhere; the exit status stays what it is."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def console() -> Console:
    """The console of stdout, for text that is not ours: a path in brackets is no markup."""
    return _Console(markup=False, emoji=False)


def show_run(run: Figures, folder: Path, *, json_only: bool = False, hint: str = "") -> int:
    """Save a run's report, print it, and return the exit status: 1 where a spike differs."""
    report = run.report(command=shlex.join(["evenspike", *sys.argv[1:]]))
    files = report.save(folder)
    if json_only:
        print(json.dumps(report.to_dict()))
    else:
        out = console()
        out.print(report.summary())
        if hint:
            out.print(hint, soft_wrap=True)
        page, *others = sorted(files, key=lambda file: file.suffix != ".html")
        beside = ", ".join(file.name for file in others)
        out.print(f"report: {page} (beside it: {beside})", soft_wrap=True)
    return 0 if run.bit_exact else 1
