"""LIF: the neurons of a PE, one stage a timestep."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from evenspike_core.arch import Arch
from evenspike_hw.rtl.layouts import LOGIT_BITS, PSUM_BITS, PSUM_MAX, PSUM_MIN, UNIT_BITS, Layouts


class Lif(wiring.Component):
    """Leak, add, compare and reset of one neuron a cycle, over all its timesteps.

    threshold, leak, soft, timesteps, last: of the layer; stable while its neurons are in flight.
        threshold: unsigned. leak: keeps 1/4, 1/2, 3/4 or all of the membrane (codes 0 to 3).
        soft: a spike takes the threshold off the membrane, else it sets it to 0.
        last: psums and biases are summed to a logit; no leak, spike or saturation.
    valid: a neuron enters. sums: its psums. host: the drive of every timestep is `current` instead,
        without bias.
    bias_unit: the weight bank's output; bits 15:0 of a bias with bias_low, bits 23:16 in its bits
        7:0 with bias_high, which completes it for the neurons that enter from the next cycle on.
    mask: bit t = spike at timestep t; 0 for t >= `timesteps`.
    logit: of a neuron of the last layer; of another its membrane after the last timestep.
    overflow: a membrane has saturated since `clear_overflow`, which a new saturation outweighs.

    A neuron that enters in cycle c leaves in c + arch.timesteps + 1, whatever `timesteps` is; the
    outputs stay until the next neuron leaves. One neuron a cycle, no back-pressure. A saturation at
    timestep t shows in `overflow` from c + t + 2 on.

    docs/timing.md, "Barrier, drain, LIF, collector"; u-Ticket section IV-B.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        layouts = Layouts(arch)
        self.layouts = layouts
        super().__init__(
            {
                "threshold": In(PSUM_BITS),
                "leak": In(2),
                "soft": In(1),
                "timesteps": In(4),
                "last": In(1),
                "valid": In(1),
                "host": In(1),
                "current": In(signed(PSUM_BITS)),
                "sums": In(layouts.sums),
                "bias_unit": In(UNIT_BITS),
                "bias_low": In(1),
                "bias_high": In(1),
                "clear_overflow": In(1),
                "mask": Out(arch.timesteps),
                "logit": Out(signed(LOGIT_BITS)),
                "overflow": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        times = self.arch.timesteps

        low = Signal(UNIT_BITS)
        bias = Signal(signed(PSUM_BITS))
        with m.If(self.bias_low):
            m.d.sync += low.eq(self.bias_unit)
        with m.If(self.bias_high):
            m.d.sync += bias.eq(Cat(low, self.bias_unit[: PSUM_BITS - UNIT_BITS]))

        # What is added at each timestep is known when the neuron enters; of these, the neuron takes
        # along those that it still needs.
        valid = Signal()
        drives = [Signal(signed(PSUM_BITS + 1), name=f"drive{t}") for t in range(times)]
        m.d.sync += valid.eq(self.valid)
        with m.If(self.valid):
            for time, drive in enumerate(drives):
                with m.If(time < self.timesteps):
                    m.d.sync += drive.eq(Mux(self.host, self.current, self.sums[time] + bias))
                with m.Else():
                    m.d.sync += drive.eq(0)

        value: Value = Const(0, signed(LOGIT_BITS))  # membrane; in the last layer the sum so far
        mask: Value = Const(0, times)
        saturated = Signal(times)
        for time in range(times):
            after = Signal(signed(LOGIT_BITS), name=f"value{time}")
            spike = Signal(name=f"spike{time}")
            saturates = Signal(name=f"saturates{time}")
            self._stage(m, time, value, drives[0], after, spike, saturates)
            m.d.comb += saturated[time].eq(valid & saturates)

            # To the next stage.
            next_valid = Signal(name=f"valid{time}")
            next_value = Signal(signed(LOGIT_BITS), name=f"held{time}")
            next_mask = Signal(times, name=f"mask{time}")
            next_drives = [
                Signal(signed(PSUM_BITS + 1), name=f"drive{time}_{t}")
                for t in range(time + 1, times)
            ]
            m.d.sync += next_valid.eq(valid)
            with m.If(valid):
                m.d.sync += [
                    next_value.eq(after),
                    next_mask.eq(mask | spike << time),
                    *(a.eq(b) for a, b in zip(next_drives, drives[1:], strict=True)),
                ]
            valid, value, mask, drives = next_valid, next_value, next_mask, next_drives
        m.d.comb += [self.mask.eq(mask), self.logit.eq(value)]

        with m.If(saturated.any()):
            m.d.sync += self.overflow.eq(1)
        with m.Elif(self.clear_overflow):
            m.d.sync += self.overflow.eq(0)
        return m

    def _stage(
        self,
        m: Module,
        time: int,
        value: Value,
        drive: Signal,
        after: Signal,
        spike: Signal,
        saturates: Signal,
    ) -> None:
        """The arithmetic of timestep `time`: from `value` and `drive` to `after` and `spike`.

        A timestep that the layer does not have leaves the value as it is: nothing leaks or is
        added, so nothing saturates, and it does not fire.
        """
        membrane = value[:PSUM_BITS].as_signed()
        left = Signal(signed(LOGIT_BITS), name=f"left{time}")
        total = Signal(signed(LOGIT_BITS), name=f"total{time}")
        clipped = Signal(signed(LOGIT_BITS), name=f"clipped{time}")
        rest = Signal(signed(PSUM_BITS + 2), name=f"rest{time}")
        runs = Signal(name=f"runs{time}")
        with m.If(self.last):
            m.d.comb += left.eq(value)
        with m.Else(), m.Switch(self.leak | (~runs).replicate(2)):
            with m.Case(0):
                m.d.comb += left.eq(membrane >> 2)
            with m.Case(1):
                m.d.comb += left.eq(membrane >> 1)
            with m.Case(2):
                m.d.comb += left.eq(membrane - (membrane >> 2))
            with m.Case(3):
                m.d.comb += left.eq(membrane)
        top = total[PSUM_BITS - 1 :]
        m.d.comb += [
            runs.eq(time < self.timesteps),
            total.eq(left + drive),
            saturates.eq(~self.last & top.any() & ~top.all()),
            clipped.eq(Mux(saturates, Mux(total[-1], PSUM_MIN, PSUM_MAX), total)),
            rest.eq(clipped[:PSUM_BITS].as_signed() - self.threshold),
            spike.eq(runs & ~self.last & ~rest[-1]),
            after.eq(Mux(spike, Mux(self.soft, rest, 0), clipped)),
        ]
