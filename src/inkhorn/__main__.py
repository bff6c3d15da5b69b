"""`python -m inkhorn` is the command `inkhorn`."""

import sys

from inkhorn.cli import main

if __name__ == "__main__":
    sys.exit(main())
