"""A Program is one value: nobody changes it, two alike are equal, and a line says which it is."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from evenspike_core.arch import Arch
from evenspike_core.mapping import choose
from evenspike_core.pack import pack
from evenspike_core.program import Program
from tests.helpers.networks import random_program


def test_no_array_can_be_written() -> None:
    program = random_program(3)
    before = program.digest()
    arrays: list[npt.NDArray[Any]] = [layer.bias for layer in program.layers]
    arrays += [segment.weights for layer in program.layers for segment in layer.segments]
    for array in arrays:
        with pytest.raises(ValueError, match="read-only"):
            array.reshape(-1)[0] = 1
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.setflags(write=True)
    assert dataclasses.replace(program).digest() == before


def test_the_callers_arrays_stay_the_callers() -> None:
    program = random_program(3)
    bias = np.array(program.layers[0].bias)
    layer = dataclasses.replace(program.layers[0], bias=bias)
    kept = layer.bias.copy()
    bias += 1
    assert np.array_equal(layer.bias, kept)


def test_provenance_hands_out_copies() -> None:
    given = {"scores": [1, 2], "seed": 0}
    program = dataclasses.replace(random_program(3), provenance=given)
    given["seed"] = 9
    program.provenance["scores"].append(3)
    assert dict(program.provenance) == {"scores": [1, 2], "seed": 0}
    with pytest.raises(TypeError):
        program.provenance["seed"] = 1  # type: ignore[index]


def test_equal_by_digest_and_usable_as_a_key() -> None:
    one, two = random_program(3), random_program(4)
    again = pickle.loads(pickle.dumps(one))  # noqa: S301 (its own)
    assert one == again
    assert one is not again
    assert one != two
    assert one != "a text"
    assert {one: "x"}[again] == "x"
    assert len({one, again, two}) == 2


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])  # noqa: S301
def test_a_copy_cannot_be_written_either(copied: Callable[[Any], Any]) -> None:
    program = random_program(3, timesteps=4)
    packed = pack(program, choose(program, Arch()), Arch())
    for one in (copied(program), copied(packed).program):
        assert one == program
        with pytest.raises(ValueError, match="WRITEABLE"):
            one.layers[1].segments[0].weights.setflags(write=True)
    again = copied(packed)
    for array in (again.stream, again.layers[1].blocks):
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.setflags(write=True)
    assert "\n" not in repr(again)
    assert len(repr(again)) < 160


def test_it_prints_in_one_line() -> None:
    program: Program = random_program(3)
    text = repr(program)
    assert "\n" not in text
    assert len(text) < 160
    assert program.name in text
    assert program.digest()[:12] in text
    assert len(repr(program.layers[0])) < 400
