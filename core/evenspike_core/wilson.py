"""Wilson's score interval: how well so many images can tell an accuracy."""

from __future__ import annotations

import math

Z = 1.959963984540054
"""Of the normal distribution: 95 % lie within so many standard deviations."""


def wilson(right: float, of: int) -> list[float]:
    """Wilson's 95 % score interval of a share, [low, high]: unlike right ± z·s it stays in 0 to 1.

    of: how many there were, at least 1.
    """
    share = right / of
    centre = share + Z**2 / (2 * of)
    spread = Z * math.sqrt(share * (1 - share) / of + Z**2 / (4 * of**2))
    scale = 1 + Z**2 / of
    return [max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)]
