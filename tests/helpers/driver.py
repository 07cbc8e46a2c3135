"""Drives a component inside the simulator: ports, cycles, and the corners that a bench must reach.

A bench is a file `benches/<component>.py`. It holds `ARCH`, `component(arch)`, and tests;
`tests/helpers/bench.py` finds and runs it. Optional: `VARIANTS`, names and Archs with which the
same tests run once more.

    ARCH = Arch(pes=4, fifo_depth=7)

    def component(arch: Arch) -> wiring.Component:
        return Fifo(unsigned(8), arch.fifo_depth)

    @test
    async def random_traffic(bench: Bench) -> None:
        model = Model(bench.arch)  # one step a cycle: inputs in, outputs out
        for _ in range(bench.transactions):
            inputs = {"w__valid": bench.chance(0.5), "w__payload": bench.bits(8), "r__ready": 1}
            expected = model.step(inputs)
            bench.check(await bench.cycle(**inputs), expected)  # every output, every cycle
            bench.cover("full", model.full)

A test begins with the clock running, the reset over, and all inputs 0. A **cycle** begins just
after a rising edge and ends just before the next: `cycle(**inputs)` drives the inputs that it is
given (the others keep their values), and returns all outputs as they are just before the edge that
ends it. So combinational outputs belong to the inputs of the same call, and what a register takes
from them is seen in the next. A component without a clock is used likewise.

Ports have the names of the Verilog: member `word` of a stream has `word__payload`, `word__valid`,
`word__ready`. Values are non-negative integers, bit for bit; an input may also be a mapping (or a
sequence) of its fields. `bench.fields(name, value)` gives an output's fields.

A **corner** is a situation that the tests of a bench must reach together. Each is named once, where
`cover(name, condition)` says what it is: the names in the text of the file are the list. Names that
are put together from parts are not to be seen there, so a bench with such names has them in
`CORNERS`.
"""

from __future__ import annotations

import ast
import functools
import importlib
import json
import os
import random
import warnings
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, cast

import cocotb
from amaranth.hdl import Shape, UnusedElaboratable
from amaranth.lib import data
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, Timer

from evenspike_core.arch import Arch

PERIOD = 10  # ns
RESET_CYCLES = 2

# The simulator's component was elaborated before; here only the signature is of use.
warnings.simplefilter("ignore", UnusedElaboratable)


# --- layouts ---------------------------------------------------------------------------------


def _plan(layout: Any) -> list[tuple[Any, int, int, int, Any]] | None:
    """Key, offset, mask, sign bit and layout (if it has fields) of each field of a layout."""
    if not isinstance(layout, data.Layout):
        return None
    found = []
    for key, field in layout:
        width = Shape.cast(field.shape).width
        sign = 1 << width - 1 if Shape.cast(field.shape).signed and width else 0
        inner = field.shape if isinstance(field.shape, data.Layout) else None
        found.append((key, field.offset, (1 << width) - 1, sign, inner))
    return found


_plans: dict[Any, list[tuple[Any, int, int, int, Any]] | None] = {}


def _planned(layout: Any) -> list[tuple[Any, int, int, int, Any]] | None:
    if layout not in _plans:
        _plans[layout] = _plan(layout)
    return _plans[layout]


def pack(layout: Any, value: Any) -> int:
    """The bits of a value: an integer, or a mapping or sequence of fields; missing ones are 0.

    Raises AssertionError if a field does not fit: a bench that truncates tests something else.
    """
    plan = _planned(layout)
    if isinstance(value, Mapping):
        given = value
    elif isinstance(value, Sequence):
        given = dict(enumerate(value))
    else:
        shape = Shape.cast(layout)
        low = -(1 << shape.width - 1) if shape.width else 0  # a negative value in its two's bits
        assert low <= value < 1 << shape.width, f"{value} does not fit {layout}"
        return int(value) & (1 << shape.width) - 1
    assert plan is not None, f"fields for {layout}, which has none"
    bits, used = 0, 0
    for key, offset, mask, sign, inner in plan:
        if key not in given:
            continue
        item = given[key]
        used += 1
        if inner is not None:
            item = pack(inner, item)
        assert -sign <= item <= (mask if not sign else sign - 1), f"{key}={item} does not fit"
        bits |= (int(item) & mask) << offset
    assert used == len(given), f"{set(given) - {row[0] for row in plan}} is no field of {layout}"
    return bits


