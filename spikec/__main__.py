"""`python -m spikec` is the command `spikec`."""

import sys

from spikec.cli import main

if __name__ == "__main__":
    sys.exit(main())
