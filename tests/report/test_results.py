"""The comparison: figures, plots and pages of invented runs whose figures are known by hand."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from evenspike.cli import main
from evenspike.report.comparison import compression, cycles, line_plot, page, parts, rows, search
from evenspike.report.comparison.figures import FIGURES
from evenspike.report.comparison.plan import STUDIES
from evenspike_core import files, published
from evenspike_core.errors import EvenspikeError
from tests.helpers.damage import damaged, lies, text

Data = dict[str, Any]

UNEVEN = [4, 2, 2, 0]
EVEN = [2, 2, 2, 2]
PLACES = ("dense", "random", "snip", "imp", "early-bird", "transferred", "u-ticket", "cycle-aware")


def run(
    method: str = "imp",
    seed: int = 1,
    *,
    filters: list[int] = UNEVEN,
    accuracy: float = 70.0,
    study: str = "vgg16-tiny",
    chosen: int | None = None,
    **changes: Any,
) -> Data:
    """Two prunings of a network of T = 4; the first layer has 10 positions, the second 5."""
    options = f" --method {method} --seed {seed}"
    used = chosen or 4
    trained = [
        {"round": n, "images_seen": seen, "sparsity": s, "utilization": 1 - s / 2,
         "accuracy": accuracy - 10, "timesteps": t}
        for n, seen, s, t in ((0, 100, 0.0, used), (1, 150, 0.5, used), (2, 250, 0.75, 4))
    ]  # fmt: skip
    return {
        "name": f"{study}-{method}-seed{seed}" + "".join(f"-{k}{v}" for k, v in changes.items()),
        "command": f"evenspike train --recipe {study}{options}",
        "sweep": f"evenspike sweep --recipe {study} --methods {method}",
        "method": method,
        "seed": seed,
        "rounds": None,
        "sparsity": None,
        "pes": None,
        **changes,
        "made_on": {"machine": "a machine", "jobs": 1, "threads": 1, "load": 0.5},
        "state": "finished",
        "error": "",
        "recipe": {
            "name": study,
            "digest": "0123",
            "made_from": study + options,
            "seed": seed,
            "data": "fmnist",
            "train": 50,
            "validation": 20,
            "network": "vgg16",
            "width": 8,
            "timesteps": 4,
            "method": method,
            "place": PLACES.index(method.partition("+")[0]),
            "searches": method.partition("+")[0] in ("imp", "early-bird", "u-ticket"),
            "pes": changes.get("pes") or 4,
            "images": {"dense": 100, "round": 50, "final": 100},
        },
        "trained": trained,
        "pruned": [
            {"round": 1, "seconds": 20.0 / (5 - used), "images_seen": 100},
            {"round": 2, "seconds": 30.0 / (5 - used), "images_seen": 150},
        ],
        "validation": [
            {"step": step, "of": 4, "accuracy": accuracy - 4 + step, "loss": 1.0} for step in (2, 4)
        ],
        "epoch": [],
        "early-time": [] if chosen is None else [{"timesteps": chosen, "images_seen": 40}],
        "finished": [{"validation_accuracy": accuracy, "sparsity": 0.75, "seconds": 40.0}],
        "layers": [
            {"name": "conv2", "weights": 100, "positions": 10, "filters": filters},
            {"name": "conv3", "weights": 300, "positions": 5, "filters": EVEN},
        ],
    }


def made(*given: Data) -> list[rows.FinishedRun]:
    return [rows.FinishedRun(each) for each in given]


def table(figure: Data, number: int, *key: Any) -> list[Any]:
    """The rows of a table that begin so, without their beginning."""
    return [
        row[len(key) :] for row in figure["tables"][number]["rows"] if row[: len(key)] == [*key]
    ]


def means(values: list[Any]) -> list[Any]:
    return [value["mean"] if isinstance(value, dict) else value for value in values]


def test_cycles_are_the_papers_convention() -> None:
    row = rows.FinishedRun(run())
    first, second = cycles.layers(row)
    # four PEs, T = 4, ten positions: 8 weights work 320 PE-cycles, the slowest has 4
    assert (first["work"], first["idle"], first["latency"]) == (320, 320, 160)
    assert (first["work"] + first["idle"]) / 4 == first["latency"]
    assert first["utilization"] == pytest.approx(1 - (4 - 2) / 4 * 4 / 3)
    assert (second["idle"], second["utilization"]) == (0, 1.0)
    assert cycles.utilization(row) == pytest.approx((1 / 3 + 1) / 2)
    assert cycles.utilization(row, weighted=True) == pytest.approx((100 / 3 + 300) / 400)
    assert cycles.total(row, "latency") == 160 + 40
    # on two PEs: (4, 2) and (2, 0), each of which leaves a PE idle
    assert cycles.layers(row, 2)[0]["idle"] == (2 + 2) * 40
    assert cycles.layers(row, 8)[0]["idle"] == (8 * 4 - 8) * 40


def test_mean_and_deviation_over_seeds() -> None:
    assert rows.spread([1.0, 3.0]) == {"mean": 2.0, "std": pytest.approx(2**0.5), "n": 2}
    assert rows.spread([1.0, None]) == {"mean": 1.0, "std": None, "n": 1}
    assert rows.spread([None]) is None
    assert rows.spread([]) is None


def test_rounds() -> None:
    """The cycle model's counters stand in columns of their own, where a run has them."""
    measured = run(seed=2, accuracy=72.0)
    measured["trained"][-1]["cycles"] = 1e6
    figure = FIGURES["rounds"](made(run(), measured, run("u-ticket")))
    lines = table(figure, 1, "vgg16-tiny", "imp")
    assert [line[0] for line in lines] == [0, 1, 2]
    assert means(lines[2][1:]) == [0.75, 0.625, 61.0, None, 1e6, None]
    assert lines[2][3]["std"] == pytest.approx(2**0.5)
    (summary,) = table(figure, 0, "vgg16-tiny", "imp")
    assert means(summary) == [pytest.approx(2 / 3), pytest.approx((100 / 3 + 300) / 400), None]
    assert table(figure, 0, "vgg16-gpu", "imp") == [], "no run, whatever a paper states"
    full = FIGURES["rounds"](made(run(study="vgg16-gpu")))
    (summary,) = table(full, 0, "vgg16-gpu", "imp")
    assert summary[2] == 0.57, "beside a run at the paper's width"
    assert [s["name"] for s in figure["plots"][0]["series"] if s["points"]] == [
        "imp (vgg16-tiny)",
        "u-ticket (vgg16-tiny)",
    ]


