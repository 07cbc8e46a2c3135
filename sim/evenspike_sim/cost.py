"""The mapper's cost: the cycle model's own count of one layer under a candidate mapping."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evenspike_core.arch import Arch
from evenspike_core.fixed import mask_type
from evenspike_core.mapping import Activity, Cost, LayerMapping, rounds
from evenspike_core.pack import Packed, describe, least_words, pack_layer
from evenspike_core.program import Program
from evenspike_sim.accelerator import Accelerator
from evenspike_sim.spikes import Masks


def layer_cost(arch: Arch, inputs: Sequence[Masks]) -> Cost:
    """Cost function for `mapping.choose`.

    inputs: per layer, spikes [channels, H, W] of its output to calibrate with; the images of a
    batch all have them. Each layer runs alone from a reset, so its first load is not hidden: a
    constant for all its candidates.
    """

    def cost(
        program: Program,
        index: int,
        before: Sequence[LayerMapping],
        candidate: LayerMapping,
        limit: int | None = None,
    ) -> int:
        mapping, layer = (*before, candidate), program.layers[index]
        batch = mapping[0].images
        if limit is not None and not candidate.resident:
            # The port hands on one word a cycle, and every round loads all of its pass again.
            groups = arch.groups(program.timesteps)
            times = rounds(candidate, layer.size, arch, groups, batch)
            bound = times * least_words(layer, candidate, arch)
            if bound >= limit:
                return bound
        descriptor, stream = pack_layer(program, mapping, index, arch)
        # The layers before it only lend their block order; none of them runs.
        sources = [describe(program, mapping, s.source) for s in descriptor.segments]
        layers = [describe(program, mapping, 0)] + [sources[0]] * (index - 1) + [descriptor]
        for source, segment in zip(sources, descriptor.segments, strict=True):
            layers[segment.source] = source
        packed = Packed(
            program.name,
            arch,
            program.timesteps,
            program.shape,
            tuple(layers),
            stream,
            program.layers[0],
            program,
        )
        run = Accelerator(packed, only=index).run_layer(
            index, [_copies(inputs[s.source], batch) for s in descriptor.segments]
        )
        return run.cycles

    return cost


def _copies(spikes: Masks, batch: int) -> Masks:
    """The spikes of so many images that are alike."""
    return spikes if batch == 1 else np.repeat(spikes[None], batch, axis=0)


def draw(program: Program, activity: Activity, seed: int = 0) -> list[Masks]:
    """Spikes of every layer, drawn at the given share of active neurons per channel.

    An active neuron gets a uniformly random non-zero mask: the cycles of a group depend on whether
    a neuron is active in it, not on which of its timesteps are. So in a network of several groups
    it is active in nearly all of them. Without activity a layer gets a share of 1/4.
    """
    rng = np.random.default_rng(seed)
    drawn = []
    for index, layer in enumerate(program.layers):
        share = activity[index] if index < len(activity) else None
        rate = np.full(layer.filters, 0.25) if share is None else share
        active = rng.random(layer.output) < rate[:, None, None]
        masks = rng.integers(1, 1 << program.timesteps, layer.output)
        drawn.append(np.where(active, masks, 0).astype(mask_type(program.timesteps)))
    return drawn
