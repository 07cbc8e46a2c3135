"""The stepped model (`tests/helpers/stepped`) beside components of the RTL, cycle for cycle.

A `Core` runs a network on the stepped model, and says for every cycle what goes into the PEs and
what has to come out of them, as bits of their ports. What has no meaning is random. The model can
be told to pause at random where the hardware waits for others.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from amaranth.hdl import Shape
from amaranth.lib import data

from evenspike_core import reference
from evenspike_core.arch import Arch
from evenspike_core.errors import EvenspikeError
from evenspike_core.fixed import ACCUMULATOR_BITS, LEAK_ONE, mask_type
from evenspike_core.mapping import choose
from evenspike_core.pack import Descriptor, Packed, pack
from evenspike_core.program import (
    PIXELS,
    Coding,
    Layer,
    Program,
    Readout,
    Segment,
)
from evenspike_hw.rtl.layouts import LOGIT_BITS, PSUM_BITS, TIMESTEP_BITS, Layouts
from evenspike_hw.rtl.pe.pe import PE_LAYER
from tests.helpers import stepped
from tests.helpers.archs import random_mapping
from tests.helpers.driver import Bench
from tests.helpers.networks import random_pixels, random_program, together

Masks = npt.NDArray[np.unsignedinteger[Any]]

READOUTS = [None, Readout.PSUM, Readout.COUNT, Readout.MEMBRANE]

SMALL = Arch(
    pes=4,
    timesteps=2,
    accumulators=16,
    scratchpad_words=256,
    header_words=41,
    chunk_blocks=2,
    fifo_depth=3,
    match_depth=2,
    lane_depth=8,
    slots=8,
    memory_latency=1,
    stream_depth=8,
    spike_entries=4096,
)
"""Everything is soon full."""

# --- networks --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Network:
    """A packed network and the spikes of an input, or a batch of them. program: what it was made
    of.
    """

    program: Program
    packed: Packed
    spikes: Masks


def random_network(
    bench: Bench, *, side: int, filters: int, words: int, wild: bool = False, kernel: int = 0
) -> Network:
    """A network with any mapping that fits the Arch.

    side, filters: largest ones. words: of the weight stream, at most. wild: goes round the range
    proof, so that everything can saturate. kernel: one that it has, with some weights.
    """
    pick = bench.random.randrange
    while True:
        seed = pick(1 << 30)
        time = pick(1, bench.arch.timesteps + 1)
        if bench.chance(0.5):  # several groups
            time += bench.arch.timesteps * pick(1, 3)
        program = random_program(
            seed,
            timesteps=time,
            max_side=pick(1, side + 1),
            max_filters=pick(1, filters + 1),
            kernel_max=bench.arch.kernel_max,
        )
        if kernel and not _has(program, kernel):
            continue
        if wild:
            program = _wild(program, seed)
        batch = bench.random.choice((1, 1, 2, 4))
        try:
            # A random mapping is only looked for where there is one.
            choose(program, bench.arch, batch=batch)
            mapping = random_mapping(program, bench.arch, seed, batch)
            packed = pack(program, mapping, bench.arch)
        except EvenspikeError:
            continue
        if len(stepped.schedule(packed).words) <= words:
            images = [_spikes(program, seed + at, wild) for at in range(batch)]
            return Network(program, packed, together(images))


def _has(program: Program, kernel: int) -> bool:
    segments = [s for layer in program.layers if not layer.host for s in layer.segments]
    return any(s.kernel == kernel and np.count_nonzero(s.weights) > 20 for s in segments)


def _spikes(program: Program, seed: int, wild: bool) -> Masks:
    if not wild:
        return reference.encode(program, random_pixels(program, seed))
    rng = np.random.default_rng((1, seed))
    masks = rng.integers(0, 1 << program.timesteps, program.encoder.output, dtype=np.uint32)
    silent = rng.random(masks.shape) < float(rng.choice((0.0, 0.5, 0.9)))
    return np.where(silent, 0, masks).astype(mask_type(program.timesteps))


def _wild(program: Program, seed: int) -> Program:
    """Extreme weights, biases and thresholds where the network has some."""
    rng = np.random.default_rng((2, seed))
    layers = [layer if layer.host else _wild_layer(layer, rng) for layer in program.layers]
    object.__setattr__(program, "layers", tuple(layers))
    return program


def _wild_layer(layer: Layer, rng: np.random.Generator) -> Layer:
    high = (1 << (ACCUMULATOR_BITS - 1)) - 1
    bias = rng.integers(-high - 1, high + 1, layer.filters) >> int(rng.integers(0, 20))
    if rng.random() < 0.3:
        bias = rng.choice((-high - 1, high, 0), layer.filters)
    threshold = 1 + int(rng.integers(high)) >> int(rng.choice((0, 4, 8, 16)))
    changed = replace(
        layer,
        bias=bias.astype(np.int32),
        leak=int(rng.choice((0, LEAK_ONE, int(rng.integers(LEAK_ONE))))),
        hard=bool(rng.random() < 0.5),
        reset=int(rng.choice((0, -high - 1, high, int(rng.integers(-high, high))))),
        threshold=max(1, threshold),
    )
    segments = []
    for segment in layer.segments:
        weights = rng.integers(-(1 << 15), 1 << 15, segment.weights.shape)
        kind = rng.random(segment.weights.shape)
        weights[kind < 0.2] = (1 << 15) - 1
        weights[kind > 0.8] = -(1 << 15)
        alive = (segment.weights != 0) & (weights != 0)
        segments.append(replace(segment, weights=np.where(alive, weights, 0).astype(np.int16)))
    return replace(changed, segments=tuple(segments))


def loud_network(bench: Bench, quiet: int | None = None, inputs: int = 270) -> Network:
    """A layer whose psums leave 24 bits on both sides: many inputs that all fire, one neuron.

    quiet: a PE whose psums do not. inputs: at least 257.
    """
    rng = np.random.default_rng(bench.random.getrandbits(32))
    time, high = bench.arch.timesteps, (1 << 15) - 1
    filters = 2 * bench.arch.pes
    weights = np.empty((filters, inputs, 1, 1), dtype=np.int16)
    weights[::2], weights[1::2] = high, -high - 1
    if quiet is not None:
        weights[quiet :: bench.arch.pes] //= 2
    host = Layer(
        "host",
        (Segment(PIXELS, np.ones((inputs, 1, 1, 1), dtype=np.int16)),),
        np.zeros(inputs, dtype=np.int32),
        (1, 1),
        1,
        coding=Coding.DIRECT,
    )
    bias = rng.choice((-(1 << 23), (1 << 23) - 1, 0), filters).astype(np.int32)
    wide = Layer("wide", (Segment(0, weights),), bias, (1, 1), 1 << 22, LEAK_ONE)
    classes = bench.arch.slots * bench.arch.pes
    few = rng.integers(-high, high, (classes, filters, 1, 1)).astype(np.int16)
    sums = rng.integers(-(1 << 23), 1 << 23, classes).astype(np.int32)
    last = Layer("last", (Segment(1, few),), sums, (1, 1), 1, readout=Readout.PSUM)
    program = Program("loud", time, (1, 1, 1), (host, _quiet(wide), _quiet(last)))
    object.__setattr__(program, "layers", (host, wide, last))  # (goes round the range proof)
    mapping = choose(program, bench.arch, natural=True)
    packed = pack(program, mapping, bench.arch)
    spikes = np.full((inputs, 1, 1), (1 << time) - 1, mask_type(time))
    return Network(program, packed, together([spikes] * packed.batch))


def _quiet(layer: Layer) -> Layer:
    segments = tuple(replace(s, weights=np.zeros_like(s.weights)) for s in layer.segments)
    return replace(layer, segments=segments, bias=np.zeros_like(layer.bias))


# --- the model with pauses -------------------------------------------------------------------


@dataclass(frozen=True)
class Pauses:
    """Shares of the cycles in which the loader hands nothing on, the APU broadcasts nothing, no
    broadcast and no drain begins.
    """

    words: float = 0.0
    broadcasts: float = 0.0
    starts: float = 0.0
    drains: float = 0.0


def random_pauses(bench: Bench) -> Pauses:
    """None at all, or some."""
    if bench.chance(0.4):
        return Pauses()
    shares = (0.0, 0.0, 0.1, 0.5)
    return Pauses(*(bench.random.choice(shares) for _ in vars(Pauses())))


class _Loader(stepped.Loader):
    machine: Machine

    def takes(self) -> bool:
        return self.machine.goes["words"] and super().takes()


class _Apu(stepped.Apu):
    machine: Machine

    def fires(self) -> bool:
        return self.machine.goes["broadcasts"] and super().fires()


class _Sequencer(stepped.Sequencer):
    machine: Machine

    def starts(self) -> bool:
        return self.machine.goes["starts"] and super().starts()

    def barrier(self) -> bool:
        return self.machine.goes["drains"] and super().barrier()


class Machine(stepped.Machine):
    """The stepped model; `goes` says what does not pause in this cycle."""

    def __init__(self, bench: Bench, network: Network, pauses: Pauses) -> None:
        super().__init__(network.packed, network.spikes)
        self.bench = bench
        self.pauses = pauses
        self.goes: dict[str, bool] = {}
        self.loader = _Loader(self, self.loader.input.q)
        self.apu = _Apu(self)
        self.sequencer = _Sequencer(self)
        self._draw()

    def _draw(self) -> None:
        chance = self.bench.chance
        self.goes = {
            name: not share or not chance(share) for name, share in vars(self.pauses).items()
        }

    def step(self) -> None:
        super().step()
        self._draw()

    @property
    def over(self) -> bool:
        return self.sequencer.layer.q == len(self.packed.layers)


# --- ports -----------------------------------------------------------------------------------


class Packet:
    """The bits of a layout's fields; a field of a field is `outer.inner`."""

    def __init__(self, layout: data.Layout) -> None:
        self.width = layout.size
        self._places: dict[str, tuple[int, int]] = {}
        self._add(layout, "", 0)

    def _add(self, layout: data.Layout, prefix: str, offset: int) -> None:
        for key, field in layout:
            name = f"{prefix}{key}"
            mask = (1 << Shape.cast(field.shape).width) - 1
            self._places[name] = offset + field.offset, mask
            if isinstance(field.shape, data.Layout):
                self._add(field.shape, f"{name}.", offset + field.offset)

    def bits(self, rest: int, fields: dict[str, int]) -> int:
        """These fields; all others are those of `rest`."""
        for name, value in fields.items():
            offset, mask = self._places[name]
            assert 0 <= value <= mask, f"{name}={value} does not fit"
            rest = rest & ~(mask << offset) | value << offset
        return rest


