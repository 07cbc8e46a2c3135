"""What the figures of a synthesis rest on: merged modules, sums, memories, tools."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("amaranth")

from amaranth.back import rtlil
from amaranth.hdl import Fragment, Module
from amaranth.lib import wiring
from amaranth.lib.memory import Memory

from evenspike_core.arch import Arch, preset
from evenspike_core.errors import EvenspikeError
from evenspike_hw.rtl.accelerator import Accelerator
from evenspike_hw.rtl.array import Array
from evenspike_hw.synthesis import yosys
from evenspike_hw.synthesis.netlist import netlist
from evenspike_hw.synthesis.parts import PARTS, check_part, home, part
from evenspike_hw.synthesis.routing import _failure, read
from evenspike_hw.synthesis.synthesize import Request, longest_path, synthesize
from evenspike_hw.synthesis.targets import TRANSISTORS

SMALL = Arch(pes=2, timesteps=2, accumulators=16, chunk_blocks=4, spike_entries=96)
CACHE = Path(__file__).resolve().parents[2] / "build" / "synth" / "cache"
"""Of the baselines, which synthesise the same."""


def blocks(block: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield block
    for inner in block["blocks"]:
        yield from blocks(inner)


# --- netlist ---------------------------------------------------------------------------------


def test_equal_modules_are_one() -> None:
    array = netlist(Array(SMALL), "array")
    assert list(array.instances["array"].values()) == [["pe0", "pe1"]]
    banks = list(array.instances["array.pe0.accumulators"].values())
    lanes = list(array.instances["array.pe0.lanes"].values())
    assert (banks, lanes) == ([["bank0", "bank1"]], [["lane0", "lane1"]])
    # Array, PE, its 12 blocks, a bank, a lane and the unpacker's queue.
    assert len(re.findall(r"^module ", array.text, re.MULTILINE)) == 17
    assert Counter(memory.block for memory in array.memories) == {
        "array.pe0.scratchpad": 3,
        "array.pe0.channel_table": 3,
        "array.pe0.fifo": 1,
        "array.pe0.queue": 1,
        "array.pe0.accumulators.bank0": 1,
        "array.pe0.lanes.lane0": 2,
    }


@cache
def kind(name: str) -> str:
    """What a part is, of the Arch that has it."""
    of = part(name, preset(home(name)))
    of._MustUse__used = True  # (only its class is asked for)
    return type(of).__name__


def kinds(fragment: Fragment) -> Iterator[str]:
    """What a design consists of, however often."""
    yield from (type(origin).__name__ for origin in fragment.origins or ())
    for inner, *_ in fragment.subfragments:
        yield from kinds(inner)


@pytest.mark.parametrize("text", sorted({home(name) for name in PARTS}))
def test_an_arch_has_the_parts_that_its_machine_consists_of(text: str) -> None:
    arch = preset(f"{text},pes=2")
    found = set(kinds(Fragment.get(Accelerator(arch), None)))
    for name in PARTS:
        if kind(name) in found:
            check_part(name, arch)
            continue
        with pytest.raises(EvenspikeError) as error:
            check_part(name, arch)
        assert str(error.value).endswith(f"has no part {name!r}; Arch {home(name)!r} has it")


def test_merging_loses_nothing(tmp_path: Path) -> None:
    """Yosys counts the same registers in the design as Amaranth wrote it."""
    whole = rtlil.convert(Array(SMALL), name="array", emit_src=False)
    counts = []
    for name, text in (("whole", whole), ("merged", netlist(Array(SMALL), "array").text)):
        (tmp_path / f"{name}.il").write_text(text)
        yosys.run(
            f"read_rtlil {name}.il; hierarchy -top array -check; proc -norom; flatten\n"
            f"tee -q -o {name}.json stat -json -width",
            tmp_path,
            name,
        )
        design = json.loads((tmp_path / f"{name}.json").read_text())["design"]
        counts.append(design["num_cells_by_type"])
    assert counts[0] == counts[1]
    assert sum(counts[0].values()) > 1000


def test_every_memory_is_a_ram() -> None:
    """Each promises what `ram.py` says, since the synthesis takes it of all of them."""
    text = rtlil.convert(Accelerator(SMALL), name="top", emit_src=False)
    declared = re.findall(r"^  memory ", text, re.MULTILINE)
    promised = re.findall(
        r"^  attribute \\no_rw_check 1\n\s*(?:  attribute .*\n\s*)*  memory ", text, re.MULTILINE
    )
    assert len(declared) == len(promised) > 10

    class Other(wiring.Component):
        def __init__(self) -> None:
            super().__init__({"q": wiring.Out(4)})

        def elaborate(self, platform: object) -> Module:
            m = Module()
            m.submodules.memory = memory = Memory(shape=4, depth=16, init=[])
            m.d.comb += self.q.eq(memory.read_port().data)
            return m

    assert "no_rw_check" not in rtlil.convert(Other(), name="other", emit_src=False)


# --- area ------------------------------------------------------------------------------------


LANES = 2 * 32 * 20
TABLES = 16 * 26 + 16 * 9 + 8 * 2
QUEUES = 64 * 38 + 8 * 194
BITS = {
    "lanes": LANES,
    "array": 2 * (576 * 16 + 112 * 64 + TABLES + QUEUES + LANES + 16 * 48),
}
"""Of the memories of parts."""


@pytest.mark.parametrize("name", ["lanes", pytest.param("array", marks=pytest.mark.long)])
def test_the_sums_are_those_of_yosys(name: str, tmp_path: Path) -> None:
    result = synthesize(Request(name, "generic", SMALL), tmp_path / "cache")
    for block in blocks(result["blocks"]):
        for key, value in block["resources"].items():
            inner = sum(b["count"] * b["resources"][key] for b in block["blocks"])
            assert value == pytest.approx(block["own"][key] + inner)
    [place] = (tmp_path / "cache").iterdir()
    script = (place / "synthesis.ys").read_text().partition("flatten")[0]
    text = yosys.run(f"{script}\nstat -tech cmos -hierarchy", place, "again")
    # Yosys does not know the transistors of a RAM and says so with a plus.
    [found] = re.findall(r"Estimated number of transistors: +(\d+)\+", text)[-1:]
    resources = result["resources"]
    assert resources["logic_transistors"] == int(found)
    assert resources["ram_bits"] == BITS[name]
    assert resources["ram_transistors"] == 8 * resources["ram_bits"]
    assert set(TRANSISTORS) >= {"$_NAND_", "$_DFF_P_"}


def test_what_a_pe_is_for_is_most_of_it() -> None:
    result = synthesize(Request("pe"), CACHE)
    share = {
        block["name"]: block["resources"]["transistors"] / result["resources"]["transistors"]
        for block in result["blocks"]["blocks"]
    }
    assert sum(share[name] for name in ("accumulators", "scratchpad", "lanes", "lif")) >= 0.7


@pytest.mark.parametrize(
    "target", ["ecp5", *(pytest.param(n, marks=[pytest.mark.long]) for n in ("xilinx", "gowin"))]
)
def test_rams_stay_rams(target: str) -> None:
    result = synthesize(Request("pe", target, route=False), CACHE)
    mapped = {memory["name"]: memory["mapped"] for memory in result["memories"]}
    assert len(mapped) == 11
    assert not {"flip-flops", "registers", "?"} & set(mapped.values()), mapped


# --- tools -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "taken"), [("0.60", True), ("0.23", False)])
def test_a_native_yosys(
    version: str, taken: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "yosys"
    program.write_text(f"#!/bin/sh\necho 'Yosys {version} (git sha1 0)'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    yosys.find.cache_clear()
    yosys.tool_version.cache_clear()
    try:
        assert (yosys.find().program == str(program)) == taken
        assert not taken or yosys.find().version == version
        monkeypatch.setattr(yosys, "installed", lambda _: None)
        yosys.find.cache_clear()
        if not taken:
            with pytest.raises(
                EvenspikeError, match=r"no Yosys 0\.56 or newer \(the yosys on .* 0\.23"
            ):
                yosys.find()
    finally:
        yosys.find.cache_clear()
        yosys.tool_version.cache_clear()


def test_yosys_says_why(tmp_path: Path) -> None:
    steps: list[str] = []
    with pytest.raises(EvenspikeError, match=r"^Yosys: .*no_such_file"):
        yosys.run("design -reset\nread_rtlil no_such_file.il", tmp_path, "x", steps.append)
    assert "no_such_file" in (tmp_path / "x.log").read_text()


def test_longest_path() -> None:
    text = """Longest topological path in pe (length=2):
    0: \\lif.held [3]
    1: $abc$1 (via $abc$2)
    2: \\lif.value [24] (via $abc$3)
   ff: \\lif.held [24] (via $f)
