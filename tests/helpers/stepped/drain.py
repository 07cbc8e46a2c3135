"""The drain: the neurons of a round, from the accumulators through all that their timesteps do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tests.helpers.stepped.lif import Neurons, add, clipped, multiply
from tests.helpers.stepped.order import Place, Round, places
from tests.helpers.stepped.storage import Reg

if TYPE_CHECKING:
    from tests.helpers.stepped.machine import Machine


@dataclass(frozen=True)
class Position:
    """Registers of the drain: phases 0 and 1 read the bias, 2 positions, 3 waits for the carries.

    slot: counts on over the images of the round, each of which has all that the pass uses.
    beat: counts the cycles of a position, and those of phase 3.
    """

    round: int
    slot: int = 0
    phase: int = 0
    index: int = 0
    beat: int = 0


class Drain:
    """Drain counters and LIF: two stages a timestep, one that multiplies and one that adds.

    An item that is read in cycle d is in pipe[n] in d + 1 + n: [0] has the RAM's data, [1] the
    drives, [2] the first timestep's membrane, and then by turns a product and a membrane. The last
    membrane is in pipe[2 * timesteps], at the collector; what it leaves to the next group is in
    pipe[2 * timesteps + 2], and written.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        clock, arch = machine.clock, machine.arch
        self.at: Reg[Position | None] = Reg(clock, None)
        self.captures = Reg(clock, -1)  # phase of the read whose data is at the RAM's output
        self.low: Reg[tuple[int, ...]] = Reg(clock, (0,) * arch.pes)
        self.biases: Reg[tuple[int, ...]] = Reg(clock, (0,) * arch.pes)
        self.out = 2 * arch.timesteps
        self.pipe: Reg[tuple[Neurons | None, ...]] = Reg(clock, (None,) * (self.out + 3))
        self.tail = 2 * arch.timesteps + 2  # cycles from a layer's last drain cycle to its write
        self.logits: dict[tuple[int, int, int], int] = {}
        self.spots = [places(machine.packed.layers[one.layer], one) for one in machine.plan.rounds]

        self.room = True  # for results; the contract's memory takes each at once

    # Wires.

    def waits(self) -> bool:
        """A position of the last layer is not read yet, since there is no room for its results."""
        at = self.at.q
        if at is None or self.room or at.phase != 2 or at.beat:
            return False
        return self.machine.packed.layers[self.round(at).layer].last

    def round(self, at: Position) -> Round:
        return self.machine.plan.rounds[at.round]

    def beats(self, at: Position) -> int:
        """Cycles of a position, or of the wait behind the last one."""
        if at.phase == 3:
            return self._behind()
        layer = self.machine.packed.layers[self.round(at).layer]
        each = self._each(self.round(at))
        return max(each, self.machine.arch.logit_words) if layer.last else each

    def _behind(self) -> int:
        """Cycles from the last cycle of a position to the write of what it leaves."""
        return 2 * self.machine.arch.timesteps + 3

    def _each(self, one: Round) -> int:
        """Cycles that the neurons of a position take up."""
        return 1

    def row(self) -> int | None:
        """The accumulator row that all PEs read in this cycle."""
        at = self.at.q
        if at is None or at.phase != 2 or at.beat or self.waits():
            return None
        return self.spots[at.round][at.slot][at.index].at

    def steps(self) -> bool:
        """Wire: all neurons of the PEs step in this cycle, where LIF is parallel."""
        return False

    def layer(self) -> int:
        """Wire: of the round that is drained."""
        assert self.at.q is not None
        return self.round(self.at.q).layer

    def carries(self) -> bool:
        """The round that is drained leaves its neurons to the next."""
        return self.at.q is not None and self.round(self.at.q).carries

    def carried(self, lane: int) -> tuple[int, int] | None:
        """The row that a PE writes in this cycle, and psum 0 of it."""
        neurons = self.pipe.q[-1]
        if neurons is None or not neurons.carries:
            return None
        return neurons.place.at, clipped(neurons.left[lane])

    def ends_round(self) -> bool:
        """The last drain cycle of a round."""
        at = self.at.q
        if at is None or at.beat < self.beats(at) - 1 or self.waits():
            return False
        if self.round(at).carries:
            return at.phase == 3
        slots = self.spots[at.round]
        return at.phase == 2 and at.slot == len(slots) - 1 and at.index == len(slots[at.slot]) - 1

    def ends_layer(self) -> bool:
        return self.ends_round() and self.at.q is not None and self.round(self.at.q).ends_layer

    def leaves(self) -> tuple[Place, tuple[int, ...]] | None:
        """The position whose masks are at the collector in this cycle."""
        neurons = self.pipe.q[self.out]
        if neurons is None or self.machine.packed.layers[neurons.place.layer].last:
            return None
        return neurons.place, neurons.masks

    def step(self) -> None:
        item: Neurons | None = None
        if self.at.q is not None:
            item = self._read(self.at.q)
            self.at.set(self._advance(self.at.q))
        elif self.machine.sequencer.barrier():
            self.at.set(Position(self.machine.sequencer.drained.q))
        self._capture()
        self._flow(item)

    def _read(self, at: Position) -> Neurons | None:
        """The reads of a drain cycle."""
        one = self.round(at)
        if at.phase < 2:
            for pe in self.machine.pes:
                base = pe.unpacker.bias_base[one.half].q
                pe.banks.read_bias(one.half, base + 2 * (at.slot % one.slots) + at.phase)
            return None
        if at.phase == 3 or at.beat or self.waits():
            return None
        place = self.spots[at.round][at.slot][at.index]
        return Neurons(place, one.timesteps, one.carries)  # each PE reads its row

    def _advance(self, at: Position) -> Position | None:  # noqa: PLR0911  (a case a line)
        if at.phase < 2:
            return replace(at, phase=at.phase + 1)
        if self.waits():
            return at
        if at.beat < self.beats(at) - 1:
            return replace(at, beat=at.beat + 1)
        if at.phase == 3:
            return None
        if at.index < len(self.spots[at.round][at.slot]) - 1:
            return replace(at, index=at.index + 1, beat=0)
        if at.slot < len(self.spots[at.round]) - 1:
            return Position(at.round, at.slot + 1)
        return replace(at, phase=3, beat=0) if self.round(at).carries else None

    def _capture(self) -> None:
        """The biases: low unit, then high unit, one cycle behind their reads."""
        at = self.at.q
        self.captures.set(-1 if at is None else at.phase)
        data = tuple(pe.banks.bias_unit() for pe in self.machine.pes)
        if self.captures.q == 0:
            self.low.set(data)
        elif self.captures.q == 1:
            pairs = zip(self.low.q, data, strict=True)
            whole = [low & 0xFFF | (high & 0xFFF) << 12 for low, high in pairs]
            self.biases.set(tuple(v - (v >> 23 << 24) for v in whole))

    def _flow(self, item: Neurons | None) -> None:
        pipe = self.pipe.q
        if item is None and not any(pipe):
            return
        shifted: list[Neurons | None] = [item]
        for stage, neurons in enumerate(pipe[:-1]):
            shifted.append(None if neurons is None else self._stage(stage, neurons))
        self.pipe.set(tuple(shifted))
        out = pipe[self.out]
        if out is not None and self.machine.packed.layers[out.place.layer].last:
            self._write(out)

    def _stage(self, stage: int, neurons: Neurons) -> Neurons:
        """From pipe[stage] to the next."""
        layer = self.machine.packed.layers[neurons.place.layer]
        if stage == 0:
            return self._enter(neurons)
        time, adds = divmod(stage, 2)
        if layer.readout == "psum":
            return neurons
        # Behind the last timestep the stages only hold what it leaves.
        if adds:
            return add(layer, neurons, time) if time < neurons.timesteps else neurons
        return multiply(layer, neurons, time - 1) if time <= neurons.timesteps else neurons

    def _enter(self, neurons: Neurons) -> Neurons:
        """With what is at the outputs of the accumulators' RAMs, and the biases."""
        sums = tuple(pe.accumulators.sums() for pe in self.machine.pes)
        zero = (0,) * self.machine.arch.pes
        return replace(
            neurons, sums=sums, biases=self.biases.q, membranes=zero, left=zero, masks=zero
        )

    def adding(self) -> Iterator[tuple[int, Neurons]]:
        """Neurons that a timestep is added to in this cycle, and which; a carry is one more."""
        for time in range(self.machine.arch.timesteps + 1):
            neurons = self.pipe.q[1 + 2 * time]
            if neurons is not None:
                yield time, neurons

    def _write(self, neurons: Neurons) -> None:
        """What the last layer gives for a group."""
        place = neurons.place
        layer = self.machine.packed.layers[place.layer]
        for lane, number in enumerate(layer.blocks[place.block].tolist()):
            if number < 0:
                continue
            if layer.readout == "psum":
                sums = neurons.sums[lane][: neurons.timesteps]
                value = sum(s + neurons.biases[lane] for s in sums)
            elif layer.readout == "count":
                value = neurons.masks[lane].bit_count()
            else:
                value = neurons.membranes[lane]
            self.logits[place.image, place.group, number] = value