class Core:
    """What the PEs of a stepped machine get and give in each cycle.

    Ask for the inputs and the outputs of a cycle, then `step` to the next. clears: the overflow
    flags are cleared in this cycle. It is that of the first cluster, whose pauses there are; others
    has those of the further ones, which step with it.
    """

    def __init__(
        self, bench: Bench, network: Network, pauses: Pauses, cluster: stepped.Cluster | None = None
    ) -> None:
        self.bench = bench
        self.network = network
        self.packed = network.packed
        self.arch: Arch = bench.arch
        layouts = Layouts(self.arch)
        self._packets = {
            "activation": Packet(layouts.activation),
            "carry": Packet(layouts.row_read),
            "drain": Packet(layouts.drain_read),
            "layer": Packet(PE_LAYER),
            "presence": Packet(layouts.presence_read),
            "word": Packet(layouts.load_word),
        }
        if cluster is None:
            self.machine = Machine(bench, network, pauses)
            self.others = [Core(bench, network, pauses, n) for n in self.machine.clusters[1:]]
        else:
            self.machine = cast("Machine", cluster)  # which has all that is asked of it here
            self.others = []
        pes = self.arch.pes
        plan = self.machine.plan
        starts = {work.load: work.start for work in plan.works}
        self._leads = {id(load): starts[n] % pes for n, load in enumerate(plan.loads)}
        # Markers that give up their half, and those that do so in the middle of a round, among
        # the first n.
        self._finished, self._worked = [0], [0]
        for work in plan.works:
            self._finished.append(self._finished[-1] + work.frees)
            self._worked.append(self._worked[-1] + (work.frees and not work.ends_round))
        self.weights = self._weights()
        self._fields = [self._layer(layer) for layer in self.packed.layers]
        self.presence = [0] * pes
        self._lead = [[0, 0] for _ in range(pes)]
        # Presence bits of each half by lanes of blocks, as reads see them: a write counts for those
        # from the third cycle behind its unit on.
        self._present = [[0, 0] for _ in range(pes)]
        self._seen = [[0, 0] for _ in range(pes)]  # in the cycle before
        self._read: tuple[int, int] | None = None
        self._block = 0
        self._item: tuple[stepped.Activation | None, list[int], int] = None, [], 0
        self.clears = False
        self.accumulator_overflow = [False] * pes
        self.membrane_overflow = [False] * pes
        self._saturated = [False] * pes
        self._entered = 0, 0

    def _weights(self) -> list[int]:
        """How many each PE has, and one more."""
        found = np.ones(self.arch.pes, dtype=np.int64)
        for layer, plan in zip(self.network.program.layers, self.packed.layers, strict=True):
            if layer.host:
                continue
            alive = sum(np.count_nonzero(s.weights, axis=(1, 2, 3)) for s in layer.segments)
            # (block -1 is that of a lane without a filter)
            found += np.append(alive, 0)[plan.blocks].sum(axis=0)
        return [int(n) for n in found]

    # Inputs.

    def shared(self, *, clear: bool = False) -> dict[str, Any]:
        """What all PEs get. clear: of the overflow flags."""
        machine, bench = self.machine, self.bench
        drain = machine.drain
        reads = bench.chance(0.4)
        at = bench.random.randrange(2), bench.random.randrange(self.arch.chunk_blocks)
        self._read = at if reads else None
        self.clears = clear
        item = drain.pipe.q[0]
        if item is not None:
            self._entered = item.timesteps, item.carries
        elif not self.arch.lif_shared:  # else they stay until the next neuron
            self._entered = bench.bits(TIMESTEP_BITS), bench.random.getrandbits(1)
        index = min(machine.sequencer.layer.q, len(self.packed.layers) - 1)
        return {
            "presence_read": self._packets["presence"].bits(
                0, {"enable": reads, "half": at[0], "block": at[1]}
            ),
            "layer": self._fields[index],
            "round": machine.sequencer.drained.q % 2,
            "drain": self._drain(),
            "bias_low": drain.captures.q == 0,
            "bias_high": drain.captures.q == 1,
            "valid": item is not None,
            "timesteps": self._entered[0],
            "carries": self._entered[1],
            "carry": self._carry(),
            "clear_overflow": clear,
        }

    def _bits(self, name: str, fields: dict[str, int]) -> int:
        """A packet with these fields; all others are random."""
        packet = self._packets[name]
        return packet.bits(self.bench.random.getrandbits(packet.width), fields)

    def _carry(self) -> int:
        found = self.machine.drain.carried(0)
        return self._bits(
            "carry", {"enable": 0} if found is None else {"enable": 1, "row": found[0]}
        )

    def _drain(self) -> int:
        drain = self.machine.drain
        row, at = drain.row(), drain.at.q
        fields = {"bias": int(at is not None and at.phase < 2), "read": int(row is not None)}
        fields["row"] = 0 if row is None else row
        if row is not None:
            fields["keep"] = drain.carries()
        if at is not None and at.phase < 2:
            half = self.machine.plan.rounds[at.round].half
            fields |= {"high": at.phase, "half": half, "slot": at.slot % drain.round(at).slots}
        return self._bits("drain", fields)

    def _layer(self, layer: Descriptor) -> int:
        fields: dict[str, int] = {}
        if not layer.host:
            height, width = layer.tile
            fields["log_tile_width"] = width.bit_length() - 1
            fields["log_tile"] = (height * width).bit_length() - 1
            fields["image_rows"] = layer.slots * height * width
            fields["readout"] = READOUTS.index(layer.readout)
        if layer.readout is not Readout.PSUM:
            fields["threshold"] = layer.threshold
            fields["leak"] = layer.leak
            fields["hard"] = layer.hard
            fields["reset"] = layer.reset & (1 << PSUM_BITS) - 1
        return self._bits("layer", fields)

    def words(self) -> tuple[dict[int, int], bool]:
        """The words of the stream at PEs, by the PEs' numbers, and whether they are taken."""
        machine, loader = self.machine, self.machine.loader
        if loader.input.q or loader.head.q < loader.heads or machine.port.fifo.empty:
            return {}, False
        load = machine.plan.loads[loader.load.q]
        found: dict[int, int] = {}
        context: dict[str, int] = {
            "context.kernel": load.layer.segments[load.segment].kernel // 2,
            "context.log_slots": load.layer.slots.bit_length() - 1,
            "context.lead": self._leads[id(load)],
            "context.biases": load.last,
            "context.width": {16: 0, 8: 1, 4: 2}[load.bits],
            "context.base": load.base,
            "context.half": load.half,
        }
        for lane, pe in enumerate(loader.targets.q):
            left, count = loader.left.q[pe], loader.counts.q[pe]
            if left:
                units = machine.port.fifo.head >> 64 * lane & (1 << 64) - 1
                fields = {"units": units, "first": left == count, "last": left == 1}
                found[pe] = self._packets["word"].bits(0, fields | context)
        return found, loader.takes()

    def broadcast(self) -> tuple[list[int], int, bool] | None:
        """What the APU's register B holds: its PEs, the activation, whether it is broadcast."""
        apu = self.machine.apu
        item = apu.ready.q
        if item is None:
            return None
        if item is not self._item[0]:
            receivers = apu._receivers(item)
            pes = [n for n, pe in enumerate(self.machine.pes) if pe in receivers]
            self._item = item, pes, self._activation(item)
        return self._item[1], self._item[2], apu.fires()

    def _activation(self, item: stepped.Activation) -> int:
        work = item.work
        fields: dict[str, int] = {"marker": item.marker}
        if item.marker:
            fields |= {"ends_round": work.ends_round, "frees": work.frees}
            return self._bits("activation", fields)
        segment = work.segment
        at = []
        for axis, position in enumerate((item.y, item.x)):
            at.append(position - segment.offset[axis] - work.tile[axis] * segment.stride)
        largest = self.arch.kernel_max
        sides = [
            sum(1 << n for n in range(largest) if self._reaches(at[axis] - n, work, axis))
            for axis in range(2)
        ]
        mask = (1 << segment.kernel) - 1
        # Kernel rows that the kernel does not have are of no use to anybody.
        noise = [self.bench.random.getrandbits(largest) & ~mask for _ in sides]
        fields |= {
            "half": work.half,
            "kernel": segment.kernel // 2,
            "log_stride": segment.stride - 1,
            "line": item.channel + work.start % self.arch.pes,
            "mask": item.mask,
            "rows": sides[0] & mask | noise[0],
            "columns": sides[1] & mask | noise[1],
            "y": at[0],
            "x": at[1],
        }
        return self._bits("activation", fields)

    @staticmethod
    def _reaches(distance: int, work: stepped.Work, axis: int) -> bool:
        quotient, rest = divmod(distance, work.segment.stride)
        return not rest and 0 <= quotient < work.tile[axis + 2]

    @property
    def reads_block(self) -> int:
        """Of the last read of the presence bits."""
        return self._block

    # Outputs.

    def finished(self, pe: int) -> int:
        return self._finished[self.machine.pes[pe].marked.q]

    def worked(self, marked: int) -> int:
        """Halves given up in the middle of a round with so many markers issued."""
        return self._worked[marked]

    def expected(self, number: int) -> dict[str, Any]:
        """What comes out of a PE, by names of ports of `Pe`; only what means something."""
        pe = self.machine.pes[number]
        found: dict[str, Any] = {
            "word__ready": pe.unpacker.ready(),
            "activation__ready": not pe.full,
            "presence": self.presence[number],
            "busy": pe.issues(),
            "unpacked": pe.unpacker.unpacked.q % 4,
            "rounds": pe.rounds.q % 4,
            "worked": self.worked(pe.marked.q) % 4,
            "finished": self.finished(number) % 4,
            "accumulator_overflow": self.accumulator_overflow[number],
            "membrane_overflow": self.membrane_overflow[number],
        }
        item = self.leaves
        if item is not None:
            layer = self.packed.layers[item.place.layer]
            found["mask"] = 0 if layer.readout is Readout.PSUM else item.masks[number]
            if layer.last:
                found["logit"] = self.logit(item, number)
        return found

    @property
    def leaves(self) -> stepped.Neurons | None:
        """Who leaves the LIF in this cycle."""
        return self.machine.drain.pipe.q[self.machine.drain.out]

    def logit(self, item: stepped.Neurons, pe: int) -> int:
        """Of a group, in its bits."""
        readout = self.packed.layers[item.place.layer].readout
        if readout is Readout.PSUM:
            total = sum(s + item.biases[pe] for s in item.sums[pe][: item.timesteps])
        elif readout is Readout.COUNT:
            total = item.masks[pe].bit_count()
        else:
            total = item.membranes[pe]
        return total & (1 << LOGIT_BITS) - 1

    # Time.

    def step(self) -> None:
        cores = [self, *self.others]
        saturates = [core._before() for core in cores]
        self.machine.step()
        for core, found in zip(cores, saturates, strict=True):
            core._after(found)

    def _before(self) -> list[bool]:
        """Whether a membrane of each PE has saturated; what a cycle does to what is kept here."""
        machine = self.machine
        saturates = self._membranes()
        if self.arch.lif_shared:  # which has a register in front of the flag
            saturates, self._saturated = self._saturated, saturates
        for number, pe in enumerate(machine.pes):
            if self._read is not None:
                half, block = self._read
                self._block = block
                lanes = self._present[number][half] >> block * self.arch.pes
                self.presence[number] = lanes & (1 << self.arch.pes) - 1
            self._present[number] = self._seen[number]
            self._seen[number] = [
                pe.unpacker.seen[half].q << self._lead[number][half] for half in (0, 1)
            ]
            for bank in pe.accumulators.banks:
                bank.overflow.q = False
            if self.clears:
                self.accumulator_overflow[number] = self.membrane_overflow[number] = False
        return saturates

    def _after(self, saturates: list[bool]) -> None:
        for number, pe in enumerate(self.machine.pes):
            load = pe.unpacker.state.q.load
            if load is not None:
                self._lead[number][load.half] = self._leads[id(load)]
            self.accumulator_overflow[number] |= pe.accumulators.overflow
            self.membrane_overflow[number] |= saturates[number]
        self._read, self.clears = None, False

    def _membranes(self) -> list[bool]:
        """Whether a membrane of each PE saturates in this cycle, or what it carries."""
        found = [False] * self.arch.pes
        for time, item in self._adding():
            layer = self.packed.layers[item.place.layer]
            for lane in range(self.arch.pes):
                total = 0
                if time < self.arch.timesteps:
                    total = item.sums[lane][time] + item.biases[lane]
                if time:
                    total += layer.leak * item.membranes[lane] // LEAK_ONE
                    total -= layer.reset * (item.masks[lane] >> time - 1 & 1)
                found[lane] |= not stepped.LOW <= total <= stepped.HIGH
        return found

    def _adding(self) -> Iterator[tuple[int, stepped.Neurons]]:
        """Neurons whose membrane changes in this cycle, and the timestep; a carry is one more."""
        for time, item in self.machine.drain.adding():
            if self.packed.layers[item.place.layer].readout is Readout.PSUM:
                continue
            if time < item.timesteps or (time == self.arch.timesteps and item.carries):
                yield time, item


