"""The stepped model on its own: the cycles of docs/timing.md that groups, neurons and input have.

Every number here is the document's. The cycle model has no part in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from evenspike_core import reference
from evenspike_core.arch import Arch
from evenspike_core.mapping import choose
from evenspike_core.pack import Packed, pack
from evenspike_core.program import Coding, Layer, Program, Readout, Segment
from tests.helpers.stepped import Machine

TIMESTEPS = 7
SMALL = Arch(pes=4, timesteps=3, accumulators=16, spike_entries=4096)
READOUTS = list(Readout)


def program(readout: Readout = Readout.MEMBRANE) -> Program:
    """Frames of spikes, a layer of four tiles with a pool, and a last one."""
    rng = np.random.default_rng(4)
    shape = (3, 6, 6)
    silent = np.zeros(3, np.int32)
    first = Layer("frames", (), silent, shape[1:], 1, coding=Coding.FRAMES)
    body, last = (
        rng.integers(-20, 30, form).astype(np.int16) for form in ((6, 3, 3, 3), (5, 6, 3, 3))
    )
    layers = (
        first,
        Layer("body", (Segment(0, body, 1, (-1, -1)),), np.arange(6, dtype=np.int32), (6, 6), 60,
              leak=3686, hard=False, reset=60, pool=2),
        Layer("last", (Segment(1, last),), np.arange(5, dtype=np.int32), (1, 1), 90,
              leak=2048, readout=readout),
    )  # fmt: skip
    return Program("frames", TIMESTEPS, shape, layers)


@dataclass
class Watched:
    """In which cycle something happened.

    drains, markers, issues, starts: by round: its drain cycles, the last cycle in which a PE issues
        its marker, those with a weight at a PE's gates, the first with the decoder on it.
    inputs, ends: the drain cycles of the input; of each layer, the last cycle.
    seen: of each load, the cycle in which `loaded` was seen.
    reads: (round, cycle, row, content) of each row of PE 0 that a drain reads.
    changes: (cycle, row, content) of each write that changes a row of PE 0.
    """

    packed: Packed
    machine: Machine
    drains: dict[int, list[int]] = field(default_factory=dict)
    markers: dict[int, int] = field(default_factory=dict)
    issues: dict[int, list[int]] = field(default_factory=dict)
    inputs: list[int] = field(default_factory=list)
    starts: dict[int, int] = field(default_factory=dict)
    seen: dict[int, int] = field(default_factory=dict)
    ends: list[int] = field(default_factory=list)
    reads: list[tuple[int, int, int, tuple[int, ...]]] = field(default_factory=list)
    changes: list[tuple[int, int, tuple[int, ...]]] = field(default_factory=list)

    @property
    def rows(self) -> list[tuple[int, int, int, tuple[int, ...]]]:
        """Of each row that is read in a drain: round, cycle, the next change's cycle and content.

        A row that holds zeros is left out: clearing does not change it.
        """
        found = []
        for number, cycle, row, content in self.reads:
            if not any(content):
                continue
            limit = cycle + 2 * SMALL.timesteps + 4
            after = [(at, new) for at, one, new in self.changes if one == row and at >= cycle]
            if after and after[0][0] <= limit:
                found.append((number, cycle, *after[0]))
        return found


def watch(readout: Readout = Readout.MEMBRANE) -> Watched:
    network = program(readout)
    rng = np.random.default_rng(8)
    pixels = (rng.random((TIMESTEPS, *network.shape)) < 0.4).astype(np.uint8)
    truth = reference.run(network, pixels)
    packed = pack(network, choose(network, SMALL), SMALL)
    machine = Machine(packed, truth.masks[0])
    found = Watched(packed, machine)
    sequencer, drain, pe = machine.sequencer, machine.drain, machine.pes[0]
    cycle = 0
    while sequencer.layer.q < len(packed.layers):
        cycle += 1
        assert cycle < 20_000
        layer, before = sequencer.layer.q, pe.accumulators.cells
        number = sequencer.drained.q
        if drain.at.q is not None:
            found.drains.setdefault(drain.at.q.round, []).append(cycle)
        row = drain.row()
        if row is not None:
            found.reads.append((number, cycle, row, before[row]))
        if machine.input.block.q is not None:
            found.inputs.append(cycle)
        for one in machine.pes:
            marker = one.marker()
            if marker is not None and marker.work.ends_round:
                found.markers[marker.work.round] = cycle
            if one.issues():
                found.issues.setdefault(one.rounds.q, []).append(cycle)
        visit = machine.apu.visit.q
        if visit is not None:
            found.starts.setdefault(visit.work.round, cycle)
        for load in range(sequencer.loaded.q):
            found.seen.setdefault(load, cycle)
        machine.step()
        changed = ((at, new) for at, new in enumerate(pe.accumulators.cells) if new != before[at])
        found.changes += [(cycle, at, new) for at, new in changed]
        if sequencer.layer.q > layer:
            found.ends.append(cycle)
    assert sequencer.next.q == len(machine.plan.works)
    return found


@pytest.fixture(scope="module")
def watched() -> Watched:
    found = watch()
    layer = found.packed.layers[1]
    assert layer.tile < layer.size
    assert found.packed.groups == 3
    assert found.packed.last_timesteps == 1
    return found


def test_the_input_is_written_as_its_words_come(watched: Watched) -> None:
    words = 3 * 36  # groups and positions of the one block
    first = SMALL.memory_latency + 3  # requested in cycle 1, handed on in latency + 2
    assert watched.inputs == list(range(first, first + words))
    assert watched.ends[0] == watched.inputs[-1] + 1


@pytest.mark.parametrize("readout", READOUTS)
def test_drain_cycles_of_a_round(readout: Readout) -> None:
    found = watch(readout)
    carrying = 0
    for number, one in enumerate(found.machine.plan.rounds):
        layer = found.packed.layers[one.layer]
        positions = one.slots * one.tile[2] * one.tile[3] * (2 if layer.last else 1)
        carries = one.group < 2 and (not layer.last or readout is not Readout.PSUM)
        carrying += carries
        expected = 2 * one.slots + positions + (2 * SMALL.timesteps + 3 if carries else 0)
        drains = found.drains[number]
        assert len(drains) == expected
        assert drains == list(range(found.markers[number] + 3, drains[-1] + 1))
    rounds = [sum(r.layer == n for r in found.machine.plan.rounds) for n in (1, 2)]
    assert carrying == 2 * rounds[0] // 3 + (0 if readout is Readout.PSUM else 2 * rounds[1] // 3)


def test_rows_are_cleared_at_once_or_carry_after_the_last_timestep(watched: Watched) -> None:
    distances: dict[bool, set[int]] = {False: set(), True: set()}
    for number, cycle, change, content in watched.rows:
        carries = watched.machine.plan.rounds[number].carries
        distances[carries].add(change - cycle)
        assert not any(content[1:])
        assert carries or not content[0]
    assert distances == {False: {1}, True: {2 * SMALL.timesteps + 3}}
    assert any(content[0] for *_, content in watched.rows)


def test_no_weight_issues_before_the_last_carry_is_written(watched: Watched) -> None:
    carrying = [n for n, one in enumerate(watched.machine.plan.rounds) if one.carries]
    assert all(min(watched.issues[n + 1]) > watched.drains[n][-1] for n in carrying)
    # The row that is read last is written in the round's last drain cycle.
    for number in carrying:
        writes = [change for n, _, change, _ in watched.rows if n == number]
        assert all(change <= watched.drains[number][-1] for change in writes)
    last = {watched.drains[n][-1] for n in carrying}
    assert last & {change for *_, change, _ in watched.rows}


def test_a_layer_ends_with_the_last_write(watched: Watched) -> None:
    rounds = watched.machine.plan.rounds
    last = [n for n, one in enumerate(rounds) if one.ends_layer]
    assert watched.ends[1:] == [watched.drains[n][-1] + 2 * SMALL.timesteps + 2 for n in last]


def test_a_layer_starts_after_the_switch_of_its_descriptor(watched: Watched) -> None:
    works = watched.machine.plan.works
    for layer in (1, 2):
        first = next(work for work in works if work.layer == layer)
        allowed = max(watched.seen[first.load], watched.ends[layer - 1] + 5)
        assert watched.starts[first.round] == 1 + allowed
