"""Random networks on the RTL: a few hundred; `make cosim-random N=...` runs more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from evenspike.flows.locate import rtl_statement
from evenspike.flows.outcome import model_statement
from evenspike_core import reference
from evenspike_core.compare import first_divergence
from evenspike_core.fixed import LEAK_ONE
from evenspike_core.pack import Packed
from evenspike_core.program import Coding, Program, Readout
from evenspike_hw.engine.simulator import Simulator
from evenspike_sim.accelerator import Accelerator
from tests.helpers import random_networks
from tests.helpers.networks import random_pixels
from tests.helpers.random_networks import ARCHS, Case, cases, difference, image_of, report, shrink

NETWORKS = 60
"""Of each Arch."""

SEED = 7


def possible(arch: str) -> Iterator[tuple[Case, Program, Packed]]:
    """The cases of an Arch whose networks fit it."""
    for case in cases(SEED, arch):
        program = case.program()
        packed = image_of(case, program)
        if packed is not None:
            yield case, program, packed


# Each Arch's simulator takes a minute to build.
SHORT = ("packed", "small", "single", "clusters", "parallel")
TAKEN = [pytest.param(name, marks=[] if name in SHORT else [pytest.mark.long]) for name in ARCHS]


@pytest.mark.parametrize("arch", TAKEN)
def test_the_rtl_agrees_with_model_and_reference(arch: str, tmp_path: Path) -> None:
    for case, program, _ in islice(possible(arch), NETWORKS):
        if difference(case, program):
            pytest.fail(report(case, program, tmp_path))


@pytest.mark.long
def test_no_cycle_depends_on_kernel_max() -> None:
    """A network of kernels of 3 x 3 at most on PEs for 3 x 3, 5 x 5 and 7 x 7."""
    compared = 0
    for case, program, packed in islice(possible("single"), 20):
        spikes = case.spikes(program)
        found = []
        for side in (3, 5, 7):
            other = replace(packed, arch=replace(packed.arch, kernel_max=side))
            with Simulator(other) as simulator:
                rtl = [rtl_statement(trace) for trace in simulator.run(spikes)]
            model = [model_statement(run) for run in Accelerator(other).run(spikes)]
            assert first_divergence(model, rtl) is None
            found.append(rtl)
        assert first_divergence(found[0], found[1]) is None
        assert first_divergence(found[0], found[2]) is None
        compared += sum(s.kernel == 3 for layer in program.layers[1:] for s in layer.segments)
    assert compared > 10


def features(  # noqa: C901, PLR0912, PLR0915  (a list of what there is)
    case: Case, program: Program, packed: Packed
) -> Iterator[str]:
    """What of the descriptor space a case visits."""
    pixels = random_pixels(program, case.seed)
    masks = reference.run(program, pixels).masks
    if case.stall:
        yield "memory stalls"
    for index, (layer, plan) in enumerate(zip(program.layers, packed.layers, strict=True)):
        if layer.host:
            yield f"{layer.coding} coding"
            yield f"{layer.filters} channels"
            continue
        yield f"leak {layer.leak}" if layer.leak in (0, LEAK_ONE) else "leak between"
        sign = (layer.reset > 0) - (layer.reset < 0)
        yield f"{'hard' if layer.hard else 'soft'} reset, amount of sign {sign}"
        yield f"pool {layer.pool}"
        yield f"{layer.filters} filters"
        if layer.readout is not None:
            yield f"read-out {layer.readout}"
        carries = packed.groups > 1 and layer.readout is not Readout.PSUM
        if carries and len(plan.chunks) > 1:
            yield "several chunks for each group"
        if carries and packed.last_timesteps < packed.arch.timesteps:
            yield "a short last group"
        if packed.groups > 4:
            yield "more than four groups"
        if max(layer.size) > 2 * 16:
            yield "a long strip"
        if len(plan.chunks) > 1:
            yield "several chunks"
            if packed.arch.pes > 1 and any(start % packed.arch.pes for _, start, _ in plan.chunks):
                yield "a chunk begins within a block"
        if len(plan.slots_used) > 1:
            yield "several passes"
        if plan.tile[0] < layer.size[0] and plan.tile[1] < layer.size[1]:
            yield "tiles in both directions"
        if any(n % t for n, t in zip(layer.size, plan.tile, strict=True)):
            yield "a clipped tile"
        if layer.size[0] % 2 and layer.size[1] % 2 and layer.size != (1, 1):
            yield "odd map"
        for number, segment in enumerate(layer.segments):
            yield f"kernel {segment.kernel}"
            yield f"stride {segment.stride}"
            top, left = segment.offset
            yield "offset 0" if top == left == 0 else "offsets differ" if top != left else "padding"
            if max(top, left) > 0:
                yield "an offset behind the map's first row"
            yield f"average {segment.average}"
            yield f"segment {number}"
            bits, base = plan.segments[number].weight_bits, plan.segments[number].base
            yield f"weights of {bits} bits"
            if bits == 4 and base:
                yield "codes of a small base" if base < 8 else "codes of a large base"
            if bits == 4 and len(np.unique(np.abs(segment.weights))) > 8:
                yield "codes of all exponents"
            if segment.channels == 1:
                yield "one channel"
            alive = segment.weights != 0
            if alive.all():
                yield "dense weights"
            if (~alive.any(axis=(1, 2, 3))).any():
                yield "empty filter"
            if (~alive.any(axis=(0, 2, 3))).any():
                yield "empty channel"
            if (np.abs(segment.weights.astype(int)) >= 2**15 - 1).any():
                yield "extreme weights"
            source = masks[segment.source]
            if not source.any():
                yield "silent input"
            if (source == (1 << program.timesteps) - 1).all():
                yield "all-firing input"
            if index - segment.source > 1:
                yield "an earlier source"


FEATURES = {
    "memory stalls",
    *(f"{coding} coding" for coding in Coding),
    *(f"read-out {readout}" for readout in Readout),
    *("leak 0", f"leak {LEAK_ONE}", "leak between"),
    *(f"soft reset, amount of sign {sign}" for sign in (0, 1)),
    *(f"hard reset, amount of sign {sign}" for sign in (-1, 0)),
    *("several chunks for each group", "a short last group", "more than four groups"),
    *("pool 1", "pool 2", "1 filters", "17 filters", "40 filters", "18 channels", "a long strip"),
    *("several chunks", "a chunk begins within a block", "several passes"),
    *("tiles in both directions", "a clipped tile", "odd map"),
    *(f"kernel {kernel}" for kernel in (1, 3, 5, 7)),
    *("stride 1", "stride 2", "offset 0", "padding", "offsets differ"),
    *("an offset behind the map's first row", "average 8", "segment 2"),
    *("weights of 4 bits", "weights of 8 bits", "weights of 16 bits"),
    *("codes of a small base", "codes of a large base", "codes of all exponents"),
    *("average 1", "average 2", "average 4", "segment 0", "segment 1"),
    *("one channel", "dense weights", "empty filter", "empty channel", "extreme weights"),
    *("silent input", "all-firing input", "an earlier source"),
}


@pytest.mark.long
def test_the_cases_reach_the_whole_descriptor_space() -> None:
    found = {
        feature
        for arch in ARCHS
        for case, program, packed in islice(possible(arch), 90)
        for feature in features(case, program, packed)
    }
    assert not FEATURES - found


def test_a_failure_shrinks_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a model that is wrong wherever the second layer has a weight: one weight is left."""

    def wrong(_: Case, program: Program) -> str | None:
        return "differs" if program.layers[1].nnz else None

    monkeypatch.setattr(random_networks, "difference", wrong)
    case = next(c for c, p, _ in possible("small") if p.layers[1].nnz > 20 and c.max_side > 3)
    smaller, program = shrink(case, case.program())
    assert smaller.max_side < case.max_side
    assert [layer.nnz for layer in program.layers][1] == 1
    assert sum(layer.nnz for layer in program.layers) == 1
    text = report(case, case.program(), tmp_path)
    path = Path(text.rpartition("--repeat ")[2])
    assert Program.load(path).nnz == 1
    assert Case(**Program.load(path).provenance["case"]) == smaller


def test_a_fault_in_the_rtl_is_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison itself can fail: the RTL is given a threshold that nothing reaches."""
    case, program, _ = next(
        item
        for item in possible("small")
        if reference.run(item[1], random_pixels(item[1], item[0].seed)).masks[-1].any()
        and len(item[1].layers) > 2
    )
    assert difference(case, program) is None
    start = Simulator.__init__

    def other(self: Simulator, packed: Packed, *, trace: bool = False) -> None:
        encoder, first, *others = packed.layers
        first = replace(first, threshold=(1 << 23) - 1)
        start(self, replace(packed, layers=(encoder, first, *others)), trace=trace)

    monkeypatch.setattr(Simulator, "__init__", other)
    assert difference(case, program) is not None
