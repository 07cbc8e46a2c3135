"""Train: a recipe to a pruned network, and a finished run to a Program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from evenspike.flows.measure import measure
from evenspike.flows.models import RUNS
from evenspike_core.errors import EvenspikeError
from evenspike_core.program import Program
from evenspike_core.progress import Progress, silent
from evenspike_train.lowering.proof import Proof
from evenspike_train.recipes.derive import Changes
from evenspike_train.runs import command, distributed


@dataclass(frozen=True)
class Trained:
    """What a training run came to.

    folder: of the run. program: what was exported; None where the run gives none, or where another
    process of a distributed run exports it. file: the Program's. reason: why there is no Program;
    empty where there is one. validation_accuracy: percent of the images held out, in floating
    point; None where another process knows it. trained: whether it was trained now; otherwise it
    had finished before. proof: what the Program was compared with, layer by layer, if it was
    exported now; `print` shows it.
    """

    folder: Path
    program: Program | None = None
    file: Path | None = None
    reason: str = ""
    validation_accuracy: float | None = None
    trained: bool = True
    proof: Proof | None = None

    @property
    def accuracy(self) -> float | None:
        """Percent of the test images that the integer network gets right; None without one."""
        if self.program is None:
            return None
        return float(self.program.provenance["integer_test_accuracy"])


def train(
    recipe: str | Path,
    folder: Path | str | None = None,
    *,
    method: str | None = None,
    seed: int | None = None,
    rounds: int | None = None,
    sparsity: float | None = None,
    pes: int | None = None,
    bits: int | None = None,
    activity: float | None = None,
    data: Path | str | None = None,
    device: str | None = None,
    threads: int = 0,
    progress: Progress = silent,
    say: Callable[[str], None] | None = None,
) -> Trained:
    """Train and prune by a recipe, going on with what is in the folder; export what came out.

    A run that has finished is left as it is, and only what is missing of it is made.

    Parameters
    ----------
    recipe : name of a shipped recipe, or a .toml file.
    folder : of the run; runs/NAME without one.
    method, seed, rounds, sparsity, pes, bits, activity : in place of the recipe's, see
        docs/methods.md.
    data : folder with the data set's files.
    device : of torch; a GPU if there is one.
    threads : of the CPU; 0 for torch's choice.
    say : called with a line for each phase that has ended.

    Raises EvenspikeError for a recipe, an option or data that cannot be, and for a folder that
    holds another run.
    """
    changes = Changes(method, seed, rounds, sparsity, pes, bits, activity)
    place = RUNS / (Path(recipe).stem + changes.suffix) if folder is None else Path(folder)
    done = command.train(
        str(recipe),
        place,
        None if data is None else Path(data),
        threads,
        device,
        changes,
        measure,
        progress=progress,
        say=say,
    )
    return exported(place, done, data, device, threads, progress)


def exported(
    place: Path,
    done: command.Outcome,
    data: Path | str | None,
    device: str | None,
    threads: int,
    progress: Progress,
) -> Trained:
    """A run that has ended, with its Program, which is exported unless it was before."""
    found = Trained(
        place,
        validation_accuracy=float(done.figures["validation_accuracy"]),
        trained=done.trained,
    )
    if not distributed.leads():
        return replace(found, reason="another process of this run exports it")
    reason = command.unexportable(place)
    if reason:
        return replace(found, reason=reason)
    if done.program.is_file():
        return replace(found, program=Program.load(done.program), file=done.program)
    made = export(place, data=data, device=device, threads=threads, progress=progress)
    return replace(found, program=made.program, file=made.file, proof=made.proof)


def export(
    folder: Path | str,
    out: Path | str | None = None,
    *,
    data: Path | str | None = None,
    device: str | None = None,
    threads: int = 0,
    notes: str = "",
    progress: Progress = silent,
) -> Trained:
    """Write the Program and the card of a finished run.

    out: folder for both; the run's own without one. notes: a sentence for the card.

    Raises EvenspikeError for a folder without a finished run, and for a run that gives no Program.
    """
    place = Path(folder)
    if not place.is_dir():
        raise EvenspikeError(f"{place}: no such run")
    program, file, proof = command.export(
        place,
        place if out is None else Path(out),
        None if data is None else Path(data),
        threads=threads,
        device=device,
        notes=notes,
        progress=progress,
    )
    return Trained(place, program, file, proof=proof)