def test_layers() -> None:
    figure = FIGURES["layers"](made(run(), run("u-ticket", filters=EVEN)))
    assert means(table(figure, 1, "vgg16-tiny", "imp", "conv2")[0]) == [
        pytest.approx(1 / 3), 320, 320, 160,
    ]  # fmt: skip
    (summary,) = table(figure, 0, "vgg16-tiny", "u-ticket")
    assert means(summary) == [480, None, 0, None, 120, None]
    assert table(figure, 0, "resnet19", "imp") == []
    assert figure["plots"][0]["x"]["ticks"] == ["conv2", "conv3"]


def test_convergence_goes_by_images() -> None:
    figure = FIGURES["convergence"](made(run(accuracy=70.0)))
    lines = table(figure, 1, "vgg16-tiny", "imp")
    assert [(line[0], line[1]["mean"]) for line in lines] == [(50, 68.0), (100, 70.0)]
    assert means(table(figure, 0, "vgg16-tiny", "imp")[0]) == [70.0, None]
    assert table(figure, 0, "vgg16-gpu", "u-ticket") == []


def test_methods_has_a_row_for_each_size() -> None:
    figure = FIGURES["methods"](
        made(run("imp", accuracy=70.0), run("imp", 2, accuracy=72.0), run("imp", rounds=1),
             run("u-ticket", pes=2), run("random", accuracy=30.0))
    )  # fmt: skip
    lines = table(figure, 0, "vgg16-tiny", "imp")
    assert sorted(line[1]["n"] for line in lines) == [1, 2]
    assert table(figure, 0, "vgg16-tiny", "u-ticket") == [], "made for other PEs"
    assert means(table(figure, 0, "vgg16-tiny", "random")[0]) == [0.75, 30.0, None, None]
    assert table(figure, 0, "vgg16-gpu", "imp") == []


