"""The memory port, and the loader that hands its words on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.helpers.stepped.order import Load
from tests.helpers.stepped.storage import Queue, Reg

if TYPE_CHECKING:
    from tests.helpers.stepped.machine import Machine


class Port:
    """One request a cycle while there is credit; a delay line stands for the memory."""

    def __init__(self, machine: Machine, words: list[int]) -> None:
        self.machine = machine
        clock, arch = machine.clock, machine.arch
        self.words = words
        self.issued = Reg(clock, 0)
        self.credits = Reg(clock, arch.stream_depth)
        self.line: Reg[tuple[int | None, ...]] = Reg(clock, (None,) * arch.memory_latency)
        self.fifo: Queue[int] = Queue(clock, arch.stream_depth)

    def step(self) -> None:
        word = None
        if self.credits.q > 0 and self.issued.q < len(self.words):
            word = self.words[self.issued.q]
            self.issued.set(self.issued.q + 1)
        self.credits.set(self.credits.q - (word is not None) + self.machine.loader.takes())
        self.line.set((word, *self.line.q[:-1]))
        arrived = self.line.q[-1]
        if arrived is not None:
            self.fifo.push(arrived)


@dataclass(frozen=True)
class Word:
    """Four units in a PE's holding register; whether it is the PE's first or last of the chunk."""

    bits: int
    load: Load
    first: bool
    last: bool


class Loader:
    """Hands the words of the stream on: to the input, to the counts, to the PEs in turn, which are
    those of the same number in all clusters.

    Lane n of a port word is for PEs n, n + lanes, ...; each lane has a turn of its own.
    """

    def __init__(self, machine: Machine, input_words: int) -> None:
        self.machine = machine
        clock, arch = machine.clock, machine.arch
        self.bytes = arch.port_bits // 8
        self.lanes = self.bytes // 8
        self.heads = -(-arch.pes // self.bytes)
        self.input = Reg(clock, input_words)
        self.load = Reg(clock, 0)
        self.head = Reg(clock, 0)
        self.counts: Reg[tuple[int, ...]] = Reg(clock, ())
        self.left: Reg[tuple[int, ...]] = Reg(clock, ())
        self.targets: Reg[tuple[int, ...]] = Reg(clock, ())
        self.occupied = (Reg(clock, False), Reg(clock, False))
        # Clusters that are through with what is in each half.
        through: frozenset[int] = frozenset()
        self.through = (Reg(clock, through), Reg(clock, through))

    def takes(self) -> bool:
        """Wire: a word is handed on in this cycle."""
        machine = self.machine
        if machine.port.fifo.empty:
            return False
        if self.input.q:
            return True
        if self.head.q == 0:  # its first word: not before its half is free
            return not self.occupied[machine.plan.loads[self.load.q].half].q
        if self.head.q < self.heads:
            return True
        wanted = [pe for pe in self.targets.q if self.left.q[pe]]
        pes = [cluster.pes[pe] for cluster in machine.clusters for pe in wanted]
        return all(pe.unpacker.ready() for pe in pes)

    def step(self) -> None:
        self._free()
        if not self.takes():
            return
        word = self.machine.port.fifo.head
        self.machine.port.fifo.pop()
        if self.input.q:
            self.input.set(self.input.q - 1)
            self.machine.input.take(word)
        elif self.head.q < self.heads:
            self._count(word)
        else:
            self._hand_on(word)

    def _free(self) -> None:
        """A half is free when it is free in every cluster."""
        frees = [cluster.sequencer.frees() for cluster in self.machine.clusters]
        for half, (occupied, through) in enumerate(zip(self.occupied, self.through, strict=True)):
            more = {number for number, freed in enumerate(frees) if freed == half}
            if not more:
                continue
            if len(through.q | more) == len(frees):
                occupied.set(False)
                through.set(frozenset())
            else:
                through.set(through.q | more)

    def _count(self, word: int) -> None:
        if self.head.q == 0:
            self.occupied[self.machine.plan.loads[self.load.q].half].set(True)
        part = tuple(word.to_bytes(self.bytes, "little"))
        counts = (() if self.head.q == 0 else self.counts.q) + part
        counts = counts[: self.machine.arch.pes]
        self.counts.set(counts)
        self.left.set(counts)
        # Every PE has a word: at least the number of its tokens.
        self.targets.set(tuple(range(self.lanes)))
        self.head.set(self.head.q + 1)

    def _hand_on(self, word: int) -> None:
        left, targets = list(self.left.q), list(self.targets.q)
        load = self.machine.plan.loads[self.load.q]
        for lane, pe in enumerate(targets):
            if not left[pe]:
                continue
            first, last = left[pe] == self.counts.q[pe], left[pe] == 1
            bits = word >> 64 * lane & (1 << 64) - 1
            for cluster in self.machine.clusters:
                cluster.pes[pe].unpacker.give(Word(bits, load, first, last))
            left[pe] -= 1
            turn = [n % len(left) for n in range(pe + self.lanes, pe + 1 + len(left), self.lanes)]
            targets[lane] = next((n for n in turn if left[n]), pe)
        self.left.set(tuple(left))
        self.targets.set(tuple(targets))
        if not any(left):
            self.load.set(self.load.q + 1)
            self.head.set(0)
