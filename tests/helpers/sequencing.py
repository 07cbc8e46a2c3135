"""Models of what the sequencer is made of: the fetch of descriptors, the start of broadcasts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from evenspike_core.arch import CHUNK_WORDS, Arch
from evenspike_hw.rtl.descriptor import CHUNK, LAYER, LAYER_WORDS
from evenspike_hw.rtl.faults import Fault
from evenspike_hw.rtl.layouts import WORD_BITS, Layouts
from tests.helpers.driver import pack
from tests.helpers.layers import ENTRIES, Layer, Work, chunk_fault, works

WORDS = -(-LAYER.size // WORD_BITS)
CHUNK_MASK = (1 << CHUNK.size) - 1
ADDRESSES = (1 << LAYER["chunk_base"].width) - 1


class FetchModel:
    """Fetch: a list of words still to be read, and of those that have arrived.

    size: of the table's addresses.
    """

    def __init__(self, arch: Arch) -> None:
        self.mask = (1 << (arch.table_words - 1).bit_length()) - 1
        self.number = 0
        self.left = 0  # words of the descriptor that are not read
        self.words = [0] * WORDS
        self.chunk: list[int] = [0, 0]
        self.second: int | None = None  # address of the chunk's second word, in the cycle of it
        self.asks: tuple[str, int] | None = None  # what is read in this cycle, and its address
        self.asked: str | None = None  # what was read in the cycle before

    @property
    def valid(self) -> bool:
        return len(self.words) == WORDS

    def layer(self) -> int:
        """The descriptor, while valid."""
        bits = sum(word << WORD_BITS * n for n, word in enumerate(self.words))
        return bits & (1 << LAYER.size) - 1

    def outputs(self, chunk_address: int | None) -> dict[str, Any]:
        """chunk_address: of the chunk that is to be read in this cycle, if any."""
        self.asks = None
        if chunk_address is not None:
            assert self.second is None
            self.asks = "chunk", chunk_address & self.mask
        elif self.second is not None:
            self.asks = "chunk", self.second & self.mask
        elif self.left:
            at = self.number * LAYER_WORDS + WORDS - self.left
            self.asks = "layer", at & self.mask
        expected = {"valid": int(self.valid)}
        if len(self.chunk) == CHUNK_WORDS:
            expected["chunk"] = (self.chunk[0] | self.chunk[1] << WORD_BITS) & CHUNK_MASK
        if self.valid:
            expected["layer"] = self.layer()
        return expected

    def step(self, table: int, read: int | None) -> None:
        """From this cycle to the next. table: the data that have come. read: a new descriptor."""
        if self.asked == "layer":
            self.words.append(table)
        if self.asked == "chunk":
            self.chunk = [*self.chunk[len(self.chunk) == CHUNK_WORDS and CHUNK_WORDS :], table]
        whole = self.second is not None
        self.second = None
        if self.asks is not None and self.asks[0] == "chunk" and not whole:
            self.second = self.asks[1] + 1
        self.asked = self.asks[0] if self.asks is not None else None
        if self.asked == "layer":
            self.left -= 1
        if read is not None:
            self.number, self.left, self.words = read, WORDS, []
            if self.asked == "layer":
                self.asked = None


class BroadcastModel:
    """Broadcasts: the rule of a start, on counts that do not wrap.

    loads, rounds: given up, and ended, by the broadcasts that have started. chunks: of the layer's
    list. due: from this cycle on the next chunk is fetched. reads: the address read in this cycle.
    fault: why the chunk that came in the cycle before cannot be run.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch, self.broadcast = arch, Layouts(arch).broadcast
        self.fault = Fault.NONE
        self.plan: Iterator[Work] = iter(())
        self.next: Work | None = None
        self.layer: Layer = {}
        self.chunks: list[dict[str, Any]] = []
        self.loads = self.rounds = self.layer_loads = self.layer_rounds = 0
        self.broadcasting = False
        self.now = self.due = 0
        self.reads: int | None = None
        self.work = 0

    def begin(self, layer: Layer, chunks: list[dict[str, Any]], runs: bool = True) -> None:
        """The layer is switched in this cycle. runs: it can be run."""
        self.layer, self.chunks = layer, chunks
        self.plan = works(layer) if runs and not layer["host"] else iter(())
        self.next = next(self.plan, None)
        self.layer_loads, self.layer_rounds = self.loads, self.rounds
        self.due = self.now + 4
        self.reads = None

    @property
    def fetched(self) -> bool:
        return self.next is not None and self.now >= self.due

    def blocked(self, loaded: int, drained: int, ends_round: bool, marker: bool) -> list[str]:
        """What the next broadcast waits for."""
        work = self.next
        assert work is not None
        before = self.layer_rounds + work.round - 2
        found = {
            "fetch": self.now < self.due,
            "loaded": loaded <= self.layer_loads + work.load,
            "marker": self.broadcasting and not marker,
            "drain": drained < before or (drained == before and not ends_round),
        }
        return [name for name, waits in found.items() if waits]

    def outputs(self) -> dict[str, int]:
        expected = {"chunk_read": int(self.reads is not None), "work": self.work}
        expected["fault"] = int(self.fault)
        if self.reads is not None:
            expected["chunk_address"] = self.reads
        return expected

    def step(self, starts: bool, marker: bool, switched: bool) -> None:
        """From this cycle to the next."""
        self.fault = Fault.NONE
        if self.next is not None and self.now == self.due:  # of an image of the chunk, the first
            number = self.next.chunk
            self.fault = chunk_fault(self.arch, self.layer, self.chunks[number], number)
        self.reads = None
        if switched and not self.layer["host"]:
            self.reads = self.layer["chunk_base"]
        if marker:
            self.broadcasting = False
        if starts:
            self._start()
        self.now += 1

    def _start(self) -> None:
        work = self.next
        assert work is not None
        self.broadcasting = True
        chunk = self.chunks[work.chunk]
        fields = {
            "segment": chunk["segment"],
            "kernel": chunk["kernel"],
            "half": (self.layer_loads + work.load) % 2,
            "ends_round": int(work.ends_round),
            "frees": int(work.frees),
            "blocks": chunk["blocks"],
            "entry": chunk["entry"] + work.turn.offset & ENTRIES,
            "top": work.turn.top,
            "left": work.turn.left,
            "height": work.turn.height,
            "width": work.turn.width,
        }
        # Of a chunk that has a fault, the bits that there are; it is not broadcast to its end.
        for name in ("kernel", "blocks"):
            fields[name] &= (1 << self.broadcast[name].width) - 1
        self.work = pack(self.broadcast, fields)
        self.loads += work.frees
        self.rounds += work.ends_round
        self.next = next(self.plan, None)
        if not work.turn.last_image:
            return
        self.due = self.now + 4
        if self.next is not None:
            self.reads = self.layer["chunk_base"] + CHUNK_WORDS * self.next.chunk & ADDRESSES
