"""NIR: a graph of the neuromorphic intermediate representation as a `Network`.

NIR states neurons in continuous time and leaves the step out of the file; this reads them with
forward Euler, as the frameworks that write it do:

    v <- v + dt / tau * (v_leak - v + R * I);   s = v > v_threshold;   v <- v_reset where s

The graph becomes a module of torch, which is then followed like any other, so that the same proof
judges it. It has no batch norm, max-pool or sum: what comes by several edges adds up, and the sum
over 2x2 spikes behind a threshold below 1 is a max-pool.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from evenspike_core.errors import EvenspikeError
from evenspike_core.program import Coding
from evenspike_train.lowering.importing import import_network
from evenspike_train.lowering.inputs import EXAMPLES
from evenspike_train.lowering.network import Network
from evenspike_train.lowering.neurons import NeuronModel, Reset
from evenspike_train.lowering.registry import register

_RATE = 0.3
"""Of the spikes on which a graph is followed where no example is given."""

_SOFT_BEFORE = (1, 0, 5)
"""Versions before this one know no v_reset, and subtract the threshold."""

_REFUSED = {
    "CubaLIF": "its current decays by itself, a second state for each neuron; LIF has one",
    "CubaLI": "its current decays by itself, a second state for each neuron; LIF has one",
    "LI": "a leaky integrator gives its membrane to the next layer; only spikes go on",
    "I": "an integrator gives its membrane to the next layer; only spikes go on",
    "Delay": "a delay needs spikes of earlier timesteps; feed-forward graphs are possible",
    "Conv1d": "a convolution over one dimension; Conv2d with a height of 1 is possible",
}


class NirNeurons(nn.Module):
    """Neurons of a graph on [T, B, ...], forward Euler in the precision of their input."""

    def __init__(self, model: NeuronModel, shift: float) -> None:
        super().__init__()
        self.model = model
        self.shift = shift

    def forward(self, current: Tensor) -> Tensor:
        drive = self.model.gain * current
        spikes = self.model.run(drive.detach().cpu().double().numpy())
        return torch.from_numpy(spikes).to(current)


register(NirNeurons, lambda module, _: module.model)


class _Driven(nn.Module):
    """Neurons with the constant drive of a leak voltage in front of them."""

    def __init__(self, neurons: NirNeurons) -> None:
        super().__init__()
        self.neurons = neurons

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.neurons(x + self.neurons.shift if self.neurons.shift else x)
        return found


class _Step(nn.Module):
    """A node without a state: one function on time folded into the batch."""

    def __init__(self, kind: str, node: Any) -> None:
        super().__init__()
        self.kind, self.node = kind, node
        if hasattr(node, "weight"):
            self.weight = nn.Parameter(_tensor(node.weight), requires_grad=False)
        bias = getattr(node, "bias", None)
        self.bias = None if bias is None else nn.Parameter(_tensor(bias), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return self._folded(x.flatten(0, 1)).unflatten(0, x.shape[:2])

    def _folded(self, x: Tensor) -> Tensor:
        node = self.node
        if self.kind == "Conv2d":
            pad = _padding(node.padding)
            step, gap = _pair(node.stride), _pair(node.dilation)
            groups = int(np.asarray(node.groups))
            return functional.conv2d(x, self.weight, self.bias, step, pad, gap, groups)
        if self.kind in ("Linear", "Affine"):
            return functional.linear(x.flatten(1), self.weight, self.bias)
        if self.kind == "Scale":
            return self._scaled(x)
        return self._pooled(x) if "Pool" in self.kind else x.flatten(1)

    def _pooled(self, x: Tensor) -> Tensor:
        if self.kind == "MaxPool2d":
            return functional.max_pool2d(x, 2)
        node = self.node
        window, step, pad = _pair(node.kernel_size), _pair(node.stride), _pair(node.padding)
        mean = functional.avg_pool2d(x, window, step, pad)
        return mean if self.kind == "AvgPool2d" else mean * (window[0] * window[1])

    def _scaled(self, x: Tensor) -> Tensor:
        scale = np.asarray(self.node.scale, dtype=np.float64)
        if (scale == scale.flat[0]).all():
            return x * float(scale.flat[0])
        each = scale.reshape(scale.shape[0], -1)
        if not (each == each[:, :1]).all():
            raise EvenspikeError(
                "Scale: its factors differ within a channel; one for each is possible"
            )
        return x * torch.from_numpy(each[:, 0]).reshape(-1, *[1] * (x.dim() - 2)).to(x)


class NirModule(nn.Module):
    """A graph as a module on [T, B, ...]; its nodes keep their names, with `_` for dots."""

    def __init__(self, nodes: Mapping[str, Any], edges: list[tuple[str, str]], dt: float,
                 reset: Reset) -> None:  # fmt: skip
        super().__init__()
        self.sources: dict[str, list[str]] = {name: [] for name in nodes}
        for before, after in edges:
            self.sources[after].append(before)
        try:
            self.order = list(TopologicalSorter(self.sources).static_order())
        except CycleError as error:
            cycle = " -> ".join(error.args[1])
            raise EvenspikeError(
                f"{cycle}: recurrence; feed-forward graphs are possible"
            ) from error
        self.kinds = {name: type(node).__name__ for name, node in nodes.items()}
        self.steps = nn.ModuleDict()
        for name in self.order:
            made = self._made(name, nodes, dt, reset)
            if made is not None:
                self.steps[name.replace(".", "_")] = made
        self.inputs = [name for name in self.order if self.kinds[name] == "Input"]
        self.outputs = [name for name in self.order if self.kinds[name] == "Output"]
        if len(self.inputs) != 1 or len(self.outputs) != 1:
            raise EvenspikeError(
                f"{len(self.inputs)} inputs and {len(self.outputs)} outputs; one each is possible"
            )

    def _made(
        self, name: str, nodes: Mapping[str, Any], dt: float, reset: Reset
    ) -> nn.Module | None:
        node, kind = nodes[name], self.kinds[name]
        if kind in ("Input", "Output"):
            return None
        if kind in ("LIF", "IF"):
            return _Driven(_neurons(name, node, kind, dt, reset))
        if kind == "Threshold":
            return self._threshold(name, nodes)
        if kind == "SumPool2d" and self._pools(name, nodes):
            return _Step("MaxPool2d", node)
        if kind in _REFUSED:
            raise EvenspikeError(f"{name} ({kind}): {_REFUSED[kind]}")
        known = ("Conv2d", "Linear", "Affine", "AvgPool2d", "SumPool2d", "Scale", "Flatten")
        if kind not in known:
            raise EvenspikeError(f"{name} ({kind}): a node that is not known; LIF, IF, Threshold "
                                 f"behind a SumPool2d, {', '.join(known)} are")  # fmt: skip
        return _Step(kind, node)

    def _pools(self, name: str, nodes: Mapping[str, Any]) -> bool:
        """Whether a sum is a max-pool: over 2x2 spikes, behind it a threshold below 1."""
        readers = [after for after, before in self.sources.items() if name in before]
        return bool(readers) and all(
            self.kinds[one] == "Threshold"
            and bool((np.asarray(nodes[one].threshold) < 1).all())
            and bool((np.asarray(nodes[one].threshold) >= 0).all())
            for one in readers
        )

    def _threshold(self, name: str, nodes: Mapping[str, Any]) -> nn.Module:
        before = self.sources[name]
        summed = len(before) == 1 and self.kinds[before[0]] == "SumPool2d"
        if summed and self._pools(before[0], nodes):
            return nn.Identity()
        raise EvenspikeError(
            f"{name} (Threshold): only behind a SumPool2d, at 0 to 1, it is something that the "
            "machine has: a max-pool"
        )

    def forward(self, x: Tensor) -> Tensor:
        found: dict[str, Tensor] = {self.inputs[0]: x}
        for name in self.order:
            if name == self.inputs[0]:
                continue
            given = [found[one] for one in self.sources[name] if one in found]
            if not given:
                continue
            total = given[0]
            for one in given[1:]:
                total = total + one
            key = name.replace(".", "_")
            found[name] = self.steps[key](total) if key in self.steps else total
        if self.outputs[0] not in found:
            raise EvenspikeError(f"{self.outputs[0]}: is not reached from {self.inputs[0]}")
        return found[self.outputs[0]]


def _tensor(array: Any) -> Tensor:
    return torch.from_numpy(np.array(array, dtype=np.float64))


def _pair(value: Any) -> tuple[int, int]:
    numbers = np.atleast_1d(np.asarray(value)).astype(int).tolist()
    return (numbers[0], numbers[-1])


def _padding(value: Any) -> Any:
    if isinstance(value, bytes):
        value = value.decode()
    return value if isinstance(value, str) else _pair(value)


def _number(name: str, node: Any, what: str) -> float:
    values = np.asarray(getattr(node, what), dtype=np.float64).ravel()
    if not values.size or not (values == values[0]).all():
        raise EvenspikeError(
            f"{name}: its {what} differs between neurons; one number for the layer is possible"
        )
    return float(values[0])


def _neurons(name: str, node: Any, kind: str, dt: float, reset: Reset) -> NirNeurons:
    threshold = _number(name, node, "v_threshold")
    base = 0.0 if reset is Reset.SOFT else _number(name, node, "v_reset")
    resistance = _number(name, node, "r")
    rest, share = 0.0, dt
    if kind == "LIF":
        share = dt / _number(name, node, "tau")
        rest = _number(name, node, "v_leak")
        if not 0 < share <= 1:
            raise EvenspikeError(
                f"{name} (LIF): tau {_number(name, node, 'tau'):.4g} with a step dt of {dt:.4g}; a "
                "step of at most tau is possible"
            )
    if base not in (0.0, rest):
        raise EvenspikeError(
            f"{name} ({kind}): v_reset {base:.4g} is neither 0 nor v_leak ({rest:.4g}), where a "
            "membrane starts"
        )
    shift = 0.0 if base == rest else rest / resistance
    leak = 1.0 - share if kind == "LIF" else 1.0
    model = NeuronModel(leak, threshold - base, share * resistance, strict=True, reset=reset)
    model.check(f"{name} ({kind})")
    return NirNeurons(model, shift)


def _expanded(graph: Any, prefix: str = "") -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Nodes and edges with those of graphs inside of it."""
    nodes: dict[str, Any] = {}
    edges: list[tuple[str, str]] = []
    ends: dict[str, tuple[str, str]] = {}
    for name, node in graph.nodes.items():
        full = prefix + name
        if type(node).__name__ == "NIRGraph":
            inner, between = _expanded(node, f"{full}.")
            for key in [k for k, one in inner.items() if type(one).__name__ in ("Input", "Output")]:
                inner[key] = _Wire()
            nodes |= inner
            edges += between
            ends[name] = f"{full}.input", f"{full}.output"
        else:
            nodes[full] = node
            ends[name] = full, full
    for before, after in dict.fromkeys((str(a), str(b)) for a, b in graph.edges):
        edges.append((ends[before][1], ends[after][0]))
    return nodes, edges


