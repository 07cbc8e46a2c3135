"""Pack: `unpack(pack(p))` is p, every bit lies where the format says, and no spikes overlap."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from evenspike_core.arch import PID_BITS, Arch
from evenspike_core.errors import EvenspikeError
from evenspike_core.mapping import LayerMapping, choose, input_mapping
from evenspike_core.pack import Descriptor, Packed, pack, pack_layer, split_chunk
from evenspike_core.program import PIXELS, Coding, Layer, Program, Readout, Segment
from evenspike_core.unpack import unpack
from tests.helpers.archs import random_arch, random_mapping
from tests.helpers.networks import random_program
from tests.helpers.tiny import Untouchable, layer, same, segment

Words = npt.NDArray[np.uint64]
Weights = Mapping[tuple[int, int], int]
"""(channel, kernel position) to weight, of one filter."""


# --- round trip -----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(160))
def test_unpack_gives_the_program_back(seed: int) -> None:
    program = random_program(seed)
    arch = random_arch(seed)
    packed = pack(program, random_mapping(program, arch, seed), arch)
    back = unpack(replace(packed, program=Untouchable()))
    layers = tuple(replace(one, weight_bits=None) for one in program.layers)
    anonymous = replace(program, provenance={}, layers=layers)
    assert back.digest() == anonymous.digest()
    assert same(back, anonymous)


def test_the_programs_of_the_round_trip_have_every_feature() -> None:
    programs = [random_program(seed) for seed in range(160)]
    layers = [one for program in programs for one in program.layers[1:]]
    parts = [part for one in layers for part in one.segments]
    assert {part.kernel for part in parts} == {1, 3, 5, 7}
    assert {len(one.segments) for one in layers} == {1, 2, 3}
    assert {one.hard for one in layers} == {True, False}
    assert {np.sign(one.reset) for one in layers} == {-1, 0, 1}
    assert {one.readout for one in layers} == {None, *Readout}
    assert {program.encoder.coding for program in programs} == set(Coding)
    assert any(part.offset[0] != part.offset[1] for part in parts)
    assert any(part.offset[0] > 0 for part in parts)
    assert any(int(one.bias.min()) < 0 for one in layers)
    assert any(not part.weights.any() for part in parts)
    assert {(one.weight_bits, part.weight_bits) for one in layers for part in one.segments} == {
        (None, 4), (None, 8), (None, 16), (4, 4), (8, 4), (8, 8), (16, 4), (16, 8), (16, 16)
    }  # fmt: skip
    assert any((part.weights == -(1 << 15)).any() for part in parts)
    archs = [random_arch(seed) for seed in range(160)]
    assert {arch.pes for arch in archs} == {1, 2, 4, 8, 16, 32}
    assert {arch.port_bits for arch in archs} == {64, 128, 256}
    groups = {arch.groups(program.timesteps) for program, arch in zip(programs, archs, strict=True)}
    assert {1, 2, 3} < groups
    assert max(groups) > 8
    chunks = [
        len(plan.chunks)
        for seed in range(40)
        for plan in random_mapping(programs[seed], archs[seed], seed)[1:]
    ]
    assert sum(count > 1 for count in chunks) > 25


@pytest.mark.parametrize("seed", range(20))
def test_a_layer_packed_alone_is_its_part_of_the_image(seed: int) -> None:
    program, arch = random_program(seed), random_arch(seed)
    mapping = random_mapping(program, arch, seed)
    packed = pack(program, mapping, arch)
    at, lanes = 0, arch.port_bits // 64
    for index, whole in enumerate(packed.layers):
        alone, stream = pack_layer(program, mapping, index, arch)
        assert np.array_equal(stream, packed.stream[at : at + stream.size])
        assert [(a - at // lanes, n) for a, n in whole.passes] == list(alone.passes)
        at += stream.size
    assert at == packed.stream.size


@pytest.mark.parametrize("seed", range(20))
def test_passes_follow_each_other_without_a_gap(seed: int) -> None:
    program, arch = random_program(seed), random_arch(seed)
    packed = pack(program, random_mapping(program, arch, seed), arch)
    at = 0
    for descriptor in packed.layers:
        assert len(descriptor.passes) == (0 if descriptor.host else len(descriptor.slots_used))
        for address, words in descriptor.passes:
            assert address == at
            at += words
    assert at * arch.port_bits // 64 == packed.stream.size
    assert packed.stream.dtype == np.uint64


@pytest.mark.parametrize("seed", range(20))
def test_descriptors_say_what_the_program_and_the_mapping_say(seed: int) -> None:
    program, arch = random_program(seed), random_arch(seed)
    mapping = random_mapping(program, arch, seed)
    packed = pack(program, mapping, arch)
    for one, plan, found in zip(program.layers, mapping, packed.layers, strict=True):
        same_fields = ["name", "host", "last", "readout", "threshold", "leak", "hard", "reset"]
        same_fields += [] if one.host else ["size", "pool"]
        for name in same_fields:
            assert getattr(found, name) == getattr(one, name)
        assert (found.tile, found.slots, found.chunks) == (plan.tile, plan.slots, plan.chunks)
        assert found.filters == one.filters
        assert found.blocks.tolist() == plan.blocks.tolist()
        if one.host:
            continue
        for part, described in zip(one.segments, found.segments, strict=True):
            for name in ("source", "kernel", "stride", "offset", "average"):
                assert getattr(described, name) == getattr(part, name)
            assert (described.height, described.width) == program.source_shape(part)[1:]
            assert described.blocks == mapping[part.source].blocks.shape[0]
            assert described.spike_base == packed.layers[part.source].spike_base


@pytest.mark.parametrize("seed", range(20))
def test_the_input_is_the_encoders_output_in_its_own_order(seed: int) -> None:
    """What the encoder is, a pool included, is the host's; the machine gets its map of spikes."""
    program, arch = random_program(seed), random_arch(seed)
    packed = pack(program, random_mapping(program, arch, seed), arch)
    found, (channels, height, width) = packed.layers[0], program.encoder.output
    assert packed.host is program.encoder
    assert (found.size, found.pool, found.filters) == ((height, width), 1, channels)
    assert (found.segments, found.chunks, found.passes) == ((), (), ())
    lanes = found.blocks.reshape(-1).tolist()
    assert lanes == [*range(channels), *[-1] * (-channels % arch.pes)]


