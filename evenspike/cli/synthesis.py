"""`evenspike synth`: area, longest path and clock of a part of the RTL."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

from evenspike.cli import terminal
from evenspike.report import pages as reports
from evenspike.report.area import pages as area_report
from evenspike_core.arch import preset
from evenspike_core.errors import EvenspikeError
from evenspike_hw.synthesis.synthesize import Request, synthesize


def synth(arguments: argparse.Namespace) -> int:
    """The `synth` verb; returns the exit status."""
    console = terminal.console()
    if arguments.docs is not None:
        raise EvenspikeError(f"--docs {arguments.docs}: only a study (--study) is put into a file")
    request = Request(
        arguments.part,
        arguments.target,
        preset(arguments.arch),
        arguments.liberty,
        arguments.route,
        arguments.seed,
    )
    reports.check_folder(arguments.out)
    name = f"{request.part} on {request.target}"
    with steps(console, name) as progress:
        result = synthesize(request, arguments.out / "cache", progress)
    files = area_report.write(result, arguments.out)
    console.print(area_report.table(result))
    if result["cached"]:
        console.print(f"nothing has changed since it was synthesised ({result['seconds']} s)")
    console.print("written: " + ", ".join(map(str, files)), soft_wrap=True)
    return 0


LOG_SECONDS = 10


@contextmanager
def steps(console: Console, name: str) -> Iterator[Callable[[str], None]]:
    """What a tool does just now, behind the name of what it works on; where there is no terminal,
    a line of it every `LOG_SECONDS`.
    """
    if console.is_terminal:
        with console.status(Text(name)) as status:
            yield lambda step: status.update(Text(f"{name}: {step}"))
        return
    said = time.monotonic()

    def log(step: str) -> None:
        nonlocal said
        if time.monotonic() - said >= LOG_SECONDS:
            said = time.monotonic()
            console.print(f"{name}: {step}", soft_wrap=True)

    yield log
