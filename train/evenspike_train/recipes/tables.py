"""Tables of a recipe that are of no other part: each checks its own values."""

from __future__ import annotations

from dataclasses import dataclass

LOSSES = ("cross-entropy", "rate")
"""What is made small: the cross-entropy of each timestep, or how far the rates of the output's
neurons are from 1 for the label and 0 for the others (ADMM, Eq. 3)."""

SCHEDULES = ("cosine", "onecycle", "tenths", "halves")
"""How the learning rate goes within a phase."""

PRECISIONS = ("bf16", "fp32", "sparse-bf16")


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
    first rises to it over the share ``warmup`` of the phase; ``"tenths"`` divides it by 10 after
    62.5, 75 and 87.5 % of the phase, ``"halves"`` by 2 after 60, 80 and 90 % (AGC, section IV-A).
    ``loss``: one of `LOSSES`.
    """

    name: str = "sgd"
    batch: int = 64
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    schedule: str = "onecycle"
    warmup: float = 0.1
    loss: str = "cross-entropy"

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
        if self.schedule not in SCHEDULES:
            raise ValueError(
                f"optimizer: schedule must be one of {', '.join(SCHEDULES)}, not {self.schedule!r}"
            )
        if self.loss not in LOSSES:
            raise ValueError(f"optimizer: loss must be one of {LOSSES}, not {self.loss!r}")
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
    activity : factor of the mean firing rate, per neuron and timestep over all layers but the
        last, that is added to the loss (ADMM, Eq. 15); 0 means none.
    optimizer, schedule : in place of the run's `OptimizerConfig.name` and `.schedule`; empty for
        those.
    """

    images: int = 0
    timesteps: int = 4
    lr: float = 0.1
    label_smoothing: float = 0.0
    ema: float = 0.0
    cutout: int = 0
    activity: float = 0.0
    optimizer: str = ""
    schedule: str = ""

    def __post_init__(self) -> None:
        if self.optimizer not in ("", "sgd", "adam"):
            raise ValueError(f"phase: optimizer must be sgd or adam, not {self.optimizer!r}")
        if self.schedule and self.schedule not in SCHEDULES:
            raise ValueError(
                f"phase: schedule must be one of {', '.join(SCHEDULES)}, not {self.schedule!r}"
            )
        if self.images < 0:
            raise ValueError(f"phase: images must not be negative: {self.images}")
        if self.timesteps < 1:
            raise ValueError(f"phase: timesteps must be at least 1, not {self.timesteps}")
        if self.lr <= 0:
            raise ValueError(f"phase: lr must be positive, not {self.lr}")
        for name in ("label_smoothing", "ema"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"phase: {name} must lie in [0, 1), not {getattr(self, name)}")
        for name in ("cutout", "activity"):
            if getattr(self, name) < 0:
                raise ValueError(f"phase: {name} must not be negative: {getattr(self, name)}")


@dataclass(frozen=True)
class ComputeConfig:
    """How it is computed, and how often state is saved.

    ``precision``: "bf16" (autocast), "fp32", or "sparse-bf16": float32 until a CPU skips the pruned
    weights, which is the faster where a CPU has no bfloat16 arithmetic.
    ``checkpoint_epochs``: also at the end of each epoch.
    ``round_validation`` images are looked at after each round, all of them at the end;
    ``final_validations`` times they are in the final phase, evenly spread: the points of its curve.
    ``sparse_below``: on a CPU not in fp32, train on the living weights alone once they need
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
        if self.precision not in PRECISIONS:
            raise ValueError(
                f"compute: precision must be one of {', '.join(PRECISIONS)}, not {self.precision!r}"
            )
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
    accuracy : percent of `tested` test images that its integers get right.
    tested : 0 where that is not known.
    """

    source: str = ""
    digest: str = ""
    sparsity: float = 0.0
    accuracy: float = 0.0
    tested: int = 0

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
