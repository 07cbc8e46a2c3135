"""A finished run becomes a `Program` file and a card that says what it is.

The Program's provenance holds everything the card shows, so the card can always be written
again from the file.
"""

from __future__ import annotations

import datetime as dt
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evenspike.dataset import shipped
from evenspike.errors import EvenspikeError
from evenspike.program import Program
from evenspike_train import __version__, networks, recipe
from evenspike_train import masks as weight_masks
from evenspike_train.data import Dataset
from evenspike_train.integer import integer_accuracy, quantised_forward
from evenspike_train.quantize import quantise
from evenspike_train.recipe import Recipe
from evenspike_train.tickets.u_ticket import layer_mean_utilisation
from evenspike_train.trainer import evaluate


ACTIVITY_IMAGES = 256
"""Training images over which the firing rates for the mapper are measured."""


@dataclass(frozen=True)
class Ticket:
    """A trained network read back from a run's directory."""

    recipe: Recipe
    model: networks.VGG16
    figures: Mapping[str, Any]
    images_seen: int
    seconds: float
    history: list[dict[str, Any]]


def load_model(network: networks.NetworkConfig, state: Mapping[str, Tensor]) -> networks.VGG16:
    """Network with these weights; masks come from the state, whichever way they are stored.

    Raises EvenspikeError, naming the tensor, for one that is missing, unknown, of the wrong
    shape, or holds values that are not finite.
    """
    state = weight_masks.from_torch_prune(state)
    model = networks.build(network)
    if any(".parametrizations." in key for key in state):
        weight_masks.attach(model)
        # A layer that was never pruned may come as a plain weight.
        for key in [k for k in state if k.endswith(".weight")]:
            stem = key.removesuffix("weight") + "parametrizations.weight."
            if stem + "original" in model.state_dict():
                weight = state.pop(key)
                state[stem + "original"] = weight
                state[stem + "0.mask"] = torch.ones_like(weight, dtype=torch.bool)
    expected = model.state_dict()
    for key in sorted(expected.keys() - state.keys()):
        raise EvenspikeError(f"checkpoint: {key} is missing; is it a {network.name}?")
    for key in sorted(state.keys() - expected.keys()):
        raise EvenspikeError(f"checkpoint: {key} is unknown; is it a {network.name}?")
    for key, tensor in state.items():
        if tensor.shape != expected[key].shape:
            raise EvenspikeError(
                f"checkpoint: {key} has shape {tuple(tensor.shape)}, "
                f"the network {tuple(expected[key].shape)}"
            )
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise EvenspikeError(f"checkpoint: {key} holds values that are not finite")
    model.load_state_dict(state)
    return model.eval()


def read_history(path: Path) -> list[dict[str, Any]]:
    """Lines of a run's log, the latest of each event and phase (a resumed run may repeat one)."""
    latest: dict[tuple[str, str], dict[str, Any]] = {}
    if path.is_file():
        for line in path.read_text().splitlines():
            entry = json.loads(line)
            if entry["event"] in ("trained", "pruned"):
                key = entry["event"], entry["phase"]
                latest.pop(key, None)
                latest[key] = entry
    return list(latest.values())


def load_ticket(directory: Path) -> Ticket:
    """The finished ticket of a run; raises EvenspikeError where there is none."""
    path = directory / "ticket.pt"
    if not path.is_file():
        raise EvenspikeError(f"{path}: no such file; has the run finished?")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything
        raise EvenspikeError(f"{path}: not a readable checkpoint: {error}") from error
    for key in ("model", "recipe", "figures", "images_seen", "seconds"):
        if key not in content:
            raise EvenspikeError(f"{path}: holds no {key!r}")
    made_by = recipe.parse(content["recipe"])
    return Ticket(
        recipe=made_by,
        model=load_model(made_by.network, content["model"]),
        figures=content["figures"],
        images_seen=content["images_seen"],
        seconds=content["seconds"],
        history=read_history(directory / "log.jsonl"),
    )


def to_program(ticket: Ticket, provenance: Mapping[str, Any]) -> Program:
    """The integer network; a balanced mask stays balanced to the last weight."""
    keep = ticket.recipe.method.name == "u-ticket"
    quantised = quantise(ticket.model, keep_living=keep)
    return Program(
        name=ticket.recipe.name,
        timesteps=ticket.recipe.network.timesteps,
        shape=(ticket.recipe.network.in_channels, networks.IMAGE_SIZE, networks.IMAGE_SIZE),
        layers=quantised.layers,
        provenance={**provenance, "weights_rounded_to_zero": sum(quantised.lost.values())},
    )


def _accuracy_after(history: list[dict[str, Any]], phase: str) -> float | None:
    for entry in history:
        if entry["event"] == "trained" and entry["phase"] == phase:
            return float(entry["accuracy"])
    return None


