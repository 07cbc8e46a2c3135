"""Mapping: a part to the standard cells of a Liberty file, with its hierarchy and its RAMs."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from amaranth.lib import wiring

from evenspike_core.arch import Arch
from evenspike_core.documents import read_json
from evenspike_core.errors import EvenspikeError
from evenspike_hw.power import library
from evenspike_hw.power.buffers import buffered
from evenspike_hw.power.flat import Flat, flatten
from evenspike_hw.power.library import Library
from evenspike_hw.synthesis import liberty, yosys
from evenspike_hw.synthesis.netlist import netlist
from evenspike_hw.synthesis.parts import part
from evenspike_hw.synthesis.synthesize import GENERIC_SCRIPT, head

DEFAULT_LIBERTY = Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib")
"""Where Debian's package qflow-tech-osu018 puts its standard cells of 0.18 um."""

_NETLIST, _CELLS = "netlist.json", "cells.json"


@dataclass(frozen=True)
class Mapped:
    """A part in standard cells. folder: what Yosys wrote, and its script and log.

    flat: with the buffers; buffers: how many of its cells, the last ones, are those. cached: it was
    mapped before.
    """

    part: str
    folder: Path
    library: Library
    flat: Flat
    buffers: int
    cached: bool


def find_liberty(given: Path | None) -> Path:
    """The Liberty file to use; raises EvenspikeError, which names the package, without one."""
    if given is not None:
        liberty.read(given)
        return given
    if not DEFAULT_LIBERTY.is_file():
        raise EvenspikeError(
            f"no Liberty file {DEFAULT_LIBERTY}; Debian and Ubuntu: apt install qflow-tech-osu018, "
            "or name another with LIBERTY= (--liberty)"
        )
    return DEFAULT_LIBERTY


def mapped(
    name: str,
    arch: Arch,
    file: Path,
    cache: Path,
    progress: yosys.Progress | None = None,
) -> Mapped:
    """Maps a part (`mapped_component`); raises EvenspikeError for one that there is not, too."""
    if progress is not None:
        progress("elaborating")
    return mapped_component(part(name, arch), name, file, cache, progress)


def mapped_component(
    component: wiring.Component,
    name: str,
    file: Path,
    cache: Path,
    progress: yosys.Progress | None = None,
) -> Mapped:
    """Maps a component with Yosys and puts buffers behind nets of many loads.

    cache: folder that keeps what Yosys has written by the digest of what it was made from.

    Raises EvenspikeError for a Liberty file that cannot be used or misses a cell, and with Yosys'
    own reason where it fails.
    """
    source = netlist(component, name)
    copy = liberty.copied(file)
    script = _script(name, copy)
    text = f"{yosys.find().version}\n{script}\n{source.text}"
    digest = hashlib.sha256(text.encode() + liberty.read(file)).hexdigest()[:16]
    kept = cache / digest
    found = (kept / _CELLS).is_file()  # it is moved there last
    if not found:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix="run-") as folder:
            place = Path(folder)
            (place / f"{name}.il").write_text(source.text)
            shutil.copyfile(file, place / copy)
            try:
                yosys.run(script, place, "mapping", progress)
            except EvenspikeError as error:
                raise liberty.explained(file, error, (place / "mapping.txt").read_text()) from error
            library.read(place, copy)
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(place, kept, ignore=shutil.ignore_patterns(_CELLS))
            shutil.copyfile(place / _CELLS, kept / f"{_CELLS}.new")
            (kept / f"{_CELLS}.new").replace(kept / _CELLS)
    cells = Library(read_json(kept / _CELLS, "cells", dict)["modules"], file.name)
    design = read_json(kept / _NETLIST, "netlist", dict)
    plain = flatten(design, name, cells)
    whole = buffered(plain, cells)
    return Mapped(name, kept, cells, whole, len(whole.cells) - len(plain.cells), found)


def _script(top: str, file: str) -> str:
    """Yosys' commands. A flip-flop of a library does not say how it wakes up: its reset does."""
    return f"""{head(top)}{GENERIC_SCRIPT}
attrmap -remove init
read_liberty -lib {file}
dfflibmap -liberty {file}
abc -liberty {file}
setundef -zero
opt_clean
write_json {_NETLIST}
"""
