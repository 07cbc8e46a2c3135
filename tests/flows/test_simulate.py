"""The flows of a simulation: values in, values out, the same on every backend."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import evenspike as es
from evenspike.flows import simulate as flow
from evenspike_core import reference
from evenspike_core.counters import STATES
from evenspike_core.pack import Packed
from evenspike_core.program import Program
from evenspike_sim.accelerator import Accelerator
from tests.helpers.tickets import small_program


@pytest.fixture(scope="module")
def program() -> Program:
    return small_program()


@pytest.fixture(scope="module")
def packed(program: Program) -> Packed:
    return es.pack(program, "packed,pes=4")


@pytest.fixture(scope="module")
def run(packed: Packed) -> es.Run:
    return es.simulate(packed, es.images(6))


def test_figures_are_those_of_the_cycle_model(packed: Packed, run: es.Run) -> None:
    accelerator = Accelerator(packed)
    images = es.images(6)
    one_by_one = [
        accelerator.run(reference.encode(packed.program, pixels)) for pixels in images.pixels
    ]
    assert run.cycles == np.mean([sum(layer.cycles for layer in runs) for runs in one_by_one])
    for number, layer in enumerate(run.layers):
        assert layer.cycles == np.mean([runs[number].cycles for runs in one_by_one])
        busy = np.mean([runs[number].busy for runs in one_by_one], axis=0)
        np.testing.assert_allclose(layer.busy, busy)
        assert layer.utilization == pytest.approx(busy.sum() / (4 * layer.cycles))
    whole = sum(sum(run.pes[state]) for state in STATES)
    assert whole == pytest.approx(4 * run.cycles)
    logits = [runs[-1].logits for runs in one_by_one]
    np.testing.assert_array_equal(run.logits, logits)
    assert run.predictions.tolist() == [int(np.argmax(one)) for one in run.logits]
    assert run.bit_exact
    assert run.divergence is None


@pytest.mark.parametrize(("backend", "jobs"), [("threading", 1), ("threading", 3), ("loky", 2)])
def test_every_backend_gives_the_same(packed: Packed, run: es.Run, backend: str, jobs: int) -> None:
    other = es.simulate(packed, es.images(6), backend=backend, jobs=jobs)
    assert other.compare(run) is None
    assert other.outcomes == run.outcomes
    assert other.to_dict()["layers"] == run.to_dict()["layers"]


def test_the_memory_does_not_grow_with_the_images(packed: Packed) -> None:
    pixels = np.repeat(es.images(4).pixels, 60, axis=0)

    def peak(count: int) -> int:
        tracemalloc.start()
        es.simulate(packed, pixels[:count], check=False, jobs=1)
        try:
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(8)  # what is loaded once
    few, many = peak(40), peak(240)
    assert many < few + 200 * 4096, "more than an outcome is kept of an image"


def test_a_planted_spike_is_found(packed: Packed, run: es.Run) -> None:
    program = packed.program
    layer = program.layers[1]
    weights = np.array(layer.segments[0].weights)
    at = tuple(np.argwhere(weights)[0])
    weights[at] += 40
    segment = dataclasses.replace(layer.segments[0], weights=weights)
    wrong = dataclasses.replace(layer, segments=(segment,))
    other = dataclasses.replace(program, layers=(program.layers[0], wrong, program.layers[2]))
    found = run.compare(es.reference(other, es.images(6)))
    assert found is not None
    assert (found.layer, found.item) == ("body", "mask")
    assert found.neuron is not None
    assert found.neuron[0] == at[0]
    again = es.simulate(dataclasses.replace(packed, program=other), es.images(6))
    assert not again.bit_exact
    assert str(found.neuron[1]) in str(again.divergence)


def test_other_images_are_no_comparison(packed: Packed, run: es.Run) -> None:
    with pytest.raises(es.EvenspikeError, match="6 images and reference 2"):
        run.compare(es.reference(packed.program, es.images(2)))


def test_a_report_is_a_value_and_shows_itself(run: es.Run, tmp_path: Path) -> None:
    content = run.to_dict()
    files = run.report().save(tmp_path)
    assert json.loads((tmp_path / "report.json").read_text()) == json.loads(json.dumps(content))
    assert {file.suffix for file in files} == {".json", ".html", ".md"}
    assert "<table" in run._repr_html_()
    assert "bit-exact" in repr(run)
    assert "\n" not in repr(run)


def test_a_frame_has_a_row_a_layer(run: es.Run) -> None:
    pytest.importorskip("pandas")
    frame = run.to_frame()
    assert list(frame.index) == [layer.name for layer in run.layers]
    assert frame["cycles"].sum() == pytest.approx(run.cycles)
    assert frame["busy"]["body"] == pytest.approx(run.layers[1].busy.sum())


def test_without_pandas_it_says_how_to_get_it(run: es.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(es.EvenspikeError, match="needs pandas: pip install pandas"):
        run.to_frame()


def test_the_gain_over_the_filters_own_order(run: es.Run, packed: Packed) -> None:
    content = flow.against_natural_order(run).to_dict()["natural_order"]
    natural = es.simulate(es.pack(packed.program, "packed,pes=4", mapping="natural"), es.images(1))
    mapped = es.simulate(packed, es.images(1))
    assert content["cycles"] == natural.cycles
    assert content["speedup"] == pytest.approx(natural.cycles / mapped.cycles)
    assert "natural_order" not in run.to_dict()


def test_bare_pixels_have_no_labels(packed: Packed) -> None:
    pixels = es.images(1).pixels
    run = es.simulate(packed, pixels[0])
    assert run.accuracy is None
    assert run.to_dict()["predictions"][0]["label"] is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((2, 1, 32, 32)), "images: float64"),
        (np.zeros((0, 1, 32, 32), np.uint8), "no images"),
        (np.zeros((2, 3, 32, 32), np.uint8), "takes pixels"),
        (np.zeros((2, 2), np.uint8), "not uint8"),
    ],
)
def test_images_that_are_none(packed: Packed, given: Any, message: str) -> None:
    with pytest.raises(es.EvenspikeError, match=message):
        es.simulate(packed, given)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"jobs": -1}, "-1 at a time"), ({"backend": "smoke"}, "must be one of")],
)
def test_options_that_cannot_be(packed: Packed, options: dict[str, Any], message: str) -> None:
    with pytest.raises(es.EvenspikeError, match=message):
        es.simulate(packed, es.images(1), **options)


def test_an_interrupt_drops_what_has_not_begun() -> None:
    begun: list[int] = []

    def slow(at: int) -> int:
        begun.append(at)
        time.sleep(0.05)
        return at

    def stop() -> None:
        for at in flow.in_threads(slow, 1000, 2):
            if at == 1:
                raise KeyboardInterrupt

    started = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        stop()
    assert len(begun) < 12
    assert threading.active_count() <= started


def test_order_is_kept_whatever_ends_first() -> None:
    def uneven(at: int) -> int:
        time.sleep(0.01 * (at % 3))
        return at

    assert list(flow.in_threads(uneven, 20, 4)) == list(range(20))