@torch.no_grad()
def activity(program: Program, images: Tensor, batch: int = 32) -> dict[str, list[float]]:
    """Share of active neurons (at least one spike) of each channel, by layer: for the mapper.

    images: uint8 [B, C, 32, 32], of the training set; the mapper must not know the test set.
    """
    sums: dict[str, Tensor] = {}
    for part in images.split(batch):
        spikes = quantised_forward(program, part).spikes
        for layer, fired in zip(program.layers, spikes, strict=False):
            share = fired.amax(0).mean((2, 3)).sum(0).to(torch.float64)
            sums[layer.name] = sums.get(layer.name, torch.zeros_like(share)) + share
    return {
        name: [round(float(value), 4) for value in total / len(images)]
        for name, total in sums.items()
    }


@torch.no_grad()
def shipped_predictions(model: networks.VGG16) -> list[int]:
    """Classes that the float network gives the images that come with the package."""
    pixels = torch.from_numpy(shipped()[0]).to(next(model.parameters()).device)
    model.eval()
    return [int(label) for label in model(pixels).sum(0).argmax(1).cpu()]


def export(
    directory: Path, out: Path, data: Dataset, command: str, notes: str = ""
) -> tuple[Program, Path]:
    """Write ``<out>/<name>.safetensors`` and its card; test accuracy is measured here, once."""
    ticket = load_ticket(directory)
    device = data.test.images.device
    program = to_program(ticket, {})
    model = networks.channels_last(ticket.model.to(device))
    tested = evaluate(model, data.test, batch=100)
    masks = weight_masks.read(ticket.model)
    rounds = [
        {
            "round": entry["round"],
            "sparsity": entry["sparsity"],
            "utilisation": entry["utilisation"],
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
        "method": ticket.recipe.method.name,
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "version": __version__,
        "torch": torch.__version__,
        "machine": platform.machine(),
        "images_seen": ticket.images_seen,
        "seconds": round(ticket.seconds),
        "sparsity": program.sparsity,
        "utilisation": layer_mean_utilisation(masks, ticket.recipe.method.pes),
        "dense_validation_accuracy": _accuracy_after(ticket.history, "dense"),
        "validation_accuracy": ticket.figures["validation_accuracy"],
        "float_test_accuracy": tested["accuracy"],
        "integer_test_accuracy": integer_accuracy(program, data.test),
        "firing_rate": tested["firing_rate"],
        "rounds": rounds,
        "activity": activity(program, data.train.images[:ACTIVITY_IMAGES]),
        "notes": notes,
    }
    if ticket.recipe.data.name == "fmnist":
        provenance["shipped_predictions"] = shipped_predictions(model)
    program = to_program(ticket, provenance)
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{program.name}.safetensors"
    program.save(path)
    (out / f"{program.name}.md").write_text(card(program))
    return program, path


_ROUNDS = (
    "Validation accuracy of a round is that of the weights after its (short) training, on the "
    "first held-out images and with the round's number of timesteps."
)


def _percent(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.2f} %"


def card(program: Program) -> str:
    """The Markdown card of a shipped Program, from its provenance alone."""
    p = program.provenance
    rows = [
        ("data set", p["dataset"]),
        ("method", f"{p['method']}, seed {p['seed']}"),
        (
            "weights",
            f"{program.nnz:,} of {program.weights:,} alive ({program.sparsity:.2%} sparse)",
        ),
        ("utilisation (weights, layer mean)", f"{p['utilisation']:.4f}"),
        ("test accuracy, integers", _percent(p["integer_test_accuracy"])),
        ("test accuracy, float32", _percent(p["float_test_accuracy"])),
        ("validation accuracy", _percent(p["validation_accuracy"])),
        ("validation accuracy before pruning", _percent(p["dense_validation_accuracy"])),
        ("firing rate", f"{p['firing_rate']:.4f} spikes per neuron and timestep (float, test)"),
        ("timesteps", str(program.timesteps)),
        ("training", f"{p['images_seen']:,} images passed in {p['seconds'] / 60:.0f} minutes"),
        ("weights rounded to zero", str(p["weights_rounded_to_zero"])),
        ("made", f"{p['date']}, evenspike {p['version']}, torch {p['torch']}, {p['machine']}"),
        ("digest", f"`{program.digest()}`"),
    ]
    lines = [f"# {program.name}", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in rows]
    lines += ["", "```", p["command"], "```", ""]
    if p["notes"]:
        lines += [p["notes"], ""]
    if p["rounds"]:
        lines += ["## Rounds", "", "| round | sparsity | utilisation | validation accuracy |"]
        lines += ["|---|---|---|---|"]
        for entry in p["rounds"]:
            score = entry["validation_accuracy"]
            lines.append(
                f"| {entry['round']} | {entry['sparsity']:.2%} | {entry['utilisation']:.4f} | "
                f"{'see above' if score is None else f'{score:.1f} %'} |"
            )
        lines += [
            "",
            _ROUNDS,
            "",
        ]
    lines += ["## Recipe", "", "```toml", p["recipe"].rstrip(), "```", ""]
    return "\n".join(lines)
