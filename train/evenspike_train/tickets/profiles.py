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

import numba
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

NEAR = 0.05
"""Root mean square of a filter's deviations, as a share of the group's mean, that is good enough:
the FIFOs swallow it, and dense filters, which are this near anyway, cost no time."""


@numba.njit(cache=True)
def _fit(
    alive: Flags,
    missing: Floats,
    distance: float,
    enough: float,
    limit: int,
    removable: Flags,
    lot: Floats,
    products: npt.NDArray[np.float32],
    size: float,
) -> None:
    """Change up to `limit` weights of one filter (`alive`, `missing`: in place)."""
    changed = np.zeros_like(alive)
    for _ in range(limit):
        if distance <= enough:
            return
        best, most, gained = -1, 0.0, 0.0
        for weight in range(alive.size):
            if changed[weight] or (alive[weight] and not removable[weight]):
                continue
            sign = -1.0 if alive[weight] else 1.0
            # By how much the squared distance falls if the weight comes or goes.
            gain = 2 * sign * missing[weight] - size * products[weight, weight]
            if gain > 0 and gain + lot[weight] / 2 > most:
                best, most, gained = weight, gain + lot[weight] / 2, gain
        if best < 0:
            return
        step = -size if alive[best] else size
        for weight in range(alive.size):
            missing[weight] -= step * products[best, weight]
        distance -= size * gained
        alive[best] = not alive[best]
        changed[best] = True


def align(
    rows: Flags,
    windows: Floats,
    group: npt.NDArray[np.int64],
    limits: npt.NDArray[np.int64],
    removable: Flags,
    lot: Floats,
    products: npt.NDArray[np.float32],
    near: float = NEAR,
) -> None:
    """Bring the profiles of a group's filters together; changes `rows` in place.

    Counts are integers and so is everything that is compared here (profiles are scaled by the
    group's size), which makes the result independent of the order in which a processor adds.

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
    near : a filter that deviates by no more than this share of the mean is left alone.
    """
    alive = rows[group]
    profiles = alive.astype(np.float64) @ windows.T
    total = profiles.sum(0)
    # group.size * (what the group has on average - what the filter has)
    deviation = total - group.size * profiles
    missing = deviation @ windows
    enough = near**2 * float(total @ total)
    for at in range(group.size):
        distance = float(deviation[at] @ deviation[at])
        _fit(
            *(alive[at], missing[at], distance, enough, limits[at]),
            *(removable[at], lot[at], products, float(group.size)),
        )
    rows[group] = alive
