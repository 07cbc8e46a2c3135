"""Replay: a netlist of gates runs on recorded inputs, and every net's changes are counted.

The gates are computed by `replay.cpp`, whose every net is a variable of its own: a simulator that
compiles the netlist would merge nets that are equal and drop those that nothing reads. A cycle has
no time inside: a net changes once in it at most, so that glitches are not counted.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import subprocess
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evenspike_core import cache
from evenspike_core.errors import EvenspikeError
from evenspike_hw.engine.compiled import EngineError, find_tools
from evenspike_hw.power.flat import ONE, ZERO, Flat, Ram
from evenspike_hw.power.library import INPUTS, VARIABLES, Library

READ = 255
"""In place of a number of inputs: the step reads a RAM without a clock."""
NO_KIND = 255
"""Kind of a cycle that is not counted."""

_SOURCE = Path(__file__).with_name("replay.cpp")
_FLAGS = ("-std=c++17", "-O3", "-fPIC", "-shared")

U8 = npt.NDArray[np.uint8]
U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]


class _Netlist(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_uint32) for name in ("nets", "steps", "flip_flops", "rams")),
        *((name, ctypes.c_void_p) for name in ("inputs", "reads", "writes", "tables")),
        *((name, ctypes.c_void_p) for name in ("next", "state", "ports", "content")),
    )


class _Job(ctypes.Structure):
    _fields_ = (
        ("record", ctypes.c_void_p),
        ("words", ctypes.c_uint32),
        ("cycles", ctypes.c_uint64),
        ("reset", ctypes.c_uint64),
        ("reset_net", ctypes.c_uint32),
        *((name, ctypes.c_uint32) for name in ("inputs", "outputs")),
        *((name, ctypes.c_void_p) for name in ("input_net", "input_bit")),
        *((name, ctypes.c_void_p) for name in ("output_net", "output_bit", "kind")),
        ("kinds", ctypes.c_uint32),
        *((name, ctypes.c_void_p) for name in ("counted", "toggles", "high")),
        *((name, ctypes.c_void_p) for name in ("ram_reads", "ram_writes")),
        ("differs_at", ctypes.c_uint64),
        ("differs", ctypes.c_uint32),
    )


@dataclass(frozen=True)
class Signal:
    """A port in the record. at: the first of its bits in a cycle's words."""

    name: str
    width: int
    at: int


@dataclass(frozen=True)
class Stimuli:
    """What a part was given and what it gave.

    record: uint32 [cycles, words]. inward, outward: its ports. reset: name of the one that resets
        it, "" for none. kind: uint8 [cycles], the counters that a cycle goes into, below `kinds`,
        or `NO_KIND`; cycle 0, which follows none, goes into none. name: of the run, for errors.
    """

    record: U32
    inward: tuple[Signal, ...]
    outward: tuple[Signal, ...]
    kind: U8
    kinds: int
    reset: str = ""
    name: str = "the record"


@dataclass(frozen=True)
class Activity:
    """What the nets of a netlist did, by kind of cycle.

    cycles: uint64 [kinds]. toggles, high: uint64 [kinds, nets]; changes from the cycle before, and
        cycles in which a net is 1. reads, writes: uint64 [kinds, rams]; a RAM that is read without
        a clock counts as read when its address changes.
    compared: values of outputs, bit by bit, that were the recorded ones; all were.
    """

    cycles: U64
    toggles: U64
    high: U64
    reads: U64
    writes: U64
    compared: int


