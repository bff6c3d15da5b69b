#!/usr/bin/env python3
"""Start the server: `python3 server.py` is the same as `inkhorn serve`, with the same flags.

It serves the shipped model, an OpenAI-compatible API and the web UI at http://127.0.0.1:8000.
"""

import sys

from generation import ROOT, use_project_python

if __name__ == "__main__":
    use_project_python()
    try:
        from inkhorn.cli.main import main
    except ModuleNotFoundError as error:
        sys.exit(f"{error.name} is not installed. Run `make demo` in {ROOT} once, then try again.")
    sys.exit(main(["serve", *sys.argv[1:]]))
