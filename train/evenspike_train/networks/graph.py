"""Graph: which module of a network computes which input of which layer.

A network says it once; folding, export and whatever asks for the work of a weight read it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Branch:
    """One input of a layer; what several branches compute adds up before the neurons.

    Parameters
    ----------
    source : index of the layer whose spikes come in, or `evenspike_core.program.PIXELS`.
    weight : name of the convolution or linear module; None for the identity, which adds the
        source's spikes as they are.
    norm : name of the batch norm behind it, if there is one.
    average : side of the source's map where a linear module takes its mean over positions;
        1 where it takes the map as it is.
    """

    source: int
    weight: str | None
    norm: str | None = None
    average: int = 1


@dataclass(frozen=True)
class GraphLayer:
    """One layer of neurons, or the read-out (`last`), which has none.

    Parameters
    ----------
    name : of the layer in the exported Program.
    size : (height, width) of its map before the max-pool.
    pool : side of the max-pool behind the neurons; 1 for none.
    """

    name: str
    branches: tuple[Branch, ...]
    size: tuple[int, int]
    pool: int = 1
    last: bool = False


Graph = tuple[GraphLayer, ...]
"""In the order of the forward pass; a source lies before its readers."""
