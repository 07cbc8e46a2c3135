"""Bench of the UART: every cycle of both directions against lists of levels; the lines need not be
connected, and are in one test.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from evenspike_core.arch import Arch
from evenspike_hw.board.uart import DIVISOR_MIN, UartReceiver, UartTransmitter
from tests.helpers.driver import Bench, test

ARCH = Arch(match_depth=DIVISOR_MIN)
"""The depth stands for the divisor."""

VARIANTS = {f"divisor{n}": Arch(match_depth=n) for n in (5, 16)}

BITS = 10


class Uart(wiring.Component):
    """A receiver and a transmitter side by side."""

    def __init__(self, divisor: int) -> None:
        self.divisor = divisor
        super().__init__(
            {
                "rx": In(1, init=1),
                "received": Out(stream.Signature(8)),
                "lost": Out(1),
                "sent": In(stream.Signature(8)),
                "tx": Out(1, init=1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.receiver = receiver = UartReceiver(self.divisor)
        m.submodules.transmitter = transmitter = UartTransmitter(self.divisor)
        wiring.connect(m, receiver.bytes, wiring.flipped(self.received))
        wiring.connect(m, wiring.flipped(self.sent), transmitter.bytes)
        m.d.comb += [
            receiver.rx.eq(self.rx),
            self.lost.eq(receiver.lost),
            self.tx.eq(transmitter.tx),
        ]
        return m


def component(arch: Arch) -> wiring.Component:
    return Uart(arch.match_depth)


def frame(byte: int) -> list[int]:
    return [0, *(byte >> n & 1 for n in range(8)), 1]


class Model:
    """The receiver as a story told a cycle at a time, the transmitter as levels to come."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.divisor = bench.arch.match_depth
        self.flops = deque([1, 1])
        self.level = 1
        self.story = self._receive()
        next(self.story)
        self.held: int | None = None
        self.received: list[int] = []
        self.levels: deque[int] = deque()
        self.sent = 0

    def _receive(self) -> Generator[tuple[str, int] | None, None, None]:
        """Sees `level` cycle by cycle; yields what has happened in it."""
        happened: tuple[str, int] | None = None
        while True:
            yield happened
            happened = None
            if self.level:
                continue
            seen = []
            for wait in (self.divisor // 2, *[self.divisor] * (BITS - 1)):
                for _ in range(wait):
                    yield happened
                seen.append(self.level)
                if seen == [1]:
                    self.bench.cover("glitch shorter than half a start bit")
                    break
            else:
                if seen[-1]:
                    happened = ("byte", sum(bit << n for n, bit in enumerate(seen[1:-1])))
                    continue
                self.bench.cover("stop bit is low")
                happened = ("bad", 0)
                while not self.level:
                    yield happened
                    self.bench.cover("line stays low", happened is None)
                    happened = None

    async def cycle(self, rx: int, take: bool = True, send: int | None = None) -> bool:
        """Whether the byte to send was taken."""
        bench = self.bench
        found = await bench.cycle(
            rx=rx,
            received__ready=take,
            sent__valid=send is not None,
            sent__payload=bench.bits(8) if send is None else send,
        )
        self.flops.append(rx)
        self.level = self.flops.popleft()
        happened = next(self.story)
        room = self.held is None or take
        lost = happened is not None and (happened[0] == "bad" or not room)
        ready = len(self.levels) <= 1
        expected = {
            "received__valid": int(self.held is not None),
            "lost": int(lost),
            "tx": self.levels.popleft() if self.levels else 1,
            "sent__ready": int(ready),
        }
        if self.held is not None:
            expected["received__payload"] = self.held
        bench.check(found, expected)
        self._corners(take, send, happened)
        if self.held is not None and take:
            self.received.append(self.held)
            self.held = None
        if happened is not None and happened[0] == "byte" and room:
            self.held = happened[1]
        if send is None or not ready:
            return False
        self.levels += [bit for bit in frame(send) for _ in range(self.divisor)]
        self.sent += 1
        return True

    def _corners(self, take: bool, send: int | None, happened: tuple[str, int] | None) -> None:
        cover = self.bench.cover
        came = happened is not None and happened[0] == "byte"
        cover("byte taken in the cycle it comes", take and self.held is not None)
        cover("byte waits", not take and self.held is not None)
        cover("overrun", came and self.held is not None and not take)
        cover("overrun, but taken in that very cycle", came and self.held is not None and take)
        cover("nothing to send", not self.levels and send is None)


@test
async def every_byte(bench: Bench) -> None:
    """In both directions, byte after byte without a gap, and each at the time of the docstring."""
    model = Model(bench)
    rx = [bit for byte in range(256) for bit in frame(byte) for _ in range(model.divisor)]
    begun = 0
    for now, level in enumerate([*rx, *[1] * 8 * model.divisor]):
        taken = await model.cycle(level, send=begun if begun < 256 else None)
        if taken:
            assert now == begun * BITS * model.divisor, "a byte in ten bits' time"
            begun += 1
            bench.cover("to send without a gap", begun > 1)
    assert model.received == list(range(256))
    assert begun == 256
    bench.cover("byte after byte without a gap")


@test
async def a_byte_comes_in_the_middle_of_its_stop_bit(bench: Bench) -> None:
    """The docstring's numbers, as numbers; and the next start bit may begin right there."""
    divisor = bench.arch.match_depth
    rx = [bit for bit in frame(0x5A) for _ in range(divisor)]
    rx = rx[: 9 * divisor + divisor // 2 + 1] * 2 + [1] * 20 * divisor
    there = []
    for level in rx:
        out = await bench.cycle(rx=level, received__ready=1)
        if out["received__valid"]:
            there.append((bench.now - 1, out["received__payload"]))
    looked = 2 + 9 * divisor + divisor // 2
    assert there == [(looked + 1, 0x5A), (looked + 1 + looked - 1, 0x5A)]
    bench.cover("stop bit cut short")


@test
async def a_second_byte_is_lost_unless_the_first_is_taken_in_time(bench: Bench) -> None:
    """Taken in the cycle in which the second is complete is in time."""
    divisor = bench.arch.match_depth
    complete = 2 + 19 * divisor + divisor // 2
    for late in (-1, 0, 1):
        model = Model(bench)
        rx = [bit for byte in (0x12, 0xED) for bit in frame(byte) for _ in range(divisor)]
        for now, level in enumerate([*rx, *[1] * divisor]):
            await model.cycle(level, take=now == complete + late)
        await model.cycle(1)
        assert model.received == ([0x12] if late == 1 else [0x12, 0xED])


@test
async def foreign_clocks(bench: Bench) -> None:
    """A sender whose bits are 4 % shorter or longer, with its own phase, is understood."""
    for factor in (0.96, 1.04):
        model = Model(bench)
        sent = [bench.bits(8) for _ in range(60)]
        bit = model.divisor * factor
        end = 0.0
        levels: list[int] = []
        for byte in sent:
            for level in frame(byte):
                end += bit
                levels += [level] * (round(end) - len(levels))
            if bench.chance(0.5):
                end += bench.random.random() * model.divisor
                levels += [1] * (round(end) - len(levels))
        for level in [*levels, *[1] * 9 * model.divisor]:
            await model.cycle(level)
        # In a bit of four cycles a sample may be a cycle off, and nine bits of 4 % are one more.
        if model.divisor >= 16:
            assert model.received == sent
        bench.cover("sender is 4 % fast (not below divisor 16)", factor < 1)
        bench.cover("sender is 4 % slow (not below divisor 16)", factor > 1)


@test
async def random_lines(bench: Bench) -> None:
    """Bytes, bytes with a low stop bit, breaks, glitches and noise, taken or not; bytes to send."""
    model = Model(bench)
    divisor = model.divisor
    levels: deque[int] = deque()
    to_send: int | None = None
    while model.sent < bench.transactions // 10 or levels:
        if not levels:
            take, send = bench.random.choice((1, 1, 0.5, 0.01)), bench.random.choice((1, 0.02, 0))
            kind = bench.random.choice(("byte", "byte", "byte", "bad", "glitch", "noise", "idle"))
            bits = frame(bench.bits(8))
            if kind == "bad":
                bits[-1:] = [0] * bench.random.choice((1, 1, 3, 15))
            if kind in ("byte", "bad"):
                levels += [bit for bit in bits for _ in range(divisor)]
                levels += [1] * bench.random.choice((0, 0, 1, divisor))
            elif kind == "glitch":
                levels += [0] * bench.random.randrange(1, divisor) + [1] * divisor
            elif kind == "noise":
                levels += [bench.random.getrandbits(1) for _ in range(40)]
            else:
                levels += [1] * bench.random.randrange(1, 12 * divisor)
        if to_send is None and bench.chance(send):
            to_send = bench.bits(8)
        if await model.cycle(levels.popleft(), bench.chance(take), to_send):
            to_send = None


@test
async def reset(bench: Bench) -> None:
    """In the middle of a byte: nothing comes of it, the line is idle, the next is whole."""
    divisor = bench.arch.match_depth
    bits = [bit for bit in frame(0xA5) for _ in range(divisor)]
    for length in range(1, len(bits), 3):
        model = Model(bench)
        await model.cycle(bits[0], take=False, send=0x3C)
        for level in bits[1:length]:
            await model.cycle(level, take=False)
        bench.cover("reset in a byte that is received")
        bench.cover("reset in a byte that is sent")
        await bench.cycle(rx=1, sent__valid=0, received__ready=0)
        await bench.reset()
        model = Model(bench)
        for level in [1, *bits, *[1] * divisor]:
            await model.cycle(level)
        assert model.received == [0xA5]
