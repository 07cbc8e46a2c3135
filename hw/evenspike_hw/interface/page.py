"""Page: ports, protocols, registers and the table's words in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from evenspike_core.arch import Arch
from evenspike_hw.interface.fields import fields
from evenspike_hw.interface.ports import Port
from evenspike_hw.rtl.control import quiet_cycles
from evenspike_hw.rtl.descriptor import RECORDS
from evenspike_hw.rtl.faults import Fault
from evenspike_hw.rtl.registers import CONTROL, MEANING, Register, Status

_PROTOCOLS = """\
## Protocols

One clock. Every signal is sampled at its rising edge.

- **Registers.** A write happens in the cycle of `registers__write`; `registers__read` has the
  addressed register in the next. There is no stall. Writes are ignored while busy, but for `ABORT`.
- **Reads.** A request is taken in a cycle in which `memory__request__valid` and
  `memory__request__ready` are 1.
  Answers come in the order of the requests, in any later cycle, at most one a cycle, and at most
  {depth} are open. An answer cannot be held off: there is always room for it.
- **Writes.** A word of results is taken in a cycle in which `memory__write__valid` and
  `memory__write__ready` are 1.
  Held off for long, the accelerator waits; it is busy until the last word was taken.
- **Reset.** `rst` may come at any time. A memory that it does not reset may go on to answer what
  it was asked before; the accelerator is busy until it has heard nothing of it for {quiet} cycles.
  With longer gaps between these answers the host waits for the last of them before it starts. A
  request that was not taken is gone after `rst`, `ABORT`, a fault or a start; a write after the
  first three.
- **Memory** is of words as wide as the port, and all addresses count words. The table's words have
  64 bits; those of a wider memory hold several, the lowest bits first.

## A run

1. Write table, weight stream and the input's spikes to memory. `MemoryMap` of
   `evenspike_hw.engine.host` gives these words, and their addresses, for what `evenspike.pack`
   has made for this Arch; `input_words` beside it says how the input lies in them.
2. Write `TABLE`, `TABLE_WORDS`, then `FILL` to `CONTROL`; wait until `BUSY` is 0.
3. Write `INPUT`, `WEIGHTS`, `LOGITS`, `PASS_BASE`, then `START`; wait until `BUSY` is 0.
4. `DONE` says that it ended, `ERROR` that it stopped, `CYCLES` how long it took. The results lie at
   `LOGITS`. For the next input begin at 3.

Behind `rst` it is busy for {quiet} cycles, in which it clears its accumulators; behind `ABORT` and
a fault as well, and before them until the memory has given all that it owes. If it owes for ever,
only `rst` helps. After `ABORT` and a fault the table is as it was, but for one that was being
filled: that counts as empty, as it does after `rst`.
"""

_MADE = "Made by `evenspike verilog`."

_ORDER = (
    "Bits count from bit 0 of a record's first word. Descriptors of layers come first, then the "
    "list of passes, then the chunk lists."
)


def _pes(arch: Arch) -> str:
    """How many PEs, and what a host has to know of several clusters."""
    if arch.clusters == 1:
        return f"{arch.pes} PEs"
    return (
        f"{arch.clusters} clusters of {arch.pes} PEs (the input has the images of one cluster "
        "behind those of another; of the results word n of cluster c is at "
        f"LOGITS + {arch.clusters} n + c)"
    )


def page(arch: Arch, ports: Iterable[Port]) -> str:
    """The text for the Arch, of the ports that its Verilog has."""
    parts = [
        f"# evenspike, Arch {arch.preset}",
        f"Digest `{arch.digest}`; {_pes(arch)}, {arch.timesteps} timesteps at once. {_MADE}",
        "## Ports",
        _table(
            ("port", "direction", "bits", "what"),
            ((f"`{one.name}`", one.direction, one.width, one.meaning) for one in ports),
        ),
        _PROTOCOLS.format(depth=arch.stream_depth, quiet=quiet_cycles(arch)).rstrip(),
        "## Registers",
        _table(
            ("number", "name", "what"),
            ((one.value, f"`{one.name}`", MEANING[one]) for one in Register),
        ),
        "Written to `CONTROL`:",
        _table(
            ("bit", "command", "what"),
            ((bit, f"`{name}`", says) for name, (bit, says) in CONTROL.items()),
        ),
        "Read from it:",
        _table(
            ("bit", "name", "what"), ((one.value, f"`{one.name}`", one.meaning) for one in Status)
        ),
        "Read from `FAULT`:",
        _table(
            ("code", "name", "why it has stopped"),
            ((one.value, f"`{one.name}`", one.meaning) for one in Fault),
        ),
        "## The table",
        _ORDER,
    ]
    for kind in RECORDS:
        parts += [
            f"### A {kind}",
            _table(
                ("bits", "field", "signed", "what"),
                (
                    (
                        f"{one.bit + one.width - 1}:{one.bit}",
                        f"`{one.name}`",
                        "yes" if one.signed else "",
                        one.meaning,
                    )
                    for one in fields(kind)
                ),
            ),
        ]
    return "\n\n".join(parts) + "\n"


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
