"""Graphs of NIR: read as its semantics are, and as SpikingJelly writes them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("nir")

import nir
import torch

from evenspike_core.errors import EvenspikeError
from evenspike_core.program import Coding, Program, Readout
from evenspike_train.export.programs import to_program
from evenspike_train.lowering import Network, import_nir

RNG = np.random.default_rng(0)


def eighths(*shape: int) -> Any:
    return RNG.integers(-4, 6, shape) / 8


def convolution(filters: int, channels: int, kernel: int = 3, side: int = 8, **changed: Any) -> Any:
    fields = {"stride": 1, "padding": 1, "dilation": 1, "groups": 1} | changed
    weight = eighths(filters, channels // fields["groups"], kernel, kernel)
    return nir.Conv2d((side, side), weight=weight, bias=eighths(filters) / 2, **fields)


def lif(*shape: int, **changed: float) -> Any:
    fields = {"tau": 2e-4, "r": 2.0, "v_leak": 0.0, "v_threshold": 1.0, "v_reset": 0.0} | changed
    return nir.LIF(**{name: np.full(shape, value) for name, value in fields.items()})


def chain(*nodes: Any, shape: tuple[int, ...] = (2, 8, 8), gives: tuple[int, ...] = (4,)) -> Any:
    named = {f"n{i}": node for i, node in enumerate(nodes)}
    every = {"input": nir.Input(np.array(shape)), **named, "output": nir.Output(np.array(gives))}
    order = list(every)
    return nir.NIRGraph(every, list(pairwise(order)), type_check=False)


FLAT = nir.Flatten(None, 0)


def network(window: Any = 2, **neuron: float) -> Any:
    """A chain of everything; a scalar window is what some writers leave of an average pool's."""
    pool = nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))
    return chain(
        convolution(6, 2),
        lif(6, 8, 8, **neuron),
        pool,
        nir.Threshold(np.full((6, 4, 4), 0.5)),
        convolution(8, 6, side=4, groups=2),
        lif(8, 4, 4, **neuron),
        nir.AvgPool2d(np.array(window), np.array(window), 0 * np.array(window)),
        nir.Flatten({"input": np.array([8, 2, 2])}, 0),
        nir.Affine(eighths(4, 32), eighths(4)),
        lif(4, **(neuron | {"v_threshold": 0.25})),
    )


def by_hand(graph: Any, spikes: np.ndarray, dt: float) -> np.ndarray:
    """Output spikes [T, B, classes] of a chain, by forward Euler in numpy and torch's functions."""
    from torch.nn import functional as f

    steps = spikes.shape[0]
    state: dict[str, Any] = {}
    found = []
    for t in range(steps):
        x = torch.from_numpy(spikes[t])
        for name, node in graph.nodes.items():
            kind = type(node).__name__
            if kind == "Conv2d":
                weight, bias = torch.from_numpy(node.weight), torch.from_numpy(node.bias)
                x = f.conv2d(x, weight, bias, padding=1, groups=int(node.groups))
            elif kind == "LIF":
                v = state.get(name, torch.zeros_like(x))
                v = v + dt / torch.from_numpy(node.tau) * (
                    torch.from_numpy(node.v_leak) - v + torch.from_numpy(node.r) * x
                )
                x = (v > torch.from_numpy(node.v_threshold)).double()
                state[name] = torch.where(x > 0, torch.from_numpy(node.v_reset), v)
            elif kind == "SumPool2d":
                window, step, pad = (
                    int(np.atleast_1d(v)[0]) for v in (node.kernel_size, node.stride, node.padding)
                )
                ones = torch.ones(len(x[0]), 1, window, window, dtype=x.dtype)
                x = f.conv2d(x, ones, None, step, pad, groups=len(x[0]))
            elif kind == "Threshold":
                x = (x > torch.from_numpy(node.threshold)).double()
            elif kind == "Scale":
                x = x * torch.from_numpy(node.scale)
            elif kind == "AvgPool2d":
                x = f.avg_pool2d(x, 2)
            elif kind == "Flatten":
                x = x.flatten(1)
            elif kind == "Affine":
                x = f.linear(x, torch.from_numpy(node.weight), torch.from_numpy(node.bias))
            else:
                assert kind in ("Input", "Output")
        found.append(x.numpy())
    return np.stack(found)


def exact(graph: Any, dt: float = 1e-4, **options: Any) -> tuple[Network, Program]:
    read = import_nir(graph, dt, **({"timesteps": 6} | options))
    program, proof = to_program(read, limit=0.0)
    assert sum(one.spikes for one in proof.layers[1:]) > 100
    return read, program


