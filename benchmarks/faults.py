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
    """component: whose bench has to find it, with its variant. place: the file, if it has another
    name than the component.
    """

    component: str
    name: str
    old: str
    new: str
    place: str = ""

    @property
    def file(self) -> str:
        name = self.component.partition(":")[0]
        return self.place or ("logits" if name == "logit_writer" else name)

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
    "bank": [
        (
            "the issue before is not followed",
            "Mux(follows, written[number], held[number])",
            "held[number]",
        ),
        (
            "the issue of two cycles before is not overtaken",
            "Mux(overtakes, written.as_value(), read.data.as_value())",
            "read.data.as_value()",
        ),
        ("follows whatever row has issued", "adds & reads & (read_row == row)", "adds & reads"),
        ("overtakes whatever row is read", "adds & (self.issue.row == row)", "adds"),
        (
            "follows what was no issue",
            "follows.eq(adds & reads & (read_row == row))",
            "follows.eq(reads & (read_row == row))",
        ),
        (
            "the issue before is preferred to none",
            "overtakes.eq(adds & (",
            "overtakes.eq((adds | reads) & (",
        ),
        ("addends of the cycle itself", "addends.eq(self.addends),", "addends.eq(addends),"),
        ("saturates at the wrong end", "PSUM_MIN, PSUM_MAX)", "PSUM_MAX, PSUM_MIN)"),
        ("lower limit off by one", "total[-1], PSUM_MIN,", "total[-1], PSUM_MIN + 1,"),
        ("a drained row is not cleared", "adds | clears | self.carry", "adds | self.carry"),
        ("a row is cleared that its round carries", " & ~self.drain.keep", ""),
        ("a carry is not written", "clears | self.carry.enable", "clears"),
        ("a carry goes to the row that was read last", "self.carry.row, Mux(", "read_row, Mux("),
        ("a negative carry goes to all psums", "carry.value.as_unsigned()", "carry.value"),
        ("a sum goes to the row that was read last", "Mux(adds, row, read_row)", "read_row"),
        (
            "addend without its sign",
            "before + addends[",
            "before + addends.as_value()[:15] + 0 * addends[",
        ),
        ("a drain adds", "reads.eq(self.issue.enable)", "reads.eq(read.en)"),
        ("saturations of what is not added", "adds & saturates.any()", "saturates.any()"),
    ],
    "accumulators": [
        (
            "clearing outweighs a saturation",
            "with m.If(saturates.any()):",
            "with m.If(saturates.any() & ~self.clear_overflow):",
        ),
        ("only one bank's saturation counts", "saturates.any()", "saturates[0]"),
        (
            "a drained row is not turned",
            "exchange([bank.sums[0] for bank in banks], drained)",
            "[bank.sums[0] for bank in banks]",
        ),
        (
            "a drained row is turned as the next one",
            "exchange([bank.sums[0] for bank in banks], drained)",
            "exchange([bank.sums[0] for bank in banks], self.layouts.skew(self.drain.row))",
        ),
        (
            "how a row is turned is forgotten without a drain",
            "with m.If(self.drain.enable):",
            "with m.If(1):",
        ),
        ("a carry goes to the first bank", "Mux(carried == number,", "Mux(number == 0,"),
        (
            "a carry goes to all banks",
            "Mux(carried == number, self.carry.value, 0)",
            "self.carry.value",
        ),
        (
            "a carry is turned as what is drained",
            "self.layouts.skew(self.carry.row)",
            "self.layouts.skew(self.drain.row)",
        ),
        ("banks get the addends of the first", "self.addends[first + n]", "self.addends[n]"),
    ],
    "lanes": [
        (
            "room one too late",
            "depth - WAYS * (IN_FLIGHT + 1)",
            "depth - WAYS * (IN_FLIGHT + 1) + 1",
        ),
        (
            "room one too early",
            "depth - WAYS * (IN_FLIGHT + 1)",
            "depth - WAYS * (IN_FLIGHT + 1) - 1",
        ),
        (
            "room in the lane that is emptiest",
            "Cat(lane.next_room for lane in lanes).all()",
            "Cat(lane.next_room for lane in lanes).any()",
        ),
        ("the odd one goes first", "takes_first = opens &", "takes_first = ~opens &"),
        ("a second weight is lost", "Mux(opens, any_, both)", "opens & any_"),
        ("one place for two weights", "tail.eq(tail + any_ + both)", "tail.eq(tail + any_)"),
        ("a lane counts one for two weights", "level + any_ + both", "level + any_"),
        ("a lane reads where it writes", "read.addr.eq(head[1:])", "read.addr.eq(tail[1:])"),
        (
            "even and odd places swapped on reading",
            "Mux(head[0], words[1].row",
            "Mux(~head[0], words[1].row",
        ),
        (
            "weight of the other place",
            "Mux(head[0], words[1].weight",
            "Mux(~head[0], words[1].weight",
        ),
        ("an addend a cycle early", "m.d.sync += self.addend.eq(", "m.d.comb += self.addend.eq("),
        (
            "idle although S4 has weights",
            "self.idle.eq(~self.valid & empty)",
            "self.idle.eq(empty)",
        ),
        (
            "idle with one empty lane",
            "lane.next_empty for lane in lanes).all()",
            "lane.next_empty for lane in lanes).any()",
        ),
        ("lanes by timesteps alone", "exchange(bits, self.layouts.skew(one.row))", "bits"),
        ("weights of even and odd addresses swapped", "self.weights[way]", "self.weights[1 - way]"),
        (
            "a way that has none gets one",
            "Mux(one.enable, self.selected.mask, 0)",
            "self.selected.mask",
        ),
    ],
    "markers": [
        (
            "a marker that ends a round counts as worked",
            "(marker.frees & ~marker.ends_round)",
            "marker.frees",
        ),
        (
            "a marker without its half is finished",
            "self.finished + marker.frees",
            "self.finished + 1",
        ),
        ("markers count that do not issue", "with m.If(marker.enable):", "with m.If(1):"),
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
        (
            "the filter gets the pattern of the matcher's channel",
            "given.pattern, self.pattern_read,",
            "given.pattern, self.table_read,",
        ),
    ],
    "scratchpad": [
        (
            "halves of the header bank swapped on reading a line",
            "Cat(wanted.half, wanted.word))",
            "Cat(~wanted.half, wanted.word))",
        ),
        (
            "of a header only the first unit is written",
            "(given.enable & chosen).replicate(units)",
            "given.enable & chosen",
        ),
        (
            "even and odd weights in one bank",
            "given.address[:shift] == number",
            "given.address[:shift] == 0",
        ),
        (
            "even and odd banks swapped on writing",
            "given.address[:shift] == number",
            "given.address[:shift] != number",
        ),
        (
            "odd biases out of the even bank",
            "bias.address[:shift] == number",
            "bias.address[:shift] == 0",
        ),
        (
            "a bias is read where a weight would be",
            "Mux(bias.enable, bias.address[shift:], wanted",
            "Mux(0, bias.address[shift:], wanted",
        ),
        (
            "the half of a bias follows the address",
            "Mux(odd, self.weights[1]",
            "Mux(bias.address[0], self.weights[1]",
        ),
        ("a bias forgets its bank in the next cycle", "with m.If(bias.enable):", "with m.If(1):"),
        ("a read stays off for a bias", "wanted.enable | of_bias", "wanted.enable"),
    ],
    "scratchpad:issue1": [
        (
            "halves of the header bank swapped on reading",
            "Cat(wanted.half, wanted.word[1:])",
            "Cat(~wanted.half, wanted.word[1:])",
        ),
        ("header word chosen without waiting for the read", "(high,", "(wanted.word[0],"),
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
            "high half of the bias dropped",
            "Cat(low, self.bias_unit[:BIAS_BITS])",
            "low",
        ),
        ("a hard reset leaves the membrane", "Mux(spike & self.hard, 0, membrane)", "membrane"),
        ("every reset is hard", "Mux(spike & self.hard, 0,", "Mux(spike, 0,"),
        ("the amount of a reset is added", "drive - Mux(", "drive + Mux("),
        ("amount of a reset without the sign", "self.reset, 0)", "self.reset.as_unsigned(), 0)"),
        ("an amount is taken off for another timestep's spike", '["mask"][-1]', '["mask"][0]'),
        ("something is added behind the last timestep", "Mux(runs, drive", "Mux(1, drive"),
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
    "shared_lif": [
        ("fires above the threshold only", "& ~margin[-1]", "& ~margin[-1] & (margin != 0)"),
        (
            "a leak rounds towards 0",
            "low_part >> LEAK_FRACTION",
            "(low_part + Mux(value[-1], (1 << LEAK_FRACTION) - 1, 0)) >> LEAK_FRACTION",
        ),
        (
            "leak without the sign",
            "value[LOW_BITS:].as_signed() * leak",
            "value[LOW_BITS:] * leak",
        ),
        ("sign of the low half", "value[:LOW_BITS] * leak", "value[:LOW_BITS].as_signed() * leak"),
        ("a leak of one leaves nothing", "Mux(psums, LEAK_ONE, self.leak)", "self.leak[:12]"),
        ("a sum of psums leaks", "Mux(psums, LEAK_ONE, self.leak)", "self.leak"),
        (
            "high half of the bias dropped",
            "Cat(low, self.bias_unit[:BIAS_BITS])",
            "low",
        ),
        ("a hard reset leaves the membrane", "stays.eq(~first & ~hard)", "stays.eq(~first)"),
        ("a neuron begins with the one before", "stays.eq(~first & ~hard)", "stays.eq(~hard)"),
        ("every reset is hard", "hard.eq(fires & self.hard)", "hard.eq(fires)"),
        ("a hard reset is not read out", "Mux(hard, 0, value)", "value"),
        ("the amount of a reset is added", "drive - self.reset", "drive + self.reset"),
        ("amount without the sign", "drive - self.reset", "drive - self.reset.as_unsigned()"),
        (
            "an amount is taken off for the neuron before",
            "Mux(fires & ~first, less, plain)",
            "Mux(fires, less, plain)",
        ),
        ("an amount is always taken off", "Mux(fires & ~first, less, plain)", "less"),
        ("one timestep too many", "behind < self.timesteps)", "behind <= self.timesteps)"),
        ("the first timestep alone", "follows.eq(self.valid | goes_on)", "follows.eq(self.valid)"),
        ("every neuron carries", "Mux(behind == times, self.carries,", "Mux(behind == times, 1,"),
        ("a carry gets the first drive", "Mux(time == times, 0, self", "Mux(0, 0, self"),
        ("one psum for all timesteps", "self.sums[time]", "self.sums[0]"),
        (
            "a timestep that does not run fires",
            "Cat(spikes[1:], fires & ran)",
            "Cat(spikes[1:], fires)",
        ),
        (
            "spikes of the timesteps in the other order",
            "Cat(spikes[1:], fires & ran)",
            "Cat(fires & ran, spikes[:-1])",
        ),
        ("a sum of psums fires", "fires.eq(~psums & ~margin[-1])", "fires.eq(~margin[-1])"),
        ("a sum of psums saturates", "~psums & top.any()", "top.any()"),
        ("saturates at the wrong end", "PSUM_MIN, PSUM_MAX)", "PSUM_MAX, PSUM_MIN)"),
        ("lower limit off by one", "top[-1], PSUM_MIN,", "top[-1], PSUM_MIN + 1,"),
        (
            "far beyond the limit is within it",
            "PSUM_BITS - 1 : PSUM_BITS + 2]",
            "PSUM_BITS - 1 : PSUM_BITS + 1]",
        ),
        (
            "saturations of what does not run",
            "saturated.eq(runs & saturates)",
            "saturated.eq(saturates)",
        ),
        ("the last timestep is not counted", "popcount(self.mask)", "popcount(self.mask[:-1])"),
        (
            "clearing outweighs a saturation",
            "with m.If(saturated):",
            "with m.If(saturated & ~self.clear_overflow):",
        ),
    ],
    "filter": [
        ("a place too many", "full.eq(after == depth)", "full.eq(after == depth + 1)"),
        ("full one too early", "full.eq(after == depth)", "full.eq(after >= depth - 1)"),
        ("what is dropped keeps its place", " - popped - dropped", " - popped"),
        ("what passes gives its place up", "dropped.eq(valid & ~meets)", "dropped.eq(valid)"),
        (
            "only what is in the FIFO has a place",
            "places + taken - popped - dropped",
            "places + (valid & meets) - popped",
        ),
        (
            "a broadcast that is not taken has a place",
            "taken.eq(self.activation.valid & ~full)",
            "taken.eq(self.activation.valid)",
        ),
        ("a marker is dropped", "looked_at.marker | (", "("),
        ("K > 3 is dropped", "(looked_at.kernel > 1) | ", ""),
        ("K = 3 always passes", "looked_at.kernel > 1", "looked_at.kernel > 0"),
        (
            "rows and columns swapped",
            "looked_at.rows[r] & looked_at.columns[s]",
            "looked_at.columns[r] & looked_at.rows[s]",
        ),
        ("pattern of the activation behind", "(pattern & positions)", "(self.pattern & positions)"),
        ("pattern of the other half", "half.eq(given.half)", "half.eq(~given.half)"),
    ],
    "matcher": [
        (
            "a marker does not wait for its round",
            "(ended == self.round) &",
            "((ended == self.round) | head.marker) &",
        ),
        ("the second fetch of two is passed by", "(self.line.last == 0)", "(self.line.last <= 1)"),
        (
            "position mask transposed",
            "Mux(fetch.rows[row], fetch.columns[:side], 0)",
            "Mux(fetch.columns[row], fetch.rows[:side], 0)",
        ),
        (
            "base counts the matches, not the living weights",
            "popcount(layouts.group(wsp, n))",
            "popcount(layouts.group(pids, n))",
        ),
        ("each fetch has the base of the first", "compared.opens, compared", "1, compared"),
        (
            "headers before the channel's first belong to it",
            "(first_place <= n if n < units - 1 else 1) & ",
            "",
        ),
        ("headers behind the channel's last belong to it", "& (~m2_ends | (last_place >= n))", ""),
        (
            "every fetch ends where the last does",
            "(~m2_ends | (last_place >= n))",
            "(last_place >= n)",
        ),
        ("every fetch begins where the first does", "                first_place.eq(0),\n", ""),
        (
            "a credit too many",
            "range(self.arch.match_depth + 1), init=self.arch.match_depth)",
            "range(self.arch.match_depth + 2), init=self.arch.match_depth + 1)",
        ),
        (
            "of two credits that come back at once one is lost",
            "+ misses + self.taken",
            "+ (misses | self.taken)",
        ),
        (
            "a fetch without a match keeps its credit",
            "left - fetches + misses + self.taken",
            "left - (fetches & ~misses) + self.taken",
        ),
        (
            "a marker's credit comes back twice",
            "misses.eq(valid & ~matches)",
            "misses.eq(valid & ~pids.any())",
        ),
        (
            "a match has its credit back before it has left the queue",
            "misses.eq(valid & ~matches)",
            "misses.eq(valid)",
        ),
        (
            "a credit is seen a cycle late",
            "credit.eq(after != 0)",
            "credit.eq((after & left) != 0)",
        ),
        ("a marker is not queued", "matches.eq(compared.marker | pids", "matches.eq(pids"),
        (
            "an activation leaves M2 without a credit",
            "m2_leaves.eq(fetches & m2_ends)",
            "m2_leaves.eq(m2_valid & m2_ends)",
        ),
    ],
    "matcher:issue1": [
        (
            "halves of a K = 7 header swapped",
            "Cat(first_half, header), side",
            "Cat(header, first_half), side",
        ),
        (
            "first half of a K = 7 header from the fetch behind",
            "first_half.eq(header)",
            "first_half.eq(self.header)",
        ),
        ("the first half of a K = 7 header matches", "completes.eq(~low_half)", "completes.eq(1)"),
        (
            "lines of K = 7 are counted by headers",
            "* max(1, units // self.arch.fetch_units)",
            "",
        ),
        (
            "a credit is lost with each half of a header",
            "valid & ~matches",
            "valid & ~matches & wsp.any()",
        ),
    ],
    "unpacker": [
        (
            "a channel that begins inside a fetch ends one early",
            "headers + first[:shift] - 1",
            "headers - 1",
        ),
        ("place of the last header without the first's", "end[:shift]", "headers[:shift]"),
        ("half 1 of the weight bank starts at 0", "Mux(half, self.arch.weight_words, 0)", "0"),
        ("a skip is one short", "(Cat(gap[:gap_bits], far) + 1) <<", "Cat(gap[:gap_bits], far) <<"),
        ("codes have no base", "base + code[:EXPONENT_BITS]", "code[:EXPONENT_BITS]"),
        ("codes have no sign", "(negative & (place < bit))", "0"),
        (
            "the negative of a power of two is that of the next",
            "(place == bit) | (negative & (place < bit))",
            "(~negative & (place == bit)) | (negative & (place < bit))",
        ),
        ("a word has four codes", "Mux(coded, WORD_CODES, WORD_UNITS)", "WORD_UNITS"),
        ("8-bit weights have no sign", "raw[TOKEN_BITS:].as_signed()", "raw[TOKEN_BITS:]"),
        (
            "a skip of 8-bit weights does not go on in their byte",
            "far = Mux(beside, raw[TOKEN_BITS:], 0)",
            "far = Mux(beside, 0, 0)",
        ),
        (
            "a word is taken over the last one of a chunk",
            "(beside & (units == room - 1) & ~hold.last)",
            "(beside & (units == room - 1))",
        ),
        (
            "weights of 16 bits are followed without a gap, too",
            "(beside & (units == room - 1)",
            "((units == room - 1)",
        ),
        ("the last kernel is not written", "+= flush.eq(tokens.ends)", "+= flush.eq(0)"),
        ("lanes of the block before stay", "opened & (next_block == block),", "opened,"),
        (
            "a pattern is that of the last header",
            "Mux(begins, 0, pattern)",
            "Mux(tokens.opens, 0, pattern)",
        ),
        ("a pattern has what the channel before had", "Mux(begins, 0, pattern)", "pattern"),
    ],
    "unpacker:issue1": [
        ("K = 7 has one fetch a header", "((end >> shift) + 1) * halves - 1", "end >> shift"),
    ],
    "selector": [
        ("address counts the weight itself", "[: bit + 1].any() for bit", "[:bit].any() for bit"),
        (
            "all images of a round have the first one's rows",
            "Mux(between, image_row + self.image_rows, 0)",
            "0",
        ),
        (
            "the next round begins with the last image's rows",
            "+ self.image_rows, 0))",
            "+ self.image_rows, image_row))",
        ),
        ("a marker between images waits for the lanes", "between | (~s2_valid", "(~s2_valid"),
        ("an entry leaves with its first weight", "last.eq(single.all())", "last.eq(1)"),
        (
            "an entry leaves with the first way that ends",
            "last.eq(single.all())",
            "last.eq(single.any())",
        ),
        ("even and odd ways swapped", "odd if way else ~odd", "~odd if way else odd"),
        ("odd by the first address alone", "parity = parity ^ group.xor()", "parity = parity + 0"),
        ("odd counts the weight itself", "group[:n].xor()", "group[: n + 1].xor()"),
        (
            "a group counts for those before it",
            "Mux(occupied[: n + 1].any(), 0,",
            "Mux(occupied[:n].any(), 0,",
        ),
        (
            "a marker does not wait for S2",
            "~s2_valid & ~self.valid & self.idle",
            "~self.valid & self.idle",
        ),
        (
            "a marker does not wait for S3",
            "~s2_valid & ~self.valid & self.idle",
            "~s2_valid & self.idle",
        ),
        ("a marker does not wait for the lanes", "~self.valid & self.idle", "~self.valid"),
        (
            "a marker waits for room",
            "& self.idle), self.room)",
            "& self.idle & self.room), self.room)",
        ),
        ("room is not waited for", "& self.idle), self.room)", "& self.idle), 1)"),
        (
            "a marker is a selection",
            "s2_valid.eq(s1_leaves & ~marker.marker)",
            "s2_valid.eq(s1_leaves)",
        ),
        (
            "taken without an entry",
            "self.taken.eq(self.matched.valid & self.matched.ready)",
            "self.taken.eq(self.matched.ready)",
        ),
        ("a way without a match is enabled", "choice.enable & s2_valid", "s2_valid"),
        ("a selection stays for another cycle", "choice.enable & s2_valid", "choice.enable"),
        (
            "mask of the entry behind",
            "self.selected.mask.eq(placed.mask)",
            "self.selected.mask.eq(item.mask)",
        ),
        ("slot of the first kernel", "select(kernel, list(placed.slots))", "placed.slots[0]"),
        ("stride 2 is not halved", "(coordinate >> placed.log_stride)", "coordinate"),
        ("kernel 1 lies as close as it is", "step = max(side, 3)", "step = side"),
    ],
    "weight_gates": [
        ("sign of the weight lost", "self.weights[number], 0", "self.weights[number][:15], 0"),
        ("all gates have the first weight", "self.weights[number], 0", "self.weights[0], 0"),
    ],
    "window_accumulators": [
        (
            "a tile of 8 columns has the banks of one of 4",
            "range(first + 1, last)",
            "range(first + 2, last)",
        ),
        ("the bank's bits stay in the row", "rest[at + SIDE_BITS :]", "rest[at:]"),
        ("narrow tiles have the topmost bits", "low, rest, first)", "low, rest, last)"),
        ("weights come a cycle early", "select(ways, [addend", "select(chosen, [addend"),
        ("every bank is carried to", "& (carried[0] == number)", ""),
        ("every bank is cleared", "self.drain.enable & drains", "self.drain.enable"),
        (
            "the sums stay with the bank of the next issue",
            "with m.If(self.drain.enable):",
            "with m.If(1):",
        ),
        (
            "a clear outweighs a saturation",
            "saturates.any()):",
            "saturates.any() & ~self.clear_overflow):",
        ),
    ],
    "window_selector": [
        (
            "address counts the weight itself",
            "low[: bit + 1].any() for bit",
            "low[:bit].any() for bit",
        ),
        (
            "the numbers of the weight banks count the weight itself",
            "group[:place])",
            "group[: place + 1])",
        ),
        (
            "a group's weights are not counted for the next",
            "ends.eq(before + popcount(group))",
            "ends.eq(before)",
        ),
        ("weights of one bank go together", "weights.any() | outputs", "outputs"),
        ("neurons of one bank go together", "weights.any() | outputs", "weights.any()"),
        ("neurons collide with stride 2, too", " & ~log_stride if", " if"),
        ("the longest run goes on behind a collision", "collides[: n + 1].any()", "collides[n]"),
        ("an entry leaves with its first selection", "last.eq(~rest.any())", "last.eq(1)"),
        (
            "a group counts for those before it",
            "for group in rows[: n + 1])",
            "for group in rows[:n])",
        ),
        (
            "all images of a round have the first one's rows",
            "Mux(between, image_row + self.image_rows, 0)",
            "0",
        ),
        (
            "a marker does not wait for S2",
            "~s2_valid & ~self.valid & self.idle",
            "~self.valid & self.idle",
        ),
        (
            "a marker does not wait for S3",
            "~s2_valid & ~self.valid & self.idle",
            "~s2_valid & self.idle",
        ),
        ("a marker does not wait for what is behind", "~self.valid & self.idle", "~self.valid"),
        (
            "a marker is a selection",
            "s2_valid.eq(s1_leaves & ~marker.marker)",
            "s2_valid.eq(s1_leaves)",
        ),
        ("a way without a match is enabled", "choice.enable & s2_valid", "s2_valid"),
        (
            "mask of the entry behind",
            "self.selected.mask.eq(placed.mask)",
            "self.selected.mask.eq(item.mask)",
        ),
        ("the banks of the entry behind", "self._ways(selected_banks)", "self._ways(banks)"),
    ],
    "neuron_bank": [
        ("a step leaves the psum", "psums[n].eq(0)", "psums[n].eq(psums[n])"),
        ("a step forgets the membrane", "value + psum + self.bias", "psum + self.bias"),
        ("a step without the bias", "value + psum + self.bias", "value + psum"),
        ("sums of psums saturate", "steps_over & ~self.psums", "steps_over"),
        ("sums of psums fire", "spike.eq(~self.psums & ~margin[-1])", "spike.eq(~margin[-1])"),
        ("every reset is hard", "Mux(spike & self.hard, 0, value)", "Mux(spike, 0, value)"),
        ("the reset's amount comes off without a spike", "Mux(spike, self.reset, 0)", "self.reset"),
        ("membranes go on without a carry", "self.carries,\n", "1,\n"),
        (
            "a flag stays for the next tile",
            "saturated.eq(self.carries & leaves_over)",
            "saturated.eq(saturated)",
        ),
        ("the weight is added a cycle early", "addend.eq(self.addend)", "addend.eq(0)"),
    ],
    "neurons": [
        ("weights of the issue behind", "weights.eq(ways)", "weights.eq(0)"),
        ("the bias is its high half", "low.eq(self.bias_unit)", "low.eq(0)"),
        (
            "a neuron that is not read saturates",
            "self.read.enable & (chosen & saturated)",
            "(chosen & saturated)",
        ),
        ("the membrane behind a hard reset is as it was", "Mux(hard, 0, value)", "value"),
        ("a count is the membrane", "Mux(self.readout == COUNT, spike,", "Mux(0, spike,"),
    ],
    "scratchpad:weights": [
        ("four biases out of two banks", "self.weights[odd]", "self.weights[odd[0]]"),
    ],
    "pe:weights": [
        ("spike of the weight behind", "gates.spike.eq(spike)", "gates.spike.eq(selected.mask)"),
        (
            "the tile's width is its area",
            "accumulators.log_tile_width.eq(self.layer.log_tile_width)",
            "accumulators.log_tile_width.eq(self.layer.log_tile)",
        ),
    ],
    "pe": [
        ("a marker does not wait for the lanes", "idle.eq(lanes.idle)", "idle.eq(1)"),
        ("the lanes' room is not waited for", "room.eq(lanes.room)", "room.eq(1)"),
        (
            "credits come back with the entry",
            "matcher.taken.eq(selector.taken)",
            "matcher.taken.eq(queue.w.valid)",
        ),
        (
            "places come back without a pop",
            "popped.eq(fifo.r.valid & fifo.r.ready)",
            "popped.eq(fifo.r.valid)",
        ),
        ("both units of a bias are the low one", " + self.drain.high", ""),
        ("biases of the first half", "bias_base[self.drain.half]", "bias_base[0]"),
        ("every drained row is kept", "drain.keep.eq(self.drain.keep)", "drain.keep.eq(1)"),
    ],
    "pe:issue1": [
        ("mask of the weight behind", "gates.mask.eq(mask)", "gates.mask.eq(selected.mask)"),
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
        ("the width of weights is forgotten", '"biases", "width", "base")', '"biases", "base")'),
        ("the base of codes is forgotten", '"width", "base")', '"width")'),
    ],
    "loader:port128": [
        (
            "all lanes get the word of the first",
            "self.word.payload[WORD_BITS * lane : WORD_BITS * (lane + 1)]",
            "self.word.payload[:WORD_BITS]",
        ),
        (
            "one lane that can take its word is enough",
            "Cat(may for may, _ in turns).all()",
            "Cat(may for may, _ in turns).any()",
        ),
        (
            "a chunk ends with the first lane that ends",
            "Cat(last for _, last in turns).all()",
            "Cat(last for _, last in turns).any()",
        ),
        ("an empty lane is waited for", "may.eq(~some | ready", "may.eq(ready"),
        ("an empty lane hands a word on", "words_taken & some &", "words_taken &"),
        (
            "lanes are of PEs in a row",
            "range(lane, self.arch.pes, lanes)",
            "range(lane * self.arch.pes // lanes, (lane + 1) * self.arch.pes // lanes)",
        ),
        (
            "a lane begins where the chunk before ended",
            "with m.If(counts_taken):\n            m.d.sync += target.eq(0)",
            "with m.If(0):\n            m.d.sync += target.eq(0)",
        ),
    ],
    "port": [
        ("a credit too many", "(depth + 1), init=depth, name", "(depth + 2), init=depth + 1, name"),
        ("a pass without repeats is read", "(following.repeats == 0)", "0"),
        (
            "a list one word too long",
            "self.table_read.address >= self.filled",
            "self.table_read.address > self.filled",
        ),
        ("a pass is not repeated", "again.eq(taken & (left == 1) & (repeats != 1))", "again.eq(0)"),
        (
            "address goes on without the request being taken",
            "taken.eq(self.request.valid & self.request.ready)",
            "taken.eq(self.request.valid)",
        ),
    ],
    "apu": [
        ("full PEs are not waited for", "(valid & ~(receivers & self.full).any())", "(valid)"),
        (
            "columns by the offset of the rows",
            "columns, segment.offset_x",
            "columns, segment.offset_y",
        ),
        ("the last column of the tile is left out", "entry.column <", "entry.column + 1 <"),
        (
            "K = 1 at stride 2 wants what lies between",
            "(entry.column < columns.end) & ~between",
            "(entry.column < columns.end)",
        ),
        (
            "no kernel at stride 2 wants what lies between",
            "                & (work.kernel == 0)\n",
            "",
        ),
        (
            "K = 1 at stride 1 wants every other position",
            "between.eq(\n                segment.log_stride\n",
            "between.eq(\n                1\n",
        ),
        (
            "rows between are those of the map before the pool",
            "(row >> segment.log_average)[0]",
            "row[0]",
        ),
        ("columns between do not know of the tile", "[0] ^ columns.distance[0]", "[0]"),
        (
            "the last lane of an entry is dropped",
            "current.valid | (free & ~rest.any())",
            "current.valid | free",
        ),
        ("D has always room", "room.eq(after != 3)", "room.eq(1)"),
        ("D has two places", "room.eq(after != 3)", "room.eq(after != 2)"),
        ("what is read is lost while D waits", "with m.Elif(~second.valid):", "with m.Elif(0):"),
        ("what is dropped waits for the lane stage", "(~takes | lane_free)", "(lane_free)"),
        ("D forgets that its second was one", "second.valid & arrived", "arrived"),
        ("a lane is picked over one that waits", "free.eq(~valid | sends)", "free.eq(1)"),
    ],
    "decoder": [
        (
            "row addresses ignore the block's stride",
            "behind.address.eq(behind.address + work.segment.block_stride)",
            "behind.address.eq(behind.address + work.segment.width)",
        ),
        ("a row too many", "behind.row + 1 < self.end", "behind.row < self.end"),
        ("a count is that of the row behind", "left.eq(self.count)", "left.eq(self.count + 1)"),
        ("a row without entries has some", "some.eq(self.count.any())", "some.eq(1)"),
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
        (
            "what waits is passed by",
            "Mux(fifo.r.valid, fifo.r.payload, shift[:used])",
            "shift[:used]",
        ),
        ("a word that waits is lost", "(fifo.r.valid | ~self.ready)", "fifo.r.valid"),
        ("room for a block too many", "claimed != most", "claimed != most + 1"),
        ("over with the last block's first word", "(at == words - 1)),", "(at == 0)),"),
    ],
    "logit_writer:port128": [
        ("a block moves on by 64 bits", "shift >> used", "shift >> 64"),
    ],
    "tiles": [
        ("the last tile is not clipped", "Mux(ends_row, next_rows, tile_height)", "tile_height"),
        ("a map that ends with a tile gets another", "next_columns <=", "next_columns <"),
        (
            "all groups have the first one's map",
            "Mux(self.rewind, 0, layer.region)",
            "0",
        ),
        (
            "the next tile begins with the last group's map",
            "next_offset.eq(0),\n                next_left.eq(self.left + tile_width)",
            "next_left.eq(self.left + tile_width)",
        ),
        (
            "a pass ends with the first group of its last tile",
            "last_round.eq(ends_row & ends_column & ends_batch & ends_group)",
            "last_round.eq(ends_row & ends_column & ends_batch)",
        ),
        (
            "a pass ends with the first part of the batch",
            "last_round.eq(ends_row & ends_column & ends_batch & ends_group)",
            "last_round.eq(ends_row & ends_column & ends_group)",
        ),
        (
            "the images of a round share the accumulators",
            "self.first_row + image_rows(layer)",
            "self.first_row",
        ),
        (
            "the images of a round share a map",
            "layer.region), layer.image_region)",
            "layer.region), 0)",
        ),
        (
            "behind a chunk comes the next group",
            "ends_round.eq(self.last_image & ~self.rewind)",
            "ends_round.eq(self.last_image)",
        ),
        (
            "a round has an image less",
            "next_image == (1 << layer.log_images) - 1",
            "next_image == (1 << layer.log_images) - 2",
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
        ("a chunk of no block is none", "(chunk.blocks == 0) |", "0 |"),
        ("a round ends with its first image", "last_chunk & tile.last_image),", "last_chunk),"),
        (
            "a half is free behind the first image",
            "tile.last_round) & tile.last_image)",
            "tile.last_round))",
        ),
        ("each image has a chunk of its own", "with m.If(tile.last_image):", "with m.If(1):"),
        ("any kernel is the layer's", "~layer.kernels.bit_select(chunk.kernel, 1)", "0"),
        (
            "a chunk is looked at before it is there",
            "Mux(arrived, unfit, 0)",
            "Mux(arrives, unfit, 0)",
        ),
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
            "(behind == wait - 1),",
            "(behind == wait - 2),",
        ),
        (
            "a row gets the carry of the one behind it",
            "for n in range(late)",
            "for n in range(late + 1)",
        ),
        ("a tile's last row is left out", "(top | layer.pool) ==", "(top | layer.pool) + 2 >="),
        ("high and low half of a bias swapped", "(phase[0])", "(~phase[0])"),
    ],
    "drain:shared": [
        (
            "a position takes a cycle less",
            "carries=carries) - 1 for last",
            "carries=carries) - 2 for last",
        ),
        (
            "a position that carries takes as long as others",
            "Mux(carries, carrying[0], plain[0])",
            "plain[0]",
        ),
        (
            "a result that carries takes as long as others",
            "Mux(carries, carrying[1], plain[1])",
            "plain[1]",
        ),
        (
            "a neuron has the group of the round behind",
            "            with m.If(item):\n                m.d.sync += group",
            "            m.d.sync += group",
        ),
    ],
    "control": [
        (
            "an abort is ignored while it runs",
            "self.abort | (self.stopped != 0)",
            "self.stopped != 0",
        ),
        ("rows are not cleared behind an abort", "phase.eq(Phase.CLEAN)", "phase.eq(Phase.IDLE)"),
        (
            "the last row is not cleared",
            "quiet < self.arch.accumulators",
            "quiet + 1 < self.arch.accumulators",
        ),
        (
            "an answer of before the reset is overlooked",
            "with m.If(self.answers):",
            "with m.If(0):",
        ),
        (
            "a stop does not wait for answers",
            "quiet.eq(0)\n                with m.If(~self.pending):",
            "quiet.eq(0)\n                with m.If(1):",
        ),
        (
            "a table that was filled in part counts",
            "phase == Phase.FILL) | (phase",
            "phase == Phase.IDLE) & (phase",
        ),
        ("a fault is done", "self.done.eq(0), ", ""),
        ("results are not waited for", "~self.running & self.written", "~self.running"),
        (
            "the watchdog outweighs a fault",
            "Mux(found != 0, found, Mux(self.barks, Fault.WATCHDOG, 0))",
            "Mux(self.barks, Fault.WATCHDOG, found)",
        ),
        (
            "a table larger than there is is filled",
            "self.table_words > self.arch.table_words",
            "0",
        ),
        (
            "an abort is taken for a fault",
            "with m.If(self.watches & ~self.abort):",
            "with m.If(self.watches):",
        ),
        (
            "the end of what was stopped is watched, too",
            "& (phase != Phase.CLEAN) & (phase != Phase.STOP)",
            "& (phase != Phase.CLEAN)",
        ),
        (
            "what comes next begins a cycle before it has been quiet",
            "quiet == quiet_cycles(self.arch) - 1",
            "quiet == quiet_cycles(self.arch) - 2",
        ),
    ],
    "control:port256": [
        ("a word of the port is one of the table", "(lane == lanes - 1) |", "1 |"),
        (
            "a table ends with a whole word of the port",
            " | (filled + 1 == self.table_words)",
            "",
        ),
    ],
    "registers": [
        (
            "an abort waits until nothing runs",
            "self.abort.eq(control & abort)",
            "self.abort.eq(control & abort & ~self.busy)",
        ),
        ("a start in an abort", "control & ~self.busy & ~abort", "control & ~self.busy"),
        ("the layer of a fault goes on", "Mux(fault != 0, layer, self.number)", "self.number"),
        (
            "a start keeps the fault",
            "self.start | self.fill | self.abort",
            "self.fill | self.abort",
        ),
    ],
    "watchdog": [
        ("an event is overlooked", "self.event | ~self.watches", "~self.watches"),
        ("a limit of 0 is one", "(self.limit != 0) &", "1 &"),
        ("counts while nobody waits", "self.event | ~self.watches", "self.event"),
        ("barks a cycle early", "count.eq(0)", "count.eq(1)"),
        ("barks at nobody", "self.watches & (self.limit", "(self.limit"),
        ("stops to bark", "with m.Elif(~self.barks):", "with m.Else():"),
    ],
    "sequencer": [
        ("a threshold of 0 is none", "(layer.threshold == 0)", "0"),
        (
            "a list of chunks one word too long",
            "chunks_end > self.filled",
            "chunks_end > self.filled + 1",
        ),
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
        ("the input ends with the first image", "& last_group & last_image", "& last_group"),
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

ELSEWHERE: list[tuple[str, str, str, str, str]] = [
    (
        component,
        "of several faults the last is told",
        "sorted(reasons, reverse=True)",
        "sorted(reasons)",
        "faults",
    )
    for component in ("sequencer", "broadcasts")
]
"""In files of which several components are made; the file comes last."""

FAULTS = [
    *(Fault(name, *edit) for name, edits in EDITS.items() for edit in edits),
    *(Fault(*edit) for edit in ELSEWHERE),
]


@cache
def verilog(fault: Fault) -> str:
    """Verilog of the bench's component with the fault in it; it is kept in `BUILD`."""
    sources = [*rtl.FILES.values(), bench.ROOT / "core" / "evenspike_core" / "arch.py"]
    name, _, variant = fault.component.partition(":")
    sources.append(bench.ROOT / "tests" / "hw" / "benches" / f"{name}.py")
    text = "".join(path.read_text() for path in sources) + variant + fault.edited()
    kept = (
        BUILD
        / f"{fault.component.replace(':', '-')}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.v"
    )
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
