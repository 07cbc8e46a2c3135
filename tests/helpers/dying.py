"""`evenspike` with a process that dies: what `torchrun` restarts.

    python -m tests.helpers.dying RANK STEPS train ...

The process of this rank ends after so many steps, unless it has been restarted.
"""

# ruff: noqa: T201 (the test looks for it)

from __future__ import annotations

import os
import sys
from typing import Any

from evenspike.cli import main
from evenspike_train.runs.training_step import TrainingStep


def die_after(steps: int) -> None:
    original = TrainingStep.train
    done = 0

    def step(self: TrainingStep, *arguments: Any) -> float:
        nonlocal done
        if done == steps:
            print(f"dies at step {steps}", file=sys.stderr, flush=True)
            os._exit(9)
        done += 1
        return original(self, *arguments)

    TrainingStep.train = step  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    rank, steps, *arguments = sys.argv[1:]
    if rank == os.environ["RANK"] and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        die_after(int(steps))
    sys.exit(main(arguments))