class _Wire:
    """Where an inner graph begins or ends: what comes in goes out."""

    scale = 1.0


_Wire.__name__ = "Scale"


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

    Raises EvenspikeError for what has no integer form, naming the node.
    """
    name = name or (Path(graph).stem if isinstance(graph, (str, Path)) else "nir")
    if dt is None or not dt > 0:
        said = "a graph states no timestep" if dt is None else f"a timestep of {dt}"
        raise EvenspikeError(f"{name}: {said}; give dt=, above 0, in its unit of time")
    version: tuple[int, ...] = ()
    if isinstance(graph, (str, Path)):
        graph, version = _read(Path(graph))
    nodes, edges = _expanded(graph)
    spiking = any(type(node).__name__ in ("LIF", "IF") for node in nodes.values())
    if reset is None and spiking and version and version < _SOFT_BEFORE:
        raise EvenspikeError(
            f"{name}: a file of NIR {'.'.join(map(str, version))} has no v_reset, and its writers "
            'meant one thing or the other; say reset="hard" (to 0) or reset="soft"'
        )
    module = NirModule(nodes, edges, dt, Reset(reset or "hard"))
    if example is None:
        if timesteps is None:
            raise EvenspikeError(f"{name}: give timesteps=, or an example")
        entry = nodes[module.inputs[0]].input_type["input"]
        shape = [int(n) for n in np.atleast_1d(np.asarray(entry))]
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.rand(timesteps, EXAMPLES, *shape, generator=generator)
        example = (drawn < _RATE).double()
    given = torch.as_tensor(example)
    images = given.dim() in (2, 4)
    followed: nn.Module = _Repeated(module, timesteps) if images and timesteps else module
    if encoder in (Coding.RATE, Coding.LATENCY):
        followed = module
    network = import_network(
        followed, given, timesteps=timesteps, encoder=encoder, scale=scale, name=name, seed=seed
    )
    layers = (
        replace(layer, name=layer.name.removeprefix("graph.").removeprefix("steps."))
        for layer in network.layers
    )
    return replace(network, layers=tuple(layers))


class _Repeated(nn.Module):
    """A graph that gets the same image at every timestep."""

    def __init__(self, graph: NirModule, timesteps: int) -> None:
        super().__init__()
        self.graph, self.timesteps = graph, timesteps

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.graph(images.expand(self.timesteps, *images.shape))
        return found
