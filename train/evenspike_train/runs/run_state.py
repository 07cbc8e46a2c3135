"""What a run goes on from: one file, replaced as a whole, and checked when it is read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evenspike_core import files
from evenspike_core.errors import EvenspikeError
from evenspike_train.networks import NetworkConfig
from evenspike_train.runs import checkpoint

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

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
"""Fields that are attributes of the trainer by the same names."""


def check_finite(tensors: Mapping[str, Tensor], where: str) -> None:
    """Raise EvenspikeError for weights that must not be kept, as no run could go on from them."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise EvenspikeError(
                f"{where}: {name} holds values that are not finite; lower the learning rate"
            )


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Have a run's folder for this process; raises EvenspikeError where another trains in it.

    The system lets go of it when the process ends, however it does.  Without locks (Windows, some
    file systems of networks) nothing is kept from anyone.
    """
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise EvenspikeError(f"{folder}: another process is training in it") from error
            files.clear(folder)
        yield
    finally:
        os.close(handle)


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
