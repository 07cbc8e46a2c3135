"""8-bit weights: in which layers, what changes, and what never does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evenspike.flows.images import images
from evenspike.flows.models import load
from evenspike_core import reference
from evenspike_core.errors import EvenspikeError
from evenspike_core.narrow import narrow
from evenspike_core.program import Layer, Program
from tests.helpers.networks import random_pixels, random_program


def scaled(layer: Layer, factor: int) -> Layer:
    """The layer with everything that counts in its units times a number."""
    segments = tuple(replace(one, weights=one.weights * factor) for one in layer.segments)
    return replace(
        layer,
        segments=segments,
        bias=layer.bias * factor,
        threshold=layer.threshold * factor,
        reset=layer.reset * factor,
        weight_bits=None,
    )


def middle(program: Program) -> Program:
    """The Program with weights of 8 bits, times 64, between its encoder and its read-out."""
    found = []
    for layer in program.layers[1:-1]:
        small = [replace(one, weights=(one.weights >> 8).clip(-127, 127)) for one in layer.segments]
        low = replace(layer, segments=tuple(small), bias=layer.bias >> 8, threshold=90, reset=90)
        found.append(scaled(low, 64))
    return replace(program, layers=(program.layers[0], *found, program.layers[-1]))


def networks(count: int) -> list[Program]:
    """Random Programs with layers whose weights do not fit 8 bits."""
    found: list[Program] = []
    seed = 0
    while len(found) < count:
        seed += 1
        program = random_program(seed)
        if any(s.weight_bits == 16 for one in program.layers[1:-1] for s in one.segments):
            found.append(program)
    return found


@pytest.mark.parametrize("program", networks(12), ids=lambda one: one.name)
def test_narrowed_layers_fit_and_keep_the_limit(program: Program) -> None:
    pictures = [random_pixels(program, n) for n in range(3)]
    before = [reference.run(program, pixels).masks for pixels in pictures]
    found = narrow(program, pictures, limit=0.05)
    assert [one.name for one in found.layers] == [one.name for one in program.layers[1:-1]]
    for index, row in enumerate(found.layers, 1):
        old, new = program.layers[index], found.program.layers[index]
        if not row.halved:
            assert new == old
            continue
        assert row.bits == 8
        assert {s.weight_bits for s in new.segments} <= {4, 8}
        assert row.lost == old.nnz - new.nnz >= 0
        wrong = either = 0
        for masks in before:
            sources = {s.source: masks[s.source] for s in new.segments}
            fired = reference.run_layer(found.program, index, sources).masks
            assert fired is not None
            wrong += int(np.bitwise_count(fired ^ masks[index]).sum())
            either += int(np.bitwise_count(fired | masks[index]).sum())
        assert (row.wrong, row.either) == (wrong, either)
        assert either
        assert wrong <= 0.05 * either
    assert found.program.layers[0] == program.layers[0]
    assert found.program.layers[-1] == program.layers[-1]


def test_what_fits_but_for_its_scale_loses_nothing() -> None:
    halved = 0
    for program in map(middle, networks(4)):
        pictures = [random_pixels(program, n) for n in range(4)]
        found = narrow(program, pictures, limit=0)
        rows = [one for one in found.layers if one.halved]
        halved += len(rows)
        assert all(one.wrong == 0 == one.lost for one in rows)
        for pixels in pictures:
            before, after = reference.run(program, pixels), reference.run(found.program, pixels)
            assert all(np.array_equal(a, b) for a, b in zip(before.masks, after.masks, strict=True))
            assert np.array_equal(before.logits, after.logits)
    assert halved


def test_a_layer_that_never_spikes_stays() -> None:
    program = networks(1)[0]
    index = next(
        n
        for n, one in enumerate(program.layers[1:-1], 1)
        if any(s.weight_bits == 16 for s in one.segments)
    )
    silent = replace(
        program.layers[index], threshold=(1 << 23) - 1, bias=program.layers[index].bias * 0
    )
    layers = list(program.layers)
    layers[index] = silent
    program = replace(program, layers=tuple(layers))
    pictures = [np.zeros_like(random_pixels(program, 0))]
    row = narrow(program, pictures, limit=1).layers[index - 1]
    assert (row.bits, row.halved, row.either) == (16, 0, 0)


def test_living_weights_can_be_kept() -> None:
    program = networks(3)[2]
    pictures = [random_pixels(program, n) for n in range(2)]
    lost = narrow(program, pictures, limit=1)
    kept = narrow(program, pictures, limit=1, keep_living=True)
    assert sum(one.lost for one in lost.layers) > 0
    assert all(one.lost == 0 for one in kept.layers)
    for before, after in zip(program.layers, kept.program.layers, strict=True):
        for old, new in zip(before.segments, after.segments, strict=True):
            assert np.array_equal(old.weights != 0, new.weights != 0)


def test_labels_send_layers_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """With any rounding allowed, and a coarse one, no fewer images are right in the end."""
    monkeypatch.setattr("evenspike_core.narrow._HIGH", 1)
    program = load("vgg16-small")
    given = images(4, program)
    free = narrow(program, given.pixels, limit=1)
    assert free.changed  # else the labels have nothing to do
    assert free.right is None
    found = narrow(program, given.pixels, given.labels, limit=1)
    assert found.right is not None
    assert found.right[1] >= found.right[0] > 0
    stays = [one for one, before in zip(found.layers, free.layers, strict=True) if before.halved]
    assert any(not one.halved and one.bits == 16 for one in stays)
    assert any(one.halved for one in stays)


def test_what_cannot_be() -> None:
    program = random_program(3)
    with pytest.raises(
        EvenspikeError, match=rf"^{program.name}: no images to round its weights on$"
    ):
        narrow(program, [])
    with pytest.raises(
        EvenspikeError, match=r"^a limit of 2; it is a share of the spikes, 0 to 1$"
    ):
        narrow(program, [random_pixels(program, 0)], limit=2)
