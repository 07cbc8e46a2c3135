"""Compiled CPU kernels over maps in which a pruned network is trained cheaply.

A map is stored as [H, W, C, N] with the N = T*B images of a batch innermost: whatever
weight of whatever kernel position is left, its work is a run of N contiguous numbers,
with no waste at borders or in small maps, and the inputs of one position lie together.
Values are bfloat16 carried as uint16, sums are float32.

The convolutions exist twice: in C, built on first use if the machine has a compiler,
and in numba, about a third slower.  Inputs that are spikes, as all are but gradients, may come as
`Spikes`, a bit for each image, where C and the processor's AVX-512 have kernels for them.
"""

from __future__ import annotations

import ctypes
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import numba
import numpy as np

from evenspike_train.kernels.neuron_cpu import ONE, _narrow, _widen


class Rows(NamedTuple):
    """Living weights output by output: int64 arrays."""

    start: np.ndarray
    channel: np.ndarray
    dy: np.ndarray
    dx: np.ndarray


class Spikes(NamedTuple):
    """A map of spikes: uint32 [H, W, C, N / 32], image n is bit n % 32 of word n // 32."""

    bits: np.ndarray


@numba.njit(parallel=True, cache=True, fastmath={"contract", "reassoc", "nsz"})
def _convolve(x, height, width, start, channel, dy, dx, value, bias, out):
    """x [H*W*C, N], out [H*W*F, N]; see `convolve`."""
    filters = start.shape[0] - 1
    channels = x.shape[0] // (height * width)
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
                    source[count] = (y * width + z) * channels + channel[k]
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
            for i in range(images):
                out[position * filters + f, i] = _narrow(total[i])


@numba.njit(cache=True, fastmath=True)
def _dot(a, b):
    """Inner product of two runs of bfloat16."""
    total = np.float32(0)
    for i in range(a.shape[0]):
        total += _widen(a[i]) * _widen(b[i])
    return total


@numba.njit(parallel=True, cache=True)
def _weight_gradient(x, grad, height, width, start, channel, dy, dx, out, bias_grad):
    """x [H*W*C, N], grad [H*W*F, N]; see `weight_gradient`."""
    filters = start.shape[0] - 1
    channels = x.shape[0] // (height * width)
    one = np.full(x.shape[1], np.uint16(ONE), np.uint16)
    for f in numba.prange(filters):
        bias_total = np.float64(0)
        totals = np.zeros(start[f + 1] - start[f], np.float64)
        for position in range(height * width):
            row, column = position // width, position % width
            g = grad[position * filters + f]
            bias_total += _dot(g, one)
            for k in range(start[f], start[f + 1]):
                y, z = row + dy[k], column + dx[k]
                if 0 <= y < height and 0 <= z < width:
                    totals[k - start[f]] += _dot(g, x[(y * width + z) * channels + channel[k]])
        bias_grad[f] = bias_total
        for k in range(start[f], start[f + 1]):
            out[k] = totals[k - start[f]]


_SIZES = [ctypes.c_int64] * 5
_VALUES, _BITS, _INTEGERS, _FLOATS = (
    np.ctypeslib.ndpointer(dtype, flags="C_CONTIGUOUS")
    for dtype in (np.uint16, np.uint32, np.int64, np.float32)
)
_ROWS = [_INTEGERS] * len(Rows._fields)
_ARGUMENTS = {
    "convolve": [_VALUES, *_SIZES, *_ROWS, _FLOATS, _FLOATS, _VALUES],
    "convolve_spikes": [_BITS, *_SIZES, *_ROWS, _FLOATS, _FLOATS, _VALUES],
    "weight_gradient": [_VALUES, _VALUES, *_SIZES, *_ROWS, _FLOATS, _FLOATS],
    "weight_gradient_spikes": [_BITS, _VALUES, *_SIZES, *_ROWS, _FLOATS, _FLOATS],
}
"""Of the functions of `sparse_kernels.c`, which return whether they lacked memory."""


