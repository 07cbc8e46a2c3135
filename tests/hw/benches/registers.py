"""Bench of Registers: reads, writes and status in every cycle against a dictionary."""

from __future__ import annotations

from typing import Any

from amaranth.utils import ceil_log2
from cocotb.triggers import ClockCycles

from evenspike_core.arch import Arch
from evenspike_hw.rtl.layouts import FILL_BITS
from evenspike_hw.rtl.registers import Register, Registers, Status
from tests.helpers.driver import Bench, test

component = Registers
ARCH = Arch(pes=4, table_words=1 << 16)
VARIANTS = {"small-table": Arch(pes=4, table_words=100)}
CORNERS = (
    *(f"reads {register.name}" for register in Register),
    *(f"writes {register.name}" for register in Register),
)
WORD = (1 << 32) - 1
PULSES = ("busy", "running", "done", "overflow")
FAULT_CODES = 24


class Model:
    def __init__(self, arch: Arch) -> None:
        self.widths = {
            Register.INPUT: 32,
            Register.WEIGHTS: 32,
            Register.LOGITS: 32,
            Register.TABLE: 32,
            Register.TABLE_WORDS: FILL_BITS,
            Register.PASS_BASE: ceil_log2(arch.table_words),
            Register.WATCHDOG: 5,
        }
        self.values = dict.fromkeys(self.widths, 0) | {Register.WATCHDOG: 20}
        self.fault = self.layer = 0
        self.digest = int.from_bytes(bytes.fromhex(arch.digest[:8]), "big")
        self.cycles = 0
        self.done = self.overflow = False
        self.read = 0

    def outputs(self, drive: dict[str, Any]) -> dict[str, int]:
        bus = drive["bus"]
        control = bus["write"] and bus["address"] == Register.CONTROL
        self.abort = bool(control and bus["data"] & 4)
        command = control and not drive["busy"] and not self.abort
        self.start = bool(command and bus["data"] % 2)
        expected = {register.name.lower(): value for register, value in self.values.items()}
        self.fill = bool(command and bus["data"] % 4 == 2)
        pulses = {"start": self.start, "fill": self.fill, "abort": self.abort}
        return expected | {"bus__read": self.read} | {name: int(p) for name, p in pulses.items()}

    def step(self, drive: dict[str, Any]) -> None:
        bus, busy = drive["bus"], drive["busy"]
        self.read = self.look(bus["address"], drive)
        if bus["write"] and not busy and bus["address"] in self.values:
            register = Register(bus["address"])
            self.values[register] = bus["data"] & (1 << self.widths[register]) - 1
        if self.start or self.fill or self.abort:
            self.fault = 0
        elif drive["stopped"]:
            self.fault, self.layer = drive["stopped"], drive["number"]
        if self.start or self.abort:
            self.cycles, self.done, self.overflow = 0, False, False
        else:
            self.cycles = self.cycles + drive["running"] & WORD
            self.done |= bool(drive["done"])
            self.overflow |= bool(drive["overflow"])

    def look(self, address: int, drive: dict[str, Any]) -> int:
        if address == Register.CONTROL:
            status = drive["busy"] << Status.BUSY | bool(self.fault) << Status.ERROR
            status |= self.done << Status.DONE | self.overflow << Status.OVERFLOW
            layer = self.layer if self.fault else drive["number"]
            return int(status | layer << Status.LAYER)
        if address == Register.FAULT:
            return self.fault
        if address == Register.CYCLES:
            return self.cycles
        if address == Register.DIGEST:
            return self.digest
        return self.values.get(address, 0)  # type: ignore[call-overload]


class Rig:
    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.model = Model(bench.arch)
        self.before: tuple[int, int] = (0, 0)

    async def cycle(
        self, address: int = 15, data: int = 0, write: int = 0, **pulses: int
    ) -> dict[str, int]:
        bench, model = self.bench, self.model
        drive: dict[str, Any] = dict.fromkeys((*PULSES, "number", "stopped"), 0) | pulses
        drive["bus"] = {"write": write, "address": address, "data": data}
        expected = model.outputs(drive)
        wires = {f"bus__{name}": value for name, value in drive["bus"].items()}
        out = await bench.cycle(**wires, **{n: v for n, v in drive.items() if n != "bus"})
        bench.check(out, expected)
        self._corners(drive)
        model.step(drive)
        return out

    def _corners(self, drive: dict[str, Any]) -> None:
        cover = self.bench.cover
        bus, busy = drive["bus"], drive["busy"]
        address, data = bus["address"], bus["data"]
        control = bus["write"] and address == Register.CONTROL
        name = Register(address).name if address in iter(Register) else ""
        abort = control and data & 4
        start = control and not busy and not abort and data & 1
        if name:
            cover(f"reads {name}")
            cover(f"writes {name}", bus["write"] and not busy)
        cover("reads no register", not name)
        cover("write while busy", bus["write"] and busy and address in self.model.values)
        cover("abort while busy", abort and busy)
        cover("abort while idle", abort and not busy)
        cover("abort and start at once", abort and data & 1)
        cover("abort and fill at once", abort and data & 2)
        cover("abort and stopped at once", abort and drive["stopped"])
        cover("start and stopped at once", start and drive["stopped"])
        cover("start while busy", control and busy and data & 1)
        cover("fill while busy", control and busy and data & 2)
        cover("start and fill at once", start and data & 2)
        cover("start and done at once", start and drive["done"])
        cover("start and overflow at once", start and drive["overflow"])
        cover("read in the cycle of the write", bus["write"] and address in self.model.values)
        cover("more than 131072 cycles", self.model.cycles > 1 << 17 and name == "CYCLES")


