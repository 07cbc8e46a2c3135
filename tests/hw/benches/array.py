"""Bench of Array: whole networks beside the stepped model, with pauses; the ANDs by hand.

`tests/helpers/machine.py` says how the model is compared.
"""

from __future__ import annotations

import itertools
from typing import Any

import cocotb
from amaranth.lib import wiring

from evenspike_core.arch import Arch
from evenspike_core.program import KERNELS
from evenspike_hw.rtl.array import Array
from tests.helpers.machine import (
    Core,
    Network,
    Packet,
    Pauses,
    loud_network,
    random_network,
    random_pauses,
)
from tests.hw.benches.common import Bench, start

ARCH = Arch(
    pes=2,
    timesteps=2,
    accumulators=16,
    scratchpad_words=256,
    header_words=41,
    chunk_blocks=4,
    fifo_depth=3,
    match_depth=2,
    slots=8,
    memory_latency=1,
    stream_depth=8,
    spike_entries=4096,
)
CORNERS = (
    "word and broadcast in one cycle",
    "broadcast to all PEs",
    "broadcast to some PEs",
    "some FIFOs full",
    "all FIFOs full",
    "PEs disagree on the chunks unpacked",
    "PEs disagree on the markers in a round",
    "PEs disagree on the rounds",
    "one PE issues, another does not",
    "presence differs between PEs",
    "masks differ between PEs",
    "logits differ between PEs",
    "currents differ between PEs",
    "a psum saturates on some PEs only",
    "a membrane saturates on some PEs only",
    "a PE two rounds ahead",
    "sent to a full FIFO",
    "reset in the middle of a layer",
)
LATENCY = 5
"""Cycles from a marker that is sent to an idle PE to the PE's own count of it."""


def component(arch: Arch) -> wiring.Component:
    return Array(arch)