# --- groups of timesteps ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "timesteps", "groups", "last"),
    [
        (4, 1, 1, 1),
        (4, 4, 1, 4),
        (4, 5, 2, 1),
        (4, 32, 8, 4),
        (1, 32, 32, 1),
        (8, 32, 4, 8),
        (5, 32, 7, 2),
        (8, 31, 4, 7),
        (7, 8, 2, 1),
    ],
)
def test_groups_share_the_spike_memory(own: int, timesteps: int, groups: int, last: int) -> None:
    program = replace(residual(), timesteps=timesteps)
    arch = Arch(pes=1, timesteps=own, spike_entries=48 * groups + groups - 1, row_entries=1)
    packed = pack(program, choose(program, arch), arch)
    assert (packed.timesteps, packed.groups, packed.last_timesteps) == (timesteps, groups, last)
    assert packed.region == 48, "what the division leaves is nobody's"
    assert max(extent(one)[1] for one in packed.layers[:-1]) == 48
    assert same(unpack(packed), replace(program, provenance={}))


def test_a_spike_memory_too_small_for_the_groups_names_the_layer() -> None:
    program = replace(residual(), timesteps=9)
    arch = Arch(pes=1, spike_entries=143, row_entries=1)
    with pytest.raises(EvenspikeError) as caught:
        pack(program, choose(program, arch), arch)
    assert str(caught.value) == (
        "layer b: no room for 16 entries of spikes beside those still needed; Arch spike_entries "
        "is 143, of which each of the 3 groups of 4 timesteps has 47"
    )
    one_less = replace(program, timesteps=8)
    assert pack(one_less, choose(one_less, arch), arch).region == 71
    with pytest.raises(EvenspikeError, match=r"^layer first: its spikes take 16 entries; Arch"):
        pack(program, choose(program, arch), replace(arch, spike_entries=47))


# --- any number of segments ------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("count", [3, 4, 9])
def test_many_segments_pack_and_unpack(count: int, seed: int) -> None:
    """Of one source or of several, of every kernel, each with chunks of its own."""
    rng = np.random.default_rng((count, seed))
    filters = [int(n) for n in rng.integers(1, 40, 3)]
    zero = [np.zeros(n, dtype=np.int32) for n in filters]
    first = Layer("first", (), zero[0], (3, 5), 1, coding=Coding.FRAMES)
    second = layer("second", segment(0, (filters[1], filters[0], 1, 1), 3), (3, 5))
    parts = []
    for number in range(count):
        source, kernel = int(rng.integers(2)), int(rng.choice((1, 3, 5, 7)))
        weights = rng.integers(-99, 99, (filters[2], filters[source], kernel, kernel))
        weights[rng.random(weights.shape) < 0.7] = 0
        offset = int(rng.integers(-255, 256)), int(rng.integers(-7, 8))
        stride = int(rng.integers(1, 3))
        parts.append(Segment(source, weights.astype(np.int16) * (number % 4 != 3), stride, offset))
    last = Layer("last", tuple(parts), zero[2], (1, 1), 9, readout=Readout.COUNT)
    program = Program("many", 3, (filters[0], 3, 5), (first, second, last))
    arch = Arch(pes=4, chunk_blocks=2)
    packed = pack(program, random_mapping(program, arch, seed), arch)
    assert len(packed.layers[2].segments) == count
    assert [part for part, _, _ in packed.layers[2].chunks] == sorted(
        part for part, _, _ in packed.layers[2].chunks
    )
    assert same(unpack(replace(packed, program=Untouchable())), program)


def test_what_was_never_there_is_not_in_the_words() -> None:
    """`dense` is the Program's alone: unpacked, every weight of an array counts."""
    program = single([{(0, 0): 1}], [0], 3, 2, weight_bits=None)
    few = replace(program.layers[1].segments[0], dense=4)
    changed = replace(
        program, layers=(program.layers[0], replace(program.layers[1], segments=(few,)))
    )
    packed = [pack(one, choose(one, Arch()), Arch()) for one in (program, changed)]
    assert np.array_equal(packed[0].stream, packed[1].stream)
    assert changed.layers[1].weights == 4
    assert unpack(packed[1]) == program


# --- the words, by hand ---------------------------------------------------------------------


