"""Interpreted: the RTL on Amaranth's own simulator, for small networks where nothing can be built.

The same memory, watchdog and counters as in `driver.cpp`, some hundred times slower.
"""

from __future__ import annotations

import random
import time
from collections import deque
from typing import Any

import numpy as np
from amaranth.sim import Simulator as Pysim

from evenspike_core.pack import Packed
from evenspike_hw.engine.host import Masks, MemoryMap
from evenspike_hw.engine.results import Buffers, LayerTrace
from evenspike_hw.engine.simulator import WATCHDOG, MemoryBehaviour, Outcome, check
from evenspike_hw.rtl import descriptor
from evenspike_hw.rtl.accelerator import Accelerator
from evenspike_hw.rtl.faults import Fault
from evenspike_hw.rtl.layouts import WORD_BITS
from evenspike_hw.rtl.registers import CONTROL, Register, Status
from evenspike_hw.rtl.states import State

START, FILL = (1 << CONTROL[name][0] for name in ("START", "FILL"))

MOVES = (State.BUSY, State.DRAINING)


class InterpretedSimulator:
    """Works as `simulator.Simulator` does, without waveforms."""

    def __init__(self, packed: Packed) -> None:
        self.packed = packed
        self.map = MemoryMap(packed, descriptor.encode(packed))

    def close(self) -> None:
        """Does nothing: unlike `simulator.Simulator`, it holds nothing that is to be given back."""

    def run(self, masks: Masks, memory: MemoryBehaviour | None = None) -> list[LayerTrace]:
        """Runs one inference on the input's spikes; raises EvenspikeError as `Simulator` does."""
        driver = _Driver(self.packed, self.map, masks, memory or MemoryBehaviour())
        simulator = Pysim(driver.top)
        simulator.add_clock(1e-8)
        simulator.add_testbench(driver.run)
        simulator.run()
        check(self.packed, driver.result, driver.status, driver.fault, driver.cycle)
        return driver.results.traces(driver.status)


def cycles_per_second(packed: Packed, masks: Masks, cycles: int) -> float:
    """Measures how fast this simulator runs the first cycles of an inference."""
    map_ = MemoryMap(packed, descriptor.encode(packed))
    driver = _Driver(packed, map_, masks, MemoryBehaviour(), cycles)
    simulator = Pysim(driver.top)
    simulator.add_clock(1e-8)
    simulator.add_testbench(driver.run)
    simulator.run()
    return driver.cycle / (time.perf_counter() - driver.began)


