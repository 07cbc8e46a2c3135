"""Bench of Lif: membranes, spikes and logits in every cycle against a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from evenspike_core.arch import Arch
from evenspike_hw.rtl.pe.lif import Lif
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

component = Lif
ARCH = Arch(pes=4)
VARIANTS = {
    "one-timestep": Arch(pes=4, timesteps=1),
    "eight-timesteps": Arch(pes=4, timesteps=8),
}
CORNERS = READOUTS


@dataclass
class Neuron:
    """carries: its carry is wanted. spiked: at the timestep before."""

    drives: list[int]
    timesteps: int
    carries: bool
    value: int = 0
    mask: int = 0
    spiked: bool = False


@dataclass
class Model:
    """One register at the entry, two behind each timestep: one that a multiplier follows, and one
    behind that. `stages[2 * t]` is about to add at timestep t; the last is about to be carried.
    """

    bench: Bench
    layer: Layer = field(default_factory=Layer)

    def __post_init__(self) -> None:
        self.times = self.bench.arch.timesteps
        self.clear()

    def clear(self) -> None:
        """What a reset does."""
        self.stages: list[Neuron | None] = [None] * (2 * self.times + 1)
        self.low = self.bias = 0
        self.mask = self.value = self.overflow = 0
        self.carry: int | None = 0

    async def cycle(self, **given: Any) -> None:
        """valid, sums, timesteps, carries, bias_low, bias_high, bias_unit, clear_overflow; the rest
        is random.
        """
        bench = self.bench
        drive: dict[str, Any] = {
            "valid": 0,
            "sums": [any_value(bench) for _ in range(self.times)],
            "timesteps": bench.bits(4),
            "carries": bench.random.getrandbits(1),
            "bias_low": 0,
            "bias_high": 0,
            "bias_unit": bench.bits(16),
            "clear_overflow": 0,
        }
        drive |= given
        out = await bench.cycle(**drive, **self.layer.drive())
        counts = self.layer.readout == COUNT
        logit = self.mask.bit_count() if counts else self.value
        expected = {"mask": self.mask, "logit": logit, "overflow": self.overflow}
        if self.carry is not None:
            expected["carry"] = self.carry
        bench.check(out, expected)
        self._step(drive)

    def _step(self, drive: dict[str, Any]) -> None:
        cover = self.bench.cover
        stages = self.stages
        saturations = [
            neuron is not None and self._add(time, neuron)
            for time, neuron in enumerate(stages[:-1:2])
        ]
        saturations.append(self._carries(stages[-1]))
        over, clear = any(saturations), drive["clear_overflow"]
        left = stages[-3]
        if left is not None:
            self.mask, self.value = left.mask, left.value
        groups = {neuron.timesteps for neuron in stages if neuron is not None}
        cover("neurons in every stage", all(stages))
        cover("gap between neurons", stages[0] and not stages[1])
        cover("neurons of two groups in flight", self.times == 1 or len(groups) > 1)
        cover("fires at every timestep", left and left.mask == (1 << self.times) - 1)
        cover("saturates at a single timestep", sum(saturations) == 1)
        cover("saturates in the cycle of the clear", over and clear)
        cover("clears the overflow", clear and self.overflow and not over)
        self.overflow = int(over or (self.overflow and not clear))
        self.stages = [self._entering(drive), *stages[:-1]]
        if drive["bias_high"]:
            self.bench.cover("bias changes behind a neuron", any(self.stages))
            whole = self.low | (drive["bias_unit"] & 0xFFF) << 12
            self.bias = whole - (whole >> 23 << 24)
        if drive["bias_low"]:
            self.low = drive["bias_unit"] & 0xFFF

    def _entering(self, drive: dict[str, Any]) -> Neuron | None:
        cover = self.bench.cover
        if not drive["valid"]:
            return None
        cover("negative bias", self.bias < 0)
        cover("enters in the cycle that completes a bias", drive["bias_high"])
        drives = [value + self.bias for value in drive["sums"]]
        return Neuron(drives, drive["timesteps"], bool(drive["carries"]))

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
        if layer.readout == PSUM:
            neuron.value += drive if time < neuron.timesteps else 0
            cover(READOUTS[PSUM])
            cover("a sum beyond 24 bits", one or not LOW <= neuron.value <= HIGH)
            return False
        cover("fewer timesteps than the accelerator's", one or not runs)
        beyond = not LOW <= neuron.value + drive <= HIGH
        cover("beyond the limit after the timesteps", one or (beyond and not runs))
        cover("all timesteps run", runs and time == self.times - 1)
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

    def _carries(self, neuron: Neuron | None) -> bool:
        """What leaves with the last register; whether it saturates and is wanted."""
        if neuron is None:
            return False
        cover = self.bench.cover
        if self.layer.readout == PSUM or not neuron.carries:
            self.carry = None
            return False
        total = self._left(neuron, 0)
        self.carry = max(LOW, min(HIGH, total))
        cover("a carry", self.carry)
        cover("a carry behind a spike", neuron.spiked and self.carry)
        cover("a carry saturates high", total > HIGH)
        assert total >= LOW  # who fires is at 0 at least
        return self.carry != total

    async def settle(self) -> None:
        """Nothing is in flight any more: the layer may change."""
        while any(self.stages):
            await self.cycle()
        await self.cycle()

    async def set_bias(self, bias: int) -> None:
        # Of a unit only the low 12 bits count.
        low, high = (
            self.bench.random.getrandbits(4) << 12 | part & 0xFFF for part in (bias, bias >> 12)
        )
        await self.cycle(bias_low=1, bias_unit=low)
        await self.cycle(bias_high=1, bias_unit=high)
        assert self.bias == bias

    async def enter(self, *sums: int, **given: Any) -> None:
        """A neuron of all timesteps with these psums; 0 for the timesteps after."""
        padded = [*sums, *[0] * self.times][: self.times]
        await self.cycle(**{"valid": 1, "timesteps": self.times, "sums": padded} | given)


@test
async def latency(bench: Bench) -> None:
    """Out 2 * timesteps cycles after it entered, its carry two cycles later; a neuron a cycle; the
    bias counts from the cycle after its high half on.
    """
    times = bench.arch.timesteps
    layer = {"threshold": 100, "leak": 4096, "hard": 1, "reset": 0, "readout": 0, "carries": 1}
    await bench.cycle(bias_low=1, bias_unit=0x0007, timesteps=times, **layer)
    await bench.cycle(bias_low=0, bias_high=1, bias_unit=0xA000)
    psums = [93, 92, 193, -100]
    outputs = []
    for psum in (*psums, *[None] * (2 * times + 2)):
        sums = [psum or 0] * times
        outputs.append(await bench.cycle(valid=psum is not None, sums=sums, bias_high=0))
    every = (1 << times) - 1
    alternate = sum(2 << t for t in range(0, times - 1, 2))  # 99 stays below, twice 99 does not
    masks = [out["mask"] for out in outputs]
    assert masks[2 * times : 2 * times + 4] == [every, alternate, every, 0]
    assert all(mask == 0 for mask in masks[: 2 * times])
    assert all(out["logit"] == 0 for out in outputs[: 2 * times + 1])
    left = [0, 99 * (times % 2), 0, -93 * times]
    assert [out["carry"] for out in outputs[2 * times + 2 :]] == [n % (1 << 24) for n in left]
    assert all(out["carry"] == 0 for out in outputs[: 2 * times + 2])


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
                    psum = threshold + off - bias
                    sums = [-bias] * time + [psum]
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
                        for _ in range(2 * model.times + 1):
                            await model.cycle()
                        await model.cycle(clear_overflow=1)
    for value, amount in ((0, HIGH), (HIGH, 0), (HIGH, LOW + 1), (0, LOW + 1), (1, LOW + 2)):
        for reset in (amount - 1, amount, min(HIGH, amount + 1)):
            for wanted in (0, 1):
                await model.settle()
                model.layer = Layer(min(1, value), 4096, 0, reset)  # 1: it fires at the last only
                await model.set_bias(0)
                await model.enter(*[0] * (model.times - 1), value, carries=wanted)
                for _ in range(2 * model.times + 3):
                    await model.cycle()
                await model.cycle(clear_overflow=1)
    await model.settle()


@test
async def read_outs(bench: Bench) -> None:
    """Of every kind, of psums that take it beyond its membranes, and of few timesteps."""
    model = Model(bench)
    for readout in (NEURONS, PSUM, COUNT, MEMBRANE):
        for threshold in (0, 1, NEVER):
            await model.settle()
            model.layer = Layer(threshold, bench.bits(12), 0, 0, readout)
            await model.set_bias(any_value(bench) >> 4)
            for extreme in (LOW, HIGH, 0):
                for timesteps in range(1, model.times + 1):
                    sums = [extreme] * model.times
                    await model.enter(*sums, timesteps=timesteps, carries=0)
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
    while done < bench.transactions:
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
        for _ in range(random.randrange(1, 60)):
            if bench.chance(mixed):
                # Whoever carries has all timesteps.
                carries = random.getrandbits(1)
                timesteps = model.times if carries else random.randrange(1, model.times + 1)
            sums = [any_psum(bench, threshold, scale) for _ in range(model.times)]
            valid = bench.chance(rate)
            await model.cycle(
                valid=valid,
                sums=sums,
                timesteps=timesteps,
                carries=carries,
                bias_low=bench.chance(lows),
                bias_high=bench.chance(lows),
                clear_overflow=bench.chance(0.3),
            )
            done += valid


@test
async def reset(bench: Bench) -> None:
    """A reset takes back the outputs, the bias and the neurons in flight."""
    model = Model(bench)
    times = model.times
    for wait in range(2 * times + 3):
        model.layer = Layer(5, 4096, 0, 5)
        for value in (-1, 0, 0x555555, HIGH):
            await model.set_bias(value)
        await model.enter(*[HIGH] * times, carries=1)
        for _ in range(2 * times + 2):
            await model.cycle()
        assert model.overflow
        assert model.mask
        assert model.carry
        await model.enter(*[HIGH] * times, carries=1)
        for _ in range(wait):
            await model.cycle()
        await bench.cycle(valid=0, bias_low=0, bias_high=0)
        await bench.reset()
        bench.cover("reset with neurons in flight")
        model.clear()
        await model.enter(*[1] * times)
        await model.cycle(bias_high=1, bias_unit=0)  # over the low half of the reset
        await model.enter(*[2] * times)
        await model.settle()