@pytest.mark.parametrize("neuron", [{}, {"v_leak": 0.25}, {"v_leak": -0.25, "v_reset": -0.25}])
def test_a_graph_is_what_its_equations_say(neuron: dict[str, float]) -> None:
    graph = network(**neuron)
    read, program = exact(graph)
    assert [layer.name for layer in program.layers] == ["input", "n0", "n4", "n8"]
    assert program.layers[1].pool == 2
    assert program.layers[-1].readout is Readout.COUNT
    assert all(layer.threshold & 1 for layer in program.layers[1:])  # strictly above
    if "v_reset" not in neuron:
        given = np.moveaxis(read.inputs, 1, 0).astype(np.float64)
        assert np.array_equal(by_hand(graph, given, 1e-4).sum(0), read.outputs)


def summed(
    kernel: int, stride: int, padding: int, threshold: float, scale: float | None = None
) -> Any:
    """A sum pool and a threshold between two layers of neurons."""
    side = (8 + 2 * padding - kernel) // stride + 1
    scales = [] if scale is None else [nir.Scale(np.full((6, 8, 8), scale))]
    return chain(
        convolution(6, 2),
        lif(6, 8, 8),
        *scales,
        nir.SumPool2d(*(np.array([n, n]) for n in (kernel, stride, padding))),
        nir.Threshold(np.full((6, side, side), threshold)),
        FLAT,
        nir.Affine(eighths(4, 6 * side**2), eighths(4)),
        lif(4),
    )


@pytest.mark.parametrize(
    ("pool", "is_max"),
    [
        ((2, 2, 0, 0.5), True),
        ((2, 2, 0, 0.0), True),
        ((2, 2, 0, 1.0), False),
        ((2, 2, 0, 1.5), False),
        ((3, 2, 1, 0.5), False),
        ((3, 1, 0, 2.0), False),
        ((4, 4, 0, 2.5), False),
        ((2, 1, 0, 0.5), False),
        ((2, 2, 0, 0.5, 0.3), False),
        ((2, 2, 1, 0.5), False),
    ],
)
def test_a_sum_over_spikes_behind_a_threshold(pool: tuple[Any, ...], is_max: bool) -> None:
    """What is no max-pool is a layer without a memory; either is what the nodes say."""
    graph = summed(*pool)
    read, program = exact(graph)
    assert [layer.pool for layer in program.layers[:2]] == [1, 2 if is_max else 1]
    assert len(program.layers) == (3 if is_max else 4)
    given = np.moveaxis(read.inputs, 1, 0).astype(np.float64)
    assert np.array_equal(by_hand(graph, given, 1e-4).sum(0), read.outputs)


def test_a_threshold_over_currents_of_pixels_is_a_layer() -> None:
    image = torch.randint(0, 256, (3, 2, 8, 8)).double() / 256
    graph = chain(
        convolution(6, 2),
        nir.SumPool2d(*(np.array([n, n]) for n in (2, 2, 0))),
        nir.Threshold(np.full((6, 4, 4), 0.5)),
        lif(6, 4, 4, v_threshold=0.75),
        FLAT,
        nir.Affine(eighths(4, 96), eighths(4)),
        lif(4),
    )
    read, program = exact(graph, example=image, scale=1 / 256)
    assert [(layer.size, layer.pool, layer.leak) for layer in program.layers[:2]] == [
        ((4, 4), 1, 0),
        ((4, 4), 1, 2048),
    ]
    given = np.repeat(read.inputs[None].astype(np.float64) / 256, 6, 0)
    assert np.array_equal(by_hand(graph, given, 1e-4).sum(0), read.outputs)


def test_a_scale_of_each_channel() -> None:
    graph = chain(
        convolution(6, 2),
        lif(6, 8, 8),
        nir.Scale(np.broadcast_to(np.arange(1, 7)[:, None, None] / 4, (6, 8, 8)).copy()),
        convolution(6, 6),
        lif(6, 8, 8),
        FLAT,
        nir.Affine(eighths(4, 384), eighths(4)),
        lif(4),
    )
    read, _ = exact(graph)
    given = np.moveaxis(read.inputs, 1, 0).astype(np.float64)
    assert np.array_equal(by_hand(graph, given, 1e-4).sum(0), read.outputs)


NAMES = ("forward", "keys", "type", "pop", "half", "training", "steps", "a.b", "0", "_modules")


