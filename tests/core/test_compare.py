"""Compare: a planted difference is found and named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from evenspike_core.compare import first_divergence
from evenspike_core.counters import LayerStatement

PES = 4


def results(seed: int = 0) -> list[LayerStatement]:
    """Two spiking layers and a last one, as one simulator would report them."""
    rng = np.random.default_rng(seed)
    spiking = [
        LayerStatement(
            name,
            1000,
            masks=rng.integers(0, 16, (3, 4, 5), dtype=np.uint8),
            counters={"words": 7, "busy": rng.integers(0, 99, PES)},
        )
        for name in ("conv1", "conv2")
    ]
    return [*spiking, LayerStatement("fc", 90, logits=np.arange(10, dtype=np.int64))]


def test_equal_results_have_no_divergence() -> None:
    assert first_divergence(results(), results()) is None


def test_a_planted_spike_is_found() -> None:
    good, bad = results(), results()
    masks = bad[1].masks
    assert masks is not None
    masks[2, 1, 3] ^= 0b0100
    masks[2, 3, 0] ^= 0b0001  # later in the map: not the first
    found = first_divergence(good, bad)
    assert found is not None
    assert (found.layer, found.item) == ("conv2", "mask")
    assert (found.neuron, found.timestep) == ((2, 1, 3), 2)
    was = int(masks[2, 1, 3] ^ 0b0100)
    spike = was >> 2 & 1
    assert str(found) == (
        f"layer conv2, filter 2, y 1, x 3, timestep 2: spike {spike} in model, {1 - spike} in rtl "
        f"(masks {was:#04x} and {was ^ 4:#04x}; 2 of 60 neurons differ)"
    )


def test_the_earliest_timestep_is_named() -> None:
    good, bad = results(), results()
    masks = bad[0].masks
    assert masks is not None
    masks[0, 0, 0] ^= 0b1010
    found = first_divergence(good, bad)
    assert found is not None
    assert found.timestep == 1


def test_a_planted_counter_names_the_pe() -> None:
    good, bad = results(), results()
    busy = np.array(good[0].counters["busy"])
    busy[3] += 1
    bad[0] = replace(bad[0], counters={"words": 7, "busy": busy})
    found = first_divergence(good, bad, ("model", "board"))
    assert found is not None
    assert (found.item, found.pe) == ("busy", 3)
    assert str(found) == f"layer conv1, PE 3: busy {busy[3] - 1} in model, {busy[3]} in board"


def test_a_cycle_a_logit_and_a_scalar_counter() -> None:
    good = results()
    late = [*good[:2], replace(good[2], cycles=91)]
    assert str(first_divergence(good, late)) == "layer fc: cycles 90 in model, 91 in rtl"
    logits = np.arange(10, dtype=np.int64)
    logits[7] = -1
    other = [*good[:2], replace(good[2], logits=logits)]
    assert str(first_divergence(good, other)) == "layer fc, class 7: logit 7 in model, -1 in rtl"
    words = [replace(good[0], counters={**good[0].counters, "words": 8}), *good[1:]]
    assert str(first_divergence(good, words)) == "layer conv1: words 7 in model, 8 in rtl"


def test_spikes_come_before_counts_and_earlier_layers_first() -> None:
    good, bad = results(), results()
    masks = bad[1].masks
    assert masks is not None
    masks[0, 0, 0] ^= 1
    bad[1] = replace(bad[1], cycles=1)
    found = first_divergence(good, bad)
    assert found is not None
    assert found.item == "mask"
    bad[0] = replace(bad[0], cycles=2)
    assert str(first_divergence(good, bad)) == "layer conv1: cycles 1000 in model, 2 in rtl"


def test_what_only_one_side_has() -> None:
    good = results()
    assert str(first_divergence(good, good[:2])) == "model has layer fc, rtl has layer None"
    no_masks = [replace(good[0], masks=None), *good[1:]]
    text = "layer conv1: mask of shape (3, 4, 5) in model, None in rtl"
    assert str(first_divergence(good, no_masks)) == text
    no_words = [replace(good[0], counters={"busy": good[0].counters["busy"]}), *good[1:]]
    assert str(first_divergence(good, no_words)) == "layer conv1: words 7 in model, None in rtl"
    short = [replace(good[0], counters={"words": 7, "busy": [1, 2]}), *good[1:]]
    text = "layer conv1: busy of shape (4,) in model, (2,) in rtl"
    assert str(first_divergence(good, short)) == text
