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
    """Hands the words of the stream on: to the input, to the counts, to the PEs in turn."""

    def __init__(self, machine: Machine, input_words: int) -> None:
        self.machine = machine
        clock, arch = machine.clock, machine.arch
        self.heads = -(-arch.pes // 8)
        self.input = Reg(clock, input_words)
        self.load = Reg(clock, 0)
        self.head = Reg(clock, 0)
        self.counts: Reg[tuple[int, ...]] = Reg(clock, ())
        self.left: Reg[tuple[int, ...]] = Reg(clock, ())
        self.target = Reg(clock, 0)
        self.occupied = (Reg(clock, False), Reg(clock, False))

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
        return machine.pes[self.target.q].unpacker.ready()

    def step(self) -> None:
        freed = self.machine.sequencer.frees()
        if freed is not None:
            self.occupied[freed].set(False)
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

    def _count(self, word: int) -> None:
        if self.head.q == 0:
            self.occupied[self.machine.plan.loads[self.load.q].half].set(True)
        counts = (() if self.head.q == 0 else self.counts.q) + tuple(word.to_bytes(8, "little"))
        counts = counts[: self.machine.arch.pes]
        self.counts.set(counts)
        self.left.set(counts)
        self.target.set(0)  # every PE has a word: at least the number of its tokens
        self.head.set(self.head.q + 1)

    def _hand_on(self, word: int) -> None:
        pe = self.target.q
        left = list(self.left.q)
        first, last = left[pe] == self.counts.q[pe], left[pe] == 1
        load = self.machine.plan.loads[self.load.q]
        self.machine.pes[pe].unpacker.give(Word(word, load, first, last))
        left[pe] -= 1
        self.left.set(tuple(left))
        turn = [n % len(left) for n in range(pe + 1, pe + 1 + len(left))]
        following = next((n for n in turn if left[n]), None)
        if following is None:
            self.load.set(self.load.q + 1)
            self.head.set(0)
        else:
            self.target.set(following)
