"""Reporter: what a run says, in its log and to who watches, and what it measures for that."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from evenspike_core.errors import EvenspikeError
from evenspike_core.progress import Progress, silent
from evenspike_train.data import Dataset
from evenspike_train.recipes.recipe import Recipe
from evenspike_train.runs import schedule
from evenspike_train.runs.distributed import Team
from evenspike_train.runs.hardware import MAPPINGS, Hardware, Measure
from evenspike_train.runs.progress import RunProgress
from evenspike_train.runs.run_log import RunLog
from evenspike_train.runs.run_state import RunState
from evenspike_train.runs.schedule import Phase
from evenspike_train.tickets import Probe
from evenspike_train.tickets import masks as weight_masks
from evenspike_train.tickets.figures import figures_of

_PAUSE = 60.0
"""Seconds between two lines that only say how far a run is."""


class Reporter:
    """Speaks for a run; of the processes that train together the first does."""

    def __init__(
        self,
        recipe: Recipe,
        data: Dataset,
        state: RunState,
        team: Team,
        measure: Measure | None,
        progress: Progress,
        say: Callable[[str], None] | None,
    ) -> None:
        """measure, progress, say : as the Trainer's."""
        self.recipe, self.data, self.state, self.team = recipe, data, state, team
        self._log = RunLog(state.folder)
        self._say = say
        self._hardware = Hardware(measure if team.leads else None, recipe, data)
        self._progress = RunProgress(
            [self._work(phase) for phase in state.phases], progress if team.leads else silent
        )
        self._said: dict[str, str] = {}  # what is logged only where it changes, as last logged
        self._losses: list[float] = []
        self._reported = time.monotonic()

    @property
    def within(self) -> Progress:
        """The progress of work between the steps."""
        return self._progress.within

    def log_bytes(self) -> int:
        """Length of the log, all of which is on the disk."""
        return self._log.length()

    def cut(self, length: int) -> None:
        """Drop what was logged behind a checkpoint."""
        if self.team.leads:
            self._log.cut(length)

    def log(self, event: str, **figures: Any) -> None:
        """Add a line."""
        self.state.tick()
        if not self.team.leads:
            return
        line = {
            "event": event,
            "phase": self.state.phase.name,
            "images_seen": self.state.images_seen,
            "seconds": round(self.state.seconds, 3),
            **{k: round(v, 5) if isinstance(v, float) else v for k, v in figures.items()},
        }
        text = self._log.append(line)
        if self._say is not None and event != "progress":
            self._say(text)

    def log_change(self, event: str, **text: str) -> None:
        """Add a line, unless the last one of this event said the same."""
        said = str(text)
        if self._said.get(event) != said:
            self._said[event] = said
            self.log(event, **text)

    def begin(self, phase: Phase) -> None:
        """A phase begins, or goes on."""
        done = self._work(phase, self.state.step * self.recipe.optimizer.batch)
        self._progress.begin(phase.index, phase.name, done)
        self._losses, self._reported = [], time.monotonic()

    def step(self, phase: Phase, loss: float, steps: int) -> None:
        """A step of `steps` is done."""
        batch, size = self.recipe.optimizer.batch, len(self.data.train)
        passed = min(self.state.step * batch, phase.config.images)
        epochs = passed / size, phase.config.images / size
        self._progress.step(phase.index, self._work(phase, passed), batch, epochs, loss)
        self._losses.append(loss)
        if time.monotonic() - self._reported > _PAUSE:
            mean = sum(self._losses) / len(self._losses)
            self.log("progress", step=self.state.step, of=steps, loss=mean)
            self._losses, self._reported = [], time.monotonic()

    def trained(self, phase: Phase, figures: Mapping[str, Any], probe: Probe | None) -> None:
        """The line of a round: the ticket that was trained in it, and what it is worth.

        figures : of its validation. probe : of the network; None for a twin.
        """
        model = self.state.model
        measured = self._measured(phase)
        counted = figures_of(weight_masks.read(model), self.recipe.method.pes, probe)
        self.state.tick()
        self.log(
            "trained",
            round=phase.index,
            timesteps=model.timesteps,
            **figures,
            **counted,
            **measured,
            round_seconds=round(self.state.seconds - self.state.phase_start, 3),
        )

    def _measured(self, phase: Phase) -> dict[str, float]:
        """Return the cycle model's figures and how long they took; log once why there are none."""
        started, asked = time.monotonic(), MAPPINGS if phase.final else ("",)
        try:
            figures = self._hardware.figures(self.state.model, asked, self.within)
        except EvenspikeError as error:
            self.log_change("unmeasured", reason=str(error))
            return {}
        if figures:
            figures["measure_seconds"] = round(time.monotonic() - started, 3)
        return figures

    def _work(self, phase: Phase, images: int | None = None) -> int:
        """Units of work of so many of a phase's images, of all where no number is given."""
        state = self.state
        steps = schedule.timesteps(phase, self.recipe, state.method, state.early_timesteps)
        return steps * min(phase.config.images, phase.config.images if images is None else images)
