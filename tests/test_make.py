"""The verbs of `make`: what they take, what they run, and what they install for it."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from evenspike import cli
from evenspike_core.arch import Arch
from tests.helpers.pages import PAGES, ROOT

MAKE = shutil.which("make") or ""
pytestmark = pytest.mark.skipif(not MAKE, reason="needs make")

STAMPS = ("made-in", "base", "train", "hw", "boards", "dev")
RECORD = 'printf "%s\\0" "${0##*/}" "$@" >>calls\nprintf "\\n" >>calls\nenv >environment\n'
STARTING = ["sim", "compare", "cosim", "train", "synth"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree whose environment is made, and whose programs only write down how they were called."""
    for name in ("Makefile", "pyproject.toml", "requirements.lock", "core/evenspike_core/arch.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("evenspike", "python"):
        (programs / name).write_text(f"#!/bin/sh\n{RECORD}")
        (programs / name).chmod(0o755)
    for name in STAMPS:
        (tmp_path / ".venv" / name).write_text(str(tmp_path))
    return tmp_path


def make(tree: Path, *arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    environment |= {} if path is None else {"PATH": str(path)}
    command = [MAKE, "--no-print-directory", *arguments]
    return subprocess.run(
        command, cwd=tree, env=environment, capture_output=True, text=True, check=False
    )


def calls(tree: Path) -> list[list[str]]:
    """The programs that ran, and their arguments."""
    found = tree / "calls"
    lines = found.read_text().split("\0\n") if found.exists() else []
    return [line.split("\0") for line in lines if line]


@cache
def settings() -> dict[str, list[str]]:
    """The settings of each verb, as `make help` has them."""
    text = make(ROOT, "help").stdout
    entries = re.findall(r"^  make ([a-z-]+) .*\n((?: {20}.+\n)?)", text, re.MULTILINE)
    return {verb: re.findall(r"([A-Z_]+)=", line) for verb, line in entries}


@pytest.mark.parametrize(
    ("arguments", "call"),
    [
        (["sim"], "evenspike sim"),
        (["sim", "MODEL=a.safetensors", "JSON=1"], "evenspike sim --model a.safetensors --json"),
        (["sim", "JSON="], "evenspike sim"),
        (["sim", "IMAGES=3", "ARGS=--rtl 0"], "evenspike sim --images 3 --rtl 0"),
        (["compare", "FIFO_DEPTH=16,64"], "evenspike compare --set fifo_depth=16,64"),
        (["compare", "PES=4", "MODEL=a,b"], "evenspike compare --set pes=4 --model a,b"),
        (["train"], "evenspike train vgg16-small"),
        (["train", "RECIPE=a", "DATA=d"], "evenspike train a --data d"),
        (["finetune", "MODEL=a"], "evenspike finetune a"),
        (
            ["finetune", "MODEL=a", "RECIPE=b", "SPARSITY=0.9"],
            "evenspike finetune a --recipe b --sparsity 0.9",
        ),
        (["results", "DATA=d"], "evenspike results --make vgg16-tiny --data d"),
        (["tables", "TABLE=II III", "DATA=d"], "evenspike tables II III --data d"),
        (["bitstream", "BOARD=b"], "evenspike bitstream --keep bitstreams --board b"),
        (["bitstream", "SEEDS=2"], "evenspike bitstream --seeds 2"),
        (["power", "LAYER=l", "PE=3"], "evenspike power --layer l --pe 3"),
        (["verilog", "ARCH=a", "OUT=o"], "evenspike verilog --arch a --out o"),
        (["cocotb", "COMPONENT=a b"], "python -m tests.helpers.bench a b"),
        (["cocotb", "WAVES=1"], "python -m tests.helpers.bench --waves"),
        (["cosim-random", "N=5", "SEED=2"], "python -m tests.helpers.random_networks 5 --seed 2"),
        (["bench", "TRACE=t.npz"], "python -m benchmarks.bench --trace t.npz"),
        (["baselines", "ONLY=a b", "UPDATE=1"], "python -m tests.helpers.baselines a b --update"),
    ],
)
def test_a_verb_is_one_command(tree: Path, arguments: list[str], call: str) -> None:
    done = make(tree, *arguments)
    assert done.returncode == 0, done.stderr
    assert calls(tree) == [call.split()]


@pytest.mark.parametrize(
    ("setting", "marks"), [("", " and not long"), ("=", " and not long"), ("=1", "")]
)
@pytest.mark.parametrize(("verb", "first"), [("test", "not gates"), ("gates", "gates")])
def test_long_tests_run_where_they_are_asked_for(
    tree: Path, verb: str, first: str, setting: str, marks: str
) -> None:
    path = programs(tree / "bin", uid=1000, iverilog=True)
    done = make(tree, verb, *([f"ALL{setting}"] if setting else []), path=path)
    assert done.returncode == 0, done.stderr
    call = calls(tree)[-1]
    given = call[call.index("auto") + 1 :]
    assert given[given.index("-m") + 1] == first + marks


@pytest.mark.parametrize(
    "value",
    [
        *("it's", "two words", 'a"b', "a;touch broken", "' && touch broken '", "`touch broken`"),
        *("$HOME", "$(shell touch broken)", "$$(touch broken)", "a#b", "a\\", "50%", "a,b)", "ä"),
    ],
)
@pytest.mark.parametrize("arguments", [("sim", "MODEL"), ("train", "RECIPE")])
def test_a_value_arrives_as_it_is(tree: Path, arguments: tuple[str, str], value: str) -> None:
    verb, name = arguments
    done = make(tree, verb, f"{name}={value}", "DATA=d")
    assert done.returncode == 0, done.stderr
    assert value in calls(tree)[0]
    assert not (tree / "broken").exists()
    assert f"\n{name}=" not in (tree / "environment").read_text()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train", "METHODS=imp"], "make train takes no METHODS; it takes RECIPE METHOD SEED"),
        (["sim", "cosim", "JSON=1"], "make cosim takes no JSON; it takes MODEL IMAGES BATCH DATA"),
        (["compare", "FIFO=16"], "make compare takes no FIFO; it takes MODEL IMAGES DATA"),
        (["sim", "images=3"], "make sim takes no images; it takes MODEL IMAGES BATCH DATA"),
        (["lint", "ARGS=x"], "make lint takes no ARGS; it takes PYTHON"),
        (["IMAGES=3"], "make help takes no IMAGES; it takes PYTHON"),
        (["sim", "VENV=/elsewhere"], "make sim takes no VENV; it takes MODEL"),
        (["cocotb", "WAVES=0"], "WAVES is 0; it is 1 or left out"),
        (["sim", "MODEL=a\nb"], "MODEL has two lines"),
    ],
)
def test_what_a_verb_does_not_take_is_one_line(tree: Path, arguments: list[str], says: str) -> None:
    done = make(tree, *arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert not done.stdout
    assert calls(tree) == []


def test_a_setting_is_not_taken_from_the_environment(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGES", "7")
    monkeypatch.setenv("RECIPE", "other")
    assert make(tree, "sim", "train", "DATA=d").returncode == 0
    assert calls(tree) == [
        ["evenspike", "sim", "--data", "d"],
        ["evenspike", "train", "vgg16-small", "--data", "d"],
    ]


def test_help_has_every_verb_and_the_five_first() -> None:
    text = (ROOT / "Makefile").read_text()
    phony = re.search(r"^VERBS = \$\(FIRST\) ((?:.*\\\n)*.*)$", text, re.MULTILINE)
    assert phony
    others = set(phony[1].replace("\\", "").split()) - {"help"}
    assert list(settings())[:5] == STARTING
    assert set(settings()) == {*STARTING, *others}


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_asks_of_make_is_taken(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8").replace("\n", " ")
    for verb, given in re.findall(r"\bmake ([a-z]+(?:-[a-z]+)*)((?: +[A-Z_]+=\S*)*)", text):
        if given or f"`make {verb}`" in text:
            assert verb in settings(), verb
            asked = set(re.findall(r"([A-Z_]+)=", given))
            assert asked <= {*settings()[verb], "ARGS", "PYTHON"}, f"make {verb} {given}"


def test_compare_takes_every_field_of_an_arch(tree: Path) -> None:
    fields = {field.name for field in dataclasses.fields(Arch)} - {"preset"}
    done = make(tree, "compare", *(f"{field.upper()}=1" for field in fields))
    assert done.returncode == 0, done.stderr
    assert {f"{field}=1" for field in fields} <= set(calls(tree)[0])


@pytest.mark.parametrize("verb", [*STARTING, "sweep", "results", "export", "report", "bitstream"])
def test_each_setting_is_an_option_of_the_verb(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main([verb, "--help"])
    options = set(re.findall(r"--([a-z]+)", capsys.readouterr().out))
    assert {name.lower() for name in settings()[verb]} - {"recipe"} <= options


# ---- what is installed ----------------------------------------------------------------------


def extras(verb: str, tree: Path, *settings: str) -> list[str]:
    """What pip would install for a verb in a tree without an environment."""
    shutil.rmtree(tree / ".venv", ignore_errors=True)
    done = make(tree, "-n", verb, *settings)
    assert done.returncode == 0, done.stderr
    installs = re.findall(r"pip install .* -c requirements.lock -e '\.(?:\[(.*)\])?'", done.stdout)
    assert len(installs) == 1, done.stdout
    return [extra for extra in installs[0].split(",") if extra]


@pytest.mark.parametrize(
    ("verb", "expected"),
    [
        *((verb, []) for verb in ("sim", "compare", "report", "bench")),
        *((verb, ["train"]) for verb in ("train", "finetune", "sweep", "results", "export")),
        *((verb, ["hw", "cosim"]) for verb in ("cosim", "cosim-random", "cocotb", "mutants")),
        ("power", ["hw", "cosim"]),
        *((verb, ["hw", "cosim"]) for verb in ("baselines", "verilog")),
        *((verb, ["hw", "cosim", "boards"]) for verb in ("synth", "area", "bitstream")),
    ],
)
def test_a_verb_installs_what_it_needs(tree: Path, verb: str, expected: list[str]) -> None:
    assert extras(verb, tree) == expected


@pytest.mark.parametrize("verb", ["test", "gates", "lint", "docs"])
def test_who_changes_evenspike_has_everything(tree: Path, verb: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert sorted(extras(verb, tree)) == sorted(project["optional-dependencies"])


def test_no_setting_changes_what_is_installed(tree: Path) -> None:
    assert extras("test", tree, "ALL=1") == extras("test", tree)


def test_only_training_needs_torch() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    sets = {"": project["dependencies"], **project["optional-dependencies"]}
    needs = {
        name for name, lines in sets.items() if "torch" in [Requirement(i).name for i in lines]
    }
    assert needs == {"train"}


CELLS = re.search(r"^CELLS = (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)


def programs(folder: Path, *, uid: int, iverilog: bool, sta: bool = True) -> Path:
    """A PATH with little on it, whose apt-get writes down what it is asked for."""
    folder.mkdir()
    tools = ["cat", "echo", "env", "grep", "g++", "make", "perl", "printf", "rm", "sed", "sh", "tr"]
    for name in tools + ["iverilog"] * iverilog + ["sta"] * sta:
        (folder / name).symlink_to(shutil.which(name) or "/bin/true")
    for name, text in (("id", f"echo {uid}"), ("apt-get", RECORD)):
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.parametrize(
    ("uid", "iverilog", "asked"), [(0, False, True), (0, True, False), (1000, False, False)]
)
@pytest.mark.parametrize("verb", ["cocotb", "mutants", "test", "gates"])
def test_icarus_is_installed_where_it_can_be(
    tree: Path, verb: str, uid: int, iverilog: bool, asked: bool
) -> None:
    done = make(tree, verb, path=programs(tree / "bin", uid=uid, iverilog=iverilog))
    assert done.returncode == 0, done.stderr
    *installed, run = calls(tree)
    packages = [name for call in installed if "install" in call for name in call[3:]]
    assert [name for name in packages if name not in POWER] == ["iverilog"] * asked
    assert run[0] == "python"


POWER = ["opensta", "qflow-tech-osu018"]


@pytest.mark.parametrize(("uid", "sta"), [(0, False), (0, True), (1000, False)])
@pytest.mark.parametrize("verb", ["power", "test"])
def test_what_power_needs_is_installed_where_it_can_be(
    tree: Path, verb: str, uid: int, sta: bool
) -> None:
    assert CELLS
    wanted = uid == 0 and not (sta and Path(CELLS[1]).is_file())
    done = make(tree, verb, path=programs(tree / "bin", uid=uid, iverilog=True, sta=sta))
    assert done.returncode == 0, done.stderr
    *installed, run = calls(tree)
    packages = [name for call in installed if "install" in call for name in call[3:]]
    assert packages == POWER * wanted
    assert run[0] in {"python", "evenspike"}


def test_the_cells_are_those_that_the_flow_takes() -> None:
    mapping = pytest.importorskip("evenspike_hw.power.mapping")
    assert CELLS
    assert Path(CELLS[1]) == mapping.DEFAULT_LIBERTY
