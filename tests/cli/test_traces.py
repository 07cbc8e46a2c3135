"""Traces at the command line: networks that run, and what is refused in one line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evenspike.flows import explore
from evenspike_core.arch import preset
from evenspike_core.errors import EvenspikeError
from evenspike_core.workload import FITTED_DENSITY
from evenspike_sim.accelerator import Accelerator, LayerRun

Cli = Callable[..., Any]
Refused = Callable[..., str]
Report = dict[str, Any]


def read(out: Path) -> Report:
    content: Report = json.loads((out / "trace" / "report.json").read_text(encoding="utf-8"))
    return content


@pytest.fixture
def small(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    path = tmp_path / "small.npz"
    shapes = {"conv1_in": (6, 8, 8), "conv2_in": (20, 4, 4), "conv3_in": (9, 4, 4)}
    arrays = {name: rng.integers(0, 16, shape).astype(np.uint8) for name, shape in shapes.items()}
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


RESIDUAL = """
input = [16, 12, 12]
layers = [
    { name = "conv1", filters = 20, kernel = 7, stride = 2, pool = 2 },
    { name = "b1.conv1", filters = 24, stride = 2 },
    { name = "b1.conv2", filters = 24, shortcut = { source = "conv1", stride = 2 } },
    { name = "b2.conv1", filters = 24, kernel = 5 },
    { name = "b2.conv2", filters = 24, shortcut = { source = "b1.conv2", identity = true } },
    { name = "fc", filters = 10, kernel = 1, average = 2 },
]
"""


@pytest.fixture
def layers(tmp_path: Path) -> Path:
    path = tmp_path / "layers.toml"
    path.write_text(RESIDUAL, encoding="utf-8")
    return path


# --- what runs ------------------------------------------------------------------------------


def test_report_and_timeline_of_a_trace(cli: Cli, small: Path, out: Path) -> None:
    done = cli("sim", "--trace", small, "--density", "30%", "--out", out)
    assert (done.status, done.err) == (0, "")
    folder = out / "trace"
    names = ["report.html", "report.json", "report.md", "trace.json"]
    assert sorted(path.name for path in folder.iterdir()) == names
    report = read(out)
    assert (report["model"], report["images"]) == ("trace", 1)
    assert (report["bit_exact"], report["accuracy"], report["predictions"]) == (True, None, [])
    assert [layer["name"] for layer in report["layers"]] == ["conv1", "conv2", "conv3"]
    assert [layer["density"] for layer in report["layers"]] == pytest.approx([0.3] * 3, abs=0.06)
    with np.load(small) as arrays:
        spikes = [int(np.unpackbits(arrays[name]).sum()) for name in arrays.files]
    assert [layer["spikes_in"] for layer in report["layers"]] == spikes
    assert report["compared"]["spikes"] == 4 * (20 * 4 * 4 + 9 * 4 * 4 + 9 * 4 * 4)
    weights = 9 * (6 * 20 + 20 * 9 + 9 * 9)
    program = report["program"]
    assert program["weights"] == weights, "of the layers that ran, not of their Program's end"
    assert program["sparsity"] == 1 - program["nnz"] / weights
    events = json.loads((folder / "trace.json").read_text(encoding="utf-8"))["traceEvents"]
    spans = [event for event in events if event["ph"] == "X"]
    assert {span["name"].split()[0] for span in spans} >= {"conv1", "conv2", "conv3"}
    assert max(span["ts"] + span["dur"] for span in spans) <= report["totals"]["cycles"] + 1


@pytest.mark.parametrize("timesteps", [1, 2, 8])
def test_timesteps_of_a_trace(cli: Cli, layers: Path, out: Path, timesteps: int) -> None:
    """As many as the Arch has, drawn, in planes and in masks."""
    arch = f"packed,timesteps={timesteps}"
    drawn = ("--layers", layers, "--rate", 20, "--density", 40, "--arch", arch, "--out", out)
    assert cli("sim", *drawn).status == 0
    assert read(out)["compared"]["timesteps"] == timesteps
    rng = np.random.default_rng(0)
    planes = rng.random((timesteps, 1, 6, 4, 4)) < 0.4
    planes[-1, 0, 0, 0, 0] = True
    masks = np.packbits(planes[:, 0], axis=0, bitorder="little")[0]
    path = out.parent / "t.npz"
    reports = []
    for array in (planes.astype(np.float32), planes, masks):
        np.savez(path, a_in=array)
        given = ("--trace", path, "--density", 40, "--arch", arch, "--out", out)
        assert cli("sim", *given).status == 0
        reports.append(read(out))
        assert reports[-1]["compared"]["timesteps"] == timesteps
        assert reports[-1]["layers"][0]["spikes_in"] == planes.sum()
    assert len({str(report["layers"]) for report in reports}) == 1
    np.savez(path, a_in=masks)
    assert cli("sim", *given, "--timesteps", 1).status == (0 if timesteps == 1 else 2)


def test_a_residual_network(cli: Cli, layers: Path, out: Path) -> None:
    """Kernels of 7 and 5, strides, a convolution and an identity as shortcuts, an average pool."""
    rng = np.random.default_rng(2)
    shapes = [(16, 12, 12), (20, 3, 3), (24, 2, 2), (24, 2, 2), (24, 2, 2), (24, 2, 2)]
    names = ["conv1", "b1.conv1", "b1.conv2", "b2.conv1", "b2.conv2", "fc"]
    trace = out.parent / "t.npz"
    arrays = {
        f"{name}_in": rng.random((4, *shape)) < 0.3
        for name, shape in zip(names, shapes, strict=True)
    }
    np.savez(trace, **arrays)  # type: ignore[arg-type]
    given = ("sim", "--trace", trace, "--layers", layers, "--density", 50, "--out", out)
    for options in ((), ("--arch", "paper,pes=4", "--mapping", "natural")):
        done = cli(*given, *options)
        assert (done.status, done.err) == (0, "")
        report = read(out)
        assert report["bit_exact"] is True
        assert [layer["name"] for layer in report["layers"]] == names
        assert [layer["shape"].get("shortcut") for layer in report["layers"]] == [
            None,
            None,
            "1\u00d71/2",
            None,
            "identity",
            None,
        ]
        into = [int(array.sum()) for array in arrays.values()]
        into[2] += into[1]
        into[4] += into[3]
        assert [layer["spikes_in"] for layer in report["layers"]] == into


def test_the_documented_description_runs(cli: Cli, out: Path, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "traces.md").read_text(encoding="utf-8")
    path = tmp_path / "net.toml"
    path.write_text(page.split("```toml")[1].split("```")[0], encoding="utf-8")
    given = ("--layers", path, "--rate", 10, "--density", 2, "--out", out)
    assert cli("sim", *given).status == 0
    assert len(read(out)["layers"]) == 5


def test_densities_layer_by_layer(cli: Cli, small: Path, out: Path) -> None:
    cli("sim", "--trace", small, "--density", "0,50,100", "--out", out)
    assert [layer["density"] for layer in read(out)["layers"]] == pytest.approx(
        [0, 0.5, 1], abs=0.05
    )
    cli("sim", "--trace", small, "--density", "10, 20", "--out", out)
    assert len(read(out)["layers"]) == 2
    assert cli("sim", "--trace", small, "--density", 0, "--rate", 0, "--out", out).status == 0
    assert read(out)["totals"]["accumulations"] == 0


def test_the_help_states_the_default_density(cli: Cli) -> None:
    text = "".join(cli("sim", "--help").out.split())
    assert ",".join(f"{one:g}" for one in FITTED_DENSITY) in text


def test_the_seed_decides_the_draws(cli: Cli, small: Path, out: Path) -> None:
    def run(*arguments: object) -> Report:
        done = cli("sim", "--trace", small, "--density", 20, *arguments, "--out", out)
        assert done.status == 0
        report = read(out)
        for key in ("seconds", "date", "command"):
            del report[key]
        return report

    assert run("--seed", 3) == run("--seed", 3)
    assert run("--seed", 3)["layers"] != run("--seed", 4)["layers"]
    assert run("--seed", 0) == run(), "0 is the default"
    assert run("--seed", 10**30)["bit_exact"] is True
    drawn = [run("--rate", 50, "--seed", seed)["layers"][0]["spikes_in"] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0] == pytest.approx(0.5 * 4 * 6 * 8 * 8, rel=0.1)
    assert run("--rate", 0)["layers"][0]["spikes_in"] == 0


def test_balanced_masks_are_even_on_the_paper_s_array(cli: Cli, layers: Path, out: Path) -> None:
    """The paper's own utilization is 1 where each of a group's filters has as many weights."""
    found: list[float] = []
    for options in ((), ("--balanced",), ("--balanced", "--arch", "packed,pes=4")):
        drawn = ("--layers", layers, "--rate", 20, "--density", 20, "--out", out)
        assert cli("sim", *drawn, *options).status == 0
        report = read(out)
        assert report["program"]["provenance"]["balanced"] == (0, 16, 4)[len(found)]
        found.append(report["paper_convention"]["utilization"]["pooled"])
    assert found[0] < 0.8
    assert found[2] == pytest.approx(1)
    assert found[0] < found[1]


def test_mappings_and_presets_of_a_trace(cli: Cli, small: Path, out: Path) -> None:
    cycles = {}
    for arch, mapping in (("packed", "cost"), ("paper", "natural")):
        arguments = ("--arch", arch, "--mapping", mapping, "--out", out)
        assert cli("sim", "--trace", small, "--density", 40, *arguments).status == 0
        report = read(out)
        assert report["arch"]["preset"] == arch
        assert report["mapping"] == mapping
        assert report["bit_exact"] is True
        cycles[arch] = report["totals"]["cycles"]
    assert cycles["packed"] < cycles["paper"]


@pytest.mark.parametrize("name", ["conv2", "b2.conv2"])
def test_a_wrong_spike_of_a_trace(
    cli: Cli, small: Path, layers: Path, out: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    honest = Accelerator.run_layer

    def run_layer(self: Accelerator, *arguments: Any) -> LayerRun:
        run = honest(self, *arguments)
        if run.name == name:
            run.masks[8, 1, 1] ^= 1
        return run

    monkeypatch.setattr(Accelerator, "run_layer", run_layer)
    given = ("--trace", small) if name == "conv2" else ("--layers", layers, "--rate", 10)
    assert cli("sim", *given, "--density", 40, "--out", out).status == 1
    report = read(out)
    assert report["bit_exact"] is False
    assert f"layer {name}" in report["divergence"]
    assert "filter 8, y 1, x 1" in report["divergence"]


def test_arrays_in_python(small: Path) -> None:
    """The flow takes a file or its arrays, and prints nothing."""
    arch = preset("packed,pes=4")
    with np.load(small) as arrays:
        loads = [
            explore.trace(one, density=30, seed=2) for one in (small, str(small), dict(arrays))
        ]
    assert len({load.program.digest() for load in loads}) == 1
    run = explore.explore(loads[2], arch)
    assert [layer.name for layer in run.layers] == ["conv1", "conv2", "conv3"]
    assert run.bit_exact
    assert "\n" not in repr(run)


def test_a_description_in_python() -> None:
    layers = {
        "input": [2, 4, 4],
        "layers": [{"name": "a", "filters": 3, "kernel": 1}, {"name": "b", "filters": 5}],
    }
    load = explore.trace(layers=layers, rate=np.float64(20), density=[10, 100])
    assert [layer.output for layer in load.layers] == [(3, 4, 4), (5, 4, 4)]
    assert load.layers[1].nnz == 3 * 5 * 9
    for wrong, says in (
        ({"layers": layers, "pes": 0}, "0 PEs, at least 1 is needed"),
        ({"layers": {"layers": []}}, "layers: `layers` is no list of tables"),
        ({"layers": layers | {"input": [4, 4]}}, "layers: input is [4, 4], not [channels"),
    ):
        with pytest.raises(EvenspikeError, match=f"^{re.escape(says)}"):
            explore.trace(**{"rate": 5, "density": 5} | wrong)
    with pytest.raises(EvenspikeError, match=r"^no trace, and no rate to draw spikes at$"):
        explore.trace()


# --- what is refused ------------------------------------------------------------------------


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "t.npz"
    np.savez(path, a_in=np.ones((4, 4, 4), dtype=np.uint8), b_in=np.ones((3, 4, 4), dtype=np.uint8))
    return path


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--density", "nan"], "density nan is outside 0 to 100 percent"),
        (["--density", "1e999"], "density inf is outside 0 to 100 percent"),
        (["--density", "-1"], "density -1.0 is outside 0 to 100 percent"),
        (["--density", "100.5"], "density 100.5 is outside 0 to 100 percent"),
        (["--density", ""], "--density '' is not numbers separated by commas"),
        (["--density", "10,,20"], "--density '10,,20' is not numbers separated by commas"),
        (["--density", "ten"], "--density 'ten' is not numbers separated by commas"),
        (["--density", "1,2,3"], "3 densities for 2 layers of the trace"),
        ([], "no density for 2 layers: the default is that of conv2 to conv13 of VGG-16"),
        (["--density", "5", "--rate", "nan"], "rate nan is outside 0 to 100 percent"),
        (["--density", "5", "--rate", "101"], "rate 101.0 is outside 0 to 100 percent"),
        (["--density", "5", "--seed", "-1"], "seed -1 is negative"),
        (["--density", "5", "--timesteps", "0"], "{trace}: the option `timesteps`: 0, 1 to 32"),
        (["--density", "5", "--layers", "none"], "none: cannot be read: No such file"),
        (["--density", "5", "--images", "3"], "--images belongs to a model"),
        (["--density", "5", "--data", "d"], "--data belongs to a model"),
        (["--density", "5", "--jobs", "1"], "--jobs belongs to a model"),
        (["--density", "5", "--rtl", "1"], "--rtl belongs to a model"),
        (
            ["--density", "5", "--model", "m"],
            "--model and a trace (--trace, --rate, --density) exclude each other",
        ),
    ],
)
def test_options_of_a_trace(refused: Refused, trace: Path, arguments: list[str], says: str) -> None:
    text = refused("sim", "--trace", trace, *arguments)
    assert text.startswith(says.replace("{trace}", str(trace)))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--density", 5], "--density needs --trace FILE, or --rate to draw the spikes"),
        (["--layers", "x"], "--layers needs --trace FILE, or --rate to draw the spikes"),
        (["--timesteps", 5], "--timesteps needs --trace FILE, or --rate to draw the spikes"),
        (["--balanced"], "--balanced needs --trace FILE, or --rate to draw the spikes"),
        (["--balanced", "--model", "m"], "--model and a trace"),
        (["--rate", "nan"], "rate nan is outside 0 to 100 percent"),
        (["--rate", 5, "--seed", -7], "seed -7 is negative"),
        (["--rate", 5, "--timesteps", 33], "33 timesteps, 1 to 32 are possible"),
        (["--rate", 5, "--layers", "none"], "none: cannot be read: No such file"),
    ],
)
def test_options_without_a_trace(refused: Refused, arguments: list[object], says: str) -> None:
    assert refused("sim", *arguments).startswith(says)


def test_a_description_that_draws_need_more_of(refused: Refused, layers: Path) -> None:
    given = ("sim", "--rate", 5, "--layers", layers)
    assert refused(*given) == (
        "no density for 6 layers: the default is that of conv2 to conv13 of VGG-16"
    )
    assert refused(*given, "--density", "1,2,3,4,5") == "5 densities for 6 layers of the trace"
    layers.write_text(RESIDUAL.replace("input = [16, 12, 12]", ""), encoding="utf-8")
    assert refused(*given) == (
        f"{layers}: states no `input = [channels, height, width]`; without a trace it has to"
    )
    layers.write_text(RESIDUAL.replace("stride = 2 } }", "stride = 1 } }"), encoding="utf-8")
    assert refused(*given) == (
        f"{layers}: layer b1.conv2: its convolution gives a 2x2 map, its shortcut 3x3"
    )


def test_a_trace_that_is_none(refused: Refused, tmp_path: Path, ticket: Path) -> None:
    missing = tmp_path / "none.npz"
    assert refused("sim", "--trace", missing) == f"{missing}: no such trace file"
    assert refused("sim", "--trace", tmp_path) == f"{tmp_path}: no such trace file"
    assert refused("sim", "--trace", ticket).startswith(f"{ticket}: not a readable .npz trace: ")
    assert "too long" in refused("sim", "--trace", tmp_path / ("x" * 300))
    other = tmp_path / "o.npz"
    np.savez(other, layer=np.ones((2, 4, 4), dtype=np.uint8))
    assert refused("sim", "--trace", other) == f"{other}: array 'layer' is not named <layer>_in"
    np.savez(
        other, a_in=np.ones((2, 8, 8), dtype=np.uint8), b_in=np.ones((2, 3, 3), dtype=np.uint8)
    )
    assert "equal or half is possible" in refused("sim", "--trace", other, "--density", 5)


def test_a_trace_that_the_accelerator_cannot_run(refused: Refused, tmp_path: Path) -> None:
    wide = tmp_path / "w.npz"
    np.savez(wide, a_in=np.ones((1, 1, 300), dtype=np.uint8))
    message = "layer input: map (1, 300), the limit is 256"
    assert refused("sim", "--trace", wide, "--density", 5) == message
    np.savez(wide, a_in=np.ones((17, 128, 128), dtype=np.uint8))
    assert refused("sim", "--trace", wide, "--density", 5).startswith(
        "layer input: its spikes take 32768 entries; Arch spike_entries is 8192"
    )
    np.savez(wide, a_in=np.ones((1, 2, 2000), dtype=np.uint8))
    assert "sides reach 1024" in refused("sim", "--trace", wide, "--density", 5)


@pytest.mark.parametrize("seed", range(80))
def test_no_damage_to_a_trace_is_an_exception(cli: Cli, trace: Path, out: Path, seed: int) -> None:
    """What comes through is a trace: it is run like any other."""
    rng = np.random.default_rng(seed)
    content = bytearray(trace.read_bytes())
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(len(content)))
        if rng.random() < 0.7:
            content[at] = int(rng.integers(256))
        else:
            del content[at : at + int(rng.integers(1, 30))]
    trace.write_bytes(bytes(content))
    done = cli("sim", "--trace", trace, "--density", 20, "--out", out)
    assert done.status in (0, 2)
    assert done.err.count("\n") == (done.status == 2)
