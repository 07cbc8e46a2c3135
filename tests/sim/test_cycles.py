"""The cycle model against the stepped model: every spike, logit, cycle and counter of every PE.

Two statements of docs/timing.md that share no code: recurrences on cycles, and registers that
change once a cycle. EVENSPIKE_CYCLE_SEEDS sets the number of random cases.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from evenspike_core import reference
from evenspike_core.arch import PRESETS, Arch
from evenspike_core.compare import Divergence, first_divergence
from evenspike_core.counters import LayerStatement
from evenspike_core.mapping import choose
from evenspike_core.pack import Packed, pack
from evenspike_core.program import PIXELS, Coding, Layer, Program, Readout, Segment
from evenspike_sim import accelerator, pe, port
from evenspike_sim.accelerator import Accelerator, LayerRun
from evenspike_sim.spikes import Masks
from tests.helpers import stepped
from tests.helpers.archs import random_arch
from tests.helpers.networks import random_pixels, random_program
from tests.helpers.stepped import LayerTrace

SEEDS = int(os.environ.get("EVENSPIKE_CYCLE_SEEDS", "60"))
SMALL = Arch(pes=4, timesteps=8, accumulators=16, spike_entries=4096)
TIGHT = replace(SMALL, scratchpad_words=256, header_words=40)

Example = tuple[Packed, Masks, list[LayerTrace]]


def results(layers: Sequence[LayerTrace] | Sequence[LayerRun]) -> list[LayerStatement]:
    return [
        LayerStatement(
            layer.name,
            layer.cycles,
            None if layer.logits is not None else layer.masks,
            layer.logits,
            {state: np.asarray(getattr(layer, state)) for state in stepped.STATES},
        )
        for layer in layers
    ]


def difference(packed: Packed, masks: Masks, traces: Sequence[LayerTrace]) -> Divergence | None:
    """Where the stepped model and the cycle model part, over all layers of one inference."""
    runs = Accelerator(packed).run(masks)
    return first_divergence(results(traces), results(runs), ("stepped", "model"))


def build(program: Program, arch: Arch, *, natural: bool = False) -> Packed:
    return pack(program, choose(program, arch, natural=natural), arch)


def check(
    program: Program, pixels: npt.NDArray[np.uint8], arch: Arch, *, natural: bool = False
) -> Packed:
    """Compare the models, and the stepped one with the reference, which has no cycles."""
    packed = build(program, arch, natural=natural)
    truth = reference.run(program, pixels)
    traces = stepped.run(packed, truth.masks[0])
    found = difference(packed, truth.masks[0], traces)
    assert found is None, f"{found}\n{arch}"
    for masks, trace in zip(truth.masks, traces, strict=False):
        assert np.array_equal(masks, trace.masks)
        states = [getattr(trace, state) for state in stepped.STATES]
        assert set(np.sum(states, axis=0).tolist()) == {trace.cycles}
    logits = traces[-1].logits
    assert logits is not None
    assert np.array_equal(truth.logits, logits)
    return packed


# --- random networks on random accelerators --------------------------------------------------


LARGE = (13, 41, 42, 44, 55)
"""Seeds of networks on which the stepped model takes 10 s and more."""


@pytest.mark.parametrize(
    "seed",
    [pytest.param(n, marks=[pytest.mark.long] if n in LARGE else []) for n in range(SEEDS)],
)
def test_random_networks_agree(seed: int) -> None:
    rng = np.random.default_rng([7, seed])
    program = random_program(
        seed, max_side=int(rng.choice((4, 8, 10))), max_filters=int(rng.choice((3, 8, 17)))
    )
    natural, arch = bool(rng.integers(2)), random_arch(seed, weights=seed % 4 == 0)
    check(program, random_pixels(program, seed), arch, natural=natural)


# --- directed cases --------------------------------------------------------------------------


@dataclass(frozen=True)
class Conv:
    """A hidden layer to be: `filters` of `kernel`, weights alive with probability `density`."""

    filters: int
    kernel: int
    stride: int = 1
    padding: int | tuple[int, int] | None = None  # along both axes; half the kernel if None
    average: int = 1
    pool: int = 1
    density: float = 0.3
    threshold: int = 20
    shortcut: tuple[int, ...] = ()  # further segments from these layers, 1x1
    leak: int = 1024
    hard: bool = True
    reset: int = 0

    @property
    def offset(self) -> tuple[int, int]:
        padding = self.kernel // 2 if self.padding is None else self.padding
        return (-padding, -padding) if isinstance(padding, int) else (-padding[0], -padding[1])


def size(shape: tuple[int, int, int], conv: Conv) -> tuple[int, int]:
    """The map between paddings that are the same on both sides, and at least 1x1."""
    height, width = (
        max(1, (n // conv.average - 2 * at - conv.kernel) // conv.stride + 1)
        for n, at in zip(shape[1:], conv.offset, strict=True)
    )
    return height, width


def network(
    first: Conv,
    *hidden: Conv,
    side: tuple[int, int] = (6, 6),
    seed: int = 0,
    timesteps: int = 8,
    end: Conv = Conv(5, 1, density=0.5),
    readout: Readout = Readout.PSUM,
) -> Program:
    """first: the encoder. Behind the hidden layers comes a last one, `end`, on a 1x1 map."""
    rng = np.random.default_rng(seed)
    shape = (2, *side)
    layers: list[Layer] = []
    for index, conv in enumerate((first, *hidden)):
        source = shape if index == 0 else layers[-1].output
        form = (conv.filters, source[0], conv.kernel, conv.kernel)
        segments = [
            Segment(index - 1 if index else PIXELS, weights(rng, form, conv.density), conv.stride,
                    conv.offset, conv.average)
        ]  # fmt: skip
        for origin in conv.shortcut:
            form = (conv.filters, layers[origin].output[0], 1, 1)
            segments.append(Segment(origin, weights(rng, form, 0.5)))
        bias = rng.integers(0, 10, conv.filters).astype(np.int32)
        layers.append(
            Layer(f"l{index}", tuple(segments), bias, size(source, conv), conv.threshold,
                  conv.leak, conv.hard, conv.reset, conv.pool,
                  coding=None if index else Coding.DIRECT)
        )  # fmt: skip
    channels, height, width = layers[-1].output
    while height > 1 or width > 1:  # down to 1x1 by strides of two
        kernel = next(k for k in (1, 3, 5, 7) if k >= min(7, height, width))
        conv = Conv(2, kernel, 2)
        area = size((channels, height, width), conv)
        segment = Segment(len(layers) - 1, weights(rng, (2, channels, kernel, kernel), 0.5), 2,
                          conv.offset)  # fmt: skip
        layers.append(Layer(f"l{len(layers)}", (segment,), np.zeros(2, np.int32), area, 20))
        channels, height, width = layers[-1].output
    last = Segment(len(layers) - 1, weights(rng, (end.filters, channels, 1, 1), end.density))
    bias = np.arange(end.filters, dtype=np.int32)
    layers.append(
        Layer("last", (last,), bias, (1, 1), end.threshold, end.leak, end.hard, end.reset,
              readout=readout)
    )  # fmt: skip
    return Program("directed", timesteps, shape, tuple(layers))


def weights(
    rng: np.random.Generator, form: tuple[int, ...], density: float
) -> npt.NDArray[np.int16]:
    values = rng.integers(-20, 60, form)
    values[rng.random(form) >= density] = 0
    return values.astype(np.int16)


def noise(program: Program, seed: int = 5) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, program.shape).astype(np.uint8)


def counts(packed: Packed, layer: int = 1) -> tuple[int, int, int]:
    """(tiles, chunks, passes) of a layer."""
    found = packed.layers[layer]
    return len(list(stepped.tiles(found))), len(found.chunks), len(found.passes)


def test_several_tiles_with_several_chunks() -> None:
    program = network(Conv(12, 3), Conv(5, 3, density=0.8), side=(7, 6))
    tiles, chunks, passes = counts(check(program, noise(program), replace(TIGHT, chunk_blocks=1)))
    assert (tiles > 1, chunks > 2, passes > 1) == (True, True, True)


@pytest.mark.parametrize("natural", [False, True])
def test_resident_chunk_serves_all_tiles_of_several_passes(natural: bool) -> None:
    program = network(Conv(3, 3), Conv(9, 3), side=(7, 7))
    packed = check(program, noise(program), SMALL, natural=natural)
    assert counts(packed) == (4, 1, 3)


@pytest.mark.parametrize("shortcut", [(0,), (1,), (0, 1), (0, 0, 1, 0)])
def test_layer_with_several_segments(shortcut: tuple[int, ...]) -> None:
    program = network(Conv(6, 3), Conv(6, 3), Conv(6, 3, shortcut=shortcut))
    packed = check(program, noise(program), TIGHT)
    assert {one for one, _, _ in packed.layers[2].chunks} == set(range(len(shortcut) + 1))


@pytest.mark.parametrize("average", [2, 4, 8])
def test_average_pool_in_front(average: int) -> None:
    program = network(Conv(5, 3), Conv(4, 3, average=average, density=0.9), side=(8, 16))
    check(program, noise(program), SMALL)


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("issue", [1, 2])
def test_kernels_and_strides(kernel: int, stride: int, issue: int) -> None:
    program = network(Conv(5, 3), Conv(6, kernel, stride, kernel - 1), side=(6, 5))
    check(program, noise(program), replace(SMALL, issue=issue))


@pytest.mark.parametrize("kernel_max", [3, pytest.param(5, marks=pytest.mark.long), 7])
@pytest.mark.parametrize("timesteps", [1, 3, 5, 8])
@pytest.mark.parametrize("issue", [1, 2])
def test_lanes_of_any_number(kernel_max: int, timesteps: int, issue: int) -> None:
    """A row of accumulators of which some lanes have no sum, and rows of few digits."""
    program = network(Conv(7, 3), Conv(9, kernel_max, density=0.6), side=(3, 5), timesteps=5)
    arch = replace(SMALL, timesteps=timesteps, issue=issue, kernel_max=kernel_max)
    check(program, noise(program), replace(arch, accumulators=4, lane_depth=8))
    check(program, noise(program), replace(arch, accumulators=512))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", [(2, 0), (0, 1), (-1, 2), (-2, -1), (-20, 0), (9, -9)])
def test_offsets_of_either_sign(stride: int, padding: tuple[int, int]) -> None:
    program = network(Conv(5, 3), Conv(6, 3, stride, padding, density=0.8), side=(7, 6))
    check(program, noise(program), SMALL)


@pytest.mark.parametrize("average", [1, 2])
def test_a_map_larger_than_what_reaches_it(average: int) -> None:
    program = network(Conv(5, 3), Conv(6, 3, average=average, density=0.8), side=(4, 6))
    grown = replace(program.layers[1], size=(9, 7))
    layers = [program.layers[0], grown]
    segment = Segment(1, weights(np.random.default_rng(1), (3, 6, 7, 7), 0.4), 2, (-2, 3))
    layers.append(Layer("end", (segment,), np.zeros(3, np.int32), (1, 1), 1, readout=Readout.COUNT))
    check(replace(program, layers=tuple(layers)), noise(program), SMALL)


# Of the neurons: leak, hard, reset. Every one fires now and then, and carries something.
NEURONS = [(0, True, 0), (1024, True, 0), (3686, False, 18), (4096, False, 20), (4095, True, -7)]


@pytest.mark.parametrize(("leak", "hard", "reset"), NEURONS)
@pytest.mark.parametrize(
    ("timesteps", "at_once"), [(32, 8), (5, 4), (4, 4), (3, 4), (9, 1), (7, 3)]
)
def test_groups_of_timesteps(
    timesteps: int, at_once: int, leak: int, hard: bool, reset: int
) -> None:
    kind: dict[str, Any] = {"leak": leak, "hard": hard, "reset": reset}
    program = network(
        Conv(7, 3),
        Conv(5, 3, pool=2, **kind),
        Conv(6, 3, shortcut=(1,), **kind),
        timesteps=timesteps,
        side=(6, 4),
        end=Conv(5, 1, density=0.9, **kind),
        readout=Readout.MEMBRANE,
    )
    packed = check(program, noise(program), replace(SMALL, timesteps=at_once))
    assert packed.groups == -(-timesteps // at_once)


@pytest.mark.parametrize("chunk_blocks", [1, 8])
def test_groups_of_several_tiles_and_chunks(chunk_blocks: int) -> None:
    program = network(Conv(12, 3), Conv(5, 3, density=0.8), side=(7, 6), timesteps=7)
    arch = replace(TIGHT if chunk_blocks == 1 else SMALL, chunk_blocks=chunk_blocks, timesteps=3)
    tiles, chunks, _ = counts(check(program, noise(program), arch))
    assert tiles > 1
    assert (chunks > 2) == (chunk_blocks == 1)


@pytest.mark.parametrize("readout", list(Readout))
@pytest.mark.parametrize("timesteps", [8, 13])
@pytest.mark.parametrize("pes", [2, 4])
def test_readouts(readout: Readout, timesteps: int, pes: int) -> None:
    end = Conv(9, 1, density=0.9, leak=3000, hard=False, reset=11)
    program = network(
        Conv(5, 3, threshold=1), Conv(8, 3), timesteps=timesteps, end=end, readout=readout
    )
    check(program, noise(program), replace(SMALL, timesteps=4, pes=pes))


@pytest.mark.parametrize(("pes", "timesteps"), [(16, 4), (16, 5), (32, 8), (1, 1)])
def test_words_of_the_input(pes: int, timesteps: int) -> None:
    program = network(Conv(20, 3), Conv(3, 1), side=(5, 3), timesteps=10)
    arch = replace(SMALL, pes=pes, timesteps=timesteps, stream_depth=4, row_entries=1)
    packed = check(program, noise(program), arch)
    assert packed.arch.input_words == -(-pes * timesteps // 64)


@pytest.mark.parametrize("coding", [Coding.RATE, Coding.LATENCY])
def test_an_input_without_a_convolution(coding: Coding) -> None:
    program = network(Conv(2, 1), Conv(4, 3), timesteps=12)
    shape = program.shape
    host = Layer("input", (), np.zeros(shape[0], np.int32), shape[1:], 1, coding=coding)
    check(replace(program, layers=(host, *program.layers[1:])), noise(program), SMALL)


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("density", [0.1, 0.6])
def test_several_filters_of_a_pe_share_header_words(kernel: int, density: float) -> None:
    program = network(Conv(7, 3), Conv(15, kernel, density=density), side=(4, 4))
    packed = check(program, noise(program), replace(SMALL, pes=2, accumulators=256))
    assert packed.layers[1].slots == 8


@pytest.mark.parametrize("kernel", [5, 7])
@pytest.mark.parametrize("density", [0.004, 0.02])
def test_large_kernels_without_weights_skip_far(kernel: int, density: float) -> None:
    program = network(Conv(16, 3), Conv(16, kernel, density=density), side=(5, 5))
    check(program, noise(program), replace(SMALL, slots=4, accumulators=256))


def test_pool_behind_the_lif() -> None:
    program = network(Conv(5, 3, pool=2), Conv(6, 3, pool=2), side=(8, 12))
    check(program, noise(program), SMALL)


def test_silent_input() -> None:
    first = Conv(6, 3, threshold=1000)
    program = network(first, Conv(5, 3, threshold=1000), side=(6, 6))
    pixels = np.zeros(program.shape, dtype=np.uint8)
    assert not reference.run(program, pixels).masks[0].any()
    check(program, pixels, TIGHT)


def test_all_neurons_fire_all_the_time() -> None:
    program = network(Conv(6, 1, density=1.0, threshold=1), Conv(5, 3), side=(6, 6))
    host = replace(program.layers[0], segments=(
        replace(program.layers[0].segments[0], weights=np.full((6, 2, 1, 1), 9, np.int16)),
    ))  # fmt: skip
    program = replace(program, layers=(host, *program.layers[1:]))
    pixels = np.full(program.shape, 255, dtype=np.uint8)
    assert (reference.run(program, pixels).masks[0] == 255).all()
    check(program, pixels, SMALL)


@pytest.mark.parametrize(
    ("fifo_depth", "match_depth", "lane_depth"), [(1, 1, 8), (64, 4, 16), (2, 2, 32), (3, 8, 8)]
)
@pytest.mark.parametrize("density", [0.05, 1.0])
@pytest.mark.parametrize("issue", [1, 2])
def test_short_queues(
    fifo_depth: int, match_depth: int, lane_depth: int, density: float, issue: int
) -> None:
    program = network(Conv(12, 3, threshold=1), Conv(6, 3, density=density), side=(5, 4))
    arch = replace(SMALL, fifo_depth=fifo_depth, match_depth=match_depth)
    check(program, noise(program), replace(arch, lane_depth=lane_depth, issue=issue))


def test_one_pe() -> None:
    program = network(Conv(3, 3), Conv(4, 3), side=(5, 5))
    check(program, noise(program), replace(SMALL, pes=1))


def test_more_pes_than_filters() -> None:
    program = network(Conv(3, 3), Conv(2, 3), side=(5, 5))
    check(program, noise(program), replace(SMALL, pes=64))


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets(name: str) -> None:
    program = network(Conv(20, 3), Conv(18, 3), side=(6, 6), timesteps=4)
    check(program, noise(program), PRESETS[name])


def test_program_with_fewer_timesteps_than_the_arch() -> None:
    program = network(Conv(5, 3), Conv(4, 3), timesteps=3)
    assert check(program, noise(program), SMALL).last_timesteps == 3


# --- the stepped model is hardware -----------------------------------------------------------


def test_the_stepped_model_imports_neither_of_the_others() -> None:
    texts = [path.read_text() for path in Path(stepped.__file__).parent.glob("*.py")]
    assert set(re.findall(r"\b(evenspike_\w+)", "".join(texts))) == {"evenspike_core"}


@pytest.mark.parametrize("issue", [1, 2])
def test_blocks_may_step_in_any_order(issue: int) -> None:
    program = network(Conv(12, 3), Conv(5, 3, density=0.8), side=(7, 6))
    packed = build(program, replace(TIGHT, fifo_depth=2, lane_depth=8, issue=issue))
    masks = reference.encode(program, noise(program))
    ordered = results(stepped.run(packed, masks))
    for seed in range(2):
        shuffled = stepped.Machine(packed, masks, shuffle=seed).run()
        assert first_divergence(ordered, results(shuffled)) is None


def test_storage_has_one_driver_and_ports_serve_once_a_cycle() -> None:
    clock = stepped.Clock()
    register = stepped.Reg(clock, 0)
    register.set(1)
    assert register.q == 0
    with pytest.raises(AssertionError, match="two drivers"):
        register.set(2)
    memory = stepped.Ram(clock, 4, 0)
    memory.read(1)
    memory.write(1, 5)
    with pytest.raises(AssertionError, match="two reads"):
        memory.read(2)
    with pytest.raises(AssertionError, match="two writes"):
        memory.write(2, 5)
    queue: stepped.Queue[int] = stepped.Queue(clock, 1)
    queue.push(3)
    assert queue.empty
    clock.tick()
    assert (register.q, memory.out, memory.cells[1], queue.head) == (1, 0, 5, 3)
    queue.pop()
    with pytest.raises(AssertionError, match="full"):
        queue.push(4)  # room counts from the next cycle on
    pulse: stepped.Pulse[int] = stepped.Pulse(clock)
    seen = []
    for given in (7, 8, None, None, 9):
        if given is not None:
            pulse.set(given)
        clock.tick()
        seen.append(pulse.q)
    assert seen == [7, 8, None, None, 9], "one cycle each"
    wide: stepped.Queue[int] = stepped.Queue(clock, 3, pushes=2)
    wide.push(1)
    wide.push(2)
    with pytest.raises(AssertionError, match="more pushes"):
        wide.push(3)
    clock.tick()
    assert list(wide.items) == [1, 2]
    wide.push(3)
    with pytest.raises(AssertionError, match="full"):
        wide.push(4)


# --- the comparison can fail -----------------------------------------------------------------


@pytest.fixture(scope="module")
def example() -> Example:
    """An image with tiles, groups, chunks and passes, and what the stepped model says about it."""
    program = network(Conv(12, 3), Conv(5, 3, density=0.8), Conv(3, 3), side=(5, 6))
    arch = replace(TIGHT, fifo_depth=4, stream_depth=8, timesteps=5, match_depth=4, lane_depth=8)
    packed = build(program, arch)
    masks = reference.encode(program, noise(program))
    return packed, masks, stepped.run(packed, masks)


def against_model(example: Example, arch: Arch) -> str:
    packed, masks, truth = example
    return str(difference(replace(packed, arch=arch), masks, truth))


def test_example_agrees(example: Example) -> None:
    assert against_model(example, example[0].arch) == "None"


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (accelerator, "BARRIER_LATENCY"),
        (accelerator, "LAYER_SETUP"),
        (accelerator, "BIAS_READS"),
        (port, "DONE_LATENCY"),
    ],
)
@pytest.mark.parametrize("change", [-1, 1])
def test_latency_off_by_one_is_seen(
    monkeypatch: pytest.MonkeyPatch,
    example: Example,
    module: Any,
    name: str,
    change: int,
) -> None:
    monkeypatch.setattr(module, name, getattr(module, name) + change)
    assert "layer l" in against_model(example, example[0].arch)


@pytest.mark.parametrize("name", ["drain_latency", "carry_latency"])
@pytest.mark.parametrize("change", [-1, 1])
def test_latency_of_a_drain_off_by_one_is_seen(
    monkeypatch: pytest.MonkeyPatch, example: Example, name: str, change: int
) -> None:
    arch = example[0].arch
    monkeypatch.setattr(Arch, name, getattr(arch, name) + change)
    assert "layer l1" in against_model(example, arch)


@pytest.mark.parametrize("change", [-1, 1])
def test_decode_latency_off_by_one_is_seen(
    monkeypatch: pytest.MonkeyPatch,
    example: Example,
    change: int,
) -> None:
    # Compiled code has the constant built in; the Python function behind it looks it up.
    kernel: Callable[..., None] = pe.run_chunk.py_func
    monkeypatch.setattr(pe, "run_chunk", kernel)
    assert against_model(example, example[0].arch) == "None"
    monkeypatch.setattr(pe, "DECODE_LATENCY", pe.DECODE_LATENCY + change)
    assert "layer l1" in against_model(example, example[0].arch)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("memory_latency", 15),
        ("memory_latency", 17),
        ("stream_depth", 7),
        ("stream_depth", 9),
        ("fifo_depth", 3),
        ("fifo_depth", 5),
        ("match_depth", 3),
        ("match_depth", 5),
        ("lane_depth", 16),
        ("issue", 1),
        ("lif_shared", 1),
    ],
)
def test_another_arch_is_seen(example: Example, field: str, value: int) -> None:
    change: dict[str, Any] = {field: value}
    assert "layer l" in against_model(example, replace(example[0].arch, **change))


def test_message_names_layer_pe_counter_and_values() -> None:
    truth = LayerTrace(
        "conv", 9, [1, 2], [0, 0], [8, 7], [0, 0], [0, 0], np.zeros((1, 1, 1), np.uint8)
    )
    wrong = replace(truth, busy=[1, 3], waiting=[8, 6])
    compare = partial(first_divergence, names=("stepped", "model"))
    found = compare(results([truth]), results([wrong]))
    assert str(found) == "layer conv, PE 1: busy 2 in stepped, 3 in model"
