"""How fast the compiled RTL engine is, and what building it costs, in CPU seconds.

    python -m benchmarks.engine [ARCH]

Builds the simulator of ARCH (packed unless given) in a folder of its own, past the cache, and runs
three images of the shipped vgg16-small on it, twice: the first time is not counted.
"""

from __future__ import annotations

import resource
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evenspike.flows.images import images
from evenspike.flows.models import load
from evenspike.flows.prepare import pack
from evenspike_core.arch import preset
from evenspike_core.reference import encode
from evenspike_hw.engine import compiled
from evenspike_hw.engine.simulator import Simulator

MODEL = "vgg16-small"
IMAGES = 3


def spent() -> float:
    """CPU seconds of this process and of all that it has waited for."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


@contextmanager
def stages() -> Iterator[dict[str, float]]:
    """CPU seconds of the first and the last stage of a build; between them runs Verilator."""
    found: dict[str, float] = {}

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any, **options: Any) -> Any:
            begun = spent()
            result = function(*given, **options)
            found[name] = spent() - begun
            return result

        return run

    before = {name: getattr(compiled, name) for name in ("convert", "_compile")}
    for name, function in before.items():
        setattr(compiled, name, timed(name, function))
    try:
        yield found
    finally:
        for name, function in before.items():
            setattr(compiled, name, function)


def main(arguments: Sequence[str]) -> int:
    """Build and run it once."""
    arch = preset(arguments[0] if arguments else "packed")
    program = load(MODEL)
    packed = pack(program, arch)
    inputs = [encode(program, one) for one in images(IMAGES).pixels]
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "engine.so"
        begun = spent()
        with stages() as parts:
            compiled._make(arch, library, trace=False)
        whole, first, last = spent() - begun, parts["convert"], parts["_compile"]
        print(
            f"built in {whole:.0f} CPU seconds: {first:.0f} for Verilog, "
            f"{whole - first - last:.0f} for Verilator, {last:.0f} for the C++ compiler"
        )
        written = sum(one.stat().st_size for one in library.parent.glob(f"V{compiled.TOP}*.cpp"))
        print(f"{written / 1e6:.1f} MB of C++")
        compiled.build = lambda *_, **__: compiled.Build(library, 0.0)
        with Simulator(packed) as simulator:
            for _ in range(2):
                begun = spent()
                cycles = sum(one.cycles for given in inputs for one in simulator.run(given))
                rate = cycles / (spent() - begun) / 1000
    print(f"{cycles:,} cycles of {IMAGES} images, {rate:.0f} thousand a CPU second")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
