"""Unpack: Packed -> Program, the inverse of `pack`, written from the documented words alone.

Hardware and model read the words that `pack` writes and cannot catch its defects; that
`unpack(pack(p))` is p can.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from evenspike_core.arch import BIAS_BITS, PID_BITS, TOKEN_BITS
from evenspike_core.errors import EvenspikeError
from evenspike_core.pack import Descriptor, Packed, split_chunk
from evenspike_core.program import Layer, Program, Segment


def unpack(packed: Packed) -> Program:
    """The Program that a Packed holds, from its words and descriptors alone.

    It has no provenance, its segments count all weights of their arrays as `dense`, and no layer
    says how wide its weights are in the stream.

    Raises EvenspikeError for a weight stream that is malformed or holds no Program.
    """
    layers: list[Layer] = [packed.host]
    for descriptor in packed.layers[1:]:
        weights = [
            np.zeros((descriptor.filters, s.blocks * packed.arch.pes, s.kernel**2), dtype=np.int16)
            for s in descriptor.segments
        ]
        bias = np.zeros(descriptor.filters, dtype=np.int32)
        for number, (address, _) in enumerate(descriptor.passes):
            rows = descriptor.blocks[
                number * descriptor.slots : number * descriptor.slots
                + descriptor.slots_used[number]
            ]
            for position, (segment, start, end) in enumerate(descriptor.chunks):
                streams, address = split_chunk(packed.stream, address, packed.arch)
                last = position == len(descriptor.chunks) - 1
                for pe, stream in enumerate(streams):
                    try:
                        _unpack_pe(
                            stream.tolist(),
                            descriptor,
                            segment,
                            range(start, end),
                            [int(f) for f in rows[:, pe]],
                            weights[segment],
                            bias if last else None,
                        )
                    except IndexError as error:
                        raise EvenspikeError(
                            f"layer {descriptor.name}: pass {number}, chunk {position}: "
                            f"the weight stream of PE {pe} is malformed"
                        ) from error
        segments = tuple(
            Segment(
                s.source,
                _natural(weights[n], packed.layers[s.source].blocks).reshape(
                    descriptor.filters, -1, s.kernel, s.kernel
                ),
                s.stride,
                s.offset,
                s.average,
            )
            for n, s in enumerate(descriptor.segments)
        )
        layers.append(
            Layer(
                descriptor.name,
                segments,
                bias,
                descriptor.size,
                descriptor.threshold,
                descriptor.leak,
                descriptor.hard,
                descriptor.reset,
                descriptor.pool,
                descriptor.readout,
            )
        )
    return Program(packed.name, packed.timesteps, packed.shape, tuple(layers))


def _natural(
    weights: npt.NDArray[np.int16], blocks: npt.NDArray[np.int32]
) -> npt.NDArray[np.int16]:
    """Undo the source's permutation: lanes back to channels."""
    lanes = blocks.reshape(-1)
    used = lanes >= 0
    natural = np.zeros((weights.shape[0], int(used.sum()), weights.shape[2]), dtype=np.int16)
    natural[:, lanes[used]] = weights[:, used]
    return natural


def _unpack_pe(
    words: list[int],
    descriptor: Descriptor,
    segment: int,
    channels: range,
    filters: list[int],
    weights: npt.NDArray[np.int16],
    bias: npt.NDArray[np.int32] | None,
) -> None:
    """Decode one PE's words of one chunk into `weights` [filters, channels, K*K] and `bias`.

    Raises IndexError where the units lead outside of either, or end too soon.
    """
    source = descriptor.segments[segment]
    bits, pid_bits = source.weight_bits, PID_BITS[source.kernel]
    beside = bits < 16  # a token and its weight
    size = 12 if bits == 4 else 16
    units = [word >> at & (1 << size) - 1 for word in words for at in range(0, 65 - size, size)]
    gap_bits, skip = TOKEN_BITS - pid_bits, (1 << pid_bits) - 1
    left, at, kernel = units[0], 1, 0
    while left:
        pair = units[at]
        at += 1
        for token in (pair & 0xFF,) if beside else (pair & 0xFF, pair >> 8)[:left]:
            gap, pid = token >> pid_bits, token & skip
            left -= 1
            if pid == skip:
                far = pair >> 8 if beside else 0
                kernel += (far << gap_bits | gap) + 1 << gap_bits
                continue
            kernel += gap
            channel, slot = divmod(kernel, descriptor.slots)
            if filters[slot] < 0:
                raise IndexError(slot)
            if bits == 4:
                exponent = source.base + (pair >> 8 & 7)
                if exponent > 14:
                    raise IndexError(exponent)
                weight = -(1 << exponent) if pair >> 11 else 1 << exponent
            elif bits == 8:
                weight = (pair >> 8) - (pair >> 15 << 8)
            else:
                weight = units[at] - (units[at] >> 15 << 16)
                at += 1
            weights[filters[slot], channels[channel], pid] = weight
    if bias is not None:
        for slot, number in enumerate(filters):
            if number >= 0:
                value = units[at + 2 * slot] | units[at + 2 * slot + 1] << BIAS_BITS
                bias[number] = value - (1 << 24) if value >> 23 else value
