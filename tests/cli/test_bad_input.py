"""The command line on bad input: status 2, one line that names it, and nothing written."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import bench
from evenspike.cli import main
from evenspike.flows import models
from evenspike.flows.explore import trace
from evenspike_core.data import DATA_SETS
from evenspike_core.program import Program
from evenspike_core.workload import Workload
from tests.helpers.damage import lies, text
from tests.helpers.synthetic_report import synthetic_report

Cli = Callable[..., Any]


Refused = Callable[..., str]


# --- models ---------------------------------------------------------------------------------


def test_an_unknown_model_lists_those_that_exist(
    refused: Refused, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "checkpoints", lambda: tmp_path)
    assert refused("sim", "--model", "vgg11") == (
        "unknown model 'vgg11'; there are: none; or give a .safetensors file"
    )
    for name in ("one", "another"):
        program.save(tmp_path / f"{name}.safetensors")
    for name in ("vgg11", "", ".", "../one", "one.safetensor", str(tmp_path), "\0"):
        assert refused("sim", "--model", name) == (
            f"unknown model {name!r}; there are: another, one; or give a .safetensors file"
        )


def test_a_model_file_that_is_not_there(refused: Refused, tmp_path: Path) -> None:
    for path in (tmp_path / "none.safetensors", tmp_path / "no" / "none.safetensors"):
        assert refused("sim", "--model", path) == f"{path}: no such Program file"
    folder = tmp_path / "folder.safetensors"
    folder.mkdir()
    assert refused("sim", "--model", folder) == f"{folder}: no such Program file"


def test_a_model_file_whose_name_is_too_long(refused: Refused, tmp_path: Path) -> None:
    assert "too long" in refused("sim", "--model", tmp_path / ("x" * 300 + ".safetensors"))


@pytest.mark.parametrize("size", [0, 1, 8, 100, -1])
def test_a_truncated_program(refused: Refused, ticket: Path, size: int) -> None:
    ticket.write_bytes(ticket.read_bytes()[:size])
    assert refused("sim", "--model", ticket).startswith(f"{ticket}: not a readable .safetensors")


def test_a_program_that_was_tampered_with(refused: Refused, ticket: Path) -> None:
    content = bytearray(ticket.read_bytes())
    content[-2] ^= 1
    ticket.write_bytes(bytes(content))
    message = f"{ticket}: content does not match its SHA-256; file is damaged"
    assert refused("sim", "--model", ticket) == message


def test_a_safetensors_file_of_another_kind(refused: Refused, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    path.write_bytes(struct.pack("<Q", 2) + b"{}")
    message = f"{path}: holds no evenspike Program header"
    assert refused("sim", "--model", path) == message


@pytest.mark.parametrize("name", ["..", ".", "a/b", "/absolute", "../up"])
def test_the_name_of_a_program_never_leads_out_of_the_folder(
    refused: Refused, program: Program, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "p.safetensors"
    replace(program, name=name).save(path)
    message = f"the Program's name {name!r} is no name for a folder"
    assert refused("sim", "--model", path) == message


@pytest.mark.parametrize(
    "shares",
    [[0.5] * 4, [0.5] * 6, [2] * 5, [-0.1] * 5, ["x"] * 5, {"a": 1}, [[0.5]] * 5, [10**400] * 5],
)
def test_activity_that_is_none(
    refused: Refused, program: Program, tmp_path: Path, shares: Any
) -> None:
    path = tmp_path / "p.safetensors"
    activity = {"activity": {"first": shares}}
    replace(program, provenance={**program.provenance, **activity}).save(path)
    message = "layer first: its activity is not 5 shares from 0 to 1"
    assert refused("sim", "--model", path, "--images", 1) == message


@pytest.mark.parametrize("activity", [7, "x", [1, 2], {"other": [1]}])
def test_activity_of_other_layers_is_none_at_all(
    cli: Cli, program: Program, tmp_path: Path, out: Path, activity: Any
) -> None:
    path = tmp_path / "p.safetensors"
    replace(program, provenance={**program.provenance, "activity": activity}).save(path)
    assert cli("sim", "--model", path, "--images", 1, "--out", out).status == 0


def test_a_network_that_the_accelerator_cannot_run(
    refused: Refused, program: Program, tmp_path: Path
) -> None:
    path = tmp_path / "p.safetensors"
    replace(program, timesteps=9).save(path)
    message = (
        "layer first: its spikes take 64 entries; Arch spike_entries is 120, of which each of the "
        "3 groups of 4 timesteps has 40"
    )
    options = ("--images", 1, "--arch", "packed,spike_entries=120")
    assert refused("sim", "--model", path, *options) == message


# --- options --------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, -1, 101, 10**30])
def test_images_that_there_are_not(refused: Refused, ticket: Path, count: int) -> None:
    more = "without a folder of the whole data set (--data)"
    message = f"images: {count}; 1 to 100 are possible {more}"
    assert refused("sim", "--model", ticket, "--images", count) == message


def test_an_unknown_arch_lists_those_that_exist(refused: Refused, ticket: Path) -> None:
    message = "unknown Arch 'big'; there are: packed, paper"
    assert refused("sim", "--model", ticket, "--arch", "big") == message
    assert refused("sim", "--rate", 5, "--arch", "big") == message


def test_negative_threads(refused: Refused, ticket: Path) -> None:
    message = "-1 at a time: 0 (one on each core) or more"
    assert refused("sim", "--model", ticket, "--jobs", -1) == message


def test_a_seed_for_a_model(refused: Refused, ticket: Path) -> None:
    message = "--seed belongs to a trace: a model draws nothing"
    assert refused("sim", "--model", ticket, "--seed", 0) == message


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["sim", "--mapping", "best"], "invalid choice: 'best'"),
        (["sim", "--images", "many"], "invalid int value: 'many'"),
        (["sim", "--images", "9" * 5000], "invalid int value"),
        (["sim", "--seed", "1.5"], "invalid int value: '1.5'"),
        (["sim", "--rate", "x"], "invalid float value: 'x'"),
        (["sim", "--unknown"], "unrecognized arguments: --unknown"),
        ([], "the following arguments are required: VERB"),
        (["simulate"], "invalid choice: 'simulate'"),
    ],
)
def test_what_is_no_call(cli: Cli, arguments: list[str], says: str) -> None:
    done = cli(*arguments)
    assert done.status == 2
    assert says in done.err
    assert "Traceback" not in done.err


# --- data -----------------------------------------------------------------------------------


def idx(array: Any, magic: bytes = b"\0\0\x08") -> bytes:
    values = np.asarray(array, dtype=np.uint8)
    head = magic + bytes([values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return head + values.tobytes()


def data(folder: Path, images: bytes, labels: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "t10k-images-idx3-ubyte").write_bytes(images)
    (folder / "t10k-labels-idx1-ubyte").write_bytes(labels)
    return folder


IMAGES, LABELS = idx(np.zeros((3, 28, 28))), idx([0, 1, 2])


def test_a_data_folder_without_the_data_set(
    refused: Refused, program: Program, tmp_path: Path
) -> None:
    path = tmp_path / "m.safetensors"
    replace(program, provenance={"dataset": "mnist"}).save(path)
    empty = tmp_path / "empty"
    empty.mkdir()
    for folder in (empty, tmp_path / "nowhere", path):
        said = refused("sim", "--model", path, "--data", folder)
        assert said.startswith("data set mnist: t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte")
        assert said.endswith(f"looked in {folder / 'mnist'}, {folder / 'MNIST/raw'}, {folder}")
    said = refused("sim", "--model", path)
    assert "it cannot be downloaded: " in said


def test_a_data_set_that_nobody_knows(refused: Refused, program: Program, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    replace(program, provenance={"dataset": "cifar"}).save(path)
    said = refused("sim", "--model", path, "--data", tmp_path)
    names = ", ".join(DATA_SETS)
    assert said == f"no split 'test' of data set 'cifar'; there are train, test of {names}"


@pytest.mark.parametrize(
    ("images", "labels", "says"),
    [
        (b"", LABELS, "begins with '', which is no idx file"),
        (IMAGES[:-1], LABELS, "truncated: 2351 bytes of 2352 for (3, 28, 28)"),
        (IMAGES + b"\0", LABELS, "goes on after the 2352 bytes for (3, 28, 28)"),
        (b"\x1f\x8b" + IMAGES, LABELS, "cannot be read: "),
        (IMAGES, IMAGES, "labels are uint8 (3, 28, 28) for 3 images"),
        (LABELS, LABELS, "images are uint8 (3,), not uint8 [N, 28, 28]"),
        (IMAGES, idx([0, 1]), "labels are uint8 (2,) for 3 images"),
        (IMAGES, idx([0, 1, 10]), "labels: image 2 has label 10; 0 to 9 are possible"),
        (idx(np.zeros((3, 32, 32))), LABELS, "images are uint8 (3, 32, 32), not uint8 [N, 28, 28]"),
        (idx(np.zeros((3, 28, 28)), b"\0\1\x08"), LABELS, "which is no idx file"),
    ],
)
def test_damaged_data(
    refused: Refused, ticket: Path, tmp_path: Path, images: bytes, labels: bytes, says: str
) -> None:
    folder = data(tmp_path / "d", images, labels)
    said = refused("sim", "--model", ticket, "--images", 1, "--data", folder)
    assert str(folder) in said
    assert says in said


def test_more_images_than_the_data_set_has(refused: Refused, ticket: Path, tmp_path: Path) -> None:
    folder = data(tmp_path / "d", IMAGES, LABELS)
    message = "images: 20; 1 to 3 are possible"
    options = ("--data", folder, "--images", 20)
    assert refused("sim", "--model", ticket, *options) == message


def test_a_network_for_other_pixels(refused: Refused, tmp_path: Path) -> None:
    load = trace({"a_in": np.ones((2, 4, 4), dtype=np.uint8)}, density=50)
    path = tmp_path / "p.safetensors"
    load.program.save(path)
    message = "trace: takes pixels (1, 2, 4, 4), the images are (1, 32, 32)"
    assert refused("sim", "--model", path) == message


# --- output ---------------------------------------------------------------------------------


def test_an_output_that_cannot_be_a_folder(cli: Cli, ticket: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("mine", encoding="utf-8")
    trace = tmp_path / "t.npz"
    np.savez(trace, a_in=np.ones((2, 4, 4), dtype=np.uint8))
    for out in (blocked, blocked / "deeper"):
        for what in (("--model", ticket, "--images", 1), ("--trace", trace, "--density", 5)):
            done = cli("sim", *what, "--out", out)
            assert done.status == 2
            assert done.err.startswith(f"evenspike: {out}")
            assert ": cannot be written: " in done.err
            assert done.err.count("\n") == 1
    assert blocked.read_text(encoding="utf-8") == "mine"


def test_a_report_that_is_in_the_way(cli: Cli, ticket: Path, tmp_path: Path) -> None:
    """A folder where a file of the report must go: nothing of the old report is lost."""
    folder = tmp_path / "small"
    (folder / "report.md").mkdir(parents=True)
    done = cli("sim", "--model", ticket, "--images", 1, "--out", tmp_path)
    assert done.status == 2
    assert str(folder) in done.err
    assert done.err.count("\n") == 1
    assert not list(folder.glob(".*")), "no temporary file stays"


# --- report and bench -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100000,
        b"[]",
        b"{}",
        b"3",
        b"null",
        b'{"model": "x"}',
        b"[" * 99,
    ],
)
def test_a_report_that_is_none(cli: Cli, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "report.json").write_bytes(content)
    done = cli("report", "--out", tmp_path)
    assert done.status == 2
    assert done.err.startswith("evenspike: ")
    assert done.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_a_report_that_is_not_there(cli: Cli, tmp_path: Path) -> None:
    done = cli("report", "--out", tmp_path)
    assert done.status == 2
    assert str(tmp_path / "report.json") in done.err
    assert "No such file" in done.err


def test_a_report_that_does_not_add_up(cli: Cli, ticket: Path, tmp_path: Path) -> None:
    cli("sim", "--model", ticket, "--images", 1, "--out", tmp_path)
    path = tmp_path / "small" / "report.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    report["layers"][1]["busy"] += 1
    path.write_text(json.dumps(report), encoding="utf-8")
    page = (tmp_path / "small" / "report.md").read_bytes()
    done = cli("report", "--out", tmp_path / "small")
    assert done.status == 2
    assert "layers[1] (body)" in done.err
    assert (tmp_path / "small" / "report.md").read_bytes() == page


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("arch", "pes"), 16.0),
        (("arch", "clock_mhz"), 0),
        (("arch", "timesteps"), 0),
        (("layers", 0, "shape", "pool"), 0),
        (("layers", 1, "cycles"), 10**400),
        (("program", "nnz"), 10**400),
        (("classes",), 7),
        (("classes", 0), 7),
        (("predictions", 0, "logits"), {}),
        (("totals",), []),
    ],
)
def test_a_report_with_values_that_no_run_gives(
    cli: Cli, ticket: Path, tmp_path: Path, path: tuple[str | int, ...], value: Any
) -> None:
    cli("sim", "--model", ticket, "--images", 1, "--out", tmp_path)
    file = tmp_path / "small" / "report.json"
    report = json.loads(file.read_text(encoding="utf-8"))
    inner = report
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    file.write_text(json.dumps(report), encoding="utf-8")
    done = cli("report", "--out", tmp_path / "small")
    assert done.status in (0, 2)
    assert done.err.count("\n") == (done.status == 2)


def test_a_report_that_lies_is_one_line(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    for data in map(text, lies(synthetic_report(), "report", 40)):
        path.write_bytes(data)
        done = cli("report", "--out", tmp_path)
        assert done.status in (0, 2)
        assert done.err.count("\n") == (done.status == 2)


def test_a_damaged_timeline_beside_a_report(cli: Cli, ticket: Path, tmp_path: Path) -> None:
    cli("sim", "--model", ticket, "--images", 1, "--out", tmp_path)
    (tmp_path / "small" / "trace.json").write_text("{", encoding="utf-8")
    done = cli("report", "--out", tmp_path / "small")
    assert done.status == 2
    assert "trace.json: not a readable" in done.err


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    def workload(_: Path | None) -> Workload:
        return trace({"a_in": np.ones((4, 4, 4), dtype=np.uint8)}, density=30)

    monkeypatch.setattr(bench, "_workload", workload)


@pytest.mark.usefixtures("light")
def test_bench_checks_before_it_measures(refused: Refused, ticket: Path, tmp_path: Path) -> None:
    assert refused("bench", "--model", ticket, "--images", 0) == "--images 0: at least 1"
    missing = tmp_path / "none.safetensors"
    assert refused("bench", "--model", missing) == f"{missing}: no such Program file"
    assert refused("bench", "--model", "no-such").startswith("unknown model 'no-such'")


def test_bench_with_a_trace_that_is_none(refused: Refused, ticket: Path, tmp_path: Path) -> None:
    missing = tmp_path / "none.npz"
    message = f"{missing}: no such trace file"
    assert refused("bench", "--model", ticket, "--trace", missing) == message


@pytest.mark.usefixtures("light")
def test_bench_where_it_cannot_write(cli: Cli, ticket: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("mine", encoding="utf-8")
    done = cli("bench", "--model", ticket, "--images", 1, "--out", blocked)
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert str(blocked) in done.err
    folder = tmp_path / "b"
    (folder / "trace.json").mkdir(parents=True)
    done = cli("bench", "--model", ticket, "--images", 1, "--out", folder)
    assert done.status == 2
    assert done.err == f"evenspike: {folder / 'trace.json'}: cannot be written: Is a directory\n"


# --- the frame ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (KeyboardInterrupt(), 130, "evenspike: interrupted\n"),
        (
            OSError(28, "No space left on device"),
            2,
            "evenspike: [Errno 28] No space left on device\n",
        ),
    ],
)
def test_what_stops_a_verb(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int, says: str
) -> None:
    def stop(_: str) -> Program:
        raise error

    monkeypatch.setattr(models, "load", stop)
    done = cli("sim")
    assert (done.status, done.err) == (status, says)


def test_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> Program:
        raise ZeroDivisionError

    monkeypatch.setattr(models, "load", fail)
    with pytest.raises(ZeroDivisionError):
        main(["sim"])
