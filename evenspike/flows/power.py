"""Power: a part's netlist, switching as it did while a real image ran on the RTL."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from evenspike.flows.batches import encode
from evenspike.flows.images import images
from evenspike.flows.models import load
from evenspike.flows.prepare import pack
from evenspike.report.power import pages
from evenspike_core.arch import Arch, as_arch
from evenspike_core.errors import EvenspikeError
from evenspike_core.metrics import DYNAMIC_TO_LEAKAGE
from evenspike_core.pack import Packed
from evenspike_core.program import Program
from evenspike_core.progress import Progress, silent
from evenspike_hw.engine import compiled, watched
from evenspike_hw.power import opensta
from evenspike_hw.power.blocks import Block, blocks
from evenspike_hw.power.flat import Flat
from evenspike_hw.power.mapping import Mapped, find_liberty, mapped
from evenspike_hw.power.opensta import Energies
from evenspike_hw.power.recording import Recording, record
from evenspike_hw.power.replay import Activity, replay
from evenspike_hw.synthesis import yosys
from evenspike_sim.accelerator import Accelerator, LayerRun
from evenspike_sim.energy_table import TABLE, ram_cost
from evenspike_sim.energy_table import load as energy_table

CLOCK_MHZ = 50.0
"""At which energies of a cycle are written as powers, too; the clock of the netlist is another."""

PICO = 1e12

IDLE, BUSY = "waiting", "busy"
"""States of a PE that Eq. 3 has energies of."""

ACTIONS = {
    "unpacker": ("unpack",),
    "filter": ("filter",),
    "fifo": ("fifo_pop",),
    "matcher": ("match",),
    "queue": ("queue_pop",),
    "selector": ("select",),
    "gates": ("and_gate",),
    "lanes": ("lane_pop",),
    "accumulators": ("accumulate",),
    "lif": ("lif_step",),
}
"""Actions of energy.toml with logic, by the block of a PE that takes them. A block without a line
here has no action; an action without its block in the netlist is listed by itself."""

CLOCK_ACTION = "clock_cycle"


@dataclass(frozen=True)
class Power:
    """A part in a layer of an image. result: all figures, as `power.json` has them."""

    result: dict[str, Any]

    @property
    def picojoules(self) -> float:
        """pJ a cycle of the whole part, without its RAMs and the load of the clock's net."""
        found: float = self.result["whole"]["pj"]
        return found

    @property
    def ratio(self) -> float | None:
        """E_d / E_l of Eq. 3 as measured; None for a part that is no PE, or never waits."""
        eq3 = self.result["eq3"]
        return None if eq3 is None else float(eq3["ratio"])

    def to_dict(self) -> dict[str, Any]:
        """All figures."""
        return dict(self.result)

    def save(self, folder: Path | str) -> list[Path]:
        """Write power.json and power.md."""
        return pages.write(self.result, Path(folder))


