"""Bench of Sequencer: whole networks, every output in every cycle.

The reference is put together from those of its parts (`Fetch`, `Broadcasts`), with what
docs/timing.md says of layers, halves and barriers on counts that do not wrap.
"""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Any

from evenspike_core.arch import CHUNK_WORDS, Arch
from evenspike_hw.rtl.descriptor import CHUNK, LAYER, LAYER_WORDS
from evenspike_hw.rtl.faults import Fault
from evenspike_hw.rtl.layouts import WORD_BITS
from evenspike_hw.rtl.sequencer import Sequencer
from tests.helpers.driver import Bench, pack, test, unpack
from tests.helpers.layers import ENTRIES, Layer, Work, batch, good_chunk, layer, noise, works
from tests.helpers.sequencing import CHUNK_MASK, WORDS, BroadcastModel, FetchModel

WORD = (1 << WORD_BITS) - 1

component = Sequencer
ARCH = Arch(pes=4, table_words=1 << 16, accumulators=4096)
VARIANTS = {
    "small": Arch(pes=4, timesteps=1, table_words=100, accumulators=64, slots=4),
    "shared-lif": Arch(pes=4, table_words=1 << 16, accumulators=4096, lif_shared=1),
    "clusters": Arch(pes=4, table_words=1 << 16, accumulators=4096, clusters=2),
}
CHUNK_FAULTS = (Fault.SLOTS, Fault.KERNEL, Fault.LEAD, Fault.BIASES, Fault.BLOCKS)
CORNERS = (
    *(f"fault: {fault.name}" for fault in Fault if Fault.LAYERS <= fault <= Fault.CHUNKS),
    *(f"fault of a chunk: {fault.name}" for fault in CHUNK_FAULTS),
)


