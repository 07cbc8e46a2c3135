"""Shared LIF: the neurons of a PE, one stage for all timesteps."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.utils import ceil_log2

from evenspike_core.arch import BIAS_BITS, Arch
from evenspike_hw.rtl.bits import popcount
from evenspike_hw.rtl.layouts import (
    LEAK_BITS,
    LEAK_FRACTION,
    LEAK_ONE,
    LOGIT_BITS,
    PSUM_BITS,
    PSUM_MAX,
    PSUM_MIN,
)
from evenspike_hw.rtl.pe.lif import COUNT, PSUM, ports

LOW_BITS = 17
"""Bits of a membrane that are multiplied without its sign."""


class SharedLif(wiring.Component):
    """Leak, add, compare and reset of one timestep a cycle, with one multiplier, whose product
    comes in two halves.

    threshold, leak, hard, reset, readout, bias_unit, bias_low, bias_high, clear_overflow: of `Lif`.
    valid: a neuron enters. sums: its psums. timesteps: how many of its group run, 1 at least.
        carries: what it leaves to the next group is wanted. `sums` and the bias stay for
        `arch.timesteps` cycles, the others until the next neuron enters.
    mask: bit t = spike at timestep t; 0 for t >= `timesteps`.
    logit: what the read-out says of the neuron; its membrane where there is none.
    carry: of a neuron whose timesteps all run, the membrane that the next group begins with.
    overflow: a membrane, or a carry that is wanted, has saturated since `clear_overflow`, which a
        new saturation outweighs.

    A neuron that enters in cycle c has `mask` and `logit` in c + arch.timesteps + 2, whatever
    `timesteps` is, and `carry` in the cycle behind that; in other cycles they mean nothing. One
    neuron every arch.timesteps cycles, with `carries` one more; no back-pressure. A saturation at
    timestep t shows in `overflow` from c + t + 4 on; a carry counts as one timestep more.

    docs/timing.md, "Shared LIF"; u-Ticket section IV-B.
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

        # The timestep that enters, whose psum and bias are added in this cycle; `times`: the carry,
        # to which nothing is. 0 without `valid`: none.
        behind, time = Signal(range(times + 1)), Signal(range(times + 1))
        m.d.comb += time.eq(Mux(self.valid, 0, behind))
        m.d.sync += behind.eq(Mux(time == times, 0, time + (self.valid | (behind != 0))))
        drive = Signal(signed(PSUM_BITS + 1))
        goes_on = Signal()
        m.d.comb += goes_on.eq(
            (behind != 0) & Mux(behind == times, self.carries, behind < self.timesteps)
        )

        # A cycle later what a spike leaves of it is worked out, too.
        plain, less = Signal.like(drive), Signal(signed(PSUM_BITS + 2))
        opens, first = Signal(), Signal()
        follows, runs = Signal(), Signal()
        m.d.sync += [
            drive.eq(Mux(time == times, 0, self.sums[time] + bias)),
            opens.eq(self.valid),
            follows.eq(self.valid | goes_on),
            plain.eq(drive),
            less.eq(drive - self.reset),
            first.eq(opens),
            runs.eq(follows),
        ]

        # Another cycle later `value` has what the timestep before has made, and its spike is found.
        # As the membrane of a timestep that does not run stays, so does its spike, which `ran`
        # keeps out of the mask. A sum of psums has more bits than a membrane, and none of it leaks.
        value = Signal(signed(PSUM_BITS + 1 + max(2, ceil_log2(times))))
        ran = Signal()
        psums, fires, hard, stays = Signal(), Signal(), Signal(), Signal()
        margin = Signal(signed(PSUM_BITS + 2))
        leak = Signal(LEAK_BITS)
        m.d.comb += [
            psums.eq(self.readout == PSUM),
            margin.eq(value[:PSUM_BITS].as_signed() - self.threshold),
            fires.eq(~psums & ~margin[-1]),
            hard.eq(fires & self.hard),
            stays.eq(~first & ~hard),
            leak.eq(Mux(psums, LEAK_ONE, self.leak)),
        ]
        # In two halves, each for a multiplier of 18 bits. What is rounded down is all in the low
        # one, so that they need not be added up before the drive is.
        low_part, high_part = Signal(LOW_BITS + LEAK_BITS), Signal(signed(LOGIT_BITS))
        total = Signal(value.shape())
        m.d.comb += [
            low_part.eq(value[:LOW_BITS] * leak),
            high_part.eq(value[LOW_BITS:].as_signed() * leak),
            total.eq(
                Mux(stays, low_part >> LEAK_FRACTION, 0)
                + Mux(stays, high_part << LOW_BITS - LEAK_FRACTION, 0)
                + Mux(fires & ~first, less, plain)
            ),
        ]
        saturates, saturated = Signal(), Signal()
        top = total[PSUM_BITS - 1 : PSUM_BITS + 2]  # no membrane goes further
        m.d.comb += saturates.eq(~psums & top.any() & ~top.all())
        m.d.sync += [ran.eq(runs), saturated.eq(runs & saturates)]
        with m.If(runs):
            m.d.sync += value.eq(Mux(saturates, Mux(top[-1], PSUM_MIN, PSUM_MAX), total))

        spikes = Signal(times)  # those of the timesteps before come down from the top
        m.d.comb += [
            self.mask.eq(Cat(spikes[1:], fires & ran)),
            self.logit.eq(
                Mux(self.readout == COUNT, popcount(self.mask), Mux(hard, 0, value)),
            ),
            self.carry.eq(value),
        ]
        m.d.sync += spikes.eq(self.mask)

        with m.If(saturated):
            m.d.sync += self.overflow.eq(1)
        with m.Elif(self.clear_overflow):
            m.d.sync += self.overflow.eq(0)
        return m
