"""Verilog: the accelerator for somebody else's design: netlist, page and C header."""

from __future__ import annotations

from pathlib import Path

from evenspike_core.arch import Arch, as_arch
from evenspike_core.files import check_folder, write_files
from evenspike_core.progress import Progress, silent
from evenspike_hw.interface.header import header
from evenspike_hw.interface.page import page
from evenspike_hw.interface.ports import ports
from evenspike_hw.rtl.accelerator import Accelerator
from evenspike_hw.verilog import convert

TOP = "evenspike"


def verilog(
    arch: Arch | str = "packed",
    out: Path | str = "build/verilog",
    progress: Progress = silent,
) -> list[Path]:
    """Write the accelerator's Verilog, a page about its ports and registers, and a C header.

    The files are evenspike.v, whose top module has that name, evenspike.md and evenspike.h; the
    same Arch gives the same text.

    Raises EvenspikeError for a folder that cannot be written to, and with Yosys's reason where it
    fails.
    """
    machine = as_arch(arch)
    folder = Path(out)
    check_folder(folder)
    progress(f"Verilog of {machine.preset}", 0, 1)
    text = convert(Accelerator(machine), TOP)
    files = {
        f"{TOP}.v": text,
        f"{TOP}.md": page(machine, ports(text, TOP)),
        f"{TOP}.h": header(machine),
    }
    return write_files(files, folder)