def replay(flat: Flat, library: Library, stimuli: Stimuli) -> Activity:
    """Runs a netlist on recorded inputs, from its reset on.

    Raises EvenspikeError where an output differs from the recorded one, with the first cycle and
    port, for ports that the record lacks, and for gates in a loop.
    """
    order = _Order(flat, library)
    cycles, words = stimuli.record.shape
    if stimuli.kind.shape != (cycles,):
        raise EvenspikeError(f"{stimuli.kind.size} kinds of cycles for {cycles} cycles")
    given = list(_bits(flat, stimuli.inward, inward=True))
    given_names = {signal.name for signal in stimuli.inward}
    for name in sorted(flat.inward - given_names - {order.clock}):
        raise EvenspikeError(f"{stimuli.name} has no input {name}, which the netlist has")
    seen = list(_bits(flat, stimuli.outward, inward=False))
    reset_net = flat.ports[stimuli.reset][0] if stimuli.reset in flat.ports else flat.nets
    kinds, nets, rams = stimuli.kinds, flat.nets, max(1, len(flat.rams))
    counted = np.zeros(kinds, np.uint64)
    toggles, high = (np.zeros((kinds, order.nets), np.uint64) for _ in range(2))
    reads, writes = (np.zeros((kinds, len(flat.rams)), np.uint64) for _ in range(2))
    arrays: dict[str, npt.NDArray[Any]] = {
        "record": np.ascontiguousarray(stimuli.record),
        "input_net": np.array([net for net, _, _ in given], np.uint32),
        "input_bit": np.array([bit for _, bit, _ in given], np.uint32),
        "output_net": np.array([net for net, _, _ in seen], np.uint32),
        "output_bit": np.array([bit for _, bit, _ in seen], np.uint32),
        "kind": np.ascontiguousarray(stimuli.kind),
        "counted": counted,
        "toggles": toggles,
        "high": high,
        "ram_reads": reads if len(flat.rams) else np.zeros((kinds, rams), np.uint64),
        "ram_writes": writes if len(flat.rams) else np.zeros((kinds, rams), np.uint64),
    }
    job = _Job(
        words=words,
        cycles=cycles,
        reset=2 if stimuli.reset else 0,
        reset_net=reset_net,
        inputs=len(given),
        outputs=len(seen),
        kinds=kinds,
        **{name: array.ctypes.data for name, array in arrays.items()},
    )
    netlist = order.netlist()
    _library().evenspike_replay(ctypes.byref(netlist), ctypes.byref(job))
    if job.differs_at < cycles:
        _, bit, name = seen[job.differs]
        at = int(job.differs_at)
        was = int(stimuli.record[at, bit // 32]) >> bit % 32 & 1
        low = next(s.at for s in stimuli.outward if s.name == name)
        raise EvenspikeError(
            f"{stimuli.name}: the netlist is not what ran: in cycle {at} of the record bit "
            f"{bit - low} of output {name} is {1 - was}, where the RTL had {was}"
        )
    return Activity(
        counted, toggles[:, :nets], high[:, :nets], reads, writes, len(seen) * int(cycles)
    )


def _bits(
    flat: Flat, signals: tuple[Signal, ...], *, inward: bool
) -> Iterator[tuple[int, int, str]]:
    """Net, bit in the record and port of each bit."""
    for signal in signals:
        nets = flat.ports.get(signal.name)
        if nets is None:
            if inward:  # nothing reads it
                continue
            raise EvenspikeError(f"the netlist has no output {signal.name}, which was recorded")
        if len(nets) != signal.width:
            raise EvenspikeError(
                f"port {signal.name} has {len(nets)} bits in the netlist and {signal.width} in "
                "the record"
            )
        for number, net in enumerate(nets):
            yield net, signal.at + number, signal.name


class _Order:
    """A netlist in the order in which its gates are computed, as arrays.

    nets: with those that are added for the next states of flip-flops that have logic of their own.
    clock: name of the port that clocks all of it; "" without a flip-flop.
    """

    def __init__(self, flat: Flat, library: Library) -> None:
        self.flat, self.nets = flat, flat.nets
        self._steps: list[tuple[int, list[int], int, int]] = []
        self._next: list[int] = []
        self._state: list[int] = []
        # Next states, which nothing reads in the same cycle: they come behind all others.
        self._late: list[tuple[int, list[int], int, int]] = []
        clocks = set()
        waiting: list[tuple[int, list[int], list[int], int]] = []
        for cell in flat.cells:
            kind = library[cell.kind]
            pins = [cell.pins[pin] for pin in kind.inputs]
            if not kind.clock:
                for pin, table in kind.outputs.items():
                    waiting.append((len(pins), pins, [cell.pins[pin]], table))
                continue
            clocks.add(cell.pins[kind.clock])
            state = self._flip_flop(kind.following, pins)
            waiting += [(1, [state], [cell.pins[p]], t) for p, t in kind.outputs.items()]
        for number, ram in enumerate(flat.rams):
            for port, reader in enumerate(ram.readers):
                if not reader.clocked:
                    waiting.append((READ, [*reader.address, number, port], reader.data, 0))
        self.clock = self._clock(clocks)
        self._sort(waiting)

    def _flip_flop(self, following: int, pins: list[int]) -> int:
        """Adds a flip-flop; the net of its state."""
        state = self.nets
        self.nets += 1
        self._state.append(state)
        if following == VARIABLES[0] and len(pins) == 1:
            self._next.append(pins[0])
        else:
            self._next.append(self.nets)
            self._late.append((len(pins) + 1, [*pins, state], self.nets, following))
            self.nets += 1
        return state

    def _clock(self, nets: set[int]) -> str:
        names = {self.flat.ports[name][0]: name for name in self.flat.inward}
        if len(nets) > 1 or not nets <= set(names):
            raise EvenspikeError(
                f"the netlist has {len(nets)} clocks, or one that is not a port; the replay has one"
            )
        return names[nets.pop()] if nets else ""

    def _sort(self, waiting: list[tuple[int, list[int], list[int], int]]) -> None:
        """A step comes when all nets that it reads have their value of the cycle."""
        drives: dict[int, int] = {}
        for number, (_, _, written, _) in enumerate(waiting):
            for net in written:
                if drives.setdefault(net, number) != number or net in (ZERO, ONE):
                    raise EvenspikeError(f"net {net} of the netlist has two drivers")
        readers: dict[int, list[int]] = {}
        missing = []
        for number, (count, read, _, _) in enumerate(waiting):
            nets = read[:-2] if count == READ else read
            sources = {drives[net] for net in nets if net in drives}
            missing.append(len(sources))
            for source in sources:
                readers.setdefault(source, []).append(number)
        ready = deque(number for number, count in enumerate(missing) if not count)
        done = 0
        while ready:
            number = ready.popleft()
            done += 1
            count, read, written, table = waiting[number]
            if count == READ:
                self._steps.append((READ, read[-2:], 0, 0))
            else:
                self._steps.append((count, read, written[0], table))
            for reader in readers.get(number, ()):
                missing[reader] -= 1
                if not missing[reader]:
                    ready.append(reader)
        if done < len(waiting):
            raise EvenspikeError(
                f"{len(waiting) - done} gates of the netlist are in or behind a loop"
            )
        self._steps += self._late

    def netlist(self) -> _Netlist:
        """The arrays; the object keeps them."""
        steps = self._steps
        reads = np.zeros((len(steps), INPUTS), np.uint32)
        for number, (_, read, _, _) in enumerate(steps):
            reads[number, : len(read)] = read
        content = [bit for ram in self.flat.rams for bit in _content(ram)]
        self._arrays: dict[str, npt.NDArray[Any]] = {
            "inputs": np.array([step[0] for step in steps], np.uint8),
            "reads": reads,
            "writes": np.array([step[2] for step in steps], np.uint32),
            "tables": np.array([step[3] for step in steps], np.uint64),
            "next": np.array(self._next, np.uint32),
            "state": np.array(self._state, np.uint32),
            "ports": np.array([n for ram in self.flat.rams for n in _ports(ram)], np.uint32),
            "content": np.concatenate(content) if content else np.zeros(0, np.uint8),
        }
        return _Netlist(
            nets=self.nets,
            steps=len(steps),
            flip_flops=len(self._state),
            rams=len(self.flat.rams),
            **{name: array.ctypes.data for name, array in self._arrays.items()},
        )


def _ports(ram: Ram) -> Iterator[int]:
    """A RAM as `replay.cpp` reads it."""
    bits = len(ram.readers[0].address) if ram.readers else len(ram.writers[0].address)
    yield from (ram.depth, ram.width, bits, len(ram.readers), len(ram.writers))
    for reader in ram.readers:
        yield from (int(reader.clocked), reader.enable, *reader.address, *reader.data)
    for writer in ram.writers:
        yield from (*writer.enable, *writer.address, *writer.data)


def _content(ram: Ram) -> Iterator[U8]:
    found = np.zeros((ram.depth, ram.width), np.uint8)
    for at, word in enumerate(ram.content):
        found[at] = [word >> bit & 1 for bit in range(ram.width)]
    yield found.reshape(-1)


def _library() -> ctypes.CDLL:
    """The compiled replay, which is kept by the digest of what it is made from."""
    tools = find_tools()
    text = hashlib.sha256(_SOURCE.read_bytes() + repr((tools.compiler, _FLAGS)).encode())
    target = cache.folder("engine") / f"replay-{text.hexdigest()[:16]}.so"
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=target.parent) as name:
            built = Path(name) / target.name
            done = subprocess.run(  # noqa: S603  (a compiler that the user has)
                [*tools.compiler, *_FLAGS, str(_SOURCE), "-o", str(built)],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise EngineError(f"the C++ compiler failed: {done.stderr.strip()[:200]}")
            os.replace(built, target)
    cache.check_owner(target, target.stat())
    try:
        found = ctypes.CDLL(str(target))
        found.evenspike_replay.argtypes = [ctypes.POINTER(_Netlist), ctypes.POINTER(_Job)]
        found.evenspike_replay.restype = None
    except (OSError, AttributeError) as error:
        raise EngineError(f"{target}: the replay cannot be loaded: {error}") from error
    return found


def ports(signals: Mapping[str, int]) -> tuple[tuple[Signal, ...], int]:
    """Ports of these widths behind each other, and the words that they take."""
    at, found = 0, []
    for name, width in signals.items():
        found.append(Signal(name, width, at))
        at += width
    return tuple(found), -(-at // 32)
