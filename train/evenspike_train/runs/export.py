"""A finished run becomes a `Program` file and a card that says what it is.

The Program's provenance holds everything the card shows, so the card can always be written
again from the file.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import platform
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evenspike_core import files
from evenspike_core.data import DATA_SETS, shipped
from evenspike_core.errors import EvenspikeError
from evenspike_core.fixed import WEIGHT_BITS
from evenspike_core.metrics import paper_metrics
from evenspike_core.program import Program
from evenspike_core.progress import Progress, silent
from evenspike_train import __version__, networks
from evenspike_train.data import Dataset
from evenspike_train.export import programs
from evenspike_train.export.card import card
from evenspike_train.export.integer import integer_accuracy
from evenspike_train.export.programs import (
    ACTIVITY_IMAGES,
    activity,
    check_possible,
    follow,
    make_program,
    noise,
)
from evenspike_train.lowering import states
from evenspike_train.lowering.inputs import EXAMPLES
from evenspike_train.lowering.proof import Proof
from evenspike_train.recipes import recipe
from evenspike_train.recipes.recipe import Recipe
from evenspike_train.runs import checkpoint, run_log, run_state
from evenspike_train.runs.evaluation import evaluate
from evenspike_train.tickets import masks as weight_masks
from evenspike_train.tickets.compression import RESIDUAL

_NUMBER = (int, float)
_DENSE: checkpoint.Fields = {"model": dict}
_TICKET: checkpoint.Fields = {
    "model": dict,
    "recipe": str,
    "figures": dict,
    "images_seen": int,
    "seconds": _NUMBER,
}
_FIGURES: checkpoint.Fields = {"validation_accuracy": _NUMBER}
_LOGGED: dict[str, checkpoint.Fields] = {
    "trained": {"accuracy": _NUMBER},
    "converted": {"accuracy": _NUMBER},
    "validation": {"step": int, "accuracy": _NUMBER, "images_seen": int},
    "pruned": {"round": int, "sparsity": _NUMBER, "evenness": _NUMBER},
    "finished": {"validation_accuracy": _NUMBER, "sparsity": _NUMBER, "seconds": _NUMBER},
}


@dataclass(frozen=True)
class Ticket:
    """A trained network read back from a run's directory."""

    recipe: Recipe
    model: networks.SpikingNetwork
    figures: Mapping[str, Any]
    images_seen: int
    seconds: float
    history: list[dict[str, Any]]


def load_model(
    network: networks.NetworkConfig, state: Mapping[str, Any], where: str = "checkpoint"
) -> networks.SpikingNetwork:
    """Network with these weights; masks come from the state, whichever way they are stored, and
    whatever training has wrapped around it (`lowering.states`). where: what is read, for messages.

    Raises EvenspikeError, naming the tensor, for one that is missing, unknown, of the wrong
    shape, or holds values that are not finite.
    """
    model = networks.build(network)
    found = states.plain(state, where, model.state_dict())
    found = weight_masks.from_torch_prune(found, where)
    if any(states.PARAMETRIZED in key for key in found):
        weight_masks.attach(model)
        found = _as_attached(found, model.state_dict(), where)
    expected = model.state_dict()
    for key in sorted(expected.keys() - found.keys()):
        raise EvenspikeError(f"{where}: {key} is missing; is it a {network.name}?")
    for key in sorted(found.keys() - expected.keys()):
        raise EvenspikeError(f"{where}: {key} is unknown; is it a {network.name}?")
    checkpoint.check_tensors(where, found, expected, run_state.describe(network))
    model.load_state_dict(found)
    return model.eval()


def _as_attached(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], where: str
) -> dict[str, Tensor]:
    """The tensors of a network that has a mask at each prunable weight, and at no other."""
    masked = {k: v for k, v in state.items() if states.PARAMETRIZED in k and k not in expected}
    found = {k: v for k, v in state.items() if k not in masked}
    found |= states.unmasked(masked, where)
    # A layer that was never pruned may come as a plain weight.
    for key in [k for k in found if k.endswith(".weight")]:
        stem = key.removesuffix("weight") + "parametrizations.weight."
        if stem + "original" in expected:
            weight = found.pop(key)
            found[stem + "original"] = weight
            found[stem + "0.mask"] = torch.ones_like(weight, dtype=torch.bool)
    for key in [k for k in found if k.endswith(".original") and k in expected]:
        if key.removesuffix("original") + "0.mask" not in found:
            mask = key.removesuffix("original") + "0.mask"
            raise EvenspikeError(states.without_mask(f"{where}: {key}", mask))
    return found


