"""The memories that area and energy are computed from are those that the RTL declares."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from amaranth.hdl import Fragment, Shape

from evenspike_core.arch import preset
from evenspike_core.memories import memories
from evenspike_hw.rtl import ram
from evenspike_hw.rtl.accelerator import Accelerator

ARCHS = [
    "packed",
    "paper",
    "packed,pes=4,fifo_depth=1,match_depth=1,stream_depth=1",
    "packed,timesteps=2,header_words=90,table_words=256",
    "packed,pes=4,issue=1,timesteps=3,lane_depth=8",
    "packed,pes=4,issue=1,kernel_max=5",
    "packed,pes=4,timesteps=5,lane_depth=8",
    "packed,pes=1,timesteps=1,accumulators=16,scratchpad_words=256,header_words=32,spike_entries=9",
    "packed,pes=4,kernel_max=3,header_words=41,scratchpad_words=256",
    "packed,pes=2,kernel_max=5,header_words=31",
    "packed,issue=1",
    "packed,issue=1,kernel_max=3,timesteps=3",
    "packed,issue=1,kernel_max=5,header_words=41",
    "packed,timesteps=5,header_words=41,lane_depth=8,kernel_max=5",
    "packed,pes=4,clusters=4,issue=1",
    "packed,pes=32,timesteps=8,accumulators=64,chunk_blocks=3,scratchpad_words=4096,match_depth=5",
]


@pytest.mark.parametrize("text", ARCHS)
def test_every_memory_of_the_rtl(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    declared: Counter[tuple[int, int]] = Counter()
    own = vars(ram.Ram)["__init__"]

    def counted(self: Any, shape: Any, depth: int) -> None:
        declared[depth, Shape.cast(shape).width] += 1
        own(self, shape, depth)

    monkeypatch.setattr(ram.Ram, "__init__", counted)
    arch = preset(text)
    Fragment.get(Accelerator(arch), None)
    stated: Counter[tuple[int, int]] = Counter()
    for memory in memories(arch):
        if not memory.register:
            stated[memory.words, memory.width] += memory.count
    assert declared == stated
