"""Exchange: spikes of one inference and the masks of its weights, as other simulators read them.

- `npz`: the arrays that `evenspike sim --trace` reads (`recording`), and beside them the weights'
  masks, bool [filters, channels, K, K], one for each convolution.
- `prosperity`: what the traces with LoAS's networks are that Prosperity's simulator ships: a
  dictionary of two lists, `Conv2d` and `Linear`, with a bool tensor of the spikes that come into
  each layer, [T, C, H, W] and [T, C], in the order in which the layers run; a shortcut with weights
  is a convolution of its own. It has no weights: that simulator takes them as dense.
- `sata`: SATA_Sim's workload, a YAML of the layers' shapes, the timesteps and one sparsity of the
  spikes. Neither masks nor single spikes are in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from evenspike_core.errors import EvenspikeError
from evenspike_core.fixed import pack_masks
from evenspike_core.metrics import spike_sparsity
from evenspike_core.program import Layer, Program
from evenspike_core.recording import Masks, Trace
from evenspike_core.topology import INPUT, Convolution, LayerShape, Topology

FORMATS = ("npz", "prosperity", "sata")

Planes = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Recorded:
    """Spikes of one inference, and where its network has them the masks of its weights.

    masks: bool [filters, channels, K, K] by layer, one for each convolution that is no identity.
    """

    name: str
    trace: Trace
    masks: Mapping[str, tuple[Planes, ...]] = field(default_factory=dict, repr=False)


def record(program: Program, outputs: Sequence[Masks], name: str | None = None) -> Recorded:
    """The spikes that a Program's layers hand on, and its masks.

    outputs: masks [C, H, W] of each layer, as `reference.run` gives them; those of the last layer
        are not looked at.

    Raises EvenspikeError for a network that a trace cannot describe.
    """
    first, *body = program.layers
    if not first.host:
        raise EvenspikeError(f"{program.name}: layer {first.name} is no encoder")
    names = {0: INPUT} | {number: one.name for number, one in enumerate(body, start=1)}
    shapes = tuple(_shape(program, layer, names) for layer in body)
    topology = Topology(first.output, shapes)
    for layer in body:
        if topology.shapes[layer.name] != layer.output:
            raise EvenspikeError(
                f"{program.name}: layer {layer.name} gives {layer.output}, a trace would have "
                f"{topology.shapes[layer.name]}"
            )
    spikes = {names[n]: outputs[n] for n in names if names[n] in topology.sources}
    masks = {
        layer.name: tuple(segment.weights != 0 for _, segment in layer.parameters) for layer in body
    }
    return Recorded(name or program.name, Trace(topology, spikes, program.timesteps), masks)


def _shape(program: Program, layer: Layer, names: Mapping[int, str]) -> LayerShape:
    where = f"{program.name}: layer {layer.name}"
    if len(layer.segments) > 2:
        raise EvenspikeError(f"{where} has {len(layer.segments)} inputs, a trace describes 2")
    found = []
    for index, segment in enumerate(layer.segments):
        padding = -segment.offset[0]
        if segment.source not in names or segment.offset[1] != -padding or padding < 0:
            raise EvenspikeError(f"{where}: its input is not one that a trace describes")
        found.append(
            Convolution(
                names[segment.source],
                segment.kernel,
                segment.stride,
                padding,
                segment.average,
                layer.is_identity(index),
            )
        )
    return LayerShape(layer.name, layer.filters, tuple(found), layer.pool)


def description(topology: Topology) -> list[dict[str, Any]]:
    """The tables of a topology, as `topology.described` reads them."""
    tables = []
    for layer in topology.layers:
        table: dict[str, Any] = {"name": layer.name, "filters": layer.filters}
        table |= _convolution(layer.convolutions[0]) | {"pool": layer.pool}
        for one in layer.convolutions[1:]:
            table["shortcut"] = _convolution(one) | ({"identity": True} if one.identity else {})
        tables.append(table)
    return tables


def _convolution(one: Convolution) -> dict[str, Any]:
    keys = ("source", "kernel", "stride", "padding", "average")
    return {key: getattr(one, key) for key in keys}


def arrays(given: Recorded) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an `.npz` that `evenspike sim --trace` reads."""
    trace = given.trace
    found: dict[str, npt.NDArray[Any]] = {}
    listed: set[str] = set()
    for layer in trace.topology.layers:
        source = layer.convolutions[0].source
        if source not in listed:
            listed.add(source)
            found[f"{layer.name}_in"] = trace.spikes[source]
    found["timesteps"] = np.array(trace.timesteps)
    if trace.topology.described:
        found["layers"] = np.array(json.dumps(description(trace.topology)))
    return found


