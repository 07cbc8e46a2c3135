"""One framework in a process of its own: answers the commands of `benchmarks.training`.

    python -m benchmarks.training.worker FRAMEWORK|floor|balance BATCH [channels_last] [bf16]

Reads one command a line, answers each with one line of JSON.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.training import problem
from benchmarks.training.floor import Floor
from benchmarks.training.problem import Subject


class Worker:
    """Trains the problem's network, a step a command."""

    def __init__(self, framework: str, path: Path, options: list[str]) -> None:
        torch.set_num_threads(1)
        self.framework = framework
        self.module = importlib.import_module(f"benchmarks.training.with_{framework}")
        self.options = {name: name in options for name in ("channels_last", "bf16")}
        images, self.labels = problem.batch(path)
        # Ours scales by itself.
        self.images = images if framework == "evenspike" else images / problem.PIXEL_SCALE
        self.subject = self._build()

    def _build(self) -> Subject:
        subject: Subject = self.module.build(**self.options)
        subject.module.train()
        return subject

    def version(self) -> dict[str, Any]:
        return {
            "version": importlib.metadata.version(self.framework),
            "torch": torch.__version__,
        }

    def step(self) -> dict[str, Any]:
        """Forward, loss, backward, update; seconds by the wall's and by the process's clock."""
        wall, cpu = time.perf_counter(), time.process_time()
        logits = self.subject.forward(self.images, None)
        loss = problem.loss(logits, self.labels)
        loss.backward()  # type: ignore[no-untyped-call]
        self.subject.optimizer.step()
        self.subject.optimizer.zero_grad(set_to_none=True)
        value = float(loss.detach())
        return {
            "wall": time.perf_counter() - wall,
            "cpu": time.process_time() - cpu,
            "loss": value,
        }

    def forget_peak(self) -> dict[str, Any]:
        """Count the peak of memory from here: what compiling took at first is not a step's."""
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        return {}

    def peak(self) -> dict[str, Any]:
        """Largest resident memory of this process, in MB.

        From /proc, since what `getrusage` says begins with the parent's.
        """
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return {"peak_rss_mb": int(line.split()[1]) * 1024 / 1e6}
        raise RuntimeError("/proc/self/status has no VmHWM")

    def check(self, path: str) -> dict[str, Any]:
        """Loss, spikes and gradient from the first weights; the last two go into a file."""
        subject = self._build()
        record: list[torch.Tensor] = []
        loss = problem.loss(subject.forward(self.images, record), self.labels)
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = [p.grad for p in subject.module.parameters() if p.dim() == 4]
        np.savez(
            path,
            spikes=np.concatenate([np.packbits(s.float().numpy() != 0) for s in record]),
            gradient=torch.cat([g.flatten() for g in gradients if g is not None]).numpy(),
        )
        return {
            "loss": float(loss.detach()),
            "neuron_steps": sum(s.numel() for s in record),
            "firing_rate": sum(float(s.sum()) for s in record) / sum(s.numel() for s in record),
        }


def main(arguments: list[str]) -> None:
    # Answers go where stdout was; what a library prints must not come between.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    framework, path, *options = arguments
    worker: Any
    if framework == "balance":
        from benchmarks.training.balance import Balance

        worker = Balance()
    elif framework == "floor":
        worker = Floor(len(problem.batch(Path(path))[1]))
    else:
        worker = Worker(framework, Path(path), options)
    for line in sys.stdin:
        name, *rest = line.split()
        answers.write(json.dumps(getattr(worker, name)(*rest)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