def faults(arch: Arch, layer: Layer, number: int, filled: int) -> set[Fault]:
    """Why layer `number` cannot be run. filled: words of the table."""
    sides = 1 << layer["log_tile_height"], 1 << layer["log_tile_width"]
    size, slots = (layer["height"], layer["width"]), 1 << layer["log_slots"]
    odd = layer["pool"] and (size[0] % 2 or size[1] % 2 or 1 in sides)
    layers = number + 1 + (not layer["last"])  # as many as there have to be
    list_end = layer["chunk_base"] + CHUNK_WORDS * layer["chunks"]
    reasons = {
        Fault.LAYERS: layers > min(256, filled // LAYER_WORDS),
        Fault.HOST: bool(layer["host"]) != (number == 0),
        Fault.LAST: layer["host"] and layer["last"],
        Fault.READOUT: bool(layer["last"]) != (layer["readout"] != 0),
        Fault.TIMESTEPS: not 1 <= layer["timesteps"] <= arch.timesteps,
        Fault.GROUPS: not 1 <= layer["groups"] <= 32,
        Fault.LEAK: layer["leak"] > 4096,
        Fault.THRESHOLD: not layer["host"] and layer["readout"] != 1 and not layer["threshold"],
        Fault.NEURONS: sides[0] * sides[1] * slots << layer["log_images"] > arch.accumulators,
        Fault.TILE: max(sides) > 256,
        Fault.SLOTS: slots > arch.slots or not 1 <= layer["slots_last"] <= slots,
        Fault.EMPTY: 0 in (*size, layer["passes"], layer["parts"]),
        Fault.POOL: odd,
        Fault.LOADS: layer["loads"] == 0,
        Fault.CHUNKS: not layer["host"] and (layer["chunks"] == 0 or list_end > filled),
    }
    return {fault for fault, met in reasons.items() if met}


class Model:
    """The sequencer. table: its content; follows: number of the descriptor that is fetched."""

    def __init__(self, arch: Arch, table: dict[int, int]) -> None:
        self.arch, self.table = arch, table
        self.fetch = FetchModel(arch)
        self.walk = BroadcastModel(arch)
        self.filled = 0  # words of the table
        self.layer: Layer = {}
        self.bits = 0  # of the layer
        self.number = self.follows = 0
        self.waits: str | None = None  # for the first or the second descriptor
        self.prepared = self.running = self.switched = False
        self.fault = Fault.NONE
        self.tail = self.gap = 0
        self.seen = self.early = self.freed = self.drained = 0

    @property
    def host(self) -> bool:
        return bool(self.layer.get("host"))

    def outputs(self, drive: dict[str, Any]) -> dict[str, int]:
        """drive: counts that do not wrap, and pulses."""
        layer = self.layer
        work = self.walk.next
        ends = drive["ends_round"]
        enable = self.running and not self.host and not self.gap and not self.tail
        waits = ["end"]
        if work is not None:
            waits = self.walk.blocked(drive["loaded"], self.drained, ends, drive["marker"])
        self.starts = enable and not waits
        self.frees_early = drive["worked"] > self.early
        late = drive["ends_pass"] if layer.get("chunks") == 1 else ends
        self.frees_late = bool(late)
        self.written = self.running and self.tail == 1
        self.writes_last = self.written and bool(drive.get("together", 1))
        loads_first = self.waits == "first" and self.fetch.valid
        self.switches = loads_first or (self.writes_last and not layer["last"])
        self.fetch.outputs(self.walk.reads)  # what is read in this cycle
        return {
            "prepared": int(self.prepared),
            "layer": self.bits,
            "number": self.number,
            "switched": int(self.switched),
            "running": int(self.running),
            "last_write": int(self.writes_last),
            "tail": int(self.tail > 0),
            "fault": int(self.fault),
            "start": int(self.starts),
            "work": self.walk.work,
            "begin": int(drive["rounds"] > self.drained),
            "free": int(self.frees_early or self.frees_late),
            "half": self.freed % 2,
            "drained": self.drained % 4,
            "seen": self.seen % 4,
            **({"written": int(self.written)} if self.arch.clusters > 1 else {}),
        }

    def step(self, drive: dict[str, Any]) -> None:
        """From this cycle to the next, after `outputs`."""
        switches = self.switches
        descriptor = self.fetch.layer() if switches else 0
        read = None
        if drive["prepare"]:
            read = 0
        elif switches:
            read = (self.follows + 1) % 256
        second = self.waits == "second" and self.fetch.valid
        self.fetch.step(drive["table"], read)
        chunk_fault = self.walk.fault
        self.walk.step(self.starts, drive["marker"], self.switched)
        self.seen = drive["loaded"]
        self.early += self.frees_early
        self.freed += self.frees_early or self.frees_late
        self.drained += bool(drive["ends_round"])
        self._count(drive)
        if drive["go"]:
            self.running, self.prepared = True, False
        if second:
            self.waits, self.prepared = None, True
        self.switched = switches
        before = self.fault
        if switches:
            self._switch(descriptor)
        if chunk_fault and not before:
            self.fault, self.running = chunk_fault, False
        if drive["prepare"]:
            self.waits, self.number, self.follows, self.fault = "first", 0, 0, Fault.NONE

    def _count(self, drive: dict[str, Any]) -> None:
        if self.writes_last:
            self.gap = 4
            if self.layer["last"]:
                self.running = False
            else:
                self.number = self.follows
        elif self.gap:
            self.gap -= 1
        if drive["ends_layer"]:
            behind = 5 if self.arch.lif_shared else 2 * self.arch.timesteps + 2
            self.tail = 1 if self.host else behind
        elif self.tail and (self.writes_last or not self.written):
            self.tail -= 1

    def _switch(self, bits: int) -> None:
        self.bits = bits
        self.layer = unpack(LAYER, bits)
        found = faults(self.arch, self.layer, self.follows, self.filled)
        runs = not found
        self.waits = "second" if self.waits == "first" else None
        if not runs:
            self.fault, self.running, self.waits = min(found), False, None
        self.follows = (self.follows + 1) % 256
        chunks = []
        if runs and not self.layer["host"]:
            base = self.layer["chunk_base"]
            for number in range(self.layer["chunks"]):
                at = base + CHUNK_WORDS * number
                words = [self.table[at + n & self.fetch.mask] for n in range(CHUNK_WORDS)]
                chunks.append(unpack(CHUNK, (words[0] | words[1] << WORD_BITS) & CHUNK_MASK))
        self.walk.begin(self.layer, chunks, runs)


class Rig:
    """The sequencer with a table, and all that loads, broadcasts, issues and drains."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.table: dict[int, int] = defaultdict(lambda: bench.bits(64))
        self.chunks: dict[tuple[int, int], dict[str, Any]] = {}  # of a layer, by its number
        self.reset()

    def reset(self) -> None:
        bench = self.bench
        self.model = Model(bench.arch, self.table)
        self.data: int | None = None
        self.loaded = self.limit = 0  # chunks; of this network and those before
        self.worked = self.rounds = 0
        self.under: tuple[Work, int] | None = None  # broadcast, and the number of its round
        self.marked: deque[tuple[Work, int]] = deque()  # with their marker in the FIFOs
        self.ended: Work | None = None  # worked off by all PEs, its round is not drained yet
        self.turn: Work | None = None  # of the round that is drained
        self.left = 0  # drain cycles of it
        self.input_ends = 0  # cycles to the input's last drain cycle
        self.events = 0
        self.idle = 0  # cycles since the last drain
        self.speeds(1.0)

    def speeds(self, chance: float | None = None) -> None:
        """Chances in each cycle that a chunk is loaded, a marker sent, issued, a round drained."""
        pick = self.bench.random.choice
        self.load, self.mark, self.issue, self.drain, self.others = (
            pick((0.1, 0.3, 1.0)) if chance is None else chance for _ in range(5)
        )

    async def cycle(self, prepare: bool = False, go: bool = False) -> None:
        bench, model = self.bench, self.model
        drive = {"prepare": int(prepare), "go": int(go), "filled": model.filled}
        drive["table"] = bench.bits(64) if self.data is None else self.data
        drive["marker"] = int(self.under is not None and bench.chance(self.mark))
        drive |= {"loaded": self.loaded, "worked": self.worked, "rounds": self.rounds}
        drive |= self._ends()
        if bench.arch.clusters > 1:
            # What the other clusters let it do counts where it is that far itself.
            drive["together"] = int(bench.chance(self.others))
        expected = model.outputs(drive)
        counts = {name: drive[name] % 4 for name in ("loaded", "worked", "rounds")}
        out = await bench.cycle(**drive | counts)
        bench.check(out, expected)
        enable, at = out["table_read"] & 1, out["table_read"] >> 1
        asks = model.fetch.asks
        assert (enable, enable and at) == (asks is not None, asks[1] if asks else 0), (
            f"cycle {bench.now - 1}: reads {at} ({enable}), expected {asks}"
        )
        self.data = self.table[at] if enable else None
        self._corners(drive)
        self._around(drive)
        model.step(drive)

    def _ends(self) -> dict[str, int]:
        """The last drain cycle of a round, a pass, a layer."""
        bench, model = self.bench, self.model
        ends = {"ends_round": 0, "ends_pass": 0, "ends_layer": 0}
        ready = model.fetch.valid and bench.chance(self.drain)
        if model.host and self.input_ends and model.running and ready:
            ends["ends_layer"] = int(self.input_ends == 1)
        elif self.turn is not None and self.left == 0:
            turn = self.turn.turn
            if ready or not turn.ends_layer:
                ends = {"ends_round": 1, "ends_pass": int(turn.last)}
                ends["ends_layer"] = int(turn.ends_layer)
        return ends

    def _around(self, drive: dict[str, int]) -> None:
        """What loads, broadcasts, works off and drains, after this cycle."""
        bench, model = self.bench, self.model
        free = model.freed + 2 > self.loaded
        if model.running and free and self.loaded < self.limit and bench.chance(self.load):
            self.loaded += 1
            self.events += 1
        if drive["marker"]:
            assert self.under is not None
            self.marked.append(self.under)
            self.under = None
        if model.starts:
            work = model.walk.next
            assert work is not None
            self.under = work, model.walk.layer_rounds + work.round
            self.events += 1
        self.idle += 1
        if model.host and self.input_ends and model.running:
            self.input_ends -= drive["ends_layer"] or self.input_ends > 1
        elif drive["ends_round"]:
            self.turn, self.idle = None, 0
            self.events += 1
        elif self.turn is not None:
            self.left = max(0, self.left - 1)
        elif self.ended is not None and self.rounds > model.drained:
            # The drain begins in the next cycle, and may end in it.
            self.turn, self.ended = self.ended, None
            self.left = 0 if bench.chance(self.drain) else bench.random.randrange(1, 9)
        self._issue()

    def _issue(self) -> None:
        """The oldest marker is issued by all PEs, if its round is current."""
        if self.marked and self.marked[0][1] == self.model.drained and not self.turn:
            if self.ended is not None or not self.bench.chance(self.issue):
                return
            work, _ = self.marked.popleft()
            if work.ends_round:
                self.rounds += 1
                self.ended = work
            elif work.frees:
                self.worked += 1

    def _corners(self, drive: dict[str, int]) -> None:
        cover = self.bench.cover
        model = self.model
        single = model.layer.get("chunks") == 1
        cover("half freed in the middle of a round", model.frees_early)
        cover("half freed at the end of a round", model.frees_late and not single)
        cover("single chunk freed at the end of a pass", model.frees_late and single)
        cover(
            "single chunk stays at the end of a round",
            single and not model.host and drive["ends_round"] and not drive["ends_pass"],
        )
        cover(
            "drain begins as soon as the one before is over",
            self.turn is not None and self.idle < 4,
        )
        cover(
            "start in the first cycle of a layer that can",
            model.starts
            and model.walk.next is not None
            and model.walk.next.round == model.walk.next.chunk == 0
            and model.walk.now == model.walk.due,
        )
        cover(
            "loaded before its layer begins",
            model.switched and model.running and self.loaded > model.walk.loads,
        )
        cover("chunk read delays a descriptor", model.walk.reads is not None and model.fetch.left)
        cover("fault in layer 0", model.fault and model.number == 0)
        cover("fault in a later layer", model.fault and model.number > 0)

    # Networks.

    def good(self, number: int, **given: Any) -> Layer:
        """A layer that can be run as number `number`; few rounds and chunks."""
        bench = self.bench
        pick = bench.random.randrange
        given = {"timesteps": pick(1, bench.arch.timesteps + 1), "chunks": pick(1, 5)} | given
        given = batch(bench) | given | {"host": int(number == 0)}
        if given["chunks"] > 1 and bench.chance(0.3):
            given["chunks"] = 1
        while True:
            fields = layer(bench, 6, bench.random.choice((1, 3, 8)), **given, chunk_base=0)
            if (
                not faults(bench.arch, fields, number, 1 << 16)
                and sum(1 for _ in works(fields)) < 60
            ):
                return fields

    def network(self, count: int, **given: Any) -> list[Layer]:
        """Layers that can be run; the last says so."""
        numbers = range(count)
        return [self.good(n, last=int(n == count - 1), **(given if n else {})) for n in numbers]

    def store(self, layers: list[Layer]) -> None:
        """The layers into the table, their chunks behind them, those that are given and others."""
        bench, chunks = self.bench, self.chunks
        table, mask = self.table, self.model.fetch.mask
        table.clear()
        free = len(layers) * LAYER_WORDS
        for number, fields in enumerate(layers):
            if not fields["host"]:
                fields["chunk_base"] = free
                for n in range(min(fields["chunks"], 16)):
                    bits = pack(CHUNK, chunks.get((number, n)) or good_chunk(bench, fields, n))
                    for word in range(CHUNK_WORDS):
                        unread = bench.bits(WORD_BITS) << CHUNK.size
                        table[free & mask] = (bits | unread) >> WORD_BITS * word & WORD
                        free += 1
            bits = pack(LAYER, fields)
            for n in range(LAYER_WORDS):
                table[number * LAYER_WORDS + n] = bits >> WORD_BITS * n & (1 << WORD_BITS) - 1
        assert free <= bench.arch.table_words, "more chunks than the table holds"
        # Words behind the network belong to nobody.
        self.model.filled = bench.random.choice((free, bench.arch.table_words))

    async def begin(self, layers: list[Layer]) -> None:
        """Up to `go`, or to a fault. The layers are in the table."""
        await self.cycle(prepare=True)
        for _ in range(2 * WORDS + 6):
            if self.model.prepared or self.model.fault:
                break
            await self.cycle()
        if self.model.fault:
            return
        assert self.model.prepared
        if self.bench.chance(0.3):
            self.bench.cover("go long after prepared")
            for _ in range(self.bench.random.randrange(1, 9)):
                await self.cycle()
        self.input_ends = self.bench.random.randrange(1, 6)
        await self.cycle(go=True)

    async def run(self, layers: list[Layer]) -> None:
        """An inference."""
        self.store(layers)
        for n, fields in enumerate(layers):
            if faults(self.bench.arch, fields, n, self.model.filled):
                break
            if n:
                self.limit += sum(work.frees for work in works(fields))
        await self.begin(layers)
        while self.model.running:
            await self.cycle()
        for _ in range(8):
            await self.cycle()


@test
async def idle(bench: Bench) -> None:
    """After the reset nothing runs."""
    made = Rig(bench)
    for _ in range(20):
        await made.cycle()


@test
async def most_layers(bench: Bench) -> None:
    """As many layers as there are numbers, or room in the table."""
    made = Rig(bench)
    words = bench.arch.table_words
    count = min(256, words // LAYER_WORDS)
    # Layers whose chunk may be the same, since there may be no room for one of each.
    layers = made.network(count, height=1, width=1, passes=1, chunks=1, log_slots=1, kernels=3)
    for fields in layers:
        fields["chunks"] = 1
    await _run_in_room(made, layers)
    bench.cover("as many layers as the table has room for")
    layers[-1] |= {"last": 0, "readout": 0}
    await _run_in_room(made, layers)
    assert made.model.fault is Fault.LAYERS
    assert made.model.number == count - 1
    bench.cover("fault: LAYERS")


async def _run_in_room(made: Rig, layers: list[Layer]) -> None:
    bench_words = made.bench.arch.table_words
    if len(layers) * (LAYER_WORDS + CHUNK_WORDS) <= bench_words:
        await made.run(layers)
        return
    # All layers share the words that are left at the table's end.
    store = made.store

    def shared(layers: list[Layer]) -> None:
        base = len(layers) * LAYER_WORDS
        chunk = pack(CHUNK, good_chunk(made.bench, layers[1], 0))
        for word in range(CHUNK_WORDS):
            made.table[base + word] = chunk >> WORD_BITS * word & WORD
        for number, fields in enumerate(layers):
            fields["chunk_base"] = base
            bits = pack(LAYER, fields)
            for n in range(LAYER_WORDS):
                word = bits >> WORD_BITS * n & (1 << WORD_BITS) - 1
                made.table[number * LAYER_WORDS + n] = word

        made.model.filled = bench_words

    made.store = shared  # type: ignore[method-assign]
    await made.run(layers)
    made.store = store  # type: ignore[method-assign]


BAD: tuple[tuple[str, dict[str, Any]], ...] = (
    ("timesteps", {"timesteps": 0}),
    *(("readout", {"readout": n}) for n in range(4)),
    *(("groups", {"groups": n}) for n in (0, 1, 2, 31, 32, 33, 34, 48, 63)),
    *(("leak", {"leak": n}) for n in (0, 4095, 4096, *(4096 + (1 << n) for n in range(12)))),
    *(("timesteps", {"timesteps": n}) for n in range(2, 16)),
    *(("neurons", {"log_tile_height": n}) for n in range(1, 16)),
    *(("neurons", {"log_tile_width": n}) for n in range(1, 16)),
    *(("neurons", {"log_tile_width": 12 - n, "log_tile_height": n}) for n in range(13)),
    *(("slots", {"log_slots": n}) for n in range(8)),
    *(("slots", {"slots_last": 1 << n}) for n in range(7)),
    *(("slots", {"log_slots": 2, "slots_last": n}) for n in range(7)),
    *(("slots", {"log_slots": 6, "slots_last": n}) for n in (0, 1, 63, 64, 65, 66, 96, 127)),
    *(("neurons", {"log_images": n}) for n in range(8)),
    *(("empty", {name: 0}) for name in ("height", "width", "passes", "parts")),
    *(
        ("pool", {"pool": 1, "height": h, "width": w})
        for h, w in ((1, 2), (2, 1), (2, 2), (511, 2), (6, 255))
    ),
    *(
        ("pool", {"pool": 1, "height": 2, "width": 2, "log_tile_height": h, "log_tile_width": w})
        for h, w in ((0, 1), (1, 0), (1, 1), (0, 0), (4, 0), (0, 2))
    ),
    *(("chunks", {"chunks": n}) for n in (0,)),
    *(("loads", {"loads": n}) for n in (0, *(1 << bit for bit in range(24)))),
    *(("threshold", {"threshold": n}) for n in (0, *(1 << bit for bit in range(24)))),
    *(("threshold", {"threshold": 0, "readout": n, "last": 1}) for n in (1, 2, 3)),
)


@test
async def faulty_layers(bench: Bench) -> None:
    """Each bit of each fault, in the first layer and in a later one; and what is just none."""
    made = Rig(bench)
    cases: list[tuple[int, dict[str, Any]]] = []
    for _, fields in BAD:
        cases += [(number, fields) for number in (0, 1)]
    cases += [(0, {"host": 0}), (1, {"host": 1}), (2, {"host": 1}), (0, {"last": 1})]
    # One bit alone: every other field is 0 where a fault asks for 0, or for a limit.
    for name in ("height", "width", "passes", "chunks", "groups", "parts"):
        width = LAYER[name].width
        cases += [(0, {"bit": name, "value": 1 << n}) for n in range(width)]
    for number, change in cases:
        layers = made.network(number + 2, height=2, width=2, passes=1, chunks=1)
        layers = layers[: number + 1] + layers[-1:]
        bad = layers[number]
        plain = {"log_tile_height": 1, "log_tile_width": 1, "log_slots": 0, "slots_last": 1}
        plain |= {"height": 2, "width": 2, "passes": 1, "pool": 0}
        if "bit" in change:
            bad |= plain | {change["bit"]: change["value"], "log_tile_height": 0}
        else:
            bad |= (plain if "neurons" not in change else {}) | change
        bad["image_region"] = bad["groups"] * bad["region"] & ENTRIES
        await bench.reset()
        made.reset()
        made.store(layers)
        found = faults(bench.arch, bad, number, made.model.filled)
        for fault in found:
            bench.cover(f"fault: {fault.name}")
        if not found and number:
            if sum(1 for _ in works(bad)) > 70:
                continue
            await made.run(layers)
        elif not found:
            await made.begin(layers)
            assert made.model.running
        else:
            await made.run(layers)
            assert made.model.fault, change
            assert made.model.number == number


@test
async def filled(bench: Bench) -> None:
    """Tables of which a part was filled: each word of a descriptor or a chunk may be the last."""
    made = Rig(bench)
    # Layers of which the second has the longest list, and the third the one that lies last.
    layers = made.network(3, height=1, width=1, passes=1, chunks=2)
    layers[2]["chunks"] = 1
    made.store(layers)
    words = 3 * LAYER_WORDS + 3 * CHUNK_WORDS
    store = made.store
    for count in range(words + 2):
        await bench.reset()
        made.reset()

        def shortened(layers: list[Layer], count: int = count) -> None:
            store(layers)
            made.model.filled = count

        made.store = shortened  # type: ignore[method-assign]
        await made.run(layers)
        assert bool(made.model.fault) == (count < words), count
        if made.model.fault:
            bench.cover(f"fault: {made.model.fault.name}")
    made.store = store  # type: ignore[method-assign]


@test
async def faulty_chunks(bench: Bench) -> None:
    """One that cannot be run, in any place; it stops the layer, whatever goes on around it."""
    made = Rig(bench)
    wrong: dict[Fault, tuple[str, int]] = {
        Fault.SLOTS: ("log_slots", 7),
        Fault.KERNEL: ("kernel", 3),
        Fault.LEAD: ("lead", bench.arch.pes),
        Fault.BIASES: ("biases", -1),
        Fault.BLOCKS: ("blocks", 0),
    }
    for turn in range(25):
        for fault, (name, value) in wrong.items():
            await bench.reset()
            made.reset()
            made.speeds()
            layers = made.network(3, kernels=1 + turn % 7)
            number = bench.random.randrange(1, 3)
            at = bench.random.randrange(layers[number]["chunks"])
            chunk = good_chunk(bench, layers[number], at)
            chunk[name] = value if value >= 0 else 1 - chunk[name]
            made.chunks[number, at] = chunk
            await made.run(layers)
            assert made.model.fault is fault
            assert made.model.number == number
            made.chunks.clear()
            bench.cover(f"fault of a chunk: {fault.name}")
    await bench.reset()
    made.reset()


@test
async def random_networks(bench: Bench) -> None:
    """Networks at all speeds, with and without a reset between them."""
    made = Rig(bench)
    most = min(6, bench.arch.table_words // 25)
    events = 0
    while events < bench.transactions:
        await made.run(made.network(bench.random.randrange(2, most + 1)))
        events += made.events
        made.events = 0
        if bench.chance(0.4):
            await bench.reset()
            made.reset()
        else:
            bench.cover("network after network without a reset")
        made.speeds()


@test
async def random_descriptors(bench: Bench) -> None:
    """Descriptors without any sense are errors, or run."""
    made = Rig(bench)
    for _ in range(min(200, bench.transactions // 10)):
        given = {"host": 1} if bench.chance(0.7) else {}
        fields = made.good(0, last=0)
        wild = noise(bench, **given)
        names = bench.random.sample(sorted(fields), 3)
        fields |= {name: wild[name] for name in names}
        await bench.reset()
        made.reset()
        layers = [fields, made.good(1, last=1, chunks=1)]
        made.store(layers)
        found = faults(bench.arch, fields, 0, made.model.filled)
        for fault in found:
            bench.cover(f"fault: {fault.name}")
        await made.begin(layers)
        assert bool(made.model.fault) == bool(found)
        for _ in range(3):
            await made.cycle()


@test
async def reset(bench: Bench) -> None:
    """A reset in the middle leaves nothing behind."""
    made = Rig(bench)
    for length in range(0, 120, 2):
        layers = made.network(3)
        made.limit = 99
        made.store(layers)
        await made.begin(layers)
        for _ in range(length):
            await made.cycle()
        bench.cover("reset while a layer runs", made.model.running)
        await bench.idle()
        await bench.reset()
        made.reset()
        for _ in range(4):
            await made.cycle()
