"""Start: the network that a fine-tuning begins with, from a Program or from a finished run.

A Program holds integers with batch norm and gain folded in. The network is rebuilt around them so
that it does what the Program does, to the last weight: a folded filter becomes the convolution's,
divided by what folding multiplies it with. Its batch norm is fitted again on training images:
the statistics become those of the currents, gamma the deviation and beta what undoes both, so
that nothing changes in evaluation, and next to nothing when training goes on with the statistics of
a batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from evenspike_core.errors import EvenspikeError
from evenspike_core.program import Coding, Layer, Program, Segment
from evenspike_train import networks
from evenspike_train.export.programs import follow, noise
from evenspike_train.lowering.network import FloatLayer
from evenspike_train.lowering.segments import FloatSegment
from evenspike_train.networks.base import ConvNorm
from evenspike_train.networks.source import names_a_source
from evenspike_train.recipes import recipe as recipes
from evenspike_train.recipes.recipe import Recipe
from evenspike_train.runs import export as exporting
from evenspike_train.tickets import masks as weight_masks

FIT_IMAGES = 512
"""Training images on which the batch norm of a rebuilt network is fitted."""

_BATCH = 64
_TESTED = ("integer_test_accuracy", "test_images")


@dataclass(frozen=True)
class Start:
    """A network to begin with.

    model: in evaluation mode, with its masks attached. recipe: that it was trained by. name: what
    to call it. digest: SHA-256 of what it was read from. accuracy: percent of `tested` test images
    that its integers get right, both 0 where that is not known. rebuilt: whether its batch norm has
    to be fitted (`fit_norms`).
    """

    model: networks.SpikingNetwork
    recipe: Recipe
    name: str
    digest: str
    accuracy: float
    tested: int
    rebuilt: bool

    @property
    def sparsity(self) -> float:
        """Share of the prunable weights that are gone."""
        return weight_masks.sparsity(weight_masks.read(self.model))


def from_run(directory: Path) -> Start:
    """The ticket of a finished run, as it was trained; raises EvenspikeError without one."""
    ticket = exporting.load_ticket(directory)
    weight_masks.attach(ticket.model)
    digest = hashlib.sha256((directory / "ticket.pt").read_bytes()).hexdigest()
    return Start(ticket.model, ticket.recipe, ticket.recipe.name, digest, 0.0, 0, rebuilt=False)


def from_program(program: Program) -> Start:
    """The network of a Program that was trained here.

    Raises EvenspikeError, with the reason, for a Program that cannot be trained on: one that does
    not say by which recipe it was made, whose network is a module of the user's, or that does not
    take pixels.
    """
    made_by = _recipe_of(program)
    model = networks.build(made_by.network)
    modules = dict(networks.prunable(model))
    frame = noise(model, program.shape[-1])
    if program.encoder.coding is not Coding.DIRECT:
        raise _cannot(program, f"its encoder is {program.encoder.coding}, not direct")
    fresh = follow(model, frame).layers
    if [layer.name for layer in fresh] != [layer.name for layer in program.layers]:
        raise _cannot(program, "its layers are not those of the network that its recipe names")
    masks = {}
    for real, layer in zip(fresh, program.layers, strict=True):
        gain = 1.0 if real.last else made_by.network.neuron.gain
        one = layer.threshold / made_by.network.neuron.threshold  # what an integer of 1 stands for
        finer = one * 2.0**layer.shift
        pairs = _with_weights(program, real, layer)
        for number, (folded, integers) in enumerate(pairs):
            (name,) = folded.modules
            weight = _unfolded(program, layer.name, folded, integers, modules[name]) / finer
            bias = torch.from_numpy(layer.bias.astype("float64")) / (finer * gain)
            _set(model, name, weight, bias if number == 0 else torch.zeros_like(bias))
            masks[name] = weight != 0
    weight_masks.attach(model)
    weight_masks.write(model, masks)
    accuracy, tested = (program.provenance.get(key) for key in _TESTED)
    if type(accuracy) is not float or type(tested) is not int:  # a file of somebody's own
        accuracy, tested = 0.0, 0
    return Start(
        model.eval(),
        made_by,
        program.name,
        program.digest(),
        accuracy,
        tested,
        rebuilt=True,
    )


def _cannot(program: Program, why: str) -> EvenspikeError:
    return EvenspikeError(f"{program.name}: cannot be trained on: {why}")


def _recipe_of(program: Program) -> Recipe:
    """The recipe in a Program's provenance, of a network that can be rebuilt."""
    text = program.provenance.get("recipe")
    if not isinstance(text, str):
        raise _cannot(program, "it does not say by which recipe it was made")
    try:
        made_by = recipes.parse(text)
    except EvenspikeError as error:
        raise _cannot(program, f"its recipe is not one of this version: {error}") from error
    network = made_by.network
    if names_a_source(network.name):
        raise _cannot(
            program,
            f"its network is the module {network.name}, whose batch norm is folded, if it has one; "
            "give the run's folder",
        )
    if network.name.startswith(networks.LEARNED):
        raise _cannot(
            program,
            f"its network {network.name} has learned neurons, which are not told apart from the "
            "scale of its integers; give the run's folder",
        )
    if network.timesteps != program.timesteps or network.classes != program.classes:
        raise _cannot(program, "its recipe is of another network")
    return made_by