def power(
    model: str | Path | Program = "vgg16-small",
    layer: str | None = None,
    part: str = "pe",
    arch: Arch | str = "packed",
    *,
    liberty: Path | None = None,
    image: int = 0,
    pe: int | None = None,
    data: Path | None = None,
    mapping: str = "cost",
    clock_mhz: float = CLOCK_MHZ,
    cache: Path | str = "build/power/cache",
    progress: Progress = silent,
) -> Power:
    """Power of a part's gates by block, from what each of its nets did in a layer of an image.

    Parameters
    ----------
    model : as `load` takes it, or a Program.
    layer : its name; None for the one with the most busy PE-cycles.
    part : pe, apu or top.
    liberty : standard cells; None for those of 0.18 um that Debian has.
    image : its place among the data set's images.
    pe : which PE; None for the one whose busy cycles are nearest to the mean.
    data, mapping : as `images` and `pack` take them.
    clock_mhz : at which energies of a cycle are written as powers, too.
    cache : folder that keeps netlists by the digest of what they were made from.

    Raises EvenspikeError for a part, layer, image or PE that there is not, without OpenSTA, a
    Liberty file or a C++ compiler, where a tool fails, and where the netlist's outputs are not
    those of the RTL.
    """
    began = time.perf_counter()
    machine = as_arch(arch)
    watched.boundary(machine, part)  # the error lists them
    opensta.find()
    file = find_liberty(liberty)
    compiled.find_tools()
    if not 0 < clock_mhz < float("inf"):
        raise EvenspikeError(f"a clock of {clock_mhz} MHz, possible is what is above 0")
    program = model if isinstance(model, Program) else load(model)
    packed, masks, picture = _input(program, machine, image, data, mapping, progress)
    runs = Accelerator(packed).run(masks)
    index = _layer(runs, layer)
    number = _pe(runs[index], machine, part, pe)
    seconds = {"prepare": time.perf_counter() - began}

    def said(step: str) -> None:
        progress(f"{part}: {step}", 0, None)

    def mapping_() -> tuple[Mapped, Energies, dict[str, float]]:
        started = time.perf_counter()
        found = mapped(part, machine, file, Path(cache), said)
        between = time.perf_counter()
        said("asking OpenSTA")
        with tempfile.TemporaryDirectory() as folder:
            cells = opensta.energies(found.flat, found.library, file, Path(folder))
        ended = time.perf_counter()
        return found, cells, {"synthesis": between - started, "opensta": ended - between}

    with ThreadPoolExecutor(1) as pool, tempfile.TemporaryDirectory() as folder:
        waiting = pool.submit(mapping_)
        started = time.perf_counter()
        if compiled.find(machine, watch=True) is None:
            said("building the RTL simulator that is watched (once for an Arch: minutes)")
            compiled.build(machine, watch=True)
        seconds["engine"] = time.perf_counter() - started
        started = time.perf_counter()
        recording = record(packed, masks, part, number, index, Path(folder))
        seconds["record"] = time.perf_counter() - started
        if recording.cycles != runs[index].cycles:
            raise EvenspikeError(
                f"layer {runs[index].name}: {recording.cycles} cycles on the RTL, "
                f"{runs[index].cycles} on the cycle model"
            )
        found, cells, took = waiting.result()
    seconds |= took
    said("replaying the netlist")
    started = time.perf_counter()
    activity = replay(found.flat, found.library, recording.stimuli)
    seconds["replay"] = time.perf_counter() - started
    seconds["all"] = time.perf_counter() - began
    given = {
        "model": packed.name,
        "program": program.digest(),
        "image": picture,
        "layer": runs[index].name,
        "part": part,
        "pe": number if part == "pe" else None,
        "pes": machine.pes,
        "arch": {"preset": machine.preset, "digest": machine.digest},
        "mapping": packed.mapping,
        "liberty": file.name,
        "clock_mhz": clock_mhz,
        "tools": {"yosys": yosys.find().version, "opensta": opensta.version()},
    }
    result = given | figures(found, cells, recording, activity, clock_mhz)
    if part == "pe":
        result["actions"] = actions(runs[index], machine, _measured(found, cells, activity))
    result["seconds"] = {name: round(value, 1) for name, value in seconds.items()}
    return Power(result)


def _input(
    program: Program,
    machine: Arch,
    image: int,
    data: Path | None,
    mapping: str,
    progress: Progress,
) -> tuple[Packed, Any, int]:
    """The network on the machine, the input's spikes, and the image's index in its data set."""
    if image < 0:
        raise EvenspikeError(f"image {image}: 0 and above are possible")
    every = images(None, program, data, progress)
    if image >= len(every):
        raise EvenspikeError(f"image {image}: 0 to {len(every) - 1} are possible")
    one = every[image : image + 1]
    packed = pack(program, machine, mapping=mapping, progress=progress)
    return packed, encode(0, one, packed), one.indices[0]


def _layer(runs: Sequence[LayerRun], name: str | None) -> int:
    if name is None:
        return int(np.argmax([run.busy.sum() for run in runs]))
    names = [run.name for run in runs]
    if name not in names:
        raise EvenspikeError(f"unknown layer {name!r}; there are: {', '.join(names)}")
    return names.index(name)


