"""Codes: what weights of 4 bits save, and what other formats of theirs would.

    python -m benchmarks.codes [--model NAME] [--images N] [--arch ARCH]

The model's weights become powers of two: the nearest one, of the seven exponents up to the layer's
largest, so that they fit 8 bits, too. The same network then has its weights in 16, in 8 and in 4
bits in the weight stream. Words: of the port, as packed. Cycles: of the cycle model, the mean of
the images; the spikes are the same in all three. The other formats are counted, not built.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from evenspike.cli.parser import Parser
from evenspike.flows import models
from evenspike.flows.images import images
from evenspike_core import reference
from evenspike_core.arch import PID_BITS, TOKEN_BITS, Arch, preset
from evenspike_core.mapping import choose
from evenspike_core.pack import Packed, pack
from evenspike_core.program import Layer, Program
from evenspike_sim.accelerator import Accelerator
from evenspike_sim.loader import LoadedChunk, load_pass

SPAN = 6
"""Doublings from the smallest weight of a layer to the largest: 1 to 64."""

Index = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Format:
    """A layout of tokens and codes. gap: bits of a gap less than in a token. beside: whether a skip
    has a code's place, too. whole: whether a word of 64 bits holds whole units only.
    """

    name: str
    gap: int = 0
    beside: bool = True
    whole: bool = True


FORMATS = (
    Format("five units of 12 bits in a word"),
    Format("units of 12 bits across words", whole=False),
    Format("tokens and codes apart, across words", beside=False, whole=False),
    Format("six units of 10 bits in a word", gap=2),
)


def powers_of_two(layer: Layer) -> Layer:
    """The layer with powers of two from 1 to 2^SPAN, and all else in the same scale."""
    largest = max(int(np.abs(one.weights.astype(np.int64)).max()) for one in layer.segments)
    low = max(0, round(float(np.log2(largest))) - SPAN)
    segments = []
    for one in layer.segments:
        size = np.abs(one.weights.astype(np.float64))
        exponents = np.rint(np.log2(np.where(size, size, 1))) - low
        powers = np.exp2(exponents.clip(0, SPAN)) * np.sign(one.weights)
        segments.append(replace(one, weights=powers.astype(np.int16)))
    threshold, reset = (round(n / 2**low) for n in (layer.threshold, layer.reset))
    bias = np.rint(layer.bias / 2**low).astype(np.int32)
    return replace(
        layer, segments=tuple(segments), bias=bias, threshold=max(1, threshold), reset=reset
    )


def streamed(program: Program, bits: int, arch: Arch) -> Packed:
    """The network with weights of so many bits in the stream, mapped for these."""
    layers = [replace(one, weight_bits=bits) for one in program.layers[1:]]
    stated = replace(program, layers=(program.layers[0], *layers))
    return pack(stated, choose(stated, arch), arch)


def chunks(packed: Packed) -> Iterator[tuple[LoadedChunk, int, int, int]]:
    """Each chunk, the side of its kernels, its slots, and the units of a PE's biases behind it."""
    for layer in packed.layers[1:]:
        for number in range(len(layer.passes)):
            for at, chunk in enumerate(load_pass(packed, layer, number)):
                last = at == len(layer.chunks) - 1
                kernel = layer.segments[chunk.segment].kernel
                yield chunk, kernel, layer.slots, 2 * layer.slots * last


def words(packed: Packed, form: Format) -> int:
    """Words that the PEs would take of a format, without counts."""
    total = 0
    for chunk, kernel, slots, biases in chunks(packed):
        gap_bits = max(0, TOKEN_BITS - PID_BITS[kernel] - form.gap)
        most = 1 << gap_bits + 4 * form.beside
        for pe, starts in enumerate(chunk.kernel_start):
            channel = np.repeat(np.arange(starts.size - 1), np.diff(starts))
            gaps = np.diff(channel * slots + chunk.slot[pe, : starts[-1]], prepend=0)
            weights = int(np.bitwise_count(chunk.wsp[pe, : starts[-1]]).sum())
            skips = int((-(-(gaps >> gap_bits) // most)).sum())
            unit = TOKEN_BITS + 4 - form.gap
            if form.whole:
                units = 1 + weights + skips + -(-12 * biases // unit)
                total += -(-units // (64 // unit))
            else:
                bits = unit * (1 + weights + skips + biases) - 4 * skips * (not form.beside)
                total += -(-bits // 64)
    return total


def main() -> int:
    parser = Parser(prog="python -m benchmarks.codes", description=__doc__)
    parser.add_argument("--model", default="vgg16")
    parser.add_argument("--images", type=int, default=1)
    parser.add_argument("--arch", default="packed", help="preset, and fields that differ from it")
    arguments = parser.parse_args()
    given, arch = models.load(arguments.model), preset(arguments.arch)
    layers = (given.layers[0], *map(powers_of_two, given.layers[1:]))
    program = replace(given, layers=layers)
    pictures = images(arguments.images, given).pixels
    found = {bits: streamed(program, bits, arch) for bits in (16, 8, 4)}
    most = found[16].stream.size
    for bits, packed in found.items():
        accelerator = Accelerator(packed)
        runs = [accelerator.run(reference.encode(program, one)) for one in pictures]
        cycles = sum(int(layer.cycles) for run in runs for layer in run) / len(runs)
        loaded = sum(int(layer.actions["memory_word"]) for layer in runs[0])
        print(
            f"{bits:2} bits: {packed.stream.size // arch.port_lanes:,} words of the port, "
            f"{packed.stream.size / most:.3f} of 16 bits; {loaded:,} words read for an image; "
            f"{cycles:,.0f} cycles an image"
        )
    sent = int(sum((chunk.word_pe >= 0).sum() for chunk, *_ in chunks(found[16])))
    for form in FORMATS:
        count = words(found[4], form)
        print(f"{form.name}: {count:,} words of 64 bits, {count / sent:.3f} of 16 bits")
    return 0


if __name__ == "__main__":
    sys.exit(main())
