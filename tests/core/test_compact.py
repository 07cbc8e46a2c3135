"""Compact: what is left of a Program computes what all of it did."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evenspike_core import reference
from evenspike_core.compact import compact
from evenspike_core.program import Program
from tests.helpers.networks import random_pixels, random_program


def killed(seed: int) -> tuple[Program, int]:
    """A random Program of which filters and channels have lost their weights, and how many filters
    without one have a bias that makes them fire.
    """
    program, rng = random_program(seed, timesteps=3), np.random.default_rng(seed)
    layers, firing = [], 0
    for layer in program.layers:
        segments = []
        silent = rng.random(layer.filters) < 0.4
        for number, segment in enumerate(layer.segments):
            weights = segment.weights.copy()
            if not layer.is_identity(number):
                weights[silent] = 0
                weights[:, rng.random(weights.shape[1]) < 0.3] = 0
            segments.append(replace(segment, weights=weights))
        bias = layer.bias.copy()
        if layer.segments and not layer.last:
            loud = silent & (rng.random(layer.filters) < 0.5)
            bias[loud] = min(layer.threshold, 1 << 16)
            firing += int(loud.sum())
        layers.append(replace(layer, segments=tuple(segments), bias=bias))
    return replace(program, layers=tuple(layers)), firing


def unread(program: Program) -> int:
    """Filters that nothing reads, beside others, in layers that no shortcut ties to another."""
    found = 0
    if any(one.is_identity(n) for one in program.layers for n in range(len(one.segments))):
        return 0
    for index, layer in enumerate(program.layers[:-1]):
        read = np.zeros(layer.filters, dtype=np.bool_)
        for later in program.layers:
            for segment in later.segments:
                if segment.source == index:
                    read |= (segment.weights != 0).any(axis=(0, 2, 3))
        found += 0 if layer.host or layer.filters == 1 else int((~read).sum())
    return found


def test_every_output_stays() -> None:
    smaller = fired = 0
    for seed in range(60):
        program, firing = killed(seed)
        found = compact(program)
        assert compact(found) is found, f"seed {seed}: once is enough"
        assert unread(found) == 0, f"seed {seed}"
        pixels = random_pixels(program, seed)
        before, after = reference.run(program, pixels), reference.run(found, pixels)
        assert np.array_equal(before.logits, after.logits), f"seed {seed}"
        smaller += found is not program
        fired += firing if found is not program else 0
    assert smaller > 20, "there was something to take away"
    assert fired > 20, "and what must not be"


def test_a_filter_that_its_bias_fires_stays() -> None:
    """One without weights, whose channel is read: it goes where its bias is 0, and only there."""
    program, index = next(
        (program, index)
        for program in map(random_program, range(100))
        for index, layer in enumerate(program.layers[:-2])
        if layer.segments and layer.filters > 1 and len(program.layers[index + 1].segments) == 1
        and not any(layer.is_identity(n) for n in range(len(layer.segments)))
        and (program.layers[index + 1].segments[0].weights != 0).any(axis=(0, 2, 3)).all()
        and all(s.source != index for one in program.layers[index + 2 :] for s in one.segments)
    )  # fmt: skip
    layer = program.layers[index]
    for bias, left in ((0, layer.filters - 1), (1, layer.filters)):
        segments = []
        for segment in layer.segments:
            weights = np.ones_like(segment.weights)
            weights[0] = 0
            segments.append(replace(segment, weights=weights, dense=weights.size))
        biases = np.ones_like(layer.bias)
        biases[0] = bias
        changed = replace(layer, segments=tuple(segments), bias=biases)
        layers = (*program.layers[:index], changed, *program.layers[index + 1 :])
        assert compact(replace(program, layers=layers)).layers[index].filters == left


def test_a_grouped_convolution_keeps_its_weights() -> None:
    """Of a depthwise one all living weights are in few pairs of filter and channel."""
    for seed in range(200):
        program = random_program(seed, timesteps=2)
        for index, layer in enumerate(program.layers[:-1]):
            segment = layer.segments[0] if len(layer.segments) == 1 else None
            if segment is None or segment.source < 0 or segment.weights.shape[0] < 4:
                continue
            weights = np.zeros_like(segment.weights)
            channels = weights.shape[1]
            for number in range(weights.shape[0] - 2):
                weights[number, number % channels] = 1
            dense = int(np.count_nonzero(weights)) + 2
            changed = replace(
                layer,
                segments=(replace(segment, weights=weights, dense=dense),),
                bias=np.zeros_like(layer.bias),
            )
            layers = (*program.layers[:index], changed, *program.layers[index + 1 :])
            found = compact(replace(program, layers=layers))
            one = found.layers[index].segments[0]
            assert np.count_nonzero(one.weights) <= one.dense <= one.weights.size
            return
    pytest.fail("no layer to try")