def _pe(run: LayerRun, machine: Arch, part: str, pe: int | None) -> int:
    if part != "pe":
        if pe is not None:
            raise EvenspikeError(f"PE {pe}: part {part} is none; a PE is chosen for part pe only")
        return 0
    if pe is None:
        return int(np.argmin(np.abs(run.busy - run.busy.mean())))
    if not 0 <= pe < machine.pes:
        raise EvenspikeError(f"PE {pe}: 0 to {machine.pes - 1} are possible")
    return pe


def figures(
    found: Mapped, cells: Energies, recording: Recording, activity: Activity, clock_mhz: float
) -> dict[str, Any]:
    """All that the netlist says."""
    flat = found.flat
    by_block = blocks(flat, found.library, cells, activity)
    whole = _sum(by_block)
    hertz = clock_mhz * 1e6
    lines = [_line(block, whole, hertz) for block in by_block]
    states = {
        name: _sum(blocks(flat, found.library, cells, activity, [kind]))
        for kind, name in enumerate(recording.kinds)
        if activity.cycles[kind]
    }
    counts = dict(zip(recording.kinds, map(int, activity.cycles), strict=True))
    toggled = activity.toggles.sum(axis=0)
    share = activity.high.sum(axis=0)[2:] / max(1, int(activity.cycles.sum()))
    return {
        "cycles": recording.cycles,
        "watched": {
            "nets": flat.nets - 2,
            "moving": int(np.count_nonzero(toggled[2:])),
            "toggles": int(toggled[2:].sum()),
            "mean_high": float(share.mean()),
            "cycles": int(activity.cycles.sum()),
            "replayed": recording.recorded,
            "outputs_compared": activity.compared,
        },
        "cells": len(flat.cells),
        "flip_flops": whole.flip_flops,
        "buffers": found.buffers,
        "opensta": {"apart": cells.apart, "double": cells.double},
        "fmax_mhz": cells.fmax_mhz,
        "path": [
            {"block": flat.blocks[flat.cells[n].block], "cell": flat.cells[n].kind, "ns": at}
            for n, at in cells.path
        ],
        "whole": _line(whole, whole, hertz),
        "blocks": lines,
        "states": {
            name: {"cycles": counts[name], **_line(state, whole, hertz)}
            for name, state in states.items()
        },
        "eq3": _eq3(states),
        "rams": _rams(flat, activity),
    }


def _sum(parts: Sequence[Block]) -> Block:
    """The blocks together."""
    names = [one.name for one in fields(Block) if one.name != "path"]
    return Block("", *(sum(getattr(part, name) for part in parts) for name in names))


def _line(block: Block, whole: Block, hertz: float) -> dict[str, Any]:
    """A block's figures: pJ a cycle, and mW at the clock."""
    internal, switching = block.internal * hertz * 1e3, block.switching * hertz * 1e3
    leakage = block.leakage * 1e3
    return {
        "block": block.path,
        "cells": block.cells,
        "flip_flops": block.flip_flops,
        "toggles": block.toggles,
        "pj": (block.dynamic + block.leakage / hertz) * PICO,
        "pj_clock": block.clock * PICO,
        "pj_data": block.data * PICO,
        "pj_switching": block.switching * PICO,
        "pj_clock_pins": block.clock_pins * PICO,
        "internal_mw": internal,
        "switching_mw": switching,
        "leakage_mw": leakage,
        "total_mw": internal + switching + leakage,
        "share": block.dynamic / whole.dynamic if whole.dynamic else 0.0,
    }


def _eq3(states: Mapping[str, Block]) -> dict[str, Any] | None:
    """E_d and E_l of Eq. 3: of a busy cycle without that of a waiting one, and of a waiting one.

    ratio_with_pins counts the load of the clock's net in E_l, too; ratio_gated leaves the clock out
    of E_l, as if a waiting PE had none.
    """
    if IDLE not in states or BUSY not in states:
        return None
    idle, busy = states[IDLE], states[BUSY]
    more = busy.dynamic - idle.dynamic
    still = idle.dynamic - idle.clock
    return {
        "busy_pj": busy.dynamic * PICO,
        "idle_pj": idle.dynamic * PICO,
        "dynamic_pj": more * PICO,
        "ratio": more / idle.dynamic,
        "ratio_with_pins": more / (idle.dynamic + idle.clock_pins),
        "ratio_gated": more / still if still > 0 else None,
        "fitted": DYNAMIC_TO_LEAKAGE,
    }


