"""Bench of Loader: whose word it is, when it may go, and what the table says, cycle by cycle."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from evenspike_core.arch import CHUNK_WORDS, Arch
from evenspike_hw.rtl.descriptor import CHUNK, LAYER, LAYER_WORDS
from evenspike_hw.rtl.layouts import Layouts
from evenspike_hw.rtl.loader import Loader
from tests.helpers.driver import Bench, pack, test, unpack

component = Loader
ARCH = Arch(pes=16, table_words=128)
VARIANTS = {
    "one-pe": Arch(pes=1, table_words=128),
    "two-pes": Arch(pes=2, table_words=128),
    "port128": Arch(pes=8, table_words=128, port_bits=128),
    "port256": Arch(pes=4, table_words=128, port_bits=256),
}
CONTEXT = ("kernel", "log_slots", "biases", "width", "base")
"""Fields of a chunk's table words that go to the PEs as they are."""

PREPARING = 15
"""Cycles from `prepare` to `prepared` at most."""

UNPACK = 4
"""Cycles that a PE takes at least for a word."""


class Network:
    """A table, and what walking it gives.

    Everything but word 0 of the layers is random, lists of chunks are anywhere and may overlap.
    """

    def __init__(self, bench: Bench, host: int, layers: list[tuple[int, int]]) -> None:
        """layers: loads and number of chunks of each behind the host layer."""
        self.host = host
        self.table = [bench.bits(64) for _ in range(ARCH.table_words)]
        self.layers = []
        for number, (loads, chunks) in enumerate([(host, bench.bits(12)), *layers]):
            fields = {"host": bench.bits(1), "last": number == len(layers), "loads": loads}
            base = bench.bits(16)
            word = pack(LAYER, fields | {"chunks": chunks, "chunk_base": base})
            used = LAYER["reserved"].offset
            self.table[LAYER_WORDS * number] &= -1 << used
            self.table[LAYER_WORDS * number] |= word
            self.layers.append((loads, chunks, base))

    def walk(self) -> Iterator[tuple[int, bool]]:
        """Addresses in their order, and whether it is a chunk's."""
        for number, (loads, chunks, base) in enumerate(self.layers):
            yield LAYER_WORDS * number, False
            for _ in range(loads if number else 0):
                for chunk in range(chunks):
                    yield (base + CHUNK_WORDS * chunk) % ARCH.table_words, True

    def contexts(self) -> Iterator[dict[str, int]]:
        for address, is_chunk in self.walk():
            if is_chunk:
                yield unpack(CHUNK, self.table[address])