"""
    assert longest_path(text) == (2, ["lif.held [3]", "lif.value [24]", "lif.held [24]"])
    assert longest_path("Longest topological path in pe (length=-1):") == (0, [])
    with pytest.raises(EvenspikeError, match="says no length"):
        longest_path("nothing")


def test_what_does_not_fit() -> None:
    log = """Info: Device utilization:
Info: \t              DP16KD:     336/    208   161%
Info: \t        TRELLIS_COMB:   23973/  83640    28%
ERROR: Unable to place cell 'x', no BELs remaining to implement cell type 'DP16KD'
"""
    assert _failure(log) == "it does not fit: DP16KD 336 of 208 (128 too many)"
    other = "Info: all is well\nERROR: IO 'a' is unconstrained in LPF\n"
    assert _failure(other) == "nextpnr: IO 'a' is unconstrained in LPF"


def test_the_slowest_clock_counts(tmp_path: Path) -> None:
    def path(clock: str, ns: float) -> dict[str, Any]:
        step = {"type": "logic", "delay": ns, "to": {"cell": clock}}
        return {"from": f"posedge {clock}", "to": f"posedge {clock}", "path": [step]}

    report = {
        "fmax": {"a": {"achieved": 80.123}, "b": {"achieved": 40.456}},
        "critical_paths": [path("a", 12.5), path("b", 25.0)],
        "utilization": {"LUT": {"used": 3, "available": 9}, "DSP": {"used": 0, "available": 2}},
    }
    (tmp_path / "r.json").write_text(json.dumps(report))
    found = read(tmp_path / "r.json")
    assert found.fmax_mhz == 40.46
    assert found.utilization == {"LUT": {"used": 3, "available": 9}}
    assert found.critical_path == [{"kind": "logic", "ns": 25.0, "to": "b", "net": ""}]
    (tmp_path / "r.json").write_text(json.dumps(report | {"fmax": {}}))
    found = read(tmp_path / "r.json")  # no path from register to register
    assert (found.fmax_mhz, found.critical_path) == (None, [])
