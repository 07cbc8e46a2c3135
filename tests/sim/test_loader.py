"""Loader: what it decodes is the Program, each word takes its cycles, damage stays in bounds."""

from __future__ import annotations

from dataclasses import replace
from itertools import zip_longest

import numpy as np
import numpy.typing as npt
import pytest

from evenspike_core import reference
from evenspike_core.arch import HEADER_UNITS, PID_BITS, Arch
from evenspike_core.errors import EvenspikeError
from evenspike_core.fixed import mask_type
from evenspike_core.mapping import choose
from evenspike_core.pack import Packed, pack, split_chunk
from evenspike_core.program import Program
from evenspike_sim.accelerator import Accelerator
from evenspike_sim.loader import LoadedChunk, _unpack, load_pass
from tests.helpers.archs import random_arch, random_mapping
from tests.helpers.networks import random_pixels, random_program

Words = npt.NDArray[np.uint64]
MALFORMED = ("malformed", "ends behind the weight stream", "not all used")


def packed_network(seed: int, max_filters: int = 17) -> tuple[Program, Packed]:
    program = random_program(seed, max_filters=max_filters)
    arch = random_arch(seed)
    return program, pack(program, random_mapping(program, arch, seed), arch)


def passes(packed: Packed) -> list[tuple[int, int, list[LoadedChunk]]]:
    """(layer, pass, its chunks) of every pass."""
    return [
        (index, number, load_pass(packed, one, number))
        for index, one in enumerate(packed.layers)
        for number in range(len(one.passes))
    ]


# --- contents -------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(40))
def test_headers_and_banks_hold_the_weights_of_the_program(seed: int) -> None:
    program, packed = packed_network(seed)
    for index, number, chunks in passes(packed):
        one, found = program.layers[index], packed.layers[index]
        rows = found.blocks[number * found.slots :][: found.slots_used[number]]
        for chunk in chunks:
            part = one.segments[chunk.segment]
            lanes = packed.layers[part.source].blocks.reshape(-1)
            flat = part.weights.reshape(*part.weights.shape[:2], -1)
            for pe, channel in np.ndindex(packed.arch.pes, chunk.end - chunk.start):
                lane = lanes[chunk.start + channel]
                kernels = range(*chunk.kernel_start[pe, channel : channel + 2])
                expected = {
                    slot: flat[f, lane]
                    for slot, f in enumerate(rows[:, pe])
                    if f >= 0 and lane >= 0 and flat[f, lane].any()
                }
                assert [int(chunk.slot[pe, k]) for k in kernels] == sorted(expected)
                for k in kernels:
                    kernel = expected[int(chunk.slot[pe, k])]
                    at = int(chunk.weight_start[pe, k])
                    pids = np.flatnonzero(kernel)
                    assert chunk.wsp[pe, k] == sum(1 << int(pid) for pid in pids)
                    bank = chunk.weights[pe, at : at + pids.size]
                    assert bank.tolist() == kernel[pids].tolist()


@pytest.mark.parametrize("seed", range(40))
def test_biases_come_with_the_last_chunk(seed: int) -> None:
    program, packed = packed_network(seed)
    for index, number, chunks in passes(packed):
        one, found = program.layers[index], packed.layers[index]
        rows = found.blocks[number * found.slots :][: found.slots_used[number]]
        for slot, pe in np.ndindex(*rows.shape):
            f = rows[slot, pe]
            assert chunks[-1].bias[pe, slot] == (one.bias[f] if f >= 0 else 0)
        assert not any(chunk.bias.any() for chunk in chunks[:-1])


