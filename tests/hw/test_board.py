"""The board without its board: the host's client on the RTL that it talks to, in a simulator."""

from __future__ import annotations

import gc
import itertools
import re
import warnings
from binascii import crc_hqx
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("amaranth")

from amaranth.hdl import Module, Signal, UnusedElaboratable
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from evenspike_core import reference
from evenspike_core.arch import Arch
from evenspike_core.errors import EvenspikeError
from evenspike_core.mapping import choose
from evenspike_core.pack import Packed, pack
from evenspike_hw.board.bridge import BOARD, LONGEST, Bridge, Opcode
from evenspike_hw.board.client import FILL, START, Client
from evenspike_hw.board.memory import BoardMemory
from evenspike_hw.board.system import System
from evenspike_hw.board.uart import UartReceiver, UartTransmitter
from evenspike_hw.engine.host import Masks, MemoryMap
from evenspike_hw.rtl.descriptor import LAYER_WORDS, encode
from evenspike_hw.rtl.registers import Register, Registers
from evenspike_sim.accelerator import Accelerator
from tests.helpers.networks import random_pixels, random_program

ARCH = Arch(
    pes=2,
    timesteps=2,
    accumulators=4,
    scratchpad_words=256,
    header_words=40,
    chunk_blocks=2,
    fifo_depth=4,
    match_depth=2,
    slots=4,
    memory_latency=3,
    stream_depth=6,
    spike_entries=64,
    row_entries=1,
    table_words=128,
)
NEXT_CYCLE = replace(ARCH, memory_latency=1, stream_depth=2)
SEED = 266
"""Of a network of three layers, of which two fire, with three filters in the last; one layer is
carried from one group of timesteps to the other.
"""

SENT, GOT = 528, 392
"""Bits of the session of `test_no_flipped_bit_goes_unseen`."""

DIVISOR = 4
WORDS = 128
PROGRAM = random_program(SEED, timesteps=3, max_side=3, max_filters=3)


def image_for(arch: Arch) -> Packed:
    return pack(PROGRAM, choose(PROGRAM, arch), arch)


def spikes_of(seed: int) -> Masks:
    return reference.encode(PROGRAM, random_pixels(PROGRAM, seed))


class Line:
    """A transport whose other end is simulated, as long as the host reads.

    quiet: cycles in which no byte has moved; the patience is how many of them a read waits for.
    """

    def __init__(self, design: Any, patience: int) -> None:
        self.design = design
        self.patience = patience
        self.out: deque[int] = deque()
        self.found = bytearray()
        self.quiet = 0
        self.simulator = Simulator(design)
        self.simulator.add_clock(1e-6)
        for testbench in self.testbenches():
            self.simulator.add_testbench(testbench, background=True)

    def testbenches(self) -> list[Callable[[Any], Any]]:
        raise NotImplementedError

    def write(self, data: bytes) -> None:
        self.out.extend(data)

    def read(self, size: int) -> bytes:
        self.quiet = 0
        while len(self.found) < size and self.quiet < self.patience:
            self.simulator.advance()
        got = bytes(self.found[:size])
        del self.found[:size]
        return got


