"""``python -m inkstone`` is the command line."""

import sys

from inkstone.cli import main

if __name__ == "__main__":
    sys.exit(main())
