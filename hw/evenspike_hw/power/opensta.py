"""OpenSTA: what each cell of a netlist takes for a change, for a clock and for a second.

The version that Debian has gives no way to say what each net does: its `set_power_activity -pins`
ends with an error, and behind a gate it overwrites what a pin was given by what it works out from
the gate's inputs. But power is a sum: with one activity for all nets (`-global`) it says what every
cell takes of which kind, and that is multiplied here by what the cell's own nets have done.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from evenspike_core.errors import EvenspikeError
from evenspike_hw.power.flat import ONE, ZERO, Flat
from evenspike_hw.power.library import Library
from evenspike_hw.synthesis import yosys

F64 = npt.NDArray[np.float64]

PERIOD = 100.0
"""Of the clock in ns, while powers are asked for: at 10 MHz a toggle a cycle is 5 M changes up."""

_HERTZ = 1e9 / PERIOD

# A buffer whose energies and capacitances are known: 1 pJ up, 3 pJ down, 1 pF at 1 V.
_PROBE = """library(probe) {
  delay_model : table_lookup; time_unit : "1ns"; voltage_unit : "1V"; current_unit : "1uA";
  pulling_resistance_unit : "1kohm"; leakage_power_unit : "1nW"; capacitive_load_unit (1,pf);
  nom_process : 1; nom_voltage : 1; nom_temperature : 25;
  slew_lower_threshold_pct_rise : 20; slew_upper_threshold_pct_rise : 80;
  slew_lower_threshold_pct_fall : 20; slew_upper_threshold_pct_fall : 80;
  input_threshold_pct_rise : 50; input_threshold_pct_fall : 50;
  output_threshold_pct_rise : 50; output_threshold_pct_fall : 50;
  operating_conditions (typical) { process : 1; voltage : 1; temperature : 25; }
  default_operating_conditions : typical;
  cell (PROBE) {
    area : 1; cell_leakage_power : 5;
    pin (A) { direction : input; capacitance : 1; }
    pin (Y) {
      direction : output; function : "A";
      timing () {
        related_pin : "A"; timing_sense : positive_unate;
        cell_rise (scalar) { values ("0.1"); } cell_fall (scalar) { values ("0.1"); }
        rise_transition (scalar) { values ("0.1"); } fall_transition (scalar) { values ("0.1"); }
      }
      internal_power () {
        related_pin : "A";
        rise_power (scalar) { values ("1"); } fall_power (scalar) { values ("3"); }
      }
    }
  }
}
"""
_PROBE_NETLIST = """module part(clk, a, y);
input clk, a; output y; wire n;
PROBE c0(.A(a), .Y(n));
PROBE c1(.A(n), .Y(y));
endmodule
"""
_PROBE_CHANGE, _PROBE_LOAD = 2e-12, 0.5e-12
"""What a change of the first buffer's output takes inside, (1 + 3) pJ / 2, and for its load of 1 pF
at 1 V, C V^2 / 2."""


@dataclass(frozen=True)
class Energies:
    """What each cell of a netlist takes; arrays over its cells.

    leakage: W. clock: J of a cycle, whatever else it does. inputs, inside, loads: J of a change of
    its inputs (all of them together), and of its outputs, inside and for the nets that they drive.
    fmax_mhz: by the longest path between flip-flops and RAMs, whose own times are not in it; None
        where there is none. path: its steps, each the cell and its time in ns.
    pins: J of a cycle, for the load that a flip-flop's clock pin is to the clock's net; OpenSTA
        does not count it, since no cell drives that net.
    total: W that OpenSTA says of all, with one change of every net a cycle at 10 MHz.
    double: by how much OpenSTA charges what happens inside a cell; its version 2.0.17 adds up a
        rise and a fall where one of the two happens, which is taken out here.
    """

    leakage: F64
    clock: F64
    inputs: F64
    inside: F64
    loads: F64
    pins: F64
    fmax_mhz: float | None
    path: tuple[tuple[int, float], ...]
    total: float
    double: float

    @property
    def apart(self) -> float:
        """By which share OpenSTA's total differs from the sum over the cells of the same."""
        cells = self.double * (self.clock + self.inputs + self.inside) + self.loads
        return abs(float(self.leakage.sum() + _HERTZ * cells.sum()) / self.total - 1)


def find() -> str:
    """The program; raises EvenspikeError, which names the package, without it."""
    found = shutil.which("sta")
    if found is None:
        raise EvenspikeError(
            "no OpenSTA (`sta`) on the PATH; Debian and Ubuntu: apt install opensta"
        )
    return found