@pytest.mark.parametrize("seed", range(40))
def test_a_word_takes_a_cycle_for_each_unit_and_each_skip(seed: int) -> None:
    _, packed = packed_network(seed)
    for index, number, chunks in passes(packed):
        found = packed.layers[index]
        address = found.passes[number][0]
        for chunk in chunks:
            kernel = found.segments[chunk.segment].kernel
            bits = found.segments[chunk.segment].weight_bits
            lanes = packed.arch.port_bits // 64
            headers = -(-packed.arch.pes // (8 * lanes))
            assert (chunk.word_pe[:headers] == -1).all()
            assert not chunk.word_cycles[:headers].any()
            assert chunk.header_units == HEADER_UNITS[kernel]
            streams, address = split_chunk(packed.stream, address, packed.arch)
            for pe, stream in enumerate(streams):
                cycles = chunk.word_cycles[chunk.word_pe == pe].tolist()
                held = chunk.word_held[chunk.word_pe == pe].tolist()
                expected = {4: [5] * stream.size, 8: [4] * stream.size}
                assert cycles == (expected.get(bits) or unpacked(stream, kernel))
                # Of 8 and 4 bits: the next word comes with the last unit, but behind the chunk.
                more = [0 if bits < 16 and n < stream.size - 1 else 1 for n in range(stream.size)]
                assert held == [a + b for a, b in zip(cycles, more, strict=True)]
            counts = np.array([stream.size for stream in streams])
            turns = range(int(counts.max()))
            orders = [
                [
                    pe
                    for turn in turns
                    for pe in range(lane, counts.size, lanes)
                    if counts[pe] > turn
                ]
                for lane in range(lanes)
            ]
            rows = zip_longest(*orders, fillvalue=-1)
            assert chunk.word_pe[headers:].tolist() == [list(row) for row in rows]


def unpacked(stream: Words, kernel: int) -> list[int]:
    """Cycles of each word: four units, and the skips that the last unit read made reachable."""
    units = stream.view(np.uint16).tolist()
    cycles = [4] * stream.size
    skip = (1 << PID_BITS[kernel]) - 1
    tokens = units[0]
    at = 1
    while tokens:
        read = at  # the unit of the pair; later that of the first token's weight
        at += 1
        for token in (units[read] & 255, units[read] >> 8)[:tokens]:
            tokens -= 1
            if token & skip == skip:
                cycles[read // 4] += 1
            else:
                read, at = at, at + 1
    return cycles


def decode(
    units: list[int],
    kernel: int = 3,
    slots: int = 2,
    channels: int = 40,
    bank: int = 8,
    *,
    bits: int = 16,
    base: int = 0,
) -> tuple[int, list[int], list[int]]:
    """(units before the biases, weights, cycles of the words) of one PE."""
    room = 5 if bits == 4 else 4
    content = np.array([*units, *[0] * (-len(units) % room)], dtype=np.uint16)
    weights, cycles = np.zeros(bank, dtype=np.int64), np.zeros(content.size // room, dtype=np.int64)
    fields = [np.zeros(bank, dtype=np.int64) for _ in range(3)]
    start = np.zeros(channels + 1, dtype=np.int64)
    form = bits, base, PID_BITS[kernel], kernel**2
    at = _unpack(content, *form, slots, start, *fields, weights, cycles)
    return int(at), weights.tolist(), cycles.tolist()


def test_a_skip_holds_up_the_word_of_the_unit_before_it() -> None:
    # Count, pair (weight, skip), its weight | pair (skip, weight) ...: tokens 10, 0F, 1F, 23.
    at, weights, cycles = decode([4, 0x0F10, 7, 0x231F, 9])
    assert (at, weights[:2]) == (5, [7, 9])
    assert cycles == [4 + 2, 4]  # the first skip follows weight 7, the second its own pair
    at, weights, cycles = decode([3, 0x0F10, 7, 0x000F, 0, 0, 0, 0])
    assert (at, weights[:2]) == (4, [7, 0])
    assert cycles == [4 + 2, 4]


def test_a_skip_between_8_bit_weights_is_a_unit_like_any_other() -> None:
    at, weights, cycles = decode([4, 0xFF10, 0x000F, 0x8023, 0x7F00], bits=8)
    assert (at, weights[:3]) == (5, [-1, -128, 127])
    assert cycles == [4, 4]
    # A skip of (1 << 4) + 1 times 16 kernels: 272 of 64 slots is in channel 4.
    assert decode([2, 0x010F, 0x0100, 0], slots=64, channels=5, bits=8)[0] == 3
    assert decode([2, 0x010F, 0x0100, 0], slots=64, channels=4, bits=8)[0] == -1
    assert decode([1, 0x0109, 0, 0], bits=8)[0] == -1  # position 9 of a 3x3 kernel
    assert decode([4, 0x0100, 0x0101, 0x0102], bits=8)[0] == -1  # a fourth token
    assert decode([3, 0x0100, 0x0101, 0x0102], bank=3, bits=8)[0] == 4
    assert decode([3, 0x0100, 0x0101, 0x0102], bank=2, bits=8)[0] == -1


def test_a_code_is_a_power_of_two_above_the_base() -> None:
    at, weights, cycles = decode([5, 0x010, 0x00F, 0xF20, 0x721, 0x822], bits=4, base=3)
    assert (at, weights[:4]) == (6, [1 << 3, -1 << 10, 1 << 10, -1 << 3])
    assert cycles == [5, 5]
    # A skip of (15 << 4 | 15) + 1 times 16 kernels: 4096 of 64 slots is in channel 64.
    assert decode([2, 0xFFF, 0x000], slots=64, channels=65, bits=4)[0] == 3
    assert decode([2, 0xFFF, 0x000], slots=64, channels=64, bits=4)[0] == -1
    assert decode([1, 0x700], base=7, bits=4)[:2] == (2, [1 << 14, *[0] * 7])
    assert decode([1, 0x700], base=8, bits=4)[0] == -1  # 2^15
    assert decode([5, 0x000, 0x001, 0x002, 0x003], bits=4)[0] == -1  # a fifth token


def test_units_that_lead_outside_are_malformed() -> None:
    good = [2, 0x1000, 5, 6]
    assert decode(good)[0] == 4
    assert decode([3, 0x1000, 5, 6])[0] == -1  # a third token: none there
    assert decode([2, 0x0900, 5, 6])[0] == -1  # position 9 of a 3x3 kernel
    assert decode([1, 0x00F0, 5, 0], channels=8)[0] == 4 - 1
    assert decode([1, 0x00F0, 5, 0], channels=7)[0] == -1  # kernel 15 of 14
    many = [9, 0x0100, 1, 2, 0x0302, 3, 4, 0x0504, 5, 6, 0x0706, 7, 8, 0x0008, 9]
    assert decode(many, bank=9)[0] == 15
    assert decode(many, bank=8)[0] == -1  # nine weights for a bank of eight


def test_headers_beyond_their_bank_are_malformed() -> None:
    content = np.array([2, 0x1000, 5, 6], dtype=np.uint16)
    for bank, expected in ((2, 4), (1, -1)):
        fields = [np.zeros(bank, dtype=np.int64) for _ in range(3)]
        start, weights = np.zeros(9, dtype=np.int64), np.zeros(8, dtype=np.int64)
        cycles = np.zeros(1, dtype=np.int64)
        assert _unpack(content, 16, 0, 4, 9, 2, start, *fields, weights, cycles) == expected


# --- damage ---------------------------------------------------------------------------------


def guarded(
    bank: int, units: npt.NDArray[np.uint16], kernel: int, *, bits: int
) -> tuple[int, bool]:
    """Decode into slices of larger arrays; whether nothing outside the slices was written."""
    margin = 4096
    outer = [np.full(bank + 2 * margin, -7, dtype=np.int64) for _ in range(6)]
    sizes = [9, bank, bank, bank, bank, units.size // (5 if bits == 4 else 4)]
    inner = [array[margin : margin + size] for array, size in zip(outer, sizes, strict=True)]
    for part in inner:
        part[:] = 0
    start, wsp, slot, weight_start, weights, cycles = inner
    form = bits, 0, PID_BITS[kernel], kernel**2, 4
    at = _unpack(units, *form, start, wsp, slot, weight_start, weights, cycles)
    clean = all(
        (array[:margin] == -7).all() and (array[margin + size :] == -7).all()
        for array, size in zip(outer, sizes, strict=True)
    )
    return int(at), clean


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
def test_no_units_lead_to_a_write_out_of_bounds(kernel: int) -> None:
    rng = np.random.default_rng(kernel)
    results = set()
    for turn in range(400):
        units = rng.integers(0, 1 << 16, int(rng.choice((20, 40, 400))), dtype=np.uint16)
        if turn % 2:  # dense tokens of small gaps: they fill banks before they leave the channels
            pid = rng.integers(0, kernel**2, 2 * units.size)
            units = (pid[::2] | pid[1::2] << 8).astype(np.uint16)
        units[0] = rng.choice((0, 1, 7, 60, 65535))
        bank, bits = int(rng.choice((1, 4, 30))), int(rng.choice((4, 8, 16)))
        units &= (1 << (12 if bits == 4 else 16)) - 1
        at, clean = guarded(bank, units, kernel, bits=bits)
        assert clean
        assert -1 <= at <= units.size
        results.add(at < 0)
    assert results == {False, True}


def outcome(packed: Packed) -> str:
    """The error, or an empty text for a stream that can be loaded and run."""
    try:
        accelerator = Accelerator(packed)
    except EvenspikeError as error:
        return str(error)
    first, kind = packed.layers[0], mask_type(packed.timesteps)
    runs = accelerator.run(np.ones((first.filters, *first.size), dtype=kind))
    assert len(runs) == len(packed.layers)
    return ""


@pytest.mark.parametrize("seed", range(60))
def test_a_damaged_stream_is_refused_or_runs(seed: int) -> None:
    _, packed = packed_network(seed % 20, max_filters=8)
    rng = np.random.default_rng(seed)
    for turn in range(6):
        stream = packed.stream.copy()
        if turn == 0:
            stream = rng.integers(0, 1 << 64, stream.size, dtype=np.uint64)
        elif turn == 1:
            stream = stream[: int(rng.integers(stream.size))]
        elif turn == 2:  # absurd counts of words and tokens
            stream[rng.integers(stream.size)] = np.uint64((1 << 64) - 1)
        else:
            for at in rng.integers(stream.size, size=turn):
                stream[at] ^= np.uint64(1) << np.uint64(rng.integers(64))
        message = outcome(replace(packed, stream=stream))
        assert not message or any(part in message for part in MALFORMED)
        assert not message or message.startswith("layer ")


def test_damage_is_seen_or_changes_the_result() -> None:
    """Every word matters: flip one bit in each."""
    program, arch = random_program(4), Arch(pes=4, timesteps=8)
    packed = pack(program, choose(program, arch), arch)
    masks = reference.encode(program, random_pixels(program, 0))
    good = [chunks for _, _, chunks in passes(packed)]
    for at in range(0, packed.stream.size, 7):
        stream = packed.stream.copy()
        stream[at] ^= np.uint64(1)
        damaged = replace(packed, stream=stream)
        try:
            found = [chunks for _, _, chunks in passes(damaged)]
        except EvenspikeError:
            continue
        assert not all(
            np.array_equal(a.weights, b.weights)
            and np.array_equal(a.wsp, b.wsp)
            and np.array_equal(a.slot, b.slot)
            and np.array_equal(a.bias, b.bias)
            and np.array_equal(a.kernel_start, b.kernel_start)
            for one, two in zip(good, found, strict=True)
            for a, b in zip(one, two, strict=True)
        )
        Accelerator(damaged).run(masks)


def test_messages_name_the_layer_the_pass_and_the_pe() -> None:
    program, arch = random_program(4), Arch(pes=4, timesteps=8)
    packed = pack(program, choose(program, arch), arch)
    found = packed.layers[1]
    address, words = found.passes[0]
    stream = packed.stream.copy()
    stream[address + 1] = np.uint64(0xFFFF)  # PE 0 has 65535 tokens
    with pytest.raises(EvenspikeError) as caught:
        load_pass(replace(packed, stream=stream), found, 0)
    where = f"layer {found.name}: pass 0, chunk 0: "
    assert str(caught.value) == f"{where}the weight stream of PE 0 is malformed"
    with pytest.raises(EvenspikeError) as caught:
        load_pass(replace(packed, stream=stream[: address + 2]), found, 0)
    assert str(caught.value) == (
        f"{where}the chunk at word {address} ends behind the weight stream of {address + 2} words"
    )
    other = replace(found, passes=((address, words + 1), *found.passes[1:]))
    with pytest.raises(EvenspikeError) as caught:
        load_pass(packed, other, 0)
    assert str(caught.value) == (f"layer {found.name}: pass 0 has {words + 1} words, not all used")


def test_the_biases_take_their_part_of_the_last_bank() -> None:
    program, arch = random_program(4), Arch(pes=4, timesteps=8)
    packed = pack(program, choose(program, arch), arch)
    found = packed.layers[1]
    (chunk,) = load_pass(packed, found, 0)
    need = int(max(np.count_nonzero(row) for row in chunk.weights)) + 2 * found.slots
    exact = replace(arch, header_words=arch.scratchpad_words // 2 - need)
    assert exact.weight_words == need
    load_pass(replace(packed, arch=exact), found, 0)
    short = replace(exact, header_words=exact.header_words + 1)
    with pytest.raises(EvenspikeError, match=r"is malformed$"):
        load_pass(replace(packed, arch=short), found, 0)


def test_a_bank_that_overflows_is_malformed() -> None:
    program = random_program(4)
    arch = Arch(pes=4, timesteps=8)
    packed = pack(program, choose(program, arch), arch)
    smallest = replace(arch, scratchpad_words=256, header_words=8)
    with pytest.raises(EvenspikeError, match=r"^layer layer\d: .* is malformed$"):
        Accelerator(replace(packed, arch=smallest))