class Model:
    """The words' way in each cycle. As if the table were known: the loader never waits for it."""

    def __init__(self, arch: Arch) -> None:
        self.pes = arch.pes
        self.lanes, self.bytes = arch.port_bits // 64, arch.port_bits // 8
        self.heads = -(-arch.pes // self.bytes)
        self.forget()

    def forget(self) -> None:
        self.host = self.head = self.half = 0
        self.targets: list[int] = []  # of each lane
        self.context: dict[str, int] | None = None
        self.contexts: Iterator[dict[str, int]] = iter(())
        self.left: list[int] = []
        self.counts: list[int] = []
        self.occupied: list[int] = []  # halves, the older first

    def begin(self, network: Network) -> None:
        self.host = network.host
        self.contexts = network.contexts()
        self.context = next(self.contexts)

    def may(self, ready: int) -> bool:
        """A word can be taken in this cycle."""
        if self.host:
            return True
        if self.context is None:
            return False
        if self.head == 0:
            return self.half not in self.occupied
        return self.head < self.heads or all(ready >> pe & 1 for pe in self.wanted)

    @property
    def wanted(self) -> list[int]:
        """PEs that get a lane of the word."""
        return [pe for pe in self.targets if self.left[pe]]

    def outputs(self, drive: dict[str, int]) -> dict[str, Any]:
        may = self.may(drive["ready"])
        taken = may and drive["word__valid"]
        word = drive["word__payload"]
        expected: dict[str, Any] = {"word__ready": int(may), "send": 0}
        if self.host:
            expected["input"] = int(taken) | word << 1
            if not taken:
                del expected["input"]
        elif taken and self.head == self.heads:
            assert self.context is not None
            expected["send"] = sum(1 << pe for pe in self.wanted)
            context = {name: self.context[name] for name in CONTEXT}
            context |= {"half": self.half, "lead": self.context["lead"] % self.pes}
            if self.pes == 1:
                del context["lead"]
            for pe in self.wanted:
                lane, left = pe % self.lanes, self.left[pe]
                expected[f"lane{lane}"] = {
                    "units": word >> 64 * lane & (1 << 64) - 1,
                    "first": left == self.counts[pe],
                    "last": left == 1,
                    "context": context,
                }
        return expected

    def step(self, drive: dict[str, int]) -> bool:
        """From this cycle to the next; whether a chunk has ended."""
        taken = self.may(drive["ready"]) and drive["word__valid"]
        if drive["free"]:
            self.occupied.pop(0)
        if not taken:
            return False
        if self.host:
            self.host -= 1
        elif self.head < self.heads:
            if self.head == 0:
                self.occupied.append(self.half)
                self.counts = []
            self.counts += drive["word__payload"].to_bytes(self.bytes, "little")
            self.head += 1
            self.left = self.counts = self.counts[: self.pes]
            self.targets = list(range(self.lanes))
        else:
            wanted = self.wanted
            self.left = [n - (pe in wanted) for pe, n in enumerate(self.left)]
            for pe in wanted:
                turn = [(pe + n) % self.pes for n in range(self.lanes, self.pes + 1, self.lanes)]
                left = [other for other in turn if self.left[other]]
                self.targets[pe % self.lanes] = left[0] if left else pe
            if not any(self.left):
                self.head, self.half = 0, 1 - self.half
                self.context = next(self.contexts, None)
                return True
        return False


class Rig:
    """The loader with a stream, a table, PEs and a sequencer.

    Chances in each cycle: gap (no new word), busy (a PE takes a cycle longer), kept (a half that
    could be free is not).
    """

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.width = bench.arch.port_bits
        self.model = Model(bench.arch)
        self.table = [0] * ARCH.table_words
        self.walk: Iterator[tuple[int, bool]] = iter(())
        self.read = bench.bits(64)  # on the table's output
        self.gap = self.busy = self.kept = 0.0
        self.unpack = UNPACK
        self.long = False  # chunks of hundreds of words for each PE
        self.word: int | None = None  # offered
        self.coming: list[int] = []  # counts of the chunk whose count words are offered
        self.shallow = bench.arch.pes // bench.arch.port_lanes > UNPACK
        self.resting = [0] * bench.arch.pes  # cycles until the PE is ready
        self.finished = 0  # chunks that have ended and still occupy their half
        self.prepared = self.preparing = False
        self.words = self.chunks = 0

    def styles(self) -> None:
        random = self.bench.random
        self.gap, self.busy, self.kept = (random.choice((0.0, 0.0, 0.3, 0.9)) for _ in range(3))
        self.kept = random.choice((self.kept, 0.99))
        # With fewer PEs a chunk would pass faster than its words can be unpacked.
        self.unpack = random.choice((0, UNPACK)) if self.shallow else UNPACK

    def counts(self) -> list[int]:
        """Words for each PE, and junk behind them."""
        bench, pes = self.bench, self.bench.arch.pes
        random = bench.random
        style = random.choice(("one", "few", "few", "few", "rest"))
        counts = [random.choice((1, 1, 2, 3)) for _ in range(pes)]
        if self.long:
            counts = [random.choice((0x55, 0xAA, 0x80, 0xFF)) for _ in range(pes)]
            counts[random.randrange(pes)] = 0xFF
        elif style == "one":
            counts = [1] * pes
            bench.cover("one word for each PE")
        elif style == "rest":
            counts[random.randrange(pes)] = random.choice((9, 20, 127))
        bench.cover("255 words", 255 in counts)
        return counts + [random.getrandbits(8) for _ in range(-pes % self.model.bytes)]

    def offer(self) -> int:
        """The next word of the stream."""
        model = self.model
        if model.host or model.head == model.heads:
            return self.bench.bits(self.width)
        if model.head == 0:
            self.coming = self.counts()
        at = model.bytes * model.head
        return int.from_bytes(self.coming[at : at + model.bytes], "little")

    async def cycle(self, prepare: int = 0, free: int | None = None) -> dict[str, int]:
        bench, model = self.bench, self.model
        if self.word is None and self.prepared and not bench.chance(self.gap):
            self.word = self.offer()
        if free is None:
            free = int(self.finished > 0 and not bench.chance(self.kept))
        ready = sum((rest == 0) << pe for pe, rest in enumerate(self.resting))
        drive = {
            "prepare": prepare,
            "word__valid": int(self.word is not None),
            "word__payload": bench.bits(self.width) if self.word is None else self.word,
            "free": free,
            "ready": ready,
            "table": self.read,
        }
        found = await bench.cycle(**drive)
        expected = model.outputs(drive)
        if self.preparing:
            del expected["word__ready"]  # no word is there
        else:
            expected["prepared"] = int(self.prepared)
        lanes = {name: expected.pop(name) for name in list(expected) if name.startswith("lane")}
        bench.check(found, expected)
        self._lanes(found["words"], lanes)
        if "input" not in expected:
            assert not found["input"] & 1, f"cycle {bench.now}: a word of the input"
        self._table(found["table_read"])
        self._corners(drive, expected)
        self._after(drive, expected)
        return found

    def _lanes(self, words: int, expected: dict[str, Any]) -> None:
        size = self.bench.outputs["words"].width // self.model.lanes
        layout = Layouts(self.bench.arch).load_word
        for name, fields in expected.items():
            got = words >> size * int(name.removeprefix("lane")) & (1 << size) - 1
            assert got == pack(layout, fields), (
                f"cycle {self.bench.now - 1}: {name} is {unpack(layout, got)}, expected {fields}"
            )

    def _table(self, read: int) -> None:
        if read & 1:
            address, _ = next(self.walk, (None, False))
            assert read >> 1 == address, f"reads {read >> 1} of the table, not {address}"
            self.read = self.table[read >> 1]

    def _after(self, drive: dict[str, int], expected: dict[str, Any]) -> None:
        for pe, rest in enumerate(self.resting):
            if expected["send"] >> pe & 1:
                self.resting[pe] = self.unpack
            elif rest and not self.bench.chance(self.busy):
                self.resting[pe] = rest - 1
        self.finished -= drive["free"]
        if self.model.may(drive["ready"]) and self.word is not None:
            self.word = None
            self.words += 1
        if self.model.step(drive):
            self.finished += 1
            self.chunks += 1

    def _corners(self, drive: dict[str, int], expected: dict[str, Any]) -> None:
        cover, model = self.bench.cover, self.model
        valid, may = drive["word__valid"], model.may(drive["ready"])
        cover("host layer", model.host and valid)
        cover("stream is empty where a word could go", may and not valid)
        cover("both halves occupied", len(model.occupied) == 2)
        if model.head == 0 and valid and not model.host:
            if not may and model.context:
                cover("first count word waits for its half")
                cover("half is freed while a first count word waits", drive["free"])
            elif may and drive["free"]:
                cover("half is freed with a first count word into the other")
        if model.head == model.heads and valid:
            if not may:
                cover("word waits for its PE")
            else:
                self._turn()

    def _turn(self) -> None:
        model, cover = self.model, self.bench.cover
        first = model.targets[0]
        own = model.left[:: model.lanes]
        behind, left = own[first // model.lanes + 1 :], model.left[first]
        cover(
            "turn goes from the last PE to the first",
            first // model.lanes == len(own) - 1 and sum(own) > 1,
        )
        cover("PE without words left is passed by", 0 in behind or len(own) == 1)
        cover("one PE has the rest", sum(model.left) == left > 1)
        wanted = len(model.wanted)
        cover("lane without words left", wanted < model.lanes or model.lanes == 1)
        cover("words for all lanes", wanted == model.lanes)

    async def prepare(self, network: Network) -> None:
        """The network's first word may come."""
        self.word = None
        self.gap, gap = 1.0, self.gap
        await self.cycle(prepare=1, free=0)
        self.gap = gap
        self.model.forget()
        self.table, self.walk = network.table, network.walk()
        self.prepared, self.preparing, self.finished = False, True, 0
        for _ in range(PREPARING):
            if (await self.cycle(free=0))["prepared"]:
                break
        else:
            raise AssertionError(f"not prepared after {PREPARING} cycles")
        self.prepared, self.preparing = True, False
        self.model.begin(network)

    async def play(self, network: Network, chunks: int | None = None) -> None:
        """To the end of the network, or of so many chunks."""
        await self.prepare(network)
        self.chunks = 0
        while self.model.context is not None and (chunks is None or self.chunks < chunks):
            await self.cycle()
        if self.model.context is None:
            for _ in range(12):
                self.word = self.bench.bits(self.width)  # of nobody
                await self.cycle()
            self.bench.cover("nothing after the last layer")
            assert next(self.walk, None) is None

    def random_network(self) -> Network:
        bench, random = self.bench, self.bench.random
        most = ARCH.table_words // LAYER_WORDS - 1
        count = random.choice((1, 2, 4, most))
        layers = [
            (random.choice((1, 1, 2, 5)), random.choice((1, 1, 2, 3, 9))) for _ in range(count)
        ]
        if count == most:
            layers = [(1, 1)] * count if bench.chance(0.5) else [(1, 2)] * count
            bench.cover("all layers that fit the table")
        return self.network(random.choice((1, 2, 6, 50)), layers)

    def network(self, host: int, layers: list[tuple[int, int]]) -> Network:
        """host: words of the input. layers: loads and chunks of each."""
        bench = self.bench
        for loads, chunks in layers:
            bench.cover("chunk list loaded again", loads > 1 and chunks > 1)
            if loads == 1:
                bench.cover(
                    "list of several chunks" if chunks > 1 else "layer of one load of one chunk"
                )
        return Network(bench, host, layers)


@test
async def idle(bench: Bench) -> None:
    """After the reset nothing is read or taken, before a `prepare`."""
    made = Rig(bench)
    for _ in range(20):
        made.word = bench.bits(made.width)
        await made.cycle()


@test
async def random_networks(bench: Bench) -> None:
    """Whole networks, with all kinds of stalls."""
    made = Rig(bench)
    await made.play(made.network(2, [(1, 1), (1, 2), (2, 2)]))
    while made.words < bench.transactions:
        made.styles()
        await made.play(made.random_network())


@test
async def throughput(bench: Bench) -> None:
    """A word a cycle, from the first of the host layer to the last of the second chunk."""
    made = Rig(bench)
    made.unpack, pes = 0, bench.arch.pes
    await made.prepare(Network(bench, 20, [(1, 1), (1, 1)]))
    for _ in range(20 + 2 * (made.model.heads + pes // made.model.lanes)):
        taken = made.words
        if made.model.head == 0 and not made.model.host:
            ones = [1] * pes + [0] * (-pes % made.model.bytes)
            made.word = int.from_bytes(bytes(ones[: made.model.bytes]), "little")
            made.coming = ones
        await made.cycle()
        assert made.words == taken + 1
    assert made.model.context is None


@test
async def long_chunks(bench: Bench) -> None:
    """Every bit of the counts of words."""
    made = Rig(bench)
    made.unpack = 0 if made.shallow else UNPACK
    made.long = True
    await made.play(Network(bench, 1, [(2, 1)]))


@test
async def large_counts(bench: Bench) -> None:
    """Every bit of the counters: layers too long to see their end, then something else."""
    made = Rig(bench)
    for bit in range(1, 24):
        made.styles()
        await made.play(Network(bench, 3, [(1 << bit | 1, bit % 2 + 1), (1, 2)]), 5)
        bench.cover("broken off by prepare")
        await made.prepare(Network(bench, 1 << bit | 1, [(1, 1)]))
        while made.model.host > (1 << bit) - 20 and made.model.host:
            await made.cycle()
    for bit in range(1, 12):
        await made.play(Network(bench, 3, [(2, 1 << bit | 1), (2, 1)]), 5)
    made.styles()
    await made.play(Network(bench, 1, [(2, 33), (2, 17)]))


@test
async def broken_off(bench: Bench) -> None:
    """`prepare` and reset after any number of cycles leave nothing behind."""
    made = Rig(bench)
    for length in range(60):
        made.styles()
        await made.prepare(Network(bench, length % 3 + 1, [(2, 2), (1, 1)]))
        for _ in range(2 * length):
            await made.cycle()
        if length % 4 == 0:
            await bench.reset()
            made.model.forget()
            made.prepared, made.finished = False, 0
            made.walk = iter(())
            made.word = None
            for _ in range(5):
                await made.cycle()
