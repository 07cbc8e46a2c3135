"""Which kernel positions connect an activation to a tile, and with which outputs."""

from __future__ import annotations

from dataclasses import dataclass

from tests.helpers.stepped.order import Work


@dataclass(frozen=True)
class Activation:
    """An entry of a PE's FIFO; (y, x) in the map that the kernel sees."""

    work: Work
    marker: bool
    channel: int = 0
    mask: int = 0
    y: int = 0
    x: int = 0


def output(item: Activation, pid: int) -> tuple[int, int] | None:
    """The position in the tile that kernel position `pid` connects the activation to, or None."""
    row, column = divmod(pid, item.work.segment.kernel)
    y, x = _along(item.work, 0, item.y, row), _along(item.work, 1, item.x, column)
    return None if y is None or x is None else (y, x)


def position_mask(item: Activation) -> int:
    """The kernel positions that connect the activation to a position of the tile."""
    side = item.work.segment.kernel
    rows, columns = (
        [shift for shift in range(side) if _along(item.work, axis, at, shift) is not None]
        for axis, at in enumerate((item.y, item.x))
    )
    return sum(1 << row * side + column for row in rows for column in columns)


def _along(work: Work, axis: int, at: int, shift: int) -> int | None:
    """Of an axis: the row or column in the tile that a row or column of the kernel leads to."""
    segment = work.segment
    origin, length = work.tile[axis], work.tile[axis + 2]
    quotient, rest = divmod(at - segment.offset[axis] - shift, segment.stride)
    if rest or not origin <= quotient < origin + length:
        return None
    return quotient - origin
