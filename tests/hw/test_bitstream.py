"""The flow from RTL to a bitstream, on designs that are quick to place; and what is kept of it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("amaranth_boards")

from amaranth.hdl import Cat, Elaboratable, Module, Signal
from amaranth.lib import io

from evenspike_core.arch import preset
from evenspike_core.errors import EvenspikeError
from evenspike_hw.board import build as flow
from evenspike_hw.board.boards import BOARDS, Top, board
from evenspike_hw.board.build import Bitstream, build
from evenspike_hw.board.index import keep
from evenspike_hw.rtl.ram import Ram
from evenspike_hw.synthesis import routing, yosys
from evenspike_hw.synthesis.routing import Device

ROOT = Path(__file__).resolve().parents[2]

PACKERS = {name: flow.PACKERS[design.target].routed for name, design in BOARDS.items()}

needs_nextpnr = pytest.mark.skipif(
    not all(yosys.installed(f"yowasp-{packer.nextpnr}") for packer in flow.PACKERS.values()),
    reason="needs the extra `boards`",
)


class Blinker(Elaboratable):
    """As quick to place as a design can be: a counter, and a memory of `words`."""

    def __init__(self, _: object, words: int) -> None:
        self.words = words

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.led = led = io.Buffer("o", platform.request("led", 0, dir="-"))
        m.submodules.memory = memory = Ram(64, self.words)
        write, read = memory.write_port(), memory.read_port()
        count = Signal(24)
        m.d.sync += count.eq(count + 1)
        m.d.comb += [
            write.en.eq(count[0]),
            write.addr.eq(count),
            write.data.eq(Cat(count, ~count, count)),
            read.addr.eq(count >> 1),
            led.o.eq(count[-1] ^ read.data.xor()),
        ]
        return m


@pytest.fixture
def blinker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "Top", Blinker)


SLOW = preset("packed,clock_mhz=1")


@needs_nextpnr
@pytest.mark.usefixtures("blinker")
@pytest.mark.parametrize("name", ["ulx3s-85f", "ice40-hx8k"])
def test_the_same_file_twice(name: str, tmp_path: Path) -> None:
    first = build(name, SLOW, 300, 2, tmp_path / "a")
    again = build(name, SLOW, 300, 2, tmp_path / "b")
    assert first.file.read_bytes() == again.file.read_bytes()
    assert first.report["sha256"] == hashlib.sha256(first.file.read_bytes()).hexdigest()
    clocks = first.report["fmax_by_seed"]
    assert first.report["fmax_mhz"] == max(clocks.values()) == clocks[str(first.report["seed"])]
    routed = [first.file.with_name(f"seed{n}.{PACKERS[name]}").read_bytes() for n in (1, 2)]
    assert routed[0] != routed[1]  # so the choice is one
    assert first.report["ltp"] > 0
    assert first.report["seconds"] > 0
    used = {name: counts["used"] for name, counts in first.report["resources"].items()}
    assert used["DP16KD" if name == "ulx3s-85f" else "ICESTORM_RAM"] > 0
    assert {k: v for k, v in again.report.items() if k != "seconds"} == {
        k: v for k, v in first.report.items() if k != "seconds"
    }


@needs_nextpnr
@pytest.mark.usefixtures("blinker")
def test_an_interrupted_build_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    routed: list[int] = []

    def stop_at_two(device: Device, place: Path, name: str, seed: int, *more: Any) -> Any:
        if seed == 2 and not routed:
            raise KeyboardInterrupt
        routed.append(seed)
        return routing.route(device, place, name, seed, *more)

    build("ice40-hx8k", SLOW, 16, 1, tmp_path)
    monkeypatch.setattr(flow, "route", stop_at_two)
    with pytest.raises(KeyboardInterrupt):
        build("ice40-hx8k", SLOW, 16, 2, tmp_path)
    routed.append(0)
    assert set(build("ice40-hx8k", SLOW, 16, 2, tmp_path).report["fmax_by_seed"]) == {"1", "2"}
    assert routed == [0, 2]  # the first placement was there


@needs_nextpnr
@pytest.mark.usefixtures("blinker")
def test_too_slow(tmp_path: Path) -> None:
    with pytest.raises(
        EvenspikeError, match=r"reaches [\d.]+ MHz, the clock has 5000; its slowest"
    ):
        build("ulx3s-85f", preset("packed,clock_mhz=5000"), 300, 1, tmp_path)
    assert not list(tmp_path.glob("*/*.bit"))


@needs_nextpnr
@pytest.mark.usefixtures("blinker")
def test_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "check_memory", lambda *_: None)
    wanted = r"iCE40HX8K: it does not fit: ICESTORM_RAM 64 of 32 \(32 too many\)"
    with pytest.raises(EvenspikeError, match=wanted):
        build("ice40-hx8k", SLOW, 4096, 1, tmp_path)
    assert not list(tmp_path.glob("*/*.bin"))


@pytest.mark.parametrize(
    ("name", "words", "says"),
    [
        ("ulx3s-85f", 999_999, "999,999 words takes 3,473 block RAMs of 208 (3,265 too many)"),
        ("ice40-hx8k", 2049, "2,049 words takes 33 block RAMs of 32 (1 too many)"),
    ],
)
def test_a_memory_that_is_too_large_alone(name: str, words: int, says: str, tmp_path: Path) -> None:
    with pytest.raises(EvenspikeError, match=re.escape(f"it does not fit: a memory of {says}")):
        build(name, SLOW, words, 1, tmp_path)
    flow.check_memory(BOARDS["ice40-hx8k"], 2048)


def test_unknown_board() -> None:
    with pytest.raises(EvenspikeError, match=r"^unknown board 'x'; there are: ulx3s-85f, "):
        board("x")


@pytest.mark.parametrize(
    ("name", "mhz", "message"),
    [
        (
            "ulx3s-85f",
            47,
            "Arch clock_mhz is 47; the PLL makes 10 to 200, multiples of 25 / 1 to 2",
        ),
        (
            "ulx3s-85f",
            225,
            "Arch clock_mhz is 225; the PLL makes 10 to 200, multiples of 25 / 1 to 2",
        ),
        ("ice40-hx8k", 24, "Arch clock_mhz is 24; the board has 12 MHz and no PLL"),
    ],
)
def test_a_clock_that_the_board_cannot_make(name: str, mhz: float, message: str) -> None:
    arch = dataclasses.replace(preset(BOARDS[name].arch), clock_mhz=mhz)
    with pytest.raises(EvenspikeError, match=f"^{message}$"):
        BOARDS[name].make_platform().prepare(Top(arch, 16))


def test_no_placement() -> None:
    with pytest.raises(EvenspikeError, match="0 placements, possible are 1 and more"):
        build("ulx3s-85f", SLOW, 16, 0, Path("nowhere"))


# --- what is kept ----------------------------------------------------------------------------


def made(folder: Path, content: bytes, digest: str = "d1", board: str = "one") -> Bitstream:
    file = folder / f"{board}.bit"
    file.write_bytes(content)
    sha = hashlib.sha256(content).hexdigest()
    report = {"board": board, "digest": digest, "file": file.name, "sha256": sha, "seconds": 3}
    return Bitstream(file, report)


def test_index(tmp_path: Path) -> None:
    work, kept = tmp_path / "work", tmp_path / "kept"
    work.mkdir()
    assert keep(made(work, b"a"), kept) == "new"
    assert keep(made(work, b"z", board="two"), kept) == "new"
    assert keep(made(work, b"a"), kept) == "the same as before, bit for bit"
    assert keep(made(work, b"b", "d2"), kept) == "different from before: other sources"
    index = json.loads((kept / "index.json").read_text())
    assert list(index) == ["one", "two"]
    assert "seconds" not in index["one"]
    for entry in index.values():
        content = (kept / entry["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry["sha256"]
    before = {file.name: file.read_bytes() for file in kept.iterdir()}
    with pytest.raises(EvenspikeError, match=r"^one: the same sources and tools gave another file"):
        keep(made(work, b"c", "d2"), kept)
    assert {file.name: file.read_bytes() for file in kept.iterdir()} == before


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "not a readable index: it is empty"),
        ("{", "not a readable index: "),
        ("[" * 9999, "not a readable index: it is nested deeper than"),
        ("[]", "not a readable index: it is a list, not an object"),
        ('{"one": 3}', "one has no digest, sha256 and file"),
        ('{"one": {"digest": "d1"}}', "one has no digest, sha256 and file"),
    ],
)
def test_a_damaged_index(content: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(content)
    with pytest.raises(EvenspikeError, match=re.escape(f"{tmp_path / 'index.json'}: {says}")):
        keep(made(tmp_path, b"a"), tmp_path)
    assert (tmp_path / "index.json").read_text() == content


@needs_nextpnr
@pytest.mark.parametrize("name", list(BOARDS))
def test_what_is_shipped_is_of_these_sources(name: str) -> None:
    index = json.loads((ROOT / "bitstreams" / "index.json").read_text())
    if name not in index:
        pytest.skip(f"{name} is not shipped, as bitstreams/README.md says")
    assert flow.source_digest(name) == index[name]["digest"], (
        f"make bitstream BOARD={name} has to build it anew"
    )


def test_what_is_shipped() -> None:
    folder = ROOT / "bitstreams"
    index = json.loads((folder / "index.json").read_text())
    said = (folder / "README.md").read_text()
    missing = {name for name in BOARDS if f"`{name}`" in said}
    assert missing <= {"ulx3s-85f-8pe"}, "no other may be missing"
    assert set(index) == set(BOARDS) - missing
    files = {file.name for file in folder.iterdir()} - {"README.md", "index.json"}
    assert files == {entry["file"] for entry in index.values()}
    for name, entry in index.items():
        content = (folder / entry["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry["sha256"]
        arch = preset(BOARDS[name].arch)
        assert entry["arch"] == {"preset": arch.preset, "digest": arch.digest}
        assert entry["words"] == BOARDS[name].words
        ram = {"ecp5": "DP16KD", "ice40": "ICESTORM_RAM"}[BOARDS[name].target]
        assert entry["resources"][ram]["available"] == BOARDS[name].block_rams
        assert entry["fmax_mhz"] >= entry["clock_mhz"] == arch.clock_mhz