def _with_weights(
    program: Program, real: FloatLayer, layer: Layer
) -> list[tuple[FloatSegment, Segment]]:
    """Segments with weights of their own, as the network has them and as the Program does."""
    if len(real.segments) != len(layer.segments):
        raise _cannot(program, f"layer {layer.name} has {len(layer.segments)} segments")
    pairs = list(zip(real.segments, layer.segments, strict=True))
    return [(folded, integers) for folded, integers in pairs if folded.modules]


def _unfolded(
    program: Program, layer: str, folded: FloatSegment, integers: Segment, module: nn.Module
) -> Tensor:
    """A segment's integers, divided by what folding multiplies a weight with."""
    weight = cast("Tensor", module.weight).detach().double()
    found = torch.from_numpy(integers.weights.astype("float64"))
    if found.shape != folded.weight.shape or found.numel() != weight.numel():
        shapes = f"{tuple(found.shape)}, the network {tuple(folded.weight.shape)}"
        raise _cannot(program, f"layer {layer} has weights {shapes}")
    # Freshly made, all filters are folded with the same factor.
    largest = weight.abs().argmax()
    factor = torch.from_numpy(folded.weight).flatten()[largest] / weight.flatten()[largest]
    return (found / factor).reshape(weight.shape)


@torch.no_grad()
def _set(model: nn.Module, name: str, weight: Tensor, bias: Tensor) -> None:
    """Give a layer its weights; its bias is that of its batch norm where it has one."""
    module: Any = model.get_submodule(name)
    parent = model.get_submodule(name.rpartition(".")[0])
    module.weight.copy_(weight)
    if isinstance(parent, ConvNorm):
        if module.bias is not None:
            module.bias.zero_()
        parent.norm.bias.copy_(bias)
    else:
        module.bias.copy_(bias)


@contextmanager
def _watched(seen: Mapping[nn.Module, list[Tensor]]) -> Iterator[None]:
    """Collect count, sum and sum of squares of what each module takes, float64 [3, C] a call."""

    def look(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].double().transpose(0, 1).flatten(1)
        count = torch.full((len(x),), x.shape[1], dtype=x.dtype, device=x.device)
        seen[module].append(torch.stack([count, x.sum(1), x.square().sum(1)]))

    hooks = [module.register_forward_pre_hook(look) for module in seen]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def fit_norms(model: networks.SpikingNetwork, images: Tensor) -> None:
    """Give each batch norm the statistics of its currents on these images, uint8 [B, ...].

    In evaluation the network does what it did before.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    seen: dict[nn.Module, list[Tensor]] = {norm: [] for norm in norms}
    with _watched(seen):
        for part in images.split(_BATCH):
            model.eval()(part)
    for norm in norms:
        parts = seen[norm]
        count, total, squares = torch.stack(parts).sum(0)
        mean = total / count
        variance = (squares / count - mean.square()).clamp_min(0)
        known_mean, known_variance = (
            cast("Tensor", norm.running_mean),
            cast("Tensor", norm.running_var),
        )
        slope = norm.weight / torch.sqrt(known_variance + norm.eps)
        norm.bias.add_(slope * (mean - known_mean))
        norm.weight.copy_(slope * torch.sqrt(variance + norm.eps))
        known_mean.copy_(mean)
        known_variance.copy_(variance)


def check_teacher(called: str, teacher: Start, start: Start) -> None:
    """Raise EvenspikeError for a teacher of other classes or of other data."""
    theirs, ours = teacher.recipe, start.recipe
    if theirs.network.classes != ours.network.classes:
        raise EvenspikeError(
            f"teacher {called}: tells {theirs.network.classes} classes apart, {start.name} "
            f"{ours.network.classes}"
        )
    if theirs.data.name != ours.data.name:
        raise EvenspikeError(
            f"teacher {called}: was trained on {theirs.data.name}, {start.name} on {ours.data.name}"
        )
