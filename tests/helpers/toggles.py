"""Toggles: what a small component was given on Amaranth's simulator, and how often each net of its
netlist changes on Icarus.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from evenspike_hw.power import opensta
from evenspike_hw.power.mapping import DEFAULT_LIBERTY, Mapped
from evenspike_hw.power.replay import Signal as Port
from evenspike_hw.power.replay import Stimuli
from evenspike_hw.synthesis import yosys

RESETS = 2
"""Cycles of reset in front, as in a replay."""


def recorded(component: wiring.Component, cycles: int, seed: int, reset: bool) -> Stimuli:
    """A run on Amaranth's simulator with random inputs, all of whose cycles count as kind 0."""
    names = dict(component.signature.members.items())
    inward = {name: member.shape for name, member in names.items() if member.flow is In}
    outward = {name: member.shape for name, member in names.items() if member.flow is Out}
    at, ports = int(reset), {}
    for name, width in {**inward, **outward}.items():
        ports[name] = Port(name, int(width), at)
        at += int(width)
    words = -(-at // 32)
    record = np.zeros((cycles, words), np.uint32)
    draw = random.Random(seed)

    async def run(ctx: Any) -> None:
        for cycle in range(cycles):
            for name, width in inward.items():
                ctx.set(getattr(component, name), draw.getrandbits(int(width)))
            value = sum(
                ctx.get(getattr(component, name)) << port.at for name, port in ports.items()
            )
            record[cycle] = [value >> 32 * word & 0xFFFFFFFF for word in range(words)]
            await ctx.tick()

    simulator = Simulator(component)
    simulator.add_clock(1e-6)
    simulator.add_testbench(run)
    simulator.run()
    given = tuple(ports[name] for name in inward)
    return Stimuli(
        record,
        (Port("rst", 1, 0), *given) if reset else given,
        tuple(ports[name] for name in outward),
        np.zeros(cycles, np.uint8),
        1,
        "rst" if reset else "",
    )


def traced(part: Mapped, stimuli: Stimuli, free: set[int], place: Path) -> Counter[str]:
    """Changes of each net from cycle 0 on in Icarus, by its VCD file."""
    flat = part.flat
    shutil.copy(DEFAULT_LIBERTY, place / "cells.lib")
    yosys.run("read_liberty cells.lib\nwrite_verilog -noattr cells.v\n", place, "models")
    (place / "netlist.v").write_text(opensta.verilog(flat, part.library))
    [reader] = [r for ram in flat.rams for r in ram.readers if r.clocked]
    [at_once] = [r for ram in flat.rams for r in ram.readers if not r.clocked]
    lines = ["module bench;", "reg clk = 0;"]
    inward = {net for name in flat.inward for net in flat.ports[name]} | free
    clock = flat.ports["clk"][0]
    lines += [f"reg n{net} = 0;" for net in sorted(inward - {0, 1, clock})]
    outward = sorted(
        set(re.findall(r"^output (n\d+);", (place / "netlist.v").read_text(), re.MULTILINE))
    )
    lines += [f"wire {name};" for name in outward]
    ports = [f".n{net}({'clk' if net == clock else f'n{net}'})" for net in sorted(inward - {0, 1})]
    ports += [f".{name}({name})" for name in outward]
    lines.append(f"part part({', '.join(ports)});")

    def vector(nets: list[int]) -> str:
        named = {0: "1'b0", 1: "1'b1"}
        return "{" + ", ".join(named.get(net, f"n{net}") for net in reversed(nets)) + "}"

    for number, ram in enumerate(flat.rams):
        [writer] = ram.writers
        lines.append(f"reg [{ram.width - 1}:0] m{number} [0:{ram.depth - 1}];")
        zeros = " ".join(f"m{number}[{n}] = 0;" for n in range(ram.depth))
        lines.append(f"initial begin {zeros} end")
        write = f"if ({vector(writer.enable)} != 0 && {vector(writer.address)} < {ram.depth}) "
        lines.append(
            f"always @(posedge clk) {write}m{number}[{vector(writer.address)}] <= "
            f"{vector(writer.data)};"
        )
        for one in ram.readers:
            word = f"m{number}[{vector(one.address)}]"
            if one is reader:
                enable = vector([one.enable])
                lines.append(f"always @(posedge clk) if ({enable}) {vector(one.data)} <= {word};")
            else:
                assert one is at_once
                lines.append(f"always @* {vector(one.data)} = {word};")
    lines.append("initial begin")
    rows = [stimuli.record[0]] * RESETS + list(stimuli.record)
    for cycle, row in enumerate(rows):
        for port in stimuli.inward:
            for bit, net in enumerate(flat.ports[port.name]):
                at = port.at + bit
                value = int(row[at // 32]) >> at % 32 & 1
                if port.name == "rst" and cycle < RESETS:
                    value = 1
                if net > 1:
                    lines.append(f"n{net} = {value};")
        if cycle == RESETS:
            lines.append('$dumpfile("bench.vcd"); $dumpvars(0, part);')
        lines.append("#5; clk = 1; #5; clk = 0;")
    lines += ["$finish;", "end", "endmodule"]
    (place / "bench.v").write_text("\n".join(lines))
    command = [str(shutil.which("iverilog")), "-g2012", "-o", "bench.vvp"]
    command += ["bench.v", "netlist.v", "cells.v"]
    subprocess.run(command, cwd=place, check=True, capture_output=True)
    subprocess.run(
        [str(shutil.which("vvp")), "bench.vvp"], cwd=place, check=True, capture_output=True
    )
    return changes((place / "bench.vcd").read_text())


def changes(text: str) -> Counter[str]:
    """Changes of each net of the part in a VCD file, at the ends of the cycles, which are at 5 of
    10 steps: what a net does in between is no change.
    """
    scopes: list[str] = []
    names: dict[str, list[str]] = {}
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["$scope"]:
            scopes.append(words[2])
        elif words[:1] == ["$upscope"]:
            scopes.pop()
        elif words[:1] == ["$var"] and scopes[-1] == "part":
            names.setdefault(words[3], []).append(words[4])
    now: dict[str, str] = {}
    settled: dict[str, str] = {}
    found: Counter[str] = Counter()

    def settle() -> None:
        for code, value in now.items():
            if settled.setdefault(code, value) != value:
                found.update(names.get(code, []))
                settled[code] = value

    time = 0
    for line in text.splitlines():
        if line.startswith("#"):
            next_time = int(line[1:])
            if (time // 5) % 2 == 0 and next_time // 5 > time // 5:
                settle()
            time = next_time
        elif line[:1] in "01" and line:
            now[line[1:]] = line[0]
    return found
