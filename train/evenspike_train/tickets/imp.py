"""Iterative magnitude pruning, the lottery-ticket baseline (LTH for SNNs, section 3.1).

Each round removes a share of the *living* weights, those of least magnitude, over
convolutions and linear layers together (first convolution and read-out included);
k rounds leave (1 - rate)^k of the weights.  With balancing after every pruning it
is u-Ticket (u-Ticket paper, Algorithm 1).  Searched on the network's twin with
ReLU instead of spiking neurons it gives the transferred ticket (LTH for SNNs,
section 4.3).
"""

from __future__ import annotations

from evenspike_train.tickets.balanced import BalancedMethod
from evenspike_train.tickets.base import (
    ANY_BALANCE,
    BALANCE,
    EARLY_TIME,
    LADDER,
    WeightMasks,
    Weights,
)
from evenspike_train.tickets.magnitude import prune_round, prune_to


class IterativeMagnitude(BalancedMethod):
    """IMP with the rate and scope of the recipe."""

    name = "imp"
    place = 30
    searches = True
    options = LADDER | EARLY_TIME | {"rewind"}
    from_start = True

    def prune(
        self, importance: Weights, masks: WeightMasks, carried: WeightMasks, last: bool
    ) -> WeightMasks:
        config = self.config
        left = prune_round(importance, masks, config.rate, config.scope)
        # Weights that are not carried are counted among the living, and most of them are among the
        # smallest: they take the place of others in this pruning, and go altogether behind it.
        pruned = {name: mask & carried[name] for name, mask in left.items()}
        return prune_to(importance, pruned, config.sparsity, config.scope) if last else pruned


class UTicket(IterativeMagnitude):
    """The same number of weights in each filter of a group, after every pruning."""

    name = "u-ticket"
    place = 60
    options = IterativeMagnitude.options | BALANCE | {"carry"}
    balances = "weights"


class CycleAware(IterativeMagnitude):
    """The same expected cycles for each filter of a group, at the same time."""

    name = "cycle-aware"
    place = 70
    searches = False
    options = UTicket.options | {"exchange"}
    balances = "cycles"


class Transferred(IterativeMagnitude):
    """IMP on the ReLU twin; mask and initial weights go to the spiking network."""

    name = "transferred"
    place = 50
    searches = False
    options = LADDER | ANY_BALANCE | {"carry"}
    on_twin = True
    needs_dense = True
    from_start = False