def weights(given: Recorded) -> dict[str, Planes]:
    """The masks of the weights by `LAYER`, and `LAYER.shortcut` of a second convolution."""
    return {
        f"{name}{'.shortcut' if number else ''}": mask
        for name, masks in given.masks.items()
        for number, mask in enumerate(masks)
    }


def planes(masks: Masks, timesteps: int) -> Planes:
    """Spikes [T, ...] of masks [...]."""
    times = np.arange(timesteps, dtype=masks.dtype).reshape(-1, *[1] * masks.ndim)
    return (masks[None] >> times & 1).astype(bool)


def convolutions(topology: Topology) -> Iterator[tuple[str, LayerShape, Convolution]]:
    """Every convolution with weights of its own, and a name for it."""
    for layer in topology.layers:
        for number, one in enumerate(layer.convolutions):
            if not one.identity:
                yield f"{layer.name}{'.shortcut' if number else ''}", layer, one


def _flat(topology: Topology, one: Convolution) -> bool:
    """Whether a convolution is a fully connected layer: its input is one position."""
    _, height, width = topology.shapes[one.source]
    return (height // one.average, width // one.average) == (1, 1)


def averaged(topology: Topology) -> list[str]:
    """The convolutions whose input is an average of spikes, which is none."""
    return [name for name, _, one in convolutions(topology) if one.average > 1]


def prosperity(given: Recorded) -> dict[str, list[Planes]]:
    """The two lists, without the layers that are `averaged`: what comes into them is no spike."""
    trace = given.trace
    found: dict[str, list[Planes]] = {"Conv2d": [], "Linear": []}
    left_out = averaged(trace.topology)
    for name, _, one in convolutions(trace.topology):
        if name in left_out:
            continue
        spikes = planes(trace.spikes[one.source], trace.timesteps)
        if _flat(trace.topology, one):
            found["Linear"].append(spikes.reshape(trace.timesteps, -1))
        else:
            found["Conv2d"].append(spikes)
    return found


def masks_of(lists: Mapping[str, Sequence[npt.NDArray[Any]]]) -> list[Masks]:
    """The masks of the two lists, convolutions first: [C, H, W], or [C] of a linear layer."""
    return [pack_masks(np.asarray(one)) for key in ("Conv2d", "Linear") for one in lists[key]]


def sata(given: Recorded) -> str:
    """The YAML."""
    trace = given.trace
    silent = spike_sparsity(trace.spikes.values(), trace.timesteps)
    lines = ["General:", f"  timestep: {trace.timesteps}", f"  sparsity: {silent:.6f}"]
    lines += ["", "Layers:"]
    for name, layer, one in convolutions(trace.topology):
        channels, height, width = trace.topology.shapes[one.source]
        values = {
            "IFMAP Height": height // one.average,
            "IFMAP Width": width // one.average,
            "Filter Height": one.kernel,
            "Filter Width": one.kernel,
            "Channels": channels,
            "Num Filter": layer.filters,
            "Strides": one.stride,
        }
        lines += [f"  - name: {json.dumps(name)}", "    attributes:"]
        lines += [f"      {key}: {value}" for key, value in values.items()]
    return "\n".join(lines) + "\n"
