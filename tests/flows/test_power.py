"""The flow `power`: bad input in a line, and figures and pages out of a netlist."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("amaranth")

from evenspike import cli
from evenspike.flows import power as flow
from evenspike.flows.batches import encode
from evenspike.flows.images import Images
from evenspike.flows.prepare import pack
from evenspike.report.power import pages
from evenspike_core.arch import preset
from evenspike_core.errors import EvenspikeError
from evenspike_core.memories import memories
from evenspike_core.metrics import DYNAMIC_TO_LEAKAGE
from evenspike_hw.power import library, opensta
from evenspike_hw.power.blocks import Block
from evenspike_hw.power.flat import Flat, Instance, Ram, Reader, Writer
from evenspike_hw.power.mapping import DEFAULT_LIBERTY, Mapped
from evenspike_hw.power.opensta import Energies
from evenspike_hw.power.recording import Recording
from evenspike_hw.power.replay import Activity, Signal, Stimuli
from evenspike_hw.rtl.states import State
from evenspike_sim.accelerator import Accelerator
from evenspike_sim.energy_table import load as energy_table
from evenspike_sim.energy_table import ram_cost
from tests.helpers.networks import random_pixels, random_program

SMALL = preset("packed,pes=4")


@pytest.fixture
def no_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if all tools were there; none of them may run."""

    def runs(*_: object, **__: object) -> None:
        raise AssertionError("a tool was started")

    monkeypatch.setattr(opensta, "find", lambda: "sta")
    monkeypatch.setattr(flow, "find_liberty", lambda given: given or DEFAULT_LIBERTY)
    for name in ("mapped", "record", "replay"):
        monkeypatch.setattr(flow, name, runs)
    monkeypatch.setattr("evenspike_hw.engine.compiled.build", runs)


# ---- what is no input -----------------------------------------------------------------------


