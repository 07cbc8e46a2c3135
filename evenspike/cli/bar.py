"""Progress on stderr: a bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

SILENCE = 10.0
"""Seconds after which work says that it is still going on, where there is no terminal. Work of
many minutes says it less often, once a minute in the end."""

_WINDOW = 120.0
"""Seconds over which the speed that the time left follows from is averaged."""


class Bar:
    """An `evenspike_core.progress.Progress` that people see.

    Work with another total, or that begins again, is other work: its time starts anew.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, emoji=False)
        terminal = self._console.is_terminal
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            speed_estimate_period=_WINDOW,
            disable=not terminal,
            redirect_stdout=terminal and Console().is_terminal,  # a file gets what is printed to it
            transient=True,
        )
        self._ended = threading.Event()
        self._speaker = None if terminal else threading.Thread(target=self._speak, daemon=True)
        self._now: tuple[str, int, int | None] = "", 0, None
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        if self._speaker is not None:
            self._speaker.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()
        self._ended.set()
        if self._speaker is not None:
            self._speaker.join()

    def __call__(self, what: str, done: int, total: int | None) -> None:
        """Show how much of the total is done, or what is being done where there is no total."""
        _, before, whole = self._now
        self._now = what, done, total
        if not self._bar.tasks or whole != total or done < before:
            for task in self._bar.task_ids:
                self._bar.remove_task(task)
            self._bar.add_task(what, total=total, completed=done)
        else:
            self._bar.update(self._bar.task_ids[0], description=what, completed=done)

    def print(self, line: str) -> None:
        """Write a line on stderr, above the bar where there is one."""
        self._console.print(line, soft_wrap=True, markup=False, highlight=False)

    def _speak(self) -> None:
        """Without a terminal: say now and then what is being done."""
        pause = SILENCE
        while not self._ended.wait(pause):
            what, done, total = self._now
            if what:
                share = "" if not total else f": {100 * done / total:.0f} %"
                self.print(f"{what}{share}, {time.monotonic() - self._began:.0f} s")
            pause = min(max(SILENCE, (time.monotonic() - self._began) / 10), 6 * SILENCE)
