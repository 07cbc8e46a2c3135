"""Topology: the layers of a network without their weights, described or inferred from shapes.

A description is a list of tables, one for each layer in the order in which they run: of a TOML file
(`[[layers]]`), or of the same JSON. docs/traces.md says what their keys mean.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evenspike_core.documents import read_toml
from evenspike_core.errors import EvenspikeError
from evenspike_core.program import AVERAGES, KERNELS, POOLS, STRIDES

Shape = tuple[int, int, int]
"""(channels, height, width) of spikes."""

INPUT = "input"
"""What stands for the source of the first layer: spikes that no layer of the network makes."""

FULLY_CONNECTED_FILTERS = 10
"""Filters of a last fully connected layer where nothing states them."""

DESCRIPTION_BYTES_MAX = 1 << 15
"""Of a TOML file, 300 layers: the library takes seconds for a key of as many parts."""
WEIGHTS_MAX = 1 << 25
NEURONS_MAX = 1 << 24
"""Limits of the weights and neurons that a network asks for: a VGG-16 takes 15 million and 0.2
million. They keep a small file from asking for more memory than there is."""

_POSSIBLE = {"kernel": KERNELS, "stride": STRIDES, "average": AVERAGES, "pool": POOLS}
_CONVOLUTION = ("source", "kernel", "stride", "padding", "average")
_LAYER = ("name", "filters", *_CONVOLUTION, "pool", "shortcut")
_SHORTCUT = (*_CONVOLUTION, "identity")


@dataclass(frozen=True)
class Convolution:
    """One input of a layer: a `Segment` without weights, whose source is a layer's name or INPUT.

    identity: spikes are added as they are, from channel c to filter c.
    """

    source: str
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    average: int = 1
    identity: bool = False


@dataclass(frozen=True)
class LayerShape:
    """A layer without weights: one convolution, or two where it has a shortcut."""

    name: str
    filters: int
    convolutions: tuple[Convolution, ...]
    pool: int = 1


@dataclass(frozen=True)
class Topology:
    """Layers that fit each other, in the order in which they run.

    input: shape of the spikes that come into the network.
    described: whether somebody has described the layers; otherwise they follow from shapes.
    shapes: of the spikes of INPUT and of each layer, behind its pool.

    Raises EvenspikeError naming the layer whose source, shapes or size do not fit.
    """

    input: Shape
    layers: tuple[LayerShape, ...]
    described: bool = True
    shapes: Mapping[str, Shape] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        shapes = {INPUT: self.input}
        weights = 0
        for layer in self.layers:
            if layer.name in shapes:
                raise EvenspikeError(f"layer {layer.name}: another has this name")
            sizes = [_size(layer, convolution, shapes) for convolution in layer.convolutions]
            if len(set(sizes)) > 1:
                raise EvenspikeError(
                    f"layer {layer.name}: its convolution gives a {_map(sizes[0])} map, "
                    f"its shortcut {_map(sizes[1])}"
                )
            height, width = sizes[0]
            if height % layer.pool or width % layer.pool:
                raise EvenspikeError(
                    f"layer {layer.name}: pool {layer.pool} does not divide its "
                    f"{_map(sizes[0])} map"
                )
            for one in layer.convolutions:
                weights += layer.filters * shapes[one.source][0] * one.kernel**2
            shapes[layer.name] = (layer.filters, height // layer.pool, width // layer.pool)
            neurons = sum(c * h * w for c, h, w in shapes.values())
            if weights > WEIGHTS_MAX or neurons > NEURONS_MAX:
                raise EvenspikeError(
                    f"layer {layer.name}: {weights} weights and {neurons} neurons up to here, "
                    f"the limits are {WEIGHTS_MAX} and {NEURONS_MAX}"
                )
        object.__setattr__(self, "shapes", shapes)

    @property
    def sources(self) -> tuple[str, ...]:
        """INPUT and the layers whose spikes another takes, in the order in which they run."""
        taken = {one.source for layer in self.layers for one in layer.convolutions}
        return tuple(name for name in self.shapes if name in taken)


def _size(layer: LayerShape, one: Convolution, shapes: Mapping[str, Shape]) -> tuple[int, int]:
    """(height, width) of the map that a convolution gives."""
    where = f"layer {layer.name}"
    if one.source not in shapes:
        raise EvenspikeError(f"{where}: source {one.source!r:.80} is no earlier layer")
    channels, *sides = shapes[one.source]
    if one.identity and channels != layer.filters:
        raise EvenspikeError(
            f"{where}: an identity of {channels} channels, the layer has {layer.filters} filters"
        )
    if any(side % one.average for side in sides):
        raise EvenspikeError(f"{where}: average {one.average} does not divide a {_map(sides)} map")
    height, width = (
        (side // one.average + 2 * one.padding - one.kernel) // one.stride + 1 for side in sides
    )
    if min(height, width) < 1:
        raise EvenspikeError(
            f"{where}: a {_map((one.kernel, one.kernel))} kernel with padding {one.padding} "
            f"does not fit a {_map(sides)} map"
        )
    return height, width


def _map(size: Sequence[int]) -> str:
    return "x".join(map(str, size))


def stacked(names: Sequence[str], shapes: Sequence[Shape]) -> Topology:
    """Layers that follow from the shapes of their inputs, each feeding the next.

    They are 3x3 convolutions with padding 1 and as many filters as the next layer has channels,
    pooled by 2 where the next map has half the side. A 1x1 map is the input of a fully connected
    layer. The last layer keeps its channels; a fully connected one has FULLY_CONNECTED_FILTERS.
    """
    layers = []
    for index, (name, (channels, height, width)) in enumerate(zip(names, shapes, strict=True)):
        flat = height == width == 1
        filters, pool = FULLY_CONNECTED_FILTERS if flat else channels, 1
        if index + 1 < len(shapes):
            filters, *following = shapes[index + 1]
            pool = height // following[0]
            if [n * pool for n in following] != [height, width] or pool not in POOLS:
                raise EvenspikeError(
                    f"layer {name}: its map is {_map((height, width))} and the next layer's "
                    f"{_map(following)}; equal or half is possible where no layers are described"
                )
        source = names[index - 1] if index else INPUT
        convolution = Convolution(source, kernel=1 if flat else 3, padding=0 if flat else 1)
        layers.append(LayerShape(name, filters, (convolution,), pool))
    return Topology(shapes[0], tuple(layers), described=False)


def read_layers(
    source: Path | str | Mapping[str, Any],
) -> tuple[tuple[LayerShape, ...], Shape | None]:
    """Layers of a TOML file, or of its content, and the input's shape where it is stated.

    Raises EvenspikeError naming the file, and the table or key that describes no network.
    """
    where, content = (
        ("layers", source)
        if isinstance(source, Mapping)
        else (source, read_toml(Path(source), DESCRIPTION_BYTES_MAX))
    )
    try:
        _check_keys(content, ("input", "layers"), "the description")
        return described(content.get("layers")), _input(content.get("input"))
    except (EvenspikeError, ValueError, RecursionError) as error:  # values that cannot be printed
        raise EvenspikeError(f"{where}: {error}") from error


def _input(value: object) -> Shape | None:
    if value is None:
        return None
    if isinstance(value, list) and [type(n) for n in value] == [int] * 3 and min(value) > 0:
        return value[0], value[1], value[2]
    raise EvenspikeError(f"input is {value!r:.80}, not [channels, height, width]")


def parse_layers(text: str) -> tuple[LayerShape, ...]:
    """Layers of a JSON text: a list of the same tables."""
    try:
        content = json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise EvenspikeError(f"layers are not JSON: {error}") from error
    return described(content)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object without a key that stands there twice."""
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError(f"a key of {sorted(table)} is there twice")
    return table


