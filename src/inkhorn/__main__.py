"""`python -m inkhorn` is the command `inkhorn`, and what torchrun starts."""

import os
import sys

from inkhorn.cli.main import main

if __name__ == "__main__":
    code = main()
    if "TORCHELASTIC_RUN_ID" in os.environ:
        from inkhorn.hardware.distributed import hard_exit

        hard_exit(code)
    sys.exit(code)
