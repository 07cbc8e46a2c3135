"""What is wrong with a run's files or settings is said in a line, before anything is written."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from operator import delitem
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import numpy as np
import torch

from evenspike_core.data.idx import idx_bytes
from evenspike_core.errors import EvenspikeError
from evenspike_train import data
from evenspike_train.recipes import recipe
from evenspike_train.runs import checkpoint, command
from evenspike_train.runs.export import load_ticket, read_history
from evenspike_train.runs.trainer import Trainer
from tests.helpers.training import SHORT, lines, write_set

Change = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> data.Dataset:
    folder = write_set(tmp_path_factory.mktemp("data"))
    return data.load_dataset("fmnist", folder, 8, torch.device("cpu"))


@pytest.fixture(scope="module")
def whole(sets: data.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("whole")
    Trainer(recipe.parse(SHORT), sets, folder).run()
    return folder


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be damaged."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


def change(path: Path, how: Change) -> None:
    content = torch.load(path, weights_only=True)
    changed = how(content)
    checkpoint.write(path, content if changed is None else changed)


def resume(run: Path, sets: data.Dataset) -> None:
    Trainer(recipe.parse(SHORT), sets, run).resume()


OTHERS = [
    ("width = 2", "width = 4", r"has shape \(4,\), the network \(2,\)"),
    ("width = 2", 'width = 2\nname = "resnet19"', "is missing"),
]


@pytest.mark.parametrize(("old", "new", "says"), OTHERS)
def test_a_state_of_another_network_is_named(
    run: Path, sets: data.Dataset, tmp_path: Path, old: str, new: str, says: str
) -> None:
    other = Trainer(recipe.parse(SHORT.replace(old, new)), sets, tmp_path / "other")
    other.directory.mkdir()
    other.save()
    before = (run / "log.jsonl").read_bytes()
    shutil.copy(tmp_path / "other" / "state.pt", run)
    again = Trainer(recipe.parse(SHORT), sets, run)
    with pytest.raises(EvenspikeError, match=f"model: .*{says}; this is no checkpoint of a vgg16"):
        again.run()
    assert (run / "log.jsonl").read_bytes() == before
    assert (run / "state.pt").read_bytes() == (tmp_path / "other" / "state.pt").read_bytes()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            *OTHERS[0][:2],
            r"layers.0.conv.*, the network \(4,\); this is no checkpoint of a vgg16 of",
        ),
        (*OTHERS[1][:2], "is missing; is it a resnet19?"),
    ],
)
def test_a_ticket_of_another_network_is_named(run: Path, old: str, new: str, says: str) -> None:
    change(run / "ticket.pt", lambda t: t.update(recipe=SHORT.replace(old, new)))
    with pytest.raises(EvenspikeError, match=says):
        load_ticket(run)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_data_that_do_not_fit_are_named(sets: data.Dataset, tmp_path: Path, split: str) -> None:
    good: data.Split = getattr(sets, split)
    labels = good.labels.clone()
    labels[3] = 10
    of_classes = dataclasses.replace(sets, **{split: data.Split(good.images, labels)})
    of_shape = dataclasses.replace(sets, **{split: data.Split(good.images[..., :28], good.labels)})
    for wrong, says in (
        (of_classes, f"fmnist, {split} images: labels: image 3 has label 10; 0 to 9 are possible"),
        (of_shape, f"fmnist, {split} images: are .*, 32, 28\\), not uint8 "),
    ):
        with pytest.raises(EvenspikeError, match=says):
            Trainer(recipe.parse(SHORT), wrong, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_label_out_of_range_stops_the_verb(tmp_path: Path) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(SHORT)
    folder = write_set(tmp_path)
    labels = (np.arange(40) % 10).astype(np.uint8)
    labels[7] = 12
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx_bytes(8, labels)))
    with pytest.raises(EvenspikeError, match="image 7 has label 12; 0 to 9 are possible"):
        command.train(str(path), tmp_path / "run", folder, threads=1)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("method", "says"),
    [
        (
            'name = "random"\nscope = "local"\nsparsity = 0.97',
            "sparsity 0.97 leaves none of the 18 weights of layers.0.conv",
        ),
        (
            'name = "snip"\nsparsity = 0.9999',
            r"sparsity 0.9999 leaves 1 of 14\d{3} weights, fewer than .* layers \(14\)",
        ),
    ],
)
def test_a_layer_that_must_be_empty_is_named(
    sets: data.Dataset, tmp_path: Path, method: str, says: str
) -> None:
    before, after = SHORT.index("[method]"), SHORT.index("[optimizer]")
    text = f"{SHORT[:before]}[method]\n{method}\n{SHORT[after:]}"
    with pytest.raises(EvenspikeError, match=says):
        Trainer(recipe.parse(text), sets, tmp_path / "run")
    assert not (tmp_path / "run").exists()


BIAS = "layers.0.conv.bias"


@pytest.mark.parametrize(
    ("how", "says"),
    [
        (lambda _: [1], "holds a list, not a dict"),
        (lambda _: {}, "holds no 'model'"),
        (lambda s: delitem(s, "ema"), "holds no 'ema'"),
        (lambda s: s.update(model=3), "model is of type int"),
        (lambda s: delitem(s["model"], BIAS), f"model: {BIAS} is missing"),
        (lambda s: s["model"].update({BIAS: torch.ones(3)}), r"bias has shape \(3,\), the network"),
        (lambda s: s["model"].update({BIAS: "x"}), "bias is not a tensor"),
        (lambda s: s["model"].update({BIAS: torch.ones(2) / 0}), "bias holds values that are not"),
        (lambda s: s["carried"].update(odd=torch.ones(1)), "carried: odd is unknown"),
        (lambda s: delitem(s["ema"], BIAS), f"ema: {BIAS} is missing"),
        (lambda s: s.update(phase_index=2), "phase_index is 2"),
        (lambda s: s.update(step=-1), "step is -1"),
        (lambda s: s.update(step=True), "step is of type bool"),
        (lambda s: s.update(seconds=float("inf")), "seconds is inf"),
        (lambda s: s.update(optimizer={}), "optimizer: "),
        (lambda s: s["optimizer"]["param_groups"].pop() and None, "optimizer: "),
        (
            lambda s: s["optimizer"]["state"][0].update(momentum_buffer=torch.ones(7)),
            "optimizer: momentum_buffer has the wrong shape",
        ),
    ],
)
def test_wrong_state_is_named(run: Path, sets: data.Dataset, how: Change, says: str) -> None:
    path = run / "state.pt"
    change(path, how)
    with pytest.raises(EvenspikeError, match=says) as caught:
        resume(run, sets)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["state.pt", "snapshot.pt", "ticket.pt"])
@pytest.mark.parametrize("content", [b"", b"rubbish", None])
def test_garbage_is_named(run: Path, sets: data.Dataset, name: str, content: bytes | None) -> None:
    path = run / name
    path.write_bytes(path.read_bytes()[:-99] if content is None else content)
    with pytest.raises(EvenspikeError, match="not a readable checkpoint") as caught:
        load_ticket(run) if name == "ticket.pt" else resume(run, sets)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        (lambda t: t.update(figures={}), "figures: holds no 'validation_accuracy'"),
        (lambda t: t["figures"].update(validation_accuracy="9"), "validation_accuracy is of type"),
        (lambda t: t["figures"].update(validation_accuracy=float("nan")), "accuracy is nan"),
        (lambda t: t.update(recipe=b"x"), "recipe is of type bytes"),
        (lambda t: t.update(recipe="name = "), "not valid TOML"),
        (lambda t: t.update(model={3: torch.ones(1)}), r"ticket\.pt: 3 is no named tensor"),
        (lambda t: t.update(model={"x": 3}), r"ticket\.pt: holds no tensors, but 'x'"),
        (lambda t: t["model"].update(x=3), r"ticket\.pt: 'x' is no named tensor"),
        (lambda t: t.update(model={}), r"ticket\.pt: holds no tensors, but nothing"),
        (lambda t: t["model"].__delitem__("classifier.bias"), r"classifier\.bias is missing"),
    ],
)
def test_wrong_ticket_is_named(run: Path, how: Change, says: str) -> None:
    change(run / "ticket.pt", how)
    with pytest.raises(EvenspikeError, match=says):
        load_ticket(run)


PRUNED = {"event": "pruned", "phase": "dense", "round": 1, "sparsity": 0.5, "evenness": 1.0}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b'{"event": "trai', "is no event of a run: "),
        (b"\xff", "is no event of a run: "),
        (b"[" * 9000, "is no event of a run: "),
        (b"3", "it is a number, not an object"),
        (b"{}", "holds no 'event'"),
        (b'{"event": "x", "phase": 3}', "phase is of type int"),
        (b'{"event": "x", "phase": "x", "step": []}', "step is of type list"),
        (b'{"event": "finished", "phase": "final"}', "holds no 'validation_accuracy'"),
        (b'{"event": "trained", "phase": "dense", "accuracy": NaN}', "accuracy is nan"),
        (json.dumps({**PRUNED, "round": "1"}).encode(), "round is of type str"),
    ],
)
def test_broken_log_is_named(tmp_path: Path, line: bytes, says: str) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(json.dumps(PRUNED).encode() + b"\n" + line + b"\n")
    with pytest.raises(EvenspikeError, match=f"line 2: .*{says}"):
        read_history(path)


@pytest.mark.parametrize("name", ["state.pt", "snapshot.pt", "dense.pt", "ticket.pt"])
def test_a_damaged_checkpoint_is_refused(whole: Path, tmp_path: Path, name: str) -> None:
    """A bit flipped anywhere, an end cut off, something behind it: a line that names the file."""
    content = (whole / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(content)
    assert checkpoint.read(path, {}).keys() == torch.load(path, weights_only=True).keys()
    chance = random.Random(name)
    end = len(content)
    flipped = bytearray(content)
    for at in (*range(0, end, end // 150), *range(end - 120, end)):
        bit = 1 << chance.randrange(8)
        flipped[at] ^= bit
        assert_refused(path, bytes(flipped))
        flipped[at] ^= bit
    for cut in (0, 1, 21, 22, end // 2, end - 73, end - 1):
        assert_refused(path, content[:cut])
    assert_refused(path, content + b"x")


def assert_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(EvenspikeError) as caught:
        checkpoint.read(path, {})
    assert str(caught.value).startswith(f"{path}: not a readable checkpoint: ")
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_an_earlier_version_is_named(run: Path, sets: data.Dataset) -> None:
    path = run / "state.pt"
    torch.save(torch.load(path, weights_only=True), path)
    with pytest.raises(EvenspikeError) as caught:
        resume(run, sets)
    assert str(caught.value) == (
        f"{path}: not a readable checkpoint: it has no SHA-256: it is damaged, or of an earlier "
        "version"
    )


@pytest.mark.parametrize(
    ("threads", "device", "says"),
    [
        (-1, None, "threads: -1; 0"),
        (10**9, None, "threads: 1000000000; 0"),
        (0, "abacus", "device 'abacus' is not known"),
        (0, "meta", "device 'meta': torch cannot train on it here"),
        (0, "mps" if not torch.backends.mps.is_available() else "meta", "cannot train on it here"),
        (0, "cuda:99", "device 'cuda:99': torch cannot train on it here"),
    ],
)
def test_impossible_machine_is_named(
    tmp_path: Path, threads: int, device: str | None, says: str
) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(SHORT)
    with pytest.raises(EvenspikeError, match=says) as caught:
        command.train(str(path), tmp_path / "run", write_set(tmp_path), threads, device)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("width = 2", "width = 2\nneuron = {leak = 1.3}"),
        ('name = "tiny"', 'name = "tiny"\nseed = -1'),
        ("validation = 8", "validation = 40"),
    ],
)
def test_bad_recipe_leaves_no_folder(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(SHORT.replace(old, new, 1))
    with pytest.raises(EvenspikeError):
        command.train(str(path), tmp_path / "run", write_set(tmp_path), threads=1)
    assert not (tmp_path / "run").exists()


def test_no_tf32() -> None:
    torch.backends.cudnn.allow_tf32 = True
    command.prepare(0, "cpu")
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize("threads", [0, 1])
def test_compiled_kernels_start_no_thread_more(threads: int) -> None:
    """In a process of its own: numba starts its threads once, and by what it finds then."""
    program = (
        "import torch; from evenspike_train.kernels import neuron; "
        "from evenspike_train.runs import command; "
        f"command.prepare({threads}, 'cpu'); "
        "neuron.fused_lif(torch.ones(2, 8).bfloat16(), neuron.LIFParameters()); "
        "print(torch.get_num_threads())"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "2"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    command_line = [sys.executable, "-c", program]
    assert subprocess.check_output(command_line, env=environment, text=True) == "1\n"


def test_finish_does_not_autocast(sets: data.Dataset, tmp_path: Path) -> None:
    trainer = Trainer(recipe.parse(SHORT.replace('"fp32"', '"bf16"')), sets, tmp_path)
    trainer.reporter.log = lambda *_, **__: None  # type: ignore[method-assign]
    seen = []
    trainer.model.register_forward_hook(lambda *_: seen.append(torch.is_autocast_enabled("cpu")))
    trainer.finish()
    assert seen
    assert not any(seen)


def test_average_starts_with_its_phase(sets: data.Dataset, tmp_path: Path) -> None:
    text = SHORT.replace("[dense]", "[dense]\nema = 0.9").replace("ema = 0.9\n[comp", "[comp")
    trainer = Trainer(recipe.parse(text), sets, tmp_path)
    trainer.run()
    assert trainer.state.ema is None


def test_kernels_are_logged_once(whole: Path) -> None:
    assert [line["kernels"] for line in lines(whole, "kernels")] == ["dense, torch"]
