"""A run becomes a Program and a card, and a bad checkpoint an error."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from evenspike_core.errors import EvenspikeError
from evenspike_core.metrics import paper_metrics
from evenspike_core.program import Program
from evenspike_core.wilson import wilson
from evenspike_train import networks
from evenspike_train.data import load_dataset
from evenspike_train.export.card import card
from evenspike_train.networks import NetworkConfig
from evenspike_train.recipes.recipe import RecipeError
from evenspike_train.runs import checkpoint, command
from evenspike_train.runs.evaluation import evaluate
from evenspike_train.runs.export import dense_test_accuracy, load_model, load_ticket
from evenspike_train.tickets import masks
from evenspike_train.tickets.u_ticket import evenness
from tests.helpers.training import write_set

Run = tuple[Path, Path, Path]

TINY = """
name = "tiny"
[data]
validation = 20
[network]
width = 2
timesteps = 2
[method]
scope = "local"
rounds = 2
rate = 0.5
rewind = "learning-rate"
sparsity = 0.7
pes = 4
[optimizer]
batch = 16
[dense]
images = 32
timesteps = 2
[round]
images = 16
timesteps = 2
[final]
images = 32
timesteps = 2
[compute]
round_validation = 10
final_validations = 2
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run: (its directory, the data's, the recipe's path)."""
    folder = tmp_path_factory.mktemp("export")
    data = folder / "data"
    data.mkdir()
    write_set(data, train=60, test=20)
    path = folder / "tiny.toml"
    path.write_text(TINY)
    threads = torch.get_num_threads()
    command.train(str(path), folder / "run", data, threads=1)
    torch.set_num_threads(threads)
    return folder / "run", data, path


def test_run_becomes_program_and_card(run: Run, tmp_path: Path) -> None:
    directory, data, _ = run
    given, path, proof = command.export(
        directory, tmp_path, data, threads=1, notes="Made for a test."
    )
    assert path == tmp_path / "tiny.safetensors"
    program = Program.load(path)
    assert program.digest() == given.digest()
    assert program.timesteps == 2
    assert len(program.layers) == 14
    assert program.sparsity >= 0.7
    p = program.provenance
    assert p["recipe"] == TINY
    assert p["weights_rounded_to_zero"] == 0
    for key in ("float_test_accuracy", "integer_test_accuracy", "validation_accuracy"):
        assert 0 <= p[key] <= 100
    assert [entry["round"] for entry in p["rounds"]] == [1, 2]
    assert 0 <= p["dense_test_accuracy"] <= 100
    assert p["dense_timesteps"] == 2
    assert p["utilization"] == paper_metrics(program, 4).layer_mean
    for layer in program.layers[1:-1]:  # the balance survives export
        assert evenness(torch.from_numpy(layer.segments[0].weights != 0), 4) in (1.0, None)
    text = (tmp_path / "tiny.md").read_text()
    assert text == card(program)
    low, high = wilson(p["integer_test_accuracy"] * 20 / 100, 20)
    assert f"({100 * low:.2f} to {100 * high:.2f} with a confidence of 95 %)" in text
    assert "| the paper's test accuracy, at width 64 | 94.0 % at 98.5 % sparse |" in text
    assert [passed for passed, _ in p["curve"]] == [32 + 16 + 16, 32 + 16 + 32]
    assert all(f"| {passed:,} | {score:.1f} % |" in text for passed, score in p["curve"])
    assert str(proof) in text
    assert "## The integers beside the network" in text
    assert "Made for a test." in text
    assert program.digest() in text
    assert "evenspike train recipe.toml" in text


def test_file_may_be_named(run: Run, tmp_path: Path) -> None:
    directory, data, _ = run
    _, path, _ = command.export(directory, tmp_path / "deep" / "mine.safetensors", data, threads=1)
    assert path == tmp_path / "deep" / "mine.safetensors"
    assert path.is_file()
    assert (tmp_path / "deep" / "mine.md").is_file()


def test_dense_accuracy_is_that_of_the_dense_network(run: Run, tmp_path: Path) -> None:
    directory, data, _ = run
    copy = Path(shutil.copytree(directory, tmp_path / "run"))
    sets = load_dataset("fmnist", data, 20, torch.device("cpu"))
    dense = torch.load(copy / "dense.pt", weights_only=True)
    network = load_ticket(copy).recipe.network
    model = networks.channels_last(load_model(network, dense["model"]))
    expected = evaluate(model, sets.test)["accuracy"]
    assert dense_test_accuracy(copy, network, sets) == expected
    (copy / "dense.pt").write_bytes(b"rubbish")
    with pytest.raises(EvenspikeError, match=r"dense\.pt: not a readable checkpoint"):
        dense_test_accuracy(copy, network, sets)
    (copy / "dense.pt").unlink()
    assert dense_test_accuracy(copy, network, sets) is None


def test_finished_run_can_be_run_again(run: Run) -> None:
    directory, data, path = run
    before = torch.load(directory / "ticket.pt", weights_only=True)
    command.train(str(path), directory, data, threads=1)
    after = torch.load(directory / "ticket.pt", weights_only=True)
    assert before["figures"] == after["figures"]


def test_directory_of_another_recipe_is_refused(run: Run, tmp_path: Path) -> None:
    directory, data, _ = run
    other = tmp_path / "other.toml"
    other.write_text(TINY.replace("rate = 0.5", "rate = 0.6"))
    with pytest.raises(RecipeError, match="holds a run of another recipe"):
        command.train(str(other), directory, data)


def test_mistakes_are_named(run: Run, tmp_path: Path) -> None:
    _, data, path = run
    with pytest.raises(RecipeError, match="nothing: no such recipe"):
        command.train("nothing", tmp_path, data)
    with pytest.raises(EvenspikeError, match="put them into the data folder"):
        command.train(str(path), tmp_path / "r", tmp_path)
    with pytest.raises(EvenspikeError, match="device 'abacus' is not known"):
        command.train(str(path), tmp_path / "r", data, device="abacus")
    (tmp_path / "recipe.toml").write_text(TINY)
    with pytest.raises(EvenspikeError, match=r"has the run finished\?"):
        command.export(tmp_path, tmp_path, data)


def test_unreadable_ticket_is_named(tmp_path: Path) -> None:
    (tmp_path / "ticket.pt").write_bytes(b"rubbish")
    with pytest.raises(EvenspikeError, match="not a readable checkpoint"):
        load_ticket(tmp_path)
    checkpoint.write(tmp_path / "ticket.pt", {"model": {}})
    with pytest.raises(EvenspikeError, match="holds no 'recipe'"):
        load_ticket(tmp_path)


SMALL = NetworkConfig(width=2)


def test_plain_and_masked_states_are_read() -> None:
    model = networks.build(SMALL)
    plain = load_model(SMALL, model.state_dict())
    assert masks.sparsity(masks.read(plain)) < 0.01
    masks.attach(model)
    masks.write(model, {k: torch.rand(v.shape) < 0.5 for k, v in masks.read(model).items()})
    masked = load_model(SMALL, model.state_dict())
    assert masks.sparsity(masks.read(masked)) == masks.sparsity(masks.read(model))


def test_bad_states_are_named() -> None:
    state = networks.build(SMALL).state_dict()
    bad = {**state, "layers.1.conv.bias": torch.tensor([float("nan"), 1.0])}
    with pytest.raises(EvenspikeError, match=r"layers\.1\.conv\.bias holds values that are not"):
        load_model(SMALL, bad)
    with pytest.raises(EvenspikeError, match=r"layers\.0\.conv\.weight has shape \(4, 1, 3, 3\)"):
        load_model(SMALL, networks.build(NetworkConfig(width=4)).state_dict())
    with pytest.raises(EvenspikeError, match="fc is unknown"):
        load_model(SMALL, {**state, "fc": torch.ones(1)})
    del state["classifier.bias"]
    with pytest.raises(EvenspikeError, match=r"classifier\.bias is missing"):
        load_model(SMALL, state)
