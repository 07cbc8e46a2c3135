"""The compiled kernels give the same bits every time, whichever thread is done first."""

from __future__ import annotations

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
