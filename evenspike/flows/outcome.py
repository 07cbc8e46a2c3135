"""Outcome: what one image gave, small enough to keep for ten thousand of them.

The spikes themselves are not kept, but their digest is: two outcomes with the same digest have the
same spikes, and where two differ the image is run again on both sides, which are deterministic, to
say in which neuron first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from evenspike.flows.images import Images
from evenspike_core import reference
from evenspike_core.compare import Divergence, first_divergence
from evenspike_core.counters import STATES, LayerStatement, Value
from evenspike_core.errors import EvenspikeError
from evenspike_core.program import Program
from evenspike_sim.accelerator import LayerRun

if TYPE_CHECKING:  # it needs amaranth, which the base does not install
    from evenspike_hw.engine.results import LayerTrace


@dataclass(frozen=True)
class Outcome:
    """One image on one simulator.

    index: of the image in its data set. label: what is on it, None where nobody knows.
    logits: one for each class. cycles: of the inference, which is that of its batch; None on a
        simulator without cycles.
    spikes: digest of every spike and logit. counters: digest of every layer's cycles, counters and
        overflow flags; empty on a simulator without them.
    divergence: where it first differs from the integer reference; None if it does not, or if
        nobody looked.
    """

    index: int
    label: int | None
    logits: tuple[int, ...]
    cycles: int | None
    spikes: bytes
    counters: bytes = b""
    divergence: Divergence | None = None

    @property
    def prediction(self) -> int:
        """The class with the largest logit; the lowest index on a tie."""
        return int(np.argmax(self.logits))


Statements = Callable[[int], list[LayerStatement]]
"""What a simulator says about every layer of the image at a position."""


def outcome(
    images: Images,
    at: int,
    statements: Sequence[LayerStatement],
    divergence: Divergence | None = None,
) -> Outcome:
    """The outcome of the image at a position, from what a simulator says about its layers."""
    logits = statements[-1].logits
    spikes, counters = hashlib.sha256(), hashlib.sha256()
    for one in statements:
        for array in (one.masks, one.logits):
            if array is not None:
                spikes.update(np.ascontiguousarray(array).tobytes())
        counters.update(f"{one.layer} {one.cycles}".encode())
        for name in sorted(one.counters):
            counters.update(name.encode() + np.asarray(one.counters[name], np.int64).tobytes())
    counted = any(one.counters for one in statements)
    return Outcome(
        images.indices[at],
        None if images.labels is None else int(images.labels[at]),
        () if logits is None else tuple(int(value) for value in logits),
        sum(one.cycles for one in statements) if counted else None,
        spikes.digest()[:16],
        counters.digest()[:16] if counted else b"",
        divergence,
    )


def first_difference(
    names: tuple[str, str],
    outcomes: tuple[Sequence[Outcome], Sequence[Outcome]],
    statements: tuple[Statements, Statements],
) -> tuple[int, Divergence] | None:
    """The first image, by its position, in which two simulators part, and where; None if none.

    Cycles and counters are compared where both have them. Raises EvenspikeError for runs of
    different images.
    """
    one, two = outcomes
    if [o.index for o in one] != [o.index for o in two]:
        raise EvenspikeError(
            f"compare: {names[0]} has {len(one)} images and {names[1]} {len(two)}, not the same"
        )
    for at, (a, b) in enumerate(zip(one, two, strict=True)):
        timed = bool(a.counters and b.counters)
        if a.spikes == b.spikes and not (timed and a.counters != b.counters):
            continue
        left, right = (of(at) for of in statements)
        if not timed:
            left, right = untimed(left), untimed(right)
        found = first_divergence(left, right, names)
        if found is not None:
            return at, found
    return None


def untimed(statements: Sequence[LayerStatement]) -> list[LayerStatement]:
    """Spikes and logits alone."""
    return [LayerStatement(one.layer, 0, one.masks, one.logits) for one in statements]


def reference_statements(program: Program, found: reference.Activity) -> list[LayerStatement]:
    """What the integer reference says: spikes and logits, no cycles."""
    spiking = [
        LayerStatement(layer.name, 0, masks=masks)
        for layer, masks in zip(program.layers, found.masks, strict=False)
    ]
    return [*spiking, LayerStatement(program.layers[-1].name, 0, logits=found.logits)]


def model_statement(run: LayerRun) -> LayerStatement:
    """All that the cycle model says about a layer and the RTL must say, too."""
    return timed_statement(run, {state: getattr(run, state) for state in STATES})


def timed_statement(run: LayerRun | LayerTrace, counters: Mapping[str, Value]) -> LayerStatement:
    """Spikes or logits, cycles, counters and the sticky overflow flags of a layer."""
    flags = {
        "accumulator overflow": run.accumulator_overflow.astype(np.int64),
        "membrane overflow": run.membrane_overflow.astype(np.int64),
    }
    masks = run.masks if run.logits is None else None
    return LayerStatement(run.name, run.cycles, masks, run.logits, {**counters, **flags})
