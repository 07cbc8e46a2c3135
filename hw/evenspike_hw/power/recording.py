"""Recording: what a part was given, and what it gave, in every cycle of a layer of a real run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from evenspike_core.errors import EvenspikeError
from evenspike_core.pack import Packed
from evenspike_hw.engine.host import Masks
from evenspike_hw.engine.simulator import Simulator, Watch
from evenspike_hw.engine.watched import RESET, boundary
from evenspike_hw.power.replay import NO_KIND, Signal, Stimuli
from evenspike_hw.rtl.states import State


@dataclass(frozen=True)
class Recording:
    """A part in a run up to the end of a layer.

    stimuli: for the netlist; the cycles of the layer are counted by the state of the PE, where the
        part is one, and else all as kind 0.
    cycles: of the layer. recorded: from the first command on. kinds: names of the kinds of cycles.
    """

    stimuli: Stimuli
    cycles: int
    recorded: int
    kinds: tuple[str, ...]


def record(
    packed: Packed, masks: Masks, part: str, number: int, layer: int, folder: Path
) -> Recording:
    """Runs an image on the RTL and records a part, from its reset on.

    masks: of `Simulator.run`. number: which of the parts, of a PE. layer: index of the last layer
    that is recorded, which is the one whose cycles are counted. folder: gets the record.

    Raises EvenspikeError as the RTL's engine, and where the record has another number of cycles
    than the engine has counted.
    """
    file = folder / "record.bin"
    of = boundary(packed.arch, part)
    with Simulator(packed, watched=True) as simulator:
        traces = simulator.run(masks, watch=Watch(file, part, number, layer))
    rows = np.fromfile(file, np.uint32).reshape(-1, 1 + of.words)
    file.unlink()
    inside = _of_layer(rows[:, 0], layer)
    # Behind the last layer comes what the host does when all is over.
    rows = rows[: np.flatnonzero(inside)[-1] + 1] if inside.any() else rows
    head, words, inside = rows[:, 0], np.ascontiguousarray(rows[:, 1:]), inside[: len(rows)]
    cycles = int(np.count_nonzero(inside))
    if cycles != traces[layer].cycles:
        raise EvenspikeError(
            f"the record has {cycles} cycles of layer {traces[layer].name}, the RTL's counters "
            f"{traces[layer].cycles}"
        )
    states = part == "pe"
    kind = (head >> 2 & 7).astype(np.uint8) if states else np.zeros(len(head), np.uint8)
    kind[~inside] = NO_KIND
    names = tuple(state.name.lower() for state in State) if states else ("all",)
    signals = [(Signal(port.name, port.width, port.at), port.inward) for port in of.ports]
    stimuli = Stimuli(
        words,
        tuple(signal for signal, inward in signals if inward),
        tuple(signal for signal, inward in signals if not inward),
        kind,
        len(names),
        RESET,
        f"{part} {number}" if states else part,
    )
    return Recording(stimuli, cycles, len(head), names)


def _of_layer(head: npt.NDArray[np.uint32], layer: int) -> npt.NDArray[np.bool_]:
    """The cycles from the last write of the layer before to this layer's last write."""
    running, ends = (head & 1).astype(bool), (head >> 1 & 1).astype(np.int64)
    before = np.cumsum(ends * running) - ends * running
    return running & (before == layer)
