"""A finished ticket is trained on: rebuilt from integers, masks held, pruned further, taught."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from evenspike.flows import finetune as flow
from evenspike.flows.finetune import finetune
from evenspike_core.errors import EvenspikeError
from evenspike_core.program import Coding, Program
from evenspike_train import data, networks
from evenspike_train.export.programs import follow, make_program
from evenspike_train.export.quantize import quantise
from evenspike_train.recipes import derive, recipe
from evenspike_train.recipes.recipe import Begun
from evenspike_train.recipes.tables import StartConfig, TeacherConfig
from evenspike_train.runs import command, start, sweep
from evenspike_train.runs.distillation import answers, distillation
from evenspike_train.runs.distributed import Team
from evenspike_train.runs.trainer import Trainer
from evenspike_train.tickets import masks as weight_masks
from evenspike_train.tickets.u_ticket import layer_mean_evenness
from tests.helpers.killing import run_killed
from tests.helpers.training import lines, ticket, write_set

NETWORK = """
name = "tiny"
[data]
validation = 20
[network]
name = "NAME"
width = 2
timesteps = 2
[method]
name = "imp"
scope = "local"
rounds = 1
rate = 0.5
pes = 2
[dense]
images = 16
timesteps = 2
[final]
images = 16
timesteps = 2
"""

SCHEDULE = """
name = "longer"
seed = 3
[method]
name = "held"
[optimizer]
name = "adam"
batch = 16
[final]
images = 96
timesteps = 2
lr = 0.01
ema = 0.9
[compute]
precision = "fp32"
checkpoint_seconds = 0
round_validation = 10
"""


def network_of(name: str, seed: int = 0) -> networks.SpikingNetwork:
    """A pruned network whose batch norm has seen something, in evaluation."""
    torch.manual_seed(seed)
    model = networks.build(recipe.parse(NETWORK.replace("NAME", name)).network)
    weight_masks.attach(model)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(-1.5, 1.5)
                module.bias.uniform_(-0.5, 1)
                module.running_mean.normal_()  # type: ignore[union-attr]
                module.running_var.uniform_(0.2, 3)  # type: ignore[union-attr]
    found = weight_masks.read(model)
    weight_masks.write(model, {name: torch.rand(one.shape) < 0.6 for name, one in found.items()})
    return model.eval()


def program_of(name: str) -> Program:
    """The integers of such a network, as a run exports them."""
    text = NETWORK.replace("NAME", name)
    program, _ = make_program(recipe.parse(text), network_of(name), {"recipe": text})
    return program


@pytest.mark.parametrize("name", ["vgg16", "resnet19"])
def test_a_network_rebuilt_from_a_program_has_its_integers(name: str) -> None:
    program = program_of(name)
    begun = start.from_program(program)
    assert begun.sparsity == program.sparsity
    start.fit_norms(begun.model, torch.randint(0, 256, (96, 1, 32, 32), dtype=torch.uint8))
    again = quantise(follow(begun.model, name=program.name), keep_living=True)
    for made, given in zip(again.layers, program.layers, strict=True):
        assert (made.threshold, made.leak, made.shift) == (given.threshold, given.leak, given.shift)
        for one, other in zip(made.segments, given.segments, strict=True):
            np.testing.assert_array_equal(one.weights, other.weights, err_msg=made.name)
        # float32 keeps 24 bits of what has 32 in an encoder.
        np.testing.assert_allclose(made.bias, given.bias, rtol=1e-6, atol=2, err_msg=made.name)


def test_batch_norm_is_fitted_to_the_currents() -> None:
    model = network_of("vgg16")
    images = torch.randint(0, 256, (70, 1, 32, 32), dtype=torch.uint8)  # not whole batches
    with torch.no_grad():
        before = model(images)
        start.fit_norms(model, images)
        assert not model.training
        torch.testing.assert_close(model(images), before, rtol=1e-3, atol=1e-3)
        norms = [one for one in model.modules() if isinstance(one, nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = 1.0  # the running statistics are those of the batch
        fitted = [(one.running_mean.clone(), one.running_var.clone()) for one in norms]  # type: ignore[union-attr]
        model.train()
        model(images[:64])
        model(images)
    for norm, (mean, variance) in zip(norms[:2], fitted[:2], strict=True):
        torch.testing.assert_close(norm.running_mean, mean, rtol=0.02, atol=0.02)
        torch.testing.assert_close(norm.running_var, variance, rtol=0.02, atol=0.02)


@pytest.fixture
def begin() -> start.Start:
    return start.from_program(program_of("vgg16"))


def made(begin: start.Start, text: str = SCHEDULE, **changes: object) -> recipe.Recipe:
    """The recipe of a fine-tuning of it."""
    given = StartConfig("here", begin.digest, begin.sparsity)
    schedule = recipe.parse(text, Begun(given, begin.recipe))
    teacher = TeacherConfig(source="it", digest="0") if "teacher" in changes else TeacherConfig()
    changes.pop("teacher", None)
    return derive.continue_from(
        schedule,
        begin.recipe,
        teacher,
        derive.Changes(**changes),  # type: ignore[arg-type]
    )


def test_masks_are_held(begin: start.Start, sets: data.Dataset, tmp_path: Path) -> None:
    held = weight_masks.read(begin.model)
    weights = weight_masks.originals(begin.model)
    run = Trainer(made(begin), sets, tmp_path, start=begin)
    figures = run.run()
    now = weight_masks.read(run.model)
    assert all(torch.equal(mask, now[name]) for name, mask in held.items())
    assert figures["sparsity"] == begin.sparsity
    moved = [
        float((one - weights[name])[held[name]].detach().abs().max())
        for name, one in weight_masks.originals(run.model).items()
    ]
    assert min(moved) > 0  # every layer is trained
    (line,) = lines(tmp_path, "start")
    assert line["digest"] == begin.digest
    assert not (tmp_path / "dense.pt").exists()  # it has never been dense
    kept = recipe.load(tmp_path / "recipe.toml")
    assert kept.network == begin.recipe.network
    assert kept.data.validation == 20  # those that were held out stay so


class Pair(Team):
    """A team of which this is the leader; notes what the others would take over."""

    followed: ClassVar[list[set[str]]] = []

    def follow(self, *states: Mapping[str, torch.Tensor]) -> None:
        Pair.followed.extend(set(state) for state in states)


def test_a_team_begins_with_one_network(
    begin: start.Start, sets: data.Dataset, tmp_path: Path
) -> None:
    """Batch norm is fitted by each process, and agrees to rounding alone."""
    run = Trainer(made(begin), sets, tmp_path, start=begin, team=Pair())
    run.run()
    assert run.model.state_dict().keys() in Pair.followed


def test_it_is_pruned_further_and_balanced(
    begin: start.Start, sets: data.Dataset, tmp_path: Path
) -> None:
    ladder = 'name = "u-ticket"\nscope = "local"\nrewind = "learning-rate"'
    given = made(begin, SCHEDULE.replace('name = "held"', ladder), sparsity=0.7)
    assert given.method.rounds == 3  # 0.4 to 0.7, a quarter of the living each
    figures = Trainer(given, sets, tmp_path, start=begin).run()
    assert figures["sparsity"] >= 0.7
    state = ticket(tmp_path)["model"]
    alive = {k.split(".parametrizations")[0]: v for k, v in state.items() if k.endswith(".mask")}
    assert layer_mean_evenness(alive, 2) == 1.0
    assert [line["phase"] for line in lines(tmp_path, "pruned")] == ["start", "round 1", "round 2"]


def test_a_sparsity_prunes_as_the_start_was_pruned(begin: start.Start) -> None:
    assert made(begin, sparsity=0.6).method.name == "imp"
    text = NETWORK.replace("NAME", "vgg16").replace('"imp"', '"u-ticket"')
    balanced = dataclasses.replace(begin, recipe=recipe.parse(text))
    assert made(balanced, sparsity=0.6).method.name == "u-ticket"
    assert made(balanced, sparsity=0.6).method.pes == 2
    assert made(balanced).method.name == "held"
    # Trained on, it is still known to be balanced.
    again = dataclasses.replace(balanced, recipe=made(balanced))
    assert made(again, sparsity=0.6).method.name == "u-ticket"
    # The ladder ends at the target.
    given = made(balanced, sparsity=0.6).method
    left = (1 - begin.sparsity) * (1 - given.rate) ** given.rounds
    assert left == pytest.approx(1 - 0.6, abs=1e-4)
    late = made(begin, method="imp+late-rewinding", rounds=1).method
    assert (late.name, late.rewind) == ("imp", "weights")


@pytest.mark.usefixtures("one_thread")
def test_killed_and_resumed_equals_uninterrupted(
    begin: start.Start,
    sets: data.Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = made(begin, SCHEDULE.replace("[final]", "[dense]\nimages = 32\ntimesteps = 1\n[final]"))
    whole = Trainer(given, sets, tmp_path / "whole", start=begin).run()

    def again(given: recipe.Recipe, sets: data.Dataset, folder: Path) -> Trainer:
        return Trainer(given, sets, folder, start=begin)

    deaths = run_killed(given, sets, tmp_path / "killed", monkeypatch, every=2, make=again)
    assert deaths >= 2
    a, b = ticket(tmp_path / "whole"), ticket(tmp_path / "killed")
    assert a["figures"] == b["figures"] == whole
    for name, tensor in a["model"].items():
        assert torch.equal(tensor, b["model"][name]), name


def test_distillation_is_the_divergence_from_the_teacher() -> None:
    draw = np.random.default_rng(0)
    own, taught, heat = draw.normal(size=(3, 5, 10)), draw.normal(size=(5, 10)), 2.5

    def softmax(x: np.ndarray) -> np.ndarray:
        e = np.exp(x / heat)
        return np.asarray(e / e.sum(-1, keepdims=True))

    p, q = softmax(taught)[None], softmax(own)
    expected = heat**2 * (p * np.log(p / q)).sum(-1).mean()
    config = TeacherConfig(temperature=heat)
    found = distillation(torch.from_numpy(own), torch.from_numpy(taught), config)
    assert float(found) == pytest.approx(expected, rel=1e-5)


@pytest.mark.usefixtures("one_thread")
def test_a_teacher_is_listened_to_in_the_final_phase(
    begin: start.Start, sets: data.Dataset, tmp_path: Path
) -> None:
    wise = network_of("vgg16", seed=9)
    with torch.no_grad():
        wise.classifier.bias.copy_(torch.linspace(-2, 2, 10))  # it has an opinion
    text = SCHEDULE + "[teacher]\nweight = 1.0\n"
    given = made(begin, text, teacher=True)
    run = Trainer(given, sets, tmp_path, start=begin, teacher=wise)
    run.run()
    images = sets.validation.images
    with torch.no_grad():
        taught = answers(wise, images)
        before = distillation(begin.model(images), taught, given.teacher)
        after = distillation(run.model.eval()(images), taught, given.teacher)
    assert after < before
    # The labels alone give another network.
    alone = made(begin, text)
    other = Trainer(alone, sets, tmp_path / "alone", start=begin)
    other.run()
    assert not torch.equal(other.model.classifier.bias, run.model.classifier.bias)


def test_a_run_goes_on_with_its_own_weights(tmp_path: Path) -> None:
    write_set(tmp_path, train=60)
    (tmp_path / "first.toml").write_text(
        NETWORK.replace("NAME", "vgg16") + '[compute]\nprecision = "fp32"\n'
    )
    command.train(str(tmp_path / "first.toml"), tmp_path / "first", tmp_path, 1, "cpu")
    begun = start.from_run(tmp_path / "first")
    assert not begun.rebuilt
    model = ticket(tmp_path / "first")["model"]
    assert all(torch.equal(value, model[name]) for name, value in begun.model.state_dict().items())
    (tmp_path / "longer.toml").write_text(SCHEDULE)
    options = {"recipe": tmp_path / "longer.toml", "data": tmp_path, "device": "cpu", "threads": 1}
    folder = tmp_path / "second"
    found = finetune(tmp_path / "first", folder, **options)  # type: ignore[arg-type]
    assert found.program is not None
    provenance = found.program.provenance
    assert provenance["command"].startswith(f"evenspike finetune {tmp_path / 'first'} --recipe ")
    assert not finetune(tmp_path / "first", folder, **options).trained  # type: ignore[arg-type]
    # And its Program, which says where it is from, in its turn.
    third = finetune(found.program, tmp_path / "third", **options)  # type: ignore[arg-type]
    assert third.program is not None
    assert third.program.sparsity == found.program.sparsity
    card = (tmp_path / "third" / "longer.md").read_text()
    score = found.program.provenance["integer_test_accuracy"]
    facts = (
        f"`longer`, {found.program.sparsity:.2%} sparse, {score:.2f} % of the first 10 test images"
    )
    assert f"| trained on from | {facts};" in card
    assert found.program.digest() in card


def nameless(program: Program, **values: object) -> Program:
    """The Program with another provenance."""
    return dataclasses.replace(program, provenance=values)


def test_what_cannot_be_trained_on_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("nothing is read, and nothing trained")

    monkeypatch.setattr(command, "load", refuse)
    program = program_of("vgg16")
    text = NETWORK.replace("NAME", "vgg16")
    cases: list[tuple[Program, dict[str, object], str]] = [
        (nameless(program), {}, "it does not say by which recipe it was made"),
        (
            nameless(program, recipe=text + "[later]\nx = 1\n"),
            {},
            "its recipe is not one of this version: later: unknown key",
        ),
        (
            nameless(program, recipe=text.replace('"vgg16"', '"net.py:Net"')),
            {},
            "its network is the module net.py:Net, whose batch norm is folded",
        ),
        (
            nameless(program, recipe=text.replace("timesteps = 2", "timesteps = 3", 1)),
            {},
            "its recipe is of another network",
        ),
        (
            nameless(program, recipe=text.replace('"vgg16"', '"resnet19"')),
            {},
            "its layers are not those of the network that its recipe names",
        ),
        (
            nameless(program, recipe=text.replace("width = 2", "width = 4")),
            {},
            r"layer conv1 has weights \(2, 1, 3, 3\), the network \(4, 1, 3, 3\)",
        ),
        (program, {"sparsity": 0.2}, r"sparsity 0.2 is not above that of the ticket, 0\.39"),
        (program, {"method": "dense"}, "dense begins without masks; a fine-tuning has cycle-aware"),
        (program, {"rounds": 2}, "held does not prune, so it takes no rounds"),
        (program, {"method": "imp"}, "how far\\? give a sparsity, or rounds"),
    ]
    for given, options, says in cases:
        with pytest.raises(EvenspikeError, match=says):
            finetune(given, tmp_path / "run", **options)  # type: ignore[arg-type]
        assert not (tmp_path / "run").exists()


def test_spikes_as_input_cannot_be_trained_on() -> None:
    program = program_of("vgg16")
    first = program.layers[0]
    rate = dataclasses.replace(
        first, segments=(), coding=Coding.RATE, size=(32, 32), bias=np.zeros(1, np.int32), shift=0
    )
    second = dataclasses.replace(
        program.layers[1],
        segments=(
            dataclasses.replace(
                program.layers[1].segments[0],
                weights=program.layers[1].segments[0].weights[:, :1],
                dense=-1,
            ),
        ),
    )
    other = dataclasses.replace(program, layers=(rate, second, *program.layers[2:]))
    with pytest.raises(EvenspikeError, match="its encoder is rate, not direct"):
        start.from_program(other)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("timesteps = 2", "classes = 100\nin_channels = 3\ntimesteps = 2", "100 classes apart"),
        ("timesteps = 2", "timesteps = 2", "was trained on mnist, tiny on fmnist"),
    ],
)
def test_a_teacher_of_something_else_is_refused(
    begin: start.Start, old: str, new: str, says: str
) -> None:
    named = "cifar100" if "100" in new else "mnist"
    text = NETWORK.replace("NAME", "vgg16").replace(old, new, 1)
    other = recipe.parse(text.replace("[data]", f'[data]\nname = "{named}"'))
    teacher = dataclasses.replace(begin, recipe=other)
    with pytest.raises(EvenspikeError, match=f"teacher it: .*{says}"):
        start.check_teacher("it", teacher, begin)


def test_a_run_that_has_not_finished_is_no_source(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(SCHEDULE)
    with pytest.raises(EvenspikeError, match="this run has not finished"):
        finetune(tmp_path)


def test_a_recipe_of_a_ticket_does_not_train_from_nothing(tmp_path: Path) -> None:
    with pytest.raises(EvenspikeError, match="is a recipe for a ticket: evenspike finetune takes"):
        command.train("finetune", tmp_path / "run", None)
    begun = start.from_program(program_of("vgg16"))
    (tmp_path / "kept.toml").write_text(made(begun).text)
    with pytest.raises(EvenspikeError, match="is a recipe for a ticket: evenspike finetune takes"):
        command.train(str(tmp_path / "kept.toml"), tmp_path / "run", None)
    with pytest.raises(EvenspikeError, match="start: is of a run that has begun"):
        recipe.load(tmp_path / "kept.toml", Begun(StartConfig("x", "y", 0.5), begun.recipe))
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("one_thread")
def test_a_twin_with_relu_trains_and_gives_no_program(sets: data.Dataset, tmp_path: Path) -> None:
    text = NETWORK.replace("NAME", "vgg16").replace("timesteps = 2", "timesteps = 1")
    text = text.replace("[method]", 'activation = "relu"\n[method]')
    text = text.replace(
        'name = "imp"\nscope = "local"\nrounds = 1\nrate = 0.5\npes = 2', 'name = "dense"'
    )
    given = recipe.parse(text + '[compute]\nprecision = "fp32"\nround_validation = 10\n')
    run = Trainer(given, sets, tmp_path)
    figures = run.run()
    assert not any("LIF" in type(module).__name__ for module in run.model.modules())
    assert "firing_rate" not in figures
    assert "a twin with ReLU" in command.unexportable(tmp_path)
    begun = start.from_run(tmp_path)  # what a teacher is read as
    torch.testing.assert_close(answers(begun.model, sets.test.images).shape, torch.Size((20, 10)))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            '[method]\nname = "dense"',
            '[dense]\nimages = 8\ntimesteps = 1\n[method]\nname = "transferred"',
            "transferred makes a twin itself",
        ),
        ("timesteps = 1", "timesteps = 2", "a twin with ReLU has one timestep, not 2"),
        ('"relu"', '"tanh"', r"activation must be one of \('lif', 'relu'\), not 'tanh'"),
        ('"vgg16"', '"net.py:Net"', "net.py:Net has no twin with ReLU"),
        (
            '[method]\nname = "dense"',
            '[method]\nname = "random"\nsparsity = 0.5\nbalance = "cycles"\npes = 8',
            "cycles cannot be balanced in a twin with ReLU",
        ),
        (
            "[network]",
            '[data]\nname = "cifar10-dvs"\n[network]\nin_channels = 2',
            "a twin with ReLU has one timestep, but",
        ),
    ],
)
def test_a_twin_that_cannot_be_is_named(old: str, new: str, says: str) -> None:
    text = (
        'name = "twin"\n[network]\nname = "vgg16"\nwidth = 2\ntimesteps = 1\nactivation = "relu"\n'
        '[method]\nname = "dense"\n[final]\nimages = 8\ntimesteps = 1\n'
    )
    assert recipe.parse(text).network.activation == "relu"
    with pytest.raises(recipe.RecipeError, match=says):
        recipe.parse(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("weight", 0.0, r"teacher: weight must lie in \(0, 1\], not 0.0"),
        ("weight", 1.5, r"teacher: weight must lie in \(0, 1\], not 1.5"),
        ("temperature", 0.0, "teacher: temperature must be positive, not 0.0"),
    ],
)
def test_a_wrong_teacher_table_is_named(key: str, value: float, says: str) -> None:
    text = SCHEDULE + f"[teacher]\n{key} = {value}\n"
    with pytest.raises(recipe.RecipeError, match=says):
        recipe.parse(
            text, Begun(StartConfig("x", "y", 0.5), recipe.parse(NETWORK.replace("NAME", "vgg16")))
        )


def test_a_recipe_may_name_its_ticket_and_its_teacher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program_of("vgg16").save(tmp_path / "first.safetensors")
    path = tmp_path / "longer.toml"
    named = f'[start]\nsource = "{tmp_path / "first.safetensors"}"\n'
    ladder = 'name = "imp"\nscope = "local"\nrounds = 1\nsparsity = 0.5\nrewind = "learning-rate"'
    text = SCHEDULE.replace('name = "held"', ladder)
    path.write_text(text + named + f'[teacher]\nsource = "{tmp_path / "first.safetensors"}"\n')
    assert recipe.load(path).for_ticket  # 0.5 is out of one round's reach, but not from the ticket
    kept: list[recipe.Recipe] = []

    def stop(made: recipe.Recipe, _: Path) -> recipe.Recipe:
        kept.append(made)
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "kept_recipe", stop)
    with pytest.raises(KeyboardInterrupt):
        finetune(recipe=path)
    assert kept[0].start.digest == kept[0].teacher.digest == program_of("vgg16").digest()
    path.write_text(text.replace("0.5", "0.9") + named)
    with pytest.raises(EvenspikeError, match=r"sparsity 0.9 is out of reach: 1 rounds .* 0\.54"):
        finetune(recipe=path)
    with pytest.raises(EvenspikeError, match="no ticket is given, and finetune names none"):
        finetune()


def test_a_phase_that_says_no_timesteps_has_the_tickets(begin: start.Start) -> None:
    loaded = recipe.load("finetune", Begun(StartConfig("x", "y", 0.4), begin.recipe))
    assert loaded.network.timesteps == loaded.final.timesteps == loaded.round.timesteps == 2
    own = made(begin, SCHEDULE.replace("timesteps = 2", "timesteps = 1"))
    assert own.final.timesteps == 1


def test_a_target_is_judged_from_the_tickets_sparsity(begin: start.Start) -> None:
    """Without the ticket one round of a quarter would not reach it."""
    ladder = 'name = "imp"\nscope = "local"\nrounds = 1\nsparsity = 0.5\nrewind = "learning-rate"'
    assert made(begin, SCHEDULE.replace('name = "held"', ladder)).method.sparsity == 0.5


def test_a_shipped_ticket_wins_over_a_run_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a command of the documents begins with does not depend on what was trained here."""
    (tmp_path / "runs" / "vgg16-small").mkdir(parents=True)
    (tmp_path / "runs" / "vgg16-small" / "recipe.toml").write_text(SCHEDULE)
    monkeypatch.chdir(tmp_path)
    found, called = flow._find("vgg16-small")
    assert isinstance(found, Program)
    assert called == "vgg16-small"


