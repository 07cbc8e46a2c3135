"""Layers for the benches: random descriptors, and the order of work that docs/timing.md gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from evenspike_core.arch import HEADER_UNITS, Arch
from evenspike_hw.rtl.descriptor import CHUNK, LAYER
from evenspike_hw.rtl.faults import Fault
from evenspike_hw.rtl.layouts import ENTRY_BITS
from tests.helpers.driver import Bench, unpack

Layer = dict[str, Any]
"""The fields of a descriptor, by name."""

ENTRIES = (1 << ENTRY_BITS) - 1


def noise(bench: Bench, **fields: Any) -> Layer:
    """A descriptor with these fields; every other is random and need not make sense."""
    found: Layer = unpack(LAYER, bench.random.getrandbits(LAYER.size))
    return found | fields


def layer(bench: Bench, log_neurons: int, side: int, **given: Any) -> Layer:
    """A layer whose order of work makes sense; what has no part in it is random.

    log_neurons: bound of the neurons of a tile in all its slots. side: bound of the map's sides.
    It has one image, unless `batch` gives it several.
    """
    pick = bench.random.randrange
    fields = {"pool": pick(2), "passes": pick(1, 4), "host": 0, "last": 0, "timesteps": 1}
    fields |= {"groups": bench.random.choice((1, 1, 2, 3)), "leak": pick(4097)} | given
    fields.setdefault("readout", pick(1, 4) if fields["last"] else 0)
    least = int(fields["pool"])
    height = given.get("log_tile_height", least + pick(min(8, log_neurons - least) + 1 - least))
    room = log_neurons - height
    width = given.get("log_tile_width", least + pick(min(8, room) + 1 - least))
    room -= width
    slots = given.get("log_slots", pick(min(room, 6) + 1))
    fields |= {"log_tile_height": height, "log_tile_width": width, "log_slots": slots}
    for name in ("height", "width"):
        size = given.get(name, pick(1, side + 1))
        fields[name] = size + (size & least)
    if "slots_last" not in given:
        fields["slots_last"] = pick(1, (1 << slots) + 1)
    fields.setdefault("kernels", pick(1, 4) | pick(4) << 2)  # one of 3 x 3 at most is there
    found = noise(bench, **{"log_images": 0, "parts": 1} | fields)
    found["image_region"] = found["groups"] * found["region"] & ENTRIES
    return found


def batch(bench: Bench) -> Layer:
    """What a layer has of a batch; often of none."""
    choose = bench.random.choice
    return {"log_images": choose((0, 0, 1, 2)), "parts": choose((1, 1, 2, 3))}


def good_chunk(bench: Bench, layer: Layer, number: int) -> dict[str, Any]:
    """Chunk `number` of a layer's list, such that it can be run."""
    arch, pick = bench.arch, bench.random.randrange
    sides = [code for code in range((arch.kernel_max + 1) // 2) if layer["kernels"] >> code & 1]
    fields = {
        "kernel": bench.random.choice(sides),
        "log_slots": layer["log_slots"],
        "lead": pick(arch.pes),
        "biases": int(number == layer["chunks"] - 1),
        "blocks": bench.random.choice((1, pick(1, arch.chunk_blocks + 1), arch.chunk_blocks)),
    }
    found: dict[str, Any] = unpack(CHUNK, bench.random.getrandbits(CHUNK.size))
    return found | fields


def chunk_fault(arch: Arch, layer: Layer, chunk: Mapping[str, Any], number: int) -> Fault:
    """Why chunk `number` of the layer's list cannot be run."""
    code = chunk["kernel"]
    reasons = {
        Fault.SLOTS: chunk["log_slots"] != layer["log_slots"],
        Fault.KERNEL: not layer["kernels"] >> code & 1 or 2 * code + 1 > arch.kernel_max,
        Fault.LEAD: chunk["lead"] >= arch.pes,
        Fault.BIASES: bool(chunk["biases"]) != (number == layer["chunks"] - 1),
        Fault.BLOCKS: not 1 <= chunk["blocks"] <= arch.chunk_blocks,
    }
    return min((fault for fault, met in reasons.items() if met), default=Fault.NONE)


@dataclass(frozen=True)
class Round:
    """An image of a round, which is a group of a part of a tile of a pass.

    first_tile, last: of the pass; last_group: of the part; ends_layer: last of the last pass.
    last_image: of the round. first_row: of the accumulators, where the image's are. entry: where
    the tile's first row of the pass's first block starts in the spike memory, in the map of image 0
    and group 0. offset: entries from there to the map of the image and group.
    """

    top: int
    left: int
    height: int
    width: int
    first_tile: bool
    last_group: bool
    last: bool
    ends_layer: bool
    slots: int
    entry: int
    offset: int
    last_image: bool
    first_row: int


def rounds(layer: Layer) -> Iterator[list[Round]]:
    """`for pass: for tile: for part: for group`, and of each round its images."""
    images = 1 << layer["log_images"]
    log_rows = layer["log_tile_height"] + layer["log_tile_width"] + layer["log_slots"]
    side_y, side_x = 1 << layer["log_tile_height"], 1 << layer["log_tile_width"]
    for number in range(layer["passes"]):
        last_pass = number == layer["passes"] - 1
        for top in range(0, layer["height"], side_y):
            entry = layer["spike_base"] + number * layer["pass_stride"]
            entry += top // side_y * layer["tile_stride"]
            for left in range(0, layer["width"], side_x):
                last_tile = top + side_y >= layer["height"] and left + side_x >= layer["width"]
                for part, group in product(range(layer["parts"]), range(layer["groups"])):
                    last_group = group == layer["groups"] - 1
                    last = last_tile and last_group and part == layer["parts"] - 1
                    regions = [
                        (part * images + image) * layer["groups"] + group for image in range(images)
                    ]
                    yield [
                        Round(
                            top,
                            left,
                            min(side_y, layer["height"] - top),
                            min(side_x, layer["width"] - left),
                            top == left == 0,
                            last_group,
                            last,
                            last and last_pass,
                            layer["slots_last"] if last_pass else 1 << layer["log_slots"],
                            entry & ENTRIES,
                            region * layer["region"] & ENTRIES,
                            image == images - 1,
                            image << log_rows,
                        )
                        for image, region in enumerate(regions)
                    ]


@dataclass(frozen=True)
class Work:
    """The broadcast of one chunk of an image in one round.

    chunk: its place in the layer's list. load, round: loads and rounds of the layer before it.
    """

    turn: Round
    chunk: int
    load: int
    round: int
    ends_round: bool
    frees: bool


def works(layer: Layer) -> Iterator[Work]:
    """Of each round `for chunk: for image`; a single chunk stays for all rounds of a pass."""
    load = 0
    for number, images in enumerate(rounds(layer)):
        for chunk, turn in product(range(layer["chunks"]), images):
            frees = turn.last_image and (layer["chunks"] > 1 or turn.last)
            ends_round = turn.last_image and chunk == layer["chunks"] - 1
            yield Work(turn, chunk, load, number, ends_round, frees)
            load += frees


def table_line(first: int, headers: int, weight: int, side: int, fetch: int) -> dict[str, int]:
    """A line of the channel table for headers of this kernel side, of which `fetch` units are read
    at once.
    """
    units = HEADER_UNITS[side]
    lines = range(first * units // fetch, -(-(first + headers) * units // fetch))
    tail = (first + headers - 1) % max(1, fetch // units)
    return {"first": first, "last": len(lines) - 1, "tail": tail, "weight": weight}