def read_history(path: Path, events: Container[str] = _LOGGED) -> list[dict[str, Any]]:
    """Lines of a run's log about these events, the latest of each event, phase and step.

    A resumed run may repeat one.

    Raises EvenspikeError, naming the line, for one that is not what a run writes.
    """
    latest: dict[tuple[Any, ...], dict[str, Any]] = {}
    for number, entry in run_log.read(path):
        _check_entry(f"{path}: line {number}", entry)
        if entry["event"] in events:
            key = entry["event"], entry["phase"], entry.get("step")
            latest.pop(key, None)
            latest[key] = entry
    return list(latest.values())


def _check_entry(where: str, entry: dict[str, Any]) -> None:
    checkpoint.check_fields(where, {"step": 0, **entry}, {"event": str, "phase": str, "step": int})
    if (
        entry["event"] == "pruned" and "utilization" in entry
    ):  # what a run started with an earlier version calls it
        entry.setdefault("evenness", entry["utilization"])
    checkpoint.check_fields(where, entry, _LOGGED.get(entry["event"], {}))


def load_ticket(directory: Path) -> Ticket:
    """The finished ticket of a run; raises EvenspikeError where there is none."""
    path = directory / "ticket.pt"
    if not path.is_file():
        raise EvenspikeError(f"{path}: no such file; has the run finished?")
    content = checkpoint.read(path, _TICKET)
    checkpoint.check_fields(f"{path}: figures", content["figures"], _FIGURES)
    made_by = recipe.parse(content["recipe"])
    return Ticket(
        recipe=made_by,
        model=load_model(made_by.network, content["model"], str(path)),
        figures=content["figures"],
        images_seen=content["images_seen"],
        seconds=content["seconds"],
        history=read_history(directory / run_log.FILE),
    )


def to_program(
    ticket: Ticket, provenance: Mapping[str, Any], examples: Tensor | None = None
) -> tuple[Program, Proof]:
    """The ticket's integer network, and what it was compared with on examples (noise unless given).

    Raises EvenspikeError where there can be none.
    """
    return make_program(ticket.recipe, ticket.model, provenance, examples)


def from_checkpoint(
    path: Path,
    made_by: Recipe,
    examples: npt.NDArray[np.uint8] | None = None,
    weight_bits: int = WEIGHT_BITS,
) -> tuple[Program, Proof, npt.NDArray[np.uint8]]:
    """The integer network of weights that lie in a file, its proof, and the inputs of that.

    path : of a state dict of torch or .safetensors, in any spelling (`lowering.states`).
    made_by : the recipe, of which the network, the data set and the method's balance count.
    examples : images or frames on which the two are compared; noise without them.
    weight_bits : as in `programs.to_program`.

    Raises EvenspikeError where the weights are not this network's, and where there is no Program.
    """
    check_possible(made_by)
    model = load_model(made_by.network, states.read_state(path), str(path))
    given = noise(model, DATA_SETS[made_by.data.name].side)
    network = follow(model, given if examples is None else torch.from_numpy(examples), made_by.name)
    provenance = {
        "source": str(path.name),
        "dataset": made_by.data.name,
        "recipe": made_by.text,
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "version": __version__,
        "torch": torch.__version__,
    }
    keep = programs.keeps_living(made_by)
    program, proof = programs.to_program(
        network, provenance, keep_living=keep, may_be_silent=True, weight_bits=weight_bits
    )
    return programs.without_channels(program, model), proof, network.inputs


def _accuracy_after(history: list[dict[str, Any]], phase: str) -> float | None:
    for entry in history:
        if entry["event"] == "trained" and entry["phase"] == phase:
            return float(entry["accuracy"])
    return None


def _hybrid(ticket: Ticket) -> dict[str, Any]:
    """What a run says of its learned neurons, and of the network as it was converted."""
    keys = ("leaks", "thresholds", "rounded_accuracy", "activity", "operations")
    converted = [one["accuracy"] for one in ticket.history if one["event"] == "converted"]
    return {
        **{key: ticket.figures[key] for key in keys},
        "converted_accuracy": converted[-1] if converted else None,
    }