def described(tables: object) -> tuple[LayerShape, ...]:
    """Layers of a description.

    Raises EvenspikeError naming the layer and the key that is unknown, missing or not possible.
    """
    if not isinstance(tables, list) or not tables:
        raise EvenspikeError("`layers` is no list of tables, one for each layer")
    layers: list[LayerShape] = []
    for number, table in enumerate(tables):
        if not isinstance(table, dict):
            raise EvenspikeError(f"layer {number}: {table!r:.80} is no table")
        name = table.get("name")
        if not isinstance(name, str) or not name or not name.isprintable():
            raise EvenspikeError(f"layer {number}: name {name!r:.80} is no printable text")
        where = f"layer {name}"
        _check_keys(table, _LAYER, where)
        before = layers[-1].name if layers else INPUT
        convolutions = [_convolution(table, where, before, kernel=3)]
        if "shortcut" in table:
            convolutions.append(_shortcut(table["shortcut"], f"{where}: its shortcut"))
        filters, pool = _number(table, "filters", None, where), _number(table, "pool", 1, where)
        layers.append(LayerShape(name, filters, tuple(convolutions), pool))
    return tuple(layers)


def _shortcut(table: object, where: str) -> Convolution:
    if not isinstance(table, dict):
        raise EvenspikeError(f"{where} is {table!r:.80}, no table")
    _check_keys(table, _SHORTCUT, where)
    identity = table.get("identity", False)
    if type(identity) is not bool or (identity and table.get("kernel", 1) != 1):
        raise EvenspikeError(f"{where}: identity {identity!r:.80}; true needs kernel 1")
    return _convolution(table, where, None, kernel=1, identity=identity)


def _convolution(
    table: Mapping[str, Any], where: str, before: str | None, *, kernel: int, identity: bool = False
) -> Convolution:
    source = table.get("source", before)
    if not isinstance(source, str):
        raise EvenspikeError(f"{where}: source {source!r:.80} is no layer's name")
    kernel = _number(table, "kernel", kernel, where)
    padding = table.get("padding", kernel // 2)
    if type(padding) is not int or not 0 <= padding < kernel:
        raise EvenspikeError(f"{where}: padding {padding!r:.80}, possible are 0 to {kernel - 1}")
    stride, average = (_number(table, key, 1, where) for key in ("stride", "average"))
    return Convolution(source, kernel, stride, padding, average, identity)


def _number(table: Mapping[str, Any], key: str, default: int | None, where: str) -> int:
    value = table.get(key, default)
    possible = _POSSIBLE.get(key, range(1, WEIGHTS_MAX + 1))
    if type(value) is not int or value not in possible:
        limits = f"1 to {WEIGHTS_MAX}" if isinstance(possible, range) else possible
        raise EvenspikeError(f"{where}: {key} {value!r:.80}, possible are {limits}")
    return value


def _check_keys(table: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in table:
        if key not in known:
            raise EvenspikeError(f"{where} has no {key!r:.80}; there are: {', '.join(known)}")
