"""Accelerator: the reference's spikes, the counters that follow, and always the same result."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from evenspike.flows import explore
from evenspike_core import reference
from evenspike_core.arch import Arch, preset
from evenspike_core.counters import STATES
from evenspike_core.errors import EvenspikeError
from evenspike_core.mapping import Cost, LayerMapping, choose, filter_cost
from evenspike_core.pack import Packed, pack
from evenspike_core.program import PIXELS, Program, Segment
from evenspike_core.trace import Span, perfetto
from evenspike_sim.accelerator import Accelerator, LayerRun
from evenspike_sim.cost import draw, layer_cost
from evenspike_sim.energy_table import ACTIONS
from evenspike_sim.spikes import SpikeMap, count_spikes
from tests.helpers.archs import random_arch, random_mapping
from tests.helpers.networks import random_pixels, random_program
from tests.helpers.tiny import Untouchable

TRACE = Path(__file__).parents[3] / "shared" / "traces" / "vgg16-cifar10-spikes.npz"
SEEDS = range(60)

Masks = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Case:
    """One image of a random network on a random accelerator, and what the reference says."""

    program: Program
    packed: Packed
    truth: reference.Activity
    runs: list[LayerRun]


def case(seed: int) -> Case:
    program = random_program(seed)
    arch = random_arch(seed)
    packed = pack(program, random_mapping(program, arch, seed), arch)
    pixels = random_pixels(program, seed)
    truth = reference.run(program, pixels)
    runs = Accelerator(replace(packed, program=Untouchable())).run(truth.currents)
    return Case(program, packed, truth, runs)


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return [case(seed) for seed in SEEDS]


def counters(run: LayerRun) -> dict[str, object]:
    """Every field, comparable with `==`."""
    return {
        field.name: value.tolist() if isinstance(value, np.ndarray) else value
        for field in dataclasses.fields(run)
        for value in (getattr(run, field.name),)
    }


# --- results --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_spikes_and_logits_are_the_references(cases: list[Case], seed: int) -> None:
    one = cases[seed]
    assert [run.name for run in one.runs] == [layer.name for layer in one.program.layers]
    for run, masks in zip(one.runs[:-1], one.truth.masks, strict=True):
        assert run.logits is None
        assert run.masks.dtype == np.uint8
        assert np.array_equal(run.masks, masks), run.name
    logits = one.runs[-1].logits
    assert logits is not None
    assert logits.tolist() == one.truth.logits.tolist()
    assert not one.runs[-1].masks.any()


def test_the_cases_have_spikes_and_logits(cases: list[Case]) -> None:
    fired = [bool(masks.any()) for one in cases for masks in one.truth.masks]
    assert 0.3 < np.mean(fired) < 1
    assert sum(bool(one.truth.logits.any()) for one in cases) > 40
    passes = [len(d.slots_used) for one in cases for d in one.packed.layers]
    chunks = [len(d.chunks) for one in cases for d in one.packed.layers]
    tiles = [
        -(-d.size[0] // d.tile[0]) * -(-d.size[1] // d.tile[1])
        for one in cases
        for d in one.packed.layers
    ]
    assert min(max(passes), max(chunks), max(tiles)) >= 4


@pytest.mark.parametrize("seed", SEEDS)
def test_every_layer_on_drawn_spikes(cases: list[Case], seed: int) -> None:
    """In many a random network the last layers fall silent: drawn spikes keep each layer busy."""
    one = cases[seed]
    program, accelerator = one.program, Accelerator(one.packed)
    inputs = draw(program, [np.full(layer.filters, 0.6) for layer in program.layers], seed)
    for index, layer in enumerate(program.layers[1:], start=1):
        expected = reference.run_layer(program, index, dict(enumerate(inputs)))
        run = accelerator.run_layer(index, [inputs[s.source] for s in layer.segments])
        if expected.masks is None:
            assert run.logits is not None
            assert run.logits.tolist() == reference.logits(program, expected.psum).tolist()
        else:
            assert np.array_equal(run.masks, expected.masks)
        states = np.array([getattr(run, state) for state in STATES])
        assert (states >= 0).all()
        assert set(states.sum(axis=0).tolist()) == {run.cycles}


# --- counters -------------------------------------------------------------------------------


def test_states_of_every_pe_add_up_to_the_cycles(cases: list[Case]) -> None:
    for one in cases:
        for run in one.runs:
            states = np.array([getattr(run, state) for state in STATES])
            assert states.shape == (len(STATES), one.packed.arch.pes)
            assert (states >= 0).all(), run.name
            assert set(states.sum(axis=0).tolist()) == {run.cycles}, run.name
            assert run.cycles > 0


def spikes(masks: Masks) -> int:
    return sum(int(value).bit_count() for value in masks.reshape(-1))


def alive(segment: Segment) -> Segment:
    """The same connections, every living weight 1."""
    return replace(segment, weights=(segment.weights != 0).astype(np.int16))


def test_counts_follow_from_the_spikes_and_the_weights(cases: list[Case]) -> None:
    for one in cases:
        program, masks = one.program, one.truth.masks
        for index, (layer, run) in enumerate(zip(program.layers, one.runs, strict=True)):
            assert run.overflows == 0
            assert run.spikes_out == (0 if layer.last else spikes(masks[index]))
            if layer.host:
                assert run.spikes_in == run.accumulations == run.broadcasts == 0
                assert not run.busy.any()
                continue
            inputs = [masks[s.source] for s in layer.segments]
            assert run.spikes_in == sum(spikes(m) for m in inputs)
            added, matched = 0, np.zeros(layer.filters, dtype=np.int64)
            for m, s in zip(inputs, layer.segments, strict=True):
                planes = reference.timestep_planes(m, program.timesteps)
                added += int(reference.convolve(planes, alive(s)).sum())
                active = (m != 0).astype(np.uint8)[None]
                matched += reference.convolve(active, alive(s))[0].sum(axis=(1, 2))
            assert run.accumulations == added
            lanes = one.packed.layers[index].blocks
            work = np.where(lanes >= 0, matched[lanes], 0).sum(axis=0)
            assert run.busy.tolist() == work.tolist(), "a matched weight is one cycle of its PE"


def test_words_are_those_of_the_stream_once_for_each_load(cases: list[Case]) -> None:
    for one in cases:
        arch = one.packed.arch
        for layer, found, run in zip(one.program.layers, one.packed.layers, one.runs, strict=True):
            height, width = layer.size
            if layer.host:
                expected = found.blocks.shape[0] * height * width * -(-arch.pes * 24 // 64)
            else:
                tiles = -(-height // found.tile[0]) * -(-width // found.tile[1])
                loads = tiles if len(found.chunks) > 1 else 1
                expected = loads * sum(words for _, words in found.passes)
            assert run.words_loaded == expected


def test_drain_cycles_follow_from_the_map(cases: list[Case]) -> None:
    for one in cases:
        arch = one.packed.arch
        for layer, found, run in zip(one.program.layers, one.packed.layers, one.runs, strict=True):
            height, width = layer.size
            tiles = -(-height // found.tile[0]) * -(-width // found.tile[1])
            each = -(-arch.pes * 32 // 64) if layer.last else 1
            blocks = sum(found.slots_used)
            expected = blocks * (height * width * each + (0 if layer.host else 2 * tiles))
            assert run.draining.tolist() == [expected] * arch.pes


def test_every_action_has_an_energy(cases: list[Case]) -> None:
    for one in cases:
        for run in one.runs:
            assert set(run.actions) <= set(ACTIONS)
            assert all(type(n) is int and n >= 0 for n in run.actions.values())
            assert run.actions["leakage_cycle"] == run.cycles * one.packed.arch.pes


@pytest.mark.parametrize("seed", range(10))
def test_busy_is_the_cost_that_the_mapper_balances(seed: int) -> None:
    program = random_program(seed)
    arch = random_arch(seed)
    packed = pack(program, random_mapping(program, arch, seed), arch)
    accelerator = Accelerator(packed)
    for index, layer in enumerate(program.layers[1:], start=1):
        sources = [program.layers[s.source].output for s in layer.segments]
        run = accelerator.run_layer(index, [np.ones(shape, dtype=np.uint8) for shape in sources])
        lanes = packed.layers[index].blocks
        cost = filter_cost(program, layer, ())
        assert run.busy.tolist() == np.where(lanes >= 0, cost[lanes], 0).sum(axis=0).tolist()


# --- the same result always -----------------------------------------------------------------


@pytest.mark.parametrize("seed", [9, 14, 17])
def test_results_do_not_depend_on_threads_or_on_what_ran_before(seed: int) -> None:
    program = random_program(seed)
    arch = random_arch(seed)
    accelerator = Accelerator(pack(program, choose(program, arch), arch))
    currents = [
        reference.host_currents(program, random_pixels(program, packed)) for packed in range(8)
    ]
    alone = [[counters(run) for run in accelerator.run(one)] for one in currents]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(accelerator.run, currents * 2))
    assert [[counters(run) for run in runs] for runs in together] == alone * 2
    again = [[counters(run) for run in accelerator.run(one)] for one in reversed(currents)]
    assert again == alone[::-1]
    assert len({str(one) for one in alone}) > 1, "the images differ"


def test_a_trace_changes_nothing_and_can_be_shown(cases: list[Case]) -> None:
    for one in cases[:30]:
        spans: list[Span] = []
        runs = Accelerator(one.packed).run(one.truth.currents, spans)
        assert [counters(run) for run in runs] == [counters(run) for run in one.runs]
        pes = {f"PE {pe}" for pe in range(one.packed.arch.pes)}
        blocks = {"layers", "memory port", "collector", "APU"}
        assert {span.track for span in spans} == blocks | pes
        perfetto(spans)  # refuses what overlaps on a track


@pytest.mark.parametrize("seed", SEEDS)
def test_the_states_of_a_trace_add_up_to_the_counters(cases: list[Case], seed: int) -> None:
    one, spans = cases[seed], list[Span]()
    Accelerator(one.packed).run(one.truth.currents, spans)
    end = 1
    for run in one.runs:
        for pe in range(one.packed.arch.pes):
            of = [s for s in spans if s.track == f"PE {pe}" and s.args["layer"] == run.name]
            assert [s.start for s in of] == [end, *(s.start + s.duration for s in of[:-1])], "gaps"
            found = dict.fromkeys(STATES, 0)
            for span in of:
                parts = {state: span.args[state] for state in STATES if state in span.args}
                assert sum(parts.values()) in {0, span.duration}
                for state, cycles in (parts or {span.name: span.duration}).items():
                    found[state] += cycles
            assert found == {state: int(getattr(run, state)[pe]) for state in STATES}
        end += run.cycles
    chunks = [span.args for span in spans if span.track == "PE 0" and span.name == "busy"]
    assert all({"pass", "tile", "chunk", "busy", "starved"} < set(args) for args in chunks)


# --- one layer ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_a_layer_alone_computes_what_it_does_in_the_network(cases: list[Case], seed: int) -> None:
    one = cases[seed]
    accelerator = Accelerator(one.packed)
    state = accelerator.fresh()
    for index, layer in enumerate(one.program.layers[1:], start=1):
        inputs = [one.truth.masks[s.source] for s in layer.segments]
        alone = accelerator.run_layer(index, inputs)
        behind = accelerator.run_layer(index, inputs, state)
        for run in (alone, behind):
            assert np.array_equal(run.masks, one.runs[index].masks)
            assert (run.logits is None) == (not layer.last)
            if run.logits is not None:
                assert run.logits.tolist() == one.truth.logits.tolist()
            assert run.busy.tolist() == one.runs[index].busy.tolist()
            assert run.actions["memory_word"] == one.runs[index].actions["memory_word"]
            total = sum(getattr(run, state_) for state_ in STATES)
            assert set(total.tolist()) == {run.cycles}
        only = Accelerator(one.packed, only=index).run_layer(index, inputs)
        assert counters(only) == counters(alone)


def test_loads_run_ahead_of_the_layer_before() -> None:
    """A layer alone waits for its weights; behind another they came in while that one ran."""
    inputs = [np.full((16, 8, 8), 15, dtype=np.uint8)] * 3
    load = explore.trace({f"{n}_in": one for n, one in zip("abc", inputs, strict=True)}, density=20)
    accelerator = Accelerator(pack(load.program, choose(load.program, Arch()), Arch()))
    state = accelerator.fresh()
    for index in (1, 2, 3):
        alone = accelerator.run_layer(index, inputs[:1])
        behind = accelerator.run_layer(index, inputs[:1], state)
        assert alone.loading.min() > 16, "the latency of the memory"
        if index > 1:
            assert behind.loading.tolist() == [0] * 16
            assert behind.cycles < alone.cycles - 150
        else:
            assert counters(behind) == counters(alone)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda _: [], r"0 inputs for 1 segments"),
        (lambda m: [m, m], r"2 inputs for 1 segments"),
        (lambda m: [m[:, :-1]], r"input 0 is uint8 \(4, 3, 4\), not uint8 \(4, 4, 4\)"),
        (lambda m: [m[:-1]], r"input 0 is uint8 \(3, 4, 4\), not uint8 \(4, 4, 4\)"),
        (lambda m: [m.astype(np.int64)], r"input 0 is int64 \(4, 4, 4\), not uint8 \(4, 4, 4\)"),
        (lambda m: [m + 16], r"input 0 has a mask of 16, more than 4 timesteps"),
    ],
)
def test_inputs_of_a_layer_are_checked(change: object, says: str) -> None:
    silent = np.zeros((4, 4, 4), dtype=np.uint8)
    load = explore.trace({"conv_in": silent}, density=50, timesteps=4)
    packed = pack(load.program, choose(load.program, Arch()), Arch())
    assert callable(change)
    with pytest.raises(EvenspikeError, match=f"^layer conv: {says}$"):
        Accelerator(packed).run_layer(1, change(silent))


def test_currents_of_another_shape(cases: list[Case]) -> None:
    one = cases[0]
    first = one.program.layers[0]
    shape = (first.filters, *first.size)
    for wrong in ((first.filters + 1, *first.size), (*shape, 1), shape[1:], (0, 0, 0)):
        with pytest.raises(EvenspikeError) as caught:
            Accelerator(one.packed).run(np.zeros(wrong, dtype=np.int32))
        message = f"layer {first.name}: currents are {wrong}, not {shape}"
        assert str(caught.value) == message


@pytest.mark.parametrize("seed", range(10))
def test_csr_holds_the_masks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    filters, pes = int(rng.integers(1, 20)), int(rng.choice((1, 4, 16)))
    dense = rng.integers(0, 16, (filters, 5, 7)).astype(np.uint8)
    dense[rng.random(dense.shape) < 0.7] = 0
    lanes = np.full(-(-filters // pes) * pes, -1, dtype=np.int32)
    lanes[rng.permutation(lanes.size)[:filters]] = rng.permutation(filters)
    blocks = lanes.reshape(-1, pes)
    csr = SpikeMap.encode(dense, blocks)
    assert np.array_equal(csr.decode(blocks, filters), dense)
    for block, y in np.ndindex(*csr.counts.shape):
        count = csr.counts[block, y]
        assert csr.masks[block, y, :count].any(axis=1).all(), "an entry has a spike"
        assert (np.diff(csr.columns[block, y, :count].astype(int)) > 0).all()
    csr.masks[csr.masks == 0] = 255  # what lies behind the entries in use does not count
    used = np.arange(7)[None, None, :] < csr.counts[..., None]
    csr.masks[used] = np.where(csr.masks[used] == 255, 0, csr.masks[used])
    assert count_spikes(csr.masks, csr.counts) == count_spikes(dense) == spikes(dense)


# --- presets, the mapper's cost, and the trace ----------------------------------------------


def total(runs: list[LayerRun]) -> int:
    return sum(run.cycles for run in runs)


def test_the_paper_preset_runs_one_filter_a_pass() -> None:
    program = random_program(7, timesteps=4)
    pixels = random_pixels(program, 0)
    truth = reference.run(program, pixels)
    for name in ("paper", "packed"):
        arch = preset(name)
        packed = pack(program, choose(program, arch, natural=name == "paper"), arch)
        runs = Accelerator(packed).run(truth.currents)
        assert runs[-1].logits is not None
        assert runs[-1].logits.tolist() == truth.logits.tolist()
        for layer, found in zip(program.layers, packed.layers, strict=True):
            if name == "paper":
                assert found.slots == 1
                assert len(found.slots_used) == -(-layer.filters // 16)


def test_a_program_with_fewer_timesteps_than_the_arch_has() -> None:
    program = random_program(4, timesteps=2)
    truth = reference.run(program, random_pixels(program, 0))
    results = []
    for timesteps in (2, 3, 8):
        arch = Arch(timesteps=timesteps)
        runs = Accelerator(pack(program, choose(program, arch), arch)).run(truth.currents)
        assert runs[-1].logits is not None
        assert runs[-1].logits.tolist() == truth.logits.tolist()
        results.append([run.masks.tolist() for run in runs])
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("seed", range(4))
def test_the_cost_of_a_candidate_is_what_the_layer_takes_alone(seed: int) -> None:
    program, arch = random_program(seed), random_arch(seed)
    rates = [np.full(layer.filters, 0.4) for layer in program.layers]
    inputs = draw(program, rates, seed)
    cost = layer_cost(arch, inputs)
    mapping = random_mapping(program, arch, seed)
    accelerator = Accelerator(pack(program, mapping, arch))
    for index, layer in enumerate(program.layers[1:], start=1):
        run = accelerator.run_layer(index, [inputs[s.source] for s in layer.segments])
        plan = mapping[:index], mapping[index]
        assert cost(program, index, *plan, None) == run.cycles
        assert cost(program, index, *plan, run.cycles + 1) == run.cycles
        assert run.cycles // 9 <= cost(program, index, *plan, run.cycles // 9) <= run.cycles


def test_a_candidate_that_is_not_run_would_not_have_been_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = 0
    real = Accelerator.run_layer

    def counted(*given: Any) -> LayerRun:
        nonlocal runs
        runs += 1
        return real(*given)

    monkeypatch.setattr(Accelerator, "run_layer", counted)
    saved = 0
    for seed in range(20):
        program, arch = random_program(seed), replace(random_arch(seed), chunk_blocks=1)
        cost = layer_cost(arch, draw(program, (), seed))

        def unbounded(
            program: Program,
            index: int,
            before: Sequence[LayerMapping],
            candidate: LayerMapping,
            _: int | None,
            cost: Cost = cost,
        ) -> int:
            return cost(program, index, before, candidate, None)

        start = runs
        found = choose(program, arch, cost)
        middle = runs
        whole = choose(program, arch, unbounded)
        saved += (runs - middle) - (middle - start)
        for one, other in zip(found, whole, strict=True):
            assert (one.tile, one.chunks) == (other.tile, other.chunks)
    assert saved > 20


@pytest.mark.parametrize("seed", range(4))
def test_the_mapper_does_not_lose_to_the_largest_tile(seed: int) -> None:
    program, arch = random_program(seed + 30), random_arch(seed)
    inputs = draw(program, (), seed)
    cost = layer_cost(arch, inputs)
    first = choose(program, arch)
    best = choose(program, arch, cost)
    # Same order of the source's lanes, so that only this layer's choice differs.
    index = next(n for n, layer in enumerate(program.layers) if n and not layer.last)
    if any(s.source == PIXELS for s in program.layers[index].segments):
        pytest.fail("the second layer reads the first")
    assert cost(program, index, best[:index], best[index], None) <= cost(
        program, index, first[:index], first[index], None
    )


def test_drawn_activity_has_the_rates_asked_for() -> None:
    program = random_program(5, timesteps=4)
    silent = np.zeros((8, 64, 64), dtype=np.uint8)
    big = explore.trace({"conv_in": silent}, density=1, timesteps=4).program
    rates = np.linspace(0, 1, 8)
    drawn = draw(big, [rates], 1)
    assert np.allclose((drawn[0] != 0).mean(axis=(1, 2)), rates, atol=0.03)
    assert set(np.unique(drawn[0])) == set(range(16))
    assert (drawn[1] != 0).mean() == pytest.approx(0.25, abs=0.02), "a quarter without activity"
    for one, two in zip(draw(program, (), 3), draw(program, (), 3), strict=True):
        assert np.array_equal(one, two)
    assert not np.array_equal(draw(big, (), 3)[0], draw(big, (), 4)[0])


@pytest.mark.skipif(not TRACE.is_file(), reason="the spikes of a VGG-16 are not beside the tree")
def test_vgg16_trace_at_the_fitted_densities() -> None:
    """The design's target on recorded spikes: at most 520k cycles, the PEs busy in 80 % of them."""
    load = explore.trace(TRACE)
    run = explore.explore(load)
    assert len(run.layers) == 12
    assert run.bit_exact
    assert run.cycles <= 520_000
    assert run.utilization >= 0.80
