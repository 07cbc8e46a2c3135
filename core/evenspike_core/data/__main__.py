"""`python -m evenspike_core.data`: write the shipped images anew."""

from __future__ import annotations

import sys

from evenspike_core.data.shipped_images import write_shipped
from evenspike_core.errors import EvenspikeError

if __name__ == "__main__":
    try:
        write_shipped()
    except EvenspikeError as error:
        sys.exit(f"error: {error}")