def _rams(flat: Flat, activity: Activity) -> list[dict[str, Any]]:
    """What each RAM takes by the table's rule, apart from the gates: it is of another node."""
    cycles = int(activity.cycles.sum())
    found = []
    for number, ram in enumerate(flat.rams):
        cost = ram_cost(ram.depth, ram.width)
        reads, writes = (int(n[:, number].sum()) for n in (activity.reads, activity.writes))
        place = flat.blocks[ram.block]
        found.append(
            {
                "ram": f"{place}/{ram.name}" if place else ram.name,
                "words": ram.depth,
                "width": ram.width,
                "reads": reads,
                "writes": writes,
                "pj": (reads * cost.read + writes * cost.write) / cycles,
                "leakage_mw": cost.leakage,
                "node": cost.node,
                "source": cost.source,
            }
        )
    return found


def _measured(found: Mapped, cells: Energies, activity: Activity) -> dict[str, Block]:
    """The blocks of the part itself, each with all that is in it."""
    parts: dict[str, list[Block]] = {}
    for block in blocks(found.flat, found.library, cells, activity):
        parts.setdefault(block.path.partition("/")[0], []).append(block)
    return {name: _sum(of) for name, of in parts.items()}


def actions(run: LayerRun, machine: Arch, measured: Mapping[str, Block]) -> dict[str, Any]:
    """The netlist beside the table of actions, for a PE's logic: pJ a cycle and shares.

    A PE's actions are its share of the layer's, 1 / PEs. The clock's action is spread over the
    flip-flops of the netlist. ratio: the netlist's share over the table's, None where the table has
    nothing; the two are of different nodes, so that only shares can be compared.
    """
    table, each = energy_table(machine, TABLE), 1 / (machine.pes * run.cycles)
    flops = sum(block.flip_flops for block in measured.values()) or 1
    clock = run.actions[CLOCK_ACTION] * each * table[CLOCK_ACTION].logic
    rows, taken = [], set[str]()
    whole = sum(block.dynamic for block in measured.values())
    for name, block in measured.items():
        names = ACTIONS.get(name, ())
        taken.update(names)
        of = sum(run.actions[action] * each * table[action].logic for action in names)
        rows.append((name, block, names, of, clock * block.flip_flops / flops))
    total = sum(of + ticks for *_, of, ticks in rows)
    moving, acting = whole - sum(b.clock for b in measured.values()), sum(of for *_, of, _ in rows)
    return {
        "node": table[CLOCK_ACTION].node,
        "table_pj": total,
        "netlist_pj": whole * PICO,
        "clock_share_table": clock / total if total else None,
        "clock_share_netlist": sum(b.clock for b in measured.values()) / whole if whole else None,
        "left_out": sorted(
            {action for names in ACTIONS.values() for action in names if run.actions[action]}
            - taken
        ),
        "blocks": [
            {
                "block": name,
                "actions": list(names),
                "table_pj": of + ticks,
                "netlist_pj": block.dynamic * PICO,
                "table_share": (of + ticks) / total if total else 0.0,
                "netlist_share": block.dynamic / whole if whole else 0.0,
                "ratio": _over(block.dynamic / whole, (of + ticks) / total) if total else None,
                "moving_table_share": of / acting if acting else 0.0,
                "moving_netlist_share": (block.dynamic - block.clock) / moving if moving else 0.0,
                "moving_ratio": _over((block.dynamic - block.clock) / moving, of / acting)
                if moving and acting
                else None,
            }
            for name, block, names, of, ticks in rows
        ],
    }


def _over(one: float, other: float) -> float | None:
    return one / other if other else None
