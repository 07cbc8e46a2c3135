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
        for item in self.driven:
            item.commit()
        self.driven.clear()


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
    """A FIFO whose `full` and `empty` are registers: they ignore what happens in this cycle."""

    __slots__ = ("_clock", "_pop", "_push", "depth", "items")

    def __init__(self, clock: Clock, depth: int) -> None:
        self.items: deque[T] = deque()
        self.depth = depth
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
        assert not self._push, "two pushes in one cycle"
        assert not self.full, "push into a full queue"
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
        if self._push:
            self.items.append(self._push.pop())