def test_methods_stand_where_they_say() -> None:
    """Whatever the order of the runs; those of a study that has none of a method are left out."""
    given = [run(method) for method in ("u-ticket", "imp+early-time", "dense", "imp", "random")]
    rows_ = [rows.FinishedRun(one) for one in (*given, run("snip", study="vgg16-gpu"))]
    order = ["dense", "random", "imp", "imp+early-time", "u-ticket"]
    assert parts.in_order(rows_, "vgg16-tiny") == order
    assert parts.in_order(rows_[::-1], "vgg16-tiny") == order
    assert parts.in_order(rows_, "vgg16-tiny", searches=True) == order[2:]


def test_search_time_and_its_gain() -> None:
    plain, early = rows.FinishedRun(run("imp")), rows.FinishedRun(run("imp+early-time", chosen=3))
    assert search.passes(plain) == 150 * 4
    assert search.passes(early) == 40 * 4 + 60 * 3 + 50 * 3
    figure = FIGURES["search-time"]([plain, early])
    (line,) = table(figure, 0, "vgg16-tiny", "imp+early-time")
    assert means(line)[2:] == [3, 490, pytest.approx(600 / 490), 15.0, 2.0, None]
    (line,) = table(figure, 0, "vgg16-tiny", "imp")
    assert means(line)[2:] == [None, 600, None, 30.0, None, None]


@pytest.mark.parametrize("load", [None, 1.3])
def test_seconds_of_a_busy_machine_are_not_compared(load: float | None) -> None:
    early = run("imp+early-time", chosen=3)
    early["made_on"]["load"] = load
    figure = FIGURES["search-time"](made(run("imp"), early))
    (line,) = table(figure, 0, "vgg16-tiny", "imp+early-time")
    assert means(line)[4:] == [pytest.approx(600 / 490), 15.0, None, None]


def test_pes() -> None:
    figure = FIGURES["pes"](
        made(
            run(), run("u-ticket", filters=EVEN), run("u-ticket", pes=2), run("u-ticket", rounds=1)
        )
    )
    imp = {line[0]: line[1:] for line in table(figure, 0, "vgg16-tiny", "imp")}
    assert list(imp) == [2, 4, 8, 16, 32, 64]
    assert means(imp[4]) == [pytest.approx(2 / 3), 200]
    own = {
        line[0]: line[1:]
        for line in table(figure, 0, "vgg16-tiny", "u-ticket, made for that number")
    }
    assert own[4][0]["mean"] == 1.0
    assert own[4][0]["n"] == 1, "one with another ladder is no part of it"
    assert own[2][0]["mean"] == pytest.approx((0.25 + 1) / 2)
    assert own[8] == [None, None]


def test_sparsity_pairs_each_round() -> None:
    figure = FIGURES["sparsity"](made(run()))
    points = figure["plots"][0]["series"][0]["points"]
    assert [(p["x"], p["mean"]) for p in points] == [(0.0, 1.0), (0.5, 0.75), (0.75, 0.625)]
    assert table(figure, 0, "resnet19", "imp") == []


def test_agc_has_its_stages_and_its_bars() -> None:
    def of(study: str, accuracy: float, *, plain: bool = False) -> Data:
        made_of = run("imp", accuracy=accuracy, study=study)
        made_of["method"] = made_of["recipe"]["method"] = "agc"
        if not plain:
            made_of["converted"] = [{"accuracy": 40.0}]
            made_of["finished"][-1] |= {
                "rounded_accuracy": accuracy - 0.25,
                "activity": [1.0, 2.0],
                "operations": {"energy_dense": 320.0, "energy": 10.0},
            }
        return made_of

    parent, small = "agc-vgg9-small-dense", "agc-vgg9-small"
    channel = "agc-vgg9-small-channel"
    figure = FIGURES["agc"](made(of(parent, 80.0, plain=True), of(small, 79.0), of(channel, 76.0)))
    assert means(table(figure, 0, small)[0]) == [0.25, 69.0, 40.0, 79.0, 0.25, 1.5, 32.0]
    assert means(table(figure, 0, parent)[0]) == [0.25, 70.0, None, 80.0, None, None, None]
    assert means(table(figure, 1, small)[0]) == [1.5, 1.0, "met"]
    assert means(table(figure, 1, channel)[0]) == [3.0, 4.0, "missed"]
    assert [row[:2] for row in figure["tables"][2]["rows"]] == [
        list(row[:2]) for row in published.AGC
    ]


