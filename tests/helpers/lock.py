"""Compare `requirements.lock` with the environment, or write it from there.

    python -m tests.helpers.lock [--write]

The lock has the name and the version of everything that the extras of `pyproject.toml` need, and
the marker of what exists for some systems only. It has no CUDA packages, Triton among them: which
of them torch needs depends on its build, and pip finds them through torch.
"""

# ruff: noqa: T201 (what it prints is its result)

from __future__ import annotations

import importlib.metadata
import platform
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from evenspike.cli.parser import Parser

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements.lock"
CUDA = ("nvidia-", "cuda-", "triton")
HERE = "Python {}.{} on {} {}".format(*sys.version_info[:2], sys.platform, platform.machine())


def requirements() -> list[Requirement]:
    """All that `pyproject.toml` asks for, in the base and in every extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    return [Requirement(text) for text in sum(extras, project["dependencies"])]


def locked() -> dict[str, Requirement]:
    """The lines of the lock by name."""
    lines = LOCK.read_text(encoding="utf-8").splitlines()
    found = [Requirement(line) for line in lines if not line.startswith("#")]
    return {canonicalize_name(line.name): line for line in found}


def installed(asked: Iterable[Requirement]) -> dict[str, str]:
    """Name and version of every package of this environment that the requirements lead to.

    A build's local version is left out, as in `2.13.0` for `2.13.0+cpu`.
    """
    versions: dict[str, str] = {}
    waiting = [(each, "") for each in asked]
    seen = set()
    while waiting:
        requirement, extra = waiting.pop()
        name = canonicalize_name(requirement.name)
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        if (name, extras := frozenset(requirement.extras)) in seen or name.startswith(CUDA):
            continue
        seen.add((name, extras))
        package = importlib.metadata.distribution(name)
        versions[name] = Version(package.version).public
        needs = [Requirement(text) for text in package.requires or ()]
        waiting += [(need, extra) for need in needs for extra in ("", *requirement.extras)]
    return versions


def text() -> str:
    """The lock of this environment."""
    markers = {str(canonicalize_name(each.name)): each.marker for each in requirements()}
    lines = [
        f"{name}=={version}" + (f"; {marker}" if (marker := markers.get(name)) else "")
        for name, version in sorted(installed(requirements()).items())
    ]
    return "\n".join([f"# make lock, {HERE}", *lines, ""])


def differences() -> list[str]:
    """Where the lock and this environment disagree.

    What a package needs depends on Python and the system; on others than the lock's, versions
    alone are compared.
    """
    here, lock = installed(requirements()), locked()
    same = LOCK.read_text(encoding="utf-8").startswith(f"# make lock, {HERE}\n")
    found = []
    for name in sorted({*here, *lock}):
        version, line = here.get(name), lock.get(name)
        if version is None or line is None:
            if same:
                found.append(f"{name} is {'not locked' if version else 'locked, but not needed'}")
        elif not line.specifier.contains(version, prereleases=True):
            found.append(f"{name} is locked as {line}, and {version} is installed")
    return found


def main() -> int:
    parser = Parser(prog="python -m tests.helpers.lock")
    parser.add_argument("--write", action="store_true", help="write the lock of this environment")
    if parser.parse_args().write:
        LOCK.write_text(text(), encoding="utf-8")
        return 0
    found = differences()
    for line in found:
        print(f"{LOCK.name}: {line}; `make lock` writes it anew", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
