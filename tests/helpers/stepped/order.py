"""The order of work: the sequencer's counters (layer, pass, tile, chunk), unrolled once.

A register then holds an index into these lists.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from evenspike_core.pack import Descriptor, Packed, SegmentDescriptor


@dataclass(frozen=True)
class Load:
    """A chunk that is read into one half of the scratchpads; the pass's last holds the biases."""

    layer: Descriptor
    segment: int
    half: int
    last: bool

    @property
    def bits(self) -> int:
        """Of a weight in the stream; 4 and 8 are beside their token."""
        return self.layer.segments[self.segment].weight_bits

    @property
    def base(self) -> int:
        """The power of two that the smallest code of 4 bits stands for."""
        return self.layer.segments[self.segment].base


@dataclass(frozen=True)
class Round:
    """A tile, part of the batch and group of a pass: broadcasts up to a barrier, then a drain.

    half: has its biases. timesteps: of the group. carries: its neurons go on in the next round.
    """

    layer: int
    number: int
    group: int
    timesteps: int
    carries: bool
    slots: int
    tile: tuple[int, int, int, int]
    half: int
    ends_layer: bool
    images: range


@dataclass(frozen=True)
class Work:
    """The broadcast of one chunk of an image to one tile; whether it ends its round, and gives up
    its half.

    image: of its cluster's. row: of the accumulators, where the image's are. ends_chunk: no image
    of the round follows.
    """

    layer: int
    group: int
    segment: SegmentDescriptor
    start: int
    end: int
    tile: tuple[int, int, int, int]
    round: int
    load: int
    half: int
    ends_round: bool
    frees: bool
    image: int = 0
    row: int = 0
    ends_chunk: bool = True


@dataclass(frozen=True)
class Place:
    """One position of one block in one group of timesteps, in the order in which it leaves."""

    layer: int
    group: int
    block: int
    slot: int
    at: int
    row: int
    column: int
    opens: bool  # first position of its pooling window
    closes: bool  # last one
    restarts: bool  # its row of the spike memory begins
    image: int = 0  # of its cluster's
    cluster: int = 0  # of the input's; elsewhere all clusters have the same places


@dataclass
class Schedule:
    """Loads, rounds and broadcasts of the whole network, and the addresses that the port reads."""

    loads: list[Load]
    rounds: list[Round]
    works: list[Work]
    words: list[int]


def joined(packed: Packed, address: int, size: int) -> list[int]:
    """Words of the port out of the weight stream, whatever their width."""
    lanes = packed.arch.port_bits // 64
    parts = packed.stream[address * lanes : (address + size) * lanes].reshape(-1, lanes).tolist()
    return [sum(part << 64 * n for n, part in enumerate(row)) for row in parts]


def tiles(layer: Descriptor) -> Iterator[tuple[int, int, int, int]]:
    for y in range(0, layer.size[0], layer.tile[0]):
        for x in range(0, layer.size[1], layer.tile[1]):
            yield y, x, min(layer.tile[0], layer.size[0] - y), min(layer.tile[1], layer.size[1] - x)


def schedule(packed: Packed) -> Schedule:
    plan = Schedule([], [], [], [])
    for index, layer in enumerate(packed.layers):
        if layer.host:
            continue
        areas = list(tiles(layer))
        resident = len(layer.chunks) == 1
        for number, (address, size) in enumerate(layer.passes):
            turns = [
                (tile, range(first, first + layer.images), group)
                for tile in areas
                for first in range(0, packed.share, layer.images)
                for group in range(packed.groups)
            ]
            for turn, (tile, images, group) in enumerate(turns):
                ends_pass = turn == len(turns) - 1
                if turn == 0 or not resident:
                    plan.words += joined(packed, address, size)
                for position, (segment, start, end) in enumerate(layer.chunks):
                    last = position == len(layer.chunks) - 1
                    if turn == 0 or not resident:
                        plan.loads.append(Load(layer, segment, len(plan.loads) % 2, last))
                    for image in images:
                        ends_chunk = image == images[-1]
                        plan.works.append(
                            Work(
                                index,
                                group,
                                layer.segments[segment],
                                start,
                                end,
                                tile,
                                len(plan.rounds),
                                len(plan.loads) - 1,
                                plan.loads[-1].half,
                                last and ends_chunk,
                                ends_chunk and (not resident or ends_pass),
                                image,
                                rows(layer) * (image - images[0]),
                                ends_chunk,
                            )
                        )
                ends = ends_pass and number == len(layer.passes) - 1
                last_group = group == packed.groups - 1
                plan.rounds.append(
                    Round(
                        index,
                        number,
                        group,
                        packed.last_timesteps if last_group else packed.arch.timesteps,
                        not last_group and layer.readout != "psum",
                        layer.slots_used[number],
                        tile,
                        plan.loads[-1].half,
                        ends,
                        images,
                    )
                )
    return plan


def rows(layer: Descriptor) -> int:
    """Of the accumulators, for one image."""
    return layer.slots * layer.tile[0] * layer.tile[1]


def places(layer: Descriptor, one: Round) -> list[list[Place]]:
    """For each image of the round and each slot that the pass uses, the positions of the tile in
    drain order.
    """
    top, left, height, width = one.tile
    side = layer.pool
    found = []
    for image, slot in product(one.images, range(one.slots)):
        column = []
        first = rows(layer) * (image - one.images[0])
        for wy in range(0, height, side):
            for wx in range(0, width, side):
                for n in range(side * side):
                    y, x = wy + n // side, wx + n % side
                    column.append(
                        Place(
                            one.layer,
                            one.group,
                            one.number * layer.slots + slot,
                            slot,
                            first + (slot * layer.tile[0] + y) * layer.tile[1] + x,
                            (top + wy) // side,
                            (left + wx) // side,
                            n == 0,
                            n == side * side - 1,
                            left + wx == 0,
                            image,
                        )
                    )
        found.append(column)
    return found
