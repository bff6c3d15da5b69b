"""`inkhorn page`: the page with a model in it, as a folder that any static host serves."""

import sys
from dataclasses import dataclass
from pathlib import Path

from inkhorn.checkpoint.resolve import resolve_checkpoint
from inkhorn.cli.parsing import parse


@dataclass(frozen=True, kw_only=True)
class PageArgs:
    """Write the page into a folder, with a model that runs in the browser: nothing to install, no server behind it."""

    out: Path
    """the folder to write; an earlier page in it is replaced"""
    model: str = "shakespeare"
    """a shipped model's name, a checkpoint folder, or a run's folder"""


def run(argv: list[str]) -> int:
    """Run the command; returns the exit code."""
    args = parse(PageArgs, argv, "inkhorn page")
    from inkhorn.web.export import write_site

    folder = resolve_checkpoint(args.model)
    size = write_site(folder, Path(args.model).name or folder.name, args.out)
    sys.stdout.write(
        f"{args.out}: {size / 1e6:.1f} MB. Put it on any static host, or look at it here:\n"
        f"  python3 -m http.server -d {args.out} 8080    then open http://127.0.0.1:8080\n"
    )
    return 0
