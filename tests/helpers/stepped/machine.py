"""The whole accelerator: all blocks step, then the clock ticks."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from evenspike_core.arch import Arch
from evenspike_core.pack import Descriptor, Packed
from tests.helpers.stepped.apu import Apu, SpikeMemory
from tests.helpers.stepped.drain import Drain
from tests.helpers.stepped.loader import Loader, Port
from tests.helpers.stepped.order import host_words, places, schedule, tiles
from tests.helpers.stepped.pe import Pe
from tests.helpers.stepped.sequencer import Sequencer
from tests.helpers.stepped.storage import Clock

STATES = ("busy", "starved", "waiting", "loading", "draining")


@dataclass
class LayerTrace:
    """What the stepped model says about one layer; the fields are those of `LayerRun`."""

    name: str
    cycles: int
    busy: list[int]
    starved: list[int]
    waiting: list[int]
    loading: list[int]
    draining: list[int]
    masks: npt.NDArray[np.uint8]
    logits: npt.NDArray[np.int64] | None = None


class Machine:
    """The accelerator, with an image in its memory and the host's currents at the head of it.

    shuffle: a seed; the blocks then step in another order in every cycle, which must not matter.
    """

    def __init__(
        self, packed: Packed, currents: npt.NDArray[np.int32], shuffle: int | None = None
    ) -> None:
        self.packed = packed
        self.arch: Arch = packed.arch
        self.clock = Clock()
        self.plan = schedule(packed)
        host = packed.layers[0]
        order = [
            place
            for number in range(len(host.slots_used))
            for tile in tiles(host)
            for slot in places(host, 0, number, tile)
            for place in slot
        ]
        words = list(host_words(packed, currents, order))
        self.memory = SpikeMemory(self)
        self.port = Port(self, words + self.plan.words)
        self.loader = Loader(self, len(words))
        self.pes = [Pe(self) for _ in range(self.arch.pes)]
        self.apu = Apu(self)
        self.drain = Drain(self, order)
        self.sequencer = Sequencer(self)
        self.cycle = 0
        self._random = None if shuffle is None else np.random.default_rng(shuffle)

    def run(self, limit: int = 1_000_000) -> list[LayerTrace]:
        """Every layer of one inference."""
        found = []
        for index, layer in enumerate(self.packed.layers):
            start = self.cycle
            counts = [dict.fromkeys(STATES, 0) for _ in self.pes]
            while self.sequencer.layer.q == index:
                self.cycle += 1
                assert self.cycle < limit, f"layer {layer.name} does not end"
                for pe, count in zip(self.pes, counts, strict=True):
                    count[self.state(pe)] += 1
                self.step()
            busy, starved, waiting, loading, draining = (
                [count[state] for count in counts] for state in STATES
            )
            span = self.cycle - start
            trace = LayerTrace(
                layer.name, span, busy, starved, waiting, loading, draining, self.masks(layer)
            )
            if layer.last:
                values = [self.drain.logits[n] for n in range(layer.filters)]
                trace.logits = np.array(values, dtype=np.int64)
            found.append(trace)
        return found

    def step(self) -> None:
        blocks: list[Port | Loader | Pe | Apu | Drain | Sequencer] = [
            self.port,
            self.loader,
            *self.pes,
            self.apu,
            self.drain,
            self.sequencer,
        ]
        order = (
            np.arange(len(blocks))
            if self._random is None
            else self._random.permutation(len(blocks))
        )
        for at in order:
            blocks[at].step()
        self.clock.tick()

    def state(self, pe: Pe) -> str:
        """What a PE does in this cycle, from the registers alone."""
        sequencer, drain = self.sequencer, self.drain
        if drain.drains():
            return "draining"
        if sequencer.tail.q or pe.rounds.q > sequencer.drained.q:
            return "waiting"
        if self.packed.layers[sequencer.layer.q].host:
            return "loading"
        if pe.issues():
            return "busy"
        if sequencer.seen.q <= self.plan.works[pe.marked.q].load:
            return "loading"
        return "starved"

    def masks(self, layer: Descriptor) -> npt.NDArray[np.uint8]:
        """The layer's spikes out of the spike memory, [filters, H, W]; zeros for the last layer."""
        height, width = layer.size[0] // layer.pool, layer.size[1] // layer.pool
        dense = np.zeros((layer.filters, height, width), dtype=np.uint8)
        if layer.last:
            return dense
        for block, lanes in enumerate(layer.blocks.tolist()):
            for y in range(height):
                row = layer.spike_base + (block * height + y) * width
                entries = self.memory.entries.cells[row : row + self.memory.counts.cells[row]]
                assert all(a[0] < b[0] for a, b in pairwise(entries)), "columns do not ascend"
                for column, masks in entries:
                    for number, mask in zip(lanes, masks, strict=True):
                        if number >= 0:
                            dense[number, y, column] = mask
        return dense


def run(packed: Packed, currents: npt.NDArray[np.int32]) -> list[LayerTrace]:
    return Machine(packed, currents).run()
