"""Every component is plain synchronous logic: no latch, no combinational loop, nothing undriven;
and its memories, and only they, stay memories of the size that they were declared with.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("amaranth")

from amaranth.back import rtlil
from amaranth.hdl import Fragment, Module, Shape, Signal
from amaranth.hdl._mem import MemoryInstance
from amaranth.lib import wiring
from amaranth.lib.memory import Memory

import evenspike_hw
from evenspike_core.arch import IMPLIED, WEIGHTS, Arch
from tests.helpers.netlists import YosysError, missing, yosys

pytestmark = pytest.mark.skipif(bool(missing()), reason=f"needs {missing()}")

SMALL = Arch(pes=2, timesteps=3, accumulators=16, chunk_blocks=3, spike_entries=96)
OF_WEIGHTS = replace(SMALL, preset="weights", gates=WEIGHTS, accumulators=64, **IMPLIED)
PARALLEL = replace(OF_WEIGHTS, preset="parallel", lif_parallel=1)

CHECKS = """
hierarchy -top top -check
proc -norom
check -assert
flatten
check -assert
opt -keepdc
select -assert-none t:$dlatch t:$adlatch t:$dlatchsr t:$sr
memory -nomap
select -assert-none t:$memrd* t:$memwr* t:$mem
write_rtlil out.il
"""


PARAMETERS = {
    "Bank": ((SMALL, 1), (SMALL, 3)),
    "BoardMemory": ((100, 3), (64, 1)),
    "Bridge": ((100,), (1 << 10,)),
    "Fifo": ((12, 1), (12, 2), (12, 7)),
    "NeuronBank": ((4,), (16,)),
    "Neurons": ((PARALLEL,),),
    "Pe": ((SMALL,), (OF_WEIGHTS,), (PARALLEL,)),
    "SimulatedTop": ((SMALL,),),
    "System": ((SMALL, 100, 4),),
    "UartReceiver": ((4,), (5,)),
    "UartTransmitter": ((4,), (5,)),
    "WeightGates": ((OF_WEIGHTS,),),
    "WindowAccumulators": ((OF_WEIGHTS,),),
    "WindowSelector": ((OF_WEIGHTS,),),
}
"""Of classes that take something else than an Arch, or not `SMALL` alone."""

WITHIN = {"Accelerator", "Array", "SimulatedTop"}
"""Large ones that another one has in it; alone if there is time."""

PRIMITIVES = {"Pll"}
"""Classes around a vendor's primitive, which only the synthesis for its chips knows."""


def instances() -> dict[str, Any]:
    """Each component class with a small Arch; classes of any parameters with some of them."""
    found: dict[str, Any] = {}
    for module_info in pkgutil.walk_packages(evenspike_hw.__path__, f"{evenspike_hw.__name__}."):
        module = importlib.import_module(module_info.name)
        for name, kind in vars(module).items():
            if not inspect.isclass(kind) or kind.__module__ != module.__name__:
                continue
            if not issubclass(kind, wiring.Component) or issubclass(kind, Memory):
                continue  # a memory has no ports of its own
            if name in PRIMITIVES:
                continue
            assert name not in found, f"two components are called {name}"
            parameters = list(inspect.signature(kind).parameters)
            if name in PARAMETERS:
                for values in PARAMETERS[name]:
                    texts = [
                        value.preset if isinstance(value, Arch) else str(value)
                        for value in values
                        if value is not SMALL
                    ]
                    full = "-".join((name, *texts))
                    found[full] = lambda kind=kind, values=values: kind(*values)
            elif parameters == ["arch"]:
                found[name] = lambda kind=kind: kind(SMALL)
            elif not parameters:
                found[name] = kind
            else:
                raise AssertionError(f"which parameters has {name}{parameters}?")
    return found


def declared(fragment: Any) -> Iterator[tuple[int, int]]:
    """Depth and width of every memory in an elaborated design."""
    if isinstance(fragment, MemoryInstance):
        yield fragment._data.depth, Shape.cast(fragment._data.shape).width
    for inner, *_ in fragment.subfragments:
        yield from declared(inner)


def check(design: Any, place: Path) -> Counter[tuple[int, int]]:
    """Depths and widths of the memories of a netlist that passes the checks."""
    (place / "top.il").write_text(rtlil.convert(design, name="top"))
    yosys("read_rtlil top.il" + CHECKS, place, seconds=300)
    cells = re.findall(
        r"^  cell \$mem_v2 .*?^  end$", (place / "out.il").read_text(), re.MULTILINE | re.DOTALL
    )
    return Counter(
        (int(size), int(width))
        for cell in cells
        for size in re.findall(r"\\SIZE (\d+)", cell)
        for width in re.findall(r"\\WIDTH (\d+)", cell)
    )


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.long] if name in WITHIN else [])
        for name in instances()
    ],
)
def test_component(name: str, tmp_path: Path) -> None:
    make = instances()[name]
    memories = Counter(declared(Fragment.get(make(), None)))
    assert check(make(), tmp_path) == memories


class Faulty(wiring.Component):
    """Something to find for each check."""

    def __init__(self, fault: str) -> None:
        self.fault = fault
        super().__init__({"a": wiring.In(4), "y": wiring.Out(4), "z": wiring.Out(8)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self.fault == "loop":
            turns = Signal(4)
            m.d.comb += [turns.eq(~self.y | self.a), self.y.eq(turns)]
        if self.fault == "table":
            # A lookup table is logic here, not a memory.
            with m.Switch(self.a):
                for n in range(16):
                    with m.Case(n):
                        m.d.comb += self.z.eq(37 * n)
        return m


def test_a_loop_is_found(tmp_path: Path) -> None:
    # Amaranth finds it, too, so it does not come as far as Yosys.
    with pytest.raises(Exception, match="Combinational cycle"):
        check(Faulty("loop"), tmp_path)
    text = "module top(input a, output x, y); assign x = y ^ a; assign y = ~(x & a); endmodule"
    (tmp_path / "top.v").write_text(text)
    with pytest.raises(YosysError, match="problems in 'check -assert'"):
        yosys("read_verilog top.v" + CHECKS, tmp_path)


def test_a_lookup_table_is_no_memory(tmp_path: Path) -> None:
    assert not check(Faulty("table"), tmp_path)


def test_a_latch_is_found(tmp_path: Path) -> None:
    text = """module top(input e, input d, output reg q); always @* if (e) q = d; endmodule"""
    (tmp_path / "top.v").write_text(text)
    with pytest.raises(YosysError, match=r"dlatch"):
        yosys("read_verilog top.v" + CHECKS, tmp_path)
