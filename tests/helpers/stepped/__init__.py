"""The stepped model: the accelerator of docs/timing.md as registers that change once a cycle.

Slow on purpose, and written from the contract alone: it shares no code with the cycle model. In
every cycle each block computes its next registers from registers only, then all of them change
together:

- `Reg`, `Ram`, `Queue` keep what is visible (`q`, `out`, `head`) apart from what is driven; a
  second driver of a register, or a second access on a port, in the same cycle is an error.
- A *wire* is a method without side effects that reads registers, and wires of blocks further down
  the pipeline; none depends on itself. So a stage can be refilled in the cycle in which it is
  vacated (the usual valid/enable logic), and `step` of the blocks may run in any order.

Where a register holds a record, hardware has the fields; where a counter only grows, it has as many
bits as the difference that matters.
"""

from __future__ import annotations

from tests.helpers.stepped.apu import PLACES, Apu, Entry, SpikeMemory, Visit, reach
from tests.helpers.stepped.gates import Lanes
from tests.helpers.stepped.input import input_places, input_words
from tests.helpers.stepped.lif import HIGH, LOW, Neurons
from tests.helpers.stepped.loader import Loader, Port, Word
from tests.helpers.stepped.machine import STATES, Cluster, LayerTrace, Machine, run
from tests.helpers.stepped.order import Load, Work, places, schedule, tiles
from tests.helpers.stepped.pe import Pe
from tests.helpers.stepped.positions import Activation
from tests.helpers.stepped.selector import Selection
from tests.helpers.stepped.sequencer import Sequencer
from tests.helpers.stepped.storage import Clock, Pulse, Queue, Ram, Reg
from tests.helpers.stepped.unpacker import Banks, Unpacker, Unpacking

__all__ = [
    "HIGH", "LOW", "PLACES", "STATES",
    "Activation", "Apu", "Banks", "Clock", "Cluster",
    "Entry", "Lanes", "LayerTrace", "Load", "Loader",
    "Machine", "Neurons", "Pe", "Port", "Pulse", "Queue", "Ram", "Reg", "Selection", "Sequencer",
    "SpikeMemory", "Unpacker", "Unpacking", "Visit", "Word", "Work",
    "input_places", "input_words", "places", "reach", "run", "schedule", "tiles",
]  # fmt: skip
