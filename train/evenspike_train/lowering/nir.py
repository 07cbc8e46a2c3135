"""NIR: a graph of the neuromorphic intermediate representation as a `Network`.

NIR states neurons in continuous time and leaves the step out of the file; this reads them with
forward Euler, as the frameworks that write it do:

    v <- v + dt / tau * (v_leak - v + R * I);   s = v > v_threshold;   v <- v_reset where s

The graph becomes a module of torch, which is then followed like any other, so that the same proof
judges it. It has no batch norm, max-pool or sum: what comes by several edges adds up, and a
threshold from 0 to below 1 behind the sum over 2x2 spikes is a max-pool. Any other threshold is a
layer of neurons without a memory.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evenspike_core.errors import EvenspikeError
from evenspike_core.program import Coding
from evenspike_train.lowering.importing import import_network
from evenspike_train.lowering.inputs import EXAMPLES, check_options, chosen, plain
from evenspike_train.lowering.network import Network
from evenspike_train.lowering.neurons import Reset
from evenspike_train.lowering.nir_graph import NirModule, expanded

_RATE = 0.3
"""Of the spikes on which a graph is followed where no example is given."""

_SOFT_BEFORE = (1, 0, 5)
"""Versions before this one know no v_reset, and subtract the threshold."""


def _read(path: Path) -> tuple[Any, tuple[int, ...]]:
    """(graph, version) of a file."""
    try:
        files = importlib.import_module("nir.serialization")
    except ImportError as error:
        raise EvenspikeError(f"{path}: to read it, install nir (pip install nir)") from error
    try:
        # Its check of shapes does not know groups; ours is a run.
        graph = files.read(path, type_check=False)
        version = str(files.read_version(path))
    except Exception as error:  # what is no such file can raise anything
        raise EvenspikeError(f"{path}: not a readable NIR file: {error}") from error
    numbers = tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
    return graph, numbers


def import_nir(
    graph: Any,
    dt: float | None,
    example: Tensor | np.ndarray | None = None,
    *,
    timesteps: int | None = None,
    reset: Reset | str | None = None,
    encoder: Coding | str | None = None,
    scale: float | None = None,
    name: str | None = None,
    seed: int = 0,
) -> Network:
    """A graph (`nir.NIRGraph`) or the path of its file as a `Network`.

    Parameters
    ----------
    dt : the timestep, in the unit of the graph's time constants.
    example : as for `import_network`, with time first; spikes at random unless given.
    timesteps : of such spikes, or of an image.
    reset : "hard" or "soft" for a file of an early version, which does not say it.

    Raises EvenspikeError for what has no integer form, naming the node and the field.
    """
    name = name or (Path(graph).stem if isinstance(graph, (str, Path)) else "nir")
    step = _step(dt, name)
    check_options(timesteps, scale, 0, seed)
    encoder = chosen("encoder", encoder, Coding)
    version: tuple[int, ...] = ()
    if isinstance(graph, (str, Path)):
        graph, version = _read(Path(graph))
    nodes, edges = expanded(graph)
    how = _reset(reset, name, nodes, version)
    given = None if example is None else plain(example, name)
    images = given is not None and given.dim() in (2, 4)
    if timesteps is None and (given is None or images):
        raise EvenspikeError(f"{name}: give timesteps=, or an example with an axis of them")
    drawn = encoder in (Coding.RATE, Coding.LATENCY)  # frames, whatever the example is
    repeats = timesteps if images and not drawn else None
    module = NirModule(nodes, edges, step, how, name=name, repeats=repeats)
    if given is None:
        given = _spikes(module, timesteps or 1, seed)
    return import_network(
        module, given, timesteps=timesteps, encoder=encoder, scale=scale, name=name, seed=seed
    )


def _step(dt: Any, name: str) -> float:
    """The timestep as a number; raises EvenspikeError for what is none."""
    if dt is None:
        raise EvenspikeError(
            f"{name}: a graph states no timestep; give dt=, above 0, in its unit of time"
        )
    number = isinstance(dt, Real) and not isinstance(dt, bool)
    if not number or not 0 < float(dt) < math.inf:
        raise EvenspikeError(f"{name}: dt is {dt!r}; a number above 0, in the graph's unit of time")
    return float(dt)


def _reset(
    reset: Reset | str | None, name: str, nodes: Mapping[str, Any], version: tuple[int, ...]
) -> Reset:
    """What a spike does; raises EvenspikeError where that is unknown, or not in NIR."""
    if reset is not None:
        if reset not in (Reset.HARD, Reset.SOFT):
            raise EvenspikeError(f'{name}: reset {reset!r}; "hard" or "soft" is possible')
        return Reset(reset)
    spiking = any(type(node).__name__ in ("LIF", "IF") for node in nodes.values())
    if spiking and version and version < _SOFT_BEFORE:
        raise EvenspikeError(
            f"{name}: a file of NIR {'.'.join(map(str, version))} has no v_reset, and its writers "
            'meant one thing or the other; say reset="hard" (to 0) or reset="soft"'
        )
    return Reset.HARD


def _spikes(module: NirModule, timesteps: int, seed: int) -> Tensor:
    """Spikes at random for the graph's input."""
    entry = module.steps[module.entry]
    shape = getattr(entry, "takes", None)
    if shape is None:
        raise EvenspikeError(f"{entry.where}: states no shape; give an example")
    if len(shape) not in (1, 3):
        raise EvenspikeError(
            f"{entry.where}: takes {shape}; channels, or channels, rows and columns, are possible"
        )
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(timesteps, EXAMPLES, *shape, generator=generator)
    return (drawn < _RATE).double()