@functools.cache
def compiled(*options: str) -> ctypes.CDLL | None:
    """`sparse_kernels.c` built by the system's C compiler, or None where there is none.

    It is built for the processor at hand, so the library is kept with the process and
    not with the package. options : further ones for the compiler.
    """
    compiler = shutil.which("cc")
    source = Path(__file__).with_suffix(".c")
    if compiler is None or not source.is_file():
        return None
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "sparse_kernels.so"
        common = ["-O3", "-march=native", "-ffast-math", "-fopenmp", "-shared", "-fPIC"]
        command = [compiler, *common, *options, "-o", str(library), str(source)]
        built = subprocess.run(command, capture_output=True, check=False)  # noqa: S603
        if built.returncode != 0:
            return None
        loaded = ctypes.CDLL(str(library))
    for name, arguments in _ARGUMENTS.items():
        function = getattr(loaded, name)
        function.argtypes, function.restype = arguments, ctypes.c_int
    loaded.pack_spikes.argtypes, loaded.pack_spikes.restype = [_VALUES, _SIZES[0], _BITS], None
    return loaded


def built_for(images: int) -> str:
    """Which convolutions maps of N = `images` are computed with: "compiled C" or "numba"."""
    return "numba" if _library(images) is None else "compiled C"


def _library(images: int) -> ctypes.CDLL | None:
    """The C library, if there is one and it takes maps of this many images."""
    return compiled() if images % 32 == 0 else None


def packed(x) -> Spikes | None:
    """A map of spikes [H, W, C, N], 0 or 1 in bfloat16 bits, with a bit for each.

    None where there are no kernels for them: use the map as it is.
    """
    library = _library(x.shape[-1])
    if library is None or not library.spike_kernels():
        return None
    bits = np.empty((*x.shape[:-1], x.shape[-1] // 32), np.uint32)
    library.pack_spikes(x, x.size, bits)
    return Spikes(bits)


def _check(failed: int) -> None:
    if failed:
        raise MemoryError("sparse kernels: no memory for the sums of a thread")


def convolve(x, rows: Rows, value, bias, out) -> None:
    """out[y, x, f, :] = bias[f] + sum over the weights of f of value * x[y+dy, x+dx, c, :].

    x [H, W, C, N], or `Spikes`, and out [H, W, F, N] bfloat16 bits; the weights of filter f are
    entries ``start[f]`` to ``start[f + 1]`` of ``rows`` and ``value``.  Positions are
    shared out among threads; all filters of a position follow one another, so that the
    inputs they share stay in the cache.

    Raises MemoryError where a thread has none, and ctypes.ArgumentError for arrays of another
    type, or that are not contiguous.
    """
    height, width, filters, images = out.shape
    library = _library(images)
    if library is not None and isinstance(x, Spikes):
        sizes = images, height, width, x.bits.shape[2], filters
        _check(library.convolve_spikes(x.bits, *sizes, *rows, value, bias, out))
        return
    channels = x.shape[2]
    if library is None:
        flat = x.reshape(-1, images), out.reshape(-1, images)
        _convolve(flat[0], height, width, *rows, value, bias, flat[1])
        return
    sizes = images, height, width, channels, filters
    _check(library.convolve(x, *sizes, *rows, value, bias, out))


def weight_gradient(x, grad, rows: Rows, out, bias_grad) -> None:
    """Gradient of every living weight, and of the biases; shapes and errors as in `convolve`."""
    height, width, filters, images = grad.shape
    library = _library(images)
    if library is not None and isinstance(x, Spikes):
        sizes = images, height, width, x.bits.shape[2], filters
        _check(library.weight_gradient_spikes(x.bits, grad, *sizes, *rows, out, bias_grad))
        return
    channels = x.shape[2]
    if library is None:
        flat = x.reshape(-1, images), grad.reshape(-1, images)
        _weight_gradient(*flat, height, width, *rows, out, bias_grad)
        return
    sizes = images, height, width, channels, filters
    _check(library.weight_gradient(x, grad, *sizes, *rows, out, bias_grad))


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
