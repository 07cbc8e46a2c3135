"""What a verb prints, on whatever it is printed; and how it ends when nobody reads it."""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evenspike.cli import main, terminal
from tests.cli.conftest import Cli
from tests.helpers.interrupting import interrupt, started

EVENSPIKE = [sys.executable, "-m", "evenspike"]


@pytest.fixture(scope="module")
def env() -> dict[str, str]:
    """Without a terminal's size and encoding of the machine that runs the tests."""
    return {k: v for k, v in os.environ.items() if k not in {"PYTHONIOENCODING", "COLUMNS"}}


def sim(ticket: Path, tmp_path: Path, *more: str) -> list[str]:
    return [
        *EVENSPIKE,
        "sim",
        "--model",
        str(ticket),
        "--images",
        "2",
        "--out",
        str(tmp_path),
        *more,
    ]


def test_a_stdout_that_is_not_utf_8_gets_ascii(
    ticket: Path, tmp_path: Path, env: dict[str, str]
) -> None:
    for encoding in ("ascii", "latin-1", "cp1252"):
        done = subprocess.run(
            sim(ticket, tmp_path),
            env=env | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert b"Bit-exact" in done.stdout
        assert b"Traceback" not in done.stderr
        done.stdout.decode(encoding)
    assert terminal._plain("×") == "x"  # noqa: RUF001
    assert terminal._plain("é") == "e"
    assert terminal._plain("語") == "?"


def test_a_reader_that_has_seen_enough_is_no_failure(
    ticket: Path, tmp_path: Path, env: dict[str, str]
) -> None:
    with subprocess.Popen(
        sim(ticket, tmp_path), env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        assert running.stdout is not None
        running.stdout.close()  # before the first line
        assert running.stderr is not None
        said = running.stderr.read()
        assert running.wait() == 0
    assert b"BrokenPipe" not in said
    assert (tmp_path / "small" / "report.json").is_file()


def test_a_stdout_that_is_closed_is_no_difference(
    ticket: Path, tmp_path: Path, env: dict[str, str]
) -> None:
    command = shlex.join(sim(ticket, tmp_path)) + " >&-"
    done = subprocess.run(command, shell=True, env=env, stderr=subprocess.PIPE, check=False)  # noqa: S602
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False)


def test_progress_is_on_stderr_and_json_is_all_of_stdout(
    ticket: Path, tmp_path: Path, env: dict[str, str]
) -> None:
    done = subprocess.run(
        sim(ticket, tmp_path, "--json"), env=env, capture_output=True, text=True, check=True
    )
    content = json.loads(done.stdout)
    assert content == json.loads((tmp_path / "small" / "report.json").read_text())
    assert content["bit_exact"] is True
    assert content["command"].endswith("--json")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--images", "3", "--images", "5"], "argument --images: given twice"),
        (["--arch", "packed", "--arch", "paper"], "argument --arch: given twice"),
        (["--wings", "2"], "unrecognized arguments: --wings 2"),
        (["--image", "2"], "unrecognized arguments: --image 2"),
        (["--images", "two"], "argument --images: invalid int value: 'two'"),
        (["--mapping", "best"], "argument --mapping: invalid choice: 'best'"),
        (["--arch", "packed,pes=8,pes=4"], "pes"),
    ],
)
def test_a_mistake_is_one_line(cli: Cli, ticket: Path, given: list[str], says: str) -> None:
    done = cli("sim", "--model", ticket, *given)
    assert (done.status, done.out) == (2, "")
    assert says in done.err
    assert done.err.count("\n") == 1


def test_a_warning_of_the_machine_is_said(cli: Cli, ticket: Path, tmp_path: Path) -> None:
    arch = "packed,memory_latency=64"
    done = cli("sim", "--model", ticket, "--images", 1, "--arch", arch, "--out", tmp_path)
    assert done.status == 0
    assert "stream_depth" in done.err
    assert done.err.startswith("evenspike: ")


def test_an_interrupt_ends_within_an_image(tmp_path: Path, env: dict[str, str]) -> None:
    """Of a hundred that are queued; and says so in one line."""
    command = [*EVENSPIKE, "sim", "--model", "vgg16", "--images", "100", "--rtl", "0"]
    with started([*command, "--out", str(tmp_path)], env=env) as running:
        time.sleep(12)  # it maps, or runs
        assert running.poll() is None, "it was too fast to be interrupted"
        before = time.monotonic()
        interrupt(running)
        _, said = running.communicate(timeout=30)
        assert time.monotonic() - before < 15
    assert running.returncode == 130
    assert said.splitlines()[-1] == "evenspike: interrupted"


def test_compare_prints_a_table_and_writes_it(cli: Cli, ticket: Path, tmp_path: Path) -> None:
    done = cli(
        *("compare", "--model", ticket, "--arch", "packed,pes=4|8", "--set", "fifo_depth=1,64"),
        *("--images", 1, "--backend", "threading", "--out", tmp_path),
    )
    assert done.status == 0, done.err
    assert done.out.count("pes=4") >= 2
    content = json.loads((tmp_path / "compare.json").read_text())
    assert [point["fields"]["fifo_depth"] for point in content["points"]] == [1, 64, 1, 64]
    printed = cli(
        *("compare", "--model", ticket, "--images", 1, "--backend", "threading"),
        *("--out", tmp_path, "--json"),
    )
    assert len(json.loads(printed.out)["points"]) == 1


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--set", "fifo_depth"], "--set 'fifo_depth' is not FIELD=VALUE,..."),
        (["--set", "fifo_depth="], "is not FIELD=VALUE,..."),
        (["--set", "pes=4", "--set", "pes=8"], "--set pes: given twice"),
        (["--set", "wings=2"], "Arch has no field 'wings'"),
        (["--arch", "packed,pes=4", "--set", "pes=8"], "Arch pes is given twice"),
        (["--images", "0"], "images: 0; 1 to 100 are possible"),
    ],
)
def test_no_grid_is_one_line(cli: Cli, ticket: Path, given: list[str], says: str) -> None:
    done = cli("compare", "--model", ticket, *given)
    assert done.status == 2
    assert says in done.err
    assert done.err.count("\n") == 1


def test_the_console_survives_a_stream_without_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert main(["report", "--out", "no-such-folder"]) == 2
