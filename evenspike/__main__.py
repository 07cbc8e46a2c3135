"""`python -m evenspike`: the command line where the console script is not on the PATH."""

import sys

from evenspike.cli import main

sys.exit(main())