def unpack(layout: Any, bits: int) -> Any:
    """The fields of a value: a dict for a struct, a list for an array, else the integer."""
    plan = _planned(layout)
    if plan is None:
        shape = Shape.cast(layout)
        negative = shape.signed and bits >> shape.width - 1
        return bits - (1 << shape.width) if negative else bits
    found: dict[Any, Any] = {}
    for key, offset, mask, sign, inner in plan:
        item = bits >> offset & mask
        if inner is not None:
            found[key] = unpack(inner, item)
        else:
            found[key] = item - 2 * sign if item & sign else item
    return list(found.values()) if isinstance(layout, data.ArrayLayout) else found


# --- functional coverage ---------------------------------------------------------------------


def corners(bench: Any, arch: Arch) -> set[str]:
    """The names of a bench's corners. bench: its module; its CORNERS can depend on the Arch."""
    named = getattr(bench, "CORNERS", ())
    found = set(named(arch) if callable(named) else named)
    for node in ast.walk(ast.parse(Path(bench.__file__).read_text())):
        if isinstance(node, ast.Call) and node.args:
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            what = node.args[0]
            names = (what.body, what.orelse) if isinstance(what, ast.IfExp) else (what,)
            if name == "cover":
                found |= {str(n.value) for n in names if isinstance(n, ast.Constant)}
    return found


class Coverage:
    """Which corners have been reached.

    The file that the runner reads is written when a corner is met for the first time, so that it
    is complete however the simulation ends.
    """

    def __init__(self, corners: set[str], path: Path | None) -> None:
        self.hit = dict.fromkeys(sorted(corners), False)
        self._path = path
        self._write()

    def cover(self, corner: str, met: object = True) -> None:
        if not self.hit[corner] and met:  # (KeyError: a name from parts that is not in CORNERS)
            self.hit[corner] = True
            self._write()

    def _write(self) -> None:
        if self._path is not None:
            self._path.write_text(json.dumps(self.hit, indent=1))


_coverage: Coverage | None = None  # of all tests of this simulation


# --- ports and cycles ------------------------------------------------------------------------


class Undefined:
    """An output with bits that the simulator does not know, such as the payload of a stream that
    shows what a RAM does before its first read. Whoever uses it has an error.
    """

    def __init__(self, text: str) -> None:
        self.text = text

    def _used(self, *_: object) -> NoReturn:
        raise AssertionError(self.text)

    __eq__ = __ne__ = __bool__ = __index__ = __int__ = __hash__ = _used
    __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = _used
    __rshift__ = __lshift__ = __add__ = __sub__ = __lt__ = __le__ = __gt__ = __ge__ = _used


class Port:
    """A port of the component: its handle in the simulator and its shape."""

    def __init__(self, dut: Any, name: str, shape: Any) -> None:
        self.name = name
        self.shape = shape
        self.width = Shape.cast(shape).width
        self.handle = getattr(dut, name)
        # The text of the value, without the objects that `handle.value` builds around it.
        self._text = self.handle._handle.get_signal_val_binstr

    def read(self) -> int:
        text = self._text()
        try:
            return int(text, 2)
        except ValueError:
            return cast("int", Undefined(f"{self.name} is {text}"))


