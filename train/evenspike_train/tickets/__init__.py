"""Ways to a ticket (a sparse mask that trains well), behind one interface.

A method is a schedule of rounds, an update of the masks at the end of each round,
and a rule for what the weights are rewound to.  The trainer knows only this
interface; a method is added by writing one class and naming it here and in `OPTIONS`.
"""

from __future__ import annotations

from evenspike_train.tickets.base import Method, Probe, RoundReport, WeightWork
from evenspike_train.tickets.config import MethodConfig
from evenspike_train.tickets.imp import IterativeMagnitude, Transferred
from evenspike_train.tickets.one_shot import Dense, EarlyBird, Held, Random, Snip

METHODS: dict[str, type[Method]] = {
    "dense": Dense,
    "held": Held,
    "random": Random,
    "snip": Snip,
    "imp": IterativeMagnitude,
    "u-ticket": IterativeMagnitude,  # what these two balance follows from their name
    "cycle-aware": IterativeMagnitude,
    "early-bird": EarlyBird,
    "transferred": Transferred,
}


def build(config: MethodConfig) -> Method:
    """The method a recipe names."""
    return METHODS[config.name](config)


__all__ = ["METHODS", "Method", "MethodConfig", "Probe", "RoundReport", "WeightWork", "build"]
