"""Arch: the one source of every parameter of the accelerator, its presets and its digest.

Software computes in it, the cycle model runs it, and the RTL is elaborated from it. Only what a
designer may choose is a field; everything else is derived here, once.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from evenspike_core.errors import EvenspikeError
from evenspike_core.fixed import WEIGHT_BITS

PID_BITS = {1: 1, 3: 4, 5: 5, 7: 6}
"""Bits of the PID field of a weight token, by kernel size. The all-ones PID is never a kernel
position: it marks a skip token."""

TOKEN_BITS = 8
COUNT_BITS = 8
"""Bits of the number of words that a PE takes of one chunk."""

BIAS_BITS = 12
"""Bits of each of the two units that a bias takes, in the stream and in the weight bank."""

WORD_BITS = 64
"""Bits of a PE's word of the weight stream."""

UNIT_BITS = {4: 12, 8: 16, 16: 16}
"""Bits of a unit of the weight stream, by the width of its weights: a token and a weight of 4 or 8
bits, or a weight of 16 bits, or two tokens of such."""

BESIDE_BITS = (4, 8)
"""Widths of weights that share a unit with their token."""

WORD_UNITS = {weight: WORD_BITS // bits for weight, bits in UNIT_BITS.items()}
"""Units of a PE's word of the weight stream, by the width of its weights."""

HEADER_UNITS = {1: 1, 3: 1, 5: 2, 7: 4}
"""16-bit units that a kernel header (slot and WSP) takes in the scratchpad, by kernel size."""

FILTER_SIDE = 3
"""Largest kernel side whose patterns the filter in front of a PE's FIFO knows."""

KERNEL_MAX = max(HEADER_UNITS)
"""Largest kernel side that an Arch can be built for."""

SLOTS_MAX = 64
"""Filters per PE and pass that the 6-bit slot field of a kernel header can tell apart."""

ACCUMULATORS_MAX = 4096

TIMESTEPS, WEIGHTS = "timesteps", "weights"
GATES = (TIMESTEPS, WEIGHTS)
"""What the AND gates of a PE are: one for each timestep of one weight, or one for each of four
weights of one timestep."""

GATE_WEIGHTS = 4
"""Gates of a PE where they are weights (u-Ticket section IV-B)."""

WINDOW = 4
"""Side of the window of neurons of which each has a bank of the accumulators to itself, where the
gates are weights."""

IMPLIED: dict[str, Any] = {"timesteps": 1, "issue": 1, "slots": 1}
"""What an Arch whose gates are weights has: one timestep at a time, of one filter. The selection is
of `GATE_WEIGHTS` then, and a fetch brings what it brings for one weight."""

ROWS_OF_A_BANK = 4
"""Of the accumulators, at least, where the gates are weights."""

# What the descriptors of layers have room for, whatever the Arch.
LAYERS_MAX = 256
MAP_MAX = 256
"""Side of a layer's map."""
ENTRIES_MAX = 1 << 24
"""Entries of the spike memory that an address reaches."""
BATCH_MAX = 64
"""Images that go through the network together."""
DESCRIPTOR_WORDS = 8
CHUNK_WORDS = 2
"""64-bit words of the table memory that a layer descriptor, and a chunk, take."""
TABLE_BITS = {"loads": 24, "passes": 12, "chunks": 12, "repeats": 16}
"""Widths of the fields that a network can outgrow. loads: times that a layer's chunks are loaded,
or the words of the input's spikes. repeats: times that a pass is read, one for each tile, group of
timesteps and part of the batch."""

WEIGHTS_MIN = 64
"""16-bit words of a weight bank, at least."""
CLOCK_MAX = 100_000


def _range(
    default: int,
    low: int,
    high: int | None,
    *,
    power: bool = False,
    odd: bool = False,
    added: bool = False,
) -> int:
    """A field of whole numbers; `high` None: what the scratchpad leaves. power: of two. added: to
    Archs that were there without it, whose digest it leaves as it was (`Arch.digest`).
    """
    metadata = {"low": low, "high": high, "power": power, "odd": odd, "added": added}
    found: int = field(default=default, metadata=metadata)
    return found


@dataclass(frozen=True)
class Arch:
    """Parameters of the accelerator (u-Ticket section IV-B where nothing else is said).

    docs/arch.md says what each costs and what limits what.

    pes: processing elements; as many lanes has a spike block, so a power of two.
    timesteps: AND gates of a PE. One matched weight meets so many timesteps of a neuron in a cycle;
        a network of more runs in groups of them, whose spikes share the spike memory equally.
    accumulators: neurons of a PE; each is a row of `timesteps` partial sums of 24 bits.
    scratchpad_words: 16-bit words of the scratchpad: two halves of a weight and a header bank.
    gates: "timesteps": a matched weight meets the spikes of all timesteps of a group at once.
        "weights", the paper's own reading: up to four matched weights meet one timestep of an
        activation, each with a bank of the accumulators; the group is of one timestep, and a PE has
        one filter a pass.
    header_words: 16-bit words of one header bank; the rest of a half is its weight bank.
    chunk_blocks: channels of a chunk, in blocks of `pes`: the depth of the PE's channel table.
    fifo_depth: activations that each PE's FIFO decouples from the broadcast.
    match_depth: fetches of headers on their way to the gates, those that wait there included.
    issue: matched weights that a PE selects a cycle, 1 or 2. With 2, two weights share the adders
        where their spikes leave room, and a fetch brings twice the headers.
    lane_depth: weights that wait for each adder where two are selected a cycle.
    slots: upper bound of the filters that a PE works on in one pass (1 in the paper).
    port_bits: width of the one memory port; one word a cycle. It brings a word of the weight stream
        to each of port_bits / 64 PEs.
    address_bits: width of an address of the memory, which counts words of the port.
    memory_latency: cycles from a request on the port to its word.
    stream_depth: words of the loader's FIFO behind the port; its credits.
    spike_entries: CSR entries (one position of `pes` channels) of the on-chip spike memory.
    row_entries: entries that a row of a map has at least, so that there is a row count for so many.
    table_words: 64-bit words of the table memory: layer descriptors, passes and chunks.
    kernel_max: largest kernel side that the PEs are built for. No cycle depends on it.
    lif_shared: 1: a PE works off its neurons' timesteps one after the other in one stage, instead
        of a neuron a cycle in two stages a timestep.
    lif_parallel: 1: a PE has a LIF unit for each of its neurons, with a membrane register, and all
        step at once; only where the gates are weights.
    clusters: arrays of `pes` PEs each, with an APU, a spike memory, a drain and a collector of
        their own, which take the words of the one weight stream at the same time, each for its
        own images of a batch.
    clock_mhz: only turns cycles into seconds and leakage into energy.
    """

    preset: str = "packed"
    pes: int = _range(16, 1, 64, power=True)
    timesteps: int = _range(4, 1, 8)
    gates: str = field(default=TIMESTEPS, metadata={"added": True})
    accumulators: int = _range(256, 4, ACCUMULATORS_MAX, power=True)
    scratchpad_words: int = _range(1024, 256, 65536, power=True)
    header_words: int = _range(224, 8, None)
    chunk_blocks: int = _range(8, 1, 256)
    fifo_depth: int = _range(64, 1, 4096)
    match_depth: int = _range(8, 1, 64)
    issue: int = _range(2, 1, 2)
    lane_depth: int = _range(32, 8, 64, power=True)
    slots: int = _range(SLOTS_MAX, 1, SLOTS_MAX, power=True)
    port_bits: int = _range(64, WORD_BITS, 256, power=True)
    address_bits: int = _range(32, 8, 32)
    memory_latency: int = _range(16, 1, 1024)
    stream_depth: int = _range(32, 1, 4096)
    spike_entries: int = _range(8192, 1, ENTRIES_MAX)
    row_entries: int = _range(8, 1, 64, power=True)
    table_words: int = _range(1024, 64, 1 << 16)
    kernel_max: int = _range(KERNEL_MAX, 3, KERNEL_MAX, odd=True)
    lif_shared: int = _range(0, 0, 1)
    lif_parallel: int = _range(0, 0, 1, added=True)
    clusters: int = _range(1, 1, 8, power=True, added=True)
    clock_mhz: float = 400.0

    def __post_init__(self) -> None:
        for one in dataclasses.fields(self):
            if one.type == "int":
                value, (low, high) = getattr(self, one.name), self.limits(one.name)
                if type(value) is not int or not low <= value <= high:
                    raise EvenspikeError(
                        f"Arch {one.name} is {value!r}, possible are {low} to {high}"
                    )
                if one.metadata["power"] and value.bit_count() != 1:
                    powers = [1 << n for n in range(high.bit_length()) if 1 << n >= low]
                    raise EvenspikeError(
                        f"Arch {one.name} is {value}, not a power of two; possible are "
                        f"{', '.join(map(str, powers))}"
                    )
                if one.metadata["odd"] and value % 2 == 0:
                    raise EvenspikeError(
                        f"Arch {one.name} is {value}, not odd; possible are "
                        f"{', '.join(map(str, range(low, high + 1, 2)))}"
                    )
        self._check_gates()
        if self.port_lanes > self.pes:
            raise EvenspikeError(
                f"Arch port_bits is {self.port_bits}, a word for each of {self.port_lanes} PEs, "
                f"and pes is {self.pes}"
            )
        clock = self.clock_mhz
        if type(clock) not in (int, float) or not 0 < clock <= CLOCK_MAX:
            raise EvenspikeError(
                f"Arch clock_mhz is {clock!r}, possible are above 0 to {CLOCK_MAX}"
            )

    def _check_gates(self) -> None:
        if self.lif_parallel and (self.gates != WEIGHTS or self.lif_shared):
            raise EvenspikeError(
                f"Arch lif_parallel=1 needs gates=weights and lif_shared=0, and gates is "
                f"{self.gates}, lif_shared {self.lif_shared}"
            )
        if self.gates not in GATES:
            raise EvenspikeError(f"Arch gates is {self.gates!r}, possible are {', '.join(GATES)}")
        if self.gates == TIMESTEPS:
            return
        for name, wanted in IMPLIED.items():
            if getattr(self, name) != wanted:
                raise EvenspikeError(
                    f"Arch gates=weights needs {name}={wanted}, and {name} is {getattr(self, name)}"
                )
        least = self.window_banks * ROWS_OF_A_BANK
        if self.accumulators < least:
            raise EvenspikeError(
                f"Arch gates=weights needs {least} accumulators, {ROWS_OF_A_BANK} in each of "
                f"{self.window_banks} banks, and accumulators is {self.accumulators}"
            )

    def limits(self, name: str) -> tuple[int, int]:
        """Smallest and largest value of a field of whole numbers, beside this Arch's others."""
        metadata = next(f for f in dataclasses.fields(self) if f.name == name).metadata
        high = metadata["high"]
        return metadata["low"], self.scratchpad_words // 2 - WEIGHTS_MIN if high is None else high

    def warnings(self) -> tuple[str, ...]:
        """Choices that are possible, but cost more than they need to or bring nothing."""
        found = []
        needed, weights, headers = self.memory_latency + 2, self.weight_words, self.header_words
        if self.stream_depth < needed:
            found.append(
                f"stream_depth {self.stream_depth} is below memory_latency + 2 = {needed}: the "
                f"port brings {self.stream_depth} words in {needed} cycles, not one in each"
            )
        if weights > 2 * headers:
            found.append(
                f"header_words {headers} fill before the {weights} weight words of half a "
                f"scratchpad, unless a kernel keeps {weights / headers:.1f} weights: a larger "
                "scratchpad_words brings little without header_words"
            )
        if headers > weights:
            found.append(
                f"header_words {headers} exceed the {weights} weight words of half a scratchpad: "
                "a header has a weight at least, so 1x1 and 3x3 kernels never fill them"
            )
        for name, waits in (("fifo_depth", "broadcast"), ("match_depth", "matcher")):
            if getattr(self, name) == 1:
                found.append(f"{name} 1: the {waits} waits until the entry before has left")
        if self.issue > 1 and self.lane_depth == self.limits("lane_depth")[0]:
            found.append(
                f"lane_depth {self.lane_depth} has no place beside what is under way: weights are "
                "only selected while all lanes are empty"
            )
        return tuple(found)

    @property
    def weight_words(self) -> int:
        """16-bit words of one weight bank of the scratchpad."""
        return self.scratchpad_words // 2 - self.header_words

    @property
    def chunk_channels(self) -> int:
        return self.chunk_blocks * self.pes

    @property
    def ways(self) -> int:
        """Matched weights of a selection, at most; so many banks has the weight bank."""
        return GATE_WEIGHTS if self.gates == WEIGHTS else self.issue

    @property
    def window_banks(self) -> int:
        """Banks of the accumulators where the gates are weights, one for each neuron of a window
        of `WINDOW` x `WINDOW`.
        """
        return WINDOW**2

    @property
    def banks(self) -> int:
        """Banks of the accumulators where two weights are selected a cycle: one an adder, of which
        there are `timesteps`, up to the next power of two.
        """
        return 1 << (self.timesteps - 1).bit_length()

    @property
    def adders(self) -> int:
        """Additions of a PE in a cycle, at most: one a timestep, or one a bank where two weights
        are selected a cycle, or one a gate where the gates are weights.
        """
        if self.gates == WEIGHTS:
            return GATE_WEIGHTS
        return self.timesteps if self.issue == 1 else self.banks

    @property
    def fetch_units(self) -> int:
        """16-bit units of headers that a fetch brings."""
        return 2 * self.issue

    @property
    def port_lanes(self) -> int:
        """PEs that get a word of the stream in a cycle: lane n is of PEs n, n + lanes, ..."""
        return self.port_bits // WORD_BITS

    def row_pitch(self, width: int) -> int:
        """Entries of the spike memory from a row of a map to the next."""
        return max(width, self.row_entries)

    def share(self, batch: int) -> int:
        """Images of a batch that each cluster works on."""
        return batch // self.clusters

    def region(self, timesteps: int, batch: int) -> int:
        """Entries of a cluster's spike memory for each group of so many timesteps, of each image
        of its share of a batch.
        """
        return self.spike_entries // (self.share(batch) * self.groups(timesteps))

    @property
    def all_pes(self) -> int:
        """PEs of all clusters; number `cluster * pes + pe` is that of the cluster."""
        return self.clusters * self.pes

    @property
    def row_counts(self) -> int:
        """Words of the memory of row counts."""
        return -(-self.spike_entries // self.row_entries)

    @property
    def count_words(self) -> int:
        """Port words of the counts of a chunk, one for each PE."""
        return -(-self.pes * COUNT_BITS // self.port_bits)

    @property
    def input_words(self) -> int:
        """Port words of one position of the input: `pes` masks of `timesteps` bits."""
        return -(-self.pes * self.timesteps // self.port_bits)

    @property
    def logit_words(self) -> int:
        """Port words of one block of logits: `pes` of 32 bits."""
        return -(-self.pes * 32 // self.port_bits)

    def position_cycles(self, *, last: bool, carries: bool) -> int:
        """Drain cycles of a position.

        Shared LIF has a cycle for each timestep and, where the round carries, one for what the last
        leaves. The last layer's results take their writes at least, for which the clusters take
        turns.
        """
        neurons = self.timesteps + carries if self.lif_shared else 1
        return max(neurons, self.clusters * self.logit_words) if last else neurons

    @property
    def lif_units(self) -> int:
        """Neurons of a PE that step at once."""
        return self.accumulators if self.lif_parallel else 1

    @property
    def step_cycles(self) -> int:
        """Drain cycles of a round in which all neurons step, between the bias and the first
        position; the bias is read once a round then. 0 where each steps on its own way out.
        """
        return 2 if self.lif_parallel else 0

    @property
    def lif_latency(self) -> int:
        """Cycles from an accumulator read to the spikes and the read-out of its neuron.

        Of parallel LIF it is the neuron that is read, which has stepped before.

        Accumulator read, the neuron's drives, two LIF stages a timestep but one for the first.
        Shared LIF has a cycle a timestep, and one for what a spike leaves of a drive.
        """
        if self.lif_parallel:
            return 1
        return self.timesteps + 3 if self.lif_shared else 2 * self.timesteps + 1

    @property
    def drain_latency(self) -> int:
        """Cycles from the last drain cycle of a layer to the last spike in memory.

        `lif_latency`, less the drain cycles behind the last accumulator read, and the CSR write
        with the OR-pool in front.
        """
        return self.lif_latency + 2 - self.position_cycles(last=False, carries=False)

    @property
    def carry_latency(self) -> int:
        """Cycles from an accumulator read to the write of what its neuron leaves to the next group.

        The last timestep's leak is a stage more and, unless LIF is shared, what leaves it a
        register.
        """
        return self.lif_latency + (1 if self.lif_shared else 2)

    @property
    def carry_cycles(self) -> int:
        """Drain cycles behind the last position of a round that carries; none where membranes stay
        in their registers.
        """
        if self.lif_parallel:
            return 0
        return self.carry_latency + 1 - self.position_cycles(last=False, carries=True)

    @property
    def result_blocks(self) -> int:
        """Blocks of results that are on their way while the memory takes each at once: one that is
        written, and those that leave LIF before it is. Room for so many never makes the drain wait:
        a block is claimed `lif_latency` + 1 cycles before it is offered, and one every
        `position_cycles` or more, in which its cluster has a turn for each of its words.
        """
        return 1 - (-(self.lif_latency + 1) // self.position_cycles(last=True, carries=False))

    def groups(self, timesteps: int) -> int:
        """Groups in which a network of so many timesteps runs."""
        return -(-timesteps // self.timesteps)

    @property
    def digest(self) -> str:
        """First 12 hex digits of a SHA-256 over every field but the preset's name.

        A field that was added to Archs which had a digest already counts only where it is not at
        its default: what was built for one of those is still what it was built for.
        """
        fields = dataclasses.asdict(self)
        del fields["preset"]
        for one in dataclasses.fields(self):
            if one.metadata.get("added") and fields[one.name] == one.default:
                del fields[one.name]
        fields["clock_mhz"] = float(self.clock_mhz)
        text = json.dumps(fields | {"weight_bits": WEIGHT_BITS}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


PRESETS = {
    "packed": Arch(),
    "paper": Arch(preset="paper", gates=WEIGHTS, spike_entries=32768, lif_parallel=1, **IMPLIED),
}
"""`packed`: as many filters per pass as accumulators and scratchpad hold. `paper`: the paper's PE,
four gates that are four weights of one timestep and a LIF unit for each of 256 neurons; one filter
per PE and a barrier after each group of 16 filters, on the same 16 PEs. Its groups are of
one timestep, so the same network has four times the entries of the spike memory, each of a quarter
of the spikes."""


def as_arch(arch: Arch | str) -> Arch:
    """An Arch as it is, or what `preset` makes of its text; raises EvenspikeError for neither."""
    if isinstance(arch, Arch):
        return arch
    if not isinstance(arch, str):
        raise EvenspikeError(f"{arch!r:.60} is no Arch, and no text that names one")
    return preset(arch)


def preset(text: str) -> Arch:
    """The Arch that `text` names: a preset, and fields that differ from it.

    "packed", or "packed,pes=4,fifo_depth=16". With "gates=weights" come the values of `IMPLIED`,
    unless they are named. Raises EvenspikeError that lists what there is, for
    an unknown preset or field, and names the limits for a value.
    """
    base, *changes = text.split(",")
    if base not in PRESETS:
        raise EvenspikeError(f"unknown Arch {base!r}; there are: {', '.join(sorted(PRESETS))}")
    if not changes:
        return PRESETS[base]
    fields = {one.name: one.type for one in dataclasses.fields(Arch)}
    del fields["preset"]
    values: dict[str, Any] = {"preset": text}
    for change in changes:
        name, _, value = change.partition("=")
        if name not in fields:
            raise EvenspikeError(f"Arch has no field {name!r}; there are: {', '.join(fields)}")
        if name in values:
            raise EvenspikeError(f"Arch {name} is given twice: {values[name]} and {value}")
        if fields[name] == "str":
            values[name] = value
            continue
        try:
            values[name] = float(value) if fields[name] == "float" else int(value)
        except ValueError:
            kind = "number" if fields[name] == "float" else "whole number"
            raise EvenspikeError(f"Arch {name} is {value!r}, which is no {kind}") from None
    if values.get("gates") == WEIGHTS:
        values = IMPLIED | values
    return dataclasses.replace(PRESETS[base], **values)