def test_compression_sets_all_methods_beside_the_dense_network_of_their_seed() -> None:
    def of(study: str, method: str, seed: int, accuracy: float, rate: float, kept: float) -> Data:
        made_of = run("imp", seed, accuracy=accuracy, study=study)
        made_of["name"] = f"{study}-{method}-{seed}"
        made_of["method"] = made_of["recipe"]["method"] = method
        made_of["finished"][-1] |= {"firing_rate": rate, "r_mem": kept}
        made_of["trained"][-1] |= {
            "cycles": 1e3, "words_loaded": 50.0, "energy_pj": 5e6, "hardware_utilization": 0.5
        }  # fmt: skip
        return made_of

    figure = FIGURES["compression"](
        made(
            of("compression", "dense", 1, 90.0, 0.2, 1.0),
            of("compression", "dense", 2, 88.0, 0.1, 1.0),
            of("compression-admm", "admm", 1, 89.0, 0.1, 0.1),
            of("compression-admm", "admm", 2, 86.0, 0.1, 0.1),
            of("agc-vgg9-small", "agc", 3, 80.0, 0.1, 0.1),
            run("imp", 1, accuracy=85.0, study="compression"),
        )
    )
    hardware = [1000, 50, 5e6, 0.5]
    (admm,) = table(figure, 0, "compression-admm", "admm")
    assert means(admm[1:6]) == [87.5, 1.5, 0.75, pytest.approx(0.1), pytest.approx(0.075)]
    assert means(admm[6:]) == hardware
    (other,) = table(figure, 0, "agc-vgg9-small", "agc")
    assert means(other[1:6]) == [80.0, None, 0.75, pytest.approx(0.1), None], "no dense network"
    (imp,) = table(figure, 0, "compression", "imp")
    assert means(imp[1:]) == [85.0, 5.0, 0.75, None, None, None, None, None, None]
    assert not table(figure, 0, "compression-codes", "admm")
    assert [one["name"] for one in figure["plots"][0]["series"]] == ["dense", "ADMM", "AGC"]


def test_one_page_may_be_made_of_several_recipes() -> None:
    commands = STUDIES["compression"].commands
    assert commands[0].startswith("evenspike sweep --recipe compression --methods dense,imp")
    assert all(command.count("--recipe") == 1 for command in commands)
    assert {command.split()[3] for command in commands[1:]} == {
        *("compression-admm", "compression-codes", "agc-vgg9-small", "agc-vgg9-small-channel")
    }


def test_the_plan_makes_every_row_of_compression() -> None:
    planned = set()
    for command in STUDIES["compression"].commands:
        words = command.split()
        recipe, methods = (words[words.index(key) + 1] for key in ("--recipe", "--methods"))
        planned |= {(recipe, method) for method in methods.split(",")}
    assert planned == {(recipe, method) for recipe, method, _ in compression.ROWS}
    assert {recipe for recipe, _ in planned} <= STUDIES.keys()


def test_a_recipe_of_ones_own_is_shown_too() -> None:
    figure = FIGURES["rounds"](made(run(study="mine")))
    assert means(table(figure, 0, "mine", "imp")[0])[2] is None, "not of the papers' width"
    planned = [name for name, study in STUDIES.items() if not study.apart]
    assert parts.studies(made(run(study="mine"))) == [*planned, "mine"]
    assert "agc-vgg9-small" not in planned
    wide = run(study="mine")
    wide["recipe"]["width"] = 64
    assert table(FIGURES["rounds"](made(wide)), 0, "mine", "imp")[0][2] == 0.57


@pytest.mark.parametrize("name", FIGURES)
def test_without_a_run_every_row_is_empty(name: str) -> None:
    figure = FIGURES[name]([])
    assert figure["plots"] == []
    assert figure["made"] == []
    for given in figure["tables"]:
        for row in given["rows"]:
            assert len(row) == len(given["columns"])
            for value, column in zip(row, given["columns"], strict=True):
                stated = "paper" in column["name"] or column["name"] == "at sparsity"
                key = column["name"] in {
                    *("recipe", "method", "against", "ticket", "PEs", "assignment to PEs")
                }
                assert value is None or stated or key
    assert "There is no run behind this figure yet" in page.render(name, figure)


# --- views -----------------------------------------------------------------------


