"""Compiled CPU kernels over maps in which a pruned network is trained cheaply.

A map is stored as [channels * rows * columns, N] with the N = T*B images of a batch
innermost: whatever weight of whatever kernel position is left, its work is a run of
N contiguous numbers, with no waste at borders or in small maps.  Values are bfloat16
carried as uint16, sums are float32.
"""

from __future__ import annotations

import numba
import numpy as np

from evenspike_train.neuron_cpu import ONE, _narrow, _widen


@numba.njit(parallel=True, cache=True, fastmath={"contract", "reassoc", "nsz"})
def convolve(x, height, width, start, channel, dy, dx, value, bias, out):
    """out[f, y, x, :] = bias[f] + sum over the weights of f of value * x[c, y+dy, x+dx, :].

    The weights of filter f are entries ``start[f]`` to ``start[f + 1]``.  Positions are
    shared out among threads; all filters of a position follow one another, so that the
    inputs they share stay in the cache.
    """
    filters = start.shape[0] - 1
    images = x.shape[1]
    most = 0
    for f in range(filters):
        most = max(most, start[f + 1] - start[f])
    for position in numba.prange(height * width):
        row, column = position // width, position % width
        total = np.empty(images, np.float32)
        source = np.zeros(most + 4, np.int64)
        factor = np.zeros(most + 4, np.float32)
        for f in range(filters):
            count = 0
            for k in range(start[f], start[f + 1]):
                y, z = row + dy[k], column + dx[k]
                if 0 <= y < height and 0 <= z < width:
                    source[count] = (channel[k] * height + y) * width + z
                    factor[count] = value[k]
                    count += 1
            for k in range(count, count + 3):  # fill up to a multiple of four
                source[k] = 0
                factor[k] = np.float32(0)
            total[:] = bias[f]
            for k in range(0, count, 4):
                a, b, c, d = source[k], source[k + 1], source[k + 2], source[k + 3]
                p, q, r, s = factor[k], factor[k + 1], factor[k + 2], factor[k + 3]
                for i in range(images):
                    total[i] += (
                        p * _widen(x[a, i])
                        + q * _widen(x[b, i])
                        + r * _widen(x[c, i])
                        + s * _widen(x[d, i])
                    )
            target = (f * height + row) * width + column
            for i in range(images):
                out[target, i] = _narrow(total[i])


@numba.njit(cache=True, fastmath=True)
def _dot(a, b, first_a, first_b, count):
    """Inner product of two runs of bfloat16."""
    total = np.float32(0)
    a, b = a[first_a : first_a + count], b[first_b : first_b + count]
    for i in range(count):
        total += _widen(a[i]) * _widen(b[i])
    return total


@numba.njit(parallel=True, cache=True)
def weight_gradient(x, grad, height, width, start, channel, dy, dx, out, bias_grad):
    """Gradient of every living weight, and of the biases.

    ``x`` and ``grad`` are flat; one weight meets whole rows of both maps at once.
    """
    filters = start.shape[0] - 1
    images = grad.shape[0] // (filters * height * width)
    plane = height * width * images
    for f in numba.prange(filters):
        total = np.float64(0)
        for row in range(height):
            part = np.float32(0)
            first = f * plane + row * width * images
            for i in range(first, first + width * images):
                part += _widen(grad[i])
            total += part
        bias_grad[f] = total
        for k in range(start[f], start[f + 1]):
            left, right = max(0, -dx[k]), min(width, width - dx[k])
            total = np.float64(0)
            for row in range(max(0, -dy[k]), min(height, height - dy[k])):
                first_g = f * plane + (row * width + left) * images
                first_x = channel[k] * plane + ((row + dy[k]) * width + left + dx[k]) * images
                total += _dot(grad, x, first_g, first_x, (right - left) * images)
            out[k] = total


@numba.njit(parallel=True, cache=True)
def lif_forward(current, spikes, membranes, leak, gain, threshold, hard):
    """`neuron_cpu.lif_forward` for maps [P, T, B]."""
    places, steps, batch = spikes.shape
    for p in numba.prange(places):
        state = np.zeros(batch, np.float32)
        for t in range(steps):
            x, s, m = current[p, t], spikes[p, t], membranes[p, t]
            for i in range(batch):
                v = leak * state[i] + gain * _widen(x[i])
                fired = v >= threshold
                m[i] = _narrow(v)
                s[i] = np.uint16(ONE) if fired else np.uint16(0)
                after = np.float32(0) if hard else v - threshold
                state[i] = after if fired else v


@numba.njit(parallel=True, cache=True, fastmath={"contract", "arcp", "nsz"})
def lif_backward(grad, spikes, membranes, grad_current, leak, gain, threshold, hard, alpha):
    """`neuron_cpu.lif_backward` for maps [P, T, B]."""
    places, steps, batch = spikes.shape
    scale = np.float32(np.pi / 2) * alpha
    height = np.float32(0.5) * alpha
    for p in numba.prange(places):
        later = np.zeros(batch, np.float32)
        for step in range(steps):
            t = steps - 1 - step
            g, s, m, out = grad[p, t], spikes[p, t], membranes[p, t], grad_current[p, t]
            for i in range(batch):
                distance = scale * (_widen(m[i]) - threshold)
                slope = height / (np.float32(1) + distance * distance)
                silent = s[i] == 0
                kept = later[i] if (silent or not hard) else np.float32(0)
                total = kept + _widen(g[i]) * slope
                out[i] = _narrow(total * gain)
                later[i] = total * leak
