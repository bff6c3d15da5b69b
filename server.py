#!/usr/bin/env python3
"""The classic door to the server: `python3 server.py` serves the shipped model and the page at http://127.0.0.1:8000.

The same as `inkhorn serve`, flags and all.
"""

import sys

from generation import HERE, use_project_python

if __name__ == "__main__":
    use_project_python()
    try:
        from inkhorn.cli.main import main
    except ModuleNotFoundError as error:
        told = f"The set-up is missing ({error.name}). Please run `make demo` in {HERE} once, then try again."
        sys.exit(told)
    sys.exit(main(["serve", *sys.argv[1:]]))
