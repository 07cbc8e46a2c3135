"""Bench of the bridge: the protocol told as a story, each output in every cycle."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from typing import Any

from amaranth.lib import wiring

from evenspike_core.arch import Arch
from evenspike_hw.board.bridge import Bridge
from tests.helpers.driver import Bench, test

ARCH = Arch(table_words=100)
"""The words of the table stand for those of the memory."""

VARIANTS = {"power-of-two": Arch(table_words=1 << 10)}

OK, NO, DAMAGED = 6, 21, 24
WRITE, READ, SET, GET = 3, 5, 6, 9
"""Opcodes."""

WORD = (1 << 64) - 1
Story = Generator[dict[str, Any], dict[str, int], None]
"""Yields what it does in a cycle, beside idling; is sent the inputs of that cycle."""


def check(content: bytes) -> bytes:
    """CRC-16 of polynomial 1021, from FFFF on, bit by bit."""
    value = 0xFFFF
    for byte in content:
        for bit in range(7, -1, -1):
            flips = value >> 15 ^ byte >> bit & 1
            value = value << 1 & 0xFFFF ^ 0x1021 * flips
    return value.to_bytes(2, "big")


def frame(opcode: int, *what: int) -> bytes:
    """A command of an opcode and up to five bytes."""
    content = bytes([opcode, *what]).ljust(6, b"\0")
    return content + check(content)


def words(content: bytes) -> bytes:
    return content + check(content)


def component(arch: Arch) -> wiring.Component:
    return Bridge(arch.table_words)


class Model:
    """inputs, sent back into the story: of the cycle. faults: BEYOND and LOST."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.size = bench.arch.table_words
        self.top = 1 << (self.size - 1).bit_length()
        self.faults = 0
        self.clear = 0
        self.answered = 0  # commands
        self.story = self._run()
        self.now = next(self.story)

    def _run(self) -> Story:
        while True:
            start = yield from self._take(1)
            if start == b"\0":
                self.bench.cover("no operation")
                continue
            frame = start + (yield from self._take(7))
            opcode, operands = frame[0], frame[1:6]
            if check(frame[:6]) != frame[6:]:
                self.bench.cover("a frame with a wrong checksum", opcode in (WRITE, READ, SET, GET))
                yield {}
                yield from self._say(DAMAGED)
            elif opcode == WRITE:
                yield from self._write(operands)
            elif opcode == READ:
                yield from self._read(operands)
            elif opcode in (SET, GET):
                yield from self._register(opcode == SET, operands)
            else:
                self.bench.cover("unknown opcode")
                yield {}
                yield from self._say(NO)

    def _take(self, count: int) -> Generator[dict[str, Any], dict[str, int], bytes]:
        found = bytearray()
        while len(found) < count:
            inputs = yield {"commands__ready": 1}
            if inputs["commands__valid"]:
                found.append(inputs["commands__payload"])
        return bytes(found)

    def _say(self, first: int, words: int = 0) -> Story:
        """An answer; behind its first byte comes what the story reads of memory."""
        yield from self._send(first)
        said = bytes([first])
        if words:
            said += yield from self._read_words(words)
        yield from self._send(*check(said))
        self.answered += 1

    def _send(self, *numbers: int) -> Story:
        for number in numbers:
            while not (yield {"answers__valid": 1, "answers__payload": number})["answers__ready"]:
                self.bench.cover("an answer waits")

    def _access(self, write: int, address: int, word: int) -> Story:
        self.bench.cover("addresses run over 2^32", address > (1 << 32) - 1)
        self.bench.cover("addresses run over the last word", address == self.size)
        self.bench.cover(
            "an address above the memory's by one bit",
            address.bit_count() == 1 and address >= self.top,
        )
        # What is no word stays none, however it is written.
        place = address if address < self.top else self.top + address % self.top
        payload: dict[str, Any] = {"write": write, "address": place, "data": word}
        while not (yield {"access__valid": 1, "access__payload": payload})["access__ready"]:
            self.bench.cover(
                "a write waits for the memory" if write else "a read waits for the memory"
            )

    def _write(self, operands: bytes) -> Story:
        yield {}
        address = int.from_bytes(operands[:4], "little")
        yield from self._say(OK)
        content = b""
        for n in range(operands[4] + 1):
            content += yield from self._take(8)
            yield from self._access(1, address + n, int.from_bytes(content[-8:], "little"))
        good = check(content) == (yield from self._take(2))
        self.bench.cover("words with a wrong checksum", not good)
        yield {}
        yield from self._say(OK if good else DAMAGED)
        self.bench.cover("one word written", operands[4] == 0)
        self.bench.cover("256 words written", operands[4] == 255)

    def _read(self, operands: bytes) -> Story:
        yield {}
        self.address = int.from_bytes(operands[:4], "little")
        yield from self._say(OK, operands[4] + 1)
        self.bench.cover("one word read", operands[4] == 0)
        self.bench.cover("256 words read", operands[4] == 255)

    def _read_words(self, count: int) -> Generator[dict[str, Any], dict[str, int], bytes]:
        found = b""
        for n in range(count):
            yield from self._access(0, self.address + n, -1)
            found += (yield {})["word"].to_bytes(8, "little")
            yield from self._send(*found[-8:])
        return found

    def _register(self, write: bool, operands: bytes) -> Story:
        register = operands[0]
        bus: dict[str, Any] = {"address": register & 15, "write": int(write and register < 16)}
        bus["data"] = int.from_bytes(operands[1:], "little") if write else -1
        self.clear = bus["data"] & 3 if write and register == 16 else 0
        yield {"bus": bus}
        self.clear = 0
        self.bench.cover("a register that is not there is written", register > 16 and write)
        self.bench.cover("a register that is not there is read", register > 16 and not write)
        if register > 16:
            yield from self._say(NO)
            return
        if write:
            self.bench.cover("register written")
            yield from self._say(OK)
            return
        value = (yield {})["registers__read"]
        if register == 16:
            self.bench.cover("board's register read")
            value = self.size << 8 | self.faults
        self.bench.cover("register read")
        said = bytes([OK, *value.to_bytes(4, "little")])
        yield from self._send(*said, *check(said))
        self.answered += 1

    async def cycle(self, byte: int | None, **inputs: int) -> dict[str, int]:
        """The outputs. byte: of a command."""
        bench = self.bench
        inputs |= {
            "commands__valid": int(byte is not None),
            "commands__payload": bench.bits(8) if byte is None else byte,
        }
        found = await bench.cycle(**inputs)
        idle = dict.fromkeys(("commands__ready", "answers__valid", "access__valid"), 0)
        expected: dict[str, Any] = idle | self.now
        wanted = expected.pop("bus", {"address": 0, "write": 0, "data": -1})
        bus = {name: found[f"registers__{name}"] for name in wanted}
        if wanted["data"] == -1 or not wanted["write"]:
            bus["data"] = wanted["data"]
        assert bus == wanted, f"cycle {bench.now - 1}: bus is {bus}, expected {wanted}"
        payload = expected.get("access__payload")
        if payload and payload["data"] == -1:
            shown = bench.fields("access__payload", found["access__payload"])
            expected["access__payload"] = payload | {"data": shown["data"]}
        bench.check(found, expected | {"faults": self.faults})
        pulses = inputs["beyond"] | inputs["lost"] << 1
        bench.cover(
            "one fault cleared, the other stays",
            self.clear & self.faults and self.faults & ~self.clear,
        )
        bench.cover("a fault in the cycle in which it is cleared", self.clear & pulses)
        faults = self.faults & ~self.clear | pulses
        self.now = self.story.send(inputs)  # it still sees the faults of the cycle that ends
        self.faults = faults
        return found


