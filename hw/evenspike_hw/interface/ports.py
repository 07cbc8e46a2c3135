"""Ports: those of the accelerator's Verilog, in its own names and widths."""

from __future__ import annotations

import re
from dataclasses import dataclass

from evenspike_core.errors import EvenspikeError

MEANING = {
    "clk": "clock; everything is at its rising edge",
    "rst": "synchronous reset, high; busy for some cycles behind it, which clear the accumulators",
    "registers__write": "a register is written",
    "registers__address": "which, and which is read",
    "registers__data": "what is written",
    "registers__read": "the register at the address of the cycle before",
    "memory__request__valid": "a read of one word of memory is asked for",
    "memory__request__payload": "its address, in words; stays until `memory__request__ready`",
    "memory__request__ready": "the memory takes the request in this cycle",
    "memory__response__valid": "the answer to the oldest open request; it cannot be held off",
    "memory__response__payload": "the word that was read",
    "memory__write__valid": "a word of results is to be written",
    "memory__write__address": "its address, in words; stays until `memory__write__ready`",
    "memory__write__data": "the word, likewise",
    "memory__write__ready": "the memory takes the word in this cycle",
    "running": "an inference runs, from its first counted cycle to its last write",
    "number": "of the layer that runs",
    "last_write": "the layer's last result is written",
    "states": "what each PE does in this cycle",
    "entry_write": "what the collector writes into the spike memory: an entry",
    "count_write": "and how many entries a row has",
    "accumulator_overflow": "a bit a PE: a partial sum has saturated in this layer",
    "membrane_overflow": "a bit a PE: a membrane has saturated in this layer",
}
"""Of each port, in words. From `running` on they are for measurements and may stay open."""

_PORT = re.compile(r"^ +(input|output) (?:reg |wire )?(?:\[(\d+):0\] )?(\S+);$", re.MULTILINE)


@dataclass(frozen=True)
class Port:
    """direction: input or output. width: in bits."""

    name: str
    direction: str
    width: int

    @property
    def meaning(self) -> str:
        """In words."""
        return MEANING[self.name]


def ports(verilog: str, top: str) -> list[Port]:
    """The ports of the top module, in the order of `MEANING`.

    Raises EvenspikeError for Verilog in which the module is missing, or has another port.
    """
    _, found, body = verilog.partition(f"\nmodule {top}(")
    if not found:
        raise EvenspikeError(f"no module {top} in the Verilog")
    text = body.partition("\nendmodule")[0]
    listed = {
        name: Port(name, direction, int(high or 0) + 1)
        for direction, high, name in _PORT.findall(text)
    }
    for name in sorted(listed.keys() ^ MEANING.keys()):
        raise EvenspikeError(f"module {top}: port {name} is not described, or not there")
    return [listed[name] for name in MEANING]
