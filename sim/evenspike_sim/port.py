"""Memory port: when each word is requested, arrives and is handed on.

One linear stream serves the whole network, so requests run ahead of layers and passes, bounded
only by the credits of the loader's FIFO. One request a cycle; a word arrives `memory_latency`
cycles later and can leave the FIFO in the cycle after.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba as nb
import numpy as np

from evenspike_core.arch import Arch
from evenspike_sim.loader import I64, LoadedChunk

REQUEST, HANDED, WORDS = 0, 1, 2
DONE_LATENCY = 3
"""Register behind the token decoder, of each PE's `loaded` flag and of their AND."""


@nb.njit(cache=True, nogil=True)
def _deliver(
    state: I64,
    handed: I64,
    free: I64,
    word_pe: I64,
    word_cycles: I64,
    word_held: I64,
    earliest: int,
    latency: int,
    last_unpacked: I64,
) -> int:
    """Move words through the port; returns the cycle in which the first is handed on.

    state: last request, last hand-over, words so far. handed: ring of hand-over cycles, one per
    credit. free: first cycle in which each PE's holding register is empty.
    """
    depth = handed.size
    first = -1
    for index in range(word_pe.shape[0]):
        total = state[WORDS]
        request = max(state[REQUEST] + 1, handed[total % depth] + 1)
        out = max(request + latency + 1, state[HANDED] + 1, earliest)
        # A word waits for the PEs of all its lanes.
        for lane in range(word_pe.shape[1]):
            if word_pe[index, lane] >= 0:
                out = max(out, free[word_pe[index, lane]])
        for lane in range(word_pe.shape[1]):
            pe = word_pe[index, lane]
            if pe >= 0:
                free[pe] = out + word_held[index, lane]
                last_unpacked[0] = max(last_unpacked[0], out + word_cycles[index, lane])
        handed[total % depth] = out
        state[REQUEST], state[HANDED], state[WORDS] = request, out, total + 1
        last_unpacked[0] = max(last_unpacked[0], out)
        if first < 0:
            first = out
    return first


@dataclass
class Port:
    """The memory port and the loader behind it, over one inference."""

    arch: Arch

    def __post_init__(self) -> None:
        self._state = np.zeros(3, dtype=np.int64)
        self._handed = np.full(self.arch.stream_depth, -1, dtype=np.int64)
        self._free = np.zeros(self.arch.pes, dtype=np.int64)

    @property
    def words(self) -> int:
        return int(self._state[WORDS])

    @property
    def handed(self) -> int:
        """Cycle in which the last word so far was handed on."""
        return int(self._state[HANDED])

    def load(self, chunk: LoadedChunk, earliest: int) -> tuple[int, int]:
        """Load a chunk into a half that is free from cycle `earliest` on.

        Returns (cycle of the first word, cycle in which the sequencer sees `loaded`).
        """
        last = np.zeros(1, dtype=np.int64)
        first = _deliver(
            self._state,
            self._handed,
            self._free,
            chunk.word_pe,
            chunk.word_cycles,
            chunk.word_held,
            earliest,
            self.arch.memory_latency,
            last,
        )
        return first, int(last[0]) + DONE_LATENCY

    def spikes(self, positions: int) -> int:
        """Stream the input's spikes at so many positions; returns the cycle of the last word."""
        words = positions * self.arch.input_words
        none = np.full((words, self.arch.port_lanes), -1, dtype=np.int64)
        last = np.zeros(1, dtype=np.int64)
        _deliver(
            self._state,
            self._handed,
            self._free,
            none,
            none,
            none,
            0,
            self.arch.memory_latency,
            last,
        )
        return int(last[0])
