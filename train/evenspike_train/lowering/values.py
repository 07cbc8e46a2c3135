"""Values: what is known of a tensor while a network is followed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evenspike_train.lowering.axes import Dims
from evenspike_train.lowering.forms import Form, Pooled, Source
from evenspike_train.lowering.neurons import NeuronModel


@dataclass(eq=False)
class Neurons:
    """One layer of neurons: its drive, what it does, and what it did on the example.

    path : of the module.
    spikes : by timestep, or under -1 all together: [T or 1, B, C, H, W].
    drives : of their shape, before the gain.
    """

    path: str
    drive: Form | Pooled
    model: NeuronModel
    source: Source
    spikes: dict[int, np.ndarray] = field(default_factory=dict)
    drives: dict[int, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Membrane:
    """The membrane of a layer's neurons. at: the timestep after which it is this."""

    neurons: Neurons
    at: int


@dataclass(frozen=True, eq=False)
class Broken:
    """A tensor that has no form, and why."""

    reason: str


Content = Form | Pooled | Membrane | Broken


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor: what it holds, what its dimensions stand for, and of which timesteps.

    when : None for all timesteps, along an axis T, or for what is the same at each; a number for
        one; a set for the sum over these.
    share : factor on a sum over timesteps.
    final : a softmax has gone over it; it can only be the output.
    """

    content: Content
    dims: Dims
    when: int | frozenset[int] | None = None
    share: float = 1.0
    final: bool = False

    def of(self, content: Content, dims: Dims | None = None, **changed: Any) -> Value:
        """The same tensor after an operation on its content."""
        kept = {"when": self.when, "share": self.share, "final": self.final} | changed
        return Value(content, self.dims if dims is None else dims, **kept)
