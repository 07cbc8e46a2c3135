"""Recipes: a TOML file that says everything a training run depends on.

Every table is a frozen dataclass; an unknown key, a value of the wrong type or a
combination that makes no sense is an error that names table and key, raised before
any data is read.
"""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from evenspike_core.data import DATA_SETS
from evenspike_core.documents import parse_toml, read_text
from evenspike_core.errors import EvenspikeError
from evenspike_train.data import Augmentation
from evenspike_train.kernels.neuron import LIFParameters
from evenspike_train.networks import NETWORKS, NetworkConfig
from evenspike_train.networks.source import names_a_source
from evenspike_train.recipes.tables import (
    ComputeConfig,
    DataConfig,
    OptimizerConfig,
    PhaseConfig,
    StartConfig,
    TeacherConfig,
)
from evenspike_train.tickets import MethodConfig, fit, known
from evenspike_train.tickets.options import check_given, own_of

RECIPES = Path(__file__).parent

_INTEGER_LIMIT = 2**53
_TIMESTEPS_MAX = 128  # to train; what a Program holds is fewer (`programs.impossible`)
_WIDTH_MAX = 512


class RecipeError(EvenspikeError):
    """A recipe that cannot be run, with the table and key at fault."""


PHASES = ("dense", "round", "final")


