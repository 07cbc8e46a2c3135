"""Program: the integer network, its file format and its checks.

A Program is what the exporter writes and every simulator runs. It says nothing about the
accelerator: the same Program runs on every `Arch`. The file is one `.safetensors`:

- metadata key `evenspike`: JSON with the layer graph, the provenance and a SHA-256 of everything;
- `<layer>.<segment>.mask`: uint8, the pruning mask packed eight to a byte (little-endian bits);
- `<layer>.<segment>.values`: int16, the weights that are alive, in the order of the mask;
- `<layer>.bias`: int32, one per filter.

Zeros are stored as masks, so a file costs 1 bit for each weight of the dense network and 2 bytes
for each that lives.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from evenspike_core import files, first_format
from evenspike_core.codes import CODE_BITS, base_of
from evenspike_core.errors import EvenspikeError
from evenspike_core.fixed import ACCUMULATOR_BITS, LEAK_ONE, Neuron, signed_range

FORMAT = 2
"""Version of the file format that is written; the first is read, too, any other is refused."""

PIXELS = -1
"""`Segment.source` of what the encoder takes."""

KERNELS = (1, 3, 5, 7)
STRIDES = (1, 2)
POOLS = (1, 2)
AVERAGES = (1, 2, 4, 8)
PIXEL_MAX = 255
TIMESTEPS_MAX = 32
SIDE_MAX = 1024
"""Largest side of a map; keeps a small file from asking for more memory than there is."""

STREAM_BITS = (4, 8, 16)
"""Widths that a weight can have in the weight stream; one of 4 bits is a code (`codes`)."""

OFFSET_MAX = 255
"""Largest offset of a segment, either way."""

HOST_BIAS_BITS = 32


class Coding(StrEnum):
    """How the host makes the spikes of the first layer from an input of bytes.

    DIRECT: a convolution and its neurons, driven by the same image at every timestep, or by a frame
    for each. RATE: a spike at each timestep with the probability byte / 255, drawn from the seed
    and the input. LATENCY: one spike, the earlier the larger the byte; none for 0. FRAMES: a frame
    of spikes for each timestep as it is, where a byte is not 0.
    """

    DIRECT = "direct"
    RATE = "rate"
    LATENCY = "latency"
    FRAMES = "frames"


class Readout(StrEnum):
    """What the last layer gives for a class. PSUM: the sum over t of psum + bias, without neurons.
    COUNT: the number of its neuron's spikes. MEMBRANE: that of its neuron after the last timestep.
    """

    PSUM = "psum"
    COUNT = "count"
    MEMBRANE = "membrane"


class Rebuilt:
    """Copied and unpickled through its constructor, so that what that proved holds for copies."""

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(getattr(self, one.name) for one in fields(cast("Any", self)))


@dataclass(frozen=True, eq=False)
class Segment(Rebuilt):
    """One input of a layer: a convolution whose partial sums go into the layer's accumulators.

    A plain layer has one segment, a residual layer two (the shortcut is a 1x1 convolution, or the
    identity with one weight a filter); a linear layer on a large map has one for each part of it.

    source: index of the layer whose spikes come in, or `PIXELS`.
    weights: int16 [filters, channels, K, K]; zero means pruned, or never there: what is smaller
        than its kernel, or has gaps, is a pattern of zeros.
    offset: (row, column) of the source under kernel position (0, 0) of output (0, 0), signed: a
        padding of p is -p. Output (y, x) reads row y * stride + r + offset[0] at position (r, s).
    average: side of an average pool in front of the convolution: input coordinates are divided
        by it (the 1/side^2 is in the weights).
    dense: weights that the network has here before pruning; all of the array's unless stated.
    """

    source: int
    weights: npt.NDArray[np.int16] = field(repr=False)
    stride: int = 1
    offset: tuple[int, int] = (0, 0)
    average: int = 1
    dense: int = -1

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", immutable(self.weights))
        if self.dense < 0:
            object.__setattr__(self, "dense", int(getattr(self.weights, "size", 0)))

    @property
    def kernel(self) -> int:
        return int(self.weights.shape[-1])

    @cached_property
    def weight_bits(self) -> int:
        """The narrowest width of the weight stream that holds every weight."""
        return next(n for n in STREAM_BITS if self.fits(n))

    @cached_property
    def base(self) -> int | None:
        """Of the 4-bit codes of the weights; None where these are no such powers of two."""
        try:
            return base_of(self.weights)
        except EvenspikeError:
            return None

    def fits(self, bits: int) -> bool:
        """Whether weights of so many bits in the weight stream can be these; one width's can be
        without a wider one's, since 4 bits hold powers of two that 8 bits do not.
        """
        if bits == CODE_BITS:
            return self.base is not None
        low, high = signed_range(bits)
        return low <= int(self.weights.min()) and int(self.weights.max()) <= high

    @property
    def channels(self) -> int:
        return int(self.weights.shape[1])


@dataclass(frozen=True, eq=False)
class Layer(Rebuilt):
    """Spiking neurons and their inputs; the first layer is the encoder, which is the host's.

    size: (height, width) of the map before pooling. It is stated: what of the source no output
        reads is left out, and an output that reads nothing gets its bias alone.
    threshold, leak, hard, reset: of its neurons, as in `fixed.Neuron`.
    pool: side of the max-pool after the neurons (an OR of spike masks), 1 for none.
    bias: int32 [filters], added at every timestep; 24-bit range, 32-bit in a direct encoder.
    readout: of the last layer; None for the others.
    coding: of the encoder; None for the others. Only a direct one has segments and neurons; the
        maps of the others are their input.
    shift: direct encoder: its 32-bit sums are rounded to `(sum + 2^(shift-1)) >> shift`, the
        24-bit current that drives its neurons.
    seed: rate coding: of its draws.
    pool_first: direct encoder: its pool takes the largest current of a window, in front of the
        neurons, which after the pool are not the same.
    weight_bits: width of its weights in the weight stream, 4, 8 or 16; no result depends on it. 4
        bits are for powers of two, of at most eight exponents in a row in a segment. None: of each
        segment the narrowest that holds its weights.
    """

    name: str
    segments: tuple[Segment, ...]
    bias: npt.NDArray[np.int32] = field(repr=False)
    size: tuple[int, int]
    threshold: int
    leak: int = LEAK_ONE // 4
    hard: bool = True
    reset: int = 0
    pool: int = 1
    readout: Readout | None = None
    coding: Coding | None = None
    shift: int = 0
    seed: int = 0
    pool_first: bool = False
    weight_bits: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "bias", immutable(self.bias))

    def stream_bits(self, segment: Segment) -> int:
        """Width of a segment's weights in the weight stream."""
        return self.weight_bits or segment.weight_bits

    @property
    def filters(self) -> int:
        return int(self.bias.shape[0])

    @property
    def last(self) -> bool:
        return self.readout is not None

    @property
    def host(self) -> bool:
        """Whether it is the encoder."""
        return self.coding is not None

    @property
    def neuron(self) -> Neuron:
        return Neuron(self.threshold, self.leak, self.hard, self.reset)

    @property
    def output(self) -> tuple[int, int, int]:
        """(channels, height, width) of the spikes, after pooling."""
        return self.filters, self.size[0] // self.pool, self.size[1] // self.pool

    def is_identity(self, index: int) -> bool:
        """Whether a segment behind the first is a shortcut that adds spikes as they are.

        It is one same weight from channel c to filter c: a scale, not parameters.
        """
        segment = self.segments[index]
        if index == 0 or segment.kernel != 1 or segment.channels != self.filters:
            return False
        matrix = segment.weights[:, :, 0, 0]
        return bool(matrix[0, 0] and (matrix == np.diag([matrix[0, 0]] * self.filters)).all())

    @property
    def parameters(self) -> tuple[tuple[int, Segment], ...]:
        """The segments that have weights of their own, with their indices: no identity."""
        return tuple((i, s) for i, s in enumerate(self.segments) if not self.is_identity(i))

    @property
    def nnz(self) -> int:
        """Living weights; those of an identity are not counted."""
        return sum(int(np.count_nonzero(s.weights)) for _, s in self.parameters)

    @property
    def weights(self) -> int:
        """Weights of the dense layer, counted as `nnz` counts them."""
        return sum(s.dense for _, s in self.parameters)


