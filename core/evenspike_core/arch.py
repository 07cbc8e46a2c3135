"""Arch: the one source of every parameter of the accelerator, its presets and its digest.

Software computes in it, the cycle model runs it, and the RTL is elaborated from it. Only what a
designer may choose is a field; everything else is derived here, once.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from evenspike_core.errors import EvenspikeError
from evenspike_core.fixed import ACCUMULATOR_BITS, WEIGHT_BITS

PID_BITS = {1: 1, 3: 4, 5: 5, 7: 6}
"""Bits of the PID field of a weight token, by kernel size. The all-ones PID is never a kernel
position: it marks a skip token."""

TOKEN_BITS = 8
COUNT_BITS = 8
"""Bits of the number of port words that a PE takes of one chunk."""

HEADER_UNITS = {1: 1, 3: 1, 5: 2, 7: 4}
"""16-bit units that a kernel header (slot and WSP) takes in the scratchpad, by kernel size."""

SLOTS_MAX = 64
"""Filters per PE and pass that the 6-bit slot field of a kernel header can tell apart."""


@dataclass(frozen=True)
class Arch:
    """Parameters of the accelerator (u-Ticket section IV-B where nothing else is said).

    pes: processing elements; as many lanes has a spike block, so a power of two.
    timesteps: AND gates of a PE. One matched weight meets all timesteps of a neuron in a cycle.
    accumulators: neurons of a PE; each is a row of `timesteps` partial sums of 24 bits.
    scratchpad_words: 16-bit words of the scratchpad: two halves of a weight and a header bank.
    header_words: 16-bit words of one header bank; the rest of a half is its weight bank.
    chunk_blocks: channels of a chunk, in blocks of `pes`: the depth of the PE's channel table.
    fifo_depth: activations that each PE's FIFO decouples from the broadcast.
    match_depth: matched header pairs that wait for the gates.
    slots: upper bound of the filters that a PE works on in one pass (1 in the paper).
    port_bits: width of the one memory port; one word a cycle.
    memory_latency: cycles from a request on the port to its word.
    stream_depth: words of the loader's FIFO behind the port; its credits.
    spike_entries: CSR entries (one position of `pes` channels) of the on-chip spike memory.
    table_words: 64-bit words of the table memory: layer descriptors, passes and chunks.
    clock_mhz: only turns cycles into seconds and leakage into energy.
    """

    preset: str = "packed"
    pes: int = 16
    timesteps: int = 4
    accumulators: int = 256
    scratchpad_words: int = 1024
    header_words: int = 224
    chunk_blocks: int = 8
    fifo_depth: int = 64
    match_depth: int = 4
    slots: int = SLOTS_MAX
    port_bits: int = 64
    memory_latency: int = 16
    stream_depth: int = 32
    spike_entries: int = 8192
    table_words: int = 1024
    clock_mhz: float = 400.0

    def __post_init__(self) -> None:
        limits = {
            "pes": (1, 64),
            "timesteps": (1, 8),
            "accumulators": (4, 4096),
            "scratchpad_words": (256, 65536),
            "header_words": (8, self.scratchpad_words // 2 - 64),
            "chunk_blocks": (1, 256),
            "fifo_depth": (1, 4096),
            "match_depth": (1, 64),
            "slots": (1, SLOTS_MAX),
            "port_bits": (64, 64),
            "memory_latency": (1, 1024),
            "stream_depth": (1, 4096),
            "spike_entries": (1, 1 << 24),
            "table_words": (64, 1 << 16),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise EvenspikeError(f"Arch {name} is {value!r}, possible are {low} to {high}")
        for name in ("pes", "accumulators", "scratchpad_words", "slots"):
            if getattr(self, name).bit_count() != 1:
                raise EvenspikeError(f"Arch {name} is {getattr(self, name)}, not a power of two")
        if not 0 < self.clock_mhz <= 1e5:
            raise EvenspikeError(
                f"Arch clock_mhz is {self.clock_mhz}, possible are above 0 to 100000"
            )

    @property
    def weight_words(self) -> int:
        """16-bit words of one weight bank of the scratchpad."""
        return self.scratchpad_words // 2 - self.header_words

    @property
    def chunk_channels(self) -> int:
        return self.chunk_blocks * self.pes

    @property
    def port_words(self) -> int:
        """16-bit words that the memory port brings in a cycle."""
        return self.port_bits // 16

    @property
    def current_words(self) -> int:
        """Port words of one block of host currents: `pes` currents of 24 bits."""
        return -(-self.pes * ACCUMULATOR_BITS // self.port_bits)

    @property
    def logit_words(self) -> int:
        """Port words of one block of logits: `pes` of 32 bits."""
        return -(-self.pes * 32 // self.port_bits)

    @property
    def drain_latency(self) -> int:
        """Cycles from the last accumulator read to the last spike in memory.

        Accumulator read, one LIF stage a timestep, OR-pool, CSR write.
        """
        return self.timesteps + 3

    @property
    def digest(self) -> str:
        """First 12 hex digits of a SHA-256 over every field but the preset's name."""
        fields = dataclasses.asdict(self)
        del fields["preset"]
        fields["clock_mhz"] = float(self.clock_mhz)
        text = json.dumps(fields | {"weight_bits": WEIGHT_BITS}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


PRESETS = {
    "packed": Arch(),
    "paper": Arch(preset="paper", slots=1),
}
"""`packed`: as many filters per pass as accumulators and scratchpad hold. `paper`: one filter per
PE and a barrier after each group of 16 filters, on the same 16 PEs."""


def preset(text: str) -> Arch:
    """The Arch that `text` names: a preset, and fields that differ from it.

    "packed", or "packed,pes=4,fifo_depth=16". Raises EvenspikeError that lists what there is, for
    an unknown preset or field, and names the limits for a value.
    """
    name, *changes = text.split(",")
    if name not in PRESETS:
        raise EvenspikeError(f"unknown Arch {name!r}; there are: {', '.join(sorted(PRESETS))}")
    if not changes:
        return PRESETS[name]
    fields = {field.name: field.type for field in dataclasses.fields(Arch)}
    del fields["preset"]
    values: dict[str, Any] = {"preset": text}
    for change in changes:
        field, _, value = change.partition("=")
        if field not in fields:
            raise EvenspikeError(f"Arch has no field {field!r}; there are: {', '.join(fields)}")
        try:
            values[field] = float(value) if fields[field] == "float" else int(value)
        except ValueError:
            raise EvenspikeError(f"Arch {field} is {value!r}, which is no number") from None
    return dataclasses.replace(PRESETS[name], **values)
