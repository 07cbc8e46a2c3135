"""Ways to a ticket (a sparse mask that trains well), behind one interface.

A method is a schedule of rounds, an update of the masks at the end of each round,
and a rule for what the weights are rewound to.  The trainer knows only this
interface; a method is added by writing one class with a name, here or in a package of one's own
(`registry`).
"""

from __future__ import annotations

from evenspike_train.tickets.admm import Admm, HardCompression
from evenspike_train.tickets.agc import AttentionGuided
from evenspike_train.tickets.base import Method, Place, Probe, RoundReport, WeightWork
from evenspike_train.tickets.config import MethodConfig
from evenspike_train.tickets.imp import CycleAware, IterativeMagnitude, Transferred, UTicket
from evenspike_train.tickets.one_shot import Dense, EarlyBird, Held, Random, Snip
from evenspike_train.tickets.registry import METHODS, find, known


def build(config: MethodConfig) -> Method:
    """The method a recipe names; raises ValueError for a name that there is not."""
    return known(config.name)(config)


__all__ = [
    "METHODS",
    "Admm",
    "AttentionGuided",
    "CycleAware",
    "Dense",
    "EarlyBird",
    "HardCompression",
    "Held",
    "IterativeMagnitude",
    "Method",
    "MethodConfig",
    "Place",
    "Probe",
    "Random",
    "RoundReport",
    "Snip",
    "Transferred",
    "UTicket",
    "WeightWork",
    "build",
    "find",
    "known",
]
