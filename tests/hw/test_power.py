"""Power of a netlist: what its nets do is counted exactly, and charged as the library says."""

from __future__ import annotations

import dataclasses
import itertools
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("amaranth")

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from evenspike_core.arch import preset
from evenspike_core.errors import EvenspikeError
from evenspike_hw.engine import watched
from evenspike_hw.power import library, opensta
from evenspike_hw.power.blocks import blocks
from evenspike_hw.power.buffers import buffered
from evenspike_hw.power.flat import Flat, Instance
from evenspike_hw.power.mapping import DEFAULT_LIBERTY, Mapped, find_liberty, mapped_component
from evenspike_hw.power.opensta import Energies
from evenspike_hw.power.recording import _of_layer
from evenspike_hw.power.replay import NO_KIND, Activity, Stimuli, replay
from evenspike_hw.rtl.ram import LutRam, Ram
from evenspike_hw.synthesis.netlist import netlist
from evenspike_hw.synthesis.parts import part
from tests.helpers.toggles import recorded, traced

needs_cells = pytest.mark.skipif(
    not DEFAULT_LIBERTY.is_file(), reason=f"needs {DEFAULT_LIBERTY} (qflow-tech-osu018)"
)
needs_sta = pytest.mark.skipif(shutil.which("sta") is None, reason="needs OpenSTA (opensta)")
needs_icarus = pytest.mark.skipif(shutil.which("iverilog") is None, reason="needs Icarus")

BITS = 7


