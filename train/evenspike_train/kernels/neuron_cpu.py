"""The fused neuron compiled for the CPU, for float32 and bfloat16 currents.

As tensor operations (`neuron.FusedLIF`) the neurons cost as much as a third of a training step in
mixed precision and a sixth in float32, because each operation walks through memory once.  Here a
chunk of neurons goes through all its timesteps while it lies in the cache: one read of the current
and one write of spike and membrane.  The arithmetic is that of `neuron.lif_loop`, in float32.

Numbers travel as bits, uint32 or uint16: numpy has no bfloat16, and a compiler that knows the
arrays to be of another type than the membrane turns the loops into vector instructions.
"""

from __future__ import annotations

import numba
import numpy as np
from numba import types
from numba.extending import overload

CHUNK = 16384
ONE = 0x3F80  # 1.0 in bfloat16


@numba.njit(inline="always")
def _widen(bits):
    """bfloat16 bits -> float32."""
    return np.uint32(np.uint32(bits) << np.uint32(16)).view(np.float32)


@numba.njit(inline="always")
def _narrow(value):
    """float32 -> bfloat16 bits, rounded half to even."""
    bits = np.float32(value).view(np.uint32)
    odd = np.uint32(bits >> np.uint32(16)) & np.uint32(1)
    return np.uint16(np.uint32(bits + np.uint32(0x7FFF) + odd) >> np.uint32(16))


def _read(array, index):
    """The float32 whose bits, or whose bfloat16 bits, are array[index]."""
    raise NotImplementedError  # compiled code takes the next function in its place


@overload(_read)
def _compiled_read(array, index):  # noqa: ARG001 - the signature is looked at, too
    if array.dtype == types.uint32:
        return lambda array, index: np.uint32(array[index]).view(np.float32)
    return lambda array, index: _widen(array[index])


def _write(array, index, value):
    """Put the bits of a float32 into array[index]."""
    raise NotImplementedError


@overload(_write)
def _compiled_write(array, index, value):  # noqa: ARG001
    if array.dtype == types.uint32:

        def write(array, index, value):
            array[index] = np.float32(value).view(np.uint32)

    else:

        def write(array, index, value):
            array[index] = _narrow(value)

    return write


@numba.njit(parallel=True, cache=True)
def lif_forward(current, spikes, membranes, leak, gain, threshold, hard):
    """[T, neurons] bits of one type; fills `spikes` and `membranes` (before the reset)."""
    steps, neurons = spikes.shape
    for chunk in numba.prange((neurons + CHUNK - 1) // CHUNK):
        start = chunk * CHUNK
        stop = min(start + CHUNK, neurons)
        state = np.zeros(CHUNK, np.float32)
        for t in range(steps):
            x, s, m = current[t, start:stop], spikes[t, start:stop], membranes[t, start:stop]
            for i in range(stop - start):
                v = leak * state[i] + gain * _read(x, i)
                fired = v >= threshold
                _write(m, i, v)
                _write(s, i, np.float32(1) if fired else np.float32(0))
                after = np.float32(0) if hard else v - threshold
                state[i] = after if fired else v


@numba.njit(inline="always")
def _slope(distance, threshold, shape, alpha):
    """The surrogate of place `shape` in `neuron.SURROGATES`, at v - threshold."""
    if shape == 0:
        scaled = np.float32(np.pi / 2) * alpha * distance
        return np.float32(0.5) * alpha / (np.float32(1) + scaled * scaled)
    if shape == 1:
        half = np.float32(0.5) * alpha
        inside = distance >= -half and distance < half
        return np.float32(1) / alpha if inside else np.float32(0)
    height = np.float32(1) - abs(distance) / threshold
    return alpha * height if height > np.float32(0) else np.float32(0)


@numba.njit(parallel=True, cache=True, fastmath={"contract", "arcp", "nsz"})
def lif_backward(grad, spikes, membranes, grad_current, leak, gain, threshold, hard, shape, alpha):
    """[T, neurons] bits of one type; the reset is taken as a constant."""
    steps, neurons = spikes.shape
    for chunk in numba.prange((neurons + CHUNK - 1) // CHUNK):
        start = chunk * CHUNK
        stop = min(start + CHUNK, neurons)
        later = np.zeros(CHUNK, np.float32)
        for step in range(steps):
            t = steps - 1 - step
            g, out = grad[t, start:stop], grad_current[t, start:stop]
            s, m = spikes[t, start:stop], membranes[t, start:stop]
            for i in range(stop - start):
                slope = _slope(_read(m, i) - threshold, threshold, shape, alpha)
                silent = s[i] == 0
                kept = later[i] if (silent or not hard) else np.float32(0)
                total = kept + _read(g, i) * slope
                _write(out, i, total * gain)
                later[i] = total * leak


@numba.njit(parallel=True, cache=True, fastmath={"contract", "arcp", "nsz"})
def learned_backward(
    grad, spikes, membranes, grad_current, sums, leak, gain, threshold, hard, shape, alpha
):
    """As `lif_backward`, with the surrogate of u / threshold - 1, by u.

    sums: float64 [chunks, 2], gets what each chunk of neurons adds to the gradients of leak and
    threshold. Each neuron sums up its timesteps by itself, as one sum over all of them would keep
    the loop from becoming vector instructions.
    """
    steps, neurons = spikes.shape
    inverse = np.float32(1) / threshold
    for chunk in numba.prange((neurons + CHUNK - 1) // CHUNK):
        start = chunk * CHUNK
        stop = min(start + CHUNK, neurons)
        later = np.zeros(CHUNK, np.float32)
        of_leak, of_threshold = np.zeros(CHUNK, np.float32), np.zeros(CHUNK, np.float32)
        for step in range(steps):
            t = steps - 1 - step
            g, out = grad[t, start:stop], grad_current[t, start:stop]
            s, m = spikes[t, start:stop], membranes[t, start:stop]
            # The first timestep has none before it; what is read there counts for nothing.
            earlier = max(t - 1, 0)
            old_s, old_m = spikes[earlier, start:stop], membranes[earlier, start:stop]
            for i in range(stop - start):
                u = _read(m, i)
                slope = _slope(u * inverse - np.float32(1), np.float32(1), shape, alpha)
                slope = slope * inverse * _read(g, i)
                silent = s[i] == 0
                lowered = np.float32(0) if (silent or hard) else later[i]
                of_threshold[i] -= lowered + slope * u * inverse
                kept = later[i] if (silent or not hard) else np.float32(0)
                total = kept + slope
                _write(out, i, total * gain)
                before = _read(old_m, i)
                reset = np.float32(0) if hard else before - threshold
                left = before if old_s[i] == 0 else reset
                of_leak[i] += total * left if t > 0 else np.float32(0)
                later[i] = total * leak
        sums[chunk, 0] = of_leak.astype(np.float64).sum()
        sums[chunk, 1] = of_threshold.astype(np.float64).sum()
