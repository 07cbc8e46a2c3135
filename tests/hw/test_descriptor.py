"""The tables of an Image: what the words say again, and what they have no room for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from amaranth.lib import data

from evenspike_core.arch import Arch
from evenspike_core.errors import EvenspikeError
from evenspike_core.mapping import choose
from evenspike_core.pack import Packed, pack, table_words
from evenspike_hw.engine.host import current_words, positions
from evenspike_hw.rtl import descriptor
from tests.helpers import stepped
from tests.helpers.archs import random_mapping
from tests.helpers.networks import random_program
from tests.helpers.tiny import Untouchable

ARCH = Arch(pes=4, timesteps=8, accumulators=16, spike_entries=4096)


def image_of(seed: int, arch: Arch = ARCH) -> Packed:
    program = random_program(seed, max_side=8)
    choose(program, arch)
    return pack(program, random_mapping(program, arch, seed), arch)


def bits(layout: data.StructLayout, words: list[int]) -> Any:
    value = sum(word << 64 * n for n, word in enumerate(words))
    return layout.from_bits(value & (1 << layout.size) - 1)


@pytest.mark.parametrize("seed", range(20))
def test_the_tables_say_what_the_schedule_does(seed: int) -> None:
    """Against the unrolled schedule of the stepped model: loads, works, rounds and words."""
    packed = image_of(seed)
    plan = stepped.schedule(packed)
    tables = descriptor.encode(replace(packed, program=Untouchable()))
    assert tables.words.size == table_words(packed.layers)
    words = [int(word) for word in tables.words]
    passes = []
    for word in words[tables.pass_base :]:
        found = bits(descriptor.PASS, [word])
        if not found.words:
            break
        passes += [found.words] * found.repeats
    host = packed.layers[0]
    count = len(positions(host)) * packed.arch.current_words
    assert passes[0] == count
    assert sum(passes) == count + len(plan.words)
    loads, rounds = [], 0
    for number in range(tables.layers):
        at = descriptor.LAYER_WORDS * number
        layer = bits(descriptor.LAYER, words[at : at + descriptor.LAYER_WORDS])
        assert layer.host == (number == 0)
        assert layer.last == (number == tables.layers - 1)
        if layer.host:
            assert layer.loads == count
            continue
        chunks = [
            bits(descriptor.CHUNK, [word])
            for word in words[layer.chunk_base : layer.chunk_base + layer.chunks]
        ]
        loads += layer.loads * [(c.segment, c.lead, c.biases) for c in chunks]
        source = packed.layers[number]
        rounds += layer.passes * len(list(stepped.tiles(source)))
        for chunk, (segment, start, end) in zip(chunks, source.chunks, strict=True):
            assert start == chunk.lead + start // ARCH.pes * ARCH.pes
            assert chunk.blocks == -(-end // ARCH.pes) - start // ARCH.pes
            row = stepped.SpikeMemory.row(source.segments[segment], start // ARCH.pes, 0)
            assert chunk.entry == row
    assert rounds == len(plan.rounds)
    expected = [(load.segment, load.last) for load in plan.loads]
    assert [(segment, biases) for segment, _, biases in loads] == expected


@pytest.mark.parametrize("seed", range(20))
def test_the_host_sends_currents_in_drain_order(seed: int) -> None:
    packed = image_of(seed, replace(ARCH, pes=int(2 ** (seed % 5))))
    layer = packed.layers[0]
    rng = np.random.default_rng(seed)
    currents = rng.integers(-(2**23), 2**23, (layer.filters, *layer.size), dtype=np.int32)
    order = [
        place
        for number in range(len(layer.slots_used))
        for tile in stepped.tiles(layer)
        for slot in stepped.places(layer, 0, number, tile)
        for place in slot
    ]
    expected = list(stepped.host_words(packed, currents, order))
    assert current_words(packed, currents).tolist() == expected


def test_what_a_field_cannot_hold_is_named() -> None:
    packed = image_of(2)
    layer = replace(packed.layers[1], threshold=1 << 24)
    with pytest.raises(EvenspikeError, match=r"layer layer1: threshold is 16777216.* 24 bits"):
        descriptor.encode(replace(packed, layers=(packed.layers[0], layer, *packed.layers[2:])))
