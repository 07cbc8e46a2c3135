"""Pruning followed by balancing, which is the same whatever is pruned by and made even."""

from __future__ import annotations

from abc import abstractmethod

import torch

from evenspike_train.tickets.balance import Balance
from evenspike_train.tickets.base import Method, Probe, RoundReport, WeightMasks, Weights
from evenspike_train.tickets.cycle_aware import CycleBalance
from evenspike_train.tickets.magnitude import count_alive, prune_to
from evenspike_train.tickets.u_ticket import WeightBalance


class BalancedMethod(Method):
    """A pruning by rank, then the balance of the recipe."""

    def importance(self, weights: Weights, generator: torch.Generator, probe: Probe) -> Weights:
        """Return what weights are ranked by, by layer; the smallest absolute value goes first."""
        return weights

    @abstractmethod
    def prune(
        self, importance: Weights, masks: WeightMasks, carried: WeightMasks, last: bool
    ) -> WeightMasks:
        """Return the masks after a pruning, within `carried`."""

    def _balance(self, probe: Probe) -> Balance | None:
        kind = self.config.balancing
        if kind == "weights":
            return WeightBalance(self.config)
        return CycleBalance(self.config, probe.weight_work()) if kind == "cycles" else None

    def update(
        self,
        weights: Weights,
        masks: WeightMasks,
        carried: WeightMasks,
        generator: torch.Generator,
        last: bool,
        probe: Probe,
    ) -> RoundReport:
        importance = self.importance(weights, generator, probe)
        pruned = self.prune(importance, masks, carried, last)
        balance = self._balance(probe)
        if balance is None:
            return RoundReport(pruned, pruned, {})
        balanced = balance.even(importance, pruned, generator)
        if last and self.config.sparsity:
            balanced = self._meet_sparsity(balance, importance, pruned, balanced, generator)
        figures = {
            "evenness_before": balance.evenness(pruned),
            "evenness": balance.evenness(balanced),
            "recovered": sum(int((balanced[n] & ~pruned[n]).sum()) for n in pruned),
            "removed": sum(int((pruned[n] & ~balanced[n]).sum()) for n in pruned),
        }
        # In the authors' code what a balance recovers is trained for a round and ranked at its end,
        # but the pruning is then cut down to the mask from before the balance.
        carried = balanced if self.config.carry == "paper" else pruned
        return RoundReport(balanced, carried, figures)

    def _meet_sparsity(
        self,
        balance: Balance,
        importance: Weights,
        pruned: WeightMasks,
        balanced: WeightMasks,
        generator: torch.Generator,
    ) -> WeightMasks:
        """Balancing may add weights: prune a little further until the target holds.

        With the scope "local" it holds in every layer.
        """
        scopes = [[name] for name in pruned] if self.config.scope == "local" else [list(pruned)]
        for _ in range(20):
            further: WeightMasks = {}
            for names in scopes:
                part = {name: pruned[name] for name in names}
                total = sum(mask.numel() for mask in part.values())
                excess = count_alive({name: balanced[name] for name in names})
                excess -= int((1 - self.config.sparsity) * total)
                if excess > 0:
                    left = max(count_alive(part) - excess, 0)
                    further |= prune_to(importance, part, 1 - left / total)
            if not further:
                return balanced
            pruned = pruned | further
            balanced = balance.even(importance, pruned, generator)
        return balance.even(importance, pruned, generator, sparser=True)
