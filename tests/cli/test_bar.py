"""Progress on stderr: a bar on a terminal, lines elsewhere, and nothing of it on stdout."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from evenspike.cli import bar
from evenspike.cli.bar import Bar


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(
        file=io.StringIO(), force_terminal=True, width=120, _environ={"TERM": "xterm"}
    )
    with Bar(console) as progress:
        progress("download [bold]", 0, None)
        for done in range(7):
            progress(f"step {done}", done, 10)
            time.sleep(0.02)
        time.sleep(0.3)
        progress.print('{"event": "x", "[bold]": 1}')
        print("a result")
        (task,) = progress._bar.tasks
        assert (task.completed, task.total) == (6, 10)
        progress("something else", 1, 20)
        (task,) = progress._bar.tasks
        assert (task.completed, task.total, task.speed) == (1, 20, None)
    text = shown(console)
    for part in ("download [bold]", "step 6", "60%", "something else", '{"event": "x", "[bold]"'):
        assert part in text
    assert capsys.readouterr().out == "a result\n"


def test_without_one_work_speaks_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where it reports nothing for long."""
    monkeypatch.setattr(bar, "SILENCE", 0.05)
    console = Console(file=io.StringIO())
    with Bar(console) as progress:
        progress("evaluation", 3, 12)
        time.sleep(0.4)
        progress("compiling", 0, None)
        time.sleep(0.4)
    said = shown(console).splitlines()
    assert said[0] == "evaluation: 25 %, 0 s"
    assert said[-1].startswith("compiling, ")
    assert len(said) < 20


def test_short_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar() as progress:
        progress("evaluation", 3, 12)
    assert capsys.readouterr() == ("", "")
