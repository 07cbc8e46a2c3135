"""Bench of Lif: membranes, spikes and logits in every cycle against a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from evenspike_core.arch import Arch
from evenspike_hw.rtl.pe.lif import Lif
from tests.helpers.driver import Bench, test

component = Lif
ARCH = Arch(pes=4)
VARIANTS = {
    "one-timestep": Arch(pes=4, timesteps=1),
    "eight-timesteps": Arch(pes=4, timesteps=8),
}
LOW, HIGH = -(1 << 23), (1 << 23) - 1
CORNERS = LEAKS = ("leak 1/4", "leak 1/2", "leak 3/4", "no leak")


@dataclass
class Neuron:
    drives: list[int]
    value: int = 0
    mask: int = 0
    fired: int = 0


@dataclass
class Layer:
    threshold: int = 0
    leak: int = 0
    soft: int = 0
    timesteps: int = 0
    last: int = 0

    def drive(self) -> dict[str, int]:
        return dict(vars(self))


@dataclass
class Model:
    """One register at the entry, one behind each stage; `stages[t]` is about to run timestep t."""

    bench: Bench
    layer: Layer = field(default_factory=Layer)

    def __post_init__(self) -> None:
        self.times = self.bench.arch.timesteps
        self.clear()

    def clear(self) -> None:
        """What a reset does."""
        self.stages: list[Neuron | None] = [None] * self.times
        self.low = self.bias = 0
        self.mask = self.logit = self.overflow = 0

    async def cycle(self, **given: Any) -> None:
        """valid, host, sums, current, bias_low, bias_high, bias_unit, clear_overflow; the rest is
        random.
        """
        bench = self.bench
        drive: dict[str, Any] = {
            "valid": 0,
            "host": bench.random.getrandbits(1),
            "sums": [_signed(bench) for _ in range(self.times)],
            "current": _signed(bench),
            "bias_low": 0,
            "bias_high": 0,
            "bias_unit": bench.bits(16),
            "clear_overflow": 0,
        }
        drive |= given
        out = await bench.cycle(**drive, **self.layer.drive())
        expected = {"mask": self.mask, "logit": self.logit, "overflow": self.overflow}
        bench.check(out, expected)
        self._step(drive)

    def _step(self, drive: dict[str, Any]) -> None:
        cover = self.bench.cover
        stages = self.stages
        saturations = [
            neuron is not None and self._stage(time, neuron) for time, neuron in enumerate(stages)
        ]
        over, clear = any(saturations), drive["clear_overflow"]
        left = stages[-1]
        if left is not None:
            self.mask, self.logit = left.mask, left.value
        cover("neurons in every stage", all(stages))
        cover("gap between neurons", self.times == 1 or (stages[0] and not stages[1]))
        cover("fires at every timestep", left is not None and left.fired == self.times)
        cover("saturates at a single timestep", sum(saturations) == 1)
        cover("saturates in the cycle of the clear", over and clear)
        cover("clears the overflow", clear and self.overflow and not over)
        self.overflow = int(over or (self.overflow and not clear))
        self.stages = [self._entering(drive), *stages[:-1]]
        if drive["bias_high"]:
            self.bench.cover("bias changes behind a neuron", any(self.stages))
            whole = self.low | (drive["bias_unit"] & 0xFF) << 16
            self.bias = whole - (whole >> 23 << 24)
        if drive["bias_low"]:
            self.low = drive["bias_unit"]

    def _entering(self, drive: dict[str, Any]) -> Neuron | None:
        cover = self.bench.cover
        if not drive["valid"]:
            return None
        host = drive["host"]
        cover("host", host)
        cover("host ignores the bias", host and self.bias)
        cover("negative bias", not host and self.bias < 0)
        cover("enters in the cycle that completes a bias", drive["bias_high"])
        if host:
            return Neuron([drive["current"]] * self.times)
        return Neuron([value + self.bias for value in drive["sums"]])

    def _stage(self, time: int, neuron: Neuron) -> bool:
        """Whether the membrane saturates."""
        cover = self.bench.cover
        layer, old = self.layer, neuron.value
        drive, one = neuron.drives[time], self.times == 1  # one: there are no stages after
        beyond = not LOW <= old + drive <= HIGH
        runs = time < layer.timesteps
        cover("fewer timesteps than stages", not runs)
        cover("beyond the limit after the timesteps", not runs and (beyond or one))
        cover("all stages run", runs and time == self.times - 1)
        cover("beyond the limit in the last layer", runs and layer.last and (beyond or one))
        if not runs:
            return False
        if layer.last:
            neuron.value += drive
            return False
        # What 1/4, 1/2, 3/4 and all of it leave; // rounds down, as an arithmetic shift does.
        total = (old // 4, old // 2, old - old // 4, old)[layer.leak] + drive
        u = max(LOW, min(HIGH, total))
        fires = u >= layer.threshold
        if fires:
            neuron.value = u - layer.threshold if layer.soft else 0
            neuron.mask |= 1 << time
            neuron.fired += 1
        else:
            neuron.value = u
        cover(LEAKS[layer.leak])
        cover("negative membrane leaks", old < 0 or one)
        cover("saturates high", total > HIGH)
        cover("saturates low", total < LOW)
        cover("threshold 0", layer.threshold == 0)
        cover("threshold above every membrane", layer.threshold > HIGH)
        cover("membrane equals the threshold", u == layer.threshold)
        cover("membrane is one below the threshold", u == layer.threshold - 1)
        cover("soft reset", fires and layer.soft)
        cover("hard reset", fires and not layer.soft)
        return u != total

    async def settle(self) -> None:
        """Nothing is in flight any more: the layer may change."""
        while any(self.stages):
            await self.cycle()
        await self.cycle()

    async def set_bias(self, bias: int) -> None:
        await self.cycle(bias_low=1, bias_unit=bias & 0xFFFF)
        # Of the high unit only the low byte counts.
        high = self.bench.random.getrandbits(8) << 8 | bias >> 16 & 0xFF
        await self.cycle(bias_high=1, bias_unit=high)
        assert self.bias == bias

    async def enter(self, *sums: int, **given: Any) -> None:
        """A neuron with these psums; 0 for the timesteps after."""
        padded = [*sums, *[0] * self.times][: self.times]
        await self.cycle(valid=1, host=0, sums=padded, **given)


def _signed(bench: Bench) -> int:
    value = bench.bits(24)
    return value - (value >> 23 << 24)


@test
async def latency(bench: Bench) -> None:
    """Out timesteps + 1 cycles after it entered; a neuron a cycle; the bias counts from the cycle
    after its high half on.
    """
    times = bench.arch.timesteps
    layer = {"threshold": 100, "leak": 3, "soft": 0, "timesteps": times, "last": 0}
    await bench.cycle(bias_low=1, bias_unit=0x0007, **layer)
    await bench.cycle(bias_low=0, bias_high=1, bias_unit=0xAB00)
    psums = [93, 92, 193, -100]
    outputs = []
    for psum in (*psums, *[None] * (times + 1)):
        sums = [psum or 0] * times
        outputs.append(await bench.cycle(valid=psum is not None, sums=sums, bias_high=0))
    every = (1 << times) - 1
    alternate = sum(2 << t for t in range(0, times - 1, 2))  # 99 stays below, twice 99 does not
    assert [out["mask"] for out in outputs[times + 1 :]] == [every, alternate, every, 0]
    assert all(out["mask"] == 0 and out["logit"] == 0 for out in outputs[: times + 1])


@test
async def neighbours_of_the_threshold(bench: Bench) -> None:
    """One below, at, and one above each power of two that is a threshold, at every timestep."""
    model = Model(bench)
    for bit in range(24):
        for soft in (0, 1):
            await model.settle()
            threshold = 1 << bit
            leak = bench.random.randrange(4)
            model.layer = Layer(threshold, leak, soft, model.times, 0)
            bias = _signed(bench) >> bench.random.choice((0, 8, 16))
            await model.set_bias(bias)
            for time in range(model.times):
                for off in (-1, 0, 1):
                    psum = threshold + off - bias
                    sums = [-bias] * time + [psum]
                    if all(LOW <= value <= HIGH for value in sums):
                        await model.enter(*sums)
    await model.settle()


@test
async def limits(bench: Bench) -> None:
    """Each stage alone goes to its limit and one beyond it, up and down."""
    model = Model(bench)
    for leak in range(4):
        await model.settle()
        model.layer = Layer((1 << 24) - 1, leak, 0, model.times, 0)  # never fires
        for bias, sign in ((1, 1), (-1, -1), (HIGH, 1), (LOW, -1)):
            await model.settle()
            await model.set_bias(bias)
            for time in range(model.times):
                for off in (-1, 0, 1):
                    edge = HIGH if sign > 0 else LOW
                    psum = edge - bias + sign * off
                    if LOW <= psum <= HIGH and LOW <= -bias <= HIGH:
                        await model.enter(*[-bias] * time, psum)
                        for _ in range(model.times + 1):
                            await model.cycle()
                        await model.cycle(clear_overflow=1)
    await model.settle()


@test
async def random_neurons(bench: Bench) -> None:
    """Layers of a few neurons each; psums of all sizes, or such that membranes meet thresholds."""
    model = Model(bench)
    random = bench.random
    done = 0
    while done < bench.transactions:
        await model.settle()
        threshold = random.choice(
            (0, 1, 1 << 23, (1 << 24) - 1, bench.bits(24), bench.bits(24) >> random.randrange(24))
        )
        model.layer = Layer(
            threshold,
            random.randrange(4),
            random.getrandbits(1),
            random.choice((random.randrange(1, model.times + 1), model.times, bench.bits(4))),
            int(bench.chance(0.2)),
        )
        rate = random.choice((0.3, 0.8, 1.0))
        scale = random.choice((0, 0, 4, 12, 20))
        host = bench.chance(0.2)
        lows = random.choice((0.0, 0.1))
        for _ in range(random.randrange(1, 60)):
            sums = [_psum(bench, threshold, scale) for _ in range(model.times)]
            valid = bench.chance(rate)
            await model.cycle(
                valid=valid,
                host=host,
                sums=sums,
                current=_psum(bench, threshold, scale),
                bias_low=bench.chance(lows),
                bias_high=bench.chance(lows),
                clear_overflow=bench.chance(0.3),
            )
            done += valid


def _psum(bench: Bench, threshold: int, scale: int) -> int:
    value = _signed(bench) >> scale
    if bench.chance(0.2):
        value = threshold + bench.random.randrange(-2, 3)
    return max(LOW, min(HIGH, value))


@test
async def reset(bench: Bench) -> None:
    """A reset takes back the outputs, the bias and the neurons in flight."""
    model = Model(bench)
    times = model.times
    for wait in range(times + 2):
        model.layer = Layer(5, 3, 1, times, 0)
        for value in (-1, 0, 0x555555, HIGH):
            await model.set_bias(value)
        await model.enter(*[HIGH] * times)
        for _ in range(times + 1):
            await model.cycle()
        assert model.overflow
        assert model.mask
        await model.enter(*[HIGH] * times)
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
