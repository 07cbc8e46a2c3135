"""What the banks of the accumulators hold, and what may be asked of them in a cycle.

The reference of the benches of Bank and Accumulators. Psums are kept as they will be when all
weights that have issued are added, in the order in which they did; so whether a sum was forwarded
or read makes no difference here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LOW, HIGH = -(1 << 23), (1 << 23) - 1


def skew(row: int, banks: int) -> int:
    """The bank of psum 0: the XOR of the row's digits to the base of the number of banks."""
    found = 0
    while row and banks > 1:
        row, digit = divmod(row, banks)
        found ^= digit
    return found


@dataclass(frozen=True)
class Read:
    """A drain of a row; keep: that does not clear it."""

    row: int
    keep: bool = False


@dataclass(frozen=True)
class Addition:
    """A sum that is written in this cycle, before and after it was clipped."""

    row: int
    psum: int
    total: int
    clipped: int

    @property
    def saturates(self) -> bool:
        return self.total != self.clipped


class Psums:
    """Rows of psums in `banks` banks that issue by themselves, with `adders` adders each.

    The adder of a bank that is alone is that of its psum. One of several banks has a single adder;
    psum t of a row is in bank t XOR `skew`.
    """

    def __init__(self, rows: int, psums: int, banks: int = 1) -> None:
        self.rows = [[0] * psums for _ in range(rows)]
        self.psums, self.banks = psums, banks
        self.adders = psums if banks == 1 else 1
        nothing: list[int | None] = [None] * banks
        # Rows that have issued one and two cycles before, and what is added in this cycle.
        self.issued = [nothing, nothing]
        self.addends: list[Sequence[int]] = [[]] * banks
        self.drains: list[Read | None] = [None, None]  # of the last cycles
        self.carried: int | None = None  # row, in the cycle before

    def psum(self, bank: int, adder: int, row: int) -> int:
        """Which psum of the row it is; one that there is not, if the row has none in this bank."""
        return adder if self.banks == 1 else bank ^ skew(row, self.banks)

    def additions(self) -> list[Addition]:
        """The sums of this cycle."""
        found = []
        for bank, row in enumerate(self.issued[1]):
            if row is None:
                continue
            for adder, addend in enumerate(self.addends[bank]):
                psum = self.psum(bank, adder, row)
                total = self.rows[row][psum] + addend
                found.append(Addition(row, psum, total, max(LOW, min(HIGH, total))))
        return found

    # What may be asked for in this cycle.

    @property
    def adding(self) -> bool:
        """A weight has issued in one of the two cycles before."""
        return any(row is not None for rows in self.issued for row in rows)

    def may_issue(self, bank: int, row: int) -> bool:
        last = self.drains[0]
        if last is not None and last.row == row:
            return False
        return all(self.psum(bank, n, row) < self.psums for n in range(self.adders))

    def may_drain(self, row: int) -> bool:
        last = self.drains[0]
        return not self.adding and (last is None or last.row != row)

    def may_carry(self, to: int, touched: Sequence[int]) -> bool:
        """touched: rows that are read in the same cycle."""
        last = self.drains[0]
        return not self.adding and (last is None or last.keep) and to not in touched

    # A cycle.

    def step(
        self,
        issues: Sequence[int | None],
        addends: Sequence[Sequence[int]],
        drain: Read | None = None,
        carry: tuple[int, int] | None = None,
    ) -> list[int] | None:
        """issues: a row for each bank, or None. addends: for the adders of each bank, of what has
        issued in the cycle before. carry: row and value. Returns the row that a drain reads.
        """
        for addition in self.additions():
            self.rows[addition.row][addition.psum] = addition.clipped
        self.issued, self.addends = [list(issues), self.issued[0]], list(addends)
        found = None
        if drain is not None:
            found = list(self.rows[drain.row])
            if not drain.keep:
                self.rows[drain.row] = [0] * self.psums
        if carry is not None:
            row, value = carry
            self.rows[row] = [value] + [0] * (self.psums - 1)
        self.drains = [drain, self.drains[0]]
        self.carried = None if carry is None else carry[0]
        return found
