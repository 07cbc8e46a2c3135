"""Profiles: when the work of a filter comes, not only how much of it.

Every activation is sent to all PEs at once, and a FIFO of limited depth is all that a PE may lag
behind.  Filters of equal total cost still hold each other up if one has its work on channels that
are busy now and its neighbours on channels that are busy later, or in other images.  The profile of
a filter is its work in each of many *windows*, a row of the input in one image each; filters whose
profiles are alike keep pace, whatever the image.

Here weights of a filter change place, one at a time, each change the one that brings the filter's
profile nearest to the mean of its group (a greedy least-squares fit).  This goes beyond the papers.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def align(
    rows: Flags,
    windows: Floats,
    group: npt.NDArray[np.int64],
    limits: npt.NDArray[np.int64],
    removable: Flags,
    lot: Floats,
    products: npt.NDArray[np.float32],
) -> None:
    """Bring the profiles of a group's filters together; changes `rows` in place.

    Counts are integers and so is everything here (profiles are scaled by the group's size), which
    makes the result independent of the order in which a processor adds.

    Parameters
    ----------
    rows : masks of all filters, [filters, weights].
    windows : cycles that each weight takes in each window, whole numbers, [windows, weights].
    group : the filters that run side by side.
    limits : changes that each filter of the group may make, removals and additions, [group].
    removable : of the group's filters, which weights may go, [group, weights].
    lot : in [0, 1), decides between changes that are worth the same, [group, weights].
    products : ``windows.T @ windows``, [weights, weights]; float32 holds it exactly: a count is
        at most a row's neurons, and there are some hundred windows.
    """
    size, each = group.size, np.diagonal(products).astype(np.float64)
    alive = rows[group]
    profiles = alive.astype(np.float64) @ windows.T
    # size * (what the group has on average - what the filter has), seen by each weight
    missing = (profiles.sum(0) - size * profiles) @ windows
    changed = np.zeros_like(alive)
    active = np.flatnonzero(limits > 0)
    for step in range(int(limits.max(initial=0))):
        active = active[limits[active] > step]
        if not active.size:
            break
        # By how much the squared distance to the mean falls if the weight comes or goes.
        sign = np.where(alive[active], -1.0, 1.0)
        gain = 2 * sign * missing[active] - size * each
        gain[changed[active] | (alive[active] & ~removable[active])] = -np.inf
        best = np.argmax(gain + lot[active] / 2, axis=1)
        better = gain[np.arange(active.size), best] > 0
        active, best = active[better], best[better]
        direction = np.where(alive[active, best], -1.0, 1.0)
        missing[active] -= (size * direction)[:, None] * products[best]
        alive[active, best] ^= True
        changed[active, best] = True
    rows[group] = alive