class Counting(wiring.Component):
    """Counts; its bit i changes every 2^i cycles. Its low half and its high half are blocks."""

    def __init__(self) -> None:
        super().__init__({"count": Out(BITS)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.low = low = Half(3)
        m.submodules.high = high = Half(BITS - 3)
        m.d.comb += [low.go.eq(1), high.go.eq(low.full), self.count.eq(Cat(low.count, high.count))]
        return m


class Half(wiring.Component):
    def __init__(self, bits: int) -> None:
        super().__init__({"go": In(1), "count": Out(bits), "full": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += self.count.eq(self.count + self.go)
        m.d.comb += self.full.eq(self.count.all())
        return m


class Store(wiring.Component):
    """A RAM with a clock and one without, a register with enable and a mixture of both."""

    def __init__(self) -> None:
        super().__init__(
            {
                "address": In(3),
                "data": In(6),
                "write": In(1),
                "read": In(1),
                "clocked": Out(6),
                "open": Out(6),
                "held": Out(6),
                "mixed": Out(6),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.ram = ram = Ram(6, 8)
        m.submodules.lut = lut = LutRam(6, 5)
        for memory in (ram, lut):
            port = memory.write_port()
            m.d.comb += [
                port.en.eq(self.write),
                port.addr.eq(self.address),
                port.data.eq(self.data),
            ]
        read, at_once = ram.read_port(), lut.read_port(domain="comb")
        last, other = Signal(3), Signal(3)
        m.d.comb += other.eq(self.address ^ 1)  # the word that is written is not read
        m.d.comb += [read.en.eq(self.read), read.addr.eq(other), at_once.addr.eq(last)]
        m.d.sync += last.eq(Mux(self.address < 5, self.address, 0))
        with m.If(self.read & ~self.write):
            m.d.sync += self.held.eq(self.held + self.data)
        m.d.comb += [
            self.clocked.eq(read.data),
            self.open.eq(at_once.data),
            self.mixed.eq((read.data & at_once.data) ^ (self.held | self.data)),
        ]
        return m


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("power")


@pytest.fixture(scope="module")
def counter(place: Path) -> Mapped:
    return mapped_component(Counting(), "counter", DEFAULT_LIBERTY, place)


@pytest.fixture(scope="module")
def counted(counter: Mapped) -> Activity:
    """What a counter's nets do in 2^BITS cycles behind the first."""
    return replay(counter.flat, counter.library, counting())


def counting() -> Stimuli:
    return recorded(Counting(), (1 << BITS) + 1, 0, reset=True)


@pytest.fixture(scope="module")
def store(place: Path) -> Mapped:
    return mapped_component(Store(), "store", DEFAULT_LIBERTY, place)


@pytest.fixture(scope="module")
def energies(counter: Mapped, place: Path) -> Energies:
    folder = place / "sta"
    folder.mkdir()
    return opensta.energies(counter.flat, counter.library, DEFAULT_LIBERTY, folder)


# ---- what nets do ---------------------------------------------------------------------------


@needs_cells
def test_a_counter_changes_as_it_counts(counter: Mapped, counted: Activity) -> None:
    cycles = 1 << BITS
    assert counted.cycles.tolist() == [cycles]
    nets = counter.flat.ports["count"]
    assert counted.toggles[0, nets].tolist() == [cycles >> bit for bit in range(BITS)]
    assert counted.high[0, nets].tolist() == [cycles // 2] * BITS
    assert counted.compared == BITS * (cycles + 1)


@needs_cells
def test_cycles_are_counted_by_their_kind(counter: Mapped) -> None:
    stimuli = counting()
    kind = np.arange(len(stimuli.kind), dtype=np.uint8) % 3
    kind[:20] = NO_KIND
    found = replay(counter.flat, counter.library, dataclasses.replace(stimuli, kind=kind, kinds=3))
    assert found.cycles.tolist() == [int((kind == n).sum()) for n in range(3)]
    low = counter.flat.ports["count"][0]
    assert found.toggles[:, low].tolist() == found.cycles.tolist()  # it changes in every cycle
    top = counter.flat.ports["count"][-1]
    assert found.toggles[:, top].tolist() == [0, 1, 1]  # in cycles 64 and 128


@needs_cells
def test_a_netlist_that_does_something_else_is_found(counter: Mapped) -> None:
    stimuli = counting()
    stimuli.record[77, 0] ^= 1 << 1 + 4  # bit 4, behind the reset
    was = int(stimuli.record[77, 0]) >> 5 & 1
    says = f"in cycle 77 of the record bit 4 of output count is {1 - was}, where the RTL had {was}"
    with pytest.raises(EvenspikeError, match=says):
        replay(counter.flat, counter.library, stimuli)


@needs_cells
def test_a_gate_that_computes_something_else_is_found(counter: Mapped) -> None:
    cells = list(counter.flat.cells)
    at = next(n for n, c in enumerate(cells) if set(c.pins) == {"A", "B", "Y"})
    other = next(kind for kind in ("NOR2X1", "NAND2X1") if kind != cells[at].kind)
    cells[at] = dataclasses.replace(cells[at], kind=other)
    with pytest.raises(EvenspikeError, match="the netlist is not what ran: in cycle"):
        replay(dataclasses.replace(counter.flat, cells=cells), counter.library, counting())


@needs_cells
@pytest.mark.parametrize("seed", range(3))
def test_rams_answer_as_those_of_the_rtl(store: Mapped, seed: int) -> None:
    stimuli = recorded(Store(), 400, seed, reset=True)
    found = replay(store.flat, store.library, stimuli)
    assert found.compared == 400 * 24
    bits = {p.name: (stimuli.record[1:, 0] >> np.uint32(p.at)) & 1 for p in stimuli.inward}
    writes, reads = (int(bits[name].sum()) for name in ("write", "read"))
    accesses = dict(zip([ram.depth for ram in store.flat.rams], range(2), strict=True))
    assert found.writes[0].tolist() == [writes, writes]
    assert found.reads[0, accesses[8]] == reads
    assert 0 < found.reads[0, accesses[5]] < 400


@needs_cells
def test_what_the_record_lacks_is_said(store: Mapped) -> None:
    stimuli = recorded(Store(), 5, 0, reset=True)
    fewer = dataclasses.replace(stimuli, inward=stimuli.inward[:-1], name="pe 3")
    with pytest.raises(EvenspikeError, match="pe 3 has no input read, which the netlist has"):
        replay(store.flat, store.library, fewer)


@needs_cells
@needs_icarus
def test_every_net_changes_as_often_as_on_icarus(store: Mapped, tmp_path: Path) -> None:
    """The same netlist, with Yosys' own models of the cells, on a simulator of other people."""
    stimuli = recorded(Store(), 60, 7, reset=True)
    # Without RAMs: what they answered is an input.
    found = replay(store.flat, store.library, stimuli)
    data = {net for ram in store.flat.rams for reader in ram.readers for net in reader.data}
    values = traced(store, stimuli, data, tmp_path)
    for net in range(2, store.flat.nets):
        assert found.toggles[0, net] == values[f"n{net}"], net


# ---- what is recorded -----------------------------------------------------------------------


@pytest.mark.parametrize("name", watched.PARTS)
def test_a_part_is_watched_at_all_ports_of_its_netlist(name: str) -> None:
    arch = preset("packed,pes=2")
    text = netlist(part(name, arch), name).text
    body = re.split(rf"^module \\{name}$", text, flags=re.MULTILINE)[1].split("\nend\n")[0]
    found = re.findall(
        r"^ *wire (?:width (\d+) )?(input|output) \d+ .*?\\(\S+)$", body, re.MULTILINE
    )
    ports = {port: (int(width or 1), way == "input") for width, way, port in found}
    of = watched.boundary(arch, name)
    assert {p.name: (p.width, p.inward) for p in of.ports} | {"clk": (1, True)} == ports
    at = 0
    for port in of.ports:
        assert port.at == at
        at += port.width
    assert 0 <= 32 * of.words - at < 32
    assert of.count == (2 if name == "pe" else 1)


def test_parts_lie_behind_each_other() -> None:
    of = [watched.boundary(preset("packed,pes=2"), name) for name in watched.PARTS]
    assert of[0].first == 0
    for one, other in itertools.pairwise(of):
        assert other.first == one.first + one.count * one.words
    with pytest.raises(EvenspikeError, match="unknown part 'wings'; those with power are: pe, apu"):
        watched.boundary(preset("packed"), "wings")


def test_a_layer_is_from_the_last_write_before_to_its_own() -> None:
    #       host, layer 0, layer 1, host; 1: it runs, 2: its last write
    head = np.array([0, 2, 1, 1, 3, 1, 1, 1, 3, 2, 0], np.uint32)
    assert np.flatnonzero(_of_layer(head, 0)).tolist() == [2, 3, 4]
    assert np.flatnonzero(_of_layer(head, 1)).tolist() == [5, 6, 7, 8]
    assert not _of_layer(head, 2).any()


# ---- what they take -------------------------------------------------------------------------


@needs_sta
def test_a_known_cell_takes_what_its_library_says(tmp_path: Path) -> None:
    file = tmp_path / "probe.lib"
    file.write_text(opensta._PROBE)
    cells = library.read(tmp_path, "probe.lib")
    flat = Flat(
        5,
        [""],
        [Instance("PROBE", 0, {"A": 2, "Y": 3}), Instance("PROBE", 0, {"A": 3, "Y": 4})],
        [],
        {"a": [2], "y": [4]},
        {"a"},
    )
    found = opensta.energies(flat, cells, file, tmp_path)
    assert found.inside == pytest.approx([2e-12] * 2, rel=1e-4)  # (1 + 3) pJ / 2
    assert found.loads == pytest.approx([0.5e-12, 0], rel=1e-4)  # 1 pF x 1 V^2 / 2
    assert found.leakage == pytest.approx([5e-9] * 2, rel=1e-4)
    assert not found.clock.any()
    assert not found.inputs.any()
    # One change of the first net in four cycles, of the second in two.
    toggles = np.array([[0, 0, 0, 1, 2]], np.uint64)
    none = np.zeros((1, 0), np.uint64)
    activity = Activity(np.array([4], np.uint64), toggles, toggles, none, none, 0)
    [block] = blocks(flat, cells, found, activity)
    assert block.data == pytest.approx(2e-12 / 4 + 2e-12 / 2, rel=1e-4)
    assert block.switching == pytest.approx(0.5e-12 / 4, rel=1e-4)


@needs_cells
@needs_sta
def test_blocks_are_the_whole(counter: Mapped, counted: Activity, energies: Energies) -> None:
    found = blocks(counter.flat, counter.library, energies, counted)
    assert [block.path for block in found] == ["", "high", "low"]
    assert sum(block.flip_flops for block in found) == BITS
    assert sum(block.cells for block in found) == len(counter.flat.cells)
    assert energies.apart < 1e-4
    low, high = found[2], found[1]
    # The low half has three flip-flops of seven, but most of the changes.
    assert low.clock == pytest.approx(high.clock * 3 / 4, rel=1e-3)
    assert low.switching > high.switching
    assert energies.fmax_mhz is not None
    assert 100 < energies.fmax_mhz < 2000
    with pytest.raises(EvenspikeError, match=r"its cells together take .* more or less"):
        blocks(
            counter.flat,
            counter.library,
            dataclasses.replace(energies, total=energies.total * 1.02),
            counted,
        )


@needs_cells
@needs_sta
def test_half_the_changes_take_half(counter: Mapped, counted: Activity, energies: Energies) -> None:
    whole = blocks(counter.flat, counter.library, energies, counted)
    half = dataclasses.replace(counted, toggles=counted.toggles // 2)
    halved = blocks(counter.flat, counter.library, energies, half)
    for one, other in zip(whole, halved, strict=True):
        assert other.clock == one.clock
        if one.cells:
            assert other.switching < 0.6 * one.switching
    assert sum(b.data for b in halved) < 0.6 * sum(b.data for b in whole)
    low = next(b for b in whole if b.path == "low")
    assert low.data > 0


@needs_cells
def test_no_net_drives_more_than_its_buffers_let_it(counter: Mapped) -> None:
    flat = buffered(counter.flat, counter.library, 2)
    assert len(flat.cells) > len(counter.flat.cells)
    loads = Counter(
        cell.pins[pin] for cell in flat.cells for pin in counter.library[cell.kind].inputs
    )
    assert max(count for net, count in loads.items() if net > 1) <= 2
    found = replay(flat, counter.library, counting())  # and it computes the same
    assert found.toggles[0, flat.ports["count"]].tolist() == [128 >> bit for bit in range(BITS)]


# ---- what is missing ------------------------------------------------------------------------


def test_without_opensta_its_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(EvenspikeError, match=r"no OpenSTA \(`sta`\).* apt install opensta"):
        opensta.find()


def test_without_cells_their_package_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("evenspike_hw.power.mapping.DEFAULT_LIBERTY", tmp_path / "none.lib")
    with pytest.raises(EvenspikeError, match=r"none\.lib; .* apt install qflow-tech-osu018"):
        find_liberty(None)
    with pytest.raises(EvenspikeError, match=r"other\.lib: No such file"):
        find_liberty(tmp_path / "other.lib")


@needs_sta
def test_opensta_says_why_it_fails(tmp_path: Path) -> None:
    file = tmp_path / "given.lib"
    file.write_text(opensta._PROBE)
    cells = library.read(tmp_path, "given.lib")
    flat = Flat(4, [""], [Instance("PROBE", 0, {"A": 2, "Y": 3})], [], {"a": [2], "y": [3]}, {"a"})
    file.write_text(opensta._PROBE.replace("PROBE", "OTHER"))
    with pytest.raises(EvenspikeError, match=r"OpenSTA: .*PROBE.*not found"):
        opensta.energies(flat, cells, file, tmp_path)
