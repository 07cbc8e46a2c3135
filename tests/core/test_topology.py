"""Topologies: descriptions that are read or refused, and layers that follow from shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evenspike_core import topology
from evenspike_core.errors import EvenspikeError
from evenspike_core.topology import (
    INPUT,
    NEURONS_MAX,
    WEIGHTS_MAX,
    Convolution,
    LayerShape,
    Shape,
    Topology,
    described,
    read_layers,
    stacked,
)

FULL = """
input = [2, 12, 12]

[[layers]]
name = "conv1"
filters = 16
kernel = 7
stride = 2
padding = 3
pool = 2

[[layers]]
name = "conv2"
filters = 16

[[layers]]
name = "conv3"
filters = 16
source = "conv2"
shortcut = { source = "conv1", identity = true }

[[layers]]
name = "conv4"
filters = 8
source = "conv2"
shortcut = { source = "conv1", kernel = 3, padding = 1 }

[[layers]]
name = "fc"
filters = 5
kernel = 1
average = 1
padding = 0
"""


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "layers.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refused(tables: Any, shape: Shape = (2, 8, 8)) -> str:
    with pytest.raises(EvenspikeError) as caught:
        Topology(shape, described(tables))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_description(tmp_path: Path) -> None:
    layers, shape = read_layers(written(tmp_path, FULL))
    assert shape == (2, 12, 12)
    assert layers == (
        LayerShape("conv1", 16, (Convolution(INPUT, 7, 2, 3),), 2),
        LayerShape("conv2", 16, (Convolution("conv1", 3, 1, 1),)),
        LayerShape(
            "conv3",
            16,
            (Convolution("conv2", 3, 1, 1), Convolution("conv1", 1, 1, 0, identity=True)),
        ),
        LayerShape("conv4", 8, (Convolution("conv2", 3, 1, 1), Convolution("conv1", 3, 1, 1))),
        LayerShape("fc", 5, (Convolution("conv4", 1, 1, 0),)),
    )
    found = Topology(shape, layers)
    assert found.shapes["conv1"] == (16, 3, 3)
    assert found.sources == (INPUT, "conv1", "conv2", "conv4"), "nothing takes conv3's spikes"


A = {"name": "a", "filters": 4}


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        (None, "`layers` is no list of tables"),
        ({}, "`layers` is no list of tables"),
        ([], "`layers` is no list of tables"),
        ([3], "layer 0: 3 is no table"),
        ([{"filters": 4}], "layer 0: name None is no printable text"),
        ([{"name": "", "filters": 4}], "layer 0: name '' is no printable text"),
        ([{"name": "a\n", "filters": 4}], "layer 0: name 'a\\n' is no printable text"),
        ([{"name": 3, "filters": 4}], "layer 0: name 3 is no printable text"),
        ([{"name": "a"}], "layer a: filters None, possible are 1 to"),
        ([A | {"filters": 0}], "layer a: filters 0, possible are 1 to"),
        ([A | {"filters": True}], "layer a: filters True, possible are 1 to"),
        ([A | {"filters": 10**20}], "layer a: filters 100000000000000000000, possible are"),
        ([A | {"kernel": 4}], "layer a: kernel 4, possible are (1, 3, 5, 7)"),
        ([A | {"kernel": 3.0}], "layer a: kernel 3.0, possible are (1, 3, 5, 7)"),
        ([A | {"stride": 0}], "layer a: stride 0, possible are (1, 2)"),
        ([A | {"stride": [2]}], "layer a: stride [2], possible are (1, 2)"),
        ([A | {"average": 3}], "layer a: average 3, possible are (1, 2, 4, 8)"),
        ([A | {"pool": 3}], "layer a: pool 3, possible are (1, 2)"),
        ([A | {"padding": 3}], "layer a: padding 3, possible are 0 to 2"),
        ([A | {"padding": -1}], "layer a: padding -1, possible are 0 to 2"),
        ([A | {"size": 3}], "layer a has no 'size'; there are: name, filters, source"),
        ([A | {"x" * 500: 3}], f"layer a has no '{'x' * 79}; there are: name"),
        ([A | {"source": 3}], "layer a: source 3 is no layer's name"),
        ([A | {"source": "a"}], "layer a: source 'a' is no earlier layer"),
        ([A, {"name": "a", "filters": 3}], "layer a: another has this name"),
        ([{"name": INPUT, "filters": 3}], "layer input: another has this name"),
        ([A | {"average": 8, "kernel": 5, "padding": 1}], "layer a: a 5x5 kernel with padding 1"),
        ([A | {"kernel": 3, "padding": 0, "stride": 2, "pool": 2}], "layer a: pool 2 does not"),
        ([A | {"pool": 2}, {"name": "b", "filters": 1, "average": 8}], "layer b: average 8 does"),
        ([A | {"shortcut": 3}], "layer a: its shortcut is 3, no table"),
        ([A | {"shortcut": {}}], "layer a: its shortcut: source None is no layer's name"),
        ([A | {"shortcut": {"source": "b"}}], "layer a: source 'b' is no earlier layer"),
        ([A | {"shortcut": {"pool": 2}}], "layer a: its shortcut has no 'pool'; there are: source"),
        (
            [A | {"shortcut": {"source": INPUT, "stride": 2}}],
            "layer a: its convolution gives a 8x8 map, its shortcut 4x4",
        ),
        (
            [A | {"shortcut": {"source": INPUT, "identity": True}}],
            "layer a: an identity of 2 channels, the layer has 4 filters",
        ),
        (
            [A | {"shortcut": {"source": INPUT, "identity": True, "kernel": 3}}],
            "layer a: its shortcut: identity True; true needs kernel 1",
        ),
        (
            [A | {"shortcut": {"source": INPUT, "identity": 1}}],
            "layer a: its shortcut: identity 1; true needs kernel 1",
        ),
    ],
)
def test_what_describes_no_network(tables: Any, says: str) -> None:
    assert refused(tables).startswith(says)


def test_a_small_description_cannot_ask_for_much_memory() -> None:
    many = [{"name": f"l{n}", "filters": 9000, "kernel": 1} for n in range(2)]
    assert refused(many).startswith(f"layer l1: {9000 * 9000 + 2 * 9000} weights and ")
    wide = refused([{"name": "a", "filters": 10_000, "kernel": 1}], (1, 1000, 1000))
    assert wide.endswith(f"up to here, the limits are {WEIGHTS_MAX} and {NEURONS_MAX}")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty: it has no table"),
        (b"\xef\xbb\xbf" + FULL.encode(), "begins with a byte order mark"),
        ("layers = 3", "`layers` is no list of tables"),
        ("[[layers]", "not valid TOML: "),
        ("a = 1\na = 2", "not valid TOML: "),
        ("layers = " + "[" * 10_000, "not valid TOML: "),
        (b"\xff\xfe", "is not UTF-8: "),
        (FULL.replace("[2, 12, 12]", "0x1" + "0" * 5000), "Exceeds the limit"),
        (FULL.replace("input =", "input" + ".a" * 2000 + " ="), "not valid TOML: it is nested"),
        ("x = 3\n" + FULL, "the description has no 'x'; there are: input, layers"),
        (FULL.replace("[2, 12, 12]", "[2, 12]"), "input is [2, 12], not [channels, height, width]"),
        (FULL.replace("[2, 12, 12]", "[2, 12, 0]"), "input is [2, 12, 0], not [channels"),
        (FULL.replace("[2, 12, 12]", "[2, 12, true]"), "input is [2, 12, True], not [channels"),
        (FULL.replace("[2, 12, 12]", "3"), "input is 3, not [channels, height, width]"),
    ],
)
def test_a_file_that_is_no_description(tmp_path: Path, text: str | bytes, says: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(EvenspikeError) as caught:
        read_layers(path)
    assert str(caught.value).startswith(f"{path}: {says}")
    assert "\n" not in str(caught.value)


def test_no_file_and_a_large_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(EvenspikeError, match=f"^{path}: cannot be read: "):
            read_layers(path)
    monkeypatch.setattr(topology, "DESCRIPTION_BYTES_MAX", 100)
    with pytest.raises(EvenspikeError, match="more than 100 bytes"):
        read_layers(written(tmp_path, FULL))


# --- layers that follow from shapes ---------------------------------------------------------


def test_layers_follow_from_the_shapes() -> None:
    found = stacked(["conv1", "conv2", "conv3", "fc"], [(4, 8, 8), (6, 4, 4), (5, 2, 2), (5, 1, 1)])
    assert not found.described
    assert found.layers == (
        LayerShape("conv1", 6, (Convolution(INPUT),), 2),
        LayerShape("conv2", 5, (Convolution("conv1"),), 2),
        LayerShape("conv3", 5, (Convolution("conv2"),), 2),
        LayerShape("fc", 10, (Convolution("conv3", kernel=1, padding=0),)),
    )
    assert list(found.shapes.values()) == [(4, 8, 8), (6, 4, 4), (5, 2, 2), (5, 1, 1), (10, 1, 1)]


@pytest.mark.parametrize(
    ("first", "second"),
    [((8, 8), (3, 3)), ((8, 8), (2, 2)), ((8, 8), (4, 8)), ((4, 4), (8, 8)), ((7, 7), (3, 3))],
)
def test_maps_that_do_not_follow(first: tuple[int, int], second: tuple[int, int]) -> None:
    with pytest.raises(EvenspikeError) as caught:
        stacked(["a", "b"], [(2, *first), (2, *second)])
    assert str(caught.value) == (
        f"layer a: its map is {first[0]}x{first[1]} and the next layer's "
        f"{second[0]}x{second[1]}; equal or half is possible where no layers are described"
    )
