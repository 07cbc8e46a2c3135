"""A PE's selector: S1 to S3, from the match queue to the read of the weight bank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.helpers.stepped.matcher import Matched
from tests.helpers.stepped.positions import Activation, output
from tests.helpers.stepped.storage import Reg

if TYPE_CHECKING:
    from tests.helpers.stepped.pe import Pe


@dataclass(frozen=True)
class Weight:
    """A matched weight: its address in its half of the weight bank, the accumulators' row, and the
    place of its neuron in the tile.
    """

    address: int
    row: int
    place: tuple[int, int]


@dataclass(frozen=True)
class Selection:
    """The weights that S1 selects in a cycle: one of an even address first, or in their order."""

    item: Activation
    weights: tuple[Weight, ...]


class Selector:
    """S1 has what is left of an entry of the match queue, S2 and S3 a selection each."""

    def __init__(self, pe: Pe) -> None:
        self.pe = pe
        clock = pe.machine.clock
        self.issue, self.gates = pe.machine.arch.issue, pe.machine.arch.gates
        self.s1: Reg[Selection | None] = Reg(clock, None)
        self.s2: Reg[Selection | None] = Reg(clock, None)
        self.s3: Reg[Selection | None] = Reg(clock, None)

    # Wires.

    def marker(self) -> Activation | None:
        """The marker that issues: S1 gives it up, at the end of a chunk since nothing is left in
        front of it.
        """
        held = self.s1.q
        if held is None or not held.item.marker:
            return None
        if not held.item.work.ends_chunk:
            return held.item
        if self.s2.q is not None or self.s3.q is not None:
            return None
        return held.item if self.pe.gates.empty() else None

    def _selects(self) -> tuple[Selection, tuple[Weight, ...]] | None:
        """What S1 selects in this cycle, and what is left behind it."""
        held = self.s1.q
        if held is None or held.item.marker or not self.pe.gates.room():
            return None
        if self.gates == "weights":
            count = together(held.weights)
            return Selection(held.item, held.weights[:count]), held.weights[count:]
        if self.issue == 1:
            return Selection(held.item, held.weights[:1]), held.weights[1:]
        # In the weight bank, where half 1 follows half 0.
        base = held.item.work.half * self.pe.machine.arch.weight_words
        first = [
            next((w for w in held.weights if (base + w.address) % 2 == parity), None)
            for parity in (0, 1)
        ]
        chosen = tuple(w for w in first if w is not None)
        return Selection(held.item, chosen), tuple(w for w in held.weights if w not in chosen)

    def takes(self) -> bool:
        """S1 takes an entry of the match queue."""
        if self.pe.matcher.queue.empty:
            return False
        selected = self._selects()
        last = selected is not None and not selected[1]
        return self.s1.q is None or last or self.marker() is not None

    def step(self) -> None:
        selected = self._selects()
        selection, rest = (None, ()) if selected is None else selected
        if self.takes():
            self.s1.set(self._expand(self.pe.matcher.queue.head))
            self.pe.matcher.queue.pop()
        elif selection is not None:
            self.s1.set(Selection(selection.item, rest) if rest else None)
        elif self.marker() is not None:
            self.s1.set(None)
        for stage, following in ((self.s2, selection), (self.s3, self.s2.q)):
            if following is not None or stage.q is not None:
                stage.set(following)
        if self.s3.q is not None:
            for weight in self.s3.q.weights:
                self.pe.banks.read_weight(self.s3.q.item.work.half, weight.address)

    def _expand(self, entry: Matched) -> Selection:
        """All weights of an entry: kernels in the order of their headers, PIDs ascending."""
        item, found = entry.item, []
        height, width = self.pe.machine.packed.layers[item.work.layer].tile
        for kernel in entry.kernels:
            for pid in (n for n in range(kernel.pids.bit_length()) if kernel.pids >> n & 1):
                at = output(item, pid)
                assert at is not None
                before = (kernel.wsp & ((1 << pid) - 1)).bit_count()
                row = item.work.row + (kernel.slot * height + at[0]) * width + at[1]
                found.append(Weight(kernel.base + before, row, at))
        return Selection(item, tuple(found))


def together(weights: tuple[Weight, ...]) -> int:
    """How many of the first weights issue together where the gates are weights: as long as their
    addresses differ modulo 4, and the rows or the columns of their neurons.
    """
    addresses: set[int] = set()
    places: set[tuple[int, int]] = set()
    for weight in weights:
        address, place = weight.address % 4, (weight.place[0] % 4, weight.place[1] % 4)
        if address in addresses or place in places:
            break
        addresses.add(address)
        places.add(place)
    return len(places)
