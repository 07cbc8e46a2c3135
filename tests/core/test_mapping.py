"""Mapping: every filter and channel exactly once, every bank large enough, and the best chosen."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from evenspike_core import mapping
from evenspike_core.arch import HEADER_UNITS, PID_BITS, Arch
from evenspike_core.errors import EvenspikeError
from evenspike_core.mapping import (
    LayerMapping,
    assign,
    candidates,
    choose,
    filter_cost,
    input_mapping,
)
from evenspike_core.pack import pack
from evenspike_core.program import PIXELS, Coding, Layer, Program, Readout, Segment
from tests.helpers.archs import random_arch, random_mapping
from tests.helpers.networks import random_program
from tests.helpers.tiny import layer, segment

SEEDS = range(40)
SMALL = Arch(pes=4, slots=8, accumulators=64)


def plain(filters: int, channels: int = 2, side: int = 8, kernel: int = 3) -> Program:
    """One hidden layer of dense weights between a host layer and a last one."""
    image = segment(PIXELS, (channels, 1, 1, 1), 0)
    first = layer("first", image, (side, side), coding=Coding.DIRECT)
    weights, padding = (filters, channels, kernel, kernel), -(kernel // 2)
    body = layer("body", segment(0, weights, offset=(padding, padding)), (side, side))
    ends = segment(1, (1, filters, 1, 1), 0, average=side)
    shrink = layer("shrink", ends, (1, 1), readout=Readout.PSUM)
    return Program("plain", 4, (1, side, side), (first, body, shrink))


# --- assignment ------------------------------------------------------------------------------


@pytest.mark.parametrize("natural", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_every_filter_is_assigned_exactly_once(seed: int, natural: bool) -> None:
    rng = np.random.default_rng(seed)
    filters, pes = int(rng.integers(1, 200)), int(rng.choice((1, 2, 4, 16)))
    slots = int(rng.choice((1, 2, 8, 64)))
    cost = rng.random(filters) * (rng.random(filters) < 0.7)
    found = assign(cost, slots, replace(Arch(), pes=pes), natural=natural)
    assert found.shape == (-(-filters // (pes * slots)), slots, pes)
    assert sorted(found[found >= 0]) == list(range(filters))
    assert (found >= -1).all()


@pytest.mark.parametrize(("filters", "slots"), [(1, 1), (16, 1), (33, 2), (70, 4), (128, 4)])
def test_natural_order(filters: int, slots: int) -> None:
    pes = 16
    found = assign(np.arange(filters, dtype=np.float64)[::-1], slots, Arch(), natural=True)
    for number, block, pe in np.ndindex(*found.shape):
        expected = number * pes * slots + block * pes + pe
        assert found[number, block, pe] == (expected if expected < filters else -1)
    for f in range(filters):
        ((number, _, pe),) = np.argwhere(found == f)
        assert (number, pe) == (f // (pes * slots), f % pes)


def slowest(found: npt.NDArray[np.int32], cost: npt.NDArray[np.float64]) -> float:
    """What the barriers make of an assignment: the sum over passes of the slowest PE's work."""
    work = np.where(found >= 0, cost[found], 0.0).sum(axis=1)
    return float(work.max(axis=1).sum())


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("slots", [1, 4])
def test_balancing_beats_the_natural_order(seed: int, slots: int) -> None:
    rng = np.random.default_rng(seed)
    cost = rng.random(256) ** 2
    arch = Arch()
    balanced = slowest(assign(cost, slots, arch), cost)
    natural = slowest(assign(cost, slots, arch, natural=True), cost)
    ideal = cost.sum() / arch.pes
    assert ideal <= balanced
    # One filter a PE: sorting alone. Four: longest-first evens out what sorting left.
    assert balanced < (0.5 if slots == 1 else 0.65) * natural
    assert balanced < (1.12 if slots == 1 else 1.03) * ideal


def test_longest_first_goes_to_the_least_loaded_pe_with_a_free_slot() -> None:
    arch = Arch(pes=2)
    # PE 0 takes 9, PE 1 takes 7 and 5; 4 goes to PE 0 (9 < 12), 1 to PE 1 (12 < 13): now full.
    found = assign(np.array([4.0, 9.0, 1.0, 5.0, 7.0, 0.0]), 4, arch)
    assert found.tolist() == [[[1, 4], [0, 3], [5, 2], [-1, -1]]]


