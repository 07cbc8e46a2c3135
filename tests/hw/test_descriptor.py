"""The tables of an Image: what the words say again, and what they have no room for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from amaranth.lib import data

from evenspike_core.arch import CHUNK_WORDS, Arch
from evenspike_core.errors import EvenspikeError
from evenspike_core.fixed import mask_type
from evenspike_core.mapping import choose
from evenspike_core.pack import Packed, pack, table_words
from evenspike_hw.engine.host import input_words
from evenspike_hw.rtl import descriptor
from tests.helpers import stepped
from tests.helpers.archs import random_mapping
from tests.helpers.networks import random_program
from tests.helpers.tiny import Untouchable

ARCH = Arch(pes=4, timesteps=4, accumulators=16, spike_entries=1 << 14)


def image_of(seed: int, arch: Arch = ARCH, timesteps: int | None = None) -> Packed:
    program = random_program(seed, timesteps=timesteps, max_side=8)
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
    count = len(list(stepped.input_places(packed))) * packed.arch.input_words
    assert passes[0] == count
    assert sum(passes) == count + len(plan.words)
    loads, rounds = [], 0
    for number in range(tables.layers):
        at = descriptor.LAYER_WORDS * number
        layer = bits(descriptor.LAYER, words[at : at + descriptor.LAYER_WORDS])
        assert layer.host == (number == 0)
        assert layer.last == (number == tables.layers - 1)
        assert layer.groups == packed.groups
        assert layer.timesteps == packed.last_timesteps
        if layer.host:
            assert layer.loads == count
            assert layer.chunks == 0
            assert layer.passes == len(packed.layers[0].blocks)
            continue
        starts = range(layer.chunk_base, tables.words.size, CHUNK_WORDS)
        chunks = [
            bits(descriptor.CHUNK, words[start : start + CHUNK_WORDS])
            for start in starts[: layer.chunks]
        ]
        loads += layer.loads * [(c.kernel, c.lead, c.biases) for c in chunks]
        source = packed.layers[number]
        rounds += layer.passes * len(list(stepped.tiles(source))) * layer.groups
        works = [work for work in plan.works if work.layer == number and work.group == 0]
        for chunk, work in zip(chunks, works, strict=False):
            start, end, segment = work.start, work.end, work.segment
            assert start == chunk.lead + start // ARCH.pes * ARCH.pes
            assert chunk.blocks == -(-end // ARCH.pes) - start // ARCH.pes
            size = segment.height, segment.width
            block = segment.height * max(segment.width, ARCH.row_entries)
            assert chunk.entry == segment.spike_base + start // ARCH.pes * block
            assert 2 * chunk.kernel + 1 == segment.kernel
            assert 1 << chunk.log_slots == source.slots
            read = chunk.segment
            assert (read.offset_y, read.offset_x) == segment.offset
            assert (read.height, read.width, read.block_stride) == (*size, block)
            assert (1 << read.log_stride, 1 << read.log_average) == (
                segment.stride,
                segment.average,
            )
    assert rounds == len(plan.rounds)
    kernels = [load.layer.segments[load.segment].kernel // 2 for load in plan.loads]
    expected = [(kernel, load.last) for kernel, load in zip(kernels, plan.loads, strict=True)]
    assert [(kernel, biases) for kernel, _, biases in loads] == expected


def test_neurons_in_their_bits() -> None:
    """Each of these a field of its own, negative ones in two's complement."""
    packed = image_of(3)
    fields: Any = {"threshold": (1 << 23) - 1, "leak": 4096, "hard": False, "reset": -(1 << 23)}
    layer = replace(packed.layers[1], **fields)
    tables = descriptor.encode(
        replace(packed, layers=(packed.layers[0], layer, *packed.layers[2:]))
    )
    at = descriptor.LAYER_WORDS
    found = bits(descriptor.LAYER, [int(word) for word in tables.words[at : 2 * at]])
    assert {name: getattr(found, name) for name in fields} == fields
    for number, layer in enumerate(packed.layers):
        at = descriptor.LAYER_WORDS * number
        words = [int(word) for word in tables.words[at : at + descriptor.LAYER_WORDS]]
        code = bits(descriptor.LAYER, words).readout
        assert code == [None, "psum", "count", "membrane"].index(layer.readout)


@pytest.mark.parametrize(("timesteps", "region"), [(1, 0), (4, 0), (5, 1 << 13), (32, 1 << 11)])
def test_regions_of_groups(timesteps: int, region: int) -> None:
    """Equal shares of the spike memory, and none to add where there is one group."""
    packed = image_of(4, timesteps=timesteps)
    tables = descriptor.encode(packed)
    for number in range(tables.layers):
        at = descriptor.LAYER_WORDS * number
        words = [int(word) for word in tables.words[at : at + descriptor.LAYER_WORDS]]
        assert bits(descriptor.LAYER, words).region == region


@pytest.mark.parametrize("seed", range(20))
def test_the_host_sends_spikes_in_the_order_of_the_stream(seed: int) -> None:
    """Masks of 1 to 8 timesteps, of which 64 bits hold a whole number or not."""
    packed = image_of(seed, replace(ARCH, pes=1 << seed % 6, timesteps=1 + seed % 8))
    masks = random_masks(packed, seed)
    order = list(stepped.input_places(packed))
    assert input_words(packed, masks).tolist() == list(stepped.input_words(packed, masks, order))


def random_masks(packed: Packed, seed: int) -> Any:
    layer, kind = packed.layers[0], mask_type(packed.timesteps)
    rng = np.random.default_rng(seed)
    shape = layer.filters, *layer.size
    return rng.integers(0, 1 << packed.timesteps, shape, dtype=np.uint64).astype(kind)


def test_spikes_that_are_not_of_the_network_are_refused() -> None:
    packed = image_of(1, timesteps=5)
    masks = random_masks(packed, 1)
    with pytest.raises(EvenspikeError, match=r"layer \w+: its spikes are \(.*\), not \("):
        input_words(packed, masks[:, :-1])
    masks[0, 0, 0] |= 1 << 5
    with pytest.raises(EvenspikeError, match=r"spikes behind the network's 5 timesteps"):
        input_words(packed, masks)


def test_what_a_field_cannot_hold_is_named() -> None:
    packed = image_of(2)
    cases: list[tuple[Any, str]] = [
        ({"threshold": 1 << 24}, r"threshold is 16777216.* 24 bits"),
        ({"reset": 1 << 23}, r"reset is 8388608.* 24 bits"),
        ({"reset": -(1 << 23) - 1}, r"reset is -8388609.* 24 bits"),
        ({"leak": 1 << 13}, r"leak is 8192.* 13 bits"),
    ]
    for fields, message in cases:
        layer = replace(packed.layers[1], **fields)
        changed = replace(packed, layers=(packed.layers[0], layer, *packed.layers[2:]))
        with pytest.raises(EvenspikeError, match=f"layer layer1: {message}"):
            descriptor.encode(changed)
    segment = replace(packed.layers[1].segments[0], offset=(0, 256))
    layer = replace(packed.layers[1], segments=(segment, *packed.layers[1].segments[1:]))
    changed = replace(packed, layers=(packed.layers[0], layer, *packed.layers[2:]))
    with pytest.raises(EvenspikeError, match=r"layer layer1: offset_x is 256.* 9 bits"):
        descriptor.encode(changed)