class Rig:
    """Sends commands to the component. pauses: shares of the cycles in which no byte comes, in
    which none is taken, in which the memory is not ready; noise: in which there is a fault.
    """

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.model = Model(bench)
        self.bytes: deque[int] = deque()
        self.pauses = [0.0, 0.0, 0.0]
        self.noise = 0.0
        self.answers = bytearray()
        self._held = False

    async def cycle(self) -> None:
        bench, model = self.bench, self.model
        comes, taken, ready = (not bench.chance(share) for share in self.pauses)
        self._held = bool(self.bytes) and (self._held or comes)
        found = await model.cycle(
            self.bytes[0] if self._held else None,
            answers__ready=taken,
            access__ready=ready,
            word=bench.bits(64),
            registers__read=bench.bits(32),
            beyond=bench.chance(self.noise),
            lost=bench.chance(self.noise),
        )
        if self._held and found["commands__ready"]:
            self.bytes.popleft()
            self._held = False
            bench.cover("a command waits for its next byte", not self.bytes and bench.chance(0.5))
        if taken and found["answers__valid"]:
            self.answers.append(found["answers__payload"])

    async def send(self, command: bytes) -> bytes:
        """The answer, once nothing happens any more."""
        self.bytes += command
        self.answers.clear()
        quiet = 0
        while quiet < 30:
            await self.cycle()
            busy = bool(self.bytes) or "commands__ready" not in self.model.now
            quiet = 0 if busy else quiet + 1
        return bytes(self.answers)

    def command(self) -> bytes:
        """A random one, complete; some are damaged."""
        bench = self.bench
        known = (0, WRITE, WRITE, READ, READ, SET, SET, GET, GET)
        opcode = bench.random.choice((*known, bench.random.randrange(256)))
        if opcode == 0:
            return b"\0"
        last = bench.random.choice((0, 0, 1, 2, 7, 30))
        register = bench.random.choice((bench.random.randrange(16), 16, bench.bits(8)))
        what = [register, *bench.bits(32).to_bytes(4, "little")]
        if opcode in (WRITE, READ):
            what = [*self.address().to_bytes(4, "little"), last]
        found = bytearray(frame(opcode, *what))
        if bench.chance(0.15):
            found[bench.random.randrange(1, 8)] ^= 1 << bench.random.randrange(8)
            return bytes(found)
        if opcode == WRITE:
            body = b"".join(bench.bits(64).to_bytes(8, "little") for _ in range(last + 1))
            found += words(body)
            found[-bench.random.randrange(1, 9)] ^= bench.chance(0.2) << bench.random.randrange(8)
        return bytes(found)

    def address(self) -> int:
        bench, size = self.bench, self.model.size
        kind = bench.random.randrange(4)
        if kind == 0:
            return bench.bits(32)
        if kind == 1:
            return (1 << 32) - bench.random.randrange(1, 8)
        return bench.random.randrange(size) if kind == 2 else size - bench.random.randrange(1, 8)


