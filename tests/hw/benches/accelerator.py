"""Bench of Accelerator: a host at the registers, a memory at the port, whole networks.

The stepped model runs at the side of the RTL, with the same memory: what the top shows of its
inside is compared in every cycle, at any speed of the memory. What an inference leaves behind is
compared with the cycle model; without stalls, that includes all cycles.
"""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from evenspike_core.arch import Arch
from evenspike_core.errors import EvenspikeError
from evenspike_core.program import KERNELS
from evenspike_hw.engine.host import input_words
from evenspike_hw.engine.results import Buffers
from evenspike_hw.rtl import descriptor
from evenspike_hw.rtl.accelerator import Accelerator
from evenspike_hw.rtl.faults import Fault
from evenspike_hw.rtl.layouts import Layouts
from evenspike_hw.rtl.registers import Register, Status
from evenspike_hw.rtl.states import State
from evenspike_sim import accelerator as cycle_model
from tests.helpers import stepped
from tests.helpers.differences import difference
from tests.helpers.driver import Bench, test
from tests.helpers.faulty_layers import FAULTS, with_fault
from tests.helpers.machine import (
    READOUTS,
    SMALL,
    Core,
    Network,
    Packet,
    Pauses,
    loud_network,
    random_network,
)

component = Accelerator
ARCH = replace(
    SMALL, memory_latency=3, stream_depth=6, spike_entries=1024, row_entries=2, table_words=256
)
VARIANTS = {
    "shared-lif": replace(ARCH, timesteps=4, lif_shared=1),
    "clusters": replace(ARCH, clusters=2),
}
CORNERS = (
    *(f"a PE is {state.name.lower()}" for state in State),
    *(f"read-out: {readout}" for readout in READOUTS),
)
ADDRESS = (1 << 32) - 1
STORED = {
    Register.INPUT: ADDRESS,
    Register.WEIGHTS: ADDRESS,
    Register.LOGITS: ADDRESS,
    Register.TABLE: ADDRESS,
    Register.TABLE_WORDS: (1 << 17) - 1,
    Register.PASS_BASE: ARCH.table_words - 1,
    Register.WATCHDOG: 31,
}
"""Registers that the host writes, and their bits."""

START, FILL, ABORT = 1, 2, 4
QUIET = 1 << (max(ARCH.accumulators, 4 * ARCH.memory_latency) - 1).bit_length()
"""Cycles without an answer in which it clears its accumulators."""

PREPARATION = 40
"""Cycles from the start of an inference to its cycle 1, at most."""