def version() -> str:
    """What the program says of itself."""
    done = subprocess.run(  # noqa: S603  (a program that find() has found)
        [find(), "-version"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def energies(flat: Flat, library: Library, liberty: Path, folder: Path) -> Energies:
    """Asks OpenSTA about a netlist.

    liberty: its standard cells. folder: gets the scripts and what they print.

    Raises EvenspikeError without OpenSTA, and where it fails, with its own reason.
    """
    double = _double(folder)
    (folder / "netlist.v").write_text(verilog(flat, library))
    text = liberty.read_text(errors="replace")
    file, bare = "cells.lib", "outputs.lib"
    (folder / file).write_text(text)
    (folder / bare).write_text(_without_inputs(text))
    clock = _clock(flat, library)
    whole = _asked(folder, "power", file, clock, len(flat.cells), [0, 1], timing=True)
    outputs = _asked(folder, "outputs", bare, clock, len(flat.cells), [1])
    still, moving, leaving = whole.cells[0], whole.cells[1], outputs.cells[0]
    resting = _asked(folder, "resting", bare, clock, len(flat.cells), [0]).cells[0]
    inside = leaving[:, 0] - resting[:, 0]
    charged = moving[:, 0] - still[:, 0] - inside
    scale = 1 / (double * _HERTZ)
    return Energies(
        leakage=still[:, 2],
        clock=still[:, 0] * scale,
        inputs=charged * scale,
        inside=inside * scale,
        loads=moving[:, 1] / _HERTZ,
        pins=_pins(text, flat, library),
        fmax_mhz=whole.fmax_mhz,
        path=whole.path,
        total=whole.totals[1],
        double=double,
    )


def verilog(flat: Flat, library: Library) -> str:
    """The netlist as Verilog that OpenSTA reads: flat, every net and port a bit, RAMs outside."""
    driven = {cell.pins[pin] for cell in flat.cells for pin in library[cell.kind].outputs}
    inward = {net for name in flat.inward for net in flat.ports[name]}
    outward = {net for name in flat.ports.keys() - flat.inward for net in flat.ports[name]}
    for ram in flat.rams:
        for reader in ram.readers:
            inward.update(reader.data)
            outward.update((*reader.address, reader.enable))
        for writer in ram.writers:
            outward.update((*writer.enable, *writer.address, *writer.data))
    inward -= {ZERO, ONE}
    outward &= driven
    constants = {ZERO: "1'b0", ONE: "1'b1"}
    lines = [f"module part({', '.join(f'n{net}' for net in sorted(inward | outward))});"]
    lines += [f"input n{net};" for net in sorted(inward)]
    lines += [f"output n{net};" for net in sorted(outward)]
    lines += [f"wire n{net};" for net in sorted(driven - outward)]
    for number, cell in enumerate(flat.cells):
        pins = (f".{pin}({constants.get(net, f'n{net}')})" for pin, net in cell.pins.items())
        lines.append(f"{cell.kind} c{number}({', '.join(pins)});")
    return "\n".join([*lines, "endmodule", ""])


def _clock(flat: Flat, library: Library) -> str:
    """Name of the clock's port; a clock that nothing reads where there is no flip-flop."""
    for cell in flat.cells:
        pin = library[cell.kind].clock
        if pin:
            return f"n{cell.pins[pin]}"
    return ""


@dataclass(frozen=True)
class _Answer:
    cells: list[F64]
    totals: list[float]
    fmax_mhz: float | None
    path: tuple[tuple[int, float], ...]


def _asked(
    folder: Path,
    name: str,
    file: str,
    clock: str,
    cells: int,
    activities: Sequence[float],
    *,
    timing: bool = False,
    netlist: str = "netlist.v",
) -> _Answer:
    """Internal, switching and leakage power of each cell, with each of the activities."""
    port = f"[get_ports {clock}]" if clock else ""
    # What no clock reaches would have no cycle, and so no power.
    times = f"""set inputs {{}}
foreach port [all_inputs] {{
  if {{[get_property $port full_name] ne "{clock}"}} {{ lappend inputs $port }}
}}
if {{[llength $inputs]}} {{ set_input_delay 0 -clock clk $inputs }}
"""
    report = f"""set_output_delay 0 -clock clk [all_outputs]
report_checks -path_delay max -digits 6 > {name}-path.txt
"""
    asks = "".join(
        f"""set_power_activity -global -activity {activity} -duty 0.5
puts $out "total [sta::design_power $corner]"
for {{set n 0}} {{$n < {cells}}} {{incr n}} {{
  puts $out [sta::instance_power [get_cells c$n] $corner]
}}
"""
        for activity in activities
    )
    script = f"""read_liberty {file}
read_verilog {netlist}
link_design part
create_clock -name clk -period {PERIOD} {port}
{times}{report if timing else ""}set corner [sta::cmd_corner]
set out [open {name}.txt w]
{asks}puts $out end
close $out
exit
"""
    (folder / f"{name}.tcl").write_text(script)
    result = folder / f"{name}.txt"
    result.unlink(missing_ok=True)
    code, log = yosys.execute(
        [find(), "-no_splash", "-exit", f"{name}.tcl"], folder, folder / f"{name}.log"
    )
    lines = result.read_text().split("\n") if result.exists() else []
    # It goes on without a cell that the library lacks, and charges nothing for it.
    wrong = [line for line in log.splitlines() if re.match("Error|.*black box", line)]
    if code or wrong or "end" not in lines:
        raise EvenspikeError(f"OpenSTA: {(wrong or log.splitlines() or [f'status {code}'])[0]}")
    found, totals = [], []
    for number in range(len(activities)):
        first = number * (cells + 1)
        totals.append(float(lines[first].split()[4]))
        rows = [line.split()[:3] for line in lines[first + 1 : first + 1 + cells]]
        found.append(np.array(rows, np.float64).reshape(cells, 3))
    fmax, path = _path((folder / f"{name}-path.txt").read_text()) if timing else (None, ())
    return _Answer(found, totals, fmax, path)


def _path(text: str) -> tuple[float | None, tuple[tuple[int, float], ...]]:
    """Clock and steps of the longest path."""
    slack = re.search(r"^ *(-?\d+\.\d+) +slack", text, re.MULTILINE)
    if slack is None:
        return None, ()
    steps = re.findall(r"^ +\d+\.\d+ +(\d+\.\d+) [v^] c(\d+)/", text, re.MULTILINE)
    end = text.find("data arrival time")
    arrivals = {int(cell): float(at) for at, cell in steps if text.find(f"c{cell}/") < end}
    return 1e3 / (PERIOD - float(slack[1])), tuple(arrivals.items())


def _pins(text: str, flat: Flat, library: Library) -> F64:
    """C V^2 of each cell's clock pin; 0 for a gate."""
    voltage = re.search(r"\bnom_voltage\s*:\s*([\d.]+)", text)
    unit = re.search(
        r"\bcapacitive_load_unit\s*\(\s*([\d.]+)\s*,\s*\"?([pf])f", text, re.IGNORECASE
    )
    volts = float(voltage[1]) if voltage else 0.0
    farad = float(unit[1]) * {"p": 1e-12, "f": 1e-15}[unit[2].lower()] if unit else 1e-12
    known: dict[str, float] = {}
    for kind in {cell.kind for cell in flat.cells}:
        pin = library[kind].clock
        if not pin:
            continue
        found = re.search(
            rf"\bcell\s*\(\s*\"?{re.escape(kind)}\"?\s*\)"
            rf".*?\bpin\s*\(\s*\"?{re.escape(pin)}\"?\s*\)"
            r".*?\bcapacitance\s*:\s*\"?([\d.eE+-]+)",
            text,
            re.DOTALL,
        )
        known[kind] = float(found[1]) * farad * volts**2 if found else 0.0
    return np.array([known.get(cell.kind, 0.0) for cell in flat.cells])


def _double(folder: Path) -> float:
    """By how much this OpenSTA charges the inside of a cell, from one that is known.

    Raises EvenspikeError where what it says of a load is not C V^2 / 2 a change.
    """
    (folder / "probe.lib").write_text(_PROBE)
    (folder / "probe.v").write_text(_PROBE_NETLIST)
    found = _asked(folder, "probe", "probe.lib", "clk", 2, [1], netlist="probe.v")
    internal, switching, _ = found.cells[0][0] / _HERTZ
    if abs(switching / _PROBE_LOAD - 1) > 1e-3 or internal <= 0:
        raise EvenspikeError(
            f"OpenSTA: a change of 1 pF at 1 V takes {switching:g} J, where it is {_PROBE_LOAD:g} J"
        )
    return float(internal / _PROBE_CHANGE)


def _without_inputs(text: str) -> str:
    """A Liberty file without the internal power of input pins that are no clocks."""
    pieces, kept = re.split(r"(?=\bpin\s*\()", text), []
    for piece in pieces:
        is_input = re.search(r"\bdirection\s*:\s*\"?input", piece)
        if piece.startswith("pin") and is_input and not re.search(r"\bclock\s*:\s*\"?true", piece):
            piece = _cut(piece, "internal_power")
        kept.append(piece)
    return "".join(kept)


def _cut(text: str, group: str) -> str:
    """Text without the groups of a name, whose braces are counted."""
    while (start := re.search(rf"\b{group}\s*\([^)]*\)\s*{{", text)) is not None:
        depth, at = 1, start.end()
        while depth and at < len(text):
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            at += 1
        text = text[: start.start()] + text[at:]
    return text