def test_cells() -> None:
    value = {"mean": 0.5, "std": 0.25, "n": 2}
    alone = {"mean": 61.0, "std": None, "n": 1}
    assert page.cell(value, "share") == "0.500 ± 0.250"
    assert page.cell(alone, "percent") == "61.00 %"
    assert page.cell({**alone, "std": 1.5}, "percent") == "61.00 ± 1.50 %"
    assert page.cell({**value, "mean": 1.5}, "factor") == "× 1.50 ± 0.25"  # noqa: RUF001
    assert page.cell(12345.0, "count") == "12,345"
    assert page.cell(None, "share") == ""
    assert page.cell("imp", "text") == "imp"


def test_page_says_how_it_was_made() -> None:
    figure = FIGURES["rounds"](made(run(), run(seed=2), run("u-ticket")))
    text = page.render("rounds", figure)
    assert (
        "Recipe `vgg16-tiny`: vgg16, width 8, T = 4; data set `fmnist`, training images: 50" in text
    )
    assert "seeds: imp 1, 2; u-ticket 1. Training took 2 minutes by the clock" in text
    assert "\n    evenspike sweep --recipe vgg16-tiny --methods imp\n" in text
    assert "](rounds-1.svg)" in text
    assert "vgg16-gpu" not in text


def test_plots_are_drawings_with_every_series() -> None:
    figure = FIGURES["pes"](made(run(), run(seed=2, filters=[5, 1, 1, 1]), run("u-ticket")))
    for plot in figure["plots"]:
        root = ET.fromstring(line_plot.render(plot))  # noqa: S314 - written here
        texts = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
        assert {"2", "4", "8", "16", "32", "64", "PEs", plot["y"]["label"]} <= set(texts)
        assert "imp (vgg16-tiny)" in texts
        numbers = [
            float(number)
            for node in root.iter()
            for key in ("x", "y", "cx", "cy")
            if (number := node.get(key)) is not None
        ]
        assert all(-1 <= number <= line_plot.WIDTH for number in numbers)


def test_a_plot_of_one_point_has_an_extent() -> None:
    series = [{"name": "a < b", "points": [{"x": 0, "mean": 0.0, "std": None, "n": 1}]}]
    text = line_plot.render({"x": {"label": "x"}, "y": {"label": "y"}, "series": series})
    ET.fromstring(text)  # noqa: S314 - written here
    assert "a &lt; b" in text
    assert not re.search("nan|inf", text)


