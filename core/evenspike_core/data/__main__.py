"""`python -m evenspike.dataset`: write the shipped images anew."""

from __future__ import annotations

import sys

from evenspike.dataset.shipped_images import write_shipped
from evenspike.errors import EvenspikeError

if __name__ == "__main__":
    try:
        write_shipped()
    except EvenspikeError as error:
        sys.exit(f"error: {error}")
