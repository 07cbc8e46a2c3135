"""Bench of SharedLif: membranes, spikes and logits, each in its cycle, against a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from evenspike_core.arch import Arch
from evenspike_hw.rtl.pe.shared_lif import SharedLif
from tests.helpers.driver import Bench, test
from tests.helpers.lif import (
    COUNT,
    HIGH,
    LOW,
    MEMBRANE,
    NEURONS,
    NEVER,
    PSUM,
    READOUTS,
    Layer,
    any_psum,
    any_value,
)

component = SharedLif
ARCH = Arch(pes=4, lif_shared=1)
VARIANTS = {
    "one-timestep": Arch(pes=4, timesteps=1, lif_shared=1),
    "eight-timesteps": Arch(pes=4, timesteps=8, lif_shared=1),
}
CORNERS = READOUTS


@dataclass
class Neuron:
    """age: cycles since it entered. drives: of the timesteps that have entered so far."""

    sums: list[int]
    timesteps: int
    carries: bool
    age: int = 0
    drives: list[int] = field(default_factory=list)
    value: int = 0
    mask: int = 0
    spiked: bool = False
    carry: int | None = None


@dataclass
class Model:
    """The neurons in flight, the youngest last, and what they have left behind.

    Timestep t enters in cycle t of a neuron, and is added in cycle t + 2; a carry is one more.
    """

    bench: Bench
    layer: Layer = field(default_factory=Layer)

    def __post_init__(self) -> None:
        self.times = self.bench.arch.timesteps
        self.clear()

    def clear(self) -> None:
        """What a reset does."""
        self.neurons: list[Neuron] = []
        self.low = self.bias = 0
        self.saturated = False
        self.overflow = 0
        self.group = 1, 0  # timesteps and carries of the neuron that has entered last

    @property
    def enters(self) -> bool:
        """A neuron may enter in this cycle."""
        if not self.neurons:
            return True
        last = self.neurons[-1]
        return last.age >= self.times + last.carries

    @property
    def keeps_bias(self) -> bool:
        """The neuron that has entered last still needs the bias behind this cycle."""
        return bool(self.neurons) and self.neurons[-1].age < self.times - 1

    async def cycle(self, **given: Any) -> None:
        """valid, sums, timesteps, carries, bias_low, bias_high, bias_unit, clear_overflow; what has
        to stay does, and the rest is random.
        """
        bench = self.bench
        staying = self.neurons[-1] if self.neurons else None
        drive: dict[str, Any] = {
            "valid": 0,
            "sums": [any_value(bench) for _ in range(self.times)],
            "timesteps": self.group[0],
            "carries": self.group[1],
            "bias_low": 0,
            "bias_high": 0,
            "bias_unit": bench.bits(16),
            "clear_overflow": 0,
        }
        drive |= given
        if drive["valid"]:
            self._enter(drive)
        elif staying is not None and staying.age < self.times:
            drive["sums"] = staying.sums
        out = await bench.cycle(**drive, **self.layer.drive())
        bench.check(out, {"overflow": self.overflow} | self._leaving())
        self._step(drive)

    def _enter(self, drive: dict[str, Any]) -> None:
        cover = self.bench.cover
        assert self.enters
        last = self.neurons[-1] if self.neurons else None
        cover("right behind a neuron", last and last.age == self.times + last.carries)
        cover("behind a gap", last and last.age > self.times + last.carries)
        cover("negative bias", self.bias < 0)
        neuron = Neuron(drive["sums"], drive["timesteps"], bool(drive["carries"]))
        groups = {one.timesteps for one in (*self.neurons, neuron)}
        cover("neurons of two groups in flight", self.times == 1 or len(groups) > 1)
        self.neurons.append(neuron)
        self.group = neuron.timesteps, int(neuron.carries)

    def _leaving(self) -> dict[str, int]:
        """What comes out in this cycle."""
        cover, found = self.bench.cover, {}
        for neuron in self.neurons:
            if neuron.age == self.times + 2:
                found["mask"] = neuron.mask
                counts = self.layer.readout == COUNT
                found["logit"] = neuron.mask.bit_count() if counts else neuron.value
                cover("fires at every timestep", neuron.mask == (1 << self.times) - 1)
            if neuron.age == self.times + 3 and neuron.carry is not None:
                found["carry"] = neuron.carry
        return found

    def _step(self, drive: dict[str, Any]) -> None:
        cover = self.bench.cover
        over, clear = self.saturated, drive["clear_overflow"]
        cover("saturates in the cycle of the clear", over and clear)
        cover("clears the overflow", clear and self.overflow and not over)
        self.overflow = int(over or (self.overflow and not clear))
        self.saturated = False
        for neuron in self.neurons:
            if neuron.age < self.times:
                neuron.drives.append(neuron.sums[neuron.age] + self.bias)
            time = neuron.age - 2
            if 0 <= time < self.times:
                self.saturated |= self._add(time, neuron)
            elif time == self.times:
                self.saturated |= self._carries(neuron)
            neuron.age += 1
        cover("two neurons in flight", len(self.neurons) > 1)
        self.neurons = [neuron for neuron in self.neurons if neuron.age < self.times + 4]
        if drive["bias_high"]:
            assert not self.keeps_bias or self.neurons[-1].age >= self.times
            cover("bias changes behind a neuron", any(n.age < self.times + 3 for n in self.neurons))
            whole = self.low | (drive["bias_unit"] & 0xFFF) << 12
            self.bias = whole - (whole >> 23 << 24)
        if drive["bias_low"]:
            self.low = drive["bias_unit"] & 0xFFF

    def _left(self, neuron: Neuron, drive: int) -> int:
        """What a timestep behind the first makes of the membrane before it saturates."""
        layer = self.layer
        product = layer.leak * neuron.value
        self.bench.cover("a leak is rounded down below 0", product < 0 and product % 4096)
        self.bench.cover("a leak is rounded down above 0", product > 0 and product % 4096)
        return product // 4096 - (layer.reset if neuron.spiked else 0) + drive

    def _add(self, time: int, neuron: Neuron) -> bool:
        """Timestep `time`; whether the membrane saturates."""
        cover, layer = self.bench.cover, self.layer
        drive, one = neuron.drives[time], self.times == 1  # one: there are no timesteps after
        runs = time < neuron.timesteps
        cover("fewer timesteps than the accelerator's", one or not runs)
        if layer.readout == PSUM:
            neuron.value += drive if runs else 0
            cover(READOUTS[PSUM])
            cover("a sum beyond 24 bits", one or not LOW <= neuron.value <= HIGH)
            return False
        beyond = not LOW <= neuron.value + drive <= HIGH
        cover("beyond the limit after the timesteps", one or (beyond and not runs))
        cover("a spike before timesteps that do not run", one or (neuron.spiked and not runs))
        if not runs:
            return False
        total = self._left(neuron, drive) if time else drive
        u = max(LOW, min(HIGH, total))
        neuron.spiked = u >= layer.threshold
        neuron.mask |= neuron.spiked << time
        neuron.value = 0 if neuron.spiked and layer.hard else u
        self._corners(neuron, u, total)
        return u != total

    def _corners(self, neuron: Neuron, u: int, total: int) -> None:
        cover, layer = self.bench.cover, self.layer
        cover(READOUTS[layer.readout])
        cover("saturates high", total > HIGH)
        cover("saturates low", total < LOW)
        cover("threshold 0", layer.threshold == 0)
        cover("threshold above every membrane", layer.threshold > HIGH)
        cover("membrane equals the threshold", u == layer.threshold)
        cover("membrane is one below the threshold", u == layer.threshold - 1)
        cover("hard reset", neuron.spiked and layer.hard)
        cover("reset by a negative amount", neuron.spiked and layer.reset < 0)
        cover("hard reset and an amount", neuron.spiked and layer.hard and layer.reset)
        cover("nothing leaks", layer.leak == 4096)
        cover("all leaks", layer.leak == 0)

    def _carries(self, neuron: Neuron) -> bool:
        """What the neuron leaves; whether it saturates and is wanted."""
        cover = self.bench.cover
        if self.layer.readout == PSUM or not neuron.carries:
            return False
        total = self._left(neuron, 0)
        neuron.carry = max(LOW, min(HIGH, total))
        cover("a carry", neuron.carry)
        cover("a carry behind a spike", neuron.spiked and neuron.carry)
        cover("a carry saturates high", total > HIGH)
        assert total >= LOW  # who fires is at 0 at least
        return neuron.carry != total

    async def settle(self) -> None:
        """Nothing is in flight any more: the layer may change."""
        while self.neurons or self.saturated:
            await self.cycle()
        await self.cycle()

    async def set_bias(self, bias: int) -> None:
        while self.keeps_bias:
            await self.cycle()
        # Of a unit only the low 12 bits count.
        low, high = (
            self.bench.random.getrandbits(4) << 12 | part & 0xFFF for part in (bias, bias >> 12)
        )
        await self.cycle(bias_low=1, bias_unit=low)
        await self.cycle(bias_high=1, bias_unit=high)
        assert self.bias == bias

    async def enter(self, *sums: int, **given: Any) -> None:
        """A neuron of all timesteps with these psums; 0 for the timesteps after."""
        while not self.enters:
            await self.cycle()
        padded = [*sums, *[0] * self.times][: self.times]
        drive = {"valid": 1, "timesteps": self.times, "carries": 0, "sums": padded}
        await self.cycle(**drive | given)


@test
async def latency(bench: Bench) -> None:
    """Out timesteps + 2 cycles after it entered, its carry a cycle later; a neuron every timesteps
    cycles, or one more; the bias counts from the cycle after its high half on.
    """
    times = bench.arch.timesteps
    layer = {"threshold": 100, "leak": 4096, "hard": 1, "reset": 0, "readout": 0}
    await bench.cycle(bias_low=1, bias_unit=0x0007, timesteps=times, **layer)
    await bench.cycle(bias_low=0, bias_high=1, bias_unit=0xA000)
    every = (1 << times) - 1
    alternate = sum(2 << t for t in range(0, times - 1, 2))  # 99 stays below, twice 99 does not
    expected = ((93, every, 0), (92, alternate, 99 * (times % 2)), (-100, 0, -93 * times))
    for carries in (0, 1):
        outputs = []
        for psum, _, _ in expected:
            given = {"sums": [psum] * times, "carries": carries, "bias_high": 0}
            outputs.append(await bench.cycle(valid=1, **given))
            outputs += [await bench.cycle(valid=0) for _ in range(times + carries - 1)]
        outputs += [await bench.cycle() for _ in range(4)]
        for number, (_, mask, left) in enumerate(expected):
            at = number * (times + carries) + times + 2
            bench.check(outputs[at], {"mask": mask, "logit": left})
            bench.check(outputs[at + 1], {"carry": left} if carries else {})
    # In the first timestep it saturates: seen four cycles after it entered.
    await bench.cycle(bias_low=1, bias_unit=1, bias_high=0)
    await bench.cycle(bias_low=0, bias_high=1, bias_unit=0)
    outputs = [await bench.cycle(valid=1, sums=[HIGH] * times, bias_high=0)]
    outputs += [await bench.cycle(valid=0) for _ in range(4)]
    assert [out["overflow"] for out in outputs] == [0, 0, 0, 0, 1]


@test
async def neighbours_of_the_threshold(bench: Bench) -> None:
    """One below, at, and one above each power of two that is a threshold, at every timestep."""
    model = Model(bench)
    for bit in range(24):
        for hard in (0, 1):
            await model.settle()
            threshold = 1 << bit
            leak = bench.random.choice((0, 4096, bench.bits(12)))
            reset = bench.random.choice((0, threshold >> 1, -threshold >> 1))
            model.layer = Layer(threshold, leak, hard, reset)
            bias = any_value(bench) >> bench.random.choice((0, 8, 16))
            await model.set_bias(bias)
            for time in range(model.times):
                for off in (-1, 0, 1):
                    sums = [-bias] * time + [threshold + off - bias]
                    if all(LOW <= value <= HIGH for value in sums):
                        await model.enter(*sums)
    await model.settle()


@test
async def leaks(bench: Bench) -> None:
    """Every bit of a leak and of a membrane; a product is rounded down, also below 0."""
    model = Model(bench)
    every = [*(1 << n for n in range(13)), *(4096 - (1 << n) for n in range(12)), 3686, 0]
    for leak in every:
        await model.settle()
        model.layer = Layer(NEVER, leak, bench.random.getrandbits(1), any_value(bench))
        await model.set_bias(0)
        for bit in range(24):
            for value in ((1 << bit) - 1, -(1 << bit), -(1 << bit) - 1, 9, -9):
                if LOW <= value <= HIGH:
                    await model.enter(value, carries=1)
    await model.settle()


@test
async def limits(bench: Bench) -> None:
    """Each timestep alone goes to its limit and one beyond it, up and down; so does a carry."""
    model = Model(bench)
    for leak in (0, 1024, 4096):
        await model.settle()
        model.layer = Layer(NEVER, leak, 0, 0)
        for bias, sign in ((1, 1), (-1, -1), (HIGH, 1), (LOW, -1)):
            await model.settle()
            await model.set_bias(bias)
            for time in range(model.times):
                for off in (-1, 0, 1):
                    edge = HIGH if sign > 0 else LOW
                    psum = edge - bias + sign * off
                    if LOW <= psum <= HIGH and LOW <= -bias <= HIGH:
                        await model.enter(*[-bias] * time, psum)
                        await model.settle()
                        await model.cycle(clear_overflow=1)
    for value, amount in ((0, HIGH), (HIGH, 0), (HIGH, LOW + 1), (0, LOW + 1), (1, LOW + 2)):
        for reset in (amount - 1, amount, min(HIGH, amount + 1)):
            for wanted in (0, 1):
                await model.settle()
                model.layer = Layer(min(1, value), 4096, 0, reset)  # 1: it fires at the last only
                await model.set_bias(0)
                await model.enter(*[0] * (model.times - 1), value, carries=wanted)
                await model.settle()
                await model.cycle(clear_overflow=1)
    await model.settle()


@test
async def read_outs(bench: Bench) -> None:
    """Of every kind, of psums that take it beyond its membranes, and of few timesteps."""
    model = Model(bench)
    for readout in (NEURONS, PSUM, COUNT, MEMBRANE):
        for threshold in (0, 1, NEVER):
            for hard in (0, 1):
                await model.settle()
                model.layer = Layer(threshold, bench.bits(12), hard, any_value(bench), readout)
                await model.set_bias(any_value(bench) >> 4)
                for extreme in (LOW, HIGH, 0):
                    for timesteps in range(1, model.times + 1):
                        sums = [extreme] * model.times
                        await model.enter(*sums, timesteps=timesteps)
                        await model.enter(*(any_value(bench) for _ in sums), timesteps=timesteps)
    await model.settle()


@test
async def random_neurons(bench: Bench) -> None:
    """Layers of a few neurons each; psums of all sizes, or such that membranes meet thresholds;
    groups of other timesteps behind each other.
    """
    model = Model(bench)
    random = bench.random
    done = 0
    while done < bench.transactions // 4:
        await model.settle()
        threshold = random.choice(
            (0, 1, 1 << 23, NEVER, bench.bits(24), bench.bits(24) >> random.randrange(24))
        )
        model.layer = Layer(
            threshold,
            random.choice((0, 4096, 1024, 3686, bench.bits(12))),
            random.getrandbits(1),
            random.choice((0, any_value(bench), min(threshold, HIGH), any_value(bench) >> 10)),
            random.choice((NEURONS, NEURONS, PSUM, COUNT, MEMBRANE)),
        )
        rate = random.choice((0.3, 0.8, 1.0))
        scale = random.choice((0, 0, 4, 12, 20))
        mixed = random.choice((0.0, 0.1, 1.0))
        lows = random.choice((0.0, 0.1))
        timesteps, carries = model.times, 0
        for _ in range(random.randrange(1, 60) * model.times):
            if bench.chance(mixed):
                # Whoever carries has all timesteps.
                carries = random.getrandbits(1)
                timesteps = model.times if carries else random.randrange(1, model.times + 1)
            given: dict[str, Any] = {"bias_low": bench.chance(lows)}
            if model.enters and bench.chance(rate):
                sums = [any_psum(bench, threshold, scale) for _ in range(model.times)]
                given |= {"valid": 1, "sums": sums, "timesteps": timesteps, "carries": carries}
                done += 1
            elif not model.keeps_bias:
                given["bias_high"] = bench.chance(lows)
            await model.cycle(**given, clear_overflow=bench.chance(0.3))
    await model.settle()


@test
async def reset(bench: Bench) -> None:
    """A reset takes back the overflow, the bias and the neurons in flight."""
    model = Model(bench)
    times = model.times
    for wait in range(times + 5):
        model.layer = Layer(5, 4096, 0, 5)
        await model.set_bias(HIGH)
        await model.enter(*[HIGH] * times, carries=1)
        await model.settle()
        assert model.overflow
        await model.enter(*[HIGH] * times, carries=1)
        for _ in range(wait):
            await model.cycle()
        await bench.cycle(valid=0, bias_low=0, bias_high=0)
        await bench.reset()
        bench.cover("reset with neurons in flight", wait < times)
        model.clear()
        for _ in range(times + 5):  # nothing of it saturates any more
            await model.cycle()
        await model.enter(*[1] * times)
        await model.settle()
        await model.cycle(bias_high=1, bias_unit=0)  # over the low half of the reset
        await model.enter(*[2] * times)
        await model.settle()
