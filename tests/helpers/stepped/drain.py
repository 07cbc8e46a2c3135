"""The drain, the OR-pool and the collector, which writes spikes as CSR."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tests.helpers.stepped.lif import Neurons, lif
from tests.helpers.stepped.order import Place, places
from tests.helpers.stepped.storage import Reg

if TYPE_CHECKING:
    from tests.helpers.stepped.machine import Machine


@dataclass(frozen=True)
class Position:
    """Registers of the drain: phases 0 and 1 read the bias, 2 positions; beats are logit writes."""

    round: int
    slot: int = 0
    phase: int = 0
    index: int = 0
    beat: int = 0


class Drain:
    """Drain counters, one LIF stage a timestep, OR-pool and CSR write.

    An item that is read in cycle d is in pipe[n] in d + 1 + n: [0] has the RAM's data, [1] to
    [timesteps] are the LIF, then the OR-pool, and pipe[timesteps + 2] writes.
    """

    def __init__(self, machine: Machine, host: list[Place]) -> None:
        self.machine = machine
        clock, arch = machine.clock, machine.arch
        self.host = host
        self.host_at = Reg(clock, 0)
        self.current: Reg[tuple[int, ...]] = Reg(clock, ())
        self.block: Reg[tuple[int, ...] | None] = Reg(clock, None)
        self.at: Reg[Position | None] = Reg(clock, None)
        self.captures = Reg(clock, -1)  # phase of the read whose data is at the RAM's output
        self.capture_half = Reg(clock, 0)
        self.low: Reg[tuple[int, ...]] = Reg(clock, (0,) * arch.pes)
        self.biases: Reg[tuple[int, ...]] = Reg(clock, (0,) * arch.pes)
        self.pipe: Reg[tuple[Neurons | None, ...]] = Reg(clock, (None,) * (arch.timesteps + 3))
        self.pool: Reg[tuple[int, ...]] = Reg(clock, ())
        self.logits: dict[int, int] = {}
        self.spots = [
            places(machine.packed.layers[r.layer], r.layer, r.number, r.tile)
            for r in machine.plan.rounds
        ]

    # Wires.

    def drains(self) -> bool:
        return self.at.q is not None or self.block.q is not None

    def beats(self, number: int) -> int:
        layer = self.machine.packed.layers[self.machine.plan.rounds[number].layer]
        return self.machine.arch.logit_words if layer.last else 1

    def row(self) -> int | None:
        """The accumulator row that all PEs read in this cycle."""
        at = self.at.q
        if at is None or at.phase < 2 or at.beat:
            return None
        return self.spots[at.round][at.slot][at.index].at

    def ends_round(self) -> bool:
        """The last drain cycle of a round; of the host layer: of the layer."""
        if self.block.q is not None:
            return self.host_at.q == len(self.host) - 1
        at = self.at.q
        if at is None or at.phase < 2:
            return False
        slots = self.spots[at.round]
        return (
            at.slot == len(slots) - 1
            and at.index == len(slots[at.slot]) - 1
            and at.beat == self.beats(at.round) - 1
        )

    def ends_layer(self) -> bool:
        at = self.at.q
        return self.ends_round() and (at is None or self.machine.plan.rounds[at.round].ends_layer)

    def take_current(self, word: int) -> None:
        """A word of the host's currents is handed on in this cycle."""
        words = (*self.current.q, word)
        full = len(words) == self.machine.arch.current_words
        self.current.set(() if full else words)
        if full:
            self.block.set(words)

    def step(self) -> None:
        machine = self.machine
        item: Neurons | None = None
        if self.block.q is not None:
            item = Neurons(self.host[self.host_at.q], self._currents(self.block.q), self._no_bias())
            self.host_at.set(self.host_at.q + 1)
            if not machine.loader.completes_block():
                self.block.set(None)
        elif self.at.q is not None:
            item = self._read(self.at.q)
            self.at.set(self._advance(self.at.q))
        elif machine.sequencer.barrier():
            self.at.set(Position(machine.sequencer.drained.q))
        self._capture()
        self._flow(item)

    def _no_bias(self) -> tuple[int, ...]:
        return (0,) * self.machine.arch.pes

    def _currents(self, words: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        bits = sum(word << 64 * n for n, word in enumerate(words))
        found = []
        for lane in range(self.machine.arch.pes):
            value = bits >> 24 * lane & 0xFFFFFF
            value -= value >> 23 << 24
            found.append((value,) * self.machine.arch.timesteps)
        return tuple(found)

    def _read(self, at: Position) -> Neurons | None:
        """The reads of a drain cycle."""
        half = self.machine.plan.rounds[at.round].half
        if at.phase < 2:
            for pe in self.machine.pes:
                base = pe.unpacker.bias_base[half].q
                pe.banks.weight[half].read(base + 2 * at.slot + at.phase)
            return None
        if at.beat:
            return None
        place = self.spots[at.round][at.slot][at.index]
        return Neurons(place)  # each PE reads its row

    def _advance(self, at: Position) -> Position | None:
        if at.phase < 2:
            return replace(at, phase=at.phase + 1)
        if at.beat < self.beats(at.round) - 1:
            return replace(at, beat=at.beat + 1)
        if at.index < len(self.spots[at.round][at.slot]) - 1:
            return replace(at, index=at.index + 1, beat=0)
        if at.slot < len(self.spots[at.round]) - 1:
            return Position(at.round, at.slot + 1)
        return None

    def _capture(self) -> None:
        """The biases: low unit, then high unit, one cycle behind their reads."""
        at = self.at.q
        self.captures.set(-1 if at is None else at.phase)
        if at is not None:
            self.capture_half.set(self.machine.plan.rounds[at.round].half)
        data = tuple(pe.banks.weight[self.capture_half.q].out for pe in self.machine.pes)
        if self.captures.q == 0:
            self.low.set(data)
        elif self.captures.q == 1:
            pairs = zip(self.low.q, data, strict=True)
            whole = [low & 0xFFFF | (high & 0xFF) << 16 for low, high in pairs]
            self.biases.set(tuple(v - (v >> 23 << 24) for v in whole))

    def _flow(self, item: Neurons | None) -> None:
        pipe = self.pipe.q
        if item is None and not any(pipe):
            return
        shifted: list[Neurons | None] = [item]
        for stage, neurons in enumerate(pipe[:-1]):
            shifted.append(None if neurons is None else self._stage(stage, neurons))
        self.pipe.set(tuple(shifted))
        self._write(pipe[-1])

    def _stage(self, stage: int, neurons: Neurons) -> Neurons | None:
        time = self.machine.packed.timesteps
        layer = self.machine.packed.layers[neurons.place.layer]
        if stage == 0:
            if not layer.host:
                sums = tuple(pe.rows.out for pe in self.machine.pes)
                neurons = replace(neurons, sums=sums, biases=self.biases.q)
            zero = self._no_bias()
            return replace(neurons, membranes=zero, masks=zero)
        if stage <= self.machine.arch.timesteps:
            return neurons if layer.last or stage > time else lif(layer, neurons, stage - 1)
        if layer.last:
            return neurons
        pooled = neurons.masks
        if not neurons.place.opens:
            pooled = tuple(a | b for a, b in zip(pooled, self.pool.q, strict=True))
        self.pool.set(pooled)
        return replace(neurons, masks=pooled) if neurons.place.closes else None

    def _write(self, neurons: Neurons | None) -> None:
        if neurons is None:
            return
        place, memory = neurons.place, self.machine.memory
        layer = self.machine.packed.layers[place.layer]
        if layer.last:
            for lane, number in enumerate(layer.blocks[place.block].tolist()):
                sums = neurons.sums[lane][: self.machine.packed.timesteps]
                if number >= 0:
                    self.logits[number] = sum(s + neurons.biases[lane] for s in sums)
            return
        height, width = layer.size[0] // layer.pool, layer.size[1] // layer.pool
        row = layer.spike_base + (place.block * height + place.row) * width
        # The count of the row is a register: the row's other tiles left theirs in the memory, which
        # is read while the position is in the LIF.
        count = 0 if place.restarts else memory.counts.cells[row]
        fired = any(neurons.masks)
        if fired:
            memory.entries.write(row + count, (place.column, neurons.masks))
        memory.counts.write(row, count + fired)
