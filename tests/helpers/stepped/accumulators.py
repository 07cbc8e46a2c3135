"""A PE's accumulators: banks of partial sums, and the adders behind them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tests.helpers.stepped.lif import HIGH, LOW
from tests.helpers.stepped.storage import Ram, Reg

if TYPE_CHECKING:
    from tests.helpers.stepped.pe import Pe


class Bank:
    """A RAM of rows of sums, and the adders that write it two cycles after a read.

    What they have written in the last two cycles was not yet in the RAM when it was read: it comes
    from `last`, once on the way into the adders' register and once behind it.
    """

    def __init__(self, pe: Pe, sums: int) -> None:
        clock, arch = pe.machine.clock, pe.machine.arch
        self.ram: Ram[tuple[int, ...]] = Ram(clock, arch.accumulators, (0,) * sums)
        self.gated: Reg[tuple[int, tuple[int, ...], tuple[int, ...]] | None] = Reg(clock, None)
        self.overflow = Reg(clock, False)  # sticky
        self.last: Reg[tuple[int, tuple[int, ...]] | None] = Reg(clock, None)

    def step(self, row: int | None, terms: tuple[int, ...]) -> None:
        """terms: what is added to the row that was read a cycle ago, or None."""
        if self.gated.q is not None:
            self._add(*self.gated.q)
        elif self.last.q is not None:
            self.last.set(None)
        if row is not None:
            self.gated.set((row, terms, self._latest(row, self.ram.out)))
        elif self.gated.q is not None:
            self.gated.set(None)

    def _latest(self, row: int, sums: tuple[int, ...]) -> tuple[int, ...]:
        last = self.last.q
        return last[1] if last is not None and last[0] == row else sums

    def _add(self, row: int, terms: tuple[int, ...], sums: tuple[int, ...]) -> None:
        total = [s + term for s, term in zip(self._latest(row, sums), terms, strict=True)]
        clipped = tuple(max(LOW, min(HIGH, s)) for s in total)
        if list(clipped) != total:
            self.overflow.set(True)
        self.ram.write(row, clipped)
        self.last.set((row, clipped))


class Accumulators:
    """One bank of whole rows, or a bank for each lane, over which the sums of a row are skewed, or,
    where the gates are weights, for each neuron of a window of 4 x 4.
    """

    def __init__(self, pe: Pe) -> None:
        self.pe = pe
        clock, arch = pe.machine.clock, pe.machine.arch
        self.timesteps, self.issue, self.count = arch.timesteps, arch.issue, arch.banks
        self.windows, self.rows = arch.gates == "weights", arch.accumulators
        if self.windows:
            self.banks = [Bank(pe, 1) for _ in range(16)]
        elif self.issue == 1:
            self.banks = [Bank(pe, arch.timesteps)]
        else:
            self.banks = [Bank(pe, 1) for _ in range(self.count)]
        self.drained = Reg(clock, 0)  # the row whose sums are at the RAMs' outputs
        self.drained_bank = Reg(clock, 0)
        # The row that was drained for good, and its bank.
        self.clear: Reg[tuple[int, int] | None] = Reg(clock, None)

    def bank(self, row: int, layer: int) -> int:
        """The bank of a row where the gates are weights: of its number two bits that count columns
        of the tile, and two that count rows, as far as there are such.
        """
        width = self.pe.machine.packed.layers[layer].tile[1]
        first = min(max(width, 4), self.rows // 4)
        return row % 4 + 4 * (row // first % 4)

    def place(self, row: int, time: int) -> tuple[int, int]:
        """The bank that has the sum of a timestep, and which of a row's sums there it is."""
        return (0, time) if self.issue == 1 else (time ^ skew(row, self.count), 0)

    def sums(self) -> tuple[int, ...]:
        """Wire: of the row that the drain has read in the cycle before."""
        if self.windows:
            return self.banks[self.drained_bank.q].ram.out
        return self._gather(self.drained.q, [bank.ram.out for bank in self.banks])

    @property
    def overflow(self) -> bool:
        """Wire: a sum has saturated."""
        return any(bank.overflow.q for bank in self.banks)

    @property
    def cells(self) -> list[tuple[int, ...]]:
        """What every row holds, for whoever watches."""
        rows = range(len(self.banks[0].ram.cells))
        if self.windows:  # a row is 0 in the banks that are not its own
            return [(sum(bank.ram.cells[row][0] for bank in self.banks),) for row in rows]
        return [self._gather(row, [bank.ram.cells[row] for bank in self.banks]) for row in rows]

    def step(self) -> None:
        drain = self.pe.machine.drain
        row = drain.row()
        number = 0
        if row is not None:
            layer = drain.layer()
            for bank in self._holders(row, layer):
                bank.ram.read(row)
            self.drained.set(row)
            if self.windows:
                number = self.bank(row, layer)
                self.drained_bank.set(number)
        if self.clear.q is not None:
            self._write(*self.clear.q, (0,) * self.timesteps)
        carried = drain.carried(self.pe.number)
        if carried is not None:
            at = self.bank(carried[0], drain.layer()) if self.windows else 0
            self._write(carried[0], at, (carried[1], *(0,) * (self.timesteps - 1)))
        cleared = None if drain.carries() or row is None else (row, number)
        if self.clear.q != cleared:
            self.clear.set(cleared)

    def _holders(self, row: int, layer: int) -> list[Bank]:
        if self.windows:
            return [self.banks[self.bank(row, layer)]]
        found = {self.place(row, time)[0] for time in range(self.timesteps)}
        return [self.banks[at] for at in sorted(found)]

    def _gather(self, row: int, lines: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        places = [self.place(row, time) for time in range(self.timesteps)]
        return tuple(lines[bank][at] for bank, at in places)

    def _write(self, row: int, bank: int, sums: tuple[int, ...]) -> None:
        """bank: where the gates are weights."""
        if self.windows:
            self.banks[bank].ram.write(row, sums)
            return
        if self.issue == 1:
            self.banks[0].ram.write(row, sums)
            return
        for time, value in enumerate(sums):
            self.banks[self.place(row, time)[0]].ram.write(row, (value,))


class Registers(Accumulators):
    """A register for each sum, where every neuron has a LIF unit that takes it; and the banks'
    adders, of which each has one a cycle.
    """

    def __init__(self, pe: Pe) -> None:
        super().__init__(pe)
        clock = pe.machine.clock
        self.values: Reg[tuple[int, ...]] = Reg(clock, (0,) * self.rows)
        self.gated: Reg[tuple[tuple[int, int], ...]] = Reg(clock, ())
        self.saturated = Reg(clock, False)  # sticky

    @property
    def overflow(self) -> bool:
        """Wire: a sum has saturated."""
        return self.saturated.q

    @property
    def cells(self) -> list[tuple[int, ...]]:
        """What every row holds, for whoever watches."""
        return [(value,) for value in self.values.q]

    def step(self) -> None:
        if self.pe.machine.drain.steps():
            assert not self.gated.q, "a weight is added while the neurons step"
            self.values.set((0,) * self.rows)
            return
        values = list(self.values.q)
        assert len({row for row, _ in self.gated.q}) == len(self.gated.q), "a row twice"
        for row, term in self.gated.q:
            total = values[row] + term
            values[row] = max(LOW, min(HIGH, total))
            if values[row] != total:
                self.saturated.set(True)
        if self.gated.q:
            self.values.set(tuple(values))


def skew(row: int, lanes: int) -> int:
    """The XOR of the row's digits to the base of the number of lanes."""
    found = 0
    while row and lanes > 1:
        row, digit = divmod(row, lanes)
        found ^= digit
    return found
