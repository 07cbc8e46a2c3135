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

from tests.helpers import bench, rtl

BUILD = bench.ROOT / "build" / "mutants" / "faults"


@dataclass(frozen=True)
class Fault:
    """component: whose bench has to find it, in the file that has its name."""

    component: str
    name: str
    old: str
    new: str

    @property
    def file(self) -> str:
        return "logits" if self.component == "logit_writer" else self.component

    def edited(self) -> str:
        """The file with the fault in it."""
        try:
            return rtl.edited(self.file, self.old, self.new)
        except ValueError as error:
            raise ValueError(f"{self.component}, {self.name!r}: {error}") from None


EDITS: dict[str, list[tuple[str, str, str]]] = {
    "fifo": [
        ("a full FIFO takes one more", "(level != self.depth)", "(level != self.depth + 1)"),
        ("full one too early", "(level != self.depth)", "(level < self.depth - 1)"),
        (
            "a pop makes room in the same cycle",
            "self.w.ready.eq(level != self.depth)",
            "self.w.ready.eq((level != self.depth) | self.r.ready)",
        ),
        ("bypass not taken", "Mux(is_recent, recent, read.data)", "read.data"),
        ("pointer wraps one late", "Mux(place == self.depth - 1, 0, place + 1)", "place + 1"),
    ],
    "accumulators": [
        (
            "sum of the row before not forwarded",
            "Mux(forwards, written[time], read.data[time])",
            "read.data[time]",
        ),
        ("saturates at the wrong end", "PSUM_MIN, PSUM_MAX)", "PSUM_MAX, PSUM_MIN)"),
        ("lower limit off by one", "total[-1], PSUM_MIN,", "total[-1], PSUM_MIN + 1,"),
        ("a drained row is not cleared", "adds | clears | self.carry", "adds | self.carry"),
        ("a row is cleared that its round carries", " & ~self.drain.keep", ""),
        ("a carry is not written", "clears | self.carry.enable", "clears"),
        ("a carry goes to the row that was read last", "self.carry.row, row", "row, row"),
        ("a negative carry goes to all timesteps", "carry.value.as_unsigned()", "carry.value"),
        (
            "clearing outweighs a saturation",
            "with m.If(adds & saturates.any()):",
            "with m.If(adds & saturates.any() & ~self.clear_overflow):",
        ),
        ("addend without its sign", "+ self.addends[time]", "+ self.addends[time].as_unsigned()"),
    ],
    "gates": [
        ("sign of the weight lost", "[time], self.weight, 0", "[time], self.weight[:15], 0"),
        ("timesteps in reverse", "self.mask[time],", "self.mask[self.arch.timesteps - 1 - time],"),
    ],
    "channel_table": [
        ("a clear forgets the other half", "~given.half, given.half", "given.half, ~given.half"),
        (
            "a clear outweighs the write in its cycle",
            "kept | given.enable << write_address",
            "kept | (given.enable & ~given.clear) << write_address",
        ),
        ("presence of a block that was not written", "Mux(counts, read.data, 0)", "read.data"),
        ("presence follows later writes", "with m.If(wanted.enable):", "with m.If(1):"),
    ],
    "scratchpad": [
        (
            "halves of the header bank swapped on reading",
            "Cat(wanted.half, wanted.word[1:])",
            "Cat(~wanted.half, wanted.word[1:])",
        ),
        ("header word chosen without waiting for the read", "(high,", "(wanted.word[0],"),
        (
            "of a header only the first unit is written",
            "(given.enable & chosen).replicate(units)",
            "given.enable & chosen",
        ),
    ],
    "lif": [
        ("fires above the threshold only", "& ~margin[-1]", "& ~margin[-1] & (margin != 0)"),
        (
            "a leak rounds towards 0",
            "product >> LEAK_FRACTION",
            "(product + Mux(product[-1], (1 << LEAK_FRACTION) - 1, 0)) >> LEAK_FRACTION",
        ),
        (
            "leak without the sign",
            "value[:PSUM_BITS].as_signed() * self",
            "value[:PSUM_BITS] * self",
        ),
        ("a leak of one leaves nothing", "* self.leak", "* self.leak[:LEAK_FRACTION]"),
        (
            "high byte of the bias dropped",
            "Cat(low, self.bias_unit[: PSUM_BITS - UNIT_BITS])",
            "low",
        ),
        ("a hard reset leaves the membrane", "Mux(spike & self.hard, 0, membrane)", "membrane"),
        ("every reset is hard", "Mux(spike & self.hard, 0,", "Mux(spike, 0,"),
        ("the amount of a reset is added", "drive - Mux(", "drive + Mux("),
        ("amount of a reset without the sign", "self.reset, 0)", "self.reset.as_unsigned(), 0)"),
        ("an amount is taken off for another timestep's spike", '["mask"][-1]', '["mask"][0]'),
        ("an amount is taken off behind the last timestep", "Mux(spike & runs,", "Mux(spike,"),
        ("one timestep too many", "Cat(*(t < self.timesteps", "Cat(*(t <= self.timesteps"),
        (
            "timesteps are those of the neuron behind",
            '"behind": behind}',
            '"behind": Cat(*(t < self.timesteps for t in range(1, times)), self.carries)}',
        ),
        (
            "a carry that nobody wants saturates",
            "range(1, times)), self.carries)",
            "range(1, times)), 1)",
        ),
        ("a sum of psums saturates", "runs & (self.readout != PSUM) & top", "runs & top"),
        (
            "the last timestep is not counted",
            'popcount(kept["mask"])',
            'popcount(kept["mask"][:-1])',
        ),
    ],
    "matcher": [
        (
            "a marker does not wait for its round",
            "(head.round == self.round) &",
            "((head.round == self.round) | head.marker) &",
        ),
        ("the last header of a channel is passed by", "== self.line.last", "+ 1 == self.line.last"),
        (
            "position mask transposed",
            "n // side] & item.columns[n %",
            "n % side] & item.columns[n //",
        ),
        (
            "base counts the matches, not the living weights",
            "last_wsp.eq(wsp)",
            "last_wsp.eq(pids)",
        ),
        (
            "first half of a K = 7 header from the wrong fetch",
            "Cat(first_half, self.header)",
            "Cat(self.header, first_half)",
        ),
    ],
    "unpacker": [
        ("a channel that begins in the middle of a word ends one fetch early", "+ first[0] -", "-"),
        ("half 1 of the weight bank starts at 0", "Mux(half, self.arch.weight_words, 0)", "0"),
        ("a skip is one short", "(Cat(gap[:gap_bits], far) + 1) <<", "Cat(gap[:gap_bits], far) <<"),
        ("8-bit weights have no sign", "raw[TOKEN_BITS:].as_signed()", "raw[TOKEN_BITS:]"),
        (
            "a skip of 8-bit weights does not go on in their byte",
            "far = Mux(narrow, raw[TOKEN_BITS:], 0)",
            "far = Mux(narrow, 0, 0)",
        ),
        (
            "a word is taken over the last one of a chunk",
            "(narrow & (units == WORD_UNITS - 1) & ~hold.last)",
            "(narrow & (units == WORD_UNITS - 1))",
        ),
        (
            "weights of 16 bits are followed without a gap, too",
            "(narrow & (units == WORD_UNITS - 1)",
            "((units == WORD_UNITS - 1)",
        ),
        ("the last kernel is not written", "+= flush.eq(tokens.ends)", "+= flush.eq(0)"),
        ("lanes of the block before stay", "opened & (next_block == block),", "opened,"),
    ],
    "selector": [
        (
            "a marker that ends a round counts as worked",
            "self.worked + (entry.frees & ~entry.ends_round)",
            "self.worked + entry.frees",
        ),
        ("kernel position off by one", "(n % side**2, side) for", "((n + 1) % side**2, side) for"),
        ("address counts the weight itself", "[: bit + 1].any() for bit", "[:bit].any() for bit"),
        ("an entry leaves with its first weight", "((occupied == chosen) & single.all())", "(1)"),
    ],
    "loader": [
        (
            "does not wait for a free half",
            "may.eq(contexts.valid & ~occupied.bit_select(half, 1))",
            "may.eq(contexts.valid)",
        ),
        ("the half that was filled last is freed", "(oldest, 1).eq(0)", "(~half, 1).eq(0)"),
        (
            "a chunk's second word is taken for a chunk",
            "next_chunk + CHUNK_WORDS",
            "next_chunk + 1",
        ),
        ("a PE with no words left gets one", "count[1:] != 0, count != 0", "count[1:] != 0, 1"),
        ("the width of weights is forgotten", '"biases", "narrow")', '"biases")'),
    ],
    "port": [
        ("a credit too many", "(depth + 1), init=depth, name", "(depth + 2), init=depth + 1, name"),
        ("a pass is not repeated", "again.eq(taken & (left == 1) & (repeats != 1))", "again.eq(0)"),
        (
            "address goes on without the request being taken",
            "taken.eq(self.request.valid & self.request.ready)",
            "taken.eq(self.request.valid)",
        ),
    ],
    "apu": [
        ("full FIFOs are not waited for", "(valid & ~(receivers & self.full).any())", "(valid)"),
        (
            "columns by the offset of the rows",
            "columns, segment.offset_x",
            "columns, segment.offset_y",
        ),
        ("the last column of the tile is left out", "entry.column <", "entry.column + 1 <"),
        ("the last lane of an entry is dropped", "valid | (sends & ~rest.any())", "valid | sends"),
    ],
    "decoder": [
        (
            "row addresses ignore the block's stride",
            "next_address.eq(next_address + work.segment.block_stride)",
            "next_address.eq(next_address + work.segment.width)",
        ),
    ],
    "collector": [
        (
            "masks of the window before stay",
            "Mux(place.opens, 0, pooled.as_value())",
            "pooled.as_value()",
        ),
        (
            "a row is restarted in every tile column",
            "restarts.eq(place.row_start & place.restarts)",
            "restarts.eq(place.row_start)",
        ),
        (
            "silent windows leave no count",
            "self.count_write.enable.eq(closed)",
            "self.count_write.enable.eq(closed & fired)",
        ),
    ],
    "logit_writer": [
        ("the last word of a block is dropped", "left.eq(words)", "left.eq(words - 1)"),
    ],
    "tiles": [
        ("the last tile is not clipped", "Mux(ends_row, next_rows, tile_height)", "tile_height"),
        ("a map that ends with a tile gets another", "next_columns <=", "next_columns <"),
        ("all groups have the first one's map", "self.offset + layer.region", "self.offset"),
        (
            "the next tile begins with the last group's map",
            "next_offset.eq(0),\n                next_left.eq(self.left + tile_width)",
            "next_left.eq(self.left + tile_width)",
        ),
        (
            "a pass ends with the first group of its last tile",
            "last_round.eq(ends_row & ends_column & ends_group)",
            "last_round.eq(ends_row & ends_column)",
        ),
    ],
    "fetch": [
        ("a chunk's second word is its first", "self.chunk_address + second", "self.chunk_address"),
        (
            "a chunk's second word is missed",
            "for_chunk.eq(asks_chunk)",
            "for_chunk.eq(self.chunk_read)",
        ),
    ],
    "broadcasts": [
        ("all groups read the first one's map", "chunk.entry + tile.offset", "chunk.entry"),
        (
            "a chunk's second word is taken for a chunk",
            "self.chunk_address + CHUNK_WORDS",
            "self.chunk_address + 1",
        ),
    ],
    "drain": [
        ("all groups write the first one's map", "row_offset + tile.offset", "row_offset"),
        (
            "every group is as short as the last",
            "Mux(tile.last_group, layer.timesteps, self.arch.timesteps)",
            "layer.timesteps",
        ),
        (
            "sums of psums are carried",
            "~tile.last_group & (layer.readout != READOUTS.index(Readout.PSUM))",
            "~tile.last_group",
        ),
        (
            "a round ends before its last row is carried",
            "behind == self.arch.carry_latency - 1",
            "behind == self.arch.carry_latency - 2",
        ),
        (
            "a row gets the carry of the one behind it",
            "for n in range(self.arch.carry_latency)",
            "for n in range(self.arch.carry_latency + 1)",
        ),
        ("a tile's last row is left out", "(top | layer.pool) ==", "(top | layer.pool) + 2 >="),
        ("high and low half of a bias swapped", "(phase[0])", "(~phase[0])"),
    ],
    "sequencer": [
        (
            "a half is freed after every round",
            "Mux(layer.chunks == 1, self.ends_pass, self.ends_round)",
            "self.ends_round",
        ),
        (
            "a layer ends a cycle too early",
            "Mux(layer.host, 1, self.arch.drain_latency)",
            "Mux(layer.host, 1, self.arch.drain_latency - 1)",
        ),
        (
            "the input ends as late as a drain",
            "Mux(layer.host, 1, self.arch.drain_latency)",
            "self.arch.drain_latency",
        ),
    ],
    "input": [
        ("a position is complete one word early", "(at == count - 1)", "(at == count - 2)"),
        ("rows are written over each other", "row_entry + layer.row_stride", "row_entry"),
        (
            "a group is written over the one before",
            "row_entry.eq(map_entry + layer.region)",
            "row_entry.eq(map_entry)",
        ),
        (
            "the third group is written over the second",
            "map_entry.eq(map_entry + layer.region)",
            "map_entry.eq(map_entry)",
        ),
    ],
    "spikes": [
        ("the collector reads the APU's row", ", self.resume_read,", ", self.count_read,"),
    ],
}
"""By component: what is wrong, the piece of its file, and what stands there instead."""

FAULTS = [Fault(name, *edit) for name, edits in EDITS.items() for edit in edits]


@cache
def verilog(fault: Fault) -> str:
    """Verilog of the bench's component with the fault in it; it is kept in `BUILD`."""
    sources = [*rtl.FILES.values(), bench.ROOT / "core" / "evenspike_core" / "arch.py"]
    sources.append(bench.ROOT / "tests" / "hw" / "benches" / f"{fault.component}.py")
    text = "".join(path.read_text() for path in sources) + fault.edited()
    kept = BUILD / f"{fault.component}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.v"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(_convert(fault))
    return kept.read_text()


def _convert(fault: Fault) -> str:
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / rtl.PACKAGE.name
        shutil.copytree(rtl.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
        place = rtl.FILES[fault.file].relative_to(rtl.PACKAGE)
        (package / place).write_text(fault.edited())
        paths = [folder, str(bench.ROOT), os.environ.get("PYTHONPATH", "")]
        code = f"from tests.helpers import bench; print(bench.verilog({fault.component!r}), end='')"
        return subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"},
        ).stdout