@dataclass(frozen=True)
class Recipe:
    """A whole training run: dense phase, a phase per round, and the final phase.

    ``made_from``: the recipe and the options that this one was derived from (`derive`).
    With a ``start`` the dense phase is the one in front of the first pruning, with the masks of
    the start.
    """

    name: str
    seed: int = 0
    data: DataConfig = field(default_factory=DataConfig)
    augmentation: Augmentation = field(default_factory=Augmentation)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    method: MethodConfig = field(default_factory=MethodConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    dense: PhaseConfig = field(default_factory=PhaseConfig)
    round: PhaseConfig = field(default_factory=PhaseConfig)
    final: PhaseConfig = field(default_factory=PhaseConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    start: StartConfig = field(default_factory=StartConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    made_from: str = ""
    text: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w[\w.-]{0,99}", self.name):
            raise ValueError(f"name: must be usable as a file's name, not {self.name!r}")
        if self.seed < 0:
            raise ValueError(f"seed: must not be negative: {self.seed}")
        if self.data.name not in DATA_SETS:
            raise ValueError(
                f"data: name must be one of {sorted(DATA_SETS)}, not {self.data.name!r}"
            )
        if self.data.validation < 1:
            raise ValueError(f"data: validation must be at least 1, not {self.data.validation}")
        if self.data.train < 0:
            raise ValueError(f"data: train must not be negative: {self.data.train}")
        fit.check(
            self.method,
            self.dense.images,
            self.round.images,
            {"dense": self.dense.timesteps, "round": self.round.timesteps},
            self.network.timesteps,
            self._start_sparsity,
        )
        self._check_network()
        self._check_loss()
        if self.method.own.get("bits") and self.final.ema:
            raise ValueError(
                f"final: ema averages weights, which with {self.method.name} and bits have levels "
                "to keep; give it 0"
            )
        self._check_augmentation()
        for name in PHASES:
            phase: PhaseConfig = getattr(self, name)
            on_twin = name == "dense" and known(self.method.name).on_twin
            if phase.activity and (on_twin or self.network.activation == "relu"):
                raise ValueError(
                    f"{name}: activity is of spikes, and this phase trains a network with ReLU"
                )
            if phase.images and phase.timesteps > self.network.timesteps:
                raise ValueError(
                    f"{name}: timesteps {phase.timesteps} exceeds the network's "
                    f"{self.network.timesteps}"
                )

    @property
    def for_ticket(self) -> bool:
        """Whether it goes on from a finished ticket, and so cannot begin a run of its own."""
        return bool(self.start.source) or self.method.name == "held"

    @property
    def _start_sparsity(self) -> float | None:
        """For `fit.check`."""
        if not self.start.source:
            return None
        return self.start.sparsity if self.start.digest else math.nan

    def _check_network(self) -> None:
        """What fits the data, and the neurons that the hardware has."""
        network, data = self.network, DATA_SETS[self.data.name]
        for key, found in (("classes", data.classes), ("in_channels", data.channels)):
            if getattr(network, key) != found:
                raise ValueError(
                    f"network: {key} is {getattr(network, key)}, but {data.name} has {found}"
                )
        own = names_a_source(network.name)
        if not own:
            self._check_side()
        if data.frames and network.input != "direct":
            raise ValueError(
                f"network: input {network.input} draws spikes of still images, but {data.name} has "
                f"{data.frames} frames"
            )
        if data.frames and network.timesteps > data.frames:
            raise ValueError(
                f"network: timesteps is {network.timesteps}, but a recording of {data.name} has "
                f"{data.frames} frames"
            )
        if data.frames and known(self.method.name).on_twin:
            raise ValueError(
                f"method: {self.method.name} searches on a twin with one timestep, but {data.name} "
                f"has another frame at each of {data.frames}"
            )
        if network.activation == "relu":
            self._check_twin()
        if own and known(self.method.name).on_twin:
            raise ValueError(
                f"method: {self.method.name} searches on a twin, which {network.name} has not"
            )
        for name, limit in (("timesteps", _TIMESTEPS_MAX), ("width", _WIDTH_MAX)):
            if getattr(network, name) > limit:
                raise ValueError(
                    f"network: {name} must be at most {limit}, not {getattr(network, name)}"
                )

    def _check_side(self) -> None:
        """Images of the size that one of our networks is made for."""
        data, kind = DATA_SETS[self.data.name], NETWORKS[self.network.name]
        side = kind.image_size
        if kind.crops and not data.frames and data.side >= side and (data.side - side) % 2 == 0:
            return  # it looks at the middle
        if data.side != side and not (data.frames and kind.any_recording):
            what = "still images" if kind.any_recording else "images"
            raise ValueError(
                f"network: {self.network.name} takes {what} of {side}x{side} pixels, but "
                f"{data.name} has {list(data.shape)}"
            )

    def _check_loss(self) -> None:
        """A firing rate is of an output that spikes, and has no labels to smooth."""
        if self.optimizer.loss != "rate":
            return
        name = self.network.name
        if not names_a_source(name) and not NETWORKS[name].answers_in_spikes:
            raise ValueError(f"optimizer: loss rate needs an output that spikes; {name} has none")
        for phase in PHASES:
            if getattr(self, phase).label_smoothing:
                raise ValueError(f"{phase}: label_smoothing has no effect with the loss rate")

    def _check_twin(self) -> None:
        """A network with ReLU has neither timesteps nor spikes."""
        data, method = DATA_SETS[self.data.name], self.method
        if data.frames:
            raise ValueError(
                f"network: a twin with ReLU has one timestep, but {data.name} has another frame at "
                f"each of {data.frames}"
            )
        if known(method.name).on_twin:
            raise ValueError(f"method: {method.name} makes a twin itself, of a spiking network")
        if method.balancing == "cycles":
            raise ValueError(
                "method: cycles cannot be balanced in a twin with ReLU, without spikes"
            )

    def _check_augmentation(self) -> None:
        """A shift or a square beyond the image would leave nothing of it."""
        side = DATA_SETS[self.data.name].side
        for where, key, value in (
            ("augmentation", "shift", self.augmentation.shift),
            ("augmentation", "cutout", self.augmentation.cutout),
            *((name, "cutout", getattr(self, name).cutout) for name in PHASES),
        ):
            if value >= side:
                raise ValueError(
                    f"{where}: {key} must lie in [0, {side}) for {self.data.name}, not {value}"
                )


def _convert(value: Any, wanted: type, where: str) -> Any:
    if isinstance(value, int) and abs(value) > _INTEGER_LIMIT:
        raise RecipeError(f"{where}: must lie between -2^53 and 2^53")
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise RecipeError(f"{where}: must be finite, not {value}")
    if type(value) is not wanted:
        raise RecipeError(
            f"{where}: expected {wanted.__name__}, got {type(value).__name__} {value!r}"
        )
    return value


def _table(cls: type, values: Any, where: str) -> Any:
    """Dataclass from a TOML table; nested dataclasses are nested tables."""
    if not isinstance(values, dict):
        raise RecipeError(f"{where}: expected a table, got {values!r}")
    hints = get_type_hints(cls)
    keys = {f.name for f in dataclasses.fields(cls)} - {"text", "own"}
    arguments: dict[str, Any] = {}
    if cls is MethodConfig:
        try:
            arguments["own"] = own_of(values)
        except ValueError as error:
            raise RecipeError(str(error)) from error
        keys |= arguments["own"].keys()
    for key, value in values.items():
        path = f"{where}.{key}" if where else key
        if key not in keys:
            raise RecipeError(f"{path}: unknown key; known here: {', '.join(sorted(keys))}")
        if key in arguments.get("own", {}):
            continue
        if dataclasses.is_dataclass(hints[key]):
            arguments[key] = _table(hints[key], value, path)
        else:
            arguments[key] = _convert(value, hints[key], path)
    try:
        made = cls(**arguments)
        if isinstance(made, MethodConfig):
            check_given(made, values)
        return made
    except (TypeError, ValueError) as error:
        if isinstance(error, RecipeError):
            raise
        text = str(error)
        if text.startswith("phase: "):  # which does not know its name
            text = where + text.removeprefix("phase")
        raise RecipeError(text) from error


@dataclass(frozen=True)
class Begun:
    """What a fine-tuning's recipe is completed with: its `start`, and the recipe that made that."""

    start: StartConfig
    recipe: Recipe


def parse(text: str, begun: Begun | None = None) -> Recipe:
    """Recipe from TOML text; with a ticket that is to be trained on, completed with its facts.

    The network and the held-out images are the ticket's, so that nothing is judged by images that
    it has been trained on, and so is the T of a phase that says none.
    """
    values = _values(text)
    if begun is not None:
        _complete(values, begun)
    recipe: Recipe = _table(Recipe, values, "")
    return dataclasses.replace(recipe, text=text)


def _values(text: str) -> dict[str, Any]:
    try:
        return parse_toml(text)
    except ValueError as error:
        raise RecipeError(str(error)) from error


def _complete(values: dict[str, Any], begun: Begun) -> None:
    network, data = begun.recipe.network, begun.recipe.data
    given = {key: values.get(key, {}) for key in ("start", "data", "dense", "round", "final")}
    for key, table in given.items():
        if not isinstance(table, dict):
            raise RecipeError(f"{key}: expected a table, got {table!r}")
    if given["start"].get("digest"):
        raise RecipeError("start: is of a run that has begun; a recipe says its source alone")
    values["start"] = dataclasses.asdict(begun.start)
    values["network"] = dataclasses.asdict(network)
    values["data"] = {**given["data"], "name": data.name, "validation": data.validation}
    for phase in PHASES:
        values[phase] = {"timesteps": network.timesteps, **given[phase]}


def sources(path_or_name: str | Path) -> tuple[str, str]:
    """The ticket and the teacher that a recipe names; empty where it names none.

    Its tables are judged with the ticket's facts, so only these two are read.
    """
    values = _values(read_text(_find(path_or_name)))
    tables = (values.get(name) for name in ("start", "teacher"))
    found = [table.get("source", "") if isinstance(table, dict) else "" for table in tables]
    start, teacher = (source if isinstance(source, str) else "" for source in found)
    return start, teacher


def shipped() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def load(path_or_name: str | Path, begun: Begun | None = None) -> Recipe:
    """Recipe from a file, or by the name of one that is shipped (``vgg16-small``).

    begun : as in `parse`.
    """
    path = _find(path_or_name)
    try:
        return parse(read_text(path), begun)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from error


def _find(path_or_name: str | Path) -> Path:
    """The file of a recipe; raises RecipeError where there is none."""
    path = Path(path_or_name)
    if not path.suffix and not path.exists():
        path = RECIPES / f"{path_or_name}.toml"
    if not path.is_file():
        raise RecipeError(
            f"{path_or_name}: no such recipe; give a .toml file, or one of {', '.join(shipped())}"
        )
    return path


__all__ = ["LIFParameters", "Recipe", "RecipeError", "load", "parse"]
