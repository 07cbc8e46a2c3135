"""The whole accelerator: all blocks step, then the clock ticks."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import numpy as np
import numpy.typing as npt

from evenspike_core.arch import Arch
from evenspike_core.fixed import mask_type
from evenspike_core.pack import Descriptor, Packed
from tests.helpers.stepped.apu import Apu, SpikeMemory
from tests.helpers.stepped.collector import Collector
from tests.helpers.stepped.drain import Drain
from tests.helpers.stepped.input import Input, input_places, input_words
from tests.helpers.stepped.loader import Loader, Port
from tests.helpers.stepped.order import schedule
from tests.helpers.stepped.parallel_drain import ParallelDrain
from tests.helpers.stepped.pe import Pe
from tests.helpers.stepped.sequencer import Sequencer
from tests.helpers.stepped.shared_drain import SharedDrain
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
    masks: npt.NDArray[np.unsignedinteger[Any]]
    logits: npt.NDArray[np.int64] | None = None


class Machine:
    """The accelerator, with a network in its memory and the spikes of an input at the head of it.

    spikes: masks [channels, height, width] of the first layer, of all timesteps; of a batch of
    images with an axis of them in front.

    shuffle: a seed; the blocks then step in another order in every cycle, which must not matter.
    """

    def __init__(
        self,
        packed: Packed,
        spikes: npt.NDArray[np.unsignedinteger[Any]],
        shuffle: int | None = None,
    ) -> None:
        self.packed = packed
        self.arch: Arch = packed.arch
        self.clock = Clock()
        self.plan = schedule(packed)
        order = list(input_places(packed))
        words = list(input_words(packed, spikes, order))
        self.memory = SpikeMemory(self)
        self.port = Port(self, words + self.plan.words)
        self.loader = Loader(self, len(words))
        self.pes = [Pe(self, number) for number in range(self.arch.pes)]
        self.apu = Apu(self)
        self.input = Input(self, order)
        shared = SharedDrain if self.arch.lif_shared else Drain
        self.drain: Drain = (ParallelDrain if self.arch.lif_parallel else shared)(self)
        self.collector = Collector(self)
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
                trace.logits = self.logits(layer)
            found.append(trace)
        return found

    def step(self) -> None:
        blocks: list[Port | Loader | Pe | Apu | Input | Drain | Collector | Sequencer] = [
            self.port,
            self.loader,
            *self.pes,
            self.apu,
            self.input,
            self.drain,
            self.collector,
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
        if drain.at.q is not None or self.input.block.q is not None:
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

    def logits(self, layer: Descriptor) -> npt.NDArray[np.int64]:
        """What the last layer's groups give together."""
        values = []
        for image, number in product(range(self.packed.batch), range(layer.filters)):
            groups = [self.drain.logits[image, n, number] for n in range(self.packed.groups)]
            values.append(groups[-1] if layer.readout == "membrane" else sum(groups))
        found = np.array(values, dtype=np.int64).reshape(self.packed.batch, -1)
        return found if len(found) > 1 else found[0]

    def masks(self, layer: Descriptor) -> npt.NDArray[np.unsignedinteger[Any]]:
        """The layer's spikes out of the spike memory, [filters, H, W], of a batch with an axis of
        images in front; zeros for the last layer.
        """
        images = [self._image(layer, image) for image in range(self.packed.batch)]
        return np.stack(images) if len(images) > 1 else images[0]

    def _image(self, layer: Descriptor, image: int) -> npt.NDArray[np.unsignedinteger[Any]]:
        height, width = layer.size[0] // layer.pool, layer.size[1] // layer.pool
        kind = mask_type(self.packed.timesteps)
        dense = np.zeros((layer.filters, height, width), dtype=kind)
        if layer.last:
            return dense
        steps = self.arch.timesteps
        for group, (block, lanes) in product(
            range(self.packed.groups), list(enumerate(layer.blocks.tolist()))
        ):
            for y in range(height):
                first = layer.spike_base + self.memory.map(image, group)
                row = first + self.memory.behind(block * height + y, width)
                entries = self.memory.entries.cells[row : row + self.memory.counts.cells[row]]
                assert all(a[0] < b[0] for a, b in pairwise(entries)), "columns do not ascend"
                for column, masks in entries:
                    for number, mask in zip(lanes, masks, strict=True):
                        if number >= 0:
                            dense[number, y, column] |= kind.type(mask << group * steps)
        return dense


def run(packed: Packed, spikes: npt.NDArray[np.unsignedinteger[Any]]) -> list[LayerTrace]:
    return Machine(packed, spikes).run()
