"""The RTL top as a whole: the shipped ticket, faults, a memory that stalls, and both engines."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import evenspike as es
from evenspike.cli import main
from evenspike.flows import cosim
from evenspike.flows.cosim import choose_engine
from evenspike.flows.locate import difference
from evenspike.report.contents import contents
from evenspike.report.format import verdict
from evenspike_core import reference
from evenspike_core.arch import Arch
from evenspike_core.compare import Divergence
from evenspike_core.errors import EvenspikeError
from evenspike_core.mapping import choose
from evenspike_core.pack import Packed, pack
from evenspike_core.program import PIXELS, Coding, Layer, Program, Readout, Segment
from evenspike_hw.engine import compiled
from evenspike_hw.engine.interpreted import InterpretedSimulator
from evenspike_hw.engine.simulator import MemoryBehaviour, Simulator, Waves
from evenspike_sim.accelerator import Accelerator
from evenspike_sim.tally import Tally
from tests.helpers.faulty_layers import FAULTS, with_fault
from tests.helpers.networks import random_pixels, random_program
from tests.helpers.random_networks import ARCHS

SMALL = ARCHS["small"]
SEED = 124
"""Of a network in which every layer fires, in two groups of timesteps."""


@pytest.fixture
def program() -> Program:
    return random_program(SEED, timesteps=10, max_side=5, max_filters=5)


@pytest.fixture
def packed(program: Program) -> Packed:
    return pack(program, choose(program, SMALL), SMALL)


def spikes_of(program: Program) -> reference.Masks:
    return reference.encode(program, random_pixels(program, 0))


def test_the_shipped_ticket() -> None:
    program = es.load("vgg16")
    run = es.cosim(es.pack(program), es.images(1))
    assert run.bit_exact, run.divergence
    assert run.rtl is not None
    assert run.rtl.cycles == run.cycles
    assert run.rtl.spikes == 4 * sum(int(np.prod(layer.output)) for layer in program.layers[:-1])
    assert run.rtl.counters == 14 * (1 + 7 * 16)
    assert run.compare(es.simulate(run.packed, es.images(1))) is None


def test_a_second_image_starts_from_a_clean_core(program: Program, packed: Packed) -> None:
    spikes = spikes_of(program)
    runs = Accelerator(packed).run(spikes)
    with Simulator(packed) as simulator:
        first, second = simulator.run(spikes), simulator.run(spikes)
    assert difference(packed, runs, first) is None
    assert difference(packed, runs, second) is None


def test_amaranths_own_simulator_agrees() -> None:
    arch = ARCHS["single"]
    program = random_program(3, timesteps=2, max_side=3, max_filters=3, kernel_max=arch.kernel_max)
    packed = pack(program, choose(program, arch), arch)
    spikes = spikes_of(program)
    traces = InterpretedSimulator(packed).run(spikes)
    assert difference(packed, Accelerator(packed).run(spikes), traces) is None


def test_a_stalling_memory_changes_cycles_and_nothing_else(
    program: Program, packed: Packed
) -> None:
    spikes = spikes_of(program)
    with Simulator(packed) as simulator:
        fast, slow = simulator.run(spikes), simulator.run(spikes, MemoryBehaviour(0.5, 1))
    assert sum(t.cycles for t in slow) > sum(t.cycles for t in fast)
    for one, two in zip(fast, slow, strict=True):
        assert np.array_equal(one.masks, two.masks)
        assert np.array_equal(one.states["busy"], two.states["busy"])
    assert fast[-1].logits is not None
    assert slow[-1].logits is not None
    assert np.array_equal(fast[-1].logits, slow[-1].logits)


def test_a_memory_that_stalls_for_ever_is_given_up(program: Program, packed: Packed) -> None:
    spikes = spikes_of(program)
    runs = Accelerator(packed).run(spikes)
    second = runs[0].cycles + 1
    cases = {0: "; the table is not full", second: f", at layer {runs[1].name} (number 1), cycle "}
    for since, place in cases.items():
        with Simulator(packed) as simulator:
            with pytest.raises(EvenspikeError) as caught:
                simulator.run(spikes, MemoryBehaviour(1.0, since=since))
            assert str(caught.value).startswith(f"RTL: nothing has moved for 20000 cycles{place}")
            assert difference(packed, runs, simulator.run(spikes)) is None  # and works again


@pytest.mark.parametrize(
    ("engine", "field"),
    [*((Simulator, field) for field in FAULTS), (InterpretedSimulator, "timesteps")],
)
def test_a_descriptor_that_cannot_run_stops_at_its_layer(
    engine: type[Simulator | InterpretedSimulator], field: str, program: Program, packed: Packed
) -> None:
    number = len(packed.layers) - 1
    simulator = engine(packed)
    tables = simulator.map.tables
    words = with_fault(tables.words.tolist(), number, field)
    simulator.map.tables = replace(tables, words=np.array(words, dtype=np.uint64))
    name = packed.layers[number].name
    fault = FAULTS[field][1].name
    message = rf"RTL: stopped at layer {name} \(number {number}\), cycle \d+, fault {fault}: "
    with pytest.raises(EvenspikeError, match=message):
        simulator.run(spikes_of(program))
    simulator.map.tables = tables
    if isinstance(simulator, Simulator):  # the other one is new in each run
        runs = Accelerator(packed).run(spikes_of(program))
        assert difference(packed, runs, simulator.run(spikes_of(program))) is None


def test_overflow_sets_the_flag_of_its_pe() -> None:
    """Weights that went round the range proof: both sides saturate, and say on which PE."""
    program = random_program(SEED, timesteps=10, max_side=5, max_filters=5)
    layers = list(program.layers)
    for index in range(1, len(layers) - 1):
        segments = tuple(
            replace(s, weights=np.where(s.weights != 0, np.int16(32767), np.int16(0)))
            for s in layers[index].segments
        )
        bias = np.full_like(layers[index].bias, 2**23 - 1)
        layers[index] = replace(layers[index], segments=segments, bias=bias, weight_bits=None)
    object.__setattr__(program, "layers", tuple(layers))
    packed = pack(program, choose(program, SMALL), SMALL)
    spikes = spikes_of(program)
    runs = Accelerator(packed).run(spikes)
    with Simulator(packed) as simulator:
        traces = simulator.run(spikes)
    assert any(run.membrane_overflow.any() for run in runs)
    assert difference(packed, runs, traces) is None


def test_a_partial_sum_saturates_on_both_and_in_the_report() -> None:
    channels = 300
    pixels = np.full((1, 1, 1), 255, dtype=np.uint8)
    program = random_program(3, timesteps=2, max_side=3, max_filters=3)
    weights = np.full((1, channels, 1, 1), 32767, dtype=np.int16)
    first = Layer(
        "first",
        (Segment(PIXELS, np.ones((channels, 1, 1, 1), dtype=np.int16)),),
        np.zeros(channels, dtype=np.int32),
        (1, 1),
        1,
        coding=Coding.DIRECT,
    )
    zero = np.zeros(1, dtype=np.int32)
    head = Layer("head", (Segment(0, weights),), zero, (1, 1), 0, readout=Readout.PSUM)
    for name, value in {"shape": (1, 1, 1), "layers": (first, head)}.items():
        object.__setattr__(program, name, value)
    packed = pack(program, choose(program, SMALL), SMALL)
    spikes = reference.encode(program, pixels)
    runs = Accelerator(packed).run(spikes)
    with Simulator(packed) as simulator:
        traces = simulator.run(spikes)
    assert runs[1].accumulator_overflow.tolist() == [True, False, False, False]
    assert difference(packed, runs, traces) is None
    assert traces[1].accumulator_overflow.tolist() == [True, False, False, False]
    tally = Tally()
    tally.add(runs)
    content = contents(program, packed, tally, model="loud", mapping="cost")
    content["bit_exact"] = True
    content["compared"] = {"spikes": 1, "layers": 1, "timesteps": 2}
    assert verdict(content).endswith("OVERFLOW: a sum has saturated in head.")


def test_wrong_weights_are_a_difference(program: Program, packed: Packed) -> None:
    """In the RTL's memory; the model has the right ones."""
    layers = [
        replace(
            layer,
            segments=tuple(replace(s, weights=-s.weights) for s in layer.segments),
            weight_bits=None,
        )
        for layer in program.layers[1:]
    ]
    other = replace(program, layers=(program.layers[0], *layers))
    spikes = spikes_of(program)
    with Simulator(pack(other, choose(other, SMALL), SMALL)) as simulator:
        found = difference(packed, Accelerator(packed).run(spikes), simulator.run(spikes))
    assert found is not None
    assert found.layer != program.layers[0].name


