"""Recording: the spikes of one inference of a network, from an `.npz` file or from arrays.

The array `<layer>_in` is what comes into a layer, for every layer in the same form:

- masks, unsigned [C, H, W], or [C] of a fully connected layer: bit t is timestep t;
- planes of 0 and 1, bool, integer or float, [T, C, H, W] or [T, C], or with a batch of one image
  behind the time, [T, 1, C, H, W] or [T, 1, C].

Beside them `timesteps` may state T, and `layers` the network, as JSON (`topology.parse_layers`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evenspike_core.errors import EvenspikeError
from evenspike_core.fixed import mask_type, pack_masks
from evenspike_core.npz import read_arrays
from evenspike_core.program import TIMESTEPS_MAX
from evenspike_core.topology import (
    INPUT,
    LayerShape,
    Shape,
    Topology,
    parse_layers,
    read_layers,
    stacked,
)

Masks = npt.NDArray[np.unsignedinteger[Any]]
Arrays = Mapping[str, npt.NDArray[Any]]

TRACE_BYTES_MAX = 1 << 28
"""Of a file's arrays: keeps a small file from asking for more memory than there is."""

FORMS = "masks, unsigned [C, H, W] or [C], nor planes, [T, C, H, W] or [T, C] (or [T, 1, ...])"


@dataclass(frozen=True)
class Trace:
    """A network without weights, and the spikes of one inference.

    spikes: for INPUT and each layer that another takes spikes from, masks [C, H, W].
    """

    topology: Topology
    spikes: Mapping[str, Masks] = field(repr=False)
    timesteps: int


def read_trace(
    source: Path | str | Arrays,
    layers: Path | str | Mapping[str, Any] | None = None,
    timesteps: int | None = None,
) -> Trace:
    """A trace of an `.npz` file, or of arrays with the names that they have in one.

    layers: a TOML file that describes the network, or its content; without, and without a
        description among the arrays, each array feeds the next (`topology.stacked`).
    timesteps: T; without, that of the planes, or what the array `timesteps` states, or for masks up
        to the last timestep in which anything fires.

    Raises EvenspikeError naming the file and the array or layer that does not belong to a network.
    """
    where = "trace" if isinstance(source, Mapping) else str(source)
    arrays = dict(source) if isinstance(source, Mapping) else _read(Path(source))
    try:
        stated = _scalar(arrays, "timesteps", "iu", "a number")
        text = _scalar(arrays, "layers", "U", "a JSON text")
        spikes, planes = _masks(arrays)
        timesteps = _timesteps(spikes, planes, stated, timesteps)
        spikes = {name: masks.astype(mask_type(timesteps)) for name, masks in spikes.items()}
        known = None if text is None else parse_layers(str(text))
    except EvenspikeError as error:
        raise EvenspikeError(f"{where}: {error}") from error
    shape = None
    if layers is not None:
        if known is not None:
            raise EvenspikeError(f"{where}: the layers are described twice, there and beside it")
        known, shape = read_layers(layers)
    try:
        if known is None:
            shapes = [_shape(masks) for masks in spikes.values()]
            topology = stacked(tuple(spikes), shapes)
        else:
            topology = Topology(shape or _input(known, spikes), known)
        return Trace(topology, _assigned(topology, spikes), timesteps)
    except EvenspikeError as error:
        raise EvenspikeError(f"{where}: {error}") from error


def _read(path: Path) -> dict[str, npt.NDArray[Any]]:
    if not path.is_file():
        raise EvenspikeError(f"{path}: no such trace file")
    return read_arrays(path, ".npz trace", TRACE_BYTES_MAX)


def _scalar(arrays: dict[str, npt.NDArray[Any]], key: str, kinds: str, what: str) -> Any:
    """Take one value out of the arrays; None if it is not there."""
    if key not in arrays:
        return None
    array = np.asarray(arrays.pop(key))
    if array.ndim or array.dtype.kind not in kinds:
        raise EvenspikeError(f"{key} is {array.dtype} {array.shape}, not {what}")
    return array.item()


def _masks(arrays: Arrays) -> tuple[dict[str, Masks], int | None]:
    """Masks [C, H, W] by layer in the order of the arrays; T of planes, None of masks."""
    if not arrays:
        raise EvenspikeError("an empty trace")
    given: dict[str, npt.NDArray[Any]] = {}
    for key, value in arrays.items():
        if not (isinstance(key, str) and key.isprintable() and key[1:].endswith("_in")):
            raise EvenspikeError(f"array {key!r} is not named <layer>_in")
        array = given[key] = np.asarray(value)
        if array.dtype.kind not in "buif" or not array.size:
            raise EvenspikeError(f"array {key} is {array.dtype} {array.shape}, neither {FORMS}")
    masks = all(array.dtype.kind == "u" and array.ndim in (1, 3) for array in given.values())
    found: dict[str, Masks] = {}
    timesteps: dict[int, str] = {}
    for key, array in given.items():
        if masks:
            one = array
        else:
            one = _packed(key, array)
            timesteps.setdefault(array.shape[0], key)
        found[key.removesuffix("_in")] = one.reshape(one.shape[0], *(one.shape[1:] or (1, 1)))
    if len(timesteps) > 1:
        (first, a), (second, b) = list(timesteps.items())[:2]
        raise EvenspikeError(f"array {a} has {first} timesteps, array {b} has {second}")
    return found, None if masks else next(iter(timesteps))