@pytest.mark.usefixtures("no_tools")
@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--part", "wings"], "unknown part 'wings'; those with power are: pe, apu, top"),
        (["--image", "100"], "image 100: 0 to 99 are possible"),
        (["--image", "-1"], "image -1: 0 and above are possible"),
        (["--clock", "0"], "a clock of 0.0 MHz"),
        (["--model", "none"], "unknown model 'none'"),
        (["--arch", "none"], "none"),
        (
            ["--arch", "packed,clusters=2"],
            "Arch clusters is 2; power is measured in a machine of 1",
        ),
    ],
)
def test_bad_input_is_one_line(
    options: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["power", "--out", str(tmp_path), *options]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("missing", "says"),
    [("sta", "apt install opensta"), ("cells", "apt install qflow-tech-osu018")],
)
def test_what_is_missing_is_named(
    missing: str,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if missing == "sta":
        monkeypatch.setenv("PATH", str(tmp_path))
    else:
        monkeypatch.setattr(opensta, "find", lambda: "sta")
        monkeypatch.setattr("evenspike_hw.power.mapping.DEFAULT_LIBERTY", tmp_path / "a.lib")
    assert cli.main(["power", "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


@pytest.mark.usefixtures("no_tools")
def test_layers_and_pes_that_there_are_not() -> None:
    program = random_program(4, timesteps=4)
    image = random_pixels(program, 4)
    file = Images(image[None])

    def of(**options: Any) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(flow, "images", lambda *_: file)
            flow.power(program, arch=SMALL, **options)

    names = ", ".join(layer.name for layer in program.layers)
    with pytest.raises(EvenspikeError, match=f"unknown layer 'none'; there are: {names}"):
        of(layer="none")
    with pytest.raises(EvenspikeError, match="PE 4: 0 to 3 are possible"):
        of(pe=4)
    with pytest.raises(EvenspikeError, match="PE 1: part apu is none"):
        of(pe=1, part="apu")
    with pytest.raises(AssertionError, match="a tool was started"):
        of(pe=3)


# ---- figures --------------------------------------------------------------------------------


def test_a_ram_takes_what_the_table_of_actions_says() -> None:
    arch = preset("packed")
    table = energy_table(arch)
    weights = next(one for one in memories(arch) if one.name == "weights")
    cost = ram_cost(weights.words, weights.width)
    assert cost.read == pytest.approx(table["scratchpad_read"].value)
    assert cost.write == pytest.approx(table["scratchpad_write"].value)
    kilobytes = sum(one.bits for one in memories(arch) if one.in_pe) / arch.pes / 8 / 1024
    each = ram_cost(1024, 8).leakage
    assert each * kilobytes * 1e3 / arch.clock_mhz == pytest.approx(table["leakage_cycle"].value)


def test_the_logic_of_an_action_is_without_its_memory() -> None:
    table = energy_table(preset("packed"))
    assert table["scratchpad_read"].logic == 0
    assert table["accumulate"].logic == table["accumulate"].value
    assert 0 < table["fifo_pop"].logic < table["fifo_pop"].value
    assert table["leakage_cycle"].logic == 0


def block(path: str, clock: float, data: float, flops: int = 1) -> Block:
    return Block(path, 10, flops, clock, data, data, 0.5 * clock, 1e-9, 3.0)


def test_busy_and_waiting_cycles_are_eq_3s() -> None:
    found = flow._eq3({"busy": block("", 4e-12, 3e-12), "waiting": block("", 4e-12, 0.5e-12)})
    assert found is not None
    assert found["idle_pj"] == pytest.approx(5)
    assert found["busy_pj"] == pytest.approx(10)
    assert found["ratio"] == pytest.approx(1)
    assert found["ratio_with_pins"] == pytest.approx(5 / 7)
    assert found["ratio_gated"] == pytest.approx(5)
    assert found["fitted"] == DYNAMIC_TO_LEAKAGE
    assert flow._eq3({"busy": block("", 1, 1)}) is None


@pytest.fixture(scope="module")
def layer() -> Any:
    program = random_program(4, timesteps=4)
    packed = pack(program, SMALL)
    pixels = random_pixels(program, 4)
    return Accelerator(packed).run(encode(0, Images(pixels[None]), packed))[-1]


def test_the_table_stands_beside_the_blocks(layer: Any) -> None:
    measured = {
        "matcher": block("matcher", 2e-12, 1e-12, 3),
        "queue": block("queue", 1e-12, 0.0, 1),
        "new": block("new", 1e-12, 1e-12, 4),
    }
    found = flow.actions(layer, SMALL, measured)
    table = energy_table(SMALL)
    rows = {row["block"]: row for row in found["blocks"]}
    each = 1 / (SMALL.pes * layer.cycles)
    clock = layer.actions["clock_cycle"] * each * table["clock_cycle"].value
    match = layer.actions["match"] * each * table["match"].logic
    assert layer.actions["match"] > 0
    assert rows["matcher"]["table_pj"] == pytest.approx(match + clock * 3 / 8)
    assert rows["new"]["actions"] == []
    assert rows["new"]["table_pj"] == pytest.approx(clock * 4 / 8)
    assert rows["new"]["moving_ratio"] is None
    for key in ("table_share", "netlist_share", "moving_table_share", "moving_netlist_share"):
        assert sum(row[key] for row in found["blocks"]) == pytest.approx(1)
    assert "select" in found["left_out"]
    assert "match" not in found["left_out"]


@pytest.fixture
def content(tmp_path: Path) -> dict[str, Any]:
    """Figures of two buffers and a RAM in four busy and six waiting cycles."""
    (tmp_path / "probe.lib").write_text(opensta._PROBE)
    cells = library.read(tmp_path, "probe.lib")
    ram = Ram("rows", 1, 8, 2, [Reader(True, 4, [2], [5, 6])], [Writer([4], [2], [3])], [])
    flat = Flat(
        7,
        ["", "inner"],
        [Instance("PROBE", 0, {"A": 2, "Y": 3}), Instance("PROBE", 1, {"A": 3, "Y": 4})],
        [ram],
        {"a": [2], "y": [4]},
        {"a"},
    )
    energies = Energies(
        leakage=np.array([1e-9, 2e-9]),
        clock=np.full(2, 1e-12),
        inputs=np.zeros(2),
        inside=np.full(2, 2e-12),
        loads=np.array([1e-12, 0.0]),
        pins=np.zeros(2),
        fmax_mhz=123.4,
        path=((0, 0.5), (1, 1.5)),
        total=3e-9 + 1e7 * 7e-12,
        double=1.0,
    )
    kinds = tuple(state.name.lower() for state in State)
    toggles = np.zeros((len(kinds), 7), np.uint64)
    toggles[State.BUSY, 3:5] = 4, 2
    counts = np.zeros((len(kinds), 1), np.uint64)
    counts[State.BUSY] = 3
    cycles = np.zeros(len(kinds), np.uint64)
    cycles[[State.BUSY, State.WAITING]] = 4, 6
    activity = Activity(cycles, toggles, toggles, counts, counts, 20)
    empty = Stimuli(
        np.zeros((10, 1), np.uint32), (Signal("a", 1, 0),), (), np.zeros(10, np.uint8), 1
    )
    recording = Recording(empty, 10, 12, kinds)
    mapped = Mapped("pe", tmp_path, cells, flat, 0, cached=False)
    given: dict[str, Any] = {"model": "m", "program": "p", "image": 3, "layer": "l", "part": "pe"}
    given |= {"pe": 1, "pes": 4, "arch": {"preset": "packed", "digest": "d"}, "mapping": "cost"}
    given |= {"liberty": "probe.lib", "clock_mhz": 50.0, "tools": {}, "seconds": {"all": 1.0}}
    return given | flow.figures(mapped, energies, recording, activity, 50.0)


def test_figures_follow_from_changes_and_energies(content: dict[str, Any]) -> None:
    whole = content["whole"]
    assert whole["pj_clock"] == pytest.approx(2)
    assert whole["pj_data"] == pytest.approx(2 * 4 / 10 + 2 * 2 / 10)
    assert whole["pj_switching"] == pytest.approx(0.4)
    assert whole["total_mw"] == pytest.approx((2 + 1.2 + 0.4) * 0.05 + 3e-6)
    assert sum(line["total_mw"] for line in content["blocks"]) == pytest.approx(whole["total_mw"])
    assert sum(line["share"] for line in content["blocks"]) == pytest.approx(1)
    assert content["states"]["busy"]["pj_data"] == pytest.approx(2 + 1)
    assert content["states"]["waiting"]["pj"] == pytest.approx(2 + 3e-9 / 50e6 * 1e12)
    assert content["watched"]["nets"] == 5
    assert content["watched"]["moving"] == 2
    assert content["watched"]["toggles"] == 6
    [line] = content["rams"]
    cost = ram_cost(8, 2)
    assert line["pj"] == pytest.approx(3 * (cost.read + cost.write) / 10)
    assert line["node"] == "28 nm"
    assert "CACTI" in line["source"]


def test_a_result_is_json_and_a_page(content: dict[str, Any], tmp_path: Path) -> None:
    found = flow.Power(content)
    assert found.ratio == pytest.approx((3 + 1) / 2)
    files = found.save(tmp_path / "out")
    assert [file.name for file in files] == ["power.json", "power.md"]
    assert json.loads(files[0].read_text())["whole"]["pj_clock"] == pytest.approx(2)
    page = files[1].read_text()
    assert "pe 1 of 4 in layer l of m, image 3" in page
    assert "5 nets watched, all of the netlist; 2 moved in 10 cycles, 6 changes" in page
    assert "123.4 MHz" in page
    assert "E_d / E_l is 2.00" in page
    assert "| inner/rows | 8 x 2 | 3 | 3 |" in page
    assert pages.table(found.result).row_count == 3