def said(*numbers: int) -> bytes:
    """An answer."""
    return words(bytes(numbers))


@test
async def the_protocol_byte_by_byte(bench: Bench) -> None:
    """The module's table, as bytes."""
    rig = Rig(bench)
    size = bench.arch.table_words.to_bytes(3, "little")
    many = words(bytes(range(256)) * 8)
    for command, answer in (
        (b"\x00", b""),
        (frame(3, 2, 0, 0, 0, 255) + many, said(6) * 2),
        (frame(3, 0, 0, 0, 0, 0) + words(b"12345678"), said(6) * 2),
        (frame(3, 0, 0, 0, 0, 0) + words(b"12345678")[:-1] + b"\0", said(6) + said(24)),
        (frame(6, 9, 1, 2, 3, 4), said(6)),
        (frame(6, 16, 255, 255, 255, 255), said(6)),
        (frame(6, 17, 1, 2, 3, 4), said(21)),
        (frame(6, 32, 1, 2, 3, 4), said(21)),
        (frame(9, 16), said(6, 0, *size)),
        (frame(9, 17), said(21)),
        (frame(9, 144), said(21)),
        (frame(1), said(21)),
        (frame(0x80), said(21)),
        (frame(0xFF), said(21)),
        (frame(9, 16)[:-1] + b"\0", said(24)),
    ):
        assert await rig.send(command) == answer
    for last in (0, 255):
        answer = await rig.send(frame(5, 0, 0, 0, 0, last))
        assert answer[0] == OK
        assert len(answer) == 1 + 8 * (last + 1) + 2
    assert len(await rig.send(frame(9, 8))) == 7


