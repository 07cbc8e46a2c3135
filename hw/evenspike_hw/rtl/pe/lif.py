"""LIF: the neurons of a PE, two stages a timestep."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Member, Out

from evenspike_core.arch import BIAS_BITS, Arch
from evenspike_core.program import Readout
from evenspike_hw.rtl.bits import popcount
from evenspike_hw.rtl.descriptor import READOUTS
from evenspike_hw.rtl.layouts import (
    LEAK_BITS,
    LEAK_FRACTION,
    LOGIT_BITS,
    PSUM_BITS,
    PSUM_MAX,
    PSUM_MIN,
    TIMESTEP_BITS,
    UNIT_BITS,
    Layouts,
)

PSUM, COUNT = (READOUTS.index(readout) for readout in (Readout.PSUM, Readout.COUNT))


def ports(arch: Arch) -> dict[str, Member]:
    """The ports of `Lif`, and of the shared LIF in its place."""
    layouts = Layouts(arch)
    return {
        "threshold": In(PSUM_BITS),
        "leak": In(LEAK_BITS),
        "hard": In(1),
        "reset": In(signed(PSUM_BITS)),
        "readout": In(2),
        "valid": In(1),
        "sums": In(layouts.sums),
        "timesteps": In(TIMESTEP_BITS),
        "carries": In(1),
        "bias_unit": In(UNIT_BITS),
        "bias_low": In(1),
        "bias_high": In(1),
        "clear_overflow": In(1),
        "mask": Out(arch.timesteps),
        "logit": Out(signed(LOGIT_BITS)),
        "carry": Out(signed(PSUM_BITS)),
        "overflow": Out(1),
    }


class Lif(wiring.Component):
    """Leak, add, compare and reset of one neuron a cycle, over all timesteps of a group.

    threshold, leak, hard, reset, readout: of the layer; stable while its neurons are in flight.
        threshold: unsigned. leak: LEAK_ONE-ths that a timestep leaves of the membrane, rounded
        down. hard: a spike sets the membrane to 0. reset: what the timestep after a spike takes off
        it. readout: in `READOUTS`; of psums the sum is read, without leak, spike or saturation.
    valid: a neuron enters. sums: its psums. timesteps: how many of its group run. carries: what it
        leaves to the next group is wanted.
    bias_unit: the weight bank's output; in its bits 11:0 bits 11:0 of a bias with bias_low, bits
        23:12 with bias_high, which completes it for the neurons that enter from the next cycle on.
    mask: bit t = spike at timestep t; 0 for t >= `timesteps`.
    logit: what the read-out says of the neuron; its membrane where there is none.
    carry: of a neuron whose timesteps all run, the membrane that the next group begins with.
    overflow: a membrane, or a carry that is wanted, has saturated since `clear_overflow`, which a
        new saturation outweighs.

    A neuron that enters in cycle c leaves in c + 2 * arch.timesteps, whatever `timesteps` is, and
    its carry two cycles later; the outputs stay until the next neuron's. One neuron a cycle, no
    back-pressure. A saturation at timestep t shows in `overflow` from c + 2 * t + 2 on; a carry
    counts as one timestep more.

    docs/timing.md, "Barrier, drain, LIF, collector"; u-Ticket section IV-B.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        super().__init__(ports(arch))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        times = self.arch.timesteps

        low = Signal(BIAS_BITS)
        bias = Signal(signed(PSUM_BITS))
        with m.If(self.bias_low):
            m.d.sync += low.eq(self.bias_unit)
        with m.If(self.bias_high):
            m.d.sync += bias.eq(Cat(low, self.bias_unit[:BIAS_BITS]))

        # What is added at each timestep is known when the neuron enters; of these, the neuron takes
        # along those that it still needs. So it does with which of the timesteps run, for a neuron
        # of another group may be right behind it. The first always does; the carry is one more
        # timestep, at which nothing is added but a reset's amount. What does not run adds nothing,
        # which the stage that multiplies sees to, since the sums come late.
        valid = Signal()
        drives = [Signal(signed(PSUM_BITS + 1), name=f"drive{t}") for t in range(times)]
        behind = Signal(times)  # which timesteps behind the first run
        m.d.sync += valid.eq(self.valid)
        with m.If(self.valid):
            m.d.sync += [
                behind.eq(Cat(*(t < self.timesteps for t in range(1, times)), self.carries)),
                *(drive.eq(self.sums[t] + bias) for t, drive in enumerate(drives)),
            ]

        saturated = Signal(times + 1)
        left: Value = Const(0, signed(LOGIT_BITS))  # of the membrane; or the sum of psums so far
        addend: Value = drives[0]
        runs: Value = Const(1, 1)
        kept: dict[str, Value] = {"mask": Const(0, 0), "behind": behind}
        kept |= {f"drive{t}": drives[t] for t in range(1, times)}
        for time in range(times):
            membrane, saturates = self._add(m, f"{time}", left, addend, runs)
            value, spike = self._fire(m, f"{time}", membrane, runs)
            m.d.comb += saturated[time].eq(valid & saturates)
            kept |= {"value": value, "mask": Cat(kept["mask"], spike)}
            valid, kept = _register(m, f"added{time}", valid, kept)
            if time == times - 1:
                m.d.comb += [
                    self.mask.eq(kept["mask"]),
                    self.logit.eq(
                        Mux(self.readout == COUNT, popcount(kept["mask"]), kept["value"])
                    ),
                ]
            drive = kept.pop(f"drive{time + 1}", Const(0, signed(PSUM_BITS + 1)))
            left, addend = self._multiply(m, f"{time}", kept, drive)
            del kept["value"]
            kept |= {"left": left, "addend": addend}
            valid, kept = _register(m, f"multiplied{time}", valid, kept)
            left, addend = kept.pop("left"), kept.pop("addend")
            runs, kept["behind"] = kept["behind"][0], kept["behind"][1:]

        carry, saturates = self._add(m, "_carry", left, addend, runs)
        m.d.comb += saturated[times].eq(valid & saturates)
        with m.If(valid):
            m.d.sync += self.carry.eq(carry)

        with m.If(saturated.any()):
            m.d.sync += self.overflow.eq(1)
        with m.Elif(self.clear_overflow):
            m.d.sync += self.overflow.eq(0)
        return m

    def _add(
        self, m: Module, name: str, left: Value, addend: Value, runs: Value
    ) -> tuple[Signal, Signal]:
        """What the stage that adds begins with: the membrane, and whether it saturates.

        A timestep that does not run gets the membrane as it is and 0 to add. So does a sum of
        psums, which has more bits and does not saturate.
        """
        total = Signal(signed(LOGIT_BITS), name=f"total{name}")
        clipped = Signal(signed(LOGIT_BITS), name=f"clipped{name}")
        saturates = Signal(name=f"saturates{name}")
        top = total[PSUM_BITS - 1 :]
        m.d.comb += [
            total.eq(left + addend),
            saturates.eq(runs & (self.readout != PSUM) & top.any() & ~top.all()),
            clipped.eq(Mux(saturates, Mux(total[-1], PSUM_MIN, PSUM_MAX), total)),
        ]
        return clipped, saturates

    def _fire(self, m: Module, name: str, membrane: Signal, runs: Value) -> tuple[Signal, Signal]:
        """And what it ends with: the membrane behind a hard reset, and whether the neuron fires."""
        margin = Signal(signed(PSUM_BITS + 2), name=f"margin{name}")
        value = Signal(signed(LOGIT_BITS), name=f"value{name}")
        spike = Signal(name=f"spike{name}")
        m.d.comb += [
            margin.eq(membrane[:PSUM_BITS].as_signed() - self.threshold),
            spike.eq(runs & (self.readout != PSUM) & ~margin[-1]),
            value.eq(Mux(spike & self.hard, 0, membrane)),
        ]
        return value, spike

    def _multiply(
        self, m: Module, name: str, kept: dict[str, Value], drive: Value
    ) -> tuple[Signal, Signal]:
        """The stage that multiplies: what is left of the membrane, and what comes to it."""
        value, spike, runs = kept["value"], kept["mask"][-1], kept["behind"][0]
        product = Signal(signed(PSUM_BITS + LEAK_BITS + 1), name=f"product{name}")
        left = Signal(signed(LOGIT_BITS), name=f"left{name}")
        addend = Signal(signed(PSUM_BITS + 2), name=f"addend{name}")
        m.d.comb += [
            product.eq(value[:PSUM_BITS].as_signed() * self.leak),
            left.eq(Mux(runs & (self.readout != PSUM), product >> LEAK_FRACTION, value)),
            addend.eq(Mux(runs, drive - Mux(spike, self.reset, 0), 0)),
        ]
        return left, addend


def _register(
    m: Module, name: str, valid: Signal, values: dict[str, Value]
) -> tuple[Signal, dict[str, Value]]:
    """The registers between two stages; they stay until the next neuron."""
    next_valid = Signal(name=f"{name}_valid")
    held = {key: Signal(value.shape(), name=f"{name}_{key}") for key, value in values.items()}
    m.d.sync += next_valid.eq(valid)
    with m.If(valid):
        m.d.sync += [held[key].eq(value) for key, value in values.items()]
    return next_valid, dict(held)