class UartLine(Line):
    """To a System, bit by bit. lamps: `busy` and `error` of the last cycle; lit: times that `busy`
    has come on.
    """

    def __init__(self, arch: Arch) -> None:
        self.lamps = (0, 0)
        self.lit = 0
        super().__init__(System(arch, WORDS, DIVISOR), 100 * DIVISOR)

    def testbenches(self) -> list[Callable[[Any], Any]]:
        return [self._send, self._receive, self._count]

    async def _send(self, ctx: Any) -> None:
        while True:
            if not self.out:
                await ctx.tick()
                self.quiet += 1
                self.lamps = (ctx.get(self.design.busy), ctx.get(self.design.error))
                continue
            byte = self.out.popleft()
            for bit in (0, *(byte >> n & 1 for n in range(8)), 1):
                ctx.set(self.design.rx, bit)
                await ctx.tick().repeat(DIVISOR)
            self.quiet = 0

    async def _receive(self, ctx: Any) -> None:
        tx = self.design.tx
        while True:
            await ctx.negedge(tx)
            await ctx.tick().repeat(DIVISOR // 2)
            byte = 0
            for n in range(8):
                await ctx.tick().repeat(DIVISOR)
                byte |= ctx.get(tx) << n
            await ctx.tick().repeat(DIVISOR)
            assert ctx.get(tx), "no stop bit"
            self.found.append(byte)
            self.quiet = 0

    async def _count(self, ctx: Any) -> None:
        while True:
            await ctx.posedge(self.design.busy)
            self.lit += 1


class Stub(wiring.Component):
    """Bridge, memory and registers, and of the accelerator no more: with `hangs` a start keeps it
    busy in layer 1 for good, else nothing comes of it.
    """

    def __init__(self, arch: Arch, words: int, *, hangs: bool) -> None:
        self.arch = arch
        self.words = words
        self.hangs = hangs
        byte = stream.Signature(8)
        super().__init__({"commands": In(byte), "answers": Out(byte), "lost": In(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.bridge = bridge = Bridge(self.words)
        m.submodules.memory = memory = BoardMemory(self.words, self.arch.memory_latency)
        m.submodules.registers = registers = Registers(self.arch)
        wiring.connect(m, wiring.flipped(self.commands), bridge.commands)
        wiring.connect(m, bridge.answers, wiring.flipped(self.answers))
        wiring.connect(m, bridge.access, memory.access)
        wiring.connect(m, bridge.registers, registers.bus)
        busy = Signal()
        m.d.comb += [
            bridge.word.eq(memory.word),
            bridge.beyond.eq(memory.beyond),
            bridge.lost.eq(self.lost),
            registers.busy.eq(busy),
            registers.number.eq(1),
        ]
        with m.If(registers.start & self.hangs):
            m.d.sync += busy.eq(1)
        return m


class ByteLine(Line):
    """To a Stub, byte by byte. loses: the UART would lose a byte in the next cycle."""

    def __init__(self, arch: Arch = ARCH, words: int = WORDS, *, hangs: bool = False) -> None:
        self.loses = False
        super().__init__(Stub(arch, words, hangs=hangs), 30)

    def testbenches(self) -> list[Callable[[Any], Any]]:
        return [self._run]

    async def _run(self, ctx: Any) -> None:
        commands, answers = self.design.commands, self.design.answers
        ctx.set(answers.ready, 1)
        while True:
            ctx.set(self.design.lost, self.loses)
            self.loses = False
            ctx.set(commands.valid, bool(self.out))
            ctx.set(commands.payload, self.out[0] if self.out else 0)
            self.quiet += 1
            if self.out and ctx.get(commands.ready):
                self.out.popleft()
                self.quiet = 0
            if ctx.get(answers.valid):
                self.found.append(ctx.get(answers.payload))
                self.quiet = 0
            await ctx.tick()


# --- a network over the UART -----------------------------------------------------------------


@pytest.mark.parametrize(
    "arch",
    [
        pytest.param(ARCH, id="three-cycles"),
        pytest.param(NEXT_CYCLE, id="next-cycle", marks=pytest.mark.long),
    ],
)
def test_a_network_over_the_uart_is_that_of_the_model(arch: Arch) -> None:
    """Image after image, in logits and cycles; then one that stops, and one behind it."""
    line = UartLine(arch)
    client = Client(line)
    packed = image_for(arch)
    model = Accelerator(packed)
    client.load(packed)
    for seed in (SEED, SEED + 1):
        runs = model.run(spikes_of(seed))
        result = client.run(spikes_of(seed))
        assert result.logits.tolist() == runs[-1].logits.tolist()  # type: ignore[union-attr]
        assert result.cycles == sum(run.cycles for run in runs)
        assert not result.overflow
        assert any(run.masks.any() for run in runs), "a network without a spike"
    assert line.lamps == (0, 0)
    # What is no status does not get to the lamps.
    client.write_register(Register.TABLE, (1 << 32) - 1)
    assert client.read_register(Register.TABLE) == (1 << 32) - 1
    assert line.lit == 4, "the reset, the table, and two inferences"
    # The registers answer while it runs.
    client.write_register(Register.CONTROL, START)
    first, second = (client.read_register(Register.CYCLES) for _ in range(2))
    assert 0 < first < second
    assert line.lit == 5


@pytest.mark.long
def test_a_run_that_stops_names_its_layer_and_the_next_is_right() -> None:
    line = UartLine(ARCH)
    client = Client(line)
    packed = image_for(ARCH)
    client.load(packed)
    client.write_memory(LAYER_WORDS, np.zeros(LAYER_WORDS, dtype=np.uint64))
    client.write_register(Register.CONTROL, FILL)
    message = r"stopped at layer layer1 \(number 1\), fault TIMESTEPS: the last group has no"
    with pytest.raises(EvenspikeError, match=message):
        client.run(spikes_of(SEED))
    client.read_register(Register.CYCLES)
    assert line.lamps == (0, 1)
    client.load(packed)
    runs = Accelerator(packed).run(spikes_of(SEED))
    result = client.run(spikes_of(SEED))
    assert result.logits.tolist() == runs[-1].logits.tolist()  # type: ignore[union-attr]
    assert result.cycles == sum(run.cycles for run in runs)
    client.read_register(Register.CYCLES)
    assert line.lamps == (0, 0)
    client.write_register(Register.LOGITS, WORDS)
    with pytest.raises(EvenspikeError, match=r"beyond its 128 words .* \(the accelerator's own"):
        client.run(spikes_of(SEED))


# --- memory and registers --------------------------------------------------------------------


def test_memory_and_registers_keep_what_they_get() -> None:
    client = Client(ByteLine(words=1000))
    words = np.random.default_rng(1).integers(0, 1 << 64, 600, dtype=np.uint64)
    client.write_memory(400, words)
    client.write_memory(399, words[:1])
    assert client.read_memory(399, 601).tolist() == [words[0], *words]
    assert client.read_memory(0, 300).tolist() == [0] * 300
    client.write_register(Register.WEIGHTS, 0xDEADBEEF)
    assert client.read_register(Register.WEIGHTS) == 0xDEADBEEF
    assert client.read_register(BOARD) >> 8 == 1000


def test_an_address_that_is_no_word_is_an_error_once() -> None:
    client = Client(ByteLine(words=100))
    client.write_memory(0, np.arange(1, 101, dtype=np.uint64))
    with pytest.raises(EvenspikeError, match=r"beyond its 100 words .* \(2 words read from 99 on"):
        client.read_memory(99, 2)
    with pytest.raises(EvenspikeError, match=r"beyond its 100 words .* written from 4294967295"):
        client.write_memory((1 << 32) - 1, np.array([7, 7], dtype=np.uint64))
    assert client.read_memory(0, 100).tolist() == list(range(1, 101))


def test_a_byte_that_the_uart_loses_is_an_error() -> None:
    line = ByteLine()
    client = Client(line)
    line.loses = True
    with pytest.raises(EvenspikeError, match=r"its UART has lost a byte \(1 words read from 0 on"):
        client.read_memory(0, 1)
    assert client.read_memory(0, 1).tolist() == [0]


def test_what_the_bridge_does_not_know_is_refused() -> None:
    line = ByteLine()
    client = Client(line)
    client.write_memory(0, np.arange(WORDS, dtype=np.uint64))
    for opcode in (1, 0x7F, 0xFF):
        frame = bytes([opcode, 1, 2, 3, 4, 5])
        line.write(frame + crc_hqx(frame, 0xFFFF).to_bytes(2, "big"))
        assert line.read(4) == b"\x15" + crc_hqx(b"\x15", 0xFFFF).to_bytes(2, "big")
        line.write(frame + b"\0\0")
        assert line.read(4) == b"\x18" + crc_hqx(b"\x18", 0xFFFF).to_bytes(2, "big")
    for register in (17, 255):
        with pytest.raises(EvenspikeError, match=f"refuses READ_REGISTER {register:02x}"):
            client.read_register(register)
        with pytest.raises(EvenspikeError, match=f"refuses WRITE_REGISTER {register:02x} 01"):
            client.write_register(register, 1)
    assert client.read_memory(0, WORDS).tolist() == list(range(WORDS))
    assert client.read_register(Register.INPUT) == 0


def test_a_command_that_was_cut_off_is_left_behind() -> None:
    line = ByteLine()
    client = Client(line)
    assert LONGEST == 256 * 8 + 2
    frame = bytes([Opcode.WRITE_MEMORY, 0, 0, 0, 0, 255])
    line.write(frame + crc_hqx(frame, 0xFFFF).to_bytes(2, "big"))
    assert line.read(3)[0] == 6
    line.write(bytes(8) * 3)
    with pytest.raises(EvenspikeError, match=r"no answer to READ_REGISTER 08 .* within"):
        client.read_register(Register.DIGEST)
    client.synchronise()
    line.write(bytes([Opcode.WRITE_REGISTER, Register.INPUT, 1]))
    client.synchronise()
    assert client.read_register(Register.INPUT) == 0
    assert client.read_register(Register.DIGEST) == int(ARCH.digest[:8], 16)


class FlippedLine(ByteLine):
    """Flips a bit of what the host sends, counted from when it is said so; keeps what it gets."""

    def __init__(self) -> None:
        super().__init__(words=16)
        self.bit: int | None = None
        self.got = b""

    def write(self, data: bytes) -> None:
        if self.bit is not None and self.bit < 8 * len(data):
            data = flipped(data, self.bit)
            self.bit = None
        elif self.bit is not None:
            self.bit -= 8 * len(data)
        super().write(data)

    def read(self, size: int) -> bytes:
        data = super().read(size)
        self.got += data
        return data


def flipped(data: bytes, bit: int) -> bytes:
    return bytes(byte ^ (n == bit // 8) << bit % 8 for n, byte in enumerate(data))


def session(client: Client) -> list[int]:
    """A command of each kind, and those that ask for faults."""
    client.write_register(Register.WEIGHTS, 0x01234567)
    client.write_memory(3, np.array([1 << 63 | 5, 6], dtype=np.uint64))
    return [*client.read_memory(2, 2).tolist(), client.read_register(Register.WEIGHTS)]


@pytest.mark.parametrize("step", [11, pytest.param(1, marks=pytest.mark.long)])
def test_no_flipped_bit_goes_unseen(step: int) -> None:
    """A bit of a command, and each bit of each answer of a session: an error, and no word but the
    one that was to be written is another; then the client goes on. Steps of 11 come to each place
    in a byte, of 1 to each bit.
    """
    line = FlippedLine()
    client = Client(line)
    before = list(range(100, 116))
    for bit in itertools.count(step=step):
        client.write_memory(0, np.array(before, dtype=np.uint64))
        client.write_register(Register.WEIGHTS, 7)
        line.bit, line.got = bit, b""
        try:
            found = session(client)
        except EvenspikeError:
            seen = line.bit is None
        else:
            break
        assert seen, f"an error without a flipped bit, before bit {bit}"
        after = client.read_memory(0, 16).tolist()
        assert after[:3] + after[5:] == before[:3] + before[5:], f"bit {bit}"
        assert client.read_register(Register.WEIGHTS) in (7, 0x01234567)
    assert line.bit is not None, f"nobody has seen bit {bit}"  # or the session is over before it
    assert bit == step * -(-SENT // step)
    assert found == [102, 1 << 63 | 5, 0x01234567]
    assert session(Client(Replay(line.got))) == found
    for bit in range(8 * len(line.got)):
        with pytest.raises(EvenspikeError, match=r"damaged|is the line's speed|in answer to"):
            session(Client(Replay(flipped(line.got, bit))))
    assert 8 * len(line.got) == GOT


# --- bad input -------------------------------------------------------------------------------


def test_an_image_for_another_arch_is_refused() -> None:
    client = Client(ByteLine(NEXT_CYCLE))
    wanted, found = ARCH.digest[:8], NEXT_CYCLE.digest[:8]
    with pytest.raises(EvenspikeError, match=f"digest {wanted} .packed., the board has {found}"):
        client.load(image_for(ARCH))


def test_the_last_word_of_an_image_has_to_fit() -> None:
    packed = image_for(ARCH)
    read = MemoryMap(packed, encode(packed)).words(spikes_of(SEED)).size
    blocks = packed.groups * len(packed.layers[-1].blocks)  # of a map of one position
    needed = read + blocks * ARCH.logit_words
    with pytest.raises(
        EvenspikeError, match=f"take {needed} words, the board's memory has {needed - 1}"
    ):
        Client(ByteLine(words=needed - 1)).load(packed)
    Client(ByteLine(words=needed)).load(packed)


def test_a_start_of_which_nothing_comes_is_an_error() -> None:
    client = Client(ByteLine())
    client.load(image_for(ARCH))
    with pytest.raises(EvenspikeError, match="no inference has been done"):
        client.run(spikes_of(SEED))


def test_an_inference_without_an_end_is_given_up() -> None:
    client = Client(ByteLine(hangs=True))
    packed = image_for(ARCH)
    client.load(packed)
    message = r"still busy after 0.05 s, {} \(layer 1\)"
    with pytest.raises(EvenspikeError, match=message.format("in an inference")):
        client.run(spikes_of(SEED), seconds=0.05)
    with pytest.raises(EvenspikeError, match=message.format("before the inference")):
        client.run(spikes_of(SEED), seconds=0.05)
    with pytest.raises(EvenspikeError, match=message.format("before a Program is loaded")):
        client.load(packed, seconds=0.05)
    with pytest.raises(EvenspikeError, match="no Program is loaded"):
        client.run(spikes_of(SEED))


def test_spikes_of_another_shape_are_refused() -> None:
    client = Client(ByteLine())
    client.load(image_for(ARCH))
    shape = spikes_of(SEED).shape
    with pytest.raises(
        EvenspikeError, match=rf"layer encoder: its spikes are .*, not {re.escape(str(shape))}"
    ):
        client.run(spikes_of(SEED)[:, :-1])


@dataclass
class Replay:
    """Says this, whatever it is asked."""

    answers: bytes

    def write(self, data: bytes) -> None:
        pass

    def read(self, size: int) -> bytes:
        got, self.answers = self.answers[:size], self.answers[size:]
        return got


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (b"", "no answer to READ_REGISTER 08 00 00 00 00 within the line's timeout"),
        (b"\x86abcdef", "answers READ_REGISTER 08 00 00 00 00 with 86, not with 06; is the line's"),
        (b"\x06abcde", "6 of 7 bytes in answer to READ_REGISTER"),
        (b"\x06abcdef", "the answer to READ_REGISTER 08 00 00 00 00 is damaged: wrong checksum"),
        (b"\x18ab", "the answer to READ_REGISTER 08 00 00 00 00 is damaged: wrong checksum"),
    ],
)
def test_a_line_that_is_none(answers: bytes, message: str) -> None:
    with pytest.raises(EvenspikeError, match=re.escape(message)):
        Client(Replay(answers)).read_register(Register.DIGEST)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: UartReceiver(3), "UART divisor is 3"),
        (lambda: UartTransmitter(0), "UART divisor is 0"),
        (lambda: BoardMemory(1, 1), "words is 1, possible are 2 to"),
        (lambda: BoardMemory(1 << 24, 1), "words is 16777216"),
        (lambda: BoardMemory(100, 0), "latency is 0"),
    ],
)
def test_what_cannot_be_built(make: Callable[[], Any], message: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnusedElaboratable)
        with pytest.raises(ValueError, match=message):
            make()
        gc.collect()