class Bench:
    """The component in the simulator.

    arch, component: what is simulated. random: seeded for this test. transactions: how many a
    test of random traffic makes. now: number of the current cycle since the end of the reset.
    """

    def __init__(self, dut: Any) -> None:
        global _coverage  # noqa: PLW0603 (the tests of a file share it)
        module = importlib.import_module(os.environ["COCOTB_TEST_MODULES"])
        variant = os.environ.get("BENCH_VARIANT")
        self.arch: Arch = module.VARIANTS[variant] if variant else module.ARCH
        self.component = module.component(self.arch)
        self.random = random.Random(int(os.environ.get("BENCH_SEED", "0")))
        self.transactions = int(os.environ.get("BENCH_TRANSACTIONS", "10000"))
        if _coverage is None:
            path = os.environ.get("BENCH_COVERAGE")
            _coverage = Coverage(corners(module, self.arch), Path(path) if path else None)
        self.cover = _coverage.cover
        self.inputs: dict[str, Port] = {}
        self.outputs: dict[str, Port] = {}
        for path, member, value in self.component.signature.flatten(self.component):
            name, shape = "__".join(map(str, path)), value.shape()
            if Shape.cast(shape).width:  # Verilog has no port without a bit
                ports = self.inputs if member.flow.name == "In" else self.outputs
                ports[name] = Port(dut, name, shape)
        self.now = 0
        self.clock = getattr(dut, "clk", None)
        self._reset = getattr(dut, "rst", None)
        self._edge: Any = Timer(PERIOD, "ns") if self.clock is None else RisingEdge(self.clock)
        self._driven = dict.fromkeys(self.inputs, 0)
        self._read = [(name, port.read) for name, port in self.outputs.items()]

    async def begin(self) -> None:
        for port in self.inputs.values():
            port.handle.value = 0
        if self.clock is not None:
            self.clock.value = 0
            Clock(self.clock, PERIOD, "ns", impl="gpi").start(start_high=False)
            await self._edge
        await self.reset()

    async def reset(self, cycles: int = RESET_CYCLES, **inputs: int) -> None:
        """Reset for some cycles. Cycles count from 0 again.

        inputs: have these values in the reset, and are 0 after it; the others keep theirs.
        """
        for name, value in inputs.items():
            self.inputs[name].handle.value = value
        if self._reset is not None:
            self._reset.value = 1
            for _ in range(cycles):
                await self._edge
            self._reset.value = 0
        for name in inputs:
            self.inputs[name].handle.value = self._driven[name] = 0
        self.now = 0

    async def cycle(self, **inputs: Any) -> dict[str, int]:
        """One clock cycle: the inputs are driven, all outputs at its end are returned."""
        driven = self._driven
        for name, value in inputs.items():
            port = self.inputs[name]
            known = isinstance(value, int) and value >= 0
            bits = int(value) if known else pack(port.shape, value)
            if driven[name] != bits:
                driven[name] = bits
                port.handle.value = bits
        await self._edge
        outputs = {name: read() for name, read in self._read}
        self.now += 1
        return outputs

    async def idle(self, **inputs: Any) -> dict[str, int]:
        """One clock cycle in which every other input is 0."""
        return await self.cycle(**dict.fromkeys(self.inputs, 0) | inputs)

    # What a test says about a cycle.

    def check(self, outputs: Mapping[str, int], expected: Mapping[str, Any]) -> None:
        """Each expected output has its value; an output that does not matter is left out."""
        for name, value in expected.items():
            if outputs[name] != value and outputs[name] != pack(self.outputs[name].shape, value):
                self._differs(name, outputs[name], value)

    def _differs(self, name: str, found: int, value: Any) -> NoReturn:
        shape = self.outputs[name].shape
        wanted = unpack(shape, pack(shape, value))
        raise AssertionError(
            f"cycle {self.now - 1}: {name} is {unpack(shape, found)}, expected {wanted}"
        )

    def fields(self, name: str, bits: int) -> Any:
        """The fields of a value of a port."""
        return unpack((self.outputs.get(name) or self.inputs[name]).shape, bits)

    def bits_of(self, name: str, value: Any) -> int:
        """The value of a port with these fields."""
        return pack((self.outputs.get(name) or self.inputs[name]).shape, value)

    # Random choices.

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def bits(self, width: int) -> int:
        """A random value; one of eight is an extreme, with all bits 0 or 1 or the sign alone."""
        if self.random.random() < 0.125:
            return self.random.choice((0, (1 << width) - 1, 1 << width - 1, (1 << width - 1) - 1))
        return self.random.getrandbits(width)


def test(body: Callable[[Bench], Awaitable[None]]) -> Any:
    """Makes a test of a function that gets the Bench."""

    @functools.wraps(body)
    async def run(dut: Any) -> None:
        bench = Bench(dut)
        await bench.begin()
        await body(bench)

    return cocotb.test()(run)
