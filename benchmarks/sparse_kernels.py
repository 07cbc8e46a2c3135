"""How fast the sparse convolutions are on spikes of a bit each, beside spikes as numbers.

    python -m benchmarks.sparse_kernels

times a layer of the shipped `vgg16` (256 filters on 256 channels, 8x8) with 256 images times
timesteps on one thread: the best of so many calls, both kinds in turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
import torch

import evenspike as es
from evenspike_train.kernels import sparse_kernels
from evenspike_train.runs.command import set_threads
from evenspike_train.runs.sparse_cpu import Structure

IMAGES, RATE, CALLS = 256, 0.1, 9

Maps = npt.NDArray[np.uint16] | sparse_kernels.Spikes


def best(calls: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Milliseconds of the fastest of some calls of each, which take turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(CALLS):
        for name, call in calls.items():
            start = time.process_time()
            call()
            times[name].append(1000 * (time.process_time() - start))
    return {name: min(found) for name, found in times.items()}


def main() -> None:
    set_threads(1)
    draw = torch.Generator().manual_seed(0)
    layer = es.load("vgg16").layers[5]
    weights = layer.segments[0].weights
    where = Structure(torch.from_numpy(weights != 0)).forward
    height, width = layer.size
    shape = (height, width, weights.shape[1], IMAGES)
    x = (torch.rand(shape, generator=draw) < RATE).bfloat16().view(torch.uint16).numpy()
    grad = torch.randn(height, width, len(weights), IMAGES, generator=draw).bfloat16()
    gradient, out = grad.view(torch.uint16).numpy(), np.empty(tuple(grad.shape), np.uint16)
    value = weights[weights != 0].astype(np.float32)
    bias, sums = np.zeros(len(weights), np.float32), np.empty_like(value)
    spikes = sparse_kernels.packed(x)
    if spikes is None:
        raise SystemExit("no C compiler, or no AVX-512: there is nothing to compare")

    def forward(given: Maps) -> None:
        sparse_kernels.convolve(given, where, value, bias, out)

    def backward(given: Maps) -> None:
        sparse_kernels.weight_gradient(given, gradient, where, sums, bias)

    for what, call in (("forward", forward), ("gradient of the weights", backward)):
        found = best({"numbers": partial(call, x), "bits": partial(call, spikes)})
        numbers, bits = found["numbers"], found["bits"]
        print(f"{what}: {numbers:.1f} ms as numbers, {bits:.1f} as bits: {numbers / bits:.2f}")


if __name__ == "__main__":
    main()
