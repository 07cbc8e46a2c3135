"""NIR graphs as modules: nodes and edges, flattened, in an order in which they can be computed."""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from torch import Tensor, nn

from evenspike_core.errors import EvenspikeError
from evenspike_train.lowering.neurons import Reset
from evenspike_train.lowering.nir_nodes import (
    NirNeurons,
    NirNode,
    NirThreshold,
    NirWire,
    module_of,
)

Edges = list[tuple[str, str]]
_ENDS = ("Input", "Output")


class Identity:
    """Where an inner graph begins or ends."""

    def __init__(self, shape: Any) -> None:
        self.input_type = shape


def expanded(graph: Any, prefix: str = "") -> tuple[dict[str, Any], Edges]:
    """Nodes and edges with those of graphs inside of it, as `outer.inner`.

    Raises EvenspikeError for what is no graph, and, naming it, for an edge of an unknown node.
    """
    if not isinstance(getattr(graph, "nodes", None), Mapping) or not hasattr(graph, "edges"):
        raise EvenspikeError(f"{prefix.removesuffix('.') or repr(graph)}: is no graph of NIR")
    nodes: dict[str, Any] = {}
    edges: Edges = []
    ends: dict[str, tuple[str, str]] = {}
    for name, node in graph.nodes.items():
        if not isinstance(name, str) or not name:
            raise EvenspikeError(f"a node ({type(node).__name__}) has the name {name!r}; name it")
        full = prefix + name
        if type(node).__name__ == "NIRGraph":
            inner, between = expanded(node, f"{full}.")
            ends[name] = _ends(full, inner)
            for key, shape in zip(ends[name], ("input_type", "output_type"), strict=True):
                inner[key] = Identity(getattr(inner[key], shape, None))
        else:
            inner, between = {full: node}, []
            ends[name] = full, full
        for key in inner.keys() & nodes.keys():
            raise EvenspikeError(f"{key}: two nodes have this name")
        nodes |= inner
        edges += between
    # An edge that is there twice is the same edge.
    for before, after in dict.fromkeys(_pairs(graph.edges, prefix)):
        for one in (before, after):
            if one not in ends:
                raise EvenspikeError(
                    f"{prefix}{before} -> {prefix}{after}: an edge of {prefix}{one}, which is no "
                    "node"
                )
        edges.append((ends[before][1], ends[after][0]))
    return nodes, edges


def _pairs(edges: Any, prefix: str) -> Edges:
    found: Edges = []
    for edge in edges:
        if not isinstance(edge, (tuple, list)) or len(edge) != 2:
            raise EvenspikeError(f"{prefix}{edge!r}: no edge; it has two ends")
        found.append((str(edge[0]), str(edge[1])))
    return found


def _ends(name: str, inner: Mapping[str, Any]) -> tuple[str, str]:
    """The one input and the one output of a graph inside of another."""
    found = [[key for key, node in inner.items() if type(node).__name__ == end] for end in _ENDS]
    _one_each(name, *found)
    return found[0][0], found[1][0]


def _one_each(name: str, inputs: list[str], outputs: list[str]) -> None:
    if len(inputs) != 1 or len(outputs) != 1:
        raise EvenspikeError(
            f"{name}: {len(inputs)} inputs and {len(outputs)} outputs; one each is possible"
        )


class NirModule(nn.Module):
    """A graph as a module on [T, B, ...]; its submodules have the names of the nodes.

    repeats : timesteps of an image [B, ...], which is the same at each; None where it gets frames.
    """

    def __init__(
        self,
        nodes: Mapping[str, Any],
        edges: Edges,
        dt: float,
        reset: Reset,
        *,
        name: str,
        repeats: int | None = None,
    ) -> None:
        super().__init__()
        self.repeats = repeats
        self.sources: dict[str, list[str]] = {key: [] for key in nodes}
        for before, after in edges:
            self.sources[after].append(before)
        try:
            self.order = list(TopologicalSorter(self.sources).static_order())
        except CycleError as error:
            cycle = " -> ".join(error.args[1])
            raise EvenspikeError(
                f"{cycle}: recurrence; feed-forward graphs are possible"
            ) from error
        ends = [[key for key in self.order if type(nodes[key]).__name__ == end] for end in _ENDS]
        _one_each(name, *ends)
        self.entry, self.exit = ends[0][0], ends[1][0]
        if self.entry not in self._behind():
            raise EvenspikeError(f"{self.exit}: is not reached from {self.entry}")
        self.steps: dict[str, NirNode | NirNeurons] = {}
        for key in self.order:
            if key != self.entry and not self.sources[key]:
                kind = type(nodes[key]).__name__
                raise EvenspikeError(f"{key} ({kind}): no edge leads to it")
            self.steps[key] = module_of(key, nodes[key], self._before(key), dt, reset)
            # Not by add_module, which takes no name of an attribute, and no dots. The one attribute
            # that torch sets must stay one.
            self._modules["training_" if key == "training" else key] = self.steps[key]

    def _behind(self) -> set[str]:
        """The output and all nodes that it depends on."""
        found, waiting = {self.exit}, [self.exit]
        while waiting:
            more = [one for one in self.sources[waiting.pop()] if one not in found]
            found.update(more)
            waiting += more
        return found

    def _before(self, name: str) -> nn.Module | None:
        """The module of the one node in front of a node, if that gets one node's spikes."""
        first = self._only(name)
        second = None if first is None else self._only(first)
        if first is None or second is None:
            return None
        spiking = isinstance(self.steps[second], (NirNeurons, NirThreshold))
        return self.steps[first] if spiking else None

    def _only(self, name: str) -> str | None:
        """The one node in front, past wires."""
        while len(self.sources[name]) == 1:
            name = self.sources[name][0]
            if not isinstance(self.steps[name], NirWire):
                return name
        return None

    def forward(self, x: Tensor) -> Tensor:
        if self.repeats is not None:
            x = x.expand(self.repeats, *x.shape)
        found: dict[str, Tensor] = {}
        for name in self.order:
            step = self.steps[name]
            total = x
            for number, one in enumerate(self.sources[name]):
                self._same(step, name, found)
                total = total + found[one] if number else found[one]
            shape = tuple(int(n) for n in total.shape[2:])
            step.check(shape)
            if isinstance(step, NirNeurons) and step.shift:
                total = total + step.shift
            try:
                found[name] = step(total)
            except EvenspikeError:
                raise
            except Exception as error:
                said = next(iter(str(error).splitlines()), "") or type(error).__name__
                raise EvenspikeError(
                    f"{step.where}: does not run on what it gets, {shape}: {said}"
                ) from error
        return found[self.exit]

    def _same(self, step: NirNode | NirNeurons, name: str, found: Mapping[str, Tensor]) -> None:
        """What comes by several edges has one shape; nothing says how others would add up."""
        shapes = {one: tuple(found[one].shape[2:]) for one in self.sources[name]}
        if len(set(shapes.values())) > 1:
            said = ", ".join(f"{shape} of {one}" for one, shape in shapes.items())
            raise EvenspikeError(f"{step.where}: gets {said}, which do not add up")