def single(
    filters: Sequence[Weights],
    bias: list[int],
    kernel: int,
    channels: int,
    weight_bits: int | None = 16,
) -> Program:
    """A last layer with the given filters on a map of `channels` single neurons."""
    weights = np.zeros((len(filters), channels, kernel**2), dtype=np.int16)
    for f, values in enumerate(filters):
        for (channel, pid), value in values.items():
            weights[f, channel, pid] = value
    padding = -(kernel // 2)
    shaped = weights.reshape(len(filters), channels, kernel, kernel)
    source = Segment(0, shaped, offset=(padding, padding))
    last = layer(
        "last",
        source,
        (1, 1),
        bias=np.array(bias, dtype=np.int32),
        readout=Readout.PSUM,
        weight_bits=weight_bits,
    )
    return Program(
        "single",
        1,
        (1, 1, 1),
        (encoder("first", channels, (1, 1)), last),
    )


def encoder(name: str, channels: int, size: tuple[int, int]) -> Layer:
    """A direct one, of one channel and 1x1 kernels without weights."""
    image = segment(PIXELS, (channels, 1, 1, 1), 0)
    return layer(name, image, size, coding=Coding.DIRECT)


def words(program: Program, arch: Arch) -> list[int]:
    """The weight stream of filter f on PE f mod `pes`, source channels in their own order."""
    packed = pack(program, choose(program, arch, natural=True), arch)
    return [int(word) for word in packed.stream]


def test_golden_stream() -> None:
    """Two PEs, one filter each, K = 3 (gap in bits 7:4, PID in 3:0, a gap unit is one channel).

    PE 0: weight 5 at channel 0, position 4: token 04. Weight -2 at channel 300, position 8: of the
    gap of 300 a skip FF takes 256, a skip 1F 32, and 12 are left: token C8. Four tokens, the pairs
    are FF04 and C81F; a weight follows the pair of its token. Bias -3 is FFFFFD in 24 bits, the
    halves of which are FFD and FFF. PE 1: no token; bias 70000 is 011170, of 170 and 011.
    """
    arch = Arch(pes=2, slots=1, chunk_blocks=256)
    program = single([{(0, 4): 5, (300, 8): -2}, {}], [-3, 70000], 3, 301)
    assert words(program, arch) == [
        0x0000_0000_0000_0102,  # words: two for PE 0, one for PE 1
        0xC81F_0005_FF04_0004,  # PE 0: count 4, pair, weight 5, pair
        0x0000_0011_0170_0000,  # PE 1: count 0, bias low, bias high
        0x0000_0FFF_0FFD_FFFE,  # PE 0: weight -2, bias low, bias high
    ]


def test_golden_stream_of_8_bit_weights() -> None:
    """The same network: each token has its unit, with its weight in the high byte.

    Of the gap of 300 one skip takes 288 = 18 * 16: 17 is 1 in the token's gap (1F) and 1 in the
    high byte. 12 are left. Three tokens: 0504, 011F and FEC8.
    """
    arch = Arch(pes=2, slots=1, chunk_blocks=256)
    program = single([{(0, 4): 5, (300, 8): -2}, {}], [-3, 70000], 3, 301, weight_bits=8)
    assert words(program, arch) == [
        0x0000_0000_0000_0102,  # words: two for PE 0, one for PE 1
        0xFEC8_011F_0504_0003,  # PE 0: count 3, weight 5, skip, weight -2
        0x0000_0011_0170_0000,  # PE 1: count 0, bias low, bias high
        0x0000_0000_0FFF_0FFD,  # PE 0: bias low, bias high
    ]


def test_golden_stream_of_4_bit_weights() -> None:
    """The same positions, with 32 and -2^11: base 5, and codes 0 and 8 + 6. Five units of 12 bits.

    Of the gap of 300 one skip takes 288, as above: 01F with 1 in the weight's place. Three tokens:
    004, 11F and EC8; behind them are the bias's halves, FFD and FFF.
    """
    arch = Arch(pes=2, slots=1, chunk_blocks=256)
    program = single([{(0, 4): 32, (300, 8): -2048}, {}], [-3, 70000], 3, 301, weight_bits=4)
    assert words(program, arch) == [
        0x0000_0000_0000_0102,  # words: two for PE 0, one for PE 1
        0x0_FFD_EC8_11F_004_003,  # PE 0: count 3, weight 32, skip, weight -2048, bias low
        0x0_000_000_011_170_000,  # PE 1: count 0, bias low, bias high
        0x0_000_000_000_000_FFF,  # PE 0: bias high
    ]
    (source,) = pack(program, choose(program, arch), arch).layers[1].segments
    assert (source.weight_bits, source.base) == (4, 5)


def test_golden_stream_of_two_lanes() -> None:
    """Four PEs on a port of 128 bits: PEs 0 and 2 in the low lane, 1 and 3 in the high one.

    PE 0 has two words, the others one: a count of 8-bit weights, two weights, half a bias.
    """
    arch = Arch(pes=4, slots=1, port_bits=128)
    filters: list[Weights] = [{(0, 0): 1, (1, 0): 2}, {}, {(0, 0): 3}, {(1, 0): 4}]
    program = single(filters, [5, 6, 7, 8], 1, 2, weight_bits=8)
    assert words(program, arch) == [
        0x0000_0000_0101_0102, 0,  # counts: 128 bits
        0x0005_0202_0100_0002, 0x0000_0000_0006_0000,  # PE 0: weights 1 and 2, bias low; PE 1
        0x0000_0007_0300_0001, 0x0000_0008_0402_0001,  # PE 2, PE 3
        0x0000_0000_0000_0000, 0,  # PE 0: bias high; nobody
    ]  # fmt: skip


def test_the_narrowest_width_that_holds_a_segments_weights() -> None:
    """4 or 8 bits where nothing is said and all weights fit; a layer that says 16 gets them."""
    arch = Arch(pes=2, slots=1)
    for weight, bits in ((-128, 4), (-127, 8), (127, 8), (-129, 16), (128, 4), (256, 16)):
        for stated in (None, 16):
            program = single([{(0, 0): weight, (1, 0): 1}], [0], 1, 2, weight_bits=stated)
            packed = pack(program, choose(program, arch), arch)
            assert packed.layers[1].segments[0].weight_bits == (stated or bits)
            assert unpack(packed).layers[1].segments[0].weights[0, 0, 0, 0] == weight


@pytest.mark.parametrize("weight", [128, -129, 32767])
def test_weights_that_do_not_fit_8_bits(weight: int) -> None:
    program = single([{(0, 0): 5, (1, 0): weight}], [0], 1, 2, weight_bits=8)
    message = f"^layer last: weight {weight}, its weight_bits 8 hold -128 to 127$"
    plain = single([{(0, 0): 5, (1, 0): weight}], [0], 1, 2)
    with pytest.raises(EvenspikeError, match=message):
        choose(program, Arch())
    with pytest.raises(EvenspikeError, match=message):
        pack(program, choose(plain, Arch()), Arch())


def test_golden_bytes_of_several_slots_and_chunks() -> None:
    """One PE with two slots, K = 1 (gap in bits 7:1, PID in bit 0), chunks of one channel.

    A kernel is a (channel, slot). Chunk 0: filter 0 has 7 (kernel 0, token 00), filter 1 has 9
    (kernel 1, token 02). Chunk 1: only filter 1, -1 (kernel 1 from the chunk's start: token 02);
    then the biases of both slots, 1 and 128.
    """
    arch = Arch(pes=1, slots=2, chunk_blocks=1)
    program = single([{(0, 0): 7}, {(0, 0): 9, (1, 0): -1}], [1, 128], 1, 2)
    stream = np.array(words(program, arch), dtype=np.uint64)
    assert stream.tobytes().hex(" ", 2) == (
        "0100 0000 0000 0000 "  # one word for PE 0
        "0200 0002 0700 0900 "  # count 2, tokens 00 and 02, both weights
        "0200 0000 0000 0000 "  # two words
        "0100 0200 ffff 0100 "  # count 1, token 02, -1, bias of filter 0 low
        "0000 8000 0000 0000"  # its high, bias of filter 1 low and high, padding
    )


GOLDEN_TOKENS: list[tuple[int, Weights, list[int]]] = [
    # K = 1: 7 bits of gap. 300 = 256 (a skip of 2 * 128) + 44.
    (1, {(0, 0): 1}, [0x00]),
    (1, {(127, 0): 1}, [127 << 1]),
    (1, {(128, 0): 1}, [0x01, 0x00]),
    (1, {(300, 0): 1}, [1 << 1 | 1, 44 << 1]),
    # K = 3: 4 bits. One skip reaches 256, so 301 takes two: 256 + 32 + 13.
    (3, {(15, 8): 1}, [0xF8]),
    (3, {(16, 0): 1}, [0x0F, 0x00]),
    (3, {(5, 0): 1, (5, 3): 2, (6, 1): 3}, [0x50, 0x03, 0x11]),
    (3, {(301, 2): 1}, [0xFF, 0x1F, 0xD2]),
    # K = 5: 3 bits. A skip reaches 64: 300 = 4 * 64 + 40 + 4.
    (5, {(7, 24): 1}, [7 << 5 | 24]),
    (5, {(300, 24): 1}, [0xFF, 0xFF, 0xFF, 0xFF, 4 << 5 | 31, 4 << 5 | 24]),
    # K = 7: 2 bits. A skip reaches 16: 37 = 2 * 16 + 4 + 1.
    (7, {(3, 48): 1}, [3 << 6 | 48]),
    (7, {(37, 48): 1}, [0xFF, 0xFF, 0x3F, 1 << 6 | 48]),
]


@pytest.mark.parametrize(("kernel", "weights", "tokens"), GOLDEN_TOKENS)
def test_golden_tokens(kernel: int, weights: Weights, tokens: list[int]) -> None:
    arch = Arch(pes=2, slots=1, chunk_blocks=256)  # 512 channels are one chunk
    stream = np.array(words(single([weights], [0], kernel, 310), arch), dtype=np.uint64)
    units = split_chunk(stream, 0, arch)[0][0].view(np.uint16).tolist()
    assert units[0] == len(tokens)
    assert decoded(units, kernel) == (tokens, [value for _, value in sorted(weights.items())])


GOLDEN_NARROW: list[tuple[int, Weights, list[int]]] = [
    (1, {(127, 0): 1}, [0x01FE]),
    (1, {(300, 0): -1}, [0x0003, 0xFF58]),  # a skip of 2 * 128; 44 is left
    (3, {(5, 0): 1, (5, 3): -128, (6, 1): 127}, [0x0150, 0x8003, 0x7F11]),
    (3, {(16, 0): 1}, [0x000F, 0x0100]),
    (5, {(300, 24): 1}, [0x049F, 0x0198]),  # a skip of 37 * 8: 4 * 8 + 4 + 1; 4 is left
    (7, {(37, 48): 1}, [0x023F, 0x0170]),  # a skip of 9 * 4; 1 is left
]


@pytest.mark.parametrize(("kernel", "weights", "units"), GOLDEN_NARROW)
def test_golden_units_of_8_bit_weights(kernel: int, weights: Weights, units: list[int]) -> None:
    arch = Arch(pes=2, slots=1, chunk_blocks=256)
    program = single([weights], [0], kernel, 310, weight_bits=8)
    stream = np.array(words(program, arch), dtype=np.uint64)
    found = split_chunk(stream, 0, arch)[0][0].view(np.uint16).tolist()
    assert found[: len(units) + 1] == [len(units), *units]


GOLDEN_CODES: list[tuple[int, Weights, list[int]]] = [
    (1, {(127, 0): 1}, [0x0FE]),
    (1, {(300, 0): -1}, [0x003, 0x858]),  # a skip of 2 * 128; 44 is left
    (3, {(5, 0): 2, (5, 3): -256, (6, 1): 4}, [0x050, 0xF03, 0x111]),
    (3, {(309, 0): 1, (309, 2): 128}, [0x12F, 0x050, 0x702]),  # a skip of 19 * 16; 5 is left
    (5, {(300, 24): 1}, [0x49F, 0x098]),  # a skip of 37 * 8: 4 * 8 + 4 + 1; 4 is left
    (7, {(300, 48): 1 << 14}, [0xFFF, 0x2BF, 0x030]),  # skips of 16 * 4 * 4 and 11 * 4
]


@pytest.mark.parametrize(("kernel", "weights", "units"), GOLDEN_CODES)
def test_golden_units_of_4_bit_weights(kernel: int, weights: Weights, units: list[int]) -> None:
    arch = Arch(pes=2, slots=1, chunk_blocks=256)
    program = single([weights], [0], kernel, 310, weight_bits=4)
    stream = np.array(words(program, arch), dtype=np.uint64)
    found = [
        word >> at & 0xFFF
        for word in split_chunk(stream, 0, arch)[0][0].tolist()
        for at in range(0, 60, 12)
    ]
    assert found[: len(units) + 1] == [len(units), *units]


@pytest.mark.parametrize(
    ("weights", "found"),
    [
        ((1, 3), "weight 3 is no power of two"),
        ((-512, 2), "weights 2 and -512 are 8 doublings apart, codes reach 7"),
        ((-(1 << 15), 1 << 14), "weight -32768 is beyond 2^14"),
    ],
)
def test_weights_of_4_bits_that_are_no_codes(weights: tuple[int, int], found: str) -> None:
    program = single([{(0, 0): weights[0], (1, 0): weights[1]}], [0], 1, 2, weight_bits=4)
    message = (
        f"layer last: {found}; its weight_bits 4 hold powers of two up to 2^14, of at most 8 "
        "exponents in a row"
    )
    with pytest.raises(EvenspikeError, match=f"^{re.escape(message)}$"):
        pack(program, choose(program, Arch()), Arch())


def decoded(units: list[int], kernel: int) -> tuple[list[int], list[int]]:
    """Tokens and weights in the order of the format: each pair before its weights."""
    tokens: list[int] = []
    values: list[int] = []
    skip = (1 << PID_BITS[kernel]) - 1
    at = 1
    while len(tokens) < units[0]:
        pair = [units[at] & 0xFF, units[at] >> 8][: units[0] - len(tokens)]
        tokens += pair
        real = sum(token & skip != skip for token in pair)
        values += units[at + 1 : at + 1 + real]
        at += 1 + real
    return tokens, values


@pytest.mark.parametrize("bias", [0, 1, -1, 32767, -32768, 65536, -65536, 6291455, -6291455])
def test_biases_have_24_bits(bias: int) -> None:
    program, arch = single([{}], [bias], 1, 1), Arch(pes=1, slots=1)
    count, word = words(program, arch)
    assert count == 1
    halves = (bias & 0xFFF) << 16 | (bias >> 12 & 0xFFF) << 32
    assert word == halves, "a token count of 0, two units of 12 bits, and 16 that stay 0"
    assert unpack(pack(program, choose(program, arch), arch)).layers[1].bias.tolist() == [bias]


@pytest.mark.parametrize("pes", [1, 4, 8, 16, 32])
def test_counts_and_round_robin(pes: int) -> None:
    """PE p has weights of channels 0 ... p: PEs run out one after the other."""
    filters = [
        {(channel, 0): 100 * pe + channel + 1 for channel in range(pe + 1)} for pe in range(pes)
    ]
    program = single(filters, [0] * pes, 1, pes)
    arch = Arch(pes=pes, slots=1)
    stream = words(program, arch)
    sizes = [-(-(1 + -(-(pe + 1) // 2) + pe + 1 + 2) // 4) for pe in range(pes)]
    headers = -(-pes // 8)
    counts = [word >> 8 * n & 0xFF for word in stream[:headers] for n in range(8)]
    assert counts == sizes + [0] * (8 * headers - pes)
    order = [pe for turn in range(max(sizes)) for pe in range(pes) if turn < sizes[pe]]
    assert len(stream) == headers + len(order)
    streams, end = split_chunk(np.array(stream, dtype=np.uint64), 0, arch)
    assert end == len(stream)
    queues = [list(found) for found in streams]
    assert [int(queues[pe].pop(0)) for pe in order] == stream[headers:]
    for pe, found in enumerate(streams):
        assert found.view(np.uint16)[0] == pe + 1


def test_a_count_that_its_byte_cannot_hold_names_the_layer() -> None:
    arch = Arch(pes=1, slots=1, scratchpad_words=8192, header_words=256, chunk_blocks=256)
    program = single([{(c, p): 1 for c in range(256) for p in range(9)}], [0], 3, 256)
    chunks = ((0, 0, 256),)
    mapping = (
        input_mapping(program.layers[0], arch),
        LayerMapping((1, 1), np.zeros((1, 1, 1), dtype=np.int32), chunks),
    )
    with pytest.raises(EvenspikeError) as caught:
        pack(program, mapping, arch)
    message = "layer last: 865 words for PE 0 in one chunk, the count has 8 bits"
    assert str(caught.value) == message


# --- spike memory ---------------------------------------------------------------------------


def extent(one: Descriptor) -> tuple[int, int]:
    entries = one.blocks.shape[0] * (one.size[0] // one.pool) * (one.size[1] // one.pool)
    return one.spike_base, one.spike_base + entries


def alive(packed: Packed, index: int) -> range:
    """Layers during which the spikes of a layer are in memory: it writes first, readers follow."""
    readers = [
        n for n, one in enumerate(packed.layers) if index in [s.source for s in one.segments]
    ]
    return range(index, max(readers, default=index) + 1)


def overlaps(packed: Packed) -> list[tuple[str, str]]:
    layers = packed.layers[:-1]
    return [
        (one.name, other.name)
        for n, one in enumerate(layers)
        for m, other in enumerate(layers[:n])
        if set(alive(packed, n)) & set(alive(packed, m))
        and extent(one)[0] < extent(other)[1]
        and extent(other)[0] < extent(one)[1]
    ]


@pytest.mark.parametrize("seed", range(100))
def test_spikes_that_are_alive_together_never_overlap(seed: int) -> None:
    program, arch = random_program(seed), random_arch(seed)
    packed = pack(program, random_mapping(program, arch, seed), arch)
    assert overlaps(packed) == []
    assert all(extent(one)[0] >= 0 for one in packed.layers)
    assert packed.region * packed.groups <= arch.spike_entries
    assert all(extent(one)[1] <= packed.region for one in packed.layers[:-1])


def test_the_programs_of_the_spike_memory_hold_maps_for_later_readers() -> None:
    kept = 0
    for seed in range(40):
        program, arch = random_program(seed), random_arch(seed)
        packed = pack(program, random_mapping(program, arch, seed), arch)
        kept += sum(len(alive(packed, n)) > 2 for n in range(len(packed.layers)))
    assert kept > 10


def residual(side: int = 4) -> Program:
    """first -> a -> b -> c, and c reads `first` too: its spikes live while b is written."""
    names = [("a", 0), ("b", 1), ("c", 2)]
    layers = [encoder("first", 1, (side, side))]
    layers += [layer(name, segment(source, (1, 1, 1, 1)), (side, side)) for name, source in names]
    shortcut = (*layers[3].segments, segment(0, (1, 1, 1, 1)))
    layers[3] = replace(layers[3], segments=shortcut)
    last = layer("last", segment(3, (1, 1, 1, 1), average=side), (1, 1), readout=Readout.PSUM)
    return Program("residual", 1, (1, side, side), (*layers, last))


def test_space_is_reused_after_the_last_reader() -> None:
    program, arch = residual(), Arch(pes=1, spike_entries=48, row_entries=1)
    packed = pack(program, choose(program, arch), arch)
    bases = {one.name: one.spike_base for one in packed.layers}
    # `a` is dead when c is written, `first` is not.
    assert bases == {"first": 0, "a": 16, "b": 32, "c": 16, "last": 0}
    assert [s.spike_base for s in packed.layers[3].segments] == [32, 0]


def test_too_small_a_spike_memory_names_the_layer() -> None:
    program, arch = residual(), Arch(pes=1, spike_entries=47, row_entries=1)
    with pytest.raises(EvenspikeError) as caught:
        pack(program, choose(program, arch), arch)
    assert str(caught.value) == (
        "layer b: no room for 16 entries of spikes beside those still needed; "
        "Arch spike_entries is 47"
    )


def test_pack_checks_the_program_against_the_arch() -> None:
    program = residual()
    mapping = choose(program, Arch(pes=1))
    with pytest.raises(EvenspikeError, match=r"^layer first: its spikes take 16 entries"):
        pack(program, mapping, Arch(pes=1, spike_entries=15, row_entries=1))


# --- what the accelerator cannot run ----------------------------------------------------------


def chain(layers: int) -> Program:
    """A network of 1x1 maps with one neuron a layer."""
    parts = [encoder("layer0", 1, (1, 1))]
    for number in range(1, layers):
        readout = Readout.PSUM if number == layers - 1 else None
        source = segment(number - 1, (1, 1, 1, 1), 0)
        parts.append(layer(f"layer{number}", source, (1, 1), readout=readout))
    return Program("chain", 1, (1, 1, 1), tuple(parts))


def wide(first: int, filters: int, pool: int = 2) -> Program:
    """`filters` filters on a map of 256 x 256 of `first` channels, with 1x1 kernels."""
    body = layer("body", segment(0, (filters, first, 1, 1), 0), (256, 256), pool=pool)
    last = layer("last", segment(1, (1, filters, 1, 1), 0), (1, 1), readout=Readout.PSUM)
    return Program("wide", 1, (1, 256, 256), (encoder("host", first, (256, 256)), body, last))


def chunked_twice(channels: int) -> Program:
    """A last layer that reads `channels` single neurons with two segments."""
    program = single([{}], [0], 1, channels)
    last = program.layers[1]
    doubled = replace(last, segments=last.segments * 2)
    return replace(program, layers=(program.layers[0], doubled))


MANY = Arch(pes=1, slots=1, accumulators=4, spike_entries=1 << 24, table_words=1 << 16)
"""One filter a pass and 2 x 2 neurons a tile."""

EXCESSES: dict[str, tuple[Program, Arch, str]] = {
    "layers": (chain(257), MANY, "chain: 257 layers, the limit is 256"),
    "passes": (
        single([{}] * 4096, [0] * 4096, 1, 1),
        MANY,
        "layer last: 4096 passes, the limit is 4095; raise Arch accumulators, slots or pes",
    ),
    "chunks": (
        chunked_twice(2048),
        replace(MANY, chunk_blocks=1),
        "layer last: 4096 chunks, the limit is 4095; raise Arch scratchpad_words or chunk_blocks",
    ),
    "loads": (
        wide(2, 1024),
        replace(MANY, chunk_blocks=1),
        "layer body: 16777216 loads of its chunks, the limit is 16777215; raise Arch accumulators",
    ),
    "loads of groups": (
        replace(wide(2, 32), timesteps=32),
        replace(MANY, chunk_blocks=1, timesteps=1),
        "layer body: 16777216 loads of its chunks, the limit is 16777215; raise Arch accumulators",
    ),
    "input": (
        wide(256, 1),
        MANY,
        "layer host: 16777216 words of spikes, the limit is 16777215",
    ),
    "input's groups": (
        replace(wide(8, 1), timesteps=32),
        replace(MANY, timesteps=1),
        "layer host: 16777216 words of spikes, the limit is 16777215",
    ),
    "input's blocks": (
        single([{}], [0], 1, 4096),
        MANY,
        "layer first: 4096 blocks of channels, the limit is 4095; raise Arch pes",
    ),
    "tiles": (
        replace(wide(2, 1), timesteps=16),
        replace(MANY, chunk_blocks=1, timesteps=4),
        "layer body: 65536 tiles and groups, the limit is 65535; raise Arch accumulators",
    ),
    "table": (
        single([{}] * 45, [0] * 45, 1, 1),
        replace(MANY, table_words=64),
        "single: its layers, passes and chunks take 65 words of the table, Arch table_words is 64",
    ),
}


@pytest.mark.parametrize("name", EXCESSES)
def test_what_the_table_cannot_hold_is_refused(name: str) -> None:
    program, arch, message = EXCESSES[name]
    with pytest.raises(EvenspikeError, match=rf"^{message}"):
        pack(program, choose(program, arch), arch)


@pytest.mark.parametrize(("kernel", "most"), [(5, 3), (7, 3), (7, 5)])
def test_a_kernel_that_the_pes_are_not_built_for_is_refused(kernel: int, most: int) -> None:
    program = single([{(0, 0): 1}], [0], kernel, 1)
    mapping = choose(program, MANY)
    says = rf"^layer last: kernel {kernel}, Arch kernel_max is {most}$"
    for refuses in (partial(pack, program, mapping), partial(choose, program)):
        with pytest.raises(EvenspikeError, match=says):
            refuses(replace(MANY, kernel_max=most))
        refuses(replace(MANY, kernel_max=kernel))


def test_the_memory_does_not_depend_on_kernel_max() -> None:
    for seed in range(20):
        program = random_program(seed, kernel_max=3)
        arch = random_arch(seed)
        mapping = random_mapping(program, arch, seed)
        wide = pack(program, mapping, arch)
        for side in (3, 5):
            narrow = pack(program, mapping, replace(arch, kernel_max=side))
            assert np.array_equal(narrow.stream, wide.stream)
            assert [one.chunks for one in narrow.layers] == [one.chunks for one in wide.layers]


def test_one_less_is_packed() -> None:
    for program, arch in (
        (chain(256), MANY),
        (single([{}] * 4095, [0] * 4095, 1, 1), MANY),
        (single([{}], [0], 1, 4095), replace(MANY, chunk_blocks=1)),
        (single([{}] * 44, [0] * 44, 1, 1), replace(MANY, table_words=64)),
    ):
        pack(program, choose(program, arch), arch)
    for program, arch in (
        (replace(wide(7, 1), timesteps=32), replace(MANY, timesteps=1)),
        (single([{}], [0], 1, 4095), MANY),
        (replace(wide(2, 1), timesteps=12), replace(MANY, chunk_blocks=1)),
    ):
        choose(program, arch)


def test_a_tile_too_many_is_refused() -> None:
    program, arch = wide(2, 1, 1), replace(MANY, chunk_blocks=1)
    mapping = list(choose(program, arch))
    mapping[1] = replace(mapping[1], tile=(1, 1))
    says = r"^layer body: 65536 tiles and groups, the limit is 65535;"
    with pytest.raises(EvenspikeError, match=says):
        pack(program, tuple(mapping), arch)


SMALL = Arch(pes=2, slots=2, accumulators=16, chunk_blocks=2, scratchpad_words=256, header_words=60)
PLAN = LayerMapping((2, 4), np.array([[[0, 1], [2, 3]], [[4, 5], [-1, -1]]], dtype=np.int32))
"""Of six filters, without chunks."""


def assigned(*passes: object) -> LayerMapping:
    return replace(PLAN, assignment=np.array(passes, dtype=np.int32))


FOUR = assigned([[0, 1], [2, 3], [4, 5], [-1, -1]])


def chunked(*chunks: tuple[int, int, int]) -> LayerMapping:
    return replace(PLAN, tile=(2, 2), chunks=chunks)


WRONG: dict[str, tuple[LayerMapping, str]] = {
    "tile": (replace(PLAN, tile=(3, 4)), "tile of 3 x 4"),
    "no tile": (replace(PLAN, tile=(0, 4)), "tile of 0 x 4"),
    "neurons": (replace(PLAN, tile=(4, 4)), "Arch accumulators 16"),
    "slots": (replace(FOUR, tile=(2, 2)), "Arch slots 2"),
    "PEs": (assigned([[0], [1]], [[2], [3]], [[4], [5]]), "one of 2 PEs"),
    "twice": (assigned([[0, 1], [2, 3]], [[4, 4], [5, -1]]), "each of its 6 filters"),
    "missing": (assigned([[0, 1], [2, 3]], [[4, -1], [-1, -1]]), "each of its 6 filters"),
    "unknown": (assigned([[0, 1], [2, 3]], [[4, 6], [-1, -1]]), "each of its 6 filters"),
    "short pass": (assigned([[0, 1], [-1, -1]], [[2, 3], [4, 5]]), "passes but the last full"),
    "empty slot": (assigned([[0, 1], [2, 3]], [[-1, -1], [4, 5]]), "slots filled from the first"),
    "no chunk": (chunked(), "cover its channels"),
    "gap": (chunked((0, 0, 2), (0, 3, 6)), "cover its channels"),
    "twice loaded": (chunked((0, 0, 4), (0, 2, 6)), "cover its channels"),
    "beyond": (chunked((0, 0, 4), (0, 4, 8)), "cover its channels"),
    "another segment": (chunked((0, 0, 4), (0, 4, 6), (1, 0, 6)), "cover its channels"),
    "blocks": (chunked((0, 0, 6)), "Arch chunk_blocks 2"),
    "bank": (chunked((0, 0, 4), (0, 4, 6)), "chunk 0 has 72 words of weights and 8 of headers"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mapping_of_something_else_is_refused(name: str) -> None:
    plan, says = WRONG[name]
    program = dense_body()
    mapping = list(choose(program, SMALL))
    mapping[1] = plan
    with pytest.raises(EvenspikeError) as caught:
        pack(program, tuple(mapping), SMALL)
    assert str(caught.value).startswith("layer body: ")
    assert says in str(caught.value)


def dense_body() -> Program:
    body = layer("body", segment(0, (6, 6, 3, 3), offset=(-1, -1)), (4, 4))
    last = layer("last", segment(1, (1, 6, 1, 1), 0, average=4), (1, 1), readout=Readout.PSUM)
    return Program("p", 1, (1, 4, 4), (encoder("host", 6, (4, 4)), body, last))


def test_a_mapping_that_changes_the_order_of_the_input_is_refused() -> None:
    program = dense_body()
    mapping = list(choose(program, SMALL))
    order = mapping[0].assignment.copy()
    order[0, 0, 0], order[0, 0, 1] = order[0, 0, 1], order[0, 0, 0]
    for plan in (replace(mapping[0], assignment=order), PLAN):
        mapping[0] = plan
        with pytest.raises(EvenspikeError) as caught:
            pack(program, tuple(mapping), SMALL)
        assert str(caught.value) == "layer host: the mapping changes the order of the input"


def test_what_is_packed_cannot_be_changed() -> None:
    program = residual()
    packed = pack(program, choose(program, Arch(pes=1)), Arch(pes=1))
    assert packed.program is program
    arrays: list[npt.NDArray[Any]] = [packed.stream, *(one.blocks for one in packed.layers)]
    for array in arrays:
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True


# --- damage ---------------------------------------------------------------------------------


def survives(packed: Packed) -> Any:
    try:
        return unpack(packed)
    except EvenspikeError as error:
        return str(error)


@pytest.mark.parametrize("seed", range(60))
def test_a_damaged_stream_is_refused_or_another_program(seed: int) -> None:
    program, arch = random_program(seed % 20, max_filters=8), random_arch(seed % 20)
    packed = pack(program, random_mapping(program, arch, seed), arch)
    rng = np.random.default_rng(seed)
    stream = packed.stream.copy()
    for at in rng.integers(stream.size, size=int(rng.integers(1, 4))):
        stream[at] ^= np.uint64(1) << np.uint64(rng.integers(64))
    if seed % 4 == 0:
        stream = rng.integers(0, 1 << 64, stream.size, dtype=np.uint64)
    elif seed % 4 == 1:
        stream = stream[: int(rng.integers(stream.size))]
    found = survives(replace(packed, stream=stream))
    assert isinstance(found, Program | str)
    if isinstance(found, str):
        assert any(part in found for part in ("malformed", "ends behind", "range proof"))


def test_a_weight_for_a_slot_without_a_filter_is_malformed() -> None:
    """Three filters on two PEs with two slots: the second slot of PE 1 is empty."""
    arch = Arch(pes=2, slots=2, accumulators=4)
    program = single([{(0, 0): 1}, {(0, 0): 2}, {(0, 0): 3}], [0, 0, 0], 1, 1)
    packed = pack(program, choose(program, arch, natural=True), arch)
    assert packed.layers[1].blocks.tolist() == [[0, 1], [2, -1]]
    stream = packed.stream.copy()
    at = next(n for n, word in enumerate(stream.tolist()) if word == 0x0000_0002_0000_0001)
    stream[at] |= np.uint64(2 << 16)  # token 00 becomes 02: kernel 1, the second slot
    assert survives(replace(packed, stream=stream)) == (
        "layer last: pass 0, chunk 0: the weight stream of PE 1 is malformed"
    )


def test_a_stream_that_ends_too_soon() -> None:
    program, arch = residual(), Arch(pes=1)
    packed = pack(program, choose(program, arch), arch)
    message = survives(replace(packed, stream=packed.stream[:-1]))
    at, words = packed.layers[-1].passes[0]
    assert words == packed.stream.size - at
    assert message == (
        f"the chunk at word {at} ends behind the weight stream of {packed.stream.size - 1} words"
    )


def test_what_the_addresses_do_not_reach_is_refused() -> None:
    program = random_program(4)
    arch = Arch(spike_entries=1 << 18)
    packed = pack(program, choose(program, arch), arch)
    bits = (packed.memory_words - 1).bit_length()
    enough = replace(arch, address_bits=bits)
    assert pack(program, choose(program, enough), enough).memory_words == packed.memory_words
    short = replace(arch, address_bits=bits - 1)
    says = (
        f"^random-4: table, weights, input and results take {packed.memory_words:,} words of "
        f"memory, with Arch address_bits {bits - 1} there are {1 << bits - 1:,}$"
    )
    with pytest.raises(EvenspikeError, match=says):
        pack(program, choose(program, short), short)