def test_a_wrong_spike_is_located_by_pass_tile_pe_and_cycle(
    program: Program, packed: Packed
) -> None:
    spikes = spikes_of(program)
    runs = Accelerator(packed).run(spikes)
    with Simulator(packed) as simulator:
        traces = simulator.run(spikes)
    masks = runs[1].masks.copy()
    masks[0, 0, 0] ^= 2
    wrong = [runs[0], replace(runs[1], masks=masks), *runs[2:]]
    found = difference(packed, wrong, traces)
    assert found is not None
    assert found.cycle == int(traces[1].closed[0])
    assert re.search(
        r"filter 0, y 0, x 0, timestep 1.*; pass 0, tile 0, group 0, PE \d+, slot 0, "
        rf"written by the RTL in cycle {found.cycle}$",
        str(found),
    )


def test_a_waveform_of_the_cycles_in_question(tmp_path: Path) -> None:
    # Of one PE: a simulator that can trace is compiled for this alone.
    arch = ARCHS["single"]
    program = random_program(3, timesteps=2, max_side=3, max_filters=3, kernel_max=arch.kernel_max)
    packed = pack(program, choose(program, arch), arch)
    waves = Waves(tmp_path / "waves.vcd", 100, 150)
    spikes = spikes_of(program)
    with Simulator(packed, trace=True) as simulator:
        traces = simulator.run(spikes, waves=waves)
    assert difference(packed, Accelerator(packed).run(spikes), traces) is None
    text = waves.path.read_text()
    times = [int(line[1:]) for line in text.splitlines() if line.startswith("#")]
    assert times[-1] - times[0] == 2 * (waves.last - waves.first) + 1
    assert "accumulators" in text