@pytest.mark.parametrize("name", NAMES)
def test_a_node_may_have_any_name(name: str) -> None:
    graph = simple()
    renamed = {name if key == "n1" else key: node for key, node in graph.nodes.items()}
    edges = [(a.replace("n1", name), b.replace("n1", name)) for a, b in graph.edges]
    _, program = exact(nir.NIRGraph(renamed, edges, type_check=False))
    assert program == exact(graph)[1]


def simple(**neuron: float) -> Any:
    return chain(
        convolution(6, 2), lif(6, 8, 8, **neuron), FLAT, nir.Affine(eighths(4, 384), eighths(4)),
        lif(4),
    )  # fmt: skip


def test_a_file_is_the_graph(tmp_path: Path) -> None:
    graph = network([2, 2])
    nir.write(tmp_path / "net.nir", graph)
    read, given = (exact(one, name="net")[1] for one in (tmp_path / "net.nir", graph))
    assert read == given
    with pytest.raises(EvenspikeError, match=r"other\.nir: not a readable NIR file"):
        import_nir(tmp_path / "other.nir", 1e-4, timesteps=3)


def test_an_early_file_must_be_told_its_reset(tmp_path: Path) -> None:
    import h5py

    nir.write(tmp_path / "net.nir", network([2, 2]))
    with h5py.File(tmp_path / "net.nir", "r+") as file:
        del file["version"]
        file["version"] = "1.0.4"
    with pytest.raises(EvenspikeError, match=r"a file of NIR 1\.0\.4 has no v_reset"):
        import_nir(tmp_path / "net.nir", 1e-4, timesteps=3)
    soft = exact(tmp_path / "net.nir", reset="soft")[1]
    assert not any(layer.hard for layer in soft.layers[1:])


def test_edges_that_meet_add_up_and_graphs_lie_in_graphs() -> None:
    inner = chain(convolution(6, 6), lif(6, 8, 8), shape=(6, 8, 8), gives=(6, 8, 8))
    nodes = {
        "input": nir.Input(np.array([2, 8, 8])),
        "first": convolution(6, 2),
        "one": lif(6, 8, 8),
        "inner": inner,
        "scale": nir.Scale(np.full((6, 8, 8), 0.5)),
        "last": convolution(3, 6),
        "two": lif(3, 8, 8),
        "flat": nir.Flatten({"input": np.array([3, 8, 8])}, 0),
        "read": nir.Linear(eighths(4, 192)),
        "output": nir.Output(np.array([4])),
    }
    edges = [("input", "first"), ("first", "one"), ("one", "inner"), ("one", "scale")]
    edges += [("inner", "last"), ("scale", "last"), ("last", "two"), ("two", "flat")]
    edges += [("flat", "read"), ("read", "output")]
    _, program = exact(nir.NIRGraph(nodes, edges, type_check=False))
    assert [len(layer.segments) for layer in program.layers] == [0, 1, 1, 2, 4]
    assert program.layers[-1].readout is Readout.PSUM


def test_an_image_is_direct_coded() -> None:
    image = torch.randint(0, 256, (3, 2, 8, 8)).double() / 256
    _, program = exact(network(), example=image, scale=1 / 256)
    assert program.encoder.coding is Coding.DIRECT


def test_what_spikingjelly_writes(tmp_path: Path) -> None:
    pytest.importorskip("spikingjelly")
    from spikingjelly.activation_based import functional, layer, neuron, nir_exchange

    net = torch.nn.Sequential(
        layer.Conv2d(2, 6, 3, padding=1),
        neuron.LIFNode(tau=2.0),
        layer.AvgPool2d(2),
        layer.Flatten(),
        layer.Linear(6 * 16, 4),
        neuron.LIFNode(tau=2.0, v_threshold=0.25),
    )
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.uniform_(-0.3, 0.6)
    functional.set_step_mode(net, "s")
    given = (torch.rand(6, 4, 2, 8, 8) < 0.4).float()
    graph = nir_exchange.export_to_nir(net, given[0], dt=1e-4)
    nir.write(tmp_path / "jelly.nir", graph)
    read = import_nir(tmp_path / "jelly.nir", 1e-4, example=given)
    to_program(read)
    functional.reset_net(net)
    with torch.no_grad():
        theirs = sum(net(x) for x in given)
    assert theirs.sum() > 10
    assert np.abs(read.outputs - theirs.numpy()).sum() <= 0.01 * 6 * theirs.numel()


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (
            lambda: chain(
                convolution(6, 2, stride=3), lif(6, 3, 3), FLAT, nir.Linear(eighths(4, 54))
            ),
            "n0: stride 3 of rows and 3 of columns; 1 and 2, the same for both",
        ),
        (
            lambda: chain(nir.CubaLIF(*[np.ones((2, 8, 8))] * 5)),
            r"n0 \(CubaLIF\): its current decays by itself",
        ),
        (
            lambda: chain(convolution(6, 2), lif(6, 8, 8, tau=1e-5)),
            r"n1 \(LIF\): tau 1e-05 with a step dt of 0.0001; a step of at most tau",
        ),
        (
            lambda: chain(convolution(6, 2), lif(6, 8, 8, v_reset=0.5)),
            r"n1 \(LIF\): v_reset 0.5 is neither 0 nor v_leak",
        ),
    ],
)
def test_refusals(graph: Any, reason: str) -> None:
    with pytest.raises(EvenspikeError, match=reason):
        import_nir(graph(), 1e-4, timesteps=4)


