"""A network as a `Program`: in training or finished; and what the mapper is told about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from evenspike_core.compact import compact
from evenspike_core.data import DATA_SETS
from evenspike_core.errors import EvenspikeError
from evenspike_core.fixed import WEIGHT_BITS
from evenspike_core.narrow import BITS, narrow
from evenspike_core.program import TIMESTEPS_MAX, Coding, Program
from evenspike_core.progress import Progress, silent
from evenspike_train import networks
from evenspike_train.export.integer import quantised_forward
from evenspike_train.export.powers import normalised
from evenspike_train.export.quantize import Quantised, quantise
from evenspike_train.lowering import Network, import_network
from evenspike_train.lowering.proof import LIMIT, Proof, prove
from evenspike_train.networks.bernoulli import HOST_SEED
from evenspike_train.recipes.recipe import Recipe
from evenspike_train.tickets import masks as weight_masks

ACTIVITY_IMAGES = 256
"""Training images over which the firing rates for the mapper are measured."""


def impossible(recipe: Recipe) -> str:
    """Why no Program can be made of what the recipe trains; empty where one can."""
    steps = recipe.network.timesteps
    if steps > TIMESTEPS_MAX:
        return f"the network has {steps} timesteps; a Program holds {TIMESTEPS_MAX} at most"
    if recipe.network.activation == "relu":
        return "the network is a twin with ReLU, which has no spikes"
    return ""


def check_possible(recipe: Recipe) -> None:
    """Raise EvenspikeError where no Program can be made of what the recipe trains."""
    reason = impossible(recipe)
    if reason:
        raise EvenspikeError(f"{recipe.name}: cannot be exported: {reason}")


def to_program(
    network: Network,
    provenance: Mapping[str, Any] | None = None,
    *,
    keep_living: bool = False,
    limit: float = LIMIT,
    may_be_silent: bool = False,
    weight_bits: int = WEIGHT_BITS,
) -> tuple[Program, Proof]:
    """The integer network, and the proof that it does what the module does.

    keep_living : weights that would round to zero become +1 or -1.
    limit : share of a layer's spikes that may differ.
    may_be_silent : whether a network counts of which nothing spikes on the examples.
    weight_bits : 16, or 8 for the layers of which the proof then holds, too, as long as no other
        example gets another class than with 16.

    Raises EvenspikeError where there is none, or one that differs by more.
    """
    if weight_bits not in (BITS, WEIGHT_BITS):
        raise EvenspikeError(f"weight_bits: {weight_bits!r}; {(BITS, WEIGHT_BITS)} are possible")
    network = normalised(network)
    quantised = quantise(network, keep_living)
    program = Program(
        name=network.name,
        timesteps=network.timesteps,
        shape=network.shape,
        layers=quantised.layers,
        provenance={
            **(provenance or {}),
            "weights_rounded_to_zero": sum(quantised.lost.values()),
        },
    )
    proof = prove(network, program, quantised.exponents, quantised.lost, limit)
    proof.check(may_be_silent=may_be_silent)
    if weight_bits == WEIGHT_BITS:
        return program, proof
    return _narrowed(network, program, quantised, proof, keep_living=keep_living)


def _narrowed(
    network: Network, program: Program, quantised: Quantised, proof: Proof, *, keep_living: bool
) -> tuple[Program, Proof]:
    """The Program with 8-bit weights in the layers in which they pass the proof, and its proof.

    The layers that differ most go back to 16 bits until they all pass, and no more examples get
    another class than with 16 bits in all.
    """
    found = narrow(program, network.inputs, limit=proof.limit, keep_living=keep_living)
    halved = {one.name: one.halved for one in found.layers if one.halved}
    while halved:
        layers = tuple(
            after if after.name in halved else before
            for before, after in zip(program.layers, found.program.layers, strict=True)
        )
        exponents = {name: n - halved.get(name, 0) for name, n in quantised.exponents.items()}
        lost = {
            after.name: quantised.lost[after.name] + before.nnz - after.nnz
            for before, after in zip(program.layers, layers, strict=True)
        }
        candidate = replace(
            program,
            layers=layers,
            provenance={**program.provenance, "weights_rounded_to_zero": sum(lost.values())},
        )
        tried = prove(network, candidate, exponents, lost, proof.limit)
        beyond = [one for one in tried.layers if one.name in halved and one.beyond(tried.limit)]
        if not beyond and tried.changed <= proof.changed:
            return candidate, tried
        worst = max(
            beyond or [one for one in tried.layers if one.name in halved],
            key=lambda one: one.different,
        )
        del halved[worst.name]
    return program, proof


def follow(
    model: networks.SpikingNetwork, examples: Tensor | None = None, name: str = ""
) -> Network:
    """One of our networks in real numbers, with all its timesteps.

    examples : uint8, [B, C, H, W] or frames [B, T, C, H, W]; noise unless given.
    """
    if examples is None:
        examples = noise(model)
    steps = model.config.timesteps
    if examples.dim() == 5:
        examples = examples[:, :steps]
    searched, model.timesteps = model.timesteps, steps  # a search may run on fewer
    drawn = model.config.input == "bernoulli"
    try:
        return import_network(
            model,
            examples,
            timesteps=steps if drawn else None,
            name=name or model.config.name,
            encoder=Coding.RATE if drawn else Coding.DIRECT,
            names=model.layer_names,
            time_axis=1,
            seed=HOST_SEED if drawn else 0,
        )
    finally:
        model.timesteps = searched


def unfollowable(model: networks.SpikingNetwork, examples: Tensor) -> str:
    """Why a network has no integer form, as far as one look tells; empty where it has one."""
    try:
        follow(model, examples)
    except EvenspikeError as error:
        return str(error)
    return ""


def noise(model: networks.SpikingNetwork, side: int = 0) -> Tensor:
    """Images of noise, uint8 [2, C, side, side], the same each time; 0 means the network's side."""
    side = side or model.image_size
    shape = (2, model.config.in_channels, side, side)
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def keeps_living(recipe: Recipe) -> bool:
    """Whether weights that would round to zero stay: a balanced or a given mask is held exactly."""
    return recipe.method.balancing != "none" or bool(recipe.start.digest)


