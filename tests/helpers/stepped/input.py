"""The input: spikes that come through the port, a position of `pes` lanes at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from evenspike_core.pack import Packed
from tests.helpers.stepped.order import Place
from tests.helpers.stepped.storage import Reg

if TYPE_CHECKING:
    from tests.helpers.stepped.machine import Machine


def input_places(packed: Packed) -> Iterator[Place]:
    """The positions of the input in the order of the stream."""
    layer = packed.layers[0]
    height, width = layer.size
    for cluster, image, group, block, row, column in product(
        range(packed.arch.clusters),
        range(packed.share),
        range(packed.groups),
        range(len(layer.blocks)),
        range(height),
        range(width),
    ):
        yield Place(0, group, block, 0, 0, row, column, True, True, column == 0, image, cluster)


def input_words(
    packed: Packed, spikes: npt.NDArray[np.unsignedinteger[Any]], order: Sequence[Place]
) -> Iterator[int]:
    """The input's part of the stream: the masks of `pes` lanes a position, low lane first.

    spikes: [channels, H, W], of a batch [images, channels, H, W].
    """
    images = spikes.reshape(packed.batch, *spikes.shape[-3:])
    steps, width = packed.arch.timesteps, packed.arch.port_bits
    for place in order:
        word = 0
        for lane, number in enumerate(packed.layers[0].blocks[place.block].tolist()):
            if number >= 0:
                image = place.cluster * packed.share + place.image
                mask = int(images[image, number, place.row, place.column])
                mask >>= place.group * steps
                word |= (mask & (1 << steps) - 1) << steps * lane
        for _ in range(packed.arch.input_words):
            yield word & (1 << width) - 1
            word >>= width


class Input:
    """Gathers the words of a position. Its drain cycle is the one in which `block` holds them."""

    def __init__(self, machine: Machine, order: list[Place]) -> None:
        self.machine, self.order = machine, order
        clock = machine.clock
        self.at = Reg(clock, 0)  # of the position in `block`, or of the next
        self.words: Reg[tuple[int, ...]] = Reg(clock, ())
        self.block: Reg[tuple[int, ...] | None] = Reg(clock, None)

    # Wires.

    def ends_layer(self) -> bool:
        return self.block.q is not None and self.at.q == len(self.order) - 1

    def drains(self, cluster: int) -> bool:
        """A position of an image of the cluster is at its collector in this cycle."""
        return self.block.q is not None and self.order[self.at.q].cluster == cluster

    def leaves(self, cluster: int = 0) -> tuple[Place, tuple[int, ...]] | None:
        """The position whose masks are at the cluster's collector in this cycle."""
        if self.block.q is None or not self.drains(cluster):
            return None
        arch = self.machine.arch
        steps = arch.timesteps
        bits = sum(word << arch.port_bits * n for n, word in enumerate(self.block.q))
        lanes = range(arch.pes)
        masks = tuple(bits >> steps * lane & (1 << steps) - 1 for lane in lanes)
        return self.order[self.at.q], masks

    def take(self, word: int) -> None:
        """A word of the input is handed on in this cycle."""
        words = (*self.words.q, word)
        full = len(words) == self.machine.arch.input_words
        self.words.set(() if full else words)
        if full:
            self.block.set(words)

    def step(self) -> None:
        if self.block.q is None:
            return
        self.at.set(self.at.q + 1)
        if not self._completes():
            self.block.set(None)

    def _completes(self) -> bool:
        """The last word of the next position is handed on in this cycle."""
        loader, held = self.machine.loader, len(self.words.q)
        return loader.input.q > 0 and held == self.machine.arch.input_words - 1 and loader.takes()
