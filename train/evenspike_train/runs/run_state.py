"""What a run goes on from: the network in training and where it is, in one file.

The file is replaced as a whole, and checked when it is read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evenspike_core.errors import EvenspikeError
from evenspike_train.networks import NetworkConfig, SpikingNetwork
from evenspike_train.runs import checkpoint
from evenspike_train.runs.distributed import Team
from evenspike_train.runs.schedule import Phase
from evenspike_train.tickets import Method
from evenspike_train.tickets import masks as weight_masks

FILE = "state.pt"
SNAPSHOT = "snapshot.pt"

_FIELDS: checkpoint.Fields = {
    "model": dict,
    "optimizer": dict,
    "carried": dict,
    "ema": (dict, type(None)),
    "phase_index": int,
    "step": int,
    "images_seen": int,
    "seconds": (int, float),
    "phase_start": (int, float),
    "early_timesteps": (int, type(None)),
    "search": dict,
    "log_bytes": int,
}
PLAIN = _FIELDS.keys() - {"model", "optimizer", "search", "log_bytes"}
"""Fields that are attributes of `RunState` by the same names."""


class RunState:
    """The network, its optimiser and masks, and how far the run is.

    `optimizer` is made anew at each new mask, by `make`; `snapshot` is empty until it is taken,
    `ema` (the running average of the weights) until a phase asks for one. `carried` are the masks
    that the method carries on. `early_timesteps` are those that Early-Time has chosen. `seconds`
    are those of all processes that trained here, `phase_start` theirs when the phase began.
    """

    def __init__(
        self,
        folder: Path,
        model: SpikingNetwork,
        make: Callable[[Phase], torch.optim.Optimizer],
        method: Method,
        phases: Sequence[Phase],
        team: Team,
    ) -> None:
        self.folder, self.team = folder, team
        self.model, self.method, self.phases = model, method, phases
        self._make = make
        self.optimizer = make(phases[0])
        self.carried = weight_masks.read(model)
        self.snapshot: dict[str, Tensor] = {}
        self.ema: dict[str, Tensor] | None = None
        self.phase_index, self.step, self.images_seen = 0, 0, 0
        self.seconds, self.phase_start = 0.0, 0.0
        self.early_timesteps: int | None = None
        self._clock = self._saved_at = time.monotonic()

    @property
    def phase(self) -> Phase:
        """The phase that is trained, the last one when all are."""
        return self.phases[min(self.phase_index, len(self.phases) - 1)]

    def remake_optimizer(self, phase_index: int) -> None:
        """A fresh optimiser, that of a phase."""
        self.optimizer = self._make(self.phases[min(phase_index, len(self.phases) - 1)])

    def next_phase(self) -> None:
        """The phase has ended; an average of its weights says nothing about the next's."""
        self.phase_index += 1
        self.step, self.phase_start, self.ema = 0, self.seconds, None

    def tick(self) -> None:
        """Count the time since the last call."""
        now = time.monotonic()
        self.seconds += now - self._clock
        self._clock = now

    def unsaved(self) -> float:
        """Seconds since the last checkpoint."""
        return time.monotonic() - self._saved_at

    def weights(self) -> dict[str, Tensor]:
        """The model's state dict, to be kept; raises EvenspikeError where it is not finite."""
        weights: dict[str, Tensor] = self.model.state_dict()
        check_finite(weights, f"{self.phase.name}, step {self.step}")
        return weights

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """Replace a file of the run; the first process of a team does."""
        if self.team.leads:
            checkpoint.write(self.folder / name, content)

    def take_snapshot(self) -> None:
        """Keep the weights to rewind to."""
        self.keep_snapshot({k: v.clone() for k, v in self.weights().items()})

    def keep_snapshot(self, weights: dict[str, Tensor]) -> None:
        """Keep these as the weights to rewind to."""
        self.snapshot = weights
        self.write(SNAPSHOT, weights)

    @torch.no_grad()
    def average(self, decay: float) -> None:
        """Running average of parameters and batch-norm statistics."""
        state = self.model.state_dict()
        if self.ema is None:
            self.ema = {k: v.clone() for k, v in state.items() if v.is_floating_point()}
            return
        # The first steps count for more, so that the start is forgotten quickly.
        decay = min(decay, (1 + self.step) / (10 + self.step))
        names = list(self.ema)
        torch._foreach_lerp_([self.ema[n] for n in names], [state[n] for n in names], 1 - decay)

    def save(self, log_bytes: int) -> None:
        """Replace the state file; what lies there stays where this raises EvenspikeError."""
        self.tick()
        self.write(
            FILE,
            {
                "model": self.weights(),
                "optimizer": self.optimizer.state_dict(),
                "search": self.method.state(),
                "log_bytes": log_bytes,
                **{name: getattr(self, name) for name in PLAIN},
            },
        )
        self._saved_at = time.monotonic()

    def resume(self, snapshot_step: int) -> int | None:
        """Go on from the folder's state, if there is one; returns the length of its log.

        snapshot_step : of the first phase, at which the snapshot is taken.

        Raises EvenspikeError, naming file and field, for one that is damaged or another run's.
        """
        path = self.folder / FILE
        if not path.is_file():
            return None
        expected, network = self.model.state_dict(), self.model.config
        device = next(self.model.parameters()).device
        found = read(path, expected, self.carried, len(self.phases), network, device)
        self.model.load_state_dict(found["model"])
        self.remake_optimizer(found["phase_index"])
        load_optimizer(path, self.optimizer, found["optimizer"])
        try:
            self.method.load_state(found["search"], self.carried)
        except ValueError as error:
            raise EvenspikeError(f"{path}: search: {error}") from error
        for field in PLAIN:
            setattr(self, field, found[field])
        path = self.folder / SNAPSHOT
        if path.is_file():
            self.snapshot = checkpoint.read(path, {}, device)
            checkpoint.check_tensors(str(path), self.snapshot, expected, describe(network))
        elif self.phase_index or self.step > snapshot_step:
            raise EvenspikeError(f"{path}: no such file, but the run is past where it takes one")
        self._clock = time.monotonic()
        return int(found["log_bytes"])