# --- the component beside it -----------------------------------------------------------------


class NetworkRig:
    """A component beside the PEs of a machine. done: words and activations that it took."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.done = 0

    def begin(self, core: Core) -> None:
        """A network begins."""

    async def cycle(self, core: Core) -> None:
        raise NotImplementedError

    async def run(self, network: Network, pauses: Pauses, cycles: int = 1 << 30) -> Core:
        """A network, or the first cycles of it, from the reset on."""
        core = Core(self.bench, network, pauses)
        self.begin(core)
        while not core.machine.over and core.machine.cycle < cycles:
            await self.cycle(core)
            core.machine.cycle += 1
        return core

    async def random_networks(self, filters: int, words: int, wild: float) -> None:
        """Networks of every kind of layer, each from a reset on. wild: the share of such."""
        bench, kernels = self.bench, itertools.cycle(Layouts(self.bench.arch).sides)
        while self.done < bench.transactions:
            odd = bench.chance(wild)
            network = random_network(
                bench, kernel=next(kernels), side=5, filters=filters, words=words, wild=odd
            )
            await self.run(network, random_pauses(bench))
            await bench.reset()

    async def resets(self) -> None:
        """A reset in the middle leaves nothing but the psums, which a drain clears."""
        bench = self.bench
        for _ in range(min(40, 1 + bench.transactions // 250)):
            network = random_network(bench, side=4, filters=8, words=600)
            core = await self.run(network, Pauses(), bench.random.randrange(1, 500))
            middle = not core.machine.over and core.machine.sequencer.layer.q
            bench.cover("reset in the middle of a layer", middle)
            await bench.reset()
            for row in range(bench.arch.accumulators):
                await bench.idle(drain={"read": 1, "row": row})
            await bench.idle()
            await bench.reset()
