"""A small ticket for the shipped images; the command line, and `bench`, as a function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks import bench
from evenspike.cli import main
from evenspike_core.program import Program
from tests.helpers.tickets import small_program


@dataclass(frozen=True)
class Done:
    """Exit status and output of one call."""

    status: int
    out: str
    err: str


Cli = Callable[..., Done]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    def call(*arguments: object) -> Done:
        capsys.readouterr()
        given = [str(argument) for argument in arguments]
        try:
            status = bench.main(given[1:]) if given[:1] == ["bench"] else main(given)
        except SystemExit as stop:  # argparse
            status = int(stop.code or 0)
        text = capsys.readouterr()
        return Done(status, text.out, text.err)

    return call


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def refused(cli: Cli, out: Path) -> Callable[..., str]:
    """Call with `--out`, expect status 2, one line and no file; returns the line."""

    def call(*arguments: object) -> str:
        done = cli(*arguments, "--out", out)
        assert done.status == 2, done
        assert done.err.startswith("evenspike: ")
        assert done.err.count("\n") == 1
        assert done.err.endswith("\n")
        assert not out.exists() or not [path for path in out.rglob("*") if path.is_file()]
        return str(done.err).removeprefix("evenspike: ").rstrip("\n")

    return call


@pytest.fixture
def program() -> Program:
    return small_program()


@pytest.fixture
def ticket(program: Program, tmp_path: Path) -> Path:
    path = tmp_path / "small.safetensors"
    program.save(path)
    return path


@pytest.fixture(autouse=True)
def no_rtl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No RTL simulator is built, whatever this machine has: `sim` runs the model alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """How slow the machine is does not show on stderr."""
    monkeypatch.setattr("evenspike.cli.bar.SILENCE", 3600.0)
