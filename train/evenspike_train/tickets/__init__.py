"""Ways to a ticket (a sparse mask that trains well), behind one interface.

A method is a schedule of rounds, an update of the masks at the end of each round,
and a rule for what the weights are rewound to.  The trainer knows only this
interface; a method is added by writing one file and naming it in `METHODS`.
"""

from __future__ import annotations

from evenspike_train.tickets.base import Method, MethodConfig, RoundReport
from evenspike_train.tickets.imp import Dense, IterativeMagnitude
from evenspike_train.tickets.u_ticket import UTicket

METHODS: dict[str, type[Method]] = {
    "dense": Dense,
    "imp": IterativeMagnitude,
    "u-ticket": UTicket,
}


def build(config: MethodConfig) -> Method:
    """The method a recipe names."""
    return METHODS[config.name](config)


__all__ = ["METHODS", "Method", "MethodConfig", "RoundReport", "build"]