class _Driver:
    """The host, the memory and the counters around the top; stops after `limit` cycles."""

    def __init__(
        self,
        packed: Packed,
        map_: MemoryMap,
        masks: Masks,
        memory: MemoryBehaviour,
        limit: int | None = None,
    ) -> None:
        self.limit = limit
        self.began = 0.0
        self.packed, self.map, self.memory = packed, map_, memory
        self.lanes = packed.arch.port_lanes
        self.content = map_.words(masks).tolist()
        self.random = random.Random(memory.seed)  # noqa: S311  (of a test's memory)
        self.top = Accelerator(packed.arch)
        self.results = Buffers(packed)
        self.result = Outcome.FINISHED
        self.status = 0
        self.fault = Fault.NONE
        self.cycle = 0
        self._start = self._now = 0
        self._windows = [0] * packed.arch.clusters
        self._answers: deque[tuple[int, int]] = deque()
        size = packed.arch.clusters * packed.arch.spike_entries
        self._counts = np.zeros(size, dtype=np.uint16)
        self._columns = np.zeros(size, dtype=np.uint16)
        self._masks = np.zeros((size, packed.arch.pes), dtype=np.uint8)

    async def run(self, ctx: Any) -> None:
        tables = self.map.tables
        await self._wait(ctx)  # after the reset it clears its accumulators
        for register, value in {
            Register.INPUT: self.map.input,
            Register.WEIGHTS: self.map.weights,
            Register.LOGITS: self.map.logits,
            Register.TABLE: 0,
            Register.TABLE_WORDS: tables.words.size,
            Register.PASS_BASE: tables.pass_base,
        }.items():
            await self._write(ctx, register, value)
        for command in (FILL, START):
            await self._write(ctx, Register.CONTROL, command)
            if not await self._wait(ctx):
                self.result = Outcome.STALLED
                break
            if ctx.get(self.top.registers.read) >> Status.ERROR & 1:
                self.result = Outcome.REFUSED
                break
        self.status = ctx.get(self.top.registers.read)
        ctx.set(self.top.registers.address, Register.FAULT)
        await self._step(ctx)
        self.fault = Fault(ctx.get(self.top.registers.read))

    async def _write(self, ctx: Any, address: int, value: int) -> None:
        registers = self.top.registers
        ctx.set(registers.write, 1)
        ctx.set(registers.address, address)
        ctx.set(registers.data, value)
        await self._step(ctx)
        ctx.set(registers.write, 0)
        ctx.set(registers.address, Register.CONTROL)

    async def _wait(self, ctx: Any) -> bool:
        await self._step(ctx)
        idle = 0
        while ctx.get(self.top.registers.read) >> Status.BUSY & 1:
            idle = 0 if await self._step(ctx) else idle + 1
            if self.cycle == self.limit:
                return True
            if idle > WATCHDOG:
                return False
        return True

    async def _step(self, ctx: Any) -> bool:
        top, memory = self.top, self.top.memory
        stalls = self.cycle >= self.memory.since and self.random.random() < self.memory.stall
        answers = not stalls and bool(self._answers) and self._answers[0][0] <= self._now
        ctx.set(memory.request.ready, int(not stalls))
        ctx.set(memory.write.ready, int(not stalls))
        ctx.set(memory.response.valid, int(answers))
        if answers:
            ctx.set(memory.response.payload, self._answers.popleft()[1])
        moves = answers
        if ctx.get(top.running):
            moves |= self._observe(ctx)
        if ctx.get(memory.write.valid) and not stalls:
            at = ctx.get(memory.write.address) - self.map.logits
            data = ctx.get(memory.write.data)
            for lane in range(self.lanes):
                part = data >> WORD_BITS * lane & (1 << WORD_BITS) - 1
                self.results.logit_words[at * self.lanes + lane] = part
            moves = True
        if ctx.get(memory.request.valid) and not stalls:
            address = ctx.get(memory.request.payload)
            due = self._now + self.packed.arch.memory_latency
            parts = self.content[address * self.lanes : (address + 1) * self.lanes]
            word = sum(part << WORD_BITS * lane for lane, part in enumerate(parts))
            self._answers.append((due, word))
            moves = True
        await ctx.tick()
        self._now += 1
        return moves

    def _observe(self, ctx: Any) -> bool:
        top, results = self.top, self.results
        if not self.cycle:
            self.began = time.perf_counter()
        self.cycle += 1
        layer = ctx.get(top.number)
        states = np.array([ctx.get(top.states[pe]) for pe in range(self.packed.arch.all_pes)])
        results.states[layer, np.arange(states.size), states] += 1
        moves = bool(np.isin(states, MOVES).any())
        entries, counts = ctx.get(top.entry_write), ctx.get(top.count_write)
        if self.packed.arch.clusters == 1:
            entries, counts = [entries], [counts]
        for cluster, (entry, count) in enumerate(zip(entries, counts, strict=True)):
            memory = cluster * self.packed.arch.spike_entries
            if entry.enable:
                self._columns[memory + entry.address] = entry.data.column
                self._masks[memory + entry.address] = [int(mask) for mask in entry.data.masks]
            if count.enable:
                self._counts[memory + count.address] = count.data
                at = cluster * self.packed.cluster_maps * int(results.room[layer])
                at += results.part(layer).start + self._windows[cluster]
                results.closed[at] = self.cycle
                self._windows[cluster] += 1
                moves = True
        if ctx.get(top.last_write):
            self._close(ctx, layer)
        return moves

    def _close(self, ctx: Any, layer: int) -> None:
        results = self.results
        results.cycles[layer] = self.cycle - self._start
        for kind, flags in enumerate((self.top.accumulator_overflow, self.top.membrane_overflow)):
            bits = ctx.get(flags)
            results.overflow[layer, kind] = [bits >> n & 1 for n in range(self.packed.arch.all_pes)]
        results.take(layer, self._counts, self._columns, self._masks)
        self._start, self._windows = self.cycle, [0] * self.packed.arch.clusters