def test_sim_runs_the_rtl_where_it_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    compiled.build(Arch())
    call = ["sim", "--model", "vgg16-small", "--images", "2", "--rtl", "1", "--out", str(tmp_path)]
    assert main(call) == 0
    content = json.loads((tmp_path / "vgg16-small" / "report.json").read_text())
    assert content["engine"] == "model+rtl"
    assert content["compared"]["rtl"]["images"] == 1
    assert content["compared"]["rtl"]["differences"] == 0
    assert content["compared"]["rtl"]["counters"] == 14 * (1 + 7 * 16)
    assert "RTL, 1 of the images" in (tmp_path / "vgg16-small" / "report.md").read_text()

    wrong = Divergence("conv2", "cycles", (1, 2), "layer conv2: cycles 1 in model, 2 in RTL")
    found = cosim.Compared(wrong, 1, 1, 1, 1.0)
    monkeypatch.setattr(cosim, "run_rtl", lambda *_: found)
    assert main(call) == 1
    content = json.loads((tmp_path / "vgg16-small" / "report.json").read_text())
    assert content["bit_exact"] is False
    assert content["divergence"].endswith("layer conv2: cycles 1 in model, 2 in RTL")
    assert "NOT all" in capsys.readouterr().out

    def stops(*_: object) -> None:
        raise EvenspikeError("RTL: stopped")

    monkeypatch.setattr(cosim, "run_rtl", stops)
    assert main(call) == 1
    content = json.loads((tmp_path / "vgg16-small" / "report.json").read_text())
    assert content["divergence"] == "RTL: stopped"


def test_without_a_compiler_the_error_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(EvenspikeError, match=r"no C\+\+ compiler .* apt install g\+\+"):
        compiled.find_tools()


def test_without_a_compiler_a_small_network_is_interpreted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a large one is refused with the reason."""
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert main(["cosim", "--model", "vgg16-small", "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert re.search(r"no C\+\+ compiler .* would take too long for the \d+,\d+ cycles", error)
    arch = ARCHS["single"]
    program = random_program(3, timesteps=2, max_side=3, max_filters=3, kernel_max=arch.kernel_max)
    packed = pack(program, choose(program, arch), arch)
    said: list[str] = []
    engine, seconds = choose_engine(
        packed, random_pixels(program, 0), lambda what, *_: said.append(what)
    )
    assert (engine, seconds) == (InterpretedSimulator, 0.0)
    assert "Amaranth's own simulator serves" in said[0]


def test_cycles_that_part_are_located_by_round(program: Program, packed: Packed) -> None:
    spikes = spikes_of(program)
    runs = Accelerator(packed).run(spikes)
    with Simulator(packed) as simulator:
        traces = simulator.run(spikes)
    late = replace(traces[1], closed=traces[1].closed + 3, cycles=traces[1].cycles + 3)
    found = difference(packed, runs, [traces[0], late, *traces[2:]])
    assert found is not None
    begin = runs[1].drains[0]
    assert str(found).endswith(
        f"pass 0, tile 0, group 0: the drain begins in cycle {begin} in model, {begin + 3} in RTL"
    )
    assert found.cycle == begin + 3


def test_the_verb_writes_what_it_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["cosim", "--model", "vgg16-small", "--images", "2", "--out", str(tmp_path)])
    assert status == 0
    content = json.loads((tmp_path / "vgg16-small.json").read_text())
    assert (content["images"], content["differences"]) == (2, 0)
    assert content["compared"]["spikes"] > 0
    assert content["compared"]["counters"] == 2 * 14 * (1 + 7 * 16)
    assert content["rtl_cycles"] > 0
    assert content["rtl_cycles_per_second"] > 0
    assert content["build_seconds"] >= 0
    assert "0 of 2 images differ" in capsys.readouterr().out
