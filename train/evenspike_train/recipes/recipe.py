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
from evenspike_train.networks import IMAGE_SIZE, NetworkConfig
from evenspike_train.networks.source import names_a_source
from evenspike_train.tickets import MethodConfig, fit, known
from evenspike_train.tickets.options import check_given, own_of

RECIPES = Path(__file__).parent

_INTEGER_LIMIT = 2**53
_TIMESTEPS_MAX = 128  # to train; what a Program holds is fewer (`programs.impossible`)
_WIDTH_MAX = 512


class RecipeError(EvenspikeError):
    """A recipe that cannot be run, with the table and key at fault."""


@dataclass(frozen=True)
class DataConfig:
    """``name`` of the data set; ``validation`` training images are held out.

    ``train`` of the others are used; 0 means all.
    """

    name: str = "fmnist"
    validation: int = 5000
    train: int = 0


@dataclass(frozen=True)
class OptimizerConfig:
    """``name`` "sgd" (with momentum, optionally Nesterov) or "adam" (decoupled weight decay).

    Weight decay spares batch norm and biases.  Adam gets further in a short budget
    of images, SGD in a long one.
    ``schedule``: ``"cosine"`` falls from the phase's learning rate to 0; ``"onecycle"``
    first rises to it over the share ``warmup`` of the phase.
    """

    name: str = "sgd"
    batch: int = 64
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    schedule: str = "onecycle"
    warmup: float = 0.1

    def __post_init__(self) -> None:
        if self.name not in ("sgd", "adam"):
            raise ValueError(f"optimizer: name must be sgd or adam, not {self.name!r}")
        if self.batch < 1:
            raise ValueError(f"optimizer: batch must be at least 1, not {self.batch}")
        if not 0.0 <= self.momentum < 1.0:
            raise ValueError(f"optimizer: momentum must lie in [0, 1), not {self.momentum}")
        if self.name == "sgd" and self.nesterov and not self.momentum:
            raise ValueError("optimizer: nesterov needs a momentum above 0")
        if self.weight_decay < 0:
            raise ValueError(
                f"optimizer: weight_decay must not be negative, not {self.weight_decay}"
            )
        if self.schedule not in ("cosine", "onecycle"):
            raise ValueError(
                f"optimizer: schedule must be cosine or onecycle, not {self.schedule!r}"
            )
        if not 0.0 <= self.warmup < 1.0:
            raise ValueError(f"optimizer: warmup must lie in [0, 1), not {self.warmup}")


@dataclass(frozen=True)
class PhaseConfig:
    """One stretch of training under its own learning-rate schedule.

    Parameters
    ----------
    images : images to pass, forward and backward (not epochs: a phase may be shorter
        than one epoch).
    timesteps : T of this phase.
    lr : peak learning rate.
    label_smoothing : of the cross-entropy.
    ema : decay per step of the running average of the weights; 0 means none.
    cutout : side of the square that is blanked, in pixels; 0 means none.
    """

    images: int = 0
    timesteps: int = 4
    lr: float = 0.1
    label_smoothing: float = 0.0
    ema: float = 0.0
    cutout: int = 0

    def __post_init__(self) -> None:
        if self.images < 0:
            raise ValueError(f"phase: images must not be negative: {self.images}")
        if self.timesteps < 1:
            raise ValueError(f"phase: timesteps must be at least 1, not {self.timesteps}")
        if self.lr <= 0:
            raise ValueError(f"phase: lr must be positive, not {self.lr}")
        for name in ("label_smoothing", "ema"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"phase: {name} must lie in [0, 1), not {getattr(self, name)}")
        if self.cutout < 0:
            raise ValueError(f"phase: cutout must not be negative: {self.cutout}")


