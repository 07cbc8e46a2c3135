"""Synth: a part of the RTL to area, longest path and clock; a whole design to a bitstream."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evenspike.report.area import pages
from evenspike_core.arch import Arch, as_arch, preset
from evenspike_core.errors import EvenspikeError
from evenspike_core.files import check_folder, dump, plain, write_files
from evenspike_core.progress import Progress, silent
from evenspike_hw.board import index
from evenspike_hw.board.boards import board
from evenspike_hw.board.build import build
from evenspike_hw.synthesis.synthesize import Request, synthesize


@dataclass(frozen=True)
class Synthesis:
    """One part on one target. result: all figures, as docs/area.md and the JSON have them."""

    result: dict[str, Any]

    @property
    def resources(self) -> dict[str, float]:
        """Resources of the whole part, by the target's names."""
        found: dict[str, float] = self.result["resources"]
        return found

    @property
    def cached(self) -> bool:
        """Whether it was there already, since nothing had changed."""
        return bool(self.result["cached"])

    def to_dict(self) -> dict[str, Any]:
        """All figures."""
        return dict(self.result)

    def save(self, folder: Path | str) -> list[Path]:
        """Write JSON, Markdown and a page with a treemap, named for part and target."""
        return pages.write(self.result, Path(folder))


def synth(
    part: str = "pe",
    target: str = "generic",
    arch: Arch | str = "packed",
    *,
    liberty: Path | None = None,
    route: bool | None = None,
    seed: int = 1,
    cache: Path | str = "build/synth/cache",
    progress: Progress = silent,
) -> Synthesis:
    """Synthesise a part of the RTL with Yosys.

    Parameters
    ----------
    part : pe, apu, array, top, or the name of a block.
    target : generic, ecp5, ice40, xilinx or gowin.
    liberty : standard cells, instead of generic gates.
    route : place and route, too, for the clock; None for where that is quick.
    seed : of the placement.
    cache : folder that keeps each result by the digest of what it was made from.

    Raises EvenspikeError for a part or target that there is not, and with the tool's own reason
    where one fails.
    """
    machine = as_arch(arch)
    request = Request(part, target, machine, liberty, route, seed)
    return Synthesis(synthesize(request, Path(cache), _said(f"{part} on {target}", progress)))


@dataclass(frozen=True)
class Bitstream:
    """A board's bitstream. file: it. report: clock, resources and tools. kept: what became of the
    copy that was to be kept; empty without one.
    """

    file: Path
    report: dict[str, Any]
    kept: str = ""

    def to_dict(self) -> dict[str, Any]:
        """All figures."""
        return dict(self.report)


def bitstream(
    name: str = "ulx3s-85f",
    *,
    arch: str | None = None,
    words: int | None = None,
    seeds: int | None = None,
    out: Path | str = "build/bitstream",
    keep: Path | str | None = None,
    progress: Progress = silent,
) -> Bitstream:
    """Build a board's bitstream, with a memory and a UART around the accelerator.

    Parameters
    ----------
    name : of the board.
    arch, words, seeds : in place of the board's own Arch, 64-bit words of memory and placements.
    out : folder for the bitstream and its report.
    keep : folder of bitstreams with an index, which takes the boards' own designs only.

    Raises EvenspikeError for a board that there is not, and for a design that does not fit it.
    """
    place, design = Path(out), board(name)
    count = design.words if words is None else words
    if count < 2:
        raise EvenspikeError(f"{count} words of memory, possible are 2 and more")
    check_folder(place)
    if keep is not None:
        if (arch, words, seeds) != (None, None, None):
            raise EvenspikeError(
                f"{keep} keeps the boards' own designs only: no ARCH, WORDS or SEEDS"
            )
        check_folder(Path(keep))
        index.read_index(Path(keep))
    found = build(
        name,
        preset(arch or design.arch),
        count,
        design.seeds if seeds is None else seeds,
        place / "work",
        _said(name, progress),
    )
    file = place / found.file.name
    report = dump(plain(found.report))
    write_files({file.name: found.file.read_bytes(), f"{name}.json": report}, place)
    kept = "" if keep is None else index.keep(found, Path(keep))
    return Bitstream(file, found.report, kept)


def _said(name: str, progress: Progress) -> Callable[[str], None]:
    """What a tool does just now, behind the name of what it works on."""
    return lambda step: progress(f"{name}: {step}", 0, None)