def make_program(
    recipe: Recipe,
    model: networks.SpikingNetwork,
    provenance: Mapping[str, Any],
    examples: Tensor | None = None,
) -> tuple[Program, Proof]:
    """The integer network, and its proof; a balanced mask stays balanced to the last weight.

    examples : uint8, on which it is compared with the model; noise unless given.

    Raises EvenspikeError where there can be none.
    """
    check_possible(recipe)
    if examples is None:
        examples = noise(model, DATA_SETS[recipe.data.name].side)
    network = follow(model, examples, recipe.name)
    keep = keeps_living(recipe)
    program, proof = to_program(network, provenance, keep_living=keep, may_be_silent=True)
    return without_channels(program, model), proof


def without_channels(program: Program, model: networks.SpikingNetwork) -> Program:
    """The Program without the channels that make no difference, if whole ones were pruned.

    A network that was pruned weight by weight keeps a channel that nothing reads any more: its
    filters are counted by the balance and by the paper's convention.
    """
    return compact(program) if weight_masks.of_channels(weight_masks.read(model)) else program


@torch.no_grad()
def activity(
    program: Program, images: Tensor, progress: Progress = silent, batch: int = 32
) -> dict[str, list[float]]:
    """Share of active neurons (at least one spike) of each channel, by layer: for the mapper.

    images: uint8 [B, C, H, W], or frames [B, T, C, H, W], of the training set; the mapper must not
    know the test set.
    """
    sums: dict[str, Tensor] = {}
    for number, part in enumerate(images.split(batch)):
        progress("activity of the integer network", number * batch, len(images))
        spikes = quantised_forward(program, part).spikes
        for layer, fired in zip(program.layers, spikes, strict=False):
            share = fired.amax(0).mean((2, 3)).sum(0).to(torch.float64)
            sums[layer.name] = sums.get(layer.name, torch.zeros_like(share)) + share
    return {
        name: [round(float(value), 4) for value in total / len(images)]
        for name, total in sums.items()
    }
