"""Progress of a run: phase, epoch, loss, images a second, share of the work.

An image costs as many units of work as it has timesteps, so that phases with few of them do not
make the rest of the run look short.  Where a search may end early, its whole length is counted.
"""

from __future__ import annotations

import time

from evenspike_core.progress import Progress, silent

_PAUSE = 0.5
"""Seconds between two reports of steps."""


class RunProgress:
    """Reports the whole run as one piece of work.

    Parameters
    ----------
    work : units of each phase, in order.
    progress : that is told.
    """

    def __init__(self, work: list[int], progress: Progress = silent) -> None:
        self._work, self._progress = work, progress
        self._phase, self._done = "", 0
        self._images, self._looked = 0, time.monotonic()

    def begin(self, phase: int, name: str, done: int) -> None:
        """A phase begins, or goes on after `done` units of its work."""
        self._phase, self._done = name, sum(self._work[:phase]) + done
        self._progress(name, self._done, sum(self._work))
        self._images, self._looked = 0, time.monotonic()

    def step(
        self, phase: int, done: int, images: int, epoch: tuple[float, float], loss: float
    ) -> None:
        """A step of `images` images; `done` units of the phase's work are done.

        epoch : how many have been passed, and of how many.
        """
        self._images += images
        now = time.monotonic()
        if now - self._looked < _PAUSE:
            return
        self._done = sum(self._work[:phase]) + done
        self._progress(
            f"{self._phase}  epoch {epoch[0]:.1f}/{epoch[1]:.1f}  loss {loss:.3f}  "
            f"{self._images / (now - self._looked):.0f} images/s",
            self._done,
            sum(self._work),
        )
        self._images, self._looked = 0, now

    def within(self, what: str, done: int, total: int | None) -> None:
        """Work between the steps, which has no units of its own: an evaluation, a measurement."""
        count = "" if total is None else f" {done}/{total}"
        self._progress(f"{self._phase}  {what}{count}", self._done, sum(self._work))