@torch.no_grad()
def shipped_predictions(model: networks.SpikingNetwork) -> list[int]:
    """Classes that the float network gives the images that come with the package."""
    pixels = torch.from_numpy(shipped()[0]).to(next(model.parameters()).device)
    model.eval()
    return [int(label) for label in model(pixels).sum(0).argmax(1).cpu()]


def dense_test_accuracy(
    directory: Path, network: networks.NetworkConfig, data: Dataset, progress: Progress = silent
) -> Any:
    """Percent, in float32 and with the network's T; None where the run keeps no dense network."""
    path = directory / "dense.pt"
    if not path.is_file():
        return None
    content = checkpoint.read(path, _DENSE)
    model = networks.channels_last(load_model(network, content["model"], str(path)))
    model = model.to(data.test.images.device)
    what = "measuring the dense network on the test set"
    return evaluate(model, data.test, batch=100, progress=progress, what=what)["accuracy"]


def export(
    directory: Path,
    out: Path,
    data: Dataset,
    command: str,
    notes: str = "",
    progress: Progress = silent,
) -> tuple[Program, Path, Proof]:
    """Write the Program and its card, with its proof; test accuracy is measured here, once.

    `out` is a folder, in which the files get the recipe's name, or a ``.safetensors`` file.
    """
    ticket = load_ticket(directory)
    device = data.test.images.device
    program, proof = to_program(ticket, {}, data.train.images[:EXAMPLES])
    model = networks.channels_last(ticket.model.to(device))
    tested = evaluate(
        model, data.test, batch=100, progress=progress, what="measuring the ticket on the test set"
    )
    pes = ticket.recipe.method.pes
    rounds = [
        {
            "round": entry["round"],
            "sparsity": entry["sparsity"],
            "evenness": entry["evenness"],
            "validation_accuracy": _accuracy_after(ticket.history, f"round {entry['round']}"),
        }
        for entry in ticket.history
        if entry["event"] == "pruned"
    ]
    provenance: dict[str, Any] = {
        "recipe": ticket.recipe.text,
        "seed": ticket.recipe.seed,
        "command": command,
        "dataset": ticket.recipe.data.name,
        "network": ticket.recipe.network.name,
        "width": ticket.recipe.network.width,
        "method": ticket.recipe.method.name,
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "version": __version__,
        "torch": torch.__version__,
        "machine": platform.machine(),
        "images_seen": ticket.images_seen,
        "seconds": round(ticket.seconds),
        "sparsity": program.sparsity,
        "pes": pes,
        "utilization": paper_metrics(program, pes).layer_mean,
        "dense_test_accuracy": dense_test_accuracy(
            directory, ticket.recipe.network, data, progress
        ),
        "dense_timesteps": ticket.recipe.dense.timesteps,
        "validation_accuracy": ticket.figures["validation_accuracy"],
        "test_images": len(data.test),
        "float_test_accuracy": tested["accuracy"],
        "integer_test_accuracy": integer_accuracy(program, data.test, progress),
        "firing_rate": tested["firing_rate"],
        "rounds": rounds,
        "curve": [
            [entry["images_seen"], entry["accuracy"]]
            for entry in ticket.history
            if entry["event"] == "validation"
        ],
        "curve_images": min(ticket.recipe.compute.round_validation, ticket.recipe.data.validation),
        "activity": activity(program, data.train.images[:ACTIVITY_IMAGES], progress),
        "notes": notes,
        "proof": str(proof),
    }
    if all(name in ticket.figures for name in RESIDUAL):
        provenance["residual"] = {name: ticket.figures[name] for name in RESIDUAL}
    if "leaks" in ticket.figures:
        provenance["hybrid"] = _hybrid(ticket)
    if ticket.recipe.start.digest:
        provenance["start"] = dataclasses.asdict(ticket.recipe.start)
    if ticket.recipe.data.name == "fmnist":
        provenance["shipped_predictions"] = shipped_predictions(model)
    program = dataclasses.replace(program, provenance={**program.provenance, **provenance})
    path = out if out.suffix == ".safetensors" else out / f"{program.name}.safetensors"
    contents: dict[str, str | bytes] = {
        path.name: program.to_bytes(),
        path.with_suffix(".md").name: card(program),
    }
    files.write_files(contents, path.parent)
    return program, path, proof
