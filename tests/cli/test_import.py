"""`evenspike import`: a module in a file becomes a Program that runs; anything else is one line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch.nn.utils import prune

from evenspike_core.program import Coding, Program, Readout
from evenspike_train.networks.source import construct
from tests.helpers.sources import line_of, write

Cli = Callable[..., Any]
Refused = Callable[..., str]

SECOND = "self.second = nn.Conv2d(6, 8, 3, padding=1)"
NORM = "nn.BatchNorm2d(6)"
POOL = "nn.MaxPool2d(2)"
STEPS = "STEPS = 4"
WEIGHTS = "self.second.weight *= 3"
HEAD = "return self.head(x.flatten(2))"
BEGIN = "x = self.norm(self.conv(x))"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_module_in_a_file_becomes_a_program_that_runs(
    cli: Cli, tmp_path: Path, out: Path
) -> None:
    write(tmp_path)
    done = cli("import", "own.py:Small", "--out", out)
    assert (done.status, done.err) == (0, "")
    head, *rows, changed, whose, written, following = done.out.splitlines()
    assert whose.startswith("weights: as own.py:Small makes them; --weights FILE")
    assert re.split("  +", head) == [
        "layer",
        "weights",
        "spikes",
        "differ",
        "share",
        "largest error",
        "weights to zero",
        "saturated",
    ]
    cells = [re.split("  +", row) for row in rows]
    assert [row[0] for row in cells] == ["conv", "second", "head"]
    assert [row[1] for row in cells] == ["-", "16 bits", "16 bits"], "those of the stream"
    assert [row[3:5] for row in cells] == [["0", "0.0000%"]] * 3
    assert all(int(row[2].replace(",", "")) > 100 for row in cells[:2])
    assert changed == "0 of 4 examples get another class"
    file = out / "Small.safetensors"
    assert written == f"written: {file} (beside it: Small.md, Small.npy)"
    assert following == f"next: evenspike sim --model {file}"
    assert sorted(path.name for path in out.iterdir()) == [
        "Small.md",
        "Small.npy",
        "Small.safetensors",
    ]
    program = Program.load(file)
    assert (program.name, program.timesteps, program.shape) == ("Small", 4, (1, 32, 32))
    assert [layer.hard for layer in program.layers[:2]] == [True, False]
    assert program.layers[-1].readout is Readout.PSUM
    card = out.joinpath("Small.md").read_text(encoding="utf-8")
    assert "`own.py:Small`" in card
    assert program.digest() in card
    assert "\n".join([head, *rows, changed]) in card
    inputs = np.load(out / "Small.npy")
    assert (inputs.dtype, inputs.shape) == (np.uint8, (4, 1, 32, 32))

    done = cli("sim", "--model", file, "--data", out / "Small.npy", "--out", tmp_path / "sim")
    assert done.status == 0, done
    report = json.loads((tmp_path / "sim" / "Small" / "report.json").read_text())
    assert report["bit_exact"] is True
    assert report["images"] == 4
    assert report["accuracy"] is None
    assert cli("sim", "--model", file, "--images", 2, "--out", tmp_path / "sim").status == 0


def test_examples_of_a_file_are_what_it_is_compared_on(cli: Cli, tmp_path: Path, out: Path) -> None:
    write(tmp_path, (STEPS, "STEPS = 10"))
    drawn = np.random.default_rng(3).random((6, 1, 32, 32), dtype=np.float32)
    np.save("mine.npy", drawn)
    done = cli("import", "own.py:Small", "--example", "mine.npy", "--name", "ten", "--out", out)
    assert done.status == 0, done
    file = out / "ten.safetensors"
    assert f"next: evenspike sim --model {file} --data {out / 'ten.npy'}" in done.out
    inputs = np.load(out / "ten.npy")
    np.testing.assert_array_equal(inputs, np.rint(drawn[:4].astype(np.float64) * 255))
    done = cli("sim", "--model", file, "--data", out / "ten.npy", "--out", tmp_path / "sim")
    assert done.status == 0, done
    report = json.loads((tmp_path / "sim" / "ten" / "report.json").read_text())
    assert report["bit_exact"] is True
    done = cli("sim", "--model", file, "--out", tmp_path / "sim")
    assert done.err == "evenspike: ten: names no data set; give a .npy file of inputs (--data)\n"


def test_what_an_import_has_written_is_an_example(
    cli: Cli, refused: Refused, tmp_path: Path
) -> None:
    """Bytes, of which the module wants numbers; a wrong shape is still said."""
    write(tmp_path)
    assert cli("import", "own.py:Small", "--out", tmp_path / "one").status == 0
    program = Program.load(tmp_path / "one" / "Small.safetensors")
    done = cli(
        "import",
        "own.py:Small",
        "--example",
        tmp_path / "one" / "Small.npy",
        "--out",
        tmp_path / "two",
    )
    assert done.status == 0, done
    again = Program.load(tmp_path / "two" / "Small.safetensors")
    for one, two in zip(program.layers, again.layers, strict=True):
        np.testing.assert_array_equal(one.segments[0].weights, two.segments[0].weights)
        assert one.threshold == two.threshold
    np.save("narrow.npy", np.zeros((4, 2, 32, 32), np.uint8))
    message = refused("import", "own.py:Small", "--example", "narrow.npy")
    assert "expected input" in message
    assert "2 channels" in message


@pytest.mark.parametrize("kind", [">f4", ">f8", "g", "f2"])
def test_examples_of_any_type_of_numbers(cli: Cli, tmp_path: Path, out: Path, kind: str) -> None:
    write(tmp_path)
    given = np.random.default_rng(3).integers(0, 256, (4, 1, 32, 32))
    np.save("mine.npy", (given / 255).astype(kind))
    done = cli("import", "own.py:Small", "--example", "mine.npy", "--out", out)
    assert (done.status, done.err) == (0, "")
    np.testing.assert_array_equal(np.load(out / "Small.npy"), given)


def test_frames_of_spikes_are_frames(cli: Cli, tmp_path: Path, out: Path) -> None:
    """[T, B, ...] of zeros and ones; the machine gets them as they are."""
    frames = (BEGIN, "x = self.norm(self.conv(x.flatten(0, 1))).unflatten(0, (STEPS, -1))")
    write(tmp_path, frames, (".expand(STEPS, *(-1,) * x.dim())", ""), (STEPS, "STEPS = 6"))
    spikes = np.random.default_rng(4).random((6, 3, 1, 32, 32)) < 0.2
    np.save("spikes.npy", spikes)
    done = cli("import", "own.py:Small", "--example", "spikes.npy", "--out", out)
    assert done.status == 0, done
    program = Program.load(out / "Small.safetensors")
    assert program.encoder.coding is Coding.FRAMES
    np.testing.assert_array_equal(np.load(out / "Small.npy"), spikes.swapaxes(0, 1))
    run = ("sim", "--model", out / "Small.safetensors", "--data", out / "Small.npy")
    done = cli(*run, "--out", tmp_path / "sim")
    assert done.status == 0, done
    page = (tmp_path / "sim" / "Small" / "report.html").read_text()
    assert page.count("<img") == 3


def test_weights_come_from_a_file(cli: Cli, refused: Refused, tmp_path: Path) -> None:
    """Those of a trained network, pruned, as its loop has saved them."""
    path, made = write(tmp_path), tmp_path / "made"
    trained = construct(f"{path}:Small")
    module = trained.get_submodule("second")
    with torch.no_grad():
        trained.get_parameter("second.weight").mul_(1.5)
    prune.random_unstructured(module, "weight", amount=0.5)  # type: ignore[no-untyped-call]
    torch.save({"state_dict": trained.state_dict(), "best_acc": torch.tensor(3.0)}, "net.pt")
    done = cli("import", "own.py:Small", "--weights", "net.pt", "--out", made)
    assert done.status == 0, done
    program = Program.load(made / "Small.safetensors")
    assert program.layers[1].nnz == 6 * 8 * 9 // 2
    assert "`own.py:Small, net.pt`" in (made / "Small.md").read_text(encoding="utf-8")
    assert cli("import", "own.py:Small", "--out", made).status == 0
    assert Program.load(made / "Small.safetensors").layers[1].nnz > 6 * 8 * 9 // 2

    torch.save({"head.weight": torch.ones(2)}, "other.pt")
    for options, message in (
        ("own.py:Small --weights other.pt", "other.pt: conv.bias is missing; is it a Small?"),
        ("own.py:Small --weights none.pt", "none.pt: no such file"),
        ("net.nir --weights net.pt", "net.nir: weights are for FILE.py:CLASS; this has its own"),
    ):
        assert refused("import", *options.split()) == message


@pytest.mark.parametrize("end", ["safetensors", "md", "npy"])
def test_nothing_is_written_where_one_file_cannot_be(
    cli: Cli, tmp_path: Path, out: Path, end: str
) -> None:
    write(tmp_path)
    (out / f"Small.{end}").mkdir(parents=True)
    done = cli("import", "own.py:Small", "--out", out)
    said = f"evenspike: {out / f'Small.{end}'}: cannot be written: Is a directory\n"
    assert (done.status, done.err) == (2, said)
    assert [path.name for path in out.iterdir()] == [f"Small.{end}"]


def test_a_network_that_is_silent_is_an_error_unless_the_limit_takes_it(
    cli: Cli, tmp_path: Path, out: Path
) -> None:
    write(tmp_path, (WEIGHTS, "self.second.weight *= 0.01"))
    done = cli("import", "own.py:Small", "--out", out)
    assert done.status == 2
    message = "Small: no neuron of second ever spikes on the examples, which proves nothing; give"
    assert done.err.startswith(f"evenspike: {message}")
    assert not out.exists()
    done = cli("import", "own.py:Small", "--limit", 100, "--out", out)
    assert done.status == 0
    line = (
        "NOT PROVED: second never spikes on these examples, so their neurons, and the weights of "
        "what reads them, were not tried"
    )
    assert line in done.out.splitlines()
    card = (out / "Small.md").read_text(encoding="utf-8")
    assert f"**{line}.**" in card
    assert line in card.splitlines()


LINES: dict[str, tuple[tuple[str, str], ...]] = {
    "needs arguments": (("def __init__(self):", "def __init__(self, width):"),),
    "syntax": ((STEPS, "STEPS = = 4"),),
    "runs": ((STEPS, "STEPS = 4 / 0"),),
    "makes": ((WEIGHTS, "raise RuntimeError('no weights')"),),
    "file exits": ((STEPS, "STEPS = exit()"),),
    "constructor exits": ((WEIGHTS, "raise SystemExit(0)"),),
    "forward exits": ((BEGIN, f"raise SystemExit('done'); {BEGIN}"),),
    "no module": (
        ("class Small(nn.Module)", "class Small"),
        ("        super().__init__()\n", "        return\n"),
    ),
    "NaN": ((WEIGHTS, "self.second.weight[0, 0, 0, 0] = torch.nan"),),
    "T": ((STEPS, "STEPS = 33"),),
    "stride": ((SECOND, SECOND.replace("padding=1", "padding=9, stride=3")),),
    "circular": ((SECOND, SECOND.replace("=1", "=1, padding_mode='circular'")),),
    "group norm": ((NORM, "nn.GroupNorm(2, 6)"),),
    "overlap": ((POOL, "nn.MaxPool2d(3, 2, 1)"),),
    "no logits": ((HEAD, "return x.sum()"),),
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            "needs arguments",
            "own.py:Small: cannot be made: TypeError: Small.__init__() missing 1 required",
        ),
        ("syntax", "own.py:Small: does not run: SyntaxError: invalid syntax (own.py:{STEPS})"),
        (
            "runs",
            "own.py:Small: does not run: ZeroDivisionError: division by zero (own.py:{STEPS})",
        ),
        (
            "makes",
            "own.py:Small: cannot be made: RuntimeError: no weights (own.py:{WEIGHTS})",
        ),
        (
            "file exits",
            "own.py:Small: does not run: SystemExit: it calls sys.exit() (own.py:{STEPS})",
        ),
        (
            "constructor exits",
            "own.py:Small: cannot be made: SystemExit: it calls sys.exit(0) (own.py:{WEIGHTS})",
        ),
        (
            "forward exits",
            "Small: does not run on the example: it calls sys.exit('done') (own.py:{BEGIN})",
        ),
        ("no module", "own.py:Small: is a Small, no torch.nn.Module"),
        ("NaN", "second.weight: holds 1 values that are not finite"),
        ("T", "Small: 33 timesteps; a Program holds 32 at most"),
        ("stride", "second: stride 3 of rows and 3 of columns; 1 and 2, the same for both, are"),
        ("circular", "second (Conv2d): padding mode 'circular'; zeros are possible"),
        ("group norm", "norm (GroupNorm): its statistics come from the activations"),
        ("overlap", "pool (MaxPool2d): a max-pool of (3, 3) with stride (2, 2), padding (1, 1)"),
        ("no logits", "Small: a sum over everything"),
    ],
)
def test_a_module_that_has_no_integer_form(
    refused: Refused, tmp_path: Path, changes: str, message: str
) -> None:
    write(tmp_path, *LINES[changes])
    lines = {"STEPS": line_of(STEPS), "WEIGHTS": line_of(WEIGHTS), "BEGIN": line_of(BEGIN)}
    said = refused("import", "own.py:Small")
    assert said.startswith(message.format(**lines)), said


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nothere.py:Small", "nothere.py:Small: nothere.py is no file"),
        ("own.py:Other", "own.py:Other: own.py has no class or function 'Other'"),
        ("own.py:STEPS", "own.py:STEPS: own.py has no class or function 'STEPS'"),
        ("own.py:", "own.py:: own.py has no class or function ''"),
        ("own.py", "own.py: neither FILE.py:CLASS nor a NIR file (.nir, .h5)"),
        ("own.txt", "own.txt: neither FILE.py:CLASS nor a NIR file (.nir, .h5)"),
    ],
)
def test_what_names_no_network(refused: Refused, tmp_path: Path, source: str, message: str) -> None:
    write(tmp_path)
    assert refused("import", source) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--dt 0.001", "own.py:Small: dt is of NIR graphs; a module has no seconds"),
        ("--encoder rate", "Small: rate coding makes frames of images; give it images and"),
        ("--readout membrane", "Small: gives no membrane"),
        ("--name a/b", "the Program's name 'a/b' is no name for a folder"),
        ("--timesteps 0", "timesteps: 0; 1 to 32 are possible"),
        ("--timesteps 9", "Small: 4 timesteps here, 9 elsewhere"),
        ("--scale 0", "scale: 0.0; a number above 0 is needed"),
        ("--scale nan", "scale: nan; a number above 0 is needed"),
        ("--seed -1", "seed: -1; 0 or more"),
        ("--limit nan", "limit: nan; a share from 0 to 1 is possible"),
        ("--limit 101", "limit: 1.01; a share from 0 to 1 is possible"),
        ("--example fashion", "no split 'test' of data set 'fashion'; there are"),
        ("--example missing.npy", "missing.npy: no such file of examples"),
        ("--example text.npy", "text.npy: no array of numpy: "),
        ("--example empty.npy", "empty.npy: no array of numpy: "),
        ("--example names.npy", "names.npy: holds <U1, not one array of numbers"),
        ("--example several.npy", "several.npy: holds several arrays, not one array of numbers"),
        ("--example nan.npy", "Small: the example is empty, or holds numbers that are not finite"),
        ("--example none.npy", "Small: the example is empty, or holds numbers that are not finite"),
        ("--example line.npy", "Small: an example of (7,); [B, C, H, W] or [B, F], or"),
        ("--example rgb.npy", "Small: does not run on the example: Given groups=1, weight of"),
        ("--example complex.npy", "complex.npy: holds complex128, not one array of numbers"),
        ("--example object.npy", "object.npy: no array of numpy: Object arrays cannot be loaded"),
        ("--example dates.npy", "dates.npy: holds datetime64[s], not one array of numbers"),
        ("--example number.npy", "Small: an example of (); [B, C, H, W] or [B, F], or"),
        ("--example wide.npy", "Small: the example reaches from 6.554e+04 to 6.554e+04; a pixel"),
        ("--example mean.npy", "Small: the example reaches from -1 to 0; a pixel is a byte times"),
    ],
)
def test_options_and_examples_that_cannot_be(
    refused: Refused, tmp_path: Path, options: str, message: str
) -> None:
    write(tmp_path)
    image = np.zeros((2, 1, 32, 32), np.float32)
    (tmp_path / "text.npy").write_text("1 2 3")
    (tmp_path / "empty.npy").write_bytes(b"")
    for name, array in {
        "names": np.array([["a"]]),
        "nan": image + np.nan,
        "none": image[:0],
        "line": np.zeros(7),
        "rgb": np.zeros((2, 3, 32, 32), np.float32),
        "complex": image + 0j * np.complex128(1),
        "object": image.astype(object),
        "dates": image.astype("M8[s]"),
        "number": np.array(3.0),
        "wide": image.astype(">u2") - np.uint16(1),
        "mean": image - np.arange(2).reshape(2, 1, 1, 1),
    }.items():
        np.save(tmp_path / name, array)
    with (tmp_path / "several.npy").open("wb") as stream:
        np.savez(stream, a=image, b=image)
    said = refused("import", "own.py:Small", *options.split())
    assert said.startswith(message), said


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 1, 32, 32)), "images: float64 (2, 1, 32, 32), not uint8 [N, C, H, W]"),
        (np.zeros((2, 1, 8, 8), np.uint8), "small: takes pixels (1, 32, 32) or (4, 1, 32, 32)"),
        (np.zeros((3, 1, 32, 32), np.uint8), "images: 4; 1 to 3 are possible"),
    ],
)
def test_inputs_that_do_not_fit(
    refused: Refused, ticket: Path, tmp_path: Path, array: Any, message: str
) -> None:
    np.save(tmp_path / "inputs.npy", array)
    options = ("--data", tmp_path / "inputs.npy", "--images", 4 if "4;" in message else 1)
    assert refused("sim", "--model", ticket, *options).startswith(message)


def test_a_folder_that_is_none(cli: Cli, tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "taken").write_text("")
    done = cli("import", "own.py:Small", "--out", tmp_path / "taken" / "x")
    assert done.status == 2
    assert done.err == f"evenspike: {tmp_path}/taken/x: cannot be written: Not a directory\n"
    assert done.out == ""