def test_a_run_goes_on_whatever_its_source_is_called(begin: start.Start, tmp_path: Path) -> None:
    given = made(begin)
    (tmp_path / "recipe.toml").write_text(given.text)
    elsewhere = dataclasses.replace(given.start, source="there")
    assert command.kept_recipe(dataclasses.replace(given, start=elsewhere), tmp_path) == given
    other = dataclasses.replace(given.start, digest="other")
    with pytest.raises(EvenspikeError, match="holds a run of another recipe"):
        command.kept_recipe(dataclasses.replace(given, start=other), tmp_path)


def test_a_teacher_that_there_is_not_is_named_as_one(tmp_path: Path) -> None:
    with pytest.raises(EvenspikeError, match="teacher: unknown model 'nobody'"):
        finetune(program_of("vgg16"), tmp_path / "run", teacher="nobody")


def test_what_needs_a_ticket_is_refused_without_one(tmp_path: Path) -> None:
    """By `train`, whatever names it, and by a sweep before its first run."""
    ticketless = "is a recipe for a ticket: evenspike finetune takes it"
    with pytest.raises(EvenspikeError, match=ticketless):
        command.train("vgg16-tiny", tmp_path / "run", None, changes=derive.Changes(method="held"))
    with pytest.raises(EvenspikeError, match=f"finetune, imp: {ticketless}|{ticketless}"):
        sweep.plan("vgg16-finetune", sweep.Axes(("imp",), (1,)))
    path = tmp_path / "taught.toml"
    path.write_text(NETWORK.replace("NAME", "vgg16") + '[teacher]\nsource = "runs/x"\n')
    with pytest.raises(EvenspikeError, match="names a teacher, which evenspike finetune alone"):
        command.train(str(path), tmp_path / "run", None)
    assert not (tmp_path / "run").exists()
