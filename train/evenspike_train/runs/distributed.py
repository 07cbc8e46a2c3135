"""Data-parallel training: several processes train what one would, started by `torchrun`.

Every process holds the whole data set and the whole network, draws the same batch, and takes its
share of it.  Batch norm sees the statistics of the whole batch (`shared_norm`), gradients are
summed, and what could differ from process to process (new masks, a number of timesteps) is the
leader's.  Sums are taken in another order than by one process, so weights agree to rounding, not
to the bit.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.rendezvous import rendezvous

from evenspike_core.errors import EvenspikeError
from evenspike_train.runs.checkpoint import first_line

_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK")  # what torchrun sets
_TIMEOUT = timedelta(minutes=30)  # the leader alone may load or download for a while


@dataclass(frozen=True)
class Team:
    """The processes of one run, as one of them sees them; without `torchrun` it is alone."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Return whether this process writes files and prints."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """The process's part of `count` images: contiguous, equal to within one."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def sum_gradients(self, model: nn.Module, loss: Tensor) -> float:
        """Sum every gradient over the processes; the sum of their losses."""
        if self.size == 1:
            return float(loss.detach())
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        every = torch.cat([*(g.reshape(-1) for g in gradients), loss.detach().reshape(1)])
        distributed.all_reduce(every)
        start = 0
        for gradient in gradients:
            gradient.copy_(every[start : start + gradient.numel()].view(gradient.shape))
            start += gradient.numel()
        return float(every[-1])

    def follow(self, *states: Mapping[str, Tensor]) -> None:
        """Take over the leader's tensors, in place."""
        if self.size == 1:
            return
        for state in states:
            for tensor in state.values():
                # Bytes, as not every backend knows booleans; contiguous, as all of them ask for.
                sent = tensor.detach().contiguous().clone()
                plain = sent.view(torch.uint8) if sent.dtype == torch.bool else sent
                distributed.broadcast(plain, 0)
                tensor.detach().copy_(sent)

    def follow_number(self, number: int) -> int:
        """The leader's number."""
        if self.size == 1:
            return number
        content = [number]
        distributed.broadcast_object_list(content, 0)
        return content[0]

    def check_same(self, what: str, *values: int) -> None:
        """Raise EvenspikeError, in every process, unless all have the same values; they wait."""
        if self.size == 1:
            return
        found: list[Any] = [None] * self.size
        distributed.all_gather_object(found, values)
        for rank, other in enumerate(found):
            if other != found[0]:
                raise EvenspikeError(
                    f"{what}: process {rank} finds {list(other)}, process 0 {list(found[0])}; "
                    "all processes need the same files"
                )

    def check_batches(self, batch: int, phases: Iterable[tuple[str, int]]) -> None:
        """Raise EvenspikeError for a phase, (name, images), with a batch too small to share."""
        for name, images in phases:
            least = min(batch, images % batch or batch) if images else batch
            if least < self.size:
                raise EvenspikeError(
                    f"{name}: a batch of {least} images cannot be shared by {self.size} processes"
                )


ALONE = Team()


def _variable(name: str) -> int:
    try:
        return int(os.environ[name])
    except (KeyError, ValueError) as error:
        raise EvenspikeError(
            f"{name} is {os.environ.get(name)!r}; torchrun sets {', '.join(_VARIABLES)}"
        ) from error


def launched() -> bool:
    """Return whether this is one of several processes of `torchrun`."""
    return "WORLD_SIZE" in os.environ and _variable("WORLD_SIZE") > 1


def leads() -> bool:
    """Return whether this process is the only one, or writes what the run gives."""
    return not launched() or _variable("RANK") == 0


def device_name(asked: str | None) -> str | None:
    """The GPU of this process, where GPUs are asked for or there by default."""
    if launched() and (asked or ("cuda" if torch.cuda.is_available() else "cpu")) == "cuda":
        return f"cuda:{_variable('LOCAL_RANK')}"
    return asked


@contextmanager
def joined(device: torch.device) -> Iterator[Team]:
    """The processes that `torchrun` started, once all are there: NCCL on GPUs, else Gloo."""
    if not launched():
        yield ALONE
        return
    rank, size = _variable("RANK"), _variable("WORLD_SIZE")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    # torchrun restarts processes on the store of those that died, whose addresses lie in it.
    store, _, _ = next(iter(rendezvous("env://", timeout=_TIMEOUT)))
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    distributed.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=distributed.PrefixStore(f"attempt {attempt}", store),  # type: ignore[attr-defined]
        rank=rank,
        world_size=size,
        timeout=_TIMEOUT,
    )
    try:
        yield Team(rank, size)
    except RuntimeError as error:
        # Gloo raises no type of its own when another process has gone.
        if isinstance(error, distributed.DistError) or "gloo" in str(error):
            reason = first_line(error).partition(". ")[0]
            raise EvenspikeError(f"process {rank} lost the others: {reason}") from error
        raise
    finally:
        distributed.destroy_process_group()