class Rig:
    """The component beside the PEs of a model. done: words and activations that they took."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.done = 0
        self.packets = {
            name: Packet(bench.outputs[name].shape)
            for name in ("presence", "masks", "logits", "pe_rounds", "finished")
        }

    async def run(self, network: Network, pauses: Pauses, cycles: int = 1 << 30) -> Core:
        """A network, or the first cycles of it, from the reset on."""
        core = Core(self.bench, network, pauses)
        while not core.machine.over and core.machine.cycle < cycles:
            await self.cycle(core)
            core.machine.cycle += 1
        return core

    async def cycle(self, core: Core) -> None:
        bench, pes = self.bench, range(self.bench.arch.pes)
        word, item = core.word(), core.broadcast()
        given = {
            "send_word": 0 if word is None or not word[2] else 1 << word[0],
            "words": self.random("words") if word is None or not word[2] else word[1],
            "send": 0 if item is None or not item[2] else sum(1 << pe for pe in item[0]),
            "activation": self.random("activation") if item is None or not item[2] else item[1],
            "currents": sum(core.current(pe) << 24 * pe for pe in pes),
        }
        out = await bench.cycle(**core.shared(clear=bench.chance(0.1)), **given)
        each = [core.expected(pe) for pe in pes]
        bench.check(out, self.expected(core, each))
        self.done += (given["send_word"] | given["send"] << len(pes)).bit_count()
        self._corners(core, each, given)
        core.step()

    def random(self, name: str) -> int:
        return self.bench.random.getrandbits(self.bench.inputs[name].width)

    def expected(self, core: Core, each: list[dict[str, Any]]) -> dict[str, Any]:
        sequencer = core.machine.sequencer
        found: dict[str, Any] = {
            "loaded": sequencer.loaded.q % 4,
            "worked": core.worked(sequencer.marked.q) % 4,
            "rounds": sequencer.rounds.q % 4,
        }
        for name, source in (
            ("word_ready", "word__ready"),
            ("busy", "busy"),
            ("accumulator_overflow", "accumulator_overflow"),
            ("membrane_overflow", "membrane_overflow"),
        ):
            found[name] = sum(pe[source] << n for n, pe in enumerate(each))
        found["full"] = sum((not pe["activation__ready"]) << n for n, pe in enumerate(each))
        for name, source in (
            ("presence", "presence"),
            ("masks", "mask"),
            ("logits", "logit"),
            ("pe_rounds", "rounds"),
            ("finished", "finished"),
        ):
            if source in each[0]:
                fields = {str(n): pe[source] for n, pe in enumerate(each)}
                found[name] = self.packets[name].bits(0, fields)
        return found

    def _corners(self, core: Core, each: list[dict[str, Any]], given: dict[str, int]) -> None:
        machine = core.machine
        every = (1 << len(each)) - 1
        full = [not pe["activation__ready"] for pe in each]
        differ = {name: len({pe[name] for pe in each}) > 1 for name in each[0]}
        item = machine.drain.pipe.q[0]
        met = {
            "word and broadcast in one cycle": given["send_word"] and given["send"],
            "broadcast to all PEs": given["send"] == every,
            "broadcast to some PEs": given["send"] not in (0, every),
            "some FIFOs full": any(full) and not all(full),
            "all FIFOs full": all(full),
            "PEs disagree on the chunks unpacked": differ["unpacked"],
            "PEs disagree on the markers in a round": differ["worked"],
            "PEs disagree on the rounds": differ["rounds"],
            "one PE issues, another does not": differ["busy"],
            "presence differs between PEs": differ["presence"],
            "masks differ between PEs": differ.get("mask") and "logit" not in differ,
            "logits differ between PEs": differ.get("logit"),
            "currents differ between PEs": item is not None
            and core.packed.layers[item.place.layer].host
            and len({sums[0] for sums in item.sums}) > 1,
            "a psum saturates on some PEs only": differ["accumulator_overflow"],
            "a membrane saturates on some PEs only": differ["membrane_overflow"],
        }
        for corner, hit in met.items():
            if hit:
                self.bench.cover(corner)

    async def clean(self, *, rows: bool = False) -> None:
        """A reset. rows: with all psums drained, as a network that has ended leaves them."""
        bench = self.bench
        await bench.reset()
        if rows:
            for row in range(bench.arch.accumulators):
                await idle(bench, drain={"read": 1, "row": row})
            await idle(bench)
            await bench.reset()


async def idle(bench: Bench, **inputs: Any) -> dict[str, int]:
    return await bench.cycle(**dict.fromkeys(bench.inputs, 0) | inputs)


@cocotb.test()
async def random_networks(dut: Any) -> None:
    """Networks of every kind of layer, each from a reset on."""
    rig = Rig(await start(dut))
    bench = rig.bench
    kernels = itertools.cycle(KERNELS)
    while rig.done < bench.transactions:
        network = random_network(
            bench, kernel=next(kernels), side=5, filters=8, words=1000, wild=bench.chance(0.5)
        )
        await rig.run(network, random_pauses(bench))
        await rig.clean()


@cocotb.test()
async def saturation(dut: Any) -> None:
    """Psums that reach both ends."""
    rig = Rig(await start(dut))
    for quiet in range(rig.bench.arch.pes):
        await rig.run(loud_network(rig.bench, quiet), Pauses())
        await rig.clean()


@cocotb.test()
async def reset(dut: Any) -> None:
    """A reset in the middle leaves nothing but the psums, which a drain clears."""
    rig = Rig(await start(dut))
    bench = rig.bench
    for _ in range(min(40, 1 + bench.transactions // 250)):
        network = random_network(bench, side=4, filters=8, words=600)
        core = await rig.run(network, Pauses(), bench.random.randrange(1, 500))
        if not core.machine.over and core.machine.sequencer.layer.q:
            bench.cover("reset in the middle of a layer")
        await rig.clean(rows=True)


@cocotb.test()
async def barrier(dut: Any) -> None:
    """The least of all counts, one cycle behind the PE that is last; it may be two behind."""
    bench = await start(dut)
    pes = bench.arch.pes
    marker = {"marker": 1, "ends_round": 1, "frees": 1}
    for late in range(pes):
        await bench.reset()
        others = (1 << pes) - 1 ^ 1 << late
        counts = [0] * pes
        for turn in range(6):
            # The others are one or two rounds ahead.
            ahead = 2 if turn % 2 == 0 else 0
            for _ in range(ahead):
                await idle(bench, send=others, activation=marker)
                counts = [count + (pe != late) for pe, count in enumerate(counts)]
            for _ in range(LATENCY + 2):
                out = await idle(bench)
            least = counts[late]
            expected = {"pe_rounds": [n % 4 for n in counts], "rounds": least % 4}
            bench.check(out, expected | {"finished": expected["pe_rounds"], "worked": 0})
            if max(counts) - least == 2:
                bench.cover("a PE two rounds ahead")
            await idle(bench, send=1 << late, activation=marker)
            for _ in range(LATENCY):
                bench.check(await idle(bench), {"rounds": least % 4})
            counts[late] += 1
            bench.check(await idle(bench), {"rounds": counts[late] % 4})


@cocotb.test()
async def full(dut: Any) -> None:
    """A FIFO says that it is full, and then takes nothing, also while others do."""
    bench = await start(dut)
    pes, depth = bench.arch.pes, bench.arch.fifo_depth
    for number in range(pes):
        await bench.reset()
        waits = {"marker": 1, "ends_round": 1, "round": 1}
        for _ in range(depth):
            bench.check(await idle(bench, send=1 << number, activation=waits), {"full": 0})
        every = (1 << pes) - 1
        out = await idle(bench, send=every, activation=waits)
        bench.check(out, {"full": 1 << number})
        bench.cover("sent to a full FIFO")
        for _ in range(depth + LATENCY + 2):
            out = await idle(bench, round=1)
        counts = [(depth if pe == number else 1) % 4 for pe in range(pes)]
        bench.check(out, {"pe_rounds": counts, "full": 0, "rounds": 1})
