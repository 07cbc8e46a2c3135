"""Draws: whether a forward pass draws random numbers, by the states of what draws them."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor


class Draws:
    """The generators of torch, numpy and Python, and of those a function is given."""

    def __init__(self) -> None:
        self._state: list[bytes] = []
        self.forget()

    def forget(self) -> None:
        """Take what has been drawn until now as allowed."""
        self._state = _states()

    def drawn(self) -> bool:
        """Whether anything has been drawn since it was last asked, or told to forget."""
        before, self._state = self._state, _states()
        return before != self._state


def own(kwargs: Any) -> bytes:
    """The state of a generator that a function is given; empty without one."""
    generator = kwargs.get("generator")
    return _bytes(generator.get_state()) if isinstance(generator, torch.Generator) else b""


def _states() -> list[bytes]:
    legacy: Any = np.random.get_state()  # noqa: NPY002 - it is what a forward pass may draw from
    states = [_bytes(torch.get_rng_state()), legacy[1].tobytes(), str(legacy[2:]).encode()]
    states.append(str(hash(random.getstate())).encode())
    if torch.cuda.is_initialized():
        states += [_bytes(one) for one in torch.cuda.get_rng_state_all()]
    return states


def _bytes(state: Tensor) -> bytes:
    return state.numpy().tobytes()