def _packed(key: str, array: npt.NDArray[Any]) -> Masks:
    """Masks [C, H, W] or [C] of planes."""
    if array.ndim not in (2, 3, 4, 5):
        raise EvenspikeError(f"array {key} is {array.dtype} {array.shape}, neither {FORMS}")
    if array.ndim in (3, 5):
        if array.shape[1] != 1:
            raise EvenspikeError(
                f"array {key} is {array.dtype} {array.shape}: of planes [T, B, ...] the batch B "
                f"is one image, not {array.shape[1]}"
            )
        array = array[:, 0]
    if array.shape[0] > TIMESTEPS_MAX:
        raise EvenspikeError(
            f"array {key} has {array.shape[0]} timesteps, 1 to {TIMESTEPS_MAX} are possible"
        )
    spikes = array != 0
    odd = spikes & (array != 1)  # NaN is neither
    if odd.any():
        raise EvenspikeError(
            f"array {key} holds {array[odd][0]}, planes hold 0 and 1; "
            "a layer that takes pixels is not traced"
        )
    return pack_masks(spikes)


def _timesteps(
    spikes: Mapping[str, Masks], planes: int | None, stated: int | None, wanted: int | None
) -> int:
    """T, where all that state it agree."""
    found = {
        "its planes": planes,
        "the array `timesteps`": stated,
        "the option `timesteps`": wanted,
    }
    said = [(what, value) for what, value in found.items() if value is not None]
    for what, value in said:
        if not isinstance(value, int | np.integer) or not 1 <= value <= TIMESTEPS_MAX:
            raise EvenspikeError(f"{what}: {value}, 1 to {TIMESTEPS_MAX} timesteps are possible")
        if value != said[0][1]:
            raise EvenspikeError(f"{said[0][0]}: {said[0][1]} timesteps, {what}: {value}")
    highest = {name: int(masks.max()) for name, masks in spikes.items()}
    if not said:
        timesteps = max(highest.values()).bit_length()
        if not timesteps:
            raise EvenspikeError("masks without a spike: state their timesteps")
        if timesteps > TIMESTEPS_MAX:
            raise EvenspikeError(
                f"masks of {timesteps} timesteps, 1 to {TIMESTEPS_MAX} are possible"
            )
        return timesteps
    timesteps = int(said[0][1])
    for name, value in highest.items():
        if value >> timesteps:
            raise EvenspikeError(
                f"array {name}_in has a mask of {value}, {timesteps} timesteps reach "
                f"{(1 << timesteps) - 1}"
            )
    return timesteps


def _shape(masks: Masks) -> Shape:
    channels, height, width = masks.shape
    return channels, height, width


def _input(layers: tuple[LayerShape, ...], spikes: Mapping[str, Masks]) -> Shape:
    """Shape of what comes into the network, from the array of a layer that takes it."""
    first = [layer.name for layer in layers if layer.convolutions[0].source == INPUT]
    for name in first:
        if name in spikes:
            return _shape(spikes[name])
    raise EvenspikeError(f"no array {first[0] if first else layers[0].name}_in")


def _assigned(topology: Topology, spikes: Mapping[str, Masks]) -> dict[str, Masks]:
    """Each array as the spikes of the layer that makes them."""
    found: dict[str, Masks] = {}
    origin: dict[str, str] = {}
    unknown = set(spikes) - {layer.name for layer in topology.layers}
    if unknown:
        raise EvenspikeError(f"array {min(unknown)}_in belongs to no layer")
    for layer in topology.layers:
        if layer.name not in spikes:
            continue
        source, masks = layer.convolutions[0].source, spikes[layer.name]
        shape = topology.shapes[source]
        if masks.shape == (np.prod(shape), 1, 1):  # flattened for a fully connected layer
            masks = masks.reshape(shape)
        if masks.shape != shape:
            raise EvenspikeError(
                f"array {layer.name}_in is {masks.shape}, the spikes of {source} are {shape}"
            )
        if not np.array_equal(found.setdefault(source, masks), masks):
            raise EvenspikeError(
                f"arrays {origin[source]}_in and {layer.name}_in differ, and both are the "
                f"spikes of {source}"
            )
        origin.setdefault(source, layer.name)
    for layer in topology.layers:
        for one in layer.convolutions:
            if one.source not in found:
                raise EvenspikeError(f"layer {layer.name}: no array has the spikes of {one.source}")
    return found
