"""Recipes are checked before anything is trained."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from evenspike_core.errors import EvenspikeError
from evenspike_train import tickets
from evenspike_train.recipes import recipe
from evenspike_train.recipes.recipe import RECIPES, RecipeError
from evenspike_train.tickets import MethodConfig
from tests.helpers.damage import damaged, refusal

EVENTS = 'name = "x"\n[data]\nname = "nmnist"\n[network]\nin_channels = 2\n'


@pytest.mark.parametrize("name", [p.stem for p in RECIPES.glob("*.toml")])
def test_shipped_recipes_are_valid(name: str) -> None:
    loaded = recipe.load(name)
    # One that makes a shipped ticket anew is called like the ticket.
    assert loaded.name == (Path(loaded.start.source).name or name)
    assert recipe.parse(loaded.text) == loaded


def test_full_width_recipe_is_the_papers_ticket() -> None:
    loaded = recipe.load("vgg16")
    assert (loaded.network.width, loaded.network.timesteps) == (64, 4)
    assert (loaded.method.name, loaded.method.rounds, loaded.method.rate) == ("u-ticket", 13, 0.25)
    assert loaded.method.sparsity >= 0.975


EPOCHS = {
    "vgg16-gpu": 55_000,
    "resnet19": 55_000,
    "vgg16-h200": 55_000,
    "resnet19-h200": 55_000,
    "vgg16-cifar10-dvs": 8_500,
    "resnet19-cifar10-dvs": 8_500,
    "resnet19-ncaltech101": 7_450,
}
"""Recipes after the papers, and the images of an epoch."""


def test_recipes_say_whether_they_go_after_the_papers() -> None:
    """And those that do not say in what."""
    said = {path.stem: path.read_text() for path in RECIPES.glob("*.toml")}
    after = {name for name, text in said.items() if "after the papers" in text.lower()}
    assert after == EPOCHS.keys()
    loaded = {name: recipe.load(name) for name in said}
    searching = {name for name, one in loaded.items() if tickets.build(one.method).rounds}
    for name in searching - after - {name for name, one in loaded.items() if one.for_ticket}:
        assert "\n# Not as in the papers: " in said[name], name


@pytest.mark.parametrize("name", EPOCHS)
def test_recipe_after_the_papers_does_as_they_do(name: str) -> None:
    """Rewinding to epoch 20, batch norm of each timestep, and a search with all timesteps."""
    loaded = recipe.load(name)
    assert loaded.method.rewind == "weights"
    assert loaded.method.snapshot == 20 * EPOCHS[name] < loaded.dense.images
    assert loaded.network.batch_norm == "per-timestep"
    assert (loaded.method.name, loaded.method.rate, loaded.method.scope) == (
        "u-ticket",
        0.25,
        "global",
    )
    steps = {phase.timesteps for phase in (loaded.dense, loaded.round, loaded.final)}
    assert steps == {loaded.network.timesteps}


def test_values_arrive() -> None:
    given = """
        name = "x"
        [network]
        width = 8
        [network.neuron]
        leak = 0.5
        [method]
        name = "imp"
        rounds = 2
        [optimizer]
        weight_decay = 1
    """
    loaded = recipe.parse(given)
    assert loaded.network.width == 8
    assert loaded.network.neuron.leak == 0.5
    assert loaded.method.rounds == 2
    assert loaded.optimizer.weight_decay == 1.0
    assert isinstance(loaded.optimizer.weight_decay, float)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = ", "not valid TOML"),
        ('name = "x"\nsed = 1', "sed: unknown key; known here: .*seed"),
        ('name = "x"\ntext = "y"', "text: unknown key"),
        ('name = "x"\n[method]\nround = 1', r"method\.round: unknown key"),
        ('name = "x"\n[network.neuron]\nlek = 1', r"network\.neuron\.lek: unknown key"),
        ('name = "x"\nseed = "1"', "seed: expected int, got str '1'"),
        ('name = "x"\nseed = true', "seed: expected int, got bool"),
        ('name = "x"\n[dense]\nimages = 1.5', r"dense\.images: expected int, got float"),
        ('name = "x"\ndata = 3', "data: expected a table"),
        ('name = "x"\n[data]\nname = "cifar"', "data: name must be one of"),
        ('name = "x"\n[network]\nname = "vgg17"', "network: name must be one of"),
        ('name = "x"\n[network]\nclasses = 100', "classes is 100, but fmnist has 10"),
        ('name = "x"\n[method]\nname = "magic"', "method: name must be one of"),
        ('name = "x"\n[method]\nrewind = "time"', "method: rewind must be one of"),
        ('name = "x"\n[method]\nrounds = 2\nsparsity = 0.9', "sparsity 0.9 is out of reach"),
        ('name = "x"\n[method]\nsnapshot = 9\n[dense]\nimages = 8', "snapshot at 9 images"),
        (
            'name = "x"\n[network]\ntimesteps = 2\n[dense]\nimages = 8',
            "dense: timesteps 4 exceeds the network's 2",
        ),
        ('name = "x"\n[optimizer]\nname = "lion"', "optimizer: name must be sgd or adam"),
        ('name = "x"\n[optimizer]\nschedule = "step"', "optimizer: schedule must be"),
        ('name = "x"\n[compute]\nprecision = "fp8"', "compute: precision must be"),
        ('name = "x"\n[final]\nema = 1.0', "ema must lie"),
        ('name = "x"\n[network.neuron]\nreset = "none"', "neuron: reset must be"),
        ("seed = 1", "name"),
        ('name = "../x"', "name: must be usable as a file's name"),
        ('name = "x"\nseed = -1', "seed: must not be negative: -1"),
        ('name = "x"\nseed = 1' + "0" * 400, "seed: must lie between"),
        ('name = "x"\nseed = 1' + "0" * 9000, "not valid TOML"),
        ('name = "x"\nseed = ' + "[" * 9000, "not valid TOML"),
        ('name = "x"\n[data]\nvalidation = 0', "data: validation must be at least 1"),
        (
            'name = "x"\n[augmentation]\nshift = 32',
            r"shift must lie in \[0, 32\) for fmnist, not 32",
        ),
        (
            'name = "x"\n[method]\nrecover = "kept"',
            r'method: recover = "kept" needs rewind = "learning-rate"',
        ),
        ('name = "x"\n[final]\ncutout = 32', r"final: cutout must lie in \[0, 32\) for fmnist"),
        ('name = "x"\n[data]\nname = "cifar10"', "in_channels is 1, but cifar10 has 3"),
        (
            'name = "x"\n[data]\nname = "tiny-imagenet"\n[network]\nin_channels = 3\nclasses = 200',
            r"vgg16 takes still images of 32x32 pixels, but tiny-imagenet has \[3, 64, 64\]",
        ),
        (
            f"{EVENTS}timesteps = 11",
            "network: timesteps is 11, but a recording of nmnist has 10 frames",
        ),
        (
            f'{EVENTS}[method]\nname = "transferred"\n[dense]\nimages = 9',
            "transferred searches on a twin with one timestep, but nmnist has another frame",
        ),
        (
            'name = "x"\n[data]\nname = "nmnist"\n[network]\nin_channels = 2\n[final]\ncutout = 48',
            r"final: cutout must lie in \[0, 48\) for nmnist, not 48",
        ),
        ('name = "x"\n[data]\nname = "cifar100"', "classes is 10, but cifar100 has 100"),
        (
            'name = "x"\n[augmentation]\ncutout = -1',
            "augmentation: cutout must not be negative: -1",
        ),
        ('name = "x"\n[network]\nin_channels = 3', "in_channels is 3, but fmnist has 1"),
        ('name = "x"\n[network]\ntimesteps = 129', "network: timesteps must be at most 128"),
        ('name = "x"\n[network]\nwidth = 100000', "network: width must be at most 512"),
        ('name = "x"\n[network.neuron]\nleak = 1.3', r"leak must lie in \[0, 1\], not 1.3"),
        ('name = "x"\n[network.neuron]\ngain = inf', r"network\.neuron\.gain: must be finite"),
        ('name = "x"\n[method]\nrounds = 101', "method: rounds must be at most 100"),
        ('name = "x"\n[optimizer]\nmomentum = 1', r"optimizer: momentum must lie in \[0, 1\)"),
        ('name = "x"\n[optimizer]\nmomentum = -0.1', "optimizer: momentum must lie"),
        ('name = "x"\n[optimizer]\nmomentum = 0', "optimizer: nesterov needs a momentum"),
        ('name = "x"\n[optimizer]\nweight_decay = -1', "optimizer: weight_decay must not be"),
        ('name = "x"\n[dense]\nlr = 0', "dense: lr must be positive"),
        ('name = "x"\n[dense]\nlr = nan', r"dense\.lr: must be finite, not nan"),
        ('name = "x"\n[round]\nlr = inf', r"round\.lr: must be finite, not inf"),
        ('name = "x"\n[final]\ncutout = -1', "final: cutout must not be negative"),
        ('name = "x"\n[final]\nlabel_smoothing = 2', "final: label_smoothing must lie"),
        ('name = "x"\n[compute]\nround_validation = 0', "compute: round_validation must be"),
        ('name = "x"\n[compute]\nsparse_below = -1', "compute: sparse_below must not be"),
        (
            'name = "x"\n[compute]\nround_cycles_images = -1',
            "compute: round_cycles_images must not be",
        ),
    ],
)
def test_errors_name_the_key(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe.parse(text)


def test_unknown_recipe_lists_the_shipped_ones(tmp_path: Path) -> None:
    with pytest.raises(
        RecipeError, match=r"vgg99: no such recipe; give a .toml file, or one of .*vgg16"
    ):
        recipe.load("vgg99")
    path = tmp_path / "mine.toml"
    path.write_text('name = "x"\nseed = 1.0')
    with pytest.raises(RecipeError, match=r"mine\.toml: seed: expected int"):
        recipe.load(path)
    for content, says in (
        (b'name = "\xff"', "is not UTF-8"),
        (b"", "is empty: it has no table and no key"),
        (b'\xef\xbb\xbfname = "x"', "begins with a byte order mark"),
    ):
        path.write_bytes(content)
        with pytest.raises(EvenspikeError, match=rf"mine\.toml: {says}"):
            recipe.load(path)


def test_a_damaged_recipe_is_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    for data in damaged((RECIPES / "vgg16.toml").read_bytes(), "recipe", 200):
        path.write_bytes(data)
        refusal(recipe.load, path)


def test_every_key_is_documented() -> None:
    docs = Path(__file__).parents[2] / "docs"
    pages = {name: (docs / f"{name}.md").read_text() for name in ("recipes", "methods")}

    def keys(table: Any) -> list[tuple[str, str]]:
        found = []
        for field in dataclasses.fields(table):
            value = getattr(table, field.name)
            if dataclasses.is_dataclass(value):
                found += keys(value)
            elif field.name not in ("text", "made_from", "own"):
                method = isinstance(table, MethodConfig)
                found.append(("methods" if method else "recipes", field.name))
        return found

    missing = [
        key
        for page, key in keys(recipe.parse('name = "x"'))
        if f"`{key}`" not in pages[page] and f"`{key} = " not in pages[page] and key != "name"
    ]
    assert missing == []