def immutable(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The array over bytes that nobody can write to, whatever flag is set; what is no array stays.

    So what a Program's constructor has proved stays true.
    """
    if not isinstance(array, np.ndarray) or array.dtype.hasobject:
        return array  # the checks refuse it, by name
    return np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape)


class Provenance(Mapping[str, Any]):
    """JSON values by name; what it hands out are copies, so that nobody changes what it holds."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = copy.deepcopy(dict(values))

    def __getitem__(self, name: str) -> Any:
        return copy.deepcopy(self._values[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Provenance({', '.join(self._values)})"


@dataclass(frozen=True, eq=False, repr=False)
class Program(Rebuilt):
    """A checked integer network, read-only to the byte. Constructing one proves that no membrane
    can overflow. Two are equal, and hash alike, if their digests are.

    timesteps: 1 to 32. shape: (channels, height, width) of the input's bytes; a network whose
        input changes with time takes a frame of that shape for each timestep.
    provenance: how it was made (recipe, seed, command, data set, accuracies, date); JSON values.
    """

    name: str
    timesteps: int
    shape: tuple[int, int, int]
    layers: tuple[Layer, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "provenance", Provenance(self.provenance))
        _check(self)

    def __eq__(self, other: object) -> bool:
        return self.digest() == other.digest() if isinstance(other, Program) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.digest())

    def __repr__(self) -> str:
        return (
            f"<Program {self.name}: {len(self.layers)} layers, {self.timesteps} timesteps, "
            f"{self.nnz:,} of {self.weights:,} weights, digest {self.digest()[:12]}>"
        )

    @property
    def nnz(self) -> int:
        return sum(layer.nnz for layer in self.layers)

    @property
    def weights(self) -> int:
        return sum(layer.weights for layer in self.layers)

    @property
    def sparsity(self) -> float:
        return 1.0 - self.nnz / max(self.weights, 1)

    @property
    def encoder(self) -> Layer:
        """The first layer: what the host does with an input before the machine gets spikes."""
        return self.layers[0]

    @property
    def classes(self) -> int:
        return self.layers[-1].filters

    def source_shape(self, segment: Segment) -> tuple[int, int, int]:
        return self.shape if segment.source == PIXELS else self.layers[segment.source].output

    def digest(self) -> str:
        """SHA-256 over the header and every tensor, in layer order."""
        return self._sha256

    @cached_property
    def _sha256(self) -> str:
        return _digest(_header(self), _tensors(self))

    def save(self, path: Path) -> None:
        """Write the file atomically: a reader sees the old file or the whole new one."""
        files.write(path, self.to_bytes())

    def to_bytes(self) -> bytes:
        """What its file holds."""
        header, tensors = _header(self), _tensors(self)
        header["sha256"] = _digest(header, tensors)
        return save(tensors, metadata={"evenspike": json.dumps(header, sort_keys=True)})

    @staticmethod
    def load(path: Path) -> Program:
        """Read, verify the hash, and check a file.

        Raises EvenspikeError for a file that is missing, truncated, tampered with, of another
        format version, or that does not hold a network the checks accept.
        """
        if not path.is_file():
            raise EvenspikeError(f"{path}: no such Program file")
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise EvenspikeError(f"{path}: not a readable .safetensors file: {error}") from error
        try:
            header = json.loads(metadata["evenspike"])
            stated = header.pop("sha256")
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise EvenspikeError(f"{path}: holds no evenspike Program header") from error
        version = header.get("format")
        if type(version) is not int or version not in (first_format.FORMAT, FORMAT):
            raise EvenspikeError(
                f"{path}: file format {version!r}, this version reads {first_format.FORMAT} and "
                f"{FORMAT}"
            )
        try:
            if _digest(header, tensors) != stated:
                raise EvenspikeError("content does not match its SHA-256; file is damaged")
            if version == first_format.FORMAT:
                header = first_format.upgrade(header)
                stated = _digest(header, tensors)
            program = _parse(header, tensors)
            if program.digest() != stated:  # a field or tensor unknown, or of another type
                raise EvenspikeError("holds something that this version would not write")
            return program
        except EvenspikeError as error:
            raise EvenspikeError(f"{path}: {error}") from error
        except _MALFORMED as error:
            raise EvenspikeError(f"{path}: malformed Program: {error!r}") from error


_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)
"""What reading a header that is JSON, but not a Program's, can raise."""


def _header(program: Program) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "name": program.name,
        "timesteps": program.timesteps,
        "shape": list(program.shape),
        "provenance": dict(program.provenance),
        "layers": [
            {
                "name": layer.name,
                "filters": layer.filters,
                "size": list(layer.size),
                "threshold": layer.threshold,
                "leak": layer.leak,
                "hard": layer.hard,
                "reset": layer.reset,
                "pool": layer.pool,
                "readout": layer.readout and layer.readout.value,
                "coding": layer.coding and layer.coding.value,
                "shift": layer.shift,
                "seed": layer.seed,
                "pool_first": layer.pool_first,
                # Left out where nothing is said, as in files that are older than the field.
                **({} if layer.weight_bits is None else {"weight_bits": layer.weight_bits}),
                "segments": [
                    {
                        "source": s.source,
                        "shape": list(s.weights.shape),
                        "stride": s.stride,
                        "offset": list(s.offset),
                        "average": s.average,
                        "dense": s.dense,
                    }
                    for s in layer.segments
                ],
            }
            for layer in program.layers
        ],
    }


