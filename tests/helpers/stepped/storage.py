"""What a clock edge changes: registers, memories and queues, each with one driver a cycle."""

from __future__ import annotations

from collections import deque
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")


class _Stateful(Protocol):
    def commit(self) -> None: ...


class Clock:
    """What has been driven in this cycle and becomes visible in the next."""

    def __init__(self) -> None:
        self.driven: list[_Stateful] = []

    def tick(self) -> None:
        driven, self.driven = self.driven, []
        for item in driven:
            item.commit()


class Reg(Generic[T]):
    """A register: `q` is its value in this cycle, `set` gives the one of the next."""

    __slots__ = ("_clock", "_next", "_set", "q")

    def __init__(self, clock: Clock, value: T) -> None:
        self.q = value
        self._next = value
        self._set = False
        self._clock = clock

    def set(self, value: T) -> None:
        assert not self._set, "two drivers of a register in one cycle"
        self._next = value
        self._set = True
        self._clock.driven.append(self)

    def commit(self) -> None:
        self.q = self._next
        self._set = False


class Pulse(Generic[T]):
    """A register that holds what was set for one cycle: `q` is None again in the next."""

    __slots__ = ("_clock", "_due", "_next", "_set", "q")

    def __init__(self, clock: Clock) -> None:
        self.q: T | None = None
        self._next: T | None = None
        self._set = False
        self._due = False
        self._clock = clock

    def set(self, value: T) -> None:
        assert not self._set, "two drivers of a register in one cycle"
        self._next = value
        self._set = True
        if not self._due:
            self._due = True
            self._clock.driven.append(self)

    def commit(self) -> None:
        self.q = self._next
        self._set = False
        self._next = None
        self._due = self.q is not None
        if self._due:
            self._clock.driven.append(self)


class Ram(Generic[T]):
    """A memory with one read and one write port; a read sees the cells before a write.

    `out` holds the data of the last read until the next one.
    """

    __slots__ = ("_clock", "_read", "_write", "cells", "out")

    def __init__(self, clock: Clock, size: int, value: T) -> None:
        self.cells = [value] * size
        self.out = value
        self._read: int | None = None
        self._write: tuple[int, T] | None = None
        self._clock = clock

    def read(self, address: int) -> None:
        assert self._read is None, "two reads on one port"
        self._read = address
        self._clock.driven.append(self)

    def write(self, address: int, value: T) -> None:
        assert self._write is None, "two writes on one port"
        assert 0 <= address < len(self.cells), "write outside the memory"
        self._write = address, value
        self._clock.driven.append(self)

    def commit(self) -> None:
        if self._read is not None:
            self.out = self.cells[self._read]
            self._read = None
        if self._write is not None:
            address, value = self._write
            self.cells[address] = value
            self._write = None


class Queue(Generic[T]):
    """A FIFO whose `full` and `empty` are registers: they ignore what happens in this cycle.

    pushes: how many it takes in a cycle.
    """

    __slots__ = ("_clock", "_pop", "_push", "depth", "items", "pushes")

    def __init__(self, clock: Clock, depth: int, pushes: int = 1) -> None:
        self.items: deque[T] = deque()
        self.depth = depth
        self.pushes = pushes
        self._push: list[T] = []
        self._pop = False
        self._clock = clock

    @property
    def full(self) -> bool:
        return len(self.items) >= self.depth

    @property
    def empty(self) -> bool:
        return not self.items

    @property
    def head(self) -> T:
        return self.items[0]

    def push(self, item: T) -> None:
        assert len(self._push) < self.pushes, "more pushes than ports in one cycle"
        assert len(self.items) + len(self._push) < self.depth, "push into a full queue"
        self._push.append(item)
        self._clock.driven.append(self)

    def pop(self) -> None:
        assert not self._pop, "two pops in one cycle"
        assert self.items, "pop from an empty queue"
        self._pop = True
        self._clock.driven.append(self)

    def commit(self) -> None:
        if self._pop:
            self.items.popleft()
            self._pop = False
        self.items.extend(self._push)
        self._push.clear()
