"""Directed faults: what a designer could have written by mistake, as edits of the source.

Each is an exact piece of a component's Python and what stands there instead. The tree is not
touched: an edited copy of the package is converted to Verilog, and the component's bench runs on
that. If a piece is no longer in its file, or there more than once, the fault has to be written
anew: that is an error, not a fault less.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.helpers import bench

PACKAGE = bench.ROOT / "hw" / "evenspike_hw"
BUILD = bench.ROOT / "build" / "mutants" / "faults"


@dataclass(frozen=True)
class Fault:
    """component: whose bench has to find it. file: of `evenspike_hw`, without .py."""

    component: str
    name: str
    file: str
    old: str
    new: str


FAULTS = [
    Fault(
        "fifo",
        "a full FIFO takes one more",
        "fifo",
        "self.w.ready.eq(level != self.depth)",
        "self.w.ready.eq(level != self.depth + 1)",
    ),
    Fault(
        "fifo",
        "full one too early",
        "fifo",
        "self.w.ready.eq(level != self.depth)",
        "self.w.ready.eq(level < self.depth - 1)",
    ),
    Fault(
        "fifo",
        "a pop makes room in the same cycle",
        "fifo",
        "self.w.ready.eq(level != self.depth)",
        "self.w.ready.eq((level != self.depth) | self.r.ready)",
    ),
    Fault(
        "fifo",
        "bypass not taken",
        "fifo",
        "Mux(is_recent, recent, read.data)",
        "read.data",
    ),
    Fault(
        "fifo",
        "pointer wraps one late",
        "fifo",
        "Mux(place == self.depth - 1, 0, place + 1)",
        "place + 1",
    ),
    Fault(
        "accumulators",
        "sum of the row before not forwarded",
        "accumulators",
        "Mux(forwards, written[time], read.data[time])",
        "read.data[time]",
    ),
    Fault(
        "accumulators",
        "saturates at the wrong end",
        "accumulators",
        "Mux(total[-1], LOW, HIGH)",
        "Mux(total[-1], HIGH, LOW)",
    ),
    Fault(
        "accumulators",
        "lower limit off by one",
        "accumulators",
        "LOW = -HIGH - 1",
        "LOW = -HIGH",
    ),
    Fault(
        "accumulators",
        "a drained row is not cleared",
        "accumulators",
        "Mux(clears, 0, sums.as_value())",
        "Mux(clears, read.data.as_value(), sums.as_value())",
    ),
    Fault(
        "accumulators",
        "clearing outweighs a saturation",
        "accumulators",
        "with m.If(adds & saturates.any()):",
        "with m.If(adds & saturates.any() & ~self.clear_overflow):",
    ),
    Fault(
        "accumulators",
        "addend without its sign",
        "accumulators",
        "total.eq(before + self.addends[time])",
        "total.eq(before + self.addends[time].as_unsigned())",
    ),
    Fault(
        "gates",
        "sign of the weight lost",
        "gates",
        "Mux(self.mask[time], self.weight, 0)",
        "Mux(self.mask[time], self.weight[:15], 0)",
    ),
    Fault(
        "gates",
        "timesteps in reverse",
        "gates",
        "Mux(self.mask[time], self.weight, 0)",
        "Mux(self.mask[self.arch.timesteps - 1 - time], self.weight, 0)",
    ),
    Fault(
        "channel_table",
        "a clear forgets the other half",
        "channel_table",
        "Cat(~given.half, given.half)",
        "Cat(given.half, ~given.half)",
    ),
    Fault(
        "channel_table",
        "a clear outweighs the write in its cycle",
        "channel_table",
        "kept | given.enable << write_address",
        "kept | (given.enable & ~given.clear) << write_address",
    ),
    Fault(
        "channel_table",
        "presence of a block that was not written",
        "channel_table",
        "Mux(counts, read.data, 0)",
        "read.data",
    ),
    Fault(
        "channel_table",
        "presence follows later writes",
        "channel_table",
        "with m.If(wanted.enable):",
        "with m.If(1):",
    ),
    Fault(
        "scratchpad",
        "halves of the header bank swapped on reading",
        "scratchpad",
        "Cat(wanted.half, wanted.word[1:])",
        "Cat(~wanted.half, wanted.word[1:])",
    ),
    Fault(
        "scratchpad",
        "header word chosen without waiting for the read",
        "scratchpad",
        "read.data.word_select(high, HEADER_BITS)",
        "read.data.word_select(wanted.word[0], HEADER_BITS)",
    ),
    Fault(
        "scratchpad",
        "of a header only the first unit is written",
        "scratchpad",
        "(given.enable & chosen).replicate(units)",
        "given.enable & chosen",
    ),
    Fault(
        "lif",
        "fires above the threshold only",
        "lif",
        "spike.eq(runs & ~self.last & ~rest[-1])",
        "spike.eq(runs & ~self.last & ~rest[-1] & (rest != 0))",
    ),
    Fault("lif", "leak 1/4 shifts once", "lif", "left.eq(membrane >> 2)", "left.eq(membrane >> 1)"),
    Fault(
        "lif",
        "leak without the sign",
        "lif",
        "left.eq(membrane >> 1)",
        "left.eq(membrane.as_unsigned() >> 1)",
    ),
    Fault(
        "lif",
        "high byte of the bias dropped",
        "lif",
        "Cat(low, self.bias_unit[: PSUM_BITS - UNIT_BITS])",
        "low",
    ),
    Fault("lif", "soft reset to 0", "lif", "Mux(self.soft, rest, 0)", "0"),
    Fault(
        "lif",
        "a saturation in a stage that does not run",
        "lif",
        "with m.Else():\n                    m.d.sync += drive.eq(0)",
        "with m.Else():\n                    m.d.sync += drive.eq(drive)",
    ),
    Fault(
        "lif",
        "one timestep too many",
        "lif",
        "runs.eq(time < self.timesteps)",
        "runs.eq(time <= self.timesteps)",
    ),
    Fault(
        "lif",
        "the host's neurons get a bias",
        "lif",
        "Mux(self.host, self.current, self.sums[time] + bias)",
        "Mux(self.host, self.current, self.sums[time]) + bias",
    ),
    Fault(
        "matcher",
        "a marker does not wait for its round",
        "matcher",
        "(head.round == self.round) &",
        "((head.round == self.round) | head.marker) &",
    ),
    Fault(
        "matcher",
        "the last header of a channel is passed by",
        "matcher",
        "number == self.line.last",
        "number + 1 == self.line.last",
    ),
    Fault(
        "unpacker",
        "a channel that begins in the middle of a word ends one fetch early",
        "unpacker",
        "(headers + first[0] - 1) >> 1",
        "(headers - 1) >> 1",
    ),
    Fault(
        "matcher",
        "position mask transposed",
        "matcher",
        "rows[n // side] & columns[n % side]",
        "rows[n % side] & columns[n // side]",
    ),
    Fault(
        "matcher",
        "base counts the matches, not the living weights",
        "matcher",
        "last_wsp.eq(wsp)",
        "last_wsp.eq(pids)",
    ),
    Fault(
        "matcher",
        "first half of a K = 7 header from the wrong fetch",
        "matcher",
        "header = Cat(first_half, self.header)",
        "header = Cat(self.header, first_half)",
    ),
    Fault(
        "selector",
        "a marker that ends a round counts as worked",
        "selector",
        "self.worked + (entry.frees & ~entry.ends_round)",
        "self.worked + entry.frees",
    ),
    Fault(
        "selector",
        "kernel position off by one",
        "selector",
        "divmod(n % side**2, side) for",
        "divmod((n + 1) % side**2, side) for",
    ),
    Fault(
        "selector",
        "address counts the weight itself",
        "selector",
        "Cat(~group[: bit + 1].any() for bit in range(KERNEL_MAX))",
        "Cat(~group[:bit].any() for bit in range(KERNEL_MAX))",
    ),
    Fault(
        "selector",
        "an entry leaves with its first weight",
        "selector",
        "last.eq((occupied == chosen) & single.all())",
        "last.eq(1)",
    ),
    Fault(
        "unpacker",
        "half 1 of the weight bank starts at 0",
        "unpacker",
        "Mux(half, self.arch.weight_words, 0)",
        "0",
    ),
    Fault(
        "unpacker",
        "a skip is one short",
        "unpacker",
        "leap.eq((gap + 1) << (TOKEN_BITS - pid_bits))",
        "leap.eq(gap << (TOKEN_BITS - pid_bits))",
    ),
    Fault(
        "unpacker",
        "the last kernel is not written",
        "unpacker",
        "m.d.sync += flush.eq(tokens.ends)",
        "m.d.sync += flush.eq(0)",
    ),
    Fault(
        "unpacker",
        "lanes of the block before stay",
        "unpacker",
        "Mux(opened & (next_block == block), lanes, 0)",
        "Mux(opened, lanes, 0)",
    ),
    Fault(
        "loader",
        "does not wait for a free half",
        "loader",
        "may.eq(contexts.valid & ~occupied.bit_select(half, 1))",
        "may.eq(contexts.valid)",
    ),
    Fault(
        "loader",
        "the half that was filled last is freed",
        "loader",
        "occupied.bit_select(oldest, 1).eq(0)",
        "occupied.bit_select(~half, 1).eq(0)",
    ),
    Fault(
        "loader",
        "a PE with no words left gets one",
        "loader",
        "Mux(target == pe, left[pe] != 1, left[pe] != 0)",
        "Mux(target == pe, left[pe] != 1, 1)",
    ),
    Fault(
        "port",
        "a credit too many",
        "port",
        'credits_ = Signal(range(depth + 1), init=depth, name="credits")',
        'credits_ = Signal(range(depth + 2), init=depth + 1, name="credits")',
    ),
    Fault(
        "port",
        "a pass is not repeated",
        "port",
        "again.eq(taken & (left == 1) & (repeats != 1))",
        "again.eq(0)",
    ),
    Fault(
        "port",
        "address goes on without the request being taken",
        "port",
        "taken.eq(self.request.valid & self.request.ready)",
        "taken.eq(self.request.valid)",
    ),
    Fault(
        "apu",
        "full FIFOs are not waited for",
        "apu",
        "sends.eq(valid & ~(receivers & self.full).any())",
        "sends.eq(valid)",
    ),
    Fault(
        "apu",
        "the last column of the tile is left out",
        "apu",
        "(entry.column < columns.end)",
        "(entry.column + 1 < columns.end)",
    ),
    Fault(
        "apu",
        "the last lane of an entry is dropped",
        "apu",
        "free.eq(~valid | (sends & ~rest.any()))",
        "free.eq(~valid | sends)",
    ),
    Fault(
        "decoder",
        "row addresses ignore the block's stride",
        "decoder",
        "next_address.eq(next_address + work.segment.block_stride)",
        "next_address.eq(next_address + work.segment.width)",
    ),
    Fault(
        "collector",
        "masks of the window before stay",
        "collector",
        "Mux(place.opens, 0, pooled.as_value())",
        "pooled.as_value()",
    ),
    Fault(
        "collector",
        "a row is restarted in every tile column",
        "collector",
        "restarts.eq(place.row_start & place.restarts)",
        "restarts.eq(place.row_start)",
    ),
    Fault(
        "collector",
        "silent windows leave no count",
        "collector",
        "self.count_write.enable.eq(closed)",
        "self.count_write.enable.eq(closed & fired)",
    ),
    Fault(
        "logit_writer",
        "the last word of a block is dropped",
        "logits",
        "left.eq(words)",
        "left.eq(words - 1)",
    ),
    Fault(
        "tiles",
        "the last tile is not clipped",
        "tiles",
        "next_height.eq(Mux(ends_row, next_rows, tile_height))",
        "next_height.eq(tile_height)",
    ),
    Fault(
        "tiles",
        "a map that ends with a tile gets another",
        "tiles",
        "ends_column.eq(next_columns <= tile_width)",
        "ends_column.eq(next_columns < tile_width)",
    ),
    Fault(
        "drain",
        "a tile's last row is left out",
        "drain",
        "last_row.eq((top | layer.pool) == tile.last_row)",
        "last_row.eq((top | layer.pool) + 2 >= tile.last_row)",
    ),
    Fault(
        "drain",
        "high and low half of a bias swapped",
        "drain",
        "self.read.high.eq(phase[0])",
        "self.read.high.eq(~phase[0])",
    ),
    Fault(
        "sequencer",
        "a half is freed after every round",
        "sequencer",
        "Mux(layer.chunks == 1, self.ends_pass, self.ends_round)",
        "self.ends_round",
    ),
    Fault(
        "sequencer",
        "a layer ends a cycle too early",
        "sequencer",
        "tail.eq(self.arch.drain_latency)",
        "tail.eq(self.arch.drain_latency - 1)",
    ),
    Fault(
        "currents",
        "the block is complete one word early",
        "currents",
        "last.eq(at == count - 1)",
        "last.eq(at == count - 2)",
    ),
    Fault(
        "spikes",
        "the collector reads the APU's row",
        "spikes",
        "(counts, self.resume_read, self.resume)",
        "(counts, self.count_read, self.resume)",
    ),
]


def edited(fault: Fault) -> str:
    """The file with the fault in it."""
    text = (PACKAGE / f"{fault.file}.py").read_text()
    if text.count(fault.old) != 1:
        raise ValueError(
            f"{fault.component}, {fault.name!r}: {fault.file}.py has {text.count(fault.old)} times"
            f" {fault.old!r}"
        )
    return text.replace(fault.old, fault.new)


@cache
def verilog(fault: Fault | None, component: str | None = None) -> str:
    """Verilog of the bench's component with the fault; without one as it is. Kept in `BUILD`."""
    name = fault.component if fault is not None else component
    texts = [path.read_text() for path in sorted(PACKAGE.glob("*.py"))]
    texts.append((bench.ROOT / "evenspike" / "arch.py").read_text())
    texts.append((bench.ROOT / "tests" / "hw" / "benches" / f"{name}.py").read_text())
    texts.append(edited(fault) if fault is not None else "")
    kept = BUILD / f"{name}-{hashlib.sha256(''.join(texts).encode()).hexdigest()[:16]}.v"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(_convert(fault, str(name)))
    return kept.read_text()


def _convert(fault: Fault | None, name: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(bench.ROOT)]
        if fault is not None:
            package = Path(folder) / "evenspike_hw"
            shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
            (package / f"{fault.file}.py").write_text(edited(fault))
            paths.insert(0, folder)
        return subprocess.run(
            [
                sys.executable,
                "-c",
                f"from tests.hw import bench; print(bench.verilog({name!r}))",
            ],
            check=True,
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"},
        ).stdout
