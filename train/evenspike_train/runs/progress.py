"""The bar of a run on a terminal: phase, epoch, loss, images a second, time left.

An image costs as many units of work as it has timesteps, so that phases with few of them do not
make the rest of the run look short.  Where a search may end early, its whole length is counted.
"""

from __future__ import annotations

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

_PAUSE = 0.5
"""Seconds between two looks at the bar."""

_WINDOW = 120.0
"""Seconds over which the speed that the time left follows from is averaged."""


class RunProgress:
    """A bar for the whole run, on a terminal; elsewhere nothing but the lines of the log.

    Parameters
    ----------
    work : units of each phase, in order.
    console : to write to; standard output where none is given.
    """

    def __init__(self, work: list[int], console: Console | None = None) -> None:
        self._console = console or Console(emoji=False)
        self._work = work
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TextColumn("epoch {task.fields[epoch]}  loss {task.fields[loss]}"),
            TextColumn("{task.fields[rate]} images/s"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            speed_estimate_period=_WINDOW,
            disable=not self.shown,
        )
        self._images = 0
        self._looked = time.monotonic()

    @property
    def shown(self) -> bool:
        return self._console.is_terminal

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def begin(self, phase: int, name: str, done: int) -> None:
        """A phase begins, or goes on after `done` units of its work."""
        total, before = sum(self._work), sum(self._work[:phase])
        if not self._bar.tasks:
            self._bar.add_task(
                name, total=total, completed=before + done, epoch="-", loss="-", rate="-"
            )
        else:
            self._bar.update(
                self._bar.task_ids[0],
                description=name,
                completed=before + done,
                epoch="-",
                loss="-",
                rate="-",
            )
        self._images, self._looked = 0, time.monotonic()

    def step(
        self, phase: int, done: int, images: int, epoch: tuple[float, float], loss: float
    ) -> None:
        """A step of `images` images; `done` units of the phase's work are done.

        epoch : how many have been passed, and of how many.
        """
        self._images += images
        now = time.monotonic()
        if not self.shown or now - self._looked < _PAUSE:
            return
        self._bar.update(
            self._bar.task_ids[0],
            completed=sum(self._work[:phase]) + done,
            epoch=f"{epoch[0]:.1f}/{epoch[1]:.1f}",
            loss=f"{loss:.3f}",
            rate=f"{self._images / (now - self._looked):.0f}",
        )
        self._images, self._looked = 0, now

    def print(self, line: str) -> None:
        """A line of the log: above the bar, or where there is none, as it is."""
        if self.shown:
            self._bar.console.print(line, soft_wrap=True, markup=False, highlight=False)
        else:
            print(line, flush=True)
