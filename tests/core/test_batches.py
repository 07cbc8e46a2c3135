"""A batch in mapping and memory: what is refused, and where the maps of its images lie."""

from __future__ import annotations

from dataclasses import replace

import pytest

from evenspike_core.arch import Arch
from evenspike_core.errors import EvenspikeError
from evenspike_core.mapping import Mapping, candidates, choose
from evenspike_core.pack import pack
from evenspike_core.program import Program
from evenspike_core.unpack import unpack
from tests.helpers.archs import random_arch, random_mapping
from tests.helpers.networks import random_program
from tests.helpers.tiny import TINY, same

ARCH = Arch(pes=1, row_entries=1)


def refusal(program: Program, arch: Arch, batch: int) -> str:
    with pytest.raises(EvenspikeError) as caught:
        choose(program, arch, batch=batch)
    return str(caught.value)


@pytest.mark.parametrize("batch", [0, -1, 3, 6, 128, True, 2.0])
def test_a_batch_is_a_power_of_two_up_to_64(batch: int) -> None:
    says = f"batch is {batch!r}, possible are powers of two from 1 to 64"
    assert refusal(TINY, ARCH, batch) == says


def test_a_batch_beyond_the_spike_memory_names_the_layer_and_what_there_is() -> None:
    # The input of 2 x 2 in three channels, and `body` behind it with 1 x 1 in two.
    enough = 4 * (12 + 2)
    says = (
        "layer first: its spikes take 12 entries; Arch spike_entries is 47, of which each of the "
        "4 images of the batch has 11"
    )
    assert refusal(TINY, replace(ARCH, spike_entries=47), 4) == says
    says = (
        "layer body: no room for 2 entries of spikes beside those still needed; Arch "
        f"spike_entries is {enough - 1}, of which each of the 4 images of the batch has 13"
    )
    assert refusal(TINY, replace(ARCH, spike_entries=enough - 1), 4) == says
    arch = replace(ARCH, spike_entries=enough)
    assert pack(TINY, choose(TINY, arch, batch=4), arch).region == 14
    more = replace(TINY, timesteps=5)
    says = "of which each of the 4 images of the batch and 2 groups of 4 timesteps has 13"
    assert refusal(more, replace(ARCH, spike_entries=2 * enough - 1), 4).endswith(says)


def test_pack_refuses_what_choose_refuses() -> None:
    mapping = choose(TINY, ARCH, batch=4)
    with pytest.raises(
        EvenspikeError, match=r"^layer first: its spikes take 12 entries; .* has 11$"
    ):
        pack(TINY, mapping, replace(ARCH, spike_entries=47))


@pytest.mark.parametrize(("images", "room"), [(3, 4), (8, 4), (0, 4), (4, 2)])
def test_images_that_cannot_share_a_round_are_refused(images: int, room: int) -> None:
    mapping = choose(TINY, ARCH, batch=4)
    body = mapping[1]
    neurons = body.tile[0] * body.tile[1] * body.slots
    arch = replace(ARCH, accumulators=neurons * room)
    wrong: Mapping = (mapping[0], replace(body, images=images), mapping[2])
    says = (
        rf"^layer body: in the mapping {images} images share a round; possible are powers of two "
        rf"up to the batch of 4, and up to {room}, for which Arch accumulators {neurons * room} "
        r"have room$"
    )
    with pytest.raises(EvenspikeError, match=says):
        pack(TINY, wrong, arch)


def test_images_that_share_a_round_leave_each_other_rows() -> None:
    for images in (1, 2, 4, 8):
        for layer in TINY.layers[1:]:
            for (height, width), slots in candidates(layer, replace(ARCH, accumulators=16), images):
                assert height * width * slots * images <= 16
    # A pool of 2 x 2 has no room where 8 images share 16 rows.
    assert not candidates(TINY.layers[1], replace(ARCH, accumulators=16), 8)


@pytest.mark.parametrize("seed", range(12))
def test_the_weights_are_packed_as_without_a_batch(seed: int) -> None:
    """Images need input, maps and results of their own, and share everything else."""
    program, arch = random_program(seed), random_arch(seed)
    mapping = random_mapping(program, arch, seed, 4)
    packed = pack(program, mapping, arch)
    single = pack(program, tuple(replace(one, images=1) for one in mapping), arch)
    assert (packed.batch, packed.maps) == (4, 4 * packed.groups)
    assert [layer.images for layer in packed.layers] == [one.images for one in mapping]
    assert packed.stream.tolist() == single.stream.tolist()
    assert packed.input_words == 4 * single.input_words
    assert packed.region == arch.spike_entries // packed.maps
    for layer, alone in zip(packed.layers[:-1], single.layers[:-1], strict=True):
        assert layer.spike_base == alone.spike_base
        height, width = (n // layer.pool for n in layer.size)
        assert layer.spike_base + len(layer.blocks) * height * width <= packed.region
    assert same(unpack(packed), unpack(single))