@dataclass(frozen=True)
class ComputeConfig:
    """How it is computed: ``precision`` "bf16" (autocast) or "fp32", and how often state is saved.

    ``checkpoint_epochs``: also at the end of each epoch.
    ``round_validation`` images are looked at after each round, all of them at the end;
    ``final_validations`` times they are in the final phase, evenly spread: the points of its curve.
    ``sparse_below``: on a CPU in bf16, train on the living weights alone once they need
    less than this share of the dense network's multiply-accumulates; 0 means never.
    ``round_cycles_images``: validation images that the cycle model runs after each round; 0 for
    none.
    """

    precision: str = "bf16"
    checkpoint_seconds: float = 120.0
    checkpoint_epochs: bool = True
    round_validation: int = 1000
    final_validations: int = 0
    sparse_below: float = 0.15
    round_cycles_images: int = 2

    def __post_init__(self) -> None:
        if self.precision not in ("bf16", "fp32"):
            raise ValueError(f"compute: precision must be bf16 or fp32, not {self.precision!r}")
        if self.round_validation < 1:
            raise ValueError(
                f"compute: round_validation must be at least 1, not {self.round_validation}"
            )
        for name in (
            "checkpoint_seconds",
            "final_validations",
            "sparse_below",
            "round_cycles_images",
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"compute: {name} must not be negative: {getattr(self, name)}")


@dataclass(frozen=True)
class StartConfig:
    """The trained network that a fine-tuning begins with; empty for a run from initialisation.

    A recipe names no more than its `source`, if anything; `evenspike finetune` adds the rest.

    Parameters
    ----------
    source : a shipped ticket, a file or a folder, which the command may replace by another.
    digest : SHA-256 of what it was read from.
    sparsity : share of its weights that are gone.
    accuracy : percent of the test images that its integers get right; 0 where it is not known.
    """

    source: str = ""
    digest: str = ""
    sparsity: float = 0.0
    accuracy: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.sparsity < 1.0:
            raise ValueError(f"start: sparsity must lie in [0, 1), not {self.sparsity}")


@dataclass(frozen=True)
class TeacherConfig:
    """Distillation: the network whose answers the final phase is trained with, beside the labels.

    Parameters
    ----------
    source, digest : as in `StartConfig`; empty for none, or until the command names one.
    weight : share of its loss; the labels have the rest.
    temperature : by which the logits of both are divided.
    """

    source: str = ""
    digest: str = ""
    weight: float = 0.5
    temperature: float = 2.0

    def __post_init__(self) -> None:
        if not 0.0 < self.weight <= 1.0:
            raise ValueError(f"teacher: weight must lie in (0, 1], not {self.weight}")
        if self.temperature <= 0:
            raise ValueError(f"teacher: temperature must be positive, not {self.temperature}")


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
            {"dense": self.dense.timesteps, "round": self.round.timesteps},
            self.network.timesteps,
            self._start_sparsity,
        )
        self._check_network()
        self._check_augmentation()
        for name in ("dense", "round", "final"):
            phase: PhaseConfig = getattr(self, name)
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
        if not own and not data.frames and data.side != IMAGE_SIZE:
            raise ValueError(
                f"network: {network.name} takes still images of {IMAGE_SIZE}x{IMAGE_SIZE} pixels, "
                f"but {data.name} has {list(data.shape)}"
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
            *(("phase", "cutout", phase.cutout) for phase in (self.dense, self.round, self.final)),
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
        raise RecipeError(str(error)) from error


def parse(text: str, start: StartConfig | None = None) -> Recipe:
    """Recipe from TOML text; with the start of a fine-tuning, one that is to go on from it."""
    try:
        values = parse_toml(text)
    except ValueError as error:
        raise RecipeError(str(error)) from error
    if start is not None:
        if isinstance(values.get("start", {}), dict) and values.get("start", {}).get("digest"):
            raise RecipeError("start: is of a run that has begun; a recipe says its source alone")
        values["start"] = dataclasses.asdict(start)
    recipe: Recipe = _table(Recipe, values, "")
    return dataclasses.replace(recipe, text=text)


def shipped() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def load(path_or_name: str | Path, start: StartConfig | None = None) -> Recipe:
    """Recipe from a file, or by the name of one that is shipped (``vgg16-small``).

    start : as in `parse`.
    """
    path = Path(path_or_name)
    if not path.suffix and not path.exists():
        path = RECIPES / f"{path_or_name}.toml"
    if not path.is_file():
        raise RecipeError(
            f"{path_or_name}: no such recipe; give a .toml file, or one of {', '.join(shipped())}"
        )
    text = read_text(path)
    try:
        return parse(text, start)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from error


__all__ = ["LIFParameters", "Recipe", "RecipeError", "load", "parse"]
