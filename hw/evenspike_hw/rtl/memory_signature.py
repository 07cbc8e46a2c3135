"""Memory signature: the port between the accelerator and a memory of words."""

from __future__ import annotations

from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out


class MemorySignature(wiring.Signature):
    """Reads that are answered in order, and writes; from the side that asks.

    address_bits: of an address, which counts words. word_bits: of a word.

    request: a stream of addresses to read; taken in a cycle of `valid` and `ready`.
    response: the answer to the oldest request that is open, in a cycle of `valid`; a cycle after
        the request at the earliest, one a cycle. It cannot be held off: who asks has room for it.
    write: `data` goes to `address`; taken in a cycle of `valid` and `ready`, until which both stay.

    What was offered and not taken may be withdrawn where the side that asks is reset: the
    accelerator does so on `rst`, ABORT, a fault and, with requests, a start.

    No `ready` depends on a `valid` of the same cycle on the accelerator's side. What a read finds
    of a word that is written before its answer is not defined.
    """

    def __init__(self, address_bits: int, word_bits: int) -> None:
        self.address_bits = address_bits
        self.word_bits = word_bits
        super().__init__(
            {
                "request": Out(stream.Signature(address_bits)),
                "response": In(wiring.Signature({"valid": Out(1), "payload": Out(word_bits)})),
                "write": Out(
                    wiring.Signature(
                        {
                            "valid": Out(1),
                            "ready": In(1),
                            "address": Out(address_bits),
                            "data": Out(word_bits),
                        }
                    )
                ),
            }
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MemorySignature):
            return NotImplemented
        return (self.address_bits, self.word_bits) == (other.address_bits, other.word_bits)

    def __hash__(self) -> int:
        return hash((self.address_bits, self.word_bits))