def waiting_blocks(arch: Arch) -> int:
    """Blocks of results that wait for the memory, at most, or are on their way to it."""
    turns = arch.clusters * arch.logit_words
    if arch.lif_shared:
        return 1 + -(-(arch.timesteps + 4) // max(arch.timesteps, turns))
    return 1 + -(-(2 * arch.timesteps + 2) // turns)


# --- the memory ------------------------------------------------------------------------------


class Port(stepped.Port):
    """The model's port with a memory that may stall. ready, arrives: of the memory, this cycle."""

    ready = False
    arrives = False

    @property
    def valid(self) -> bool:
        return self.credits.q > 0 and self.issued.q < len(self.words)

    def step(self) -> None:
        takes = self.valid and self.ready
        if takes:
            self.issued.set(self.issued.q + 1)
        self.credits.set(self.credits.q - takes + self.machine.loader.takes())
        if self.arrives:
            arrived = self.line.q[0] or 0  # words that have come, counted
            self.line.set((arrived + 1,))
            self.fifo.push(self.words[arrived])


def addresses(network: Network) -> list[int]:
    """Of the words of the weight stream, in the order in which they are read."""
    found: list[int] = []
    for layer in network.packed.layers:
        across = [-(-n // side) for n, side in zip(layer.size, layer.tile, strict=True)]
        rounds = across[0] * across[1] * network.packed.cluster_maps // layer.images
        repeats = 1 if len(layer.chunks) == 1 else rounds
        for address, size in layer.passes:
            found += [*range(address, address + size)] * repeats
    return found


@dataclass
class Filling:
    """The table is being filled. begins: cycle of the first request. asked, left: words still to
    request, and to come; credits: of the port.
    """

    begins: int
    address: int
    asked: int
    left: int
    credits: int


class Inference:
    """A network on the model, and what the RTL has shown of its own run."""

    def __init__(
        self,
        rig: Rig,
        network: Network,
        faulty: int | None = None,
        fault: Fault = Fault.NONE,
    ) -> None:
        self.network = network
        self.faulty, self.fault = faulty, fault  # layer
        self.over = Fault.NONE  # what it was stopped by
        self.packed = network.packed
        self.core = Core(rig.bench, network, Pauses())
        self.machine = self.core.machine
        self.cores = [self.core, *self.core.others]
        count = input_words(network.packed, network.spikes).size
        port = self.port = Port(self.machine, self.machine.port.words)
        self.machine.port = port
        base, weights = rig.stored[Register.INPUT], rig.stored[Register.WEIGHTS]
        self.reads = [base + n for n in range(count)]
        self.reads += [weights + n for n in addresses(network)]
        assert len(self.reads) == len(port.words)
        self.results = Buffers(network.packed)
        self.logits = rig.stored[Register.LOGITS]
        clusters = network.packed.arch.clusters
        # Of each cluster: words of results, blocks of them under way, and words that were taken.
        self.written, self.claimed, self.taken = ([0] * clusters for _ in range(3))
        self.writes: list[deque[tuple[int, int]]] = [deque() for _ in range(clusters)]
        self.cycle = 0
        self.windows = [0] * clusters  # of this layer
        size = clusters * network.packed.arch.spike_entries
        self.counts = np.zeros(size, dtype=np.uint16)
        self.columns = np.zeros(size, dtype=np.uint16)
        self.masks = np.zeros((size, network.packed.arch.pes), dtype=np.uint8)


class Rig:
    """Host and memory around the component; a model of the registers; cycle by cycle.

    memory: words by address. stall: share of the cycles in which it takes nothing, and in which it
    gives nothing; slow: in which it takes no result. done: words that it gave, broadcasts, and
    windows and logits that came out.
    """

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        layouts = Layouts(bench.arch)
        self.packets = {
            "entry_write": Packet(layouts.entry_write),
            "count_write": Packet(layouts.count_write),
            "states": Packet(bench.outputs["states"].shape),
        }
        self.memory: dict[int, int] = {}
        self.stall = self.slow = 0.0
        self.done = 0
        self.answers: deque[tuple[int, int]] = deque()
        self.forget()

    def forget(self, answers: bool = False) -> None:
        """After a reset. answers: the memory goes on to answer what was asked before it."""
        late: deque[tuple[int, int]] = deque()
        if answers:
            late.extend(
                (n * self.bench.random.randrange(3), word)
                for n, (_, word) in enumerate(self.answers)
            )
        self.answers = late
        self.stored = dict.fromkeys(STORED, 0) | {Register.WATCHDOG: 20}
        self.finished = self.overflow = False
        self.busy = True
        self.cleaning: int | None = 0  # cycles since it began to clear, or since the last answer
        self.stops = False  # it begins to clear when the core's reset is over
        self.fault, self.shown = Fault.NONE, 0  # shown: the layer of the fault
        self.number = self.cycles = self.read = 0
        self.begins = self.clears = False  # the core is reset from the next cycle on; in this one
        self.filling: Filling | None = None
        self.starting: int | None = None  # cycles since the start
        self.following: Inference | None = None  # what a start begins
        self.run: Inference | None = None
        self.ends = False
        self.returned = 0
        self.turn = 0  # cluster whose results are on the port
        # Not while nobody knows when an error is seen, or how far the port reads on after it.
        self.watched = self.port_watched = True

    # One cycle.

    async def cycle(self, write: tuple[int, int] | None = None) -> dict[str, int]:
        bench = self.bench
        address, value = write or (self._address(), bench.bits(32) & ~ABORT)
        writes = write is not None or (self.busy and self.watched and bench.chance(0.1))
        if writes and self.busy:
            bench.cover("write while busy")
            bench.cover("start while busy", address == Register.CONTROL and value & START)
        ready = not (self.stall and bench.chance(self.stall))
        slow = max(self.stall, self.slow)
        self.takes = takes = not (slow and bench.chance(slow))
        pending = bool(self.answers)
        due = pending and self.answers[0][0] <= bench.now
        arrives = due and not (self.stall and bench.chance(self.stall))
        bench.cover("answer later than the latency", due and not arrives)
        response = self.answers.popleft()[1] if arrives else bench.bits(64)
        self.done += arrives
        out = await bench.cycle(
            registers__write=writes,
            registers__address=address,
            registers__data=value,
            memory__request__ready=ready,
            memory__response__valid=arrives,
            memory__response__payload=response,
            memory__write__ready=takes,
        )
        if self.starting is not None and out["running"]:
            self.starting = None
        run = self.run if self.starting is None and not self.ends else None
        offers = False  # what leaves the LIF in this cycle is offered in the next
        if self.watched:
            expected = self._running(run) if run is not None else self._idle()
            if self.ends and self.run is not None:
                expected |= self._writing(self.run)
            offers = bool(expected["memory__write__valid"])
            for name in ("entry_write", "count_write"):
                self._collects(name, out[name], expected.pop(name, {}))
            if not self.port_watched:
                del expected["memory__request__valid"]
            bench.check(out, expected | {"registers__read": self.read})
        asked = self._request(out, ready)
        writer = run or (self.run if self.ends else None)
        self.written_now = bool(out["memory__write__valid"] and takes and self.watched and writer)
        if self.written_now and writer is not None:
            at = out["memory__write__address"] - writer.logits & ADDRESS
            assert at % bench.arch.clusters == self.turn
            writer.results.logit_words[at] = out["memory__write__data"]
            self.done += 1
        if run is not None:
            self._observe(run, out)
            run.port.ready, run.port.arrives = ready, arrives
        self._next(run, address, value if writes else None, arrives)
        self._turn(waits=offers and not takes)
        if self.clears and not (pending or asked or self.begins):
            self.clears, self.port_watched = False, True
            if self.stops:
                self.stops, self.cleaning = False, 0
        if self.begins:
            self.clears, self.begins = True, False
        return out

    def _turn(self, *, waits: bool) -> None:
        """The next cluster's. waits: this one has offered a word that was not taken."""
        if self.clears:
            self.turn = 0
        elif not waits:
            self.turn = (self.turn + 1) % self.bench.arch.clusters

    def _collects(self, name: str, found: int, expected: dict[int, int]) -> None:
        """What the collectors write; of those that do not, only that they do not."""
        width = self.packets[name].width
        for cluster in range(self.bench.arch.clusters):
            bits = found >> width * cluster & (1 << width) - 1
            wanted = expected.get(cluster)
            right = not bits & 1 if wanted is None else bits == wanted
            assert right, f"cycle {self.bench.now - 1}: {name} of cluster {cluster} is {bits:x}"

    def _address(self) -> int:
        return (
            0
            if not self.watched
            else self.bench.random.choice((0, 7, self.bench.random.randrange(16)))
        )

    def _idle(self) -> dict[str, Any]:
        filling = self.filling
        asks = filling is not None and bool(filling.asked and filling.credits)
        asks = asks and filling is not None and self.bench.now - 1 >= filling.begins
        expected = {
            "running": 0,
            "last_write": 0,
            "number": self.number,
            "memory__write__valid": 0,
            "memory__request__valid": asks,
            "accumulator_overflow": 0,
            "membrane_overflow": 0,
        }
        if asks and filling is not None:
            expected["memory__request__payload"] = filling.address & ADDRESS
        return expected

    def _running(self, run: Inference) -> dict[str, Any]:
        machine, port = run.machine, run.port
        accumulators, membranes = (
            sum(flag << n for n, flag in enumerate(itertools.chain(*flags)))
            for flags in (
                [core.accumulator_overflow for core in run.cores],
                [core.membrane_overflow for core in run.cores],
            )
        )
        self.number = machine.sequencer.layer.q
        expected: dict[str, Any] = {
            "running": 1,
            "last_write": machine.sequencer.last_write(),
            "number": self.number,
            "memory__request__valid": port.valid,
            "accumulator_overflow": accumulators,
            "membrane_overflow": membranes,
        }
        self.bench.cover("all credits out", not port.credits.q)
        if port.valid:
            expected["memory__request__payload"] = run.reads[port.issued.q] & ADDRESS
        states = [
            State[cluster.state(pe).upper()] for cluster in machine.clusters for pe in cluster.pes
        ]
        for state in states:
            self.bench.cover(f"a PE is {state.name.lower()}")
        expected["states"] = self.packets["states"].bits(
            0, {str(n): int(state) for n, state in enumerate(states)}
        )
        most = waiting_blocks(run.packed.arch)
        for cluster, claimed in zip(machine.clusters, run.claimed, strict=True):
            cluster.drain.room = claimed < most
            self.bench.cover("the drain waits for room", cluster.drain.waits())
        expected |= self._writing(run)
        for number, core in enumerate(run.cores):
            item = core.leaves
            if item is None or not run.packed.layers[item.place.layer].last:
                continue
            logits = sum(core.logit(item, pe) << 32 * pe for pe in range(len(machine.pes)))
            for n in range(run.packed.arch.logit_words):
                at = run.written[number] * len(run.cores) + number
                address = run.logits + at & ADDRESS
                run.writes[number].append((address, logits >> 64 * n & (1 << 64) - 1))
                run.written[number] += 1
        return expected | self._collected(run)

    def _writing(self, run: Inference) -> dict[str, Any]:
        """The result that is to be written, until it is taken."""
        writes = run.writes[self.turn]
        self.bench.cover("results wait", len(writes) > 1 and not self.takes)
        self.bench.cover("results wait behind the last layer", writes and self.ends)
        if not writes:
            return {"memory__write__valid": 0}
        address, word = writes[0]
        return {
            "memory__write__valid": 1,
            "memory__write__address": address,
            "memory__write__data": word,
        }

    def _written(self, run: Inference) -> None:
        """From one cycle to the next."""
        for number, cluster in enumerate(run.machine.clusters):
            drain = cluster.drain
            if not self.ends and drain.row() is not None:
                assert drain.at.q is not None
                run.claimed[number] += run.packed.layers[drain.round(drain.at.q).layer].last
        if self.written_now:
            run.writes[self.turn].popleft()
            run.taken[self.turn] += 1
            whole = run.taken[self.turn] % run.packed.arch.logit_words == 0
            run.claimed[self.turn] -= whole

    def _collected(self, run: Inference) -> dict[str, dict[int, int]]:
        """What the collectors write, by the numbers of their clusters."""
        found: dict[str, dict[int, int]] = {"entry_write": {}, "count_write": {}}
        for number, cluster in enumerate(run.machine.clusters):
            for name, bits in self._of_cluster(run, cluster).items():
                found[name][number] = bits
        return found

    def _of_cluster(self, run: Inference, machine: stepped.Cluster) -> dict[str, int]:
        place, masks = machine.collector.closed.q, machine.collector.pool.q
        if place is None:
            return {}
        layer = run.packed.layers[place.layer]
        height, width = layer.size[0] // layer.pool, layer.size[1] // layer.pool
        memory = machine.memory
        row = layer.spike_base + memory.map(place.image, place.group)
        row += memory.behind(place.block * height + place.row, width)
        self.bench.cover("input of a later group", layer.host and place.group)
        count = 0 if place.restarts else memory.counts.cells[row]
        self.bench.cover(
            "row goes on in a later tile",
            not layer.host and place.column and place.column * layer.pool % layer.tile[1] == 0,
        )
        fired = any(masks)
        found = {
            "count_write": self.packets["count_write"].bits(
                0, {"enable": 1, "address": row, "data": count + fired}
            )
        }
        if fired:
            fields = {"enable": 1, "address": row + count, "data.column": place.column}
            fields |= {f"data.masks.{n}": mask for n, mask in enumerate(masks)}
            found["entry_write"] = self.packets["entry_write"].bits(0, fields)
        return found

    def _request(self, out: dict[str, int], ready: bool) -> bool:
        """The memory takes a request."""
        if not out["memory__request__valid"]:
            return False
        if not ready:
            self.bench.cover("request waits")
            return False
        due = self.bench.now - 1 + self.bench.arch.memory_latency
        address = out["memory__request__payload"]
        # After an error the port goes on for a while, and its words may have gone.
        known = self.memory[address] if self.port_watched else self.memory.get(address, 0)
        self.answers.append((due, known))
        self.bench.cover(
            "address goes round the end of the memory", not out["memory__request__payload"]
        )
        if self.filling is not None and not self.clears:
            self.filling.address += 1
            self.filling.asked -= 1
            self.filling.credits -= 1
        return True

    def _observe(self, run: Inference, out: dict[str, int]) -> None:
        """What the RTL says, for the comparison with the cycle model."""
        layer, results = out["number"], run.results
        arch = run.packed.arch
        pes = arch.all_pes
        run.cycle += 1
        results.cycles[layer] += 1
        states = [out["states"] >> 3 * pe & 7 for pe in range(pes)]
        results.states[layer, np.arange(pes), states] += 1
        entries = self.bench.fields("entry_write", out["entry_write"])
        counts = self.bench.fields("count_write", out["count_write"])
        if arch.clusters == 1:
            entries, counts = [entries], [counts]
        for cluster, (entry, count) in enumerate(zip(entries, counts, strict=True)):
            memory = cluster * arch.spike_entries
            if entry["enable"]:
                run.columns[memory + entry["address"]] = entry["data"]["column"]
                run.masks[memory + entry["address"]] = entry["data"]["masks"]
            if count["enable"]:
                run.counts[memory + count["address"]] = count["data"]
                at = cluster * run.packed.cluster_maps * int(results.room[layer])
                results.closed[results.part(layer).start + at + run.windows[cluster]] = run.cycle
                run.windows[cluster] += 1
                self.done += 1
        for kind, name in enumerate(("accumulator_overflow", "membrane_overflow")):
            if out["last_write"]:
                results.overflow[layer, kind] = [out[name] >> pe & 1 for pe in range(pes)]
            self.bench.cover("membrane saturates" if kind else "psum saturates", out[name])
        if out["last_write"]:
            results.take(layer, run.counts, run.columns, run.masks)
            run.windows = [0] * arch.clusters

    # From one cycle to the next.

    def _next(self, run: Inference | None, address: int, value: int | None, arrives: bool) -> None:
        self.read = self._register(address)
        free = not self.busy
        self._clean(arrives)
        if run is not None and not self.clears:
            self._flags(run)
            self.cycles += 1
        writer = run or (self.run if self.ends else None)
        waits = writer is not None and any(writer.claimed)
        if writer is not None and self.watched:
            self._written(writer)
        if self.ends and self.clears:  # it was aborted in the cycle before
            self.ends, self.run = False, None
        # The sequencer has stopped: this is the controller's last cycle, when all is written.
        faulty = self.run is not None and self.run.over is not Fault.NONE
        if self.ends and (faulty or not waits):
            if self.run is not None and faulty:
                self.fault, self.shown = self.run.over, self.number
                self.begins = self.stops = True
            self.ends, self.run, self.busy, self.finished = False, None, faulty, not faulty
        if self.clears:
            self.number = 0
        self._fill(arrives)
        if run is not None and not self.clears:
            self.done += run.machine.apu.fires()
            run.core.step()
            self._end(run)
        if run is not None and self.clears:  # it was aborted in the cycle before
            self.run = None
        if self.starting is not None and not self.clears:
            self.starting += 1
            assert self.starting < PREPARATION or not self.watched, "does not start"
        if value is not None and address == Register.CONTROL and value & ABORT:
            self._abort()
        elif value is not None and free:
            self._write(address, value)

    def _flags(self, run: Inference) -> None:
        for core in run.cores:
            self.overflow |= any(core.accumulator_overflow) or any(core.membrane_overflow)
            core.clears = core.machine.sequencer.last_write()

    def _clean(self, arrives: bool) -> None:
        if self.cleaning is None:
            return
        self.bench.cover("an answer of before the reset", arrives)
        self.cleaning = 0 if arrives else self.cleaning + 1
        if self.cleaning == QUIET:
            self.cleaning, self.busy = None, False

    def _end(self, run: Inference) -> None:
        """After the last layer, or in front of one that cannot be run."""
        layer = run.machine.sequencer.layer.q
        self.ends = run.machine.over or layer == run.faulty
        if layer == run.faulty:
            self.number, run.over, self.port_watched = layer, run.fault, False

    def _abort(self) -> None:
        """What shows of the core in the next cycle is what it would have been without."""
        cover = self.bench.cover
        cover("abort while the table is filled", self.filling is not None)
        cover("abort while it starts", self.starting is not None)
        cover("abort while it runs", self.run is not None and self.starting is None)
        cover("abort while it clears", self.cleaning is not None)
        cover("abort while idle", not self.busy)
        if self.starting is not None:
            self.run = None
        self.ends = self.ends and self.run is not None  # what is to be written shows once more
        self.cycles, self.finished, self.overflow = 0, False, False
        self.fault, self.starting, self.cleaning = Fault.NONE, None, None
        self.busy = self.begins = self.stops = True

    def _write(self, address: int, value: int) -> None:
        if address in self.stored:
            self.stored[Register(address)] = value & STORED[Register(address)]
        if address != Register.CONTROL:
            return
        if value & (START | FILL):
            self.fault = Fault.NONE
        if value & START:
            self.cycles, self.finished, self.overflow = 0, False, False
            self.starting, self.run = 0, self.following
        elif value & FILL:
            words, at = self.stored[Register.TABLE_WORDS], self.stored[Register.TABLE]
            depth = self.bench.arch.stream_depth
            self.filling = Filling(self.bench.now + 2, at, words, words, depth)
            self.returned = 0
        self.busy = self.begins = bool(value & (START | FILL))

    def _fill(self, arrives: bool) -> None:
        """A word that has come is in the table, and gives its credit back, two cycles later."""
        filling = self.filling
        if filling is None:
            return
        now = self.bench.now - 1
        if self.clears and self.stops:
            self.filling = None
            return
        if self.clears:
            filling.begins = now + 2
            return
        if now >= filling.begins and not filling.left:
            self.filling, self.busy = None, False
            return
        filling.left -= self.returned
        filling.credits += self.returned
        self.returned = int(arrives)

    def _register(self, address: int) -> int:
        if address == Register.CONTROL:
            status = self.busy << Status.BUSY | self.finished << Status.DONE
            status |= bool(self.fault) << Status.ERROR | self.overflow << Status.OVERFLOW
            return status | (self.shown if self.fault else self.number) << Status.LAYER
        if address == Register.FAULT:
            return self.fault
        if address == Register.CYCLES:
            return self.cycles
        if address == Register.DIGEST:
            return int(self.bench.arch.digest[:8], 16)
        return self.stored.get(address, 0)  # type: ignore[call-overload]

    # What a host does.

    async def settle(self) -> None:
        """To the end of whatever it is at."""
        while self.busy:
            await self.cycle()

    async def idle(self, cycles: int) -> None:
        for _ in range(cycles):
            await self.cycle()

    async def set(self, values: dict[Register, int]) -> None:
        """Write the registers, in any order."""
        await self.settle()
        items = list(values.items())
        self.bench.random.shuffle(items)
        for register, value in items:
            await self.cycle((register, value))
            if self.bench.chance(0.2):
                await self.idle(2)

    def place(self, words: list[int]) -> int:
        """The words into the memory; where they are."""
        pick = self.bench.random.randrange
        while True:
            base = pick(1 << 32) if self.bench.chance(0.7) else (1 << 32) - pick(1, 60)
            places = [base + n & ADDRESS for n in range(len(words))]
            if not self.memory.keys() & set(places):
                self.memory |= dict(zip(places, words, strict=True))
                return base

    async def command(self, value: int) -> None:
        await self.cycle((Register.CONTROL, value))
        while self.busy:
            await self.cycle()

    async def fill(
        self, network: Network, faulty: int | None = None, fault: str = "timesteps"
    ) -> None:
        """The network's table and weights. faulty: a layer with a fault in its descriptor."""
        tables = descriptor.encode(network.packed)
        words = [int(word) for word in tables.words]
        if faulty is not None:
            words = with_fault(words, faulty, fault)
        self.memory.clear()
        await self.set(
            {
                Register.TABLE: self.place(words),
                Register.TABLE_WORDS: len(words),
                Register.PASS_BASE: tables.pass_base,
                Register.WEIGHTS: self.place([int(word) for word in network.packed.stream]),
            }
        )
        await self.command(FILL)

    async def start(
        self, network: Network, faulty: int | None = None, fault: str = "timesteps"
    ) -> Inference:
        """The input's spikes, and the start; the table has been filled."""
        words = [int(n) for n in input_words(network.packed, network.spikes)]
        await self.set({Register.INPUT: self.place(words), Register.LOGITS: self.bench.bits(32)})
        self.following = run = Inference(self, network, faulty, FAULTS[fault][1])
        value = START | (FILL if self.bench.chance(0.3) else 0)
        self.bench.cover("fill and start at once", value & FILL)
        await self.cycle((Register.CONTROL, value))
        return run

    async def infer(self, network: Network) -> None:
        """An inference, with all that it leaves."""
        run = await self.start(network)
        while self.busy:
            await self.cycle()
        overflow = int(run.results.overflow.any())
        traces = run.results.traces(overflow << Status.OVERFLOW)
        model = cycle_model.Accelerator(network.packed).run(network.spikes)
        self.bench.cover("memory never stalls", not self.stall)
        stalls = self.stall > 0 or self.slow > 0
        found = difference(network.packed, model, traces, stalls=stalls)
        assert found is None, found
        self._features(network)

    def _features(self, network: Network) -> None:
        cover = self.bench.cover
        groups = network.packed.groups
        cover("several groups", groups > 1)
        cover("several groups of a batch", groups > 1 and network.packed.batch > 1)
        for layer in network.packed.layers:
            cover(f"read-out: {layer.readout}", groups > 1)
            cover("layers with two segments", len(layer.segments) > 1)
            cover("layers with several passes", len(layer.passes) > 1)
            cover("layers with several chunks", len(layer.chunks) > 1)
            cover("images share several chunks", len(layer.chunks) > 1 and layer.images > 1)
            cover("parts of a batch", 1 < layer.images < network.packed.share)
            cover(
                "layers with several tiles",
                layer.tile[0] < layer.size[0] or layer.tile[1] < layer.size[1],
            )
            cover("pooling", layer.pool > 1)


def some_network(bench: Bench, words: int = 500, kernel: int = 0) -> Network:
    """One that fits the table, too."""
    while True:
        network = random_network(
            bench,
            side=4,
            filters=bench.random.choice((8, 12)),
            words=words,
            wild=bench.chance(0.4),
            kernel=kernel,
        )
        try:
            descriptor.encode(network.packed)
        except EvenspikeError:
            continue
        return network


@test
async def random_networks(bench: Bench) -> None:
    """Networks, some of them with a second image, with memories of all speeds."""
    rig = Rig(bench)
    kernels = itertools.cycle(KERNELS)
    while rig.done < bench.transactions:
        rig.stall = bench.random.choice((0.0, 0.0, 0.2, 0.7))
        network = some_network(bench, kernel=next(kernels))
        await rig.fill(network)
        await rig.infer(network)
        if bench.chance(0.3):
            spikes = np.roll(network.spikes, 1, axis=0)[:, ::-1] >> 1
            await rig.infer(replace(network, spikes=np.ascontiguousarray(spikes)))
            bench.cover("second image without filling the table again")
        await rig.idle(bench.random.randrange(3))
        bench.cover("network after network without a reset")


@test
async def saturation(bench: Bench) -> None:
    """Psums of one PE that leave 24 bits, so that the status says so."""
    rig = Rig(bench)
    network = loud_network(bench, inputs=264)
    await rig.fill(network)
    await rig.infer(network)
    assert rig.overflow
    await rig.idle(20)


@test
async def slow_results(bench: Bench) -> None:
    """A memory that takes results seldom, from networks that have more than wait in the FIFO."""
    rig = Rig(bench)
    left = min(6, 2 + bench.transactions // 1000)
    while left:
        network = some_network(bench, 300)
        packed = network.packed
        last = packed.layers[-1]
        blocks = len(last.blocks) * last.size[0] * last.size[1] * packed.maps
        if blocks <= waiting_blocks(packed.arch):
            continue
        rig.slow = bench.random.choice((0.9, 0.99))
        await rig.fill(network)
        await rig.infer(network)
        left -= 1


@test
async def registers(bench: Bench) -> None:
    """After the reset all are 0; what is written is read, and nothing else changes."""
    rig = Rig(bench)
    await rig.settle()
    for address in range(16):
        await rig.cycle((address or 9, bench.bits(32)))
        await rig.idle(2)
    for _ in range(300):
        address = bench.random.randrange(16)
        await rig.cycle((address, bench.bits(32) & (ADDRESS if address else ADDRESS - 7)))
        await rig.idle(bench.random.randrange(3))
    await rig.set({Register.TABLE_WORDS: 0})
    await rig.command(FILL)
    bench.cover("fill of no words")
    await rig.idle(8)


@test
async def errors(bench: Bench) -> None:
    """An inference stops in front of a layer that cannot be run; the next one is none the worse."""
    rig = Rig(bench)
    network = some_network(bench, 100)
    for fault in FAULTS:
        await rig.fill(network, 1, fault)
        await rig.start(network, 1, fault)
        await rig.settle()
        assert rig.fault is FAULTS[fault][1]
        await rig.idle(4)
    for turn in range(min(9, 2 + bench.transactions // 500)):
        rig.stall = bench.random.choice((0.0, 0.5))
        network = some_network(bench, 300)
        faulty = 0 if turn == 0 else bench.random.randrange(1, len(network.packed.layers))
        await rig.fill(network, faulty)
        await rig.start(network, faulty)
        if faulty:
            bench.cover("error at a later layer")
            await rig.settle()
        else:
            await stopped(rig, Fault.TIMESTEPS)
            bench.cover("error at the first layer")
        await rig.idle(bench.random.choice((0, 1, 2, 9, 30)))
        await rig.fill(network)
        await rig.infer(network)
        bench.cover("inference after an error")


async def stopped(rig: Rig, fault: Fault, layer: int | None = 0, cycles: int = 500) -> None:
    """It stops by itself, when is not predicted; None: nor at which layer."""
    rig.watched = False
    for _ in range(cycles):
        out = await rig.cycle((Register.FAULT, 0))
        if out["registers__read"] & 1 << Status.ERROR:
            break
        out = await rig.cycle((Register.CONTROL, 0))
    for _ in range(cycles):
        await rig.cycle((Register.CONTROL, 0))
        out = await rig.cycle((Register.CONTROL, 0))
        if not out["registers__read"] & 1 << Status.BUSY:
            break
    status = out["registers__read"]
    assert status & 0xF & ~(1 << Status.OVERFLOW) == 1 << Status.ERROR, f"status {status:08x}"
    assert layer is None or status >> Status.LAYER == layer
    rig.busy, rig.starting, rig.run, rig.filling, rig.cleaning = False, None, None, None, None
    await rig.cycle((Register.CYCLES, 0))
    rig.cycles = (await rig.cycle((Register.FAULT, 0)))["registers__read"]
    assert (await rig.cycle((Register.CONTROL, 0)))["registers__read"] == fault
    rig.fault, rig.shown, rig.number = fault, status >> Status.LAYER, 0
    rig.finished = False
    rig.overflow, rig.clears, rig.stops, rig.ends = bool(status >> 3 & 1), False, False, False
    rig.read, rig.watched, rig.port_watched = status, True, True


@test
async def watchdog(bench: Bench) -> None:
    """A memory that stops for longer than the limit; the table has more words than there are."""
    rig = Rig(bench)
    for turn in range(min(9, 2 + bench.transactions // 500)):
        network = some_network(bench, 300)
        while network.packed.batch > 1:  # with what it has read it may go on for long
            network = some_network(bench, 300)
        await rig.fill(network)
        await rig.set({Register.WATCHDOG: 9})
        await rig.start(network)
        for _ in range(bench.random.randrange(150)):
            if rig.busy:
                await rig.cycle()
        run = rig.run
        if run is not None and run.port.issued.q == len(run.reads):  # nothing is missing any more
            await rig.settle()
        if not rig.busy:
            continue
        rig.watched = False
        rig.stall = 1.0
        for _ in range(1500):
            await rig.cycle((Register.CONTROL, 0))
        rig.stall = 0.0
        await stopped(rig, Fault.WATCHDOG, None)
        bench.cover("watchdog")
        if turn % 2:
            await rig.set({Register.TABLE_WORDS: ARCH.table_words + 1})
            await rig.cycle((Register.CONTROL, FILL))
            rig.filling = None
            await stopped(rig, Fault.TABLE)
            bench.cover("fill of more words than there are")
        await rig.fill(network)
        await rig.infer(network)


@test
async def reset(bench: Bench) -> None:
    """A reset in the middle, and then another network; a memory that forgets, or answers on."""
    await broken_off(bench, by_abort=False)


@test
async def abort(bench: Bench) -> None:
    """An abort at any time, once or twice, and then another network."""
    await broken_off(bench, by_abort=True)


async def broken_off(bench: Bench, *, by_abort: bool) -> None:
    rig = Rig(bench)
    for turn in range(min(24, 4 + bench.transactions // 200)):
        network = some_network(bench, 300)
        rig.stall = bench.random.choice((0.0, 0.0, 0.5))
        if turn % 4:
            await rig.fill(network)
            await rig.start(network)
            for _ in range(bench.random.choice((5, 60, 400))):
                if rig.busy and bench.chance(0.99):
                    await rig.cycle()
            bench.cover("broken off while layers run", rig.busy and rig.number)
        else:
            await rig.set({Register.TABLE: rig.place([1] * 20), Register.TABLE_WORDS: 20})
            await rig.cycle((Register.CONTROL, FILL))
            await rig.idle(bench.random.randrange(3, 20))
        if by_abort:
            for _ in range(bench.random.choice((1, 1, 2, 3)) + (turn == 1)):
                await rig.cycle((Register.CONTROL, ABORT | bench.random.randrange(4)))
                await rig.idle(20 if turn == 1 else bench.random.choice((0, 1, 20)))
        else:
            bench.cover("reset while an inference runs", rig.run is not None)
            bench.cover("reset while the table is filled", rig.filling is not None)
            await bench.cycle(
                registers__write=0, memory__request__ready=0, memory__response__valid=0
            )
            await bench.reset()
            rig.forget(answers=bench.chance(0.5))
        await rig.idle(4)
        await rig.fill(network)
        await rig.infer(network)