def test_neurons_that_differ_are_refused() -> None:
    neurons = lif(6, 8, 8)
    neurons.tau[0] *= 2
    with pytest.raises(EvenspikeError, match=r"n1 \(LIF\): its tau differs between neurons"):
        import_nir(chain(convolution(6, 2), neurons), 1e-4, timesteps=4)


def test_a_cycle_is_recurrence() -> None:
    graph = chain(convolution(2, 2), lif(2, 8, 8))
    graph.edges.append(("n1", "n0"))
    with pytest.raises(EvenspikeError, match="recurrence; feed-forward graphs are possible"):
        import_nir(graph, 1e-4, timesteps=4)


def between(node: Any) -> Any:
    """A node behind a layer of neurons."""
    return chain(
        convolution(6, 2), lif(6, 8, 8), node, FLAT, nir.Affine(eighths(4, 384), eighths(4)),
        lif(4),
    )  # fmt: skip


def changed(node: Any, **fields: Any) -> Any:
    for name, value in fields.items():
        setattr(node, name, value)
    return node


def pool(kind: Any, *fields: Any) -> Any:
    return kind(*map(np.array, fields))


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (lambda: simple(tau=0.0), r"n1 \(LIF\): tau 0; one above 0"),
        (lambda: simple(tau=np.nan), r"n1 \(LIF\): tau holds 384 values that are not finite"),
        (lambda: simple(r=0.0, v_leak=0.5), r"n1 \(LIF\): r 0; one above 0"),
        (lambda: simple(v_threshold=np.inf), r"n1 \(LIF\): v_threshold holds 384 values"),
        (lambda: simple(v_threshold=0.0), r"n1 \(LIF\): v_threshold 0 is not above v_reset"),
        (lambda: between(lif(3, 4, 4)), r"n2 \(LIF\): its r is of \(3, 4, 4\), what it gets"),
        (lambda: between(changed(lif(1), tau="x")), r"n2 \(LIF\): tau 'x' is no array"),
        (lambda: between(nir.Scale(RNG.random((6, 8, 8)))), r"n2 \(Scale\): its factors differ"),
        (lambda: between(nir.Scale(np.ones((3, 8, 8)))), r"n2 \(Scale\): takes \(3, 8, 8\)"),
        (lambda: between(nir.Threshold(np.zeros((6, 8, 8)))), r"n2 \(Threshold\): threshold 0; "),
        (lambda: between(nir.Threshold(RNG.random((6, 8, 8)))), r"n2 \(Threshold\): its thres"),
        (
            lambda: chain(nir.Flatten(None, 1), nir.Affine(eighths(4, 128), eighths(4)), lif(4)),
            r"n1 \(Affine\): takes \(128,\), gets \(2, 64\); a Flatten of all dimensions",
        ),
        (lambda: between(nir.Flatten(None, 3)), r"n2 \(Flatten\): start_dim 3 and end_dim -1"),
        (lambda: between(nir.Flatten([3, 8, 8], 0)), r"n2 \(Flatten\): takes \(3, 8, 8\)"),
        (lambda: between(pool(nir.AvgPool2d, 2, 0, 0)), r"n2 \(AvgPool2d\): stride array\(0\)"),
        (lambda: between(pool(nir.AvgPool2d, 2, 2, 2)), r"n2 \(AvgPool2d\): does not run"),
        (lambda: between(pool(nir.SumPool2d, 9, 1, 0)), r"n2 \(SumPool2d\): does not run"),
        (
            lambda: between(changed(convolution(6, 6), stride=(0, 0))),
            r"n2 \(Conv2d\): stride \(0, 0\)",
        ),
        (
            lambda: between(convolution(6, 6, stride=2, padding="same")),
            r"n2 \(Conv2d\): padding 'same' with stride",
        ),
        (lambda: between(convolution(6, 6, side=4)), r"n2 \(Conv2d\): takes \(6, 4, 4\), gets"),
        (lambda: between(convolution(6, 3)), r"n2 \(Conv2d\): takes \(3, 8, 8\), gets"),
        (lambda: between(changed(convolution(6, 6), groups=4)), r"n2 \(Conv2d\): 4 groups of 6"),
        (lambda: between(changed(convolution(6, 6), padding="full")), "padding 'full'"),
        (lambda: between(changed(convolution(6, 6), bias=np.ones(3))), r"n2 \(Conv2d\): its bias"),
        (lambda: between(nir.Affine(np.ones((6, 8, 8)), np.ones(8))), r"n2 \(Affine\): its weight"),
        (lambda: between(nir.Linear(np.ones((8, 8)))), r"n2 \(Linear\): takes \(8,\), gets .*Flat"),
        (lambda: between(nir.Delay(np.ones((6, 8, 8)))), r"n2 \(Delay\): a delay needs"),
        (lambda: chain(convolution(6, 2), lif(6, 8, 8)), r"output \(Output\): takes \(4,\), gets"),
        (lambda: changed(simple(), edges=simple().edges[:-1]), "output: is not reached from input"),
        (lambda: changed(simple(), edges=[*simple().edges, ("n1", "ghost")]), "n1 -> ghost: an ed"),
        (lambda: changed(simple(), edges=[*simple().edges, ("n1",)]), r"\('n1',\): no edge"),
        (
            lambda: nir.NIRGraph(simple().nodes | {"": lif(1)}, simple().edges, type_check=False),
            r"a node \(LIF\) has the name ''",
        ),
        (
            lambda: nir.NIRGraph(
                simple().nodes | {"lone": lif(1)}, simple().edges, type_check=False
            ),
            r"lone \(LIF\): no edge leads to it",
        ),
        (
            lambda: nir.NIRGraph(
                simple().nodes | {"lone": nir.Scale(np.array(0.5))},
                [*simple().edges, ("n0", "lone"), ("lone", "n4")],
                type_check=False,
            ),
            r"n4 \(LIF\): gets \(4,\) of n3, \(6, 8, 8\) of lone, which do not add up",
        ),
        (lambda: 42, "42: is no graph of NIR"),
        (lambda: lif(4), "is no graph of NIR"),
    ],
)
def test_refusals_name_node_and_field(graph: Any, reason: str) -> None:
    with pytest.raises(EvenspikeError, match=reason):
        import_nir(graph(), 1e-4, timesteps=4)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"dt": None}, "a graph states no timestep"),
        ({"dt": "x"}, "dt is 'x'; a number above 0"),
        ({"dt": 0}, "dt is 0; a number above 0"),
        ({"dt": -1.0}, "dt is -1.0; a number above 0"),
        ({"dt": np.nan}, "dt is nan; a number above 0"),
        ({"dt": np.inf}, "dt is inf; a number above 0"),
        ({"reset": "weird"}, 'reset \'weird\'; "hard" or "soft" is possible'),
        ({"reset": "none"}, 'reset \'none\'; "hard" or "soft" is possible'),
        ({"encoder": "weird"}, "encoder: 'weird'; there are"),
        ({"timesteps": 0}, "timesteps: 0; 1 to 32 are possible"),
        ({"timesteps": None}, "give timesteps=, or an example"),
        ({"example": torch.zeros(4, 2, 3, 8, 8)}, r"input \(Input\): takes \(2, 8, 8\), gets"),
        ({"example": torch.zeros(2, 3, 8, 8)}, r"input \(Input\): takes \(2, 8, 8\), gets"),
    ],
)
def test_options_are_checked(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(EvenspikeError, match=reason):
        import_nir(simple(), **({"dt": 1e-4, "timesteps": 4} | options))


def test_a_soft_reset_has_no_v_reset() -> None:
    graph = simple(v_leak=0.25, v_reset=0.25)
    with pytest.raises(EvenspikeError, match=r'n1 \(LIF\): v_reset 0.25, and reset="soft"'):
        import_nir(graph, 1e-4, timesteps=4, reset="soft")
