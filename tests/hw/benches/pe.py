"""Bench of Pe: whole networks beside the stepped model, with pauses; latencies by hand.

Of all PEs of the model one has the RTL at its side; `tests/helpers/machine.py` says how.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from evenspike_core.arch import IMPLIED, WEIGHTS, Arch
from evenspike_hw.rtl.layouts import Layouts
from evenspike_hw.rtl.pe.pe import PE_LAYER, Pe
from tests.helpers import stepped
from tests.helpers.driver import Bench, pack, test
from tests.helpers.machine import SMALL, Core, NetworkRig, Pauses, loud_network, random_pauses

component = Pe
ARCH = replace(SMALL, slots=16)
VARIANTS = {
    "issue1": replace(ARCH, issue=1),
    "kernel3": replace(ARCH, kernel_max=3, timesteps=3),  # a lane more than timesteps
    "shared-lif": replace(ARCH, lif_shared=1),
    "shared-lif-issue1": replace(ARCH, issue=1, lif_shared=1),
    "weights": replace(ARCH, gates=WEIGHTS, accumulators=64, **IMPLIED),
}


def CORNERS(arch: Arch) -> Iterator[str]:  # noqa: N802  (as where it is a constant)
    yield "reset in the middle of a layer"
    yield from (f"kernel {side} issues" for side in Layouts(arch).sides)
    if arch.issue > 1:
        yield from ("two weights are selected", "a selection waits for room in the lanes")
        yield "marker waits for the lanes alone"
        yield "a lane is empty while another has several"


class Rig(NetworkRig):
    """The component beside PE `number` of a machine."""

    number = 0

    def begin(self, core: Core) -> None:
        pes = range(self.bench.arch.pes)
        self.number = self.bench.random.choices(pes, core.weights)[0]

    async def cycle(self, core: Core) -> None:
        bench, number = self.bench, self.number
        pe = core.machine.pes[number]
        clear = bench.chance(0.1)
        word, activation = self._word(core, number), self._activation(core, number)
        out = await bench.cycle(
            **core.shared(clear=clear),
            word__valid=word is not None,
            word__payload=bench.random.getrandbits(self._width("word")) if word is None else word,
            activation__valid=activation is not None,
            activation__payload=bench.random.getrandbits(self._width("activation"))
            if activation is None
            else activation,
        )
        bench.check(out, core.expected(number))
        took = word is not None and out["word__ready"], activation is not None and not pe.full
        self.done += sum(map(bool, took))
        self._corners(core, number, took)
        flags = core.accumulator_overflow[number], core.membrane_overflow[number]
        core.step()
        bench.cover("overflow cleared", clear and flags != (False, False))
        if pe.accumulators.overflow:
            bench.cover("psum saturates")
            bench.cover("psum saturates in the cycle of a clear", clear)
        bench.cover("membrane saturates", core.membrane_overflow[number] and not flags[1])

    def _width(self, name: str) -> int:
        return self.bench.inputs[f"{name}__payload"].width

    def _word(self, core: Core, number: int) -> int | None:
        """A word stays valid until it is taken, so it is only offered early if nothing pauses."""
        words, taken = core.words()
        word = words.get(number)
        if word is None or taken:
            return word
        if core.machine.pauses.words:
            return None
        self.bench.cover("word offered to a busy unpacker")
        return word

    def _activation(self, core: Core, number: int) -> int | None:
        """Likewise; another PE that is full holds up the broadcast to this one."""
        item = core.broadcast()
        if item is None or number not in item[0]:
            return None
        if item[2]:
            return item[1]
        full = [n for n in item[0] if core.machine.pes[n].full]
        if core.machine.pauses.broadcasts or full != [number]:
            return None
        self.bench.cover("activation offered to a full PE")
        return item[1]

    def _corners(self, core: Core, number: int, took: tuple[Any, Any]) -> None:
        machine, cover = core.machine, self.bench.cover
        pe = machine.pes[number]
        cover("full", pe.full)
        cover("word and activation in one cycle", all(took))
        matcher, selector = pe.matcher, pe.selector
        cover("match queue full", matcher.queue.full)
        cover("a fetch waits for a credit", matcher.m2.q is not None and not matcher.credits.q)
        cover("activation of the next round waits", matcher.held.q and not pe.filter.fifo.empty)
        if selector.s3.q is not None:
            self._selects(core, number, selector.s3.q)
        self._markers(pe)
        for bank in pe.accumulators.banks:
            gated, last = bank.gated.q, bank.last.q
            same = gated is not None and last is not None and gated[0] == last[0]
            cover("two weights of the same row in a row", same)
        if self.bench.arch.issue > 1:
            self._lanes(pe)
        cover("presence of the second block", core.presence[number] and core.reads_block)
        self._drains(core)

    def _drains(self, core: Core) -> None:
        machine, cover = core.machine, self.bench.cover
        drain = machine.drain
        at, item = drain.at.q, drain.pipe.q[0]
        if at is not None and at.phase == 0:
            half = machine.plan.rounds[at.round].half
            cover("bias out of the second half" if half else "bias out of the first half")
        cover("last slot", at is not None and at.slot == self.bench.arch.slots - 1)
        carried = drain.carried(self.number)
        cover("a membrane is carried", carried is not None and carried[1])
        cover("a row is read while another is carried to", carried is not None and drain.row())
        item = core.leaves
        if item is not None:
            cover("logit leaves", core.packed.layers[item.place.layer].last)
            cover("fewer timesteps than the PE has", item.timesteps < self.bench.arch.timesteps)

    def _markers(self, pe: stepped.Pe) -> None:
        cover, first = self.bench.cover, pe.selector.s1.q
        if first is None or not first.item.marker:
            return
        work, issues = first.item.work, pe.marker() is not None
        cover("marker waits for weights in front of it", not issues)
        cover("marker in the middle of a round", issues and not work.ends_round)
        cover("marker ends a round and its half", issues and work.ends_round and work.frees)
        kept = issues and work.ends_round and not work.frees
        cover("marker ends a round and keeps its half", kept)

    def _lanes(self, pe: stepped.Pe) -> None:
        """Corners of CORNERS, where two weights are selected a cycle."""
        assert isinstance(pe.gates, stepped.Lanes)
        first, fourth = pe.selector.s1.q, pe.gates.s4.q
        levels = [len(queue.items) for queue in pe.gates.queues]
        weights = first is not None and not first.item.marker
        for corner, met in (
            ("two weights are selected", fourth is not None and len(fourth.weights) == 2),
            ("a selection waits for room in the lanes", weights and not pe.gates.room()),
            ("marker waits for the lanes alone", self._waits(pe)),
            ("a lane is empty while another has several", min(levels) == 0 and max(levels) > 1),
        ):
            self.bench.cover(corner, met)

    @staticmethod
    def _waits(pe: stepped.Pe) -> bool:
        selector = pe.selector
        assert isinstance(pe.gates, stepped.Lanes)
        if selector.s1.q is None or selector.s2.q is not None or selector.s3.q is not None:
            return False
        return selector.s1.q.item.marker and pe.gates.s4.q is None and pe.gates.issues()

    def _selects(self, core: Core, number: int, selection: stepped.Selection) -> None:
        pe, cover = core.machine.pes[number], self.bench.cover
        work = selection.item.work
        cover(f"kernel {work.segment.kernel} issues")
        cover(
            "second segment issues", work.segment is not core.packed.layers[work.layer].segments[0]
        )
        cover("later group issues", work.group)
        cover("stride 2 issues", work.segment.stride == 2)
        cover("chunk begins in the middle of a block", work.start % self.bench.arch.pes)
        load = pe.unpacker.state.q.load
        cover(
            "one half issues while the other is unpacked",
            pe.unpacker.hold.q is not None and load is not None and load.half != work.half,
        )


@test
async def random_networks(bench: Bench) -> None:
    """Networks of every kind of layer, each from a reset on."""
    await Rig(bench).random_networks(filters=17, words=1200, wild=0.4)


@test
async def saturation(bench: Bench) -> None:
    """Psums that reach both ends, and biases that carry the membranes over them."""
    rig = Rig(bench)
    for turn in range(2):
        await rig.run(loud_network(bench), Pauses() if turn else random_pauses(bench))
        await bench.reset()


@test
async def reset(bench: Bench) -> None:
    """A reset in the middle leaves nothing but the psums, which a drain clears."""
    await Rig(bench).resets()


# --- by hand ---------------------------------------------------------------------------------

WEIGHT, BIAS, THRESHOLD = 1000, -70_000, 100


def layer(**fields: int) -> dict[str, Any]:
    """One filter with a kernel of one weight, a tile of 2 x 2."""
    plain = {"log_tile_width": 1, "log_tile": 2, "leak": 4096, "hard": 1}
    return plain | {"threshold": THRESHOLD} | fields


def chunk(half: int) -> list[dict[str, Any]]:
    """A token of kernel position 4 of channel 0, its weight, and the bias: five units."""
    units = [1, 4, WEIGHT, BIAS & 0xFFF, BIAS >> 12 & 0xFFF, 0, 0, 0]
    context = {"kernel": 1, "biases": 1, "half": half}
    words = [sum(unit << 16 * n for n, unit in enumerate(units[at : at + 4])) for at in (0, 4)]
    return [
        {"units": word, "first": n == 0, "last": n == 1, "context": context}
        for n, word in enumerate(words)
    ]


async def load(bench: Bench, half: int, unpacked: int) -> None:
    """A word is unpacked in 4 cycles, the next is taken in the one after; the chunk counts in the
    cycle behind that.
    """
    for word in chunk(half):
        out = await bench.cycle(word__valid=1, word__payload=word)
        bench.check(out, {"word__ready": 1, "unpacked": unpacked})
        for _ in range(4):
            bench.check(await bench.cycle(word__valid=0), {"word__ready": 0, "unpacked": unpacked})
    bench.check(await bench.cycle(), {"word__ready": 1, "unpacked": unpacked})
    out = await bench.cycle(presence_read={"enable": 1, "half": half})
    bench.check(out, {"word__ready": 1, "unpacked": unpacked + 1})
    bench.check(await bench.cycle(presence_read=0), {"presence": 1})


def activation(half: int, y: int, x: int, mask: int, **fields: int) -> dict[str, int]:
    """At (y, x) of the tile."""
    plain = {"half": half, "rows": 0b010, "columns": 0b010, "y": y + 1, "x": x + 1, "mask": mask}
    return plain | {"kernel": 1} | fields


SPACE = 16
"""Cycles between two activations that do not meet in a PE."""


def issues_in(arch: Arch) -> int:
    """Cycles from the broadcast of an activation to the issue of its first weight.

    The filter writes it into the FIFO in 2, it is popped in 3 and fetches in 5; the match is queued
    in 7, and taken from the queue in 8. S1 selects in 9, S3 reads the weight in 11. With two
    selected a cycle, S4 writes it into its lane in 12.
    """
    return 11 if arch.issue == 1 else 13


@test
async def latency(bench: Bench) -> None:
    """A weight issues a number of cycles after its activation was broadcast, and its sum is at the
    drain's disposal three later. The marker waits for it.
    """
    await bench.cycle(layer=layer())
    await load(bench, 1, 0)
    times = bench.arch.timesteps
    every = (1 << times) - 1
    count, behind = 80, issues_in(bench.arch)
    marked = (count - 1) * SPACE + 1  # the marker is broadcast right behind the last
    for cycle in range(marked + behind + 2):
        # The last but one is for the channel, but for none of its weights: the filter drops it.
        plain = activation(1, 1, 0, every)
        dropped = cycle == (count - 2) * SPACE
        item: Mapping[str, int] = plain | {"rows": 0b101} if dropped else plain
        if cycle == marked:
            item = {"marker": 1, "ends_round": 1, "frees": 1}
        given = cycle % SPACE == 0 or cycle == marked
        out = await bench.cycle(activation__valid=given, activation__payload=item)
        turn, phase = divmod(cycle - behind, SPACE)
        over = cycle == marked + behind + 1  # the marker has issued, in the cycle before
        bench.check(
            out,
            {
                "activation__ready": 1,
                "busy": phase == 0 and 0 <= turn != count - 2,
                "rounds": over,
                "finished": over,
                "worked": 0,
            },
        )
    psum = (count - 1) * WEIGHT
    # What the neuron with the psums and its neighbour without give for each read-out. The first
    # time they are kept, and carried to: only the neighbour has something left.
    left = [0, times * BIAS]
    for readout, results in (
        (0, [every * (psum + BIAS >= THRESHOLD), 0]),
        (1, [times * BIAS, left[1] + times * BIAS]),
        (2, [0, 0]),
        (3, [times * BIAS, times * BIAS]),
    ):
        found = await drained(bench, layer(readout=readout), keep=int(not readout))
        for number, result in enumerate(results):
            name = "logit" if readout else "mask"
            at = leaves(bench.arch) + number * position(bench.arch, carries=not readout)
            bench.check(found[2 + at], {name: result})


def leaves(arch: Arch) -> int:
    """Cycles from the read of a row to what its neuron gives."""
    return arch.timesteps + 3 if arch.lif_shared else 2 * arch.timesteps + 1


def position(arch: Arch, *, carries: bool) -> int:
    """Cycles of a row of neurons."""
    return arch.timesteps + carries if arch.lif_shared else 1


async def drained(bench: Bench, fields: dict[str, Any], keep: int) -> list[dict[str, int]]:
    """Bias low, bias high, rows 2 and 3, and what comes out. keep: the rows carry."""
    row = {"read": 1, "keep": keep}
    each = position(bench.arch, carries=bool(keep))
    behind = leaves(bench.arch) + (1 if bench.arch.lif_shared else 2)
    steps: dict[int, dict[str, Any]] = {
        0: {"drain": {"bias": 1, "half": 1}},
        1: {"drain": {"bias": 1, "half": 1, "high": 1}, "bias_low": 1},
        2: {"bias_low": 0, "bias_high": 1},
        3: {"bias_high": 0},
    }
    reads, enters = {2: 2, 2 + each: 3}, (3, 3 + each)
    times = bench.arch.timesteps
    found = []
    for number in range(3 + each + behind):
        drives = steps.get(number, {})
        if number > 1:
            at = reads.get(number)
            drives["drain"] = 0 if at is None else row | {"row": at}
            drives |= {"valid": number in enters, "carries": keep}
            at = reads.get(number - behind)
            drives["carry"] = 0 if at is None else {"enable": keep, "row": at}
        found.append(await bench.cycle(layer=fields, timesteps=times, **drives))
    await bench.cycle(drain=0, valid=0, carry=0)
    return found


@test
async def rounds(bench: Bench) -> None:
    """Behind a marker that ends its round, an activation waits for its turn in the FIFO."""
    await bench.cycle(layer=layer())
    await load(bench, 0, 0)
    depth, behind = bench.arch.fifo_depth, issues_in(bench.arch)
    for turn in range(3):
        marker = {"marker": 1, "ends_round": 1}
        await bench.cycle(activation__valid=1, activation__payload=marker, round=turn % 2)
        for _ in range(behind):
            await bench.cycle(activation__valid=0)
        for cycle in range(depth + behind):
            out = await bench.cycle(
                activation__valid=cycle < depth, activation__payload=activation(0, 0, 0, 1)
            )
            full = cycle >= depth
            bench.check(out, {"busy": 0, "activation__ready": not full, "rounds": (turn + 1) % 4})
        # Popped in the first cycle, a place is free two later.
        issued = 0
        for cycle in range(8 * depth + behind):
            out = await bench.cycle(round=(turn + 1) % 2)
            bench.check(out, {"activation__ready": cycle > 1})
            issued += out["busy"]
            bench.check(out, {"busy": 0} if cycle < behind - 3 else {})
            bench.check(out, {"busy": 1} if cycle == behind - 3 else {})
        assert issued == depth


@test
async def markers(bench: Bench) -> None:
    """Of each kind: what counts it, modulo 4; the rest of its fields is of no use."""
    await bench.cycle(layer=layer())
    counts = {"rounds": 0, "worked": 0, "finished": 0}
    for number in range(40):
        ends, frees = number & 1, number >> 1 & 1
        noise = bench.random.getrandbits(bench.inputs["activation__payload"].width)
        fields = bench.fields("activation__payload", noise)
        fields |= {"marker": 1, "ends_round": ends, "frees": frees}
        out = await bench.cycle(
            activation__valid=1, activation__payload=fields, round=counts["rounds"] % 2
        )
        bench.check(out, {"activation__ready": 1, "busy": 0})
        for _ in range(9):
            bench.check(await bench.cycle(activation__valid=0), {**counts, "busy": 0})
        counts["rounds"] = (counts["rounds"] + ends) % 4
        counts["worked"] = (counts["worked"] + (frees & ~ends)) % 4
        counts["finished"] = (counts["finished"] + frees) % 4
        bench.check(await bench.cycle(), counts)
    assert pack(PE_LAYER, layer())