@test
async def every_register(bench: Bench) -> None:
    """Every bit of each, alone and alone missing; the others keep theirs."""
    made = Rig(bench)
    for _ in range(2):
        for address in range(16):
            await made.cycle(address)
    for invert in (0, WORD):
        for address in range(16):
            for bit in range(32):
                await made.cycle(address, 1 << bit ^ WORD & invert, write=1)
                await made.cycle(address)
            for other in range(16):
                await made.cycle(other)
    for data in (WORD, 0, 0x55555555, 0xAAAAAAAA):
        for busy in (0, 1):
            for address in range(16):
                await made.cycle(address, data ^ busy, write=1, busy=busy)
            for address in range(16):
                await made.cycle(address, data, busy=busy)


@test
async def status(bench: Bench) -> None:
    """Each bit of the status alone; what a start clears, and what it does not."""
    made = Rig(bench)
    for name in PULSES:
        await made.cycle(Register.CONTROL, 1, write=1)
        await made.cycle(Register.CONTROL, **{name: 1})
        await made.cycle(Register.CONTROL)
        await made.cycle(Register.CYCLES)
        await made.cycle(Register.CONTROL, 2, write=1)  # a fill keeps it
        await made.cycle(Register.CONTROL)
        await made.cycle(Register.CYCLES)
        await made.cycle(Register.CONTROL, 1, write=1, **{name: 1})
        await made.cycle(Register.CONTROL)
        await made.cycle(Register.CYCLES)
    for command in (1, 2, 4):
        for busy in (0, 1):
            for code in range(1, FAULT_CODES):
                await made.cycle(Register.CONTROL, stopped=code, number=code ^ 0xA5, overflow=1)
                await made.cycle(Register.FAULT, number=3, done=1, running=1)
                await made.cycle(Register.CONTROL, 0, write=1, busy=busy)
                await made.cycle(Register.CONTROL, command, write=1, busy=busy, stopped=code & 1)
                await made.cycle(Register.FAULT)
                await made.cycle(Register.CYCLES)
                await made.cycle(Register.CONTROL, number=9)
    for bit in range(8):
        await made.cycle(Register.CONTROL, number=1 << bit)
        await made.cycle(Register.CONTROL, number=255 ^ 1 << bit)


@test
async def many_cycles(bench: Bench) -> None:
    """The counter of cycles: more than anyone looks at one by one."""
    made = Rig(bench)
    for count in (1 << 8, (1 << 17) + 3) if bench.transactions > 1000 else (1 << 8,):
        await made.cycle(Register.CONTROL, 1, write=1)
        await made.cycle(Register.CYCLES, running=1)
        await ClockCycles(bench.clock, count)
        made.model.cycles += count
        made.model.read = made.model.cycles - 1
        for pulses in ({"running": 1}, {"running": 1}, {}, {"done": 1}, {}):
            await made.cycle(Register.CYCLES, **pulses)


@test
async def random_traffic(bench: Bench) -> None:
    made = Rig(bench)
    for n in range(bench.transactions):
        if n % 100 == 0:
            chances = {name: bench.random.choice((0.0, 0.05, 0.5)) for name in PULSES}
        pulses = {name: int(bench.chance(p)) for name, p in chances.items()}
        address = bench.random.randrange(16)
        if bench.chance(0.3):
            address = bench.random.choice((Register.CONTROL, Register.CYCLES))
        data = bench.bits(32)
        if address == Register.CONTROL and bench.chance(0.5):
            data &= ~5  # not too many starts
        pulses["stopped"] = bench.random.randrange(1, FAULT_CODES) * bench.chance(0.02)
        write = int(bench.chance(0.4))
        await made.cycle(address, data, write, number=bench.bits(8), **pulses)


@test
async def reset(bench: Bench) -> None:
    """All registers, the counter, the status and what was read are 0."""
    made = Rig(bench)
    for address in (Register.INPUT, Register.DIGEST):
        for register in Register:
            await made.cycle(register, WORD if register else 0, write=1)
        await made.cycle(address, running=1, done=1, overflow=1, stopped=5, number=9)
        await bench.cycle(bus__write=0, running=0, done=0, overflow=0, stopped=0, number=0)
        bench.inputs["bus__address"].handle.value = address
        await bench.reset()
        bench.inputs["bus__address"].handle.value = 0
        bench.cover("reset")
        made = Rig(bench)
        for at in range(16):
            await made.cycle(at)
        await made.cycle()