def test_a_level_goes_from_side_to_side() -> None:
    figure = FIGURES["methods"](made(run("dense", accuracy=80.0), run("imp"), run("imp", rounds=1)))
    (plot,) = figure["plots"]
    assert next(s["name"] for s in plot["series"] if s["level"]) == "dense (vgg16-tiny)"
    plot["series"][0]["points"][0]["x"] = 1e6
    text = line_plot.render(plot)
    root = ET.fromstring(text)  # noqa: S314 - written here
    side = line_plot.WIDTH - line_plot.RIGHT
    drawn = [node.get("d") or "" for node in root.iter() if "line s0" in (node.get("class") or "")]
    assert re.fullmatch(rf"M{line_plot.LEFT} [\d.]+H{side}", drawn[0])
    texts = [node.text or "" for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert not any("1e+06" in text for text in texts), "its place is not on the axis"


def test_ticks_are_round_and_inside() -> None:
    series = [{"name": "a", "points": [{"x": x, "mean": x / 10, "std": None, "n": 1}
                                       for x in (0, 3)]}]  # fmt: skip
    text = line_plot.render({"x": {"label": "x"}, "y": {"label": "y"}, "series": series})
    assert re.findall(r'text-anchor="end">([\d.]+)<', text) == ["0.00", "0.05", "0.10", "0.15",
                                                                "0.20", "0.25", "0.30"]  # fmt: skip


# --- the verb --------------------------------------------------------------------


def listed(folder: Path, *given: Data) -> Path:
    files.write_json({"version": "0", "runs": list(given)}, folder / "sweep.json")
    return folder


def test_all_figures_and_the_index(tmp_path: Path) -> None:
    failed = {**run(seed=9), "state": "failed", "error": "round 1: pruning leaves no weight"}
    a = listed(tmp_path / "a", run(), failed)
    b = listed(tmp_path / "b", run("u-ticket", filters=EVEN))
    out = tmp_path / "out"
    assert main(["results", "--runs", str(a), "--runs", str(b), "--out", str(out)]) == 0
    index = (out / "README.md").read_text()
    for name in ("agc", "compression"):
        assert name in FIGURES
        assert f"({name}.md)" not in index, "it has no run"
        assert not (out / f"{name}.md").exists()
    for name in FIGURES.keys() - {"agc", "compression"}:
        figure = json.loads((out / f"{name}.json").read_text())
        assert (out / f"{name}.md").read_text() == page.render(name, figure)
        assert f"({name}.md)" in index
        for file in page.plots(name, figure):
            assert (out / file).is_file()
    assert "| vgg16-tiny-imp-seed9 | round 1: pruning leaves no weight |" in index
    assert "evenspike sweep --recipe vgg16-gpu --methods imp,u-ticket --seeds 1-5" in index

    (out / "pes-9.svg").write_text("of a figure that had more plots")
    files.write_json({"version": "0", "runs": [run(accuracy=80.0)]}, a / "sweep.json")
    assert main(["results", "--runs", str(a), "--out", str(out)]) == 0
    assert not (out / "pes-9.svg").exists(), "a plot that is no more does not stay"
    figure = json.loads((out / "methods.json").read_text())
    assert means(table(figure, 0, "vgg16-tiny", "imp")[0])[:2] == [0.75, 80.0], "made again"
    assert means(table(figure, 0, "vgg16-tiny", "u-ticket")[0])[:2] == [0.75, 70.0], "kept"


def test_without_a_finished_run_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = listed(tmp_path / "a", {**run(), "state": "failed", "error": "no"})
    assert main(["results", "--runs", str(folder), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == f"evenspike: results: no run has finished in {folder}\n"
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["magic"], "'magic' is no figure; there are rounds, layers"),
        (["--make", "magic"], "'magic' has no plan; there are vgg16-tiny"),
        (
            ["--make", "vgg16-tiny", "--runs", "a", "--runs", "b"],
            "2 folders of runs; --make takes one",
        ),
        (["--runs", "nowhere"], "nowhere/sweep.json: cannot be read: No such file"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], says: str
) -> None:
    assert main(["results", *options, "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"recipe": None}, "recipe is not an object"),
        ({"recipe": {"name": "x"}}, "recipe.digest is missing"),
        ({"layers": []}, "its list layers is empty"),
        ({"trained": 3}, "trained is not a list"),
        ({"name": 3}, "a run has no name"),
    ],
)
def test_a_damaged_row_is_named(tmp_path: Path, change: Data, says: str) -> None:
    folder = listed(tmp_path, {**run(), **change})
    with pytest.raises(EvenspikeError, match=says):
        rows.read([folder])


def test_a_list_that_lies_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In every kind of file that holds runs, whatever stands in a run's place."""
    folder = listed(tmp_path / "a", run(), run("u-ticket", chosen=3))
    path = folder / rows.SWEEP_FILE
    content = path.read_bytes()
    contents = [*damaged(content, "rows", 8), *map(text, lies(json.loads(content), "rows", 40))]
    for data in contents:
        path.write_bytes(data)
        status = main(["results", "--runs", str(folder), "--out", str(tmp_path / "out")])
        assert status in (0, 2)
        assert capsys.readouterr().err.count("\n") == (status == 2)
        shutil.rmtree(tmp_path / "out")


def test_the_same_name_with_another_recipe_is_an_error(tmp_path: Path) -> None:
    other = run()
    other["recipe"]["digest"] = "4567"
    folders = listed(tmp_path / "a", run()), listed(tmp_path / "b", other)
    with pytest.raises(EvenspikeError, match="another list has it with another recipe"):
        rows.read(folders)
    assert len(rows.read([folders[0], folders[0]])[0]) == 1


def test_the_plan_is_made_of_sweeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    from evenspike.cli import sweep

    asked: list[tuple[str, str, Path]] = []

    def instead(arguments: Any) -> int:
        asked.append((arguments.recipe, arguments.methods, arguments.out))
        listed(arguments.out, run())
        return int("early-bird" in arguments.methods)

    monkeypatch.setattr(sweep, "run", instead)
    given = ["results", "--make", "resnet19", "--runs", str(tmp_path / "r")]
    assert main([*given, "--out", str(tmp_path / "out")]) == 0, "a failure is a row of the index"
    assert {(recipe, out) for recipe, _, out in asked} == {("resnet19", tmp_path / "r")}
    assert len(asked) == len(STUDIES["resnet19"].sweeps)
    assert (tmp_path / "out/README.md").is_file()


def test_the_index_lists_pages_of_other_verbs_that_are_there(tmp_path: Path) -> None:
    given = ["results", "--runs", str(listed(tmp_path / "a", run())), "--out", str(tmp_path / "b")]
    assert main(given) == 0
    assert "Beside these" not in (tmp_path / "b/README.md").read_text()
    (tmp_path / "b/paper.md").touch()
    assert main(given) == 0
    text = (tmp_path / "b/README.md").read_text()
    assert "Beside these: [the u-Ticket paper, figure by figure](paper.md)" in text
    assert "admm-mnist.md" not in text


def test_a_companion_is_trained_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    from evenspike.cli import sweep, train

    asked: list[str] = []

    def instead(arguments: Any) -> int:
        asked.append("".join(arguments.recipe))
        if hasattr(arguments, "out"):
            listed(arguments.out, run())
        return 0

    monkeypatch.setattr(sweep, "run", instead)
    monkeypatch.setattr(train, "run", instead)
    given = ["results", "--make", "agc-vgg9-small", "--runs", str(tmp_path / "r")]
    assert main([*given, "--out", str(tmp_path / "out")]) == 0
    assert asked == ["agc-vgg9-meta", "agc-vgg9-small"]
    index = (tmp_path / "out/README.md").read_text()
    assert "    evenspike train agc-vgg9-meta\n    evenspike sweep --recipe compression" in index


def test_every_plan_can_be_run() -> None:
    pytest.importorskip("torch")
    from evenspike.cli import parser, sweep
    from evenspike_train.runs.sweep import Axes, plan

    for study in STUDIES.values():
        for command in study.commands:
            given = parser().parse_args(command.split()[1:])
            runs = plan(
                given.recipe,
                Axes(
                    tuple(given.methods.split(",")),
                    sweep.integers("seeds", given.seeds),
                    sweep.integers("rounds", given.rounds),
                    (),
                    sweep.integers("pes", given.pes),
                ),
            )
            for each in runs:
                facts = each.recipe
                assert (facts.network.name, facts.data.name) == (study.network, study.data)
                assert (facts.network.width == published.FULL_WIDTH) == study.full


def measured(method: str, seed: int, busy: float, natural: float, accuracy: float) -> Data:
    found = run(method, seed, accuracy=accuracy)
    found["trained"][-1] |= {
        "hardware_utilization": busy,
        "hardware_utilization_natural": natural,
        "cycles": 1000.0,
        "cycles_natural": 1100.0,
        "energy_pj": 5e6,
        "energy_pj_natural": 6e6,
    }
    return found


def test_hardware() -> None:
    figure = FIGURES["hardware"](
        made(
            measured("imp", 1, 0.5, 0.4, 70.0),
            measured("imp", 2, 0.6, 0.5, 71.0),
            measured("u-ticket", 1, 0.55, 0.45, 69.0),
            measured("u-ticket", 2, 0.58, 0.55, 71.5),
            measured("u-ticket", 3, 0.9, 0.9, 99.0),
            run("cycle-aware", 1),
        )
    )
    mapped, natural = table(figure, 0, "vgg16-tiny", "imp")
    assert means(mapped[1:]) == [pytest.approx(0.55), 1000, 5e6, 0.625, 70.5, 0.75]
    assert means(natural[1:4]) == [pytest.approx(0.45), 1100, 6e6]
    assert table(figure, 0, "vgg16-tiny", "cycle-aware")[0][1:3] == [None, None], "not measured"
    (pair,) = table(figure, 1, "vgg16-tiny", "u-ticket", "imp", "the mapper's")
    assert means(pair) == [pytest.approx(0.015), 1, 2, pytest.approx(-0.25)], "seeds of both"
    (pair,) = table(figure, 1, "vgg16-tiny", "u-ticket", "imp", "filters in their order")
    assert pair[1:3] == [2, 2]
    assert not table(figure, 1, "vgg16-tiny", "cycle-aware", "u-ticket"), "not measured"
    assert "| vgg16-tiny | imp | the mapper's | 0.550 ± 0.071 |" in page.render("hardware", figure)
