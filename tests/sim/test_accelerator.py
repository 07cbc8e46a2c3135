"""Accelerator: the reference's spikes, the counters that follow, and always the same result."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evenspike.flows import explore
from evenspike_core import reference
from evenspike_core.arch import Arch, preset
from evenspike_core.counters import STATES
from evenspike_core.errors import EvenspikeError
from evenspike_core.fixed import mask_type
from evenspike_core.mapping import Cost, LayerMapping, choose, filter_cost
from evenspike_core.pack import Packed, pack
from evenspike_core.program import Program, Readout, Segment
from evenspike_core.trace import Span, perfetto
from evenspike_sim.accelerator import Accelerator, LayerRun
from evenspike_sim.collector import _neuron
from evenspike_sim.cost import draw, layer_cost
from evenspike_sim.energy_table import ACTIONS
from evenspike_sim.pe import PSUM_MAX, PSUM_MIN
from evenspike_sim.spikes import Masks, SpikeMap, count_spikes, join, split
from tests.helpers.archs import random_arch, random_mapping
from tests.helpers.networks import random_pixels, random_program
from tests.helpers.tiny import Untouchable

TRACE = Path(__file__).parents[3] / "shared" / "traces" / "vgg16-cifar10-spikes.npz"
SEEDS = range(60)


@dataclass(frozen=True)
class Case:
    """One image of a random network on a random accelerator, and what the reference says."""

    program: Program
    packed: Packed
    truth: reference.Activity
    runs: list[LayerRun]


def case(seed: int) -> Case:
    program = random_program(seed)
    arch = random_arch(seed, weights=seed % 6 == 0)
    packed = pack(program, random_mapping(program, arch, seed), arch)
    pixels = random_pixels(program, seed)
    truth = reference.run(program, pixels)
    runs = Accelerator(replace(packed, program=Untouchable())).run(truth.masks[0])
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
        assert run.masks.dtype == mask_type(one.program.timesteps)
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
    groups = [one.packed.groups for one in cases]
    assert min(max(passes), max(chunks), max(tiles), max(groups)) >= 4
    ends = {(one.packed.groups > 1, one.program.layers[-1].readout) for one in cases}
    assert len(ends) == 2 * len(Readout)


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
            assert expected.logits is not None
            assert run.logits.tolist() == expected.logits.tolist()
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
            step, groups = one.packed.arch.timesteps, one.packed.groups
            assert run.spikes_in == sum(spikes(m) for m in inputs)
            added, matched = 0, np.zeros(layer.filters, dtype=np.int64)
            for m, s in zip(inputs, layer.segments, strict=True):
                planes = reference.timestep_planes(m, program.timesteps)
                added += int(reference.convolve(planes, alive(s), layer.size).sum())
                active = np.array([planes[g * step : (g + 1) * step].any(0) for g in range(groups)])
                sums = reference.convolve(active.astype(np.uint8), alive(s), layer.size)
                matched += sums.sum(axis=(0, 2, 3))
            assert run.accumulations == added
            lanes = one.packed.layers[index].blocks
            work = np.where(lanes >= 0, matched[lanes], 0).sum(axis=0)
            assert run.actions["select"] == work.sum()
            arch = one.packed.arch
            if arch.gates == "weights":
                assert (run.busy <= work).all(), "a matched weight is one cycle of its PE at most"
                assert (run.busy * 4 >= work).all(), "four issue in a cycle at most"
            elif arch.issue == 1 or arch.timesteps == 1:
                assert run.busy.tolist() == work.tolist(), "a matched weight is one cycle of its PE"
            else:
                assert (run.busy * arch.banks >= work).all(), "a weight issues in one lane at least"
                assert added <= run.busy.sum() * arch.banks
                assert run.busy.sum() <= added


def test_words_are_those_of_the_stream_once_for_each_load(cases: list[Case]) -> None:
    for one in cases:
        arch = one.packed.arch
        for layer, found, run in zip(one.program.layers, one.packed.layers, one.runs, strict=True):
            height, width = found.size
            if layer.host:
                positions = one.packed.groups * found.blocks.shape[0] * height * width
                expected = positions * -(-arch.pes * arch.timesteps // arch.port_bits)
            else:
                tiles = -(-height // found.tile[0]) * -(-width // found.tile[1])
                loads = tiles * one.packed.groups if len(found.chunks) > 1 else 1
                expected = loads * sum(words for _, words in found.passes)
            assert run.words_loaded == expected


def test_drain_cycles_follow_from_the_map(cases: list[Case]) -> None:
    for one in cases:
        arch = one.packed.arch
        for layer, found, run in zip(one.program.layers, one.packed.layers, one.runs, strict=True):
            height, width = found.size
            groups, blocks = one.packed.groups, sum(found.slots_used)
            expected = groups * blocks * height * width
            if not layer.host:
                tiles = -(-height // found.tile[0]) * -(-width // found.tile[1])
                carrying = 0 if layer.readout is Readout.PSUM else groups - 1
                words = -(-arch.pes * 32 // arch.port_bits) if layer.last else 1
                each = arch.timesteps if arch.lif_shared else 1
                behind = 4 if arch.lif_shared else 2 * arch.timesteps + 3
                cycles = (groups - carrying) * max(each, words)
                cycles += carrying * max(each + arch.lif_shared, words)
                expected = blocks * (height * width * cycles + 2 * groups * tiles)
                expected += carrying * tiles * len(found.slots_used) * behind
                if arch.lif_parallel:  # a bias and a step each round
                    expected = groups * blocks * (height * width * words + 4 * tiles)
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
    arch = replace(random_arch(seed), issue=1)
    packed = pack(program, random_mapping(program, arch, seed), arch)
    accelerator = Accelerator(packed)
    for index, layer in enumerate(program.layers[1:], start=1):
        sources = [program.layers[s.source].output for s in layer.segments]
        # In the first group alone.
        kind = mask_type(program.timesteps)
        run = accelerator.run_layer(index, [np.ones(shape, dtype=kind) for shape in sources])
        lanes = packed.layers[index].blocks
        cost = filter_cost(program, layer, ())
        assert run.busy.tolist() == np.where(lanes >= 0, cost[lanes], 0).sum(axis=0).tolist()


# --- the same result always -----------------------------------------------------------------


@pytest.mark.parametrize("seed", [9, 14, 17])
def test_results_do_not_depend_on_threads_or_on_what_ran_before(seed: int) -> None:
    program = random_program(seed)
    arch = random_arch(seed)
    accelerator = Accelerator(pack(program, choose(program, arch), arch))
    inputs = [reference.encode(program, random_pixels(program, image)) for image in range(8)]
    alone = [[counters(run) for run in accelerator.run(one)] for one in inputs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(accelerator.run, inputs * 2))
    assert [[counters(run) for run in runs] for runs in together] == alone * 2
    again = [[counters(run) for run in accelerator.run(one)] for one in reversed(inputs)]
    assert again == alone[::-1]
    assert len({str(one) for one in alone}) > 1, "the images differ"


def test_a_trace_changes_nothing_and_can_be_shown(cases: list[Case]) -> None:
    for one in cases[:10]:
        spans: list[Span] = []
        runs = Accelerator(one.packed).run(one.truth.masks[0], spans)
        assert [counters(run) for run in runs] == [counters(run) for run in one.runs]
        pes = {f"PE {pe}" for pe in range(one.packed.arch.pes)}
        blocks = {"layers", "memory port", "collector", "APU"}
        assert {span.track for span in spans} == blocks | pes
        perfetto(spans)  # refuses what overlaps on a track


@pytest.mark.parametrize("seed", range(30))
def test_the_states_of_a_trace_add_up_to_the_counters(cases: list[Case], seed: int) -> None:
    one, spans = cases[seed], list[Span]()
    Accelerator(one.packed).run(one.truth.masks[0], spans)
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
    assert all({"pass", "tile", "group", "chunk", "busy", "starved"} < set(args) for args in chunks)


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


@pytest.mark.parametrize("bits", [8, 16])
def test_loads_run_ahead_of_the_layer_before(bits: int) -> None:
    """A layer alone waits for its weights; behind another they came in while that one ran."""
    inputs = [np.full((16, 8, 8), 15, dtype=np.uint8)] * 3
    load = explore.trace({f"{n}_in": one for n, one in zip("abc", inputs, strict=True)}, density=20)
    host, *others = load.program.layers
    streamed = tuple(replace(layer, weight_bits=bits) for layer in others)
    program = replace(load.program, layers=(host, *streamed))
    packed = pack(program, choose(program, Arch()), Arch())
    accelerator = Accelerator(packed)
    state = accelerator.fresh()
    for index in (1, 2, 3):
        alone = accelerator.run_layer(index, inputs[:1])
        behind = accelerator.run_layer(index, inputs[:1], state)
        ((_, words),) = packed.layers[index].passes
        assert packed.layers[index].segments[0].weight_bits == bits
        assert len(packed.layers[index].chunks) == 1
        assert alone.loading.min() > 16 + words, "the latency of the memory, and a cycle for a word"
        if index > 1:
            assert behind.loading.tolist() == [0] * 16
            assert behind.cycles < alone.cycles - words
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


def test_an_input_of_another_shape_or_type(cases: list[Case]) -> None:
    one = cases[0]
    first, kind = one.program.layers[0], mask_type(one.program.timesteps)
    shape = first.output
    for wrong in ((first.filters + 1, *shape[1:]), (*shape, 1), shape[1:], (0, 0, 0)):
        with pytest.raises(EvenspikeError) as caught:
            Accelerator(one.packed).run(np.zeros(wrong, dtype=kind))
        message = f"layer {first.name}: the input is {kind} {wrong}, not {kind} {shape}"
        assert str(caught.value) == message
    signed: Any = np.zeros(shape, dtype=np.int8)
    with pytest.raises(EvenspikeError, match=f"the input is int8 .*, not {kind} "):
        Accelerator(one.packed).run(signed)


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
    csr.masks[csr.used] = np.where(csr.masks[csr.used] == 255, 0, csr.masks[csr.used])
    assert count_spikes(csr.masks[csr.used]) == count_spikes(dense) == spikes(dense)


@pytest.mark.parametrize("total", [1, 4, 8, 9, 16, 17, 31, 32])
@pytest.mark.parametrize("timesteps", [1, 3, 4, 8])
def test_groups_are_the_masks_piece_by_piece(total: int, timesteps: int) -> None:
    masks = np.random.default_rng(total).integers(0, 1 << total, (2, 3, 4)).astype(mask_type(total))
    parts = split(masks, timesteps, -(-total // timesteps))
    for t in range(total):
        part = parts[t // timesteps]
        assert part.dtype == np.uint8
        assert np.array_equal(part >> t % timesteps & 1, masks >> t & 1)
    assert max(int(part.max()) for part in parts) < 1 << timesteps
    whole = join(parts, timesteps, total)
    assert whole.dtype == masks.dtype
    assert np.array_equal(whole, masks)
    assert count_spikes(masks) == spikes(masks)


# --- neurons --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("psums", "neuron", "mask", "membrane", "carry"),
    [
        # leak and threshold 0.9 and 10: the floor, of either sign
        ([9, 0], (100, 3686, False, 0), 0, 8, 7),
        ([-9, 0], (100, 3686, False, 0), 0, -9, -9),
        # a spike subtracts a timestep later, what has leaked beside it
        ([12, 0], (10, 2048, False, 5), 0b01, 1, 0),
        ([12, 0], (10, 2048, True, 5), 0b01, -5, -3),
        ([0, 12], (10, 4096, False, 10), 0b10, 12, 2),
        ([0, 12], (10, 4096, True, 0), 0b10, 0, 0),
        ([0, 12], (10, 4096, True, -7), 0b10, 0, 7),
    ],
)
def test_a_neuron(
    psums: list[int], neuron: tuple[int, int, bool, int], mask: int, membrane: int, carry: int
) -> None:
    row = np.array([*psums, 0, 0], dtype=np.int32)
    for carries in (True, False):
        left = row.copy()
        assert _neuron(left, 0, *neuron, 2, carries) == (mask, membrane, False)
        assert left.tolist() == [carry if carries else 0, 0, 0, 0]


@pytest.mark.parametrize("carries", [True, False])
def test_a_membrane_and_what_it_leaves_saturate(carries: bool) -> None:
    top, bottom = PSUM_MAX, PSUM_MIN
    for bias, sign in ((top, 1), (bottom, -1)):
        row = np.array([sign, 0], dtype=np.int32)
        # Membrane top or bottom: saturated at once.
        assert _neuron(row, bias, top, 4096, False, 0, 1, carries)[1:] == (bias, True)
    row = np.array([top, 0], dtype=np.int32)
    # The membrane fits, what its reset leaves does not.
    assert _neuron(row, 0, top, 4096, False, -1, 1, carries) == (1, top, carries)
    assert row.tolist() == [top if carries else 0, 0]


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
        runs = Accelerator(packed).run(truth.masks[0])
        assert runs[-1].logits is not None
        assert runs[-1].logits.tolist() == truth.logits.tolist()
        for layer, found in zip(program.layers, packed.layers, strict=True):
            if name == "paper" and not layer.host:
                assert found.slots == 1
                assert len(found.slots_used) == -(-layer.filters // 16)


@pytest.mark.parametrize("seed", range(6))
def test_any_number_of_groups_gives_the_same(seed: int) -> None:
    program = random_program(seed, timesteps=5)
    truth = reference.run(program, random_pixels(program, 0))
    for timesteps in range(1, 9):
        arch = Arch(timesteps=timesteps, spike_entries=1 << 18)
        packed = pack(program, choose(program, arch), arch)
        runs = Accelerator(packed).run(truth.masks[0])
        assert packed.groups == (5, 3, 2, 2, 1, 1, 1, 1)[timesteps - 1]
        assert runs[-1].logits is not None
        assert runs[-1].logits.tolist() == truth.logits.tolist()
        for run, masks in zip(runs[:-1], truth.masks, strict=True):
            assert np.array_equal(run.masks, masks)


def test_weights_that_stay_are_loaded_once_for_all_groups() -> None:
    program = random_program(2, timesteps=32)
    words = []
    for timesteps in (8, 4, 2):
        arch = Arch(timesteps=timesteps, spike_entries=1 << 18)
        mapping = choose(program, arch)
        runs = Accelerator(pack(program, mapping, arch)).run(
            reference.encode(program, random_pixels(program, 0))
        )
        assert all(plan.resident for plan in mapping[1:])
        words.append([run.words_loaded for run in runs[1:]])
    assert words[0] == words[1] == words[2]


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


@pytest.mark.parametrize(
    ("seeds", "least"),
    [
        # A whole run of the fifth takes minutes, and has most of what can be saved.
        pytest.param((*range(4), *range(5, 20)), 14, id="quick"),
        pytest.param(tuple(range(20)), 20, id="all", marks=pytest.mark.long),
    ],
)
def test_a_candidate_that_is_not_run_would_not_have_been_chosen(
    seeds: tuple[int, ...], least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = 0
    real = Accelerator.run_layer

    def counted(*given: Any) -> LayerRun:
        nonlocal runs
        runs += 1
        return real(*given)

    monkeypatch.setattr(Accelerator, "run_layer", counted)
    saved = 0
    for seed in seeds:
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
    assert saved > least


@pytest.mark.parametrize("seed", range(4))
def test_the_mapper_does_not_lose_to_the_largest_tile(seed: int) -> None:
    program, arch = random_program(seed + 30), random_arch(seed)
    inputs = draw(program, (), seed)
    cost = layer_cost(arch, inputs)
    first = choose(program, arch)
    best = choose(program, arch, cost)
    # Same order of the source's lanes, so that only this layer's choice differs.
    index = next(n for n, layer in enumerate(program.layers) if n and not layer.last)
    assert cost(program, index, best[:index], best[index], None) <= cost(
        program, index, first[:index], first[index], None
    )


def test_drawn_activity_has_the_rates_asked_for() -> None:
    program = random_program(5, timesteps=4)
    silent = np.zeros((8, 64, 64), dtype=np.uint8)
    assert draw(random_program(5, timesteps=9), (), 1)[0].dtype == np.uint16
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
    """The design's targets on recorded spikes, with one and with two weights a cycle."""
    load = explore.trace(TRACE)
    for arch, cycles, busy in (("packed,issue=1", 520_000, 0.80), ("packed", 410_000, 0.85)):
        run = explore.explore(load, arch)
        assert len(run.layers) == 12
        assert run.bit_exact
        assert run.cycles <= cycles, arch
        assert run.utilization >= busy, arch
