"""What the balance after a pruning takes at full width, to stand beside a round of training."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import nn

from benchmarks.training import problem, with_evenspike
from evenspike_core import data as dataset
from evenspike_train import networks
from evenspike_train.data import Split
from evenspike_train.runs import probe
from evenspike_train.tickets import MethodConfig, masks
from evenspike_train.tickets.cycle_aware import CycleBalance
from evenspike_train.tickets.magnitude import prune_to
from evenspike_train.tickets.u_ticket import WeightBalance

SPARSITY = 0.976  # after 13 rounds
WARM_UP = 3  # batches that batch norm sees, so that every layer fires


class Balance:
    """Answers as a worker does; its step is one update of the masks by either balance."""

    def __init__(self) -> None:
        subject = with_evenspike.build(channels_last=True, bf16=True)
        images, labels = (torch.from_numpy(array) for array in dataset.shipped())
        for module in subject.module.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # the statistics of the steps below, and nothing else
                module.reset_running_stats()
        subject.module.train()
        with torch.no_grad():
            for part in images.split(16)[:WARM_UP]:  # type: ignore[no-untyped-call]
                subject.forward(part, None)
        self.order = torch.arange(probe.PROBE_IMAGES) % len(images)
        self.images = Split(images, labels.long())
        self.model: networks.SpikingNetwork = subject.module  # type: ignore[assignment]
        self.weights = masks.originals(self.model)
        self.pruned = prune_to(self.weights, masks.read(self.model), SPARSITY)

    def step(self) -> dict[str, Any]:
        """CPU seconds of each balance, and of what cycle-aware measures before."""
        clock = [time.process_time()]
        drawn = torch.Generator().manual_seed(0)
        WeightBalance(MethodConfig()).even(self.weights, self.pruned, drawn)
        clock.append(time.process_time())
        work = probe.NetworkProbe(
            self.model, problem.TIMESTEPS, self.images, self.order
        ).weight_work()
        clock.append(time.process_time())
        CycleBalance(MethodConfig(name="cycle-aware"), work).even(self.weights, self.pruned, drawn)
        clock.append(time.process_time())
        active = sum(bool(layer.expected.any()) for layer in work.values()) / len(work)
        return {
            "u_ticket": clock[1] - clock[0],
            "cycle_aware_probe": clock[2] - clock[1],
            "cycle_aware_balance": clock[3] - clock[2],
            "layers_active": active,
        }
