"""The fused neuron compiled for the CPU, for bfloat16 currents.

In mixed precision on a CPU the tensor operations of `neuron.FusedLIF` cost as
much as a third of a training step, because each of them walks through memory
once.  Here a chunk of neurons goes through all its timesteps while it lies in
the cache: one read of the current and one write of spike and membrane.  The
arithmetic is the one of `neuron.FusedLIF` (float32 state); numpy has no
bfloat16, so its bits travel as uint16.
"""

from __future__ import annotations

import numba
import numpy as np

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


@numba.njit(parallel=True, cache=True)
def lif_forward(current, spikes, membranes, leak, gain, threshold, hard):
    """[T, neurons] bfloat16 bits; fills `spikes` and `membranes` (before the reset)."""
    steps, neurons = spikes.shape
    for chunk in numba.prange((neurons + CHUNK - 1) // CHUNK):
        start = chunk * CHUNK
        count = min(neurons - start, CHUNK)
        state = np.zeros(CHUNK, np.float32)
        for t in range(steps):
            x, s, m = current[t], spikes[t], membranes[t]
            for i in range(count):
                v = leak * state[i] + gain * _widen(x[start + i])
                fired = v >= threshold
                m[start + i] = _narrow(v)
                s[start + i] = np.uint16(ONE) if fired else np.uint16(0)
                after = np.float32(0) if hard else v - threshold
                state[i] = after if fired else v


@numba.njit(parallel=True, cache=True, fastmath={"contract", "arcp", "nsz"})
def lif_backward(grad, spikes, membranes, grad_current, leak, gain, threshold, hard, alpha):
    """[T, neurons] bfloat16 bits; the reset is taken as a constant."""
    steps, neurons = spikes.shape
    scale = np.float32(np.pi / 2) * alpha
    height = np.float32(0.5) * alpha
    for chunk in numba.prange((neurons + CHUNK - 1) // CHUNK):
        start = chunk * CHUNK
        count = min(neurons - start, CHUNK)
        later = np.zeros(CHUNK, np.float32)
        for step in range(steps):
            t = steps - 1 - step
            g, s, m, out = grad[t], spikes[t], membranes[t], grad_current[t]
            for i in range(count):
                distance = scale * (_widen(m[start + i]) - threshold)
                slope = height / (np.float32(1) + distance * distance)
                silent = s[start + i] == 0
                kept = later[i] if (silent or not hard) else np.float32(0)
                total = kept + _widen(g[start + i]) * slope
                out[start + i] = _narrow(total * gain)
                later[i] = total * leak