def test_filters_of_like_cost_share_a_pass() -> None:
    cost = np.array([1.0, 8.0, 2.0, 7.0, 9.0, 3.0, 6.0, 4.0])
    found = assign(cost, 1, Arch(pes=4))
    assert [sorted(cost[row[0]]) for row in found] == [[6, 7, 8, 9], [1, 2, 3, 4]]


@pytest.mark.parametrize("filters", [1, 3, 4, 5, 9, 16, 17])
@pytest.mark.parametrize("natural", [False, True])
def test_a_partial_pass_spreads_over_the_pes_first(filters: int, natural: bool) -> None:
    arch = Arch(pes=4, slots=4)
    cost = np.arange(filters, dtype=np.float64) ** 3
    found = LayerMapping((1, 1), assign(cost, 4, arch, natural=natural))
    for number in range(found.passes):
        members = min(16, filters - 16 * number)
        assert found.slots_used(number) == -(-members // 4)
        used = found.assignment[number] >= 0
        assert (np.diff(used.astype(int), axis=0) <= 0).all(), "slots are filled from 0"


@pytest.mark.parametrize("seed", SEEDS)
def test_blocks_are_the_slots_in_use_in_order_of_pass_and_slot(seed: int) -> None:
    program = random_program(seed)
    arch = random_arch(seed)
    for one in random_mapping(program, arch, seed):
        expected = [
            row
            for number in range(one.passes)
            for row in one.assignment[number, : one.slots_used(number)].tolist()
        ]
        assert one.blocks.tolist() == expected
        assert one.blocks.shape[1] == arch.pes


# --- cost of a filter -------------------------------------------------------------------------


def matches(program: Program, one: Layer, rates: Sequence[npt.NDArray[np.float64]]) -> list[float]:
    """Expected matched weights of each filter, output position by output position."""
    found = [0.0] * one.filters
    for part in one.segments:
        _, height, width = program.source_shape(part)
        side = part.average
        alive = part.weights != 0
        for y, x, r, s in np.ndindex(*one.size, part.kernel, part.kernel):
            row = y * part.stride + r + part.offset[0]
            column = x * part.stride + s + part.offset[1]
            if 0 <= row < height // side and 0 <= column < width // side:
                for f in range(one.filters):
                    reached = alive[f, :, r, s] * rates[part.source]
                    found[f] += float(reached.sum()) * side**2
    return found


@pytest.mark.parametrize("seed", range(12))
def test_filter_cost_counts_matches_at_every_position(seed: int) -> None:
    program = random_program(seed, max_side=6, max_filters=5)
    rng = np.random.default_rng(seed)
    rates = [rng.random(one.filters) for one in program.layers]
    ones = [np.ones(one.filters) for one in program.layers]
    for one in program.layers[1:]:
        assert filter_cost(program, one, rates) == pytest.approx(matches(program, one, rates))
        assert filter_cost(program, one, ()) == pytest.approx(matches(program, one, ones))
        unknown = [None] * len(program.layers)
        assert filter_cost(program, one, unknown) == pytest.approx(matches(program, one, ones))


# --- tiles and candidates ---------------------------------------------------------------------


@pytest.mark.parametrize(("tile", "size"), [((4, 8), (9, 17)), ((1, 1), (3, 2)), ((8, 8), (5, 5))])
def test_tiles_cover_the_map_once_and_are_clipped_to_it(
    tile: tuple[int, int], size: tuple[int, int]
) -> None:
    seen = np.zeros(size, dtype=int)
    one = LayerMapping(tile, np.zeros((1, 1, 1), dtype=np.int32))
    for y, x, height, width in one.tiles(size):
        assert y % tile[0] == x % tile[1] == 0
        assert 1 <= height <= tile[0]
        assert 1 <= width <= tile[1]
        assert y + height <= size[0]
        assert x + width <= size[1]
        seen[y : y + height, x : x + width] += 1
    assert (seen == 1).all()


def power(value: int) -> bool:
    return value.bit_count() == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_candidates_fill_the_accumulators(seed: int) -> None:
    arch = random_arch(seed)
    for one in random_program(seed).layers:
        found = candidates(one, arch)
        assert found, "every layer has a candidate"
        areas = [height * width for (height, width), _ in found]
        assert areas == sorted(areas, reverse=True)
        assert len(set(found)) == len(found)
        for (height, width), slots in found:
            assert power(height)
            assert power(width)
            assert power(slots)
            assert width in (height, 2 * height)
            assert min(height, width) >= one.pool, "a pooling window lies in one tile"
            assert height < 2 * one.size[0]
            assert width < 2 * one.size[1]
            assert height * width * slots <= arch.accumulators
            full = 2 * height * width * slots > arch.accumulators
            enough = slots * arch.pes >= one.filters
            assert full or enough or slots == arch.slots
            assert slots == 1 or slots // 2 * arch.pes < one.filters, "no slot that nobody uses"


def test_candidates_of_a_square_map_are_all_tiles() -> None:
    body = plain(64, side=8).layers[1]
    found = candidates(body, Arch())
    assert found == [
        ((8, 8), 4),
        ((4, 8), 4),
        ((4, 4), 4),
        ((2, 4), 4),
        ((2, 2), 4),
        ((1, 2), 4),
        ((1, 1), 4),
    ]
    assert candidates(replace(body, pool=2), replace(Arch(), slots=1))[-1] == ((2, 2), 1)
    assert candidates(body, replace(Arch(), accumulators=32))[0] == ((4, 8), 1)


# --- chunks -----------------------------------------------------------------------------------


def loads(
    program: Program, index: int, found: Sequence[LayerMapping], part: int
) -> npt.NDArray[np.int64]:
    """Living weights of every kernel, [passes, pes, channels, slots], from the Program alone."""
    one, plan = program.layers[index], found[index]
    source = one.segments[part]
    lanes = [int(f) for row in found[source.source].blocks for f in row]
    alive = np.zeros((plan.passes, plan.assignment.shape[2], len(lanes), plan.slots), dtype=int)
    for number, slot, pe in np.ndindex(*plan.assignment.shape):
        f = plan.assignment[number, slot, pe]
        for channel, lane in enumerate(lanes):
            if f >= 0 and lane >= 0:
                alive[number, pe, channel, slot] = np.count_nonzero(source.weights[f, lane])
    return alive


def port_words(kernels: npt.NDArray[np.int64], kernel: int, spare: int, bits: int) -> int:
    """Words of one PE's chunk, [channels, slots] weights, token by token as the format says."""
    step = 1 << (8 - PID_BITS[kernel])
    most = step << bits if bits < 16 else step
    tokens, before = 0, 0
    for at, count in enumerate(kernels.reshape(-1).tolist()):
        if count:
            gap, before = at - before, at
            while gap >= step:
                gap -= min(gap // step, most) * step
                tokens += 1
            tokens += count
    if bits < 16:
        return -(-(1 + tokens + spare) // {4: 5, 8: 4}[bits])
    return -(-(1 + -(-tokens // 2) + int(kernels.sum()) + spare) // 4)


def holds(alive: npt.NDArray[np.int64], kernel: int, start: int, spare: int, arch: Arch) -> bool:
    """Whether half a scratchpad holds these channels, alive [passes, pes, channels, slots]."""
    channels = alive.shape[2]
    weights = alive.sum(axis=(2, 3))
    headers = (alive > 0).sum(axis=(2, 3)) * HEADER_UNITS[kernel]
    blocks = (start + channels - 1) // arch.pes - start // arch.pes + 1
    return bool(
        weights.max() + spare <= arch.scratchpad_words // 2 - arch.header_words
        and headers.max() <= arch.header_words
        and blocks <= arch.chunk_blocks
    )


def pieces(found: Sequence[LayerMapping]) -> Iterator[tuple[int, int, int, int]]:
    """(layer, position, start, end) of every chunk."""
    for index, plan in enumerate(found):
        for position, (_, start, end) in enumerate(plan.chunks):
            yield index, position, start, end


@pytest.mark.parametrize("seed", SEEDS)
def test_chunks_cover_every_channel_of_every_segment_once_and_in_order(seed: int) -> None:
    program = random_program(seed)
    found = random_mapping(program, random_arch(seed), seed)
    assert found[0].chunks == ()
    for one, plan in zip(program.layers[1:], found[1:], strict=True):
        expected = [
            (number, channel)
            for number, part in enumerate(one.segments)
            for channel in range(found[part.source].blocks.size)
        ]
        covered = [(part, c) for part, start, end in plan.chunks for c in range(start, end)]
        assert covered == expected
        assert all(start < end for _, start, end in plan.chunks)


@pytest.mark.parametrize("seed", SEEDS)
def test_chunks_fit_the_banks_and_could_not_be_larger(seed: int) -> None:
    program, arch = random_program(seed), random_arch(seed)
    found = random_mapping(program, arch, seed)
    for index, position, start, end in pieces(found):
        plan, one = found[index], program.layers[index]
        part = plan.chunks[position][0]
        kernel, bits = one.segments[part].kernel, one.stream_bits(one.segments[part])
        alive = loads(program, index, found, part)
        final = position == len(plan.chunks) - 1
        spare = 2 * plan.slots if final else 0
        assert holds(alive[:, :, start:end], kernel, start, spare, arch)
        for number, pe in np.ndindex(plan.passes, arch.pes):
            assert port_words(alive[number, pe, start:end], kernel, spare, bits) <= 255
        if end == alive.shape[2]:
            continue
        # The rest would have been the last chunk and held the biases too, if it was no larger.
        rest = part == len(one.segments) - 1 and holds(alive[:, :, start:], kernel, start, 0, arch)
        extra = 2 * plan.slots if rest else 0
        crowded = max(
            port_words(alive[number, pe, start : end + 1], kernel, extra, bits)
            for number, pe in np.ndindex(plan.passes, arch.pes)
        )
        if crowded < 150:  # the mapper bounds the skip tokens from above
            assert not holds(alive[:, :, start : end + 1], kernel, start, extra, arch)


@pytest.mark.parametrize(("bits", "channels"), [(4, 140), (8, 112)])
def test_a_chunk_ends_where_the_count_of_its_words_does(bits: int, channels: int) -> None:
    """255 words of five or four units take the number of units, and 9 weights a channel.

    A skip for each 16 kernels is held back: 9 * 140 + 140 // 16 + 1 = 1,269 of 1,275 units, and
    9 * 112 + 112 // 16 + 1 = 1,016 of 1,020. A channel more would need 1,278 and 1,025.
    """
    arch = Arch(pes=2, scratchpad_words=4096, header_words=512, chunk_blocks=128)
    program = plain(2, channels=channels + 20)
    first, body, shrink = program.layers
    full = replace(body.segments[0], weights=np.ones_like(body.segments[0].weights))
    stated = replace(body, segments=(full,), weight_bits=bits)
    found = choose(replace(program, layers=(first, stated, shrink)), arch)[1]
    assert found.chunks[0] == (0, 0, channels)


def test_one_chunk_makes_a_pass_resident() -> None:
    program = plain(4, channels=4)
    resident = choose(program, SMALL)[1]
    assert resident.chunks == ((0, 0, 4),)
    assert resident.resident
    blocks = choose(plain(4, channels=9), replace(SMALL, chunk_blocks=1))[1]
    assert blocks.chunks == ((0, 0, 4), (0, 4, 8), (0, 8, 12))
    assert not blocks.resident


def test_the_biases_get_a_chunk_of_their_own_if_they_must() -> None:
    # 4 channels of 9 weights a filter and 4 slots: 144 words; with the biases 152.
    for bank, chunks in ((152, 1), (151, 2), (144, 2), (143, 2)):
        arch = Arch(pes=1, slots=4, scratchpad_words=512, header_words=256 - bank)
        program = plain(4, channels=4, side=2)
        mapped = [first(program)]
        one = mapping.candidate(program.layers[1], mapped, (2, 2), 4, arch, np.ones(4))
        assert one is not None
        assert len(one.chunks) == chunks, bank


def first(program: Program) -> LayerMapping:
    return input_mapping(program.layers[0], Arch(pes=1))


def test_slots_are_halved_until_a_channel_fits() -> None:
    # Dense 7x7 kernels: 49 weights each, banks of 64: one slot; of 1728: all that are useful.
    program = plain(64, channels=2, side=4, kernel=7)
    narrow = replace(Arch(), scratchpad_words=256, header_words=64)
    wide = replace(Arch(), scratchpad_words=4096, header_words=320)
    assert choose(program, narrow)[1].slots == 1
    assert choose(program, wide)[1].slots == 4
    one = program.layers[1]
    mapped = [input_mapping(program.layers[0], Arch())]
    assert mapping.candidate(one, mapped, (4, 4), 2, narrow, np.ones(64)) is None


@pytest.mark.parametrize("words", [1024, 2048, 8192, 65536])
@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
def test_large_scratchpads_stay_within_the_word_counts_of_the_stream(
    words: int, kernel: int
) -> None:
    program = plain(64, channels=64, side=4, kernel=kernel)
    arch = replace(Arch(), scratchpad_words=words, header_words=words // 4)
    pack(program, choose(program, arch), arch)


# --- the choice ---------------------------------------------------------------------------------


@pytest.mark.parametrize("natural", [False, True])
@pytest.mark.parametrize("seed", range(15))
def test_the_cheapest_candidate_is_taken(seed: int, natural: bool) -> None:
    program, arch = random_program(seed, max_filters=8), random_arch(seed)
    rng = np.random.default_rng(seed)
    asked: dict[int, list[tuple[int, LayerMapping]]] = {}

    def cost(
        of: Program,
        index: int,
        before: Sequence[LayerMapping],
        candidate: LayerMapping,
        limit: int | None,
    ) -> int:
        assert of is program
        assert len(before) == index
        assert limit == min((cycles for cycles, _ in asked.get(index, [])), default=None)
        cycles = int(rng.integers(5))  # ties are frequent
        asked.setdefault(index, []).append((cycles, candidate))
        return cycles

    found = choose(program, arch, cost, natural=natural)
    assert sorted(asked) == list(range(1, len(program.layers))), "the host layer has no choice"
    for index, offers in asked.items():
        least = min(cycles for cycles, _ in offers)
        cheapest = [offer for cycles, offer in offers if cycles == least]
        assert found[index] is cheapest[0]
        areas = [offer.tile[0] * offer.tile[1] for offer in cheapest]
        assert areas[0] == max(areas), "of equals the larger tile"
        assert [offer.tile for _, offer in offers] == [
            tile for tile, _ in candidates(program.layers[index], arch)
        ]


@pytest.mark.parametrize("seed", range(10))
def test_without_a_cost_the_largest_tile_is_taken(seed: int) -> None:
    program, arch = random_program(seed), random_arch(seed)
    found = choose(program, arch)
    for one, plan in zip(program.layers[1:], found[1:], strict=True):
        assert plan.tile == candidates(one, arch)[0][0]


@pytest.mark.parametrize("natural", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_the_input_keeps_its_order(seed: int, natural: bool) -> None:
    """The encoder's channels are blocks as they come, whatever they cost; nothing is chosen."""
    program, arch = random_program(seed), random_arch(seed)
    found = choose(program, arch, natural=natural)[0]
    channels = program.layers[0].filters
    assert found.assignment.shape == (-(-channels // arch.pes), 1, arch.pes)
    lanes = found.assignment.reshape(-1)
    assert lanes.tolist() == [n if n < channels else -1 for n in range(lanes.size)]
    assert np.array_equal(found.blocks.reshape(-1), lanes)
    assert (found.chunks, found.tile, found.slots) == ((), (1, 1), 1)


def test_natural_choice_keeps_the_order_of_the_filters() -> None:
    program = plain(40)
    for plan in choose(program, SMALL, natural=True):
        used = plan.blocks.reshape(-1)
        assert used[used >= 0].tolist() == sorted(used[used >= 0])
    skewed = program.layers[1].segments[0].weights.copy()
    skewed[:20] = 0
    body = replace(program.layers[1], segments=(Segment(0, skewed, offset=(-1, -1)),))
    program = replace(program, layers=(program.layers[0], body, program.layers[2]))
    balanced = choose(program, SMALL)[1].assignment
    assert sorted(balanced[:5].reshape(-1)) == list(range(20, 40)), "the heavy filters first"


def test_activity_of_the_source_decides_the_balance() -> None:
    program = plain(8, channels=8)
    weights = program.layers[1].segments[0].weights.copy()
    weights[:] = 0
    for f in range(8):
        weights[f, f] = 1  # every filter has nine weights, each from another channel
    body = replace(program.layers[1], segments=(Segment(0, weights, offset=(-1, -1)),))
    program = replace(program, layers=(program.layers[0], body, program.layers[2]))
    rates = [np.linspace(0.1, 0.8, 8), None, None]
    arch = Arch(pes=4, slots=1)
    assert sorted(choose(program, arch, activity=rates)[1].assignment[0, 0]) == [4, 5, 6, 7]
    assert sorted(choose(program, arch)[1].assignment[0, 0]) == [0, 1, 2, 3]


# --- what an Arch cannot run ---------------------------------------------------------------------


def refused(program: Program, arch: Arch) -> str:
    with pytest.raises(EvenspikeError) as caught:
        choose(program, arch)
    return str(caught.value)


def test_too_large_a_map() -> None:
    side = 257
    one = layer("wide", segment(PIXELS, (1, 1, 1, 1), 0), (1, side), coding=Coding.DIRECT)
    body = layer("body", segment(0, (1, 1, 1, 1), 0), (1, side))
    last = layer("last", segment(1, (1, 1, 1, 1), 0), (1, 1), readout=Readout.PSUM)
    program = Program("p", 4, (1, 1, side), (one, body, last))
    assert refused(program, Arch()) == "layer wide: map (1, 257), the limit is 256"
    narrow = replace(program, layers=(replace(one, size=(1, 256)), body, last))
    assert refused(narrow, Arch()) == "layer body: map (1, 257), the limit is 256"


def test_of_an_encoder_the_map_behind_its_pool_counts() -> None:
    image = segment(PIXELS, (1, 1, 1, 1), 0)
    one = layer("wide", image, (2, 512), pool=2, coding=Coding.DIRECT)
    last = layer("last", segment(0, (1, 1, 1, 1), 0), (1, 1), readout=Readout.PSUM)
    program = Program("p", 4, (1, 2, 512), (one, last))
    assert len(choose(program, Arch())) == 2
    wider = replace(program, layers=(replace(one, size=(2, 514)), last))
    assert refused(wider, Arch()) == "layer wide: map (2, 514), the limit is 256"


@pytest.mark.parametrize(
    ("timesteps", "entries", "room"),
    [
        (4, 191, "Arch spike_entries is 191"),
        (
            5,
            383,
            "Arch spike_entries is 383, of which each of the 2 groups of 4 timesteps has 191",
        ),
        (
            32,
            8 * 192 - 1,
            "Arch spike_entries is 1535, of which each of the 8 groups of 4 timesteps has 191",
        ),
    ],
)
def test_too_many_spikes(timesteps: int, entries: int, room: str) -> None:
    """A map of 192 entries in each group of timesteps."""
    program = replace(plain(33, side=8), timesteps=timesteps)
    message = f"layer body: its spikes take 192 entries; {room}"
    assert refused(program, replace(Arch(), spike_entries=entries, row_entries=1)) == message
    assert len(choose(program, replace(Arch(), spike_entries=entries + 1, row_entries=1))) == 3


def test_a_channel_that_fits_no_bank() -> None:
    # No valid Arch is that small (a 7x7 kernel takes 51 words), so this one is forged.
    arch = replace(Arch(), scratchpad_words=256, header_words=64)
    object.__setattr__(arch, "header_words", 90)
    message = refused(plain(4, kernel=7, side=2), arch)
    assert re.fullmatch(
        r"layer body: one channel of one filter needs more than the 38 weights or 90 headers "
        r"of half a scratchpad; raise Arch scratchpad_words or change header_words",
        message,
    )