@test
async def every_bit_of_a_frame(bench: Bench) -> None:
    """Flipped: it is answered as damaged, and nothing else happens."""
    rig = Rig(bench)
    for command in (
        frame(3, 5, 0, 0, 0, 1),
        frame(5, 9, 0, 0, 0, 0),
        frame(6, 3, 1, 2, 3, 4),
        frame(9, 16),
    ):
        for bit in range(64):
            flipped = bytearray(command)
            flipped[bit // 8] ^= 1 << bit % 8
            assert await rig.send(bytes(flipped)) == said(24)
    content = words(bytes(range(16)))
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        assert await rig.send(frame(3, 5, 0, 0, 0, 1) + bytes(flipped)) == said(6) + said(24)


@test
async def faults(bench: Bench) -> None:
    """They stay until each is cleared, and its neighbour stays."""
    rig = Rig(bench)
    for clears in (1, 2, 1, 3):
        rig.noise = 1.0
        await rig.cycle()
        rig.noise = 0.0
        assert (await rig.send(frame(9, 16)))[1] == 3
        await rig.send(frame(6, 16, clears))
        assert (await rig.send(frame(9, 16)))[1] == 3 & ~clears
        await rig.send(frame(6, 0, 3))  # of another register
        assert (await rig.send(frame(9, 16)))[1] == 3 & ~clears


@test
async def every_bit_of_an_address(bench: Bench) -> None:
    rig = Rig(bench)
    for bit in range(32):
        for address in (1 << bit, (1 << bit) - 1):
            head = address.to_bytes(4, "little")
            await rig.send(frame(5, *head, 2))
            await rig.send(frame(3, *head, 1) + words(bytes(range(16))))


@test
async def random_commands(bench: Bench) -> None:
    """Whole ones, one behind the other, with all kinds of stalls and faults."""
    rig = Rig(bench)
    while rig.model.answered < bench.transactions // 20:
        rig.pauses = [bench.random.choice((0, 0, 0.3, 0.9)) for _ in range(3)]
        rig.noise = bench.random.choice((0, 0.01, 0.3))
        for _ in range(8):
            rig.bytes += rig.command()
        bench.cover("a command behind a command without a pause")
        while rig.bytes:
            await rig.cycle()
    await rig.send(b"")


@test
async def noise_on_the_line(bench: Bench) -> None:
    """Commands that lack a byte: what follows is taken for it, and zeros lead back."""
    rig = Rig(bench)
    for _ in range(12):
        command = bytearray(rig.command())
        del command[bench.random.randrange(len(command))]
        rig.bytes += command
        for _ in range(3):
            rig.bytes += rig.command()
        await rig.send(b"")
        await rig.send(bytes(8 * 256 + 2))
        assert len(await rig.send(frame(9, 16))) == 7
        bench.cover("a command that was cut off is completed by zeros")


@test
async def reset(bench: Bench) -> None:
    """Behind each byte of a command: the next byte is an opcode."""
    for command in (
        frame(3, 0, 0, 0, 0, 1) + words(bytes(range(16))),
        frame(5, 0, 0, 0, 0, 0),
        frame(9, 8),
    ):
        for length in range(1, 2 * len(command)):
            rig = Rig(bench)
            rig.bytes += command
            for _ in range(length):
                await rig.cycle()
            await bench.cycle(commands__valid=0, answers__ready=0, beyond=0, lost=0)
            await bench.reset()
            bench.cover("reset in a command")
            assert await Rig(bench).send(frame(7)) == said(21)
