"""ResNet-19 on the RTL: shortcuts as second segments, the average pool, fc1 and its neurons."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("torch")

import torch

from evenspike.flows.locate import difference
from evenspike_core import reference
from evenspike_core.arch import Arch
from evenspike_core.mapping import choose
from evenspike_core.pack import pack
from evenspike_core.program import Segment
from evenspike_hw.engine.simulator import Simulator
from evenspike_hw.rtl import descriptor
from evenspike_sim.accelerator import Accelerator
from evenspike_train import networks
from evenspike_train.networks import NetworkConfig
from evenspike_train.tickets import masks
from tests.helpers.residual import calibrated, images, program_of


def test_the_rtl_agrees_in_spikes_counters_and_cycles() -> None:
    program = program_of(calibrated(2))
    packed = pack(program, choose(program, Arch()), Arch())
    segments = [s for layer in program.layers for s in layer.segments]
    assert {(s.kernel, s.stride, s.average) for s in segments if s.source >= 0} == {
        (3, 1, 1),
        (3, 2, 1),
        (1, 2, 1),  # a shortcut with weights
        (1, 1, 1),  # an identity; the read-out
        (1, 1, 4),  # fc1 behind the average pool
    }
    accelerator = Accelerator(packed)
    with Simulator(packed) as simulator:
        for pixels in images(2, 11).numpy():
            expected = reference.run(program, pixels)
            assert all(masks.any() for masks in expected.masks)
            spikes = expected.masks[0]
            runs, traces = accelerator.run(spikes), simulator.run(spikes)
            assert difference(packed, runs, traces) is None
            for trace, masks in zip(traces, expected.masks, strict=False):
                assert (trace.masks == masks).all()
            assert traces[-1].logits is not None
            assert (traces[-1].logits == expected.logits).all()


def test_the_full_widths_tables_fit() -> None:
    """Descriptors, passes and chunks of the published size at 2 % of its weights."""
    torch.manual_seed(0)
    model = networks.ResNet19(NetworkConfig("resnet19", in_channels=3))
    masks.attach(model)
    masks.write(model, {k: torch.rand(v.shape) < 0.02 for k, v in masks.read(model).items()})
    program = program_of(model)
    packed = pack(program, choose(program, Arch()), Arch())
    assert descriptor.encode(packed).words.size <= Arch().table_words


def test_a_wrong_shortcut_is_a_difference() -> None:
    """In the RTL's memory the last identity adds half as much; the model has the right one."""
    program = program_of(calibrated(2))
    layers = list(program.layers)
    number = [layer.name for layer in layers].index("block8.conv2")
    main, shortcut = layers[number].segments
    assert layers[number].is_identity(1)
    halved = Segment(shortcut.source, shortcut.weights // 2)
    layers[number] = replace(layers[number], segments=(main, halved))
    other = replace(program, layers=tuple(layers))
    packed = pack(program, choose(program, Arch()), Arch())
    spikes = reference.encode(program, images(1, 11)[0].numpy())
    with Simulator(pack(other, choose(other, Arch()), Arch())) as simulator:
        found = difference(packed, Accelerator(packed).run(spikes), simulator.run(spikes))
    assert found is not None
    assert found.layer == "block8.conv2"