def _tensors(program: Program) -> dict[str, npt.NDArray[Any]]:
    tensors: dict[str, npt.NDArray[Any]] = {}
    for layer in program.layers:
        tensors[f"{layer.name}.bias"] = layer.bias
        for index, segment in enumerate(layer.segments):
            flat = segment.weights.reshape(-1)
            alive = flat != 0
            tensors[f"{layer.name}.{index}.mask"] = np.packbits(alive, bitorder="little")
            tensors[f"{layer.name}.{index}.values"] = flat[alive]
    return tensors


def _digest(header: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]]) -> str:
    sha = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        sha.update(f"{name} {tensor.dtype.str} {tensor.shape}".encode())
        sha.update(tensor.tobytes())
    return sha.hexdigest()


def _parse(header: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]]) -> Program:
    layers = []
    for entry in header["layers"]:
        name = entry["name"]
        segments = []
        for index, part in enumerate(entry["segments"]):
            shape = tuple(int(n) for n in part["shape"])
            if len(shape) != 4 or min(shape) < 1:
                raise EvenspikeError(f"layer {name}: weight shape {shape} is not [F, C, K, K]")
            size = int(np.prod(shape, dtype=object))
            mask, values = tensors[f"{name}.{index}.mask"], tensors[f"{name}.{index}.values"]
            if mask.dtype != np.uint8 or mask.shape != ((size + 7) // 8,):
                raise EvenspikeError(f"layer {name}: the mask does not have {size} bits")
            alive = np.unpackbits(mask, count=size, bitorder="little").astype(bool)
            if values.dtype != np.int16 or values.shape != (int(alive.sum()),):
                raise EvenspikeError(
                    f"layer {name}: {values.shape} {values.dtype} values for {alive.sum()} weights"
                )
            weights = np.zeros(size, dtype=np.int16)
            weights[alive] = values
            segments.append(
                Segment(
                    int(part["source"]),
                    weights.reshape(shape),
                    int(part["stride"]),
                    _pair(part["offset"]),
                    int(part["average"]),
                    int(part["dense"]),
                )
            )
        layers.append(
            Layer(
                str(name),
                tuple(segments),
                tensors[f"{name}.bias"],
                _pair(entry["size"]),
                int(entry["threshold"]),
                int(entry["leak"]),
                bool(entry["hard"]),
                int(entry["reset"]),
                int(entry["pool"]),
                None if entry["readout"] is None else Readout(entry["readout"]),
                None if entry["coding"] is None else Coding(entry["coding"]),
                int(entry["shift"]),
                int(entry["seed"]),
                bool(entry["pool_first"]),
                int(entry["weight_bits"]) if "weight_bits" in entry else None,
            )
        )
    channels, height, width = (int(n) for n in header["shape"])
    return Program(
        str(header["name"]),
        int(header["timesteps"]),
        (channels, height, width),
        tuple(layers),
        cast("Mapping[str, Any]", header["provenance"]),
    )


def _pair(values: Iterable[Any]) -> tuple[int, int]:
    first, second = (int(n) for n in values)
    return first, second


def _check(program: Program) -> None:
    """Refuse what no simulator could run; each message names layer, field, value and limit."""
    for name in (program.name, *(layer.name for layer in program.layers)):
        if not name or not name.isprintable():
            raise EvenspikeError(f"{name!r} is not a name: empty or not printable")
    try:
        json.dumps(dict(program.provenance), sort_keys=True)
    except (TypeError, ValueError, RecursionError) as error:
        raise EvenspikeError(f"{program.name}: provenance is not JSON: {error}") from error
    if not 1 <= program.timesteps <= TIMESTEPS_MAX:
        raise EvenspikeError(
            f"{program.name}: {program.timesteps} timesteps, 1 to {TIMESTEPS_MAX} are possible"
        )
    if len(program.shape) != 3 or min(program.shape) < 1:
        raise EvenspikeError(f"{program.name}: input shape {program.shape} is not [C, H, W]")
    if max(program.shape[1:]) > SIDE_MAX:
        raise EvenspikeError(f"{program.name}: input shape {program.shape}, sides reach {SIDE_MAX}")
    if not program.layers:
        raise EvenspikeError(f"{program.name}: no layers")
    names = [layer.name for layer in program.layers]
    if len(set(names)) != len(names):
        raise EvenspikeError(f"{program.name}: two layers have the same name")
    for index, layer in enumerate(program.layers):
        if layer.last != (index == len(program.layers) - 1):
            raise EvenspikeError(f"layer {layer.name}: exactly the final layer has a read-out")
        if layer.host != (index == 0):
            raise EvenspikeError(f"layer {layer.name}: exactly the first layer has a coding")
        _check_layer(program, index, layer)


def _check_layer(program: Program, index: int, layer: Layer) -> None:
    where = f"layer {layer.name}"
    if layer.bias.dtype != np.int32 or layer.bias.ndim != 1 or layer.filters < 1:
        raise EvenspikeError(
            f"{where}: bias is {layer.bias.dtype} {layer.bias.shape}, not int32 [F]"
        )
    if layer.weight_bits is not None and (
        type(layer.weight_bits) is not int or layer.weight_bits not in STREAM_BITS
    ):
        raise EvenspikeError(
            f"{where}: weight_bits {layer.weight_bits!r}, possible are {STREAM_BITS} and None"
        )
    _check_map(layer)
    _check_neuron(layer)
    if layer.coding in (None, Coding.DIRECT):
        _check_range(program, index, layer)
    elif layer.segments or layer.bias.any() or layer.pool != 1:
        raise EvenspikeError(f"{where}: {layer.coding} coding has no weights, bias or pool")
    elif (layer.filters, *layer.size) != tuple(program.shape):
        raise EvenspikeError(
            f"{where}: {layer.coding} coding gives the input's {program.shape}, not "
            f"{(layer.filters, *layer.size)}"
        )


def _check_map(layer: Layer) -> None:
    where = f"layer {layer.name}"
    if layer.pool not in POOLS or any(n % layer.pool for n in layer.size):
        raise EvenspikeError(f"{where}: pool {layer.pool} of a {layer.size} map; 1 or 2, dividing")
    if min(layer.size) < 1 or max(layer.size) > SIDE_MAX:
        raise EvenspikeError(f"{where}: map is {layer.size}, sides are 1 to {SIDE_MAX}")
    if layer.last and (layer.pool != 1 or layer.host):
        raise EvenspikeError(f"{where}: the last layer has no pool and is not the first")
    if layer.last and tuple(layer.size) != (1, 1):
        raise EvenspikeError(f"{where}: map is {layer.size}, the last layer's is (1, 1)")
    if layer.pool_first and layer.coding is not Coding.DIRECT:
        raise EvenspikeError(f"{where}: only a direct encoder pools in front of its neurons")


def _check_neuron(layer: Layer) -> None:
    where = f"layer {layer.name}"
    limit = signed_range(ACCUMULATOR_BITS)[1]
    if layer.readout is not Readout.PSUM and not 0 < layer.threshold <= limit:
        raise EvenspikeError(f"{where}: threshold {layer.threshold} is outside 1 to {limit}")
    if not 0 <= layer.leak <= LEAK_ONE:
        raise EvenspikeError(
            f"{where}: leak {layer.leak} is outside 0 to {LEAK_ONE}, of {LEAK_ONE}"
        )
    if abs(layer.reset) > limit:
        raise EvenspikeError(f"{where}: reset {layer.reset} is outside {-limit} to {limit}")
    if not 0 <= layer.shift < HOST_BIAS_BITS or (layer.shift and layer.coding is not Coding.DIRECT):
        raise EvenspikeError(
            f"{where}: shift {layer.shift}; 0 to 31, and 0 but for a direct encoder"
        )
    if layer.seed < 0 or (layer.seed and layer.coding is not Coding.RATE):
        raise EvenspikeError(f"{where}: seed {layer.seed}; 0 or more, and 0 but for rate coding")


def _check_range(program: Program, index: int, layer: Layer) -> None:
    """Prove that no sum and no membrane of the layer can leave its bits, whatever fires."""
    where = f"layer {layer.name}"
    limit = -signed_range(ACCUMULATOR_BITS)[0]
    if not layer.segments:
        raise EvenspikeError(f"{where}: no segments")
    magnitude = np.abs(layer.bias.astype(np.int64))
    for segment in layer.segments:
        magnitude = magnitude + _check_segment(program, index, layer, segment)
    if layer.host:
        worst = int(magnitude.max())
        if worst > signed_range(HOST_BIAS_BITS)[1]:
            at = int(magnitude.argmax())
            raise EvenspikeError(f"{where}: filter {at} can reach {worst}, host sums have 32 bits")
        magnitude = (magnitude >> layer.shift) + 1
    bounds = magnitude
    if layer.readout is not Readout.PSUM:  # whose sum over t has 32 bits
        bounds = layer.neuron.bound(magnitude, program.timesteps)
    filter_ = int(bounds.argmax())
    if bounds[filter_] >= limit:
        raise EvenspikeError(
            f"{where}: range proof fails for filter {filter_}: its membrane can reach "
            f"{bounds[filter_]}, the limit is {limit} (24 bit)"
        )


def _check_segment(
    program: Program, index: int, layer: Layer, segment: Segment
) -> npt.NDArray[np.int64]:
    """Check one segment; returns the largest |psum| it can add, int64 [filters]."""
    where = f"layer {layer.name}"
    if layer.host != (segment.source == PIXELS):
        raise EvenspikeError(f"{where}: exactly the encoder takes the input")
    if not PIXELS <= segment.source < index:
        raise EvenspikeError(f"{where}: source {segment.source} is not an earlier layer")
    weights = segment.weights
    if weights.dtype != np.int16 or weights.ndim != 4 or weights.shape[2] != weights.shape[3]:
        raise EvenspikeError(
            f"{where}: weights are {weights.dtype} {weights.shape}, not int16 [F, C, K, K]"
        )
    if weights.shape[0] != layer.filters:
        raise EvenspikeError(
            f"{where}: {weights.shape[0]} filters of weights, {layer.filters} of bias"
        )
    if segment.kernel not in KERNELS:
        raise EvenspikeError(f"{where}: kernel {segment.kernel}, possible are {KERNELS}")
    if segment.stride not in STRIDES or segment.average not in AVERAGES:
        raise EvenspikeError(
            f"{where}: stride {segment.stride} and average {segment.average}; "
            f"possible are {STRIDES} and {AVERAGES}"
        )
    if len(segment.offset) != 2 or max(abs(n) for n in segment.offset) > OFFSET_MAX:
        raise EvenspikeError(
            f"{where}: offset {segment.offset}; two of {-OFFSET_MAX} to {OFFSET_MAX}"
        )
    channels, height, width = program.source_shape(segment)
    if segment.channels != channels:
        raise EvenspikeError(f"{where}: {segment.channels} channels, its source has {channels}")
    if segment.average > 1 and (height % segment.average or width % segment.average or layer.host):
        raise EvenspikeError(f"{where}: average {segment.average} of a {height}x{width} map")
    if not np.count_nonzero(weights) <= segment.dense <= weights.size:
        raise EvenspikeError(
            f"{where}: {segment.dense} weights before pruning, {np.count_nonzero(weights)} are "
            f"left of {weights.size}"
        )
    gain = PIXEL_MAX if segment.source == PIXELS else segment.average**2
    return cast(
        "npt.NDArray[np.int64]",
        np.abs(weights, dtype=np.int32).sum(axis=(1, 2, 3), dtype=np.int64) * gain,
    )
