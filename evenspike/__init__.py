"""evenspike: from a pruned spiking network to exact cycle counts on a sparse accelerator.

    import evenspike as es
    run = es.simulate(es.pack(es.load("vgg16-small"), es.preset("packed")), es.images(10))
    print(run.cycles, run.bit_exact)

Each name is imported when it is first used: what runs the shipped networks needs neither torch nor
amaranth, and says so where something does.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evenspike.flows.compare import Comparison, compare, grid
    from evenspike.flows.cosim import cosim
    from evenspike.flows.explore import Exploration, explore, trace
    from evenspike.flows.finetune import finetune
    from evenspike.flows.images import Images, images
    from evenspike.flows.imports import Imported, import_checkpoint, import_network
    from evenspike.flows.models import load
    from evenspike.flows.narrow import narrow
    from evenspike.flows.power import power
    from evenspike.flows.prepare import pack
    from evenspike.flows.reproduce import Reproduction, reproduce
    from evenspike.flows.results import results
    from evenspike.flows.simulate import Reference, Run, reference, simulate
    from evenspike.flows.study import study
    from evenspike.flows.sweep import sweep
    from evenspike.flows.synth import bitstream, synth
    from evenspike.flows.train import export, train
    from evenspike.flows.verilog import verilog
    from evenspike_core.arch import Arch, preset
    from evenspike_core.compare import Divergence
    from evenspike_core.errors import EvenspikeError
    from evenspike_core.pack import Packed
    from evenspike_core.program import Program

__version__ = "0.1.0"

_PLACES = {
    "evenspike_core.arch": ("Arch", "preset"),
    "evenspike_core.compare": ("Divergence",),
    "evenspike_core.errors": ("EvenspikeError",),
    "evenspike_core.pack": ("Packed",),
    "evenspike_core.program": ("Program",),
    "evenspike.flows.compare": ("Comparison", "compare", "grid"),
    "evenspike.flows.cosim": ("cosim",),
    "evenspike.flows.explore": ("Exploration", "explore", "trace"),
    "evenspike.flows.finetune": ("finetune",),
    "evenspike.flows.images": ("Images", "images"),
    "evenspike.flows.imports": ("Imported", "import_checkpoint", "import_network"),
    "evenspike.flows.models": ("load",),
    "evenspike.flows.narrow": ("narrow",),
    "evenspike.flows.power": ("power",),
    "evenspike.flows.prepare": ("pack",),
    "evenspike.flows.reproduce": ("Reproduction", "reproduce"),
    "evenspike.flows.results": ("results",),
    "evenspike.flows.simulate": ("Reference", "Run", "reference", "simulate"),
    "evenspike.flows.study": ("study",),
    "evenspike.flows.sweep": ("sweep",),
    "evenspike.flows.synth": ("bitstream", "synth"),
    "evenspike.flows.train": ("export", "train"),
    "evenspike.flows.verilog": ("verilog",),
}
_PLACE = {name: module for module, names in _PLACES.items() for name in names}
_EXTRAS = {
    "cosim": "hw,cosim",
    "power": "hw,cosim",
    "bitstream": "hw,boards",
    "synth": "hw",
    "study": "hw",
    "verilog": "hw",
}
"""What a name needs beside the base; the others need the extra `train`."""

__all__ = [
    "Arch",
    "Comparison",
    "Divergence",
    "EvenspikeError",
    "Exploration",
    "Images",
    "Imported",
    "Packed",
    "Program",
    "Reference",
    "Reproduction",
    "Run",
    "__version__",
    "bitstream",
    "compare",
    "cosim",
    "explore",
    "export",
    "finetune",
    "grid",
    "images",
    "import_checkpoint",
    "import_network",
    "load",
    "narrow",
    "pack",
    "power",
    "preset",
    "reference",
    "reproduce",
    "results",
    "simulate",
    "study",
    "sweep",
    "synth",
    "trace",
    "train",
    "verilog",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACE:
        raise AttributeError(f"module 'evenspike' has no attribute {name!r}")
    try:
        value = getattr(importlib.import_module(_PLACE[name]), name)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in ("torch", "amaranth", "joblib"):
            raise
        extras = _EXTRAS.get(name, "train")
        from evenspike_core.errors import EvenspikeError  # noqa: PLC0415 - for the message alone

        raise EvenspikeError(f"{name} needs {package}: pip install -e '.[{extras}]'") from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACE})
