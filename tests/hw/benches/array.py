"""Bench of Array: whole networks beside the stepped model, with pauses; the ANDs by hand.

`tests/helpers/machine.py` says how the model is compared.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from evenspike_hw.rtl.array import Array
from tests.helpers.driver import Bench, test
from tests.helpers.machine import SMALL, Core, NetworkRig, Packet, Pauses, loud_network

component = Array
ARCH = replace(SMALL, pes=2, chunk_blocks=4)
VARIANTS = {
    "port128": replace(SMALL, pes=4, chunk_blocks=2, port_bits=128),
    "shared-lif": replace(ARCH, lif_shared=1),
}
CORNERS = ("reset in the middle of a layer",)  # of the helper
LATENCY = 10
"""Cycles from a marker that is sent to an idle PE to the PE's own count of it."""


class Rig(NetworkRig):
    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        self.packets = {
            name: Packet(bench.outputs[name].shape)
            for name in ("presence", "masks", "logits", "pe_rounds", "finished")
        }

    async def cycle(self, core: Core) -> None:
        bench, pes = self.bench, range(self.bench.arch.pes)
        (words, taken), item = core.words(), core.broadcast()
        words = words if taken else {}
        given = {
            "send_word": sum(1 << pe for pe in words),
            "words": self.lanes(words),
            "send": 0 if item is None or not item[2] else sum(1 << pe for pe in item[0]),
            "activation": self.random("activation") if item is None or not item[2] else item[1],
        }
        out = await bench.cycle(**core.shared(clear=bench.chance(0.1)), **given)
        each = [core.expected(pe) for pe in pes]
        bench.check(out, self.expected(core, each))
        self.done += (given["send_word"] | given["send"] << len(pes)).bit_count()
        self._corners(core, each, given)
        core.step()

    def lanes(self, words: dict[int, int]) -> int:
        """The lanes of a port word; noise in those that nobody gets."""
        lanes = self.bench.arch.port_lanes
        width = self.bench.inputs["words"].width // lanes
        found = {pe % lanes: word for pe, word in words.items()}
        rest = [found.get(n, self.bench.random.getrandbits(width)) for n in range(lanes)]
        return sum(word << width * n for n, word in enumerate(rest))

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
        cover = self.bench.cover
        machine = core.machine
        every = (1 << len(each)) - 1
        full = [not pe["activation__ready"] for pe in each]
        differ = {name: len({pe[name] for pe in each}) > 1 for name in each[0]}
        carried = {machine.drain.carried(pe) for pe in range(len(each))}
        cover("word and broadcast in one cycle", given["send_word"] and given["send"])
        cover("words to two PEs", given["send_word"].bit_count() == 2 or machine.loader.lanes == 1)
        cover("broadcast to all PEs", given["send"] == every)
        cover("broadcast to some PEs", given["send"] not in (0, every))
        cover("some FIFOs full", any(full) and not all(full))
        cover("all FIFOs full", all(full))
        cover("PEs disagree on the chunks unpacked", differ["unpacked"])
        cover("PEs disagree on the markers in a round", differ["worked"])
        cover("PEs disagree on the rounds", differ["rounds"])
        cover("one PE issues, another does not", differ["busy"])
        cover("presence differs between PEs", differ["presence"])
        cover("masks differ between PEs", differ.get("mask") and "logit" not in differ)
        cover("logits differ between PEs", differ.get("logit"))
        cover("carries differ between PEs", len(carried) > 1)
        cover("a psum saturates on some PEs only", differ["accumulator_overflow"])
        cover("a membrane saturates on some PEs only", differ["membrane_overflow"])


@test
async def random_networks(bench: Bench) -> None:
    """Networks of every kind of layer, each from a reset on."""
    await Rig(bench).random_networks(filters=8, words=1000, wild=0.5)


@test
async def saturation(bench: Bench) -> None:
    """Psums that reach both ends."""
    rig = Rig(bench)
    for quiet in range(bench.arch.pes):
        await rig.run(loud_network(bench, quiet), Pauses())
        await bench.reset()


@test
async def reset(bench: Bench) -> None:
    """A reset in the middle leaves nothing but the psums, which a drain clears."""
    await Rig(bench).resets()


@test
async def barrier(bench: Bench) -> None:
    """The least of all counts, one cycle behind the PE that is last; it may be two behind in the
    markers within a round, and one in those that end it, for which the others wait.
    """
    pes = bench.arch.pes
    for kind, most in (("worked", 2), ("rounds", 1)):
        marker = {"marker": 1, "ends_round": int(kind == "rounds"), "frees": 1}
        for late in range(pes):
            await bench.reset()
            others = (1 << pes) - 1 ^ 1 << late
            counts = [0] * pes
            for turn in range(6):
                least = counts[late]
                drained = least % 2 if kind == "rounds" else 0
                for _ in range(most if turn % most == 0 else 0):
                    await bench.idle(send=others, activation=marker, round=drained)
                    counts = [count + (pe != late) for pe, count in enumerate(counts)]
                for _ in range(LATENCY + 2):
                    out = await bench.idle(round=drained)
                expected: dict[str, Any] = {"worked": 0, "rounds": 0} | {kind: least % 4}
                each = [count % 4 for count in counts]
                expected |= {"finished": each, "pe_rounds": each if kind == "rounds" else [0] * pes}
                bench.check(out, expected)
                bench.cover("a PE two markers ahead", max(counts) - least == 2)
                await bench.idle(send=1 << late, activation=marker, round=drained)
                for _ in range(LATENCY):
                    bench.check(await bench.idle(round=drained), {kind: least % 4})
                counts[late] += 1
                bench.check(await bench.idle(round=drained), {kind: counts[late] % 4})


@test
async def full(bench: Bench) -> None:
    """A PE says that it is full, and then takes nothing, also while others do."""
    pes, depth = bench.arch.pes, bench.arch.fifo_depth
    for number in range(pes):
        await bench.reset()
        waits = {"send": 1 << number, "activation": {"marker": 1, "frees": 1}, "round": 1}
        for _ in range(depth):
            bench.check(await bench.idle(**waits), {"full": 0})
        every = (1 << pes) - 1
        out = await bench.idle(**waits | {"send": every})
        bench.check(out, {"full": 1 << number})
        bench.cover("sent to a full PE")
        for _ in range(depth + LATENCY + 2):
            out = await bench.idle()
        counts = [(depth if pe == number else 1) % 4 for pe in range(pes)]
        bench.check(out, {"finished": counts, "full": 0, "worked": 1})
