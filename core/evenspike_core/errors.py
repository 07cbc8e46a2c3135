"""The one exception that a user is meant to read."""

from __future__ import annotations


class EvenspikeError(ValueError):
    """Bad input, named: the thing, the field, the value and the limit.

    The command line prints the message as one line and exits with status 2; every other
    exception is a defect of the program and keeps its traceback.
    """
