"""The compiled kernels give the same bits every time, whichever thread is done first."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from evenspike_train.kernels import sparse_kernels
from evenspike_train.runs import sparse_cpu


def test_weight_gradient_does_not_depend_on_which_thread_is_first() -> None:
    if sparse_kernels.compiled() is None:
        pytest.skip("no C compiler: numba's kernel sums a weight in one thread")
    draw = torch.Generator().manual_seed(0)
    mask = torch.rand(2, 2, 3, 3, generator=draw) < 0.3
    where = sparse_cpu.Structure(mask).forward
    x, grad = (
        sparse_cpu._bits(torch.randn(32, 32, 2, 32, generator=draw).bfloat16()) for _ in range(2)
    )
    weights, biases = np.empty(int(mask.sum()), np.float32), np.empty(2, np.float32)
    seen = set()
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for _ in range(2000):
            sparse_kernels.weight_gradient(x, grad, where, weights, biases)
            seen.add(weights.tobytes() + biases.tobytes())
    finally:
        torch.set_num_threads(before)
    assert len(seen) == 1


@pytest.mark.parametrize("images", [32, 128, 416])  # runs of 128, and what is left of them
def test_spikes_of_a_bit_each_give_the_same(images: int) -> None:
    draw = torch.Generator().manual_seed(images)
    mask = torch.rand(6, 5, 3, 3, generator=draw) < 0.3
    mask[1] = False
    where = sparse_cpu.Structure(mask).forward
    count = int(mask.sum())
    x = sparse_cpu._bits((torch.rand(4, 7, 5, images, generator=draw) < 0.2).bfloat16())
    spikes = sparse_kernels.packed(x)
    if spikes is None:
        pytest.skip("no C compiler, or no AVX-512: spikes stay numbers")
    assert (np.unpackbits(spikes.bits.view(np.uint8), bitorder="little") == (x != 0).ravel()).all()
    value = torch.randn(count, generator=draw).numpy()
    bias = torch.randn(6, generator=draw).numpy()
    out = [np.empty((4, 7, 6, images), np.uint16) for _ in range(2)]
    for maps, found in zip((x, spikes), out, strict=True):
        sparse_kernels.convolve(maps, where, value, bias, found)
    np.testing.assert_array_equal(out[0], out[1])
    grad = sparse_cpu._bits(torch.randn(4, 7, 6, images, generator=draw).bfloat16())
    sums = [(np.empty(count, np.float32), np.empty(6, np.float32)) for _ in range(2)]
    for maps, (weights, biases) in zip((x, spikes), sums, strict=True):
        sparse_kernels.weight_gradient(maps, grad, where, weights, biases)
    np.testing.assert_allclose(sums[0][0], sums[1][0], rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(sums[0][1], sums[1][1])


@pytest.fixture
def maps() -> tuple[np.ndarray, sparse_kernels.Rows, np.ndarray]:
    """A map of 4 x 4, the living weights of a layer on it, and another map."""
    mask = torch.ones(2, 2, 3, 3, dtype=torch.bool)
    where = sparse_cpu.Structure(mask).forward
    x, grad = (np.zeros((4, 4, 2, 32), np.uint16) for _ in range(2))
    return x, where, grad


def test_a_thread_without_memory_is_an_error(
    maps: tuple[np.ndarray, sparse_kernels.Rows, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    poor = sparse_kernels.compiled("-DALLOCATE(size)=(void *)((size)*0)")
    if poor is None:
        pytest.skip("no C compiler: there is only numba's kernel")
    monkeypatch.setattr(sparse_kernels, "_library", lambda _: poor)
    x, where, grad = maps
    weights, biases = np.zeros(36, np.float32), np.zeros(2, np.float32)
    with pytest.raises(MemoryError, match="no memory for the sums of a thread"):
        sparse_kernels.convolve(x, where, weights, biases, grad)
    with pytest.raises(MemoryError, match="no memory for the sums of a thread"):
        sparse_kernels.weight_gradient(x, grad, where, weights, biases)
    spikes = sparse_kernels.packed(x)
    if spikes is not None:
        with pytest.raises(MemoryError, match="no memory for the sums of a thread"):
            sparse_kernels.convolve(spikes, where, weights, biases, grad)
        with pytest.raises(MemoryError, match="no memory for the sums of a thread"):
            sparse_kernels.weight_gradient(spikes, grad, where, weights, biases)


def test_arrays_of_another_kind_are_refused(
    maps: tuple[np.ndarray, sparse_kernels.Rows, np.ndarray],
) -> None:
    if sparse_kernels.compiled() is None:
        pytest.skip("no C compiler: there is only numba's kernel")
    x, where, grad = maps
    weights, biases = np.zeros(36, np.float32), np.zeros(2, np.float32)
    for wrong in (np.zeros(36), np.zeros(72, np.float32)[::2]):
        with pytest.raises(ctypes.ArgumentError):
            sparse_kernels.convolve(x, where, wrong, biases, grad)
    with pytest.raises(ctypes.ArgumentError):
        sparse_kernels.weight_gradient(x.astype(np.float32), grad, where, weights, biases)