def check_finite(tensors: Mapping[str, Tensor], where: str) -> None:
    """Raise EvenspikeError for weights that must not be kept, as no run could go on from them."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise EvenspikeError(
                f"{where}: {name} holds values that are not finite; lower the learning rate"
            )


def read(
    path: Path,
    model: Mapping[str, Tensor],
    carried: Mapping[str, Tensor],
    phases: int,
    network: NetworkConfig,
    device: torch.device,
) -> dict[str, Any]:
    """Content of a state file that fits the run.

    Parameters
    ----------
    model, carried : the run's own state dict and masks, which the file's must be like.
    phases : how many the run has.

    Raises EvenspikeError, naming file and field, for one that is damaged or another run's.
    """
    state = checkpoint.read(path, _FIELDS, device)
    averaged = {k: v for k, v in model.items() if v.is_floating_point()}
    name = describe(network)
    checkpoint.check_tensors(f"{path}: model", state["model"], model, name)
    checkpoint.check_tensors(f"{path}: carried", state["carried"], carried, name)
    if state["ema"] is not None:
        checkpoint.check_tensors(f"{path}: ema", state["ema"], averaged, name)
    for field, limit in (("phase_index", phases), ("step", 1 << 53), ("log_bytes", 1 << 53)):
        if not 0 <= state[field] < limit:
            raise EvenspikeError(f"{path}: {field} is {state[field]}")
    early = state["early_timesteps"]
    if early is not None and not 2 <= early <= network.timesteps:
        raise EvenspikeError(f"{path}: early_timesteps is {early}")
    return state


def describe(network: NetworkConfig) -> str:
    """A network in words, for messages."""
    return f"{network.name} of width {network.width}"


def load_optimizer(path: Path, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Give an optimiser its state; raises EvenspikeError, naming the file, for one that misfits."""
    try:
        optimizer.load_state_dict(state)
        wrong = [
            name
            for parameter, moments in optimizer.state.items()
            for name, value in moments.items()
            if isinstance(value, Tensor) and value.dim() and value.shape != parameter.shape
        ]
    except Exception as error:  # it checks little itself, and fails in many ways
        reason = checkpoint.first_line(error)
        raise EvenspikeError(f"{path}: optimizer: {reason}") from error
    if wrong:
        raise EvenspikeError(f"{path}: optimizer: {wrong[0]} has the wrong shape")
